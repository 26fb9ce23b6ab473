"""`python -m remote_claude.gateway`: this service alone."""

from remote_claude.runtime import main

main("gateway")
