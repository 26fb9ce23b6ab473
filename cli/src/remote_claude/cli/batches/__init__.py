"""Many tasks from one file: what the file says, and the run that brings all of them to their end."""
