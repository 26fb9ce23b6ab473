"""Read models of the gateway."""
