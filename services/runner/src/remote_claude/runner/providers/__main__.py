"""Writes the table of the providers into the pages that have it."""

from remote_claude.runner.providers.table import main

main()
