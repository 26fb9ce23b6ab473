"""`python -m remote_claude.runner`: the runner alone."""

from remote_claude.runtime import main

main("runner")
