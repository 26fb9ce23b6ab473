"""Instances of EC2: each runs one container by its user data and terminates itself; how it ended is read from its console.

An instance has no instance profile, and its metadata service wants a token and answers within one hop. Source: Amazon EC2 API
Reference.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import structlog

from remote_claude.runner.providers.aws import AwsClient
from remote_claude.runner.providers.base import (
    Capabilities,
    ImageUnusable,
    ProviderError,
    SandboxExit,
    SandboxFailed,
)
from remote_claude.runner.providers.clouds import Launch, Seen
from remote_claude.runner.providers.clouds.provider import KILLED
from remote_claude.runner.providers.ec2 import errors, user_data
from remote_claude.runner.providers.ec2.settings import Ec2Settings
from remote_claude.runner.providers.ec2.sizes import ec2_size

log = structlog.get_logger(__name__)

RUNNER, NAME = "remote-claude:runner", "remote-claude:name"
"""Tags."""
_ENDED = {"shutting-down", "terminated"}
_CONSOLE_S = 120.0
"""How long after its end an instance's console may be late."""


class Ec2Cloud:
    """One account and region."""

    name: ClassVar[str] = "ec2"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True, image=True)
    """A task can fill the machine's disk; the network is that of the security group."""

    def __init__(self, runner: str, settings: Ec2Settings, client: AwsClient | None = None) -> None:
        self._runner, self._settings = runner, settings
        self.poll_s = settings.poll_s
        self._client = client or AwsClient("ec2", settings.region, settings.profile, errors.of_client)
        self._started: dict[str, float | None] = {}
        """Instances of this process, and when each was first seen ended."""
        self._removed: set[str] = set()

    async def start(self, launch: Launch) -> str:
        what = f"the instance of {launch.spec.name} can't be started"
        answer = await self._client.call("ec2", "run_instances", what, **self.instance(launch))
        id = str(answer["Instances"][0]["InstanceId"])
        self._started[id] = None
        return id

    async def seen(self) -> Mapping[str, Seen]:
        """EC2 shows an instance for about an hour after its end: of those, only the ones that this process has started."""
        found: dict[str, Seen] = {}
        page: dict[str, str] = {}
        only = [{"Name": f"tag:{RUNNER}", "Values": [self._runner]}]
        while True:
            answer = await self._client.call(
                "ec2", "describe_instances", "the instances can't be listed", Filters=only, **page
            )
            for one in (i for reservation in answer["Reservations"] for i in reservation["Instances"]):
                id, state = one["InstanceId"], one["State"]["Name"]
                if state not in _ENDED:
                    found[id] = Seen(_name(one))
                elif id in self._started:
                    found[id] = Seen(_name(one), await self._end(one))
            if not answer.get("NextToken"):
                return found
            page = {"NextToken": answer["NextToken"]}

    async def output(self, handle: str) -> str:
        """It comes with the end."""
        return ""

    async def remove(self, handle: str) -> None:
        self._removed.add(handle)
        await self._client.call(
            "ec2", "terminate_instances", f"{handle} can't be terminated", InstanceIds=[handle]
        )

    async def close(self) -> None:
        return

    async def _end(self, one: Any) -> SandboxExit | ProviderError | None:
        id = one["InstanceId"]
        if id in self._removed:
            return SandboxExit(KILLED, "killed")
        if (end := user_data.ended(await self._console(id))) is not None:
            return end
        reason = one.get("StateReason", {})
        code, message = str(reason.get("Code", "")), str(reason.get("Message", ""))
        if code.startswith(("Server.SpotInstance", "Client.UserInitiatedShutdown")):
            return SandboxExit(KILLED, "killed", message)
        if code.startswith(("Server.", "Client.Volume", "Client.InvalidSnapshot")):
            return SandboxFailed(f"the instance of {_name(one)} never ran: {code}: {message}")
        since = self._started[id] = self._started[id] or time.monotonic()
        if time.monotonic() < since + _CONSOLE_S:
            return None
        return SandboxExit(KILLED, "killed", "the instance ended and its console does not say how")

    async def _console(self, id: str) -> str:
        answer = await self._client.call(
            "ec2", "get_console_output", "the console can't be read", InstanceId=id
        )
        return base64.b64decode(answer.get("Output", "")).decode(errors="replace")

    def instance(self, launch: Launch) -> dict[str, Any]:
        """What is asked for."""
        spec, settings = launch.spec, self._settings
        if not settings.ami:
            raise ImageUnusable(
                "there is no machine image: set RCLAUDE_RUNNER_EC2_AMI to one with a Docker engine"
            )
        size = ec2_size(spec.limits)
        log.info(
            "an instance is larger than what was asked for",
            sandbox=spec.name,
            type=size.type,
            vcpu_millis=size.vcpus * 1000,
            memory_mib=size.memory_mib,
        )
        labels = {f"remote-claude:{key}": value for key, value in spec.labels.items()}
        tags = labels | {"Name": "remote-claude task", RUNNER: launch.runner, NAME: spec.name}
        tagged = ("instance", "volume", *(("spot-instances-request",) if settings.spot else ()))
        request: dict[str, Any] = {
            "ImageId": settings.ami,
            "InstanceType": size.type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": launch.id,
            "UserData": user_data.script(launch, spec.image or settings.image),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
                "HttpEndpoint": "enabled",
            },
            "BlockDeviceMappings": [
                {
                    "DeviceName": settings.root_device,
                    "Ebs": {
                        "VolumeSize": size.disk_gib,
                        "VolumeType": "gp3",
                        "Encrypted": True,
                        "DeleteOnTermination": True,
                    },
                }
            ],
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
                for kind in tagged
            ],
        }
        if settings.subnet:
            request["SubnetId"] = settings.subnet
        if settings.security_group:
            request["SecurityGroupIds"] = [settings.security_group]
        if settings.spot:
            request["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
            }
        return request


def _name(one: Any) -> str:
    return str({tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}.get(NAME, one["InstanceId"]))
