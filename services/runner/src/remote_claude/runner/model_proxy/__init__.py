"""The only way out of a sandbox to the model: it holds the credential, measures each call, and puts it on record."""

from remote_claude.runner.model_proxy.model_usage import ModelUsage
from remote_claude.runner.model_proxy.proxy import ModelProxy
from remote_claude.runner.model_proxy.upstream import Upstream

__all__ = ["ModelProxy", "ModelUsage", "Upstream"]
