"""What users reads off the log."""

from remote_claude.users.projections.directory import DirectoryView

READS = DirectoryView.handles
"""The events that users reads."""
