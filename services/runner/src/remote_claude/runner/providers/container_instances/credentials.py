"""Azure's default credentials, as access tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from remote_claude.runner.providers.base import CredentialsRefused, SandboxUnavailable

SIGN_IN = (
    "Sign in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET; the role Contributor on the "
    "resource group is enough"
)
_SCOPE = "https://management.azure.com/.default"


class AzureCredentials:
    """Found at the first use; Azure's own library keeps the token until it ends."""

    def __init__(self) -> None:
        self._found: Any = None

    async def headers(self) -> Mapping[str, str]:
        """Raises `CredentialsRefused`, and `SandboxUnavailable` where the extra is missing."""
        return {"authorization": f"Bearer {await asyncio.to_thread(self._token)}"}

    def _token(self) -> str:
        if find_spec("azure") is None or find_spec("azure.identity") is None:
            raise SandboxUnavailable(
                "the provider container_instances needs the extra `azure`: pip install 'remote-claude-runner[azure]'"
            )
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential

        if self._found is None:
            self._found = DefaultAzureCredential()
        try:
            return str(self._found.get_token(_SCOPE).token)
        except ClientAuthenticationError as error:
            raise CredentialsRefused(f"Azure gives no token. {SIGN_IN}") from error
