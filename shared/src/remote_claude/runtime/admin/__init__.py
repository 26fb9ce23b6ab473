"""`rclaude-admin`, the command line of an administrator."""
