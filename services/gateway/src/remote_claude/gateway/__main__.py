"""`python -m remote_claude.gateway`: this service alone."""

from remote_claude.runtime.host import main

main("gateway")
