"""What a frame of the NATS protocol and the header block in it say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

STATUS = ("Status", "Description")
"""nats-py's names for the parts of a status line."""


def publish_frame(subject: str, reply: str, headers: bytes, data: bytes) -> bytes:
    """The protocol's HPUB. `headers` are lines that each end in CRLF."""
    size = len(headers) + 12
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject.encode(), reply.encode(), size, size + len(data), headers, data,
    )  # fmt: skip


def published(frames: bytes) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """What frames of `publish_frame` publish: subject, reply subject, headers, payload."""
    start = 0
    while start < len(frames):
        body = frames.index(b"\r\n", start) + 2
        _, subject, *reply, block, size = frames[start : body - 2].decode().split(" ")
        data, end = body + int(block), body + int(size)
        yield subject, "".join(reply), parse_headers(frames[body:data]), frames[data:end]
        start = end + 2


def header_block(headers: Mapping[str, str] | None) -> bytes:
    """The block of a message's headers, as the broker sends it, from those that nats-py gives."""
    if headers is None:
        return b""
    about = " ".join(["NATS/1.0", *(headers[name] for name in STATUS if name in headers)])
    lines = [about, *(f"{name}: {value}" for name, value in headers.items() if name not in STATUS), "", ""]
    return "\r\n".join(lines).encode()


def status(headers: bytes) -> int:
    """The status code in a header block (100, 408, 503...), 0 where there is none."""
    return int(headers[9:12]) if headers[8:9] == b" " else 0


def parse_headers(block: bytes) -> dict[str, str]:
    """The headers of a block, without its status line."""
    lines = block.decode("utf-8", "replace").split("\r\n")[1:-2]
    try:
        return dict([line.split(": ", 1) for line in lines])
    except ValueError:  # written by somebody else: no space, or no colon
        pairs = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, _, value in pairs}
