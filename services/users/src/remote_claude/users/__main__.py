"""`python -m remote_claude.users`: users alone."""

from remote_claude.runtime.host import main

main("users")
