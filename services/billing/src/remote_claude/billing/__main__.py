"""`python -m remote_claude.billing`: billing alone."""

from remote_claude.runtime.host import main

main("billing")
