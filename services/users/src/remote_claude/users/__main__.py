"""`python -m remote_claude.users`: users alone."""

from remote_claude.runtime import main

main("users")
