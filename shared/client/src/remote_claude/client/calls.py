"""A call of the API: what is sent, and how its answer is read. The generated `operations` make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from remote_claude.client.errors import UnexpectedAnswer

if TYPE_CHECKING:
    import httpx2 as httpx

Answer = TypeVar("Answer")
Content = bytes | Path
"""What is uploaded: bytes, or a file, which is read while it is sent."""
TRANSFER_S = 600.0
"""How long bytes may take either way."""


def as_json(response: httpx.Response) -> Any:
    """The document of an answer. Raises `UnexpectedAnswer`."""
    try:
        return response.json()
    except ValueError as error:
        raise UnexpectedAnswer(str(response.url.copy_with(raw_path=b"/"))) from error


def as_bytes(response: httpx.Response) -> Any:
    """The bytes of an answer."""
    return response.content


def nothing(response: httpx.Response) -> Any:
    """Nothing: only the success counts."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, whose answer is an `Answer`.

    `query` and `headers` leave out what is None. A call that is `repeatable` may be sent again when its connection is
    lost; every method but POST and PATCH is, and so is a request with an idempotency key.
    """

    method: str
    path: str
    decode: Callable[[httpx.Response], Any]
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    json: Any = None
    form: Any = None
    content: Content | None = None
    repeatable: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return (
            self.repeatable
            or self.method not in ("POST", "PATCH")
            or bool(self.headers.get("Idempotency-Key"))
        )

    def request(self) -> dict[str, Any]:
        """Its arguments for the HTTP library, without the address."""
        made: dict[str, Any] = {
            "params": {name: value for name, value in self.query.items() if value is not None},
            "headers": {name: value for name, value in self.headers.items() if value is not None},
        }
        if self.json is not None:
            made["json"] = self.json
        if self.form is not None:
            made["data"] = dict(self.form)
        if self.content is not None:
            made["content"] = self.content
            size = self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)
            made["headers"] |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if self.content is not None or self.decode is as_bytes:
            made["timeout_s"] = TRANSFER_S
        return made
