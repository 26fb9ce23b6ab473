"""What a frame of the NATS protocol and the header block in it say."""

from __future__ import annotations


def publish_frame(subject: str, reply: str, headers: bytes, data: bytes) -> bytes:
    """The protocol's HPUB. `headers` are lines that each end in CRLF."""
    size = len(headers) + 12
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject.encode(), reply.encode(), size, size + len(data), headers, data,
    )  # fmt: skip


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
