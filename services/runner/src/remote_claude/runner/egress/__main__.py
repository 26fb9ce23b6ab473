"""Writes the page of the default hosts."""

from remote_claude.runner.egress.policy import page

print(page(), end="")
