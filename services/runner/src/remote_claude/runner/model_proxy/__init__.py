"""The only way out of a sandbox to the model: it holds the credential, measures each call, and puts it on record."""

from remote_claude.runner.model_proxy.proxy import ModelProxy
from remote_claude.runner.model_proxy.upstream import Upstream
from remote_claude.runner.model_proxy.usage import ModelUsage

__all__ = ["ModelProxy", "ModelUsage", "Upstream"]
