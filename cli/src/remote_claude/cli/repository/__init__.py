"""The user's Git repository: sending what is in it, and bringing over the result.

Plain `git` (2.38 or newer) as a subprocess. The repository is not touched before `apply`.
"""

from remote_claude.cli.repository.applying import Applied, ApplyConflict, apply
from remote_claude.cli.repository.git import Repository, RepositoryError, find
from remote_claude.cli.repository.sending import Sent, bundle

__all__ = ["Applied", "ApplyConflict", "Repository", "RepositoryError", "Sent", "apply", "bundle", "find"]
