"""The one process inside every sandbox: it gets its task from its runner, runs the agent, and returns the result.

    rclaude-worker        or        python -I -m remote_claude.worker

Environment: `RCLAUDE_WORKER_TOKEN` (single-use) and `RCLAUDE_RUNNER_URL`, where the runner is reached:
`unix:///run/rclaude/runner.sock`, `ws://...` or `wss://...`. The current directory is the workspace, which holds code
of strangers: `-I` keeps it off the import path. No variable that begins with `RCLAUDE_` or `ANTHROPIC_` reaches the agent.

Exit codes: 0 the runner has the result; 2 started wrongly; 3 not renewed for one lease; 4 the runner refused.
"""

import sys

COMMAND = (sys.executable, "-I", "-m", "remote_claude.worker")
"""Starts a worker. Isolated, so that no module of the workspace, the home or the environment is imported."""
