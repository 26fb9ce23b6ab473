"""One attempt in a sandbox: preparing the source, the session with the sandbox, keeping the result."""

from remote_claude.runner.execution.dependencies import ExecutionDependencies
from remote_claude.runner.execution.execution import SandboxedExecution

__all__ = ["ExecutionDependencies", "SandboxedExecution"]
