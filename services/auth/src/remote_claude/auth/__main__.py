"""`python -m remote_claude.auth`: auth alone."""

from remote_claude.runtime import main

main("auth")
