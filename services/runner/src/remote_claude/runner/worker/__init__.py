"""The one process inside every sandbox: it asks its runner for the task, runs the agent, and says what came of it.

    python -I -m remote_claude.runner.worker

Environment: `RCLAUDE_WORKER_TOKEN` (single-use), `RCLAUDE_RUNNER_SOCKET`, `RCLAUDE_MODEL_SOCKET` (by default
`runner.sock` and `model.sock` in `RCLAUDE_SOCKETS`, by default `/run/rclaude`). The current directory is the
workspace, which holds a stranger's code: `-I` keeps it off the import path. No variable that begins with `RCLAUDE_` or `ANTHROPIC_` reaches the agent.

Exit codes: 0 the runner has the result; 2 started wrongly; 3 not renewed for one lease; 4 the runner refused.
"""

import sys

COMMAND = (sys.executable, "-I", "-m", "remote_claude.runner.worker")
"""Starts a worker. Isolated, so that no module of the workspace, the home or the environment is imported."""
