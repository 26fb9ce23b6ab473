"""What an API of a model's service is to the proxy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from remote_claude.runner.model_proxy.answers import AnswerUsage
from remote_claude.runner.model_proxy.model_usage import PaymentTerms


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """A request that a sandbox may make. `usage` makes the reader of its answer; None: it costs nothing.

    `model` is the one that the path names, where it does.
    """

    usage: Callable[[PaymentTerms], AnswerUsage] | None = None
    model: str | None = None


class ModelApi(ABC):
    """One API. `path` is percent-encoded."""

    @abstractmethod
    def route(self, method: str, path: str) -> ModelRoute | None:
        """What the request is; None if it is not allowed."""

    def target(self, path: str) -> str:
        """What follows the address of the service."""
        return path

    def complete(self, request: dict[str, Any]) -> bool:
        """Add to a metered request what makes its answer say what it used. Returns whether it was changed."""
        return False
