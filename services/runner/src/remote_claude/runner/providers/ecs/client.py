"""The calls of AWS that the provider makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remote_claude.runner.providers.aws import AwsClient
from remote_claude.runner.providers.ecs import errors
from remote_claude.runner.providers.ecs.settings import EcsSettings

_AT_ONCE = 100
"""DescribeTasks takes so many."""


class EcsClient(AwsClient):
    """One account, region and cluster."""

    def __init__(self, settings: EcsSettings) -> None:
        super().__init__("ecs", settings.region, settings.profile, errors.of_client)
        self._settings = settings

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
