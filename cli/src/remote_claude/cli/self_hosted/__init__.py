"""Compute in a cloud account of one's own: what is deployed there, and what this machine remembers of it."""
