"""Calls of AWS, in threads: the vendor's client is a blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from remote_claude.runner.providers.base import (
    CredentialsRefused,
    ProviderError,
    SandboxFailed,
    SandboxUnavailable,
)

_TRIES = 5

Refusal = Callable[[Mapping[str, Any], str], ProviderError]
"""The answer behind `ClientError.response`, and what was asked."""


class AwsClient:
    """One account and region. Errors of the vendor come out as `ProviderError`."""

    def __init__(self, provider: str, region: str | None, profile: str | None, refusal: Refusal) -> None:
        self._provider, self._region, self._profile, self._refusal = provider, region, profile, refusal
        self._clients: dict[str, Any] = {}
        self._making = asyncio.Lock()

    async def call(self, service: str, operation: str, what: str, **parameters: Any) -> Any:
        """The vendor's answer. `what` begins the message where it refuses."""
        client = await self._client(service)
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return await asyncio.to_thread(getattr(client, operation), **parameters)
        except ClientError as error:
            raise self._refusal(error.response, what) from error
        except NoCredentialsError as error:
            raise CredentialsRefused(
                f"{what}: no AWS credentials were found: set {self._setting('PROFILE')} or AWS_ACCESS_KEY_ID"
            ) from error
        except BotoCoreError as error:
            raise SandboxFailed(f"{what}: {error}") from error

    async def _client(self, service: str) -> Any:
        async with self._making:
            if service not in self._clients:
                self._clients[service] = await asyncio.to_thread(self._make, service)
        return self._clients[service]

    def _make(self, service: str) -> Any:
        if find_spec("boto3") is None:
            raise SandboxUnavailable(
                f"the provider {self._provider} needs the extra `aws`: pip install 'remote-claude-runner[aws]'"
            )
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            session = boto3.Session(profile_name=self._profile, region_name=self._region)
            config = Config(retries={"mode": "standard", "max_attempts": _TRIES})
            return session.client(service, config=config)
        except BotoCoreError as error:
            raise SandboxUnavailable(
                f"AWS can't be reached ({error}): set {self._setting('REGION')} and {self._setting('PROFILE')}"
            ) from error

    def _setting(self, field: str) -> str:
        return f"RCLAUDE_RUNNER_{self._provider.upper()}_{field}"
