"""Who is asking, and what only they may read: API keys, the verifier, the keyring."""

from remote_claude.access.keyring import DataKey, KeyErased, Keyring, KeyUnusable
from remote_claude.access.verifier import Principal, Unauthenticated, Verifier

__all__ = ["DataKey", "KeyErased", "KeyUnusable", "Keyring", "Principal", "Unauthenticated", "Verifier"]
