"""Read models in PostgreSQL: their schemas and checkpoints, the projector, rebuilds, parked events, outboxes."""
