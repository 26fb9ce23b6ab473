"""Forges: where a result becomes a branch and a pull request. Tokens are used here, outside of every sandbox."""
