"""Who is asking, and what only they may read: `api_keys`, `scopes`, `verifier`, `kek`, `keyring`."""
