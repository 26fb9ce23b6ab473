"""The calls of AWS that the provider makes, in threads: the vendor's client is a blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from remote_claude.runner.providers.base import CredentialsRefused, SandboxFailed, SandboxUnavailable
from remote_claude.runner.providers.ecs import errors
from remote_claude.runner.providers.ecs.settings import EcsSettings

_AT_ONCE = 100
"""DescribeTasks takes so many."""
_TRIES = 5


class EcsClient:
    """One account, region and cluster. Errors of the vendor come out as `ProviderError`."""

    def __init__(self, settings: EcsSettings) -> None:
        self._settings = settings
        self._clients: dict[str, Any] = {}
        self._making = asyncio.Lock()

    async def call(self, service: str, operation: str, what: str, **parameters: Any) -> Any:
        """The vendor's answer. `what` begins the message where it refuses."""
        client = await self._client(service)
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return await asyncio.to_thread(getattr(client, operation), **parameters)
        except ClientError as error:
            raise errors.of_client(error.response, what) from error
        except NoCredentialsError as error:
            raise CredentialsRefused(
                f"{what}: no AWS credentials were found: set RCLAUDE_RUNNER_ECS_PROFILE or AWS_ACCESS_KEY_ID"
            ) from error
        except BotoCoreError as error:
            raise SandboxFailed(f"{what}: {error}") from error

    async def describe(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Those of the tasks that AWS still knows, by their ARN."""
        found: dict[str, Any] = {}
        for at in range(0, len(tasks), _AT_ONCE):
            answer = await self.call(
                "ecs",
                "describe_tasks",
                "the tasks can't be looked at",
                cluster=self._settings.cluster,
                tasks=[*tasks[at : at + _AT_ONCE]],
                include=["TAGS"],
            )
            found |= {task["taskArn"]: task for task in answer["tasks"]}
        return found

    async def started_by(self, runner: str) -> list[str]:
        """The ARNs of a runner's tasks that are to run."""
        arns: list[str] = []
        page: dict[str, str] = {}
        while True:
            answer = await self.call(
                "ecs",
                "list_tasks",
                "the tasks can't be listed",
                cluster=self._settings.cluster,
                startedBy=runner,
                desiredStatus="RUNNING",
                **page,
            )
            arns += answer["taskArns"]
            if not answer.get("nextToken"):
                return arns
            page = {"nextToken": answer["nextToken"]}

    async def _client(self, service: str) -> Any:
        async with self._making:
            if service not in self._clients:
                self._clients[service] = await asyncio.to_thread(self._make, service)
        return self._clients[service]

    def _make(self, service: str) -> Any:
        if find_spec("boto3") is None:
            raise SandboxUnavailable(
                "the provider ecs needs the extra `aws`: pip install 'remote-claude-runner[aws]'"
            )
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            session = boto3.Session(profile_name=self._settings.profile, region_name=self._settings.region)
            config = Config(retries={"mode": "standard", "max_attempts": _TRIES})
            return session.client(service, config=config)
        except BotoCoreError as error:
            raise SandboxUnavailable(
                f"AWS can't be reached ({error}): set RCLAUDE_RUNNER_ECS_REGION and RCLAUDE_RUNNER_ECS_PROFILE"
            ) from error
