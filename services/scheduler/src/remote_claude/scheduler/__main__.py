"""`python -m remote_claude.scheduler`: the scheduler alone."""

from remote_claude.runtime import main

main("scheduler")
