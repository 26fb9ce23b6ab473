"""`python -m remote_claude.auth`: auth alone."""

from remote_claude.runtime.host import main

main("auth")
