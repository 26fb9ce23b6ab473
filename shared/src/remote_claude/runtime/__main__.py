"""`python -m remote_claude.runtime`: every installed service in this one process."""

from remote_claude.runtime.host import main

main()
