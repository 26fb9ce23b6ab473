"""What auth shows of what it has recorded: `credentials`."""
