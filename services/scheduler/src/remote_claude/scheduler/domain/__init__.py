"""What the scheduler decides, and on what: pure functions over a fold of the log."""
