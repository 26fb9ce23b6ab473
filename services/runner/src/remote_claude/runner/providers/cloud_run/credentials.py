"""Google's application default credentials, as access tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from remote_claude.runner.providers.base import CredentialsRefused, SandboxUnavailable

SIGN_IN = "Sign in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleCredentials:
    """Found at the first use, refreshed by Google's own library."""

    def __init__(self) -> None:
        self._found: tuple[Any, str | None] | None = None

    async def headers(self) -> Mapping[str, str]:
        """Raises `CredentialsRefused`, and `SandboxUnavailable` where the extra is missing."""
        return {"authorization": f"Bearer {await asyncio.to_thread(self._token)}"}

    async def project(self) -> str:
        """The project of the credentials."""
        found = (await asyncio.to_thread(self._find))[1]
        if found is None:
            raise CredentialsRefused("the credentials name no project: set RCLAUDE_RUNNER_CLOUD_RUN_PROJECT")
        return found

    def _token(self) -> str:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        credentials = self._find()[0]
        try:
            if not credentials.valid:
                credentials.refresh(Request())
        except GoogleAuthError as error:
            raise CredentialsRefused(f"Google gives no token ({error}). {SIGN_IN}") from error
        return str(credentials.token)

    def _find(self) -> tuple[Any, str | None]:
        if self._found is None:
            if find_spec("google") is None or find_spec("google.auth") is None:
                raise SandboxUnavailable(
                    "the provider cloud_run needs the extra `gcp`: pip install 'remote-claude-runner[gcp]'"
                )
            import google.auth
            from google.auth.exceptions import DefaultCredentialsError

            try:
                self._found = google.auth.default(scopes=[_SCOPE])
            except DefaultCredentialsError as error:
                raise CredentialsRefused(f"there are no credentials for Google Cloud. {SIGN_IN}") from error
        return self._found
