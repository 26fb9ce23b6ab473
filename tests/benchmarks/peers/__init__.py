"""What others do the same work with, on this machine, in the same run."""
