"""Who is asking, and what only they may read: `secrets`, `credentials`, `principal`, `permissions`, `verifier`, `kek`, `keyring`."""
