"""`python -m remote_claude.billing`: billing alone."""

from remote_claude.runtime import main

main("billing")
