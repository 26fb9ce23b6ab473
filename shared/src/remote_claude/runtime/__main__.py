"""`python -m remote_claude.runtime`: every installed service in this one process."""

from remote_claude.runtime import main

main()
