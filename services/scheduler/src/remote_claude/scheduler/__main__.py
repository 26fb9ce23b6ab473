"""`python -m remote_claude.scheduler`: the scheduler alone."""

from remote_claude.runtime.host import main

main("scheduler")
