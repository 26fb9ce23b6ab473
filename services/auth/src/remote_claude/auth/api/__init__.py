"""What auth answers over HTTP: `sessions`."""
