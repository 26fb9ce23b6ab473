"""A double of EC2's instances. What it is asked and what it answers is held against AWS's own description, which botocore has."""

from __future__ import annotations

import base64
import re
from itertools import count
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from clouds.machines import Machines
from remote_claude.runner.providers.aws import AwsClient
from remote_claude.runner.providers.ec2 import errors

SHIM = """
docker() {
    case $1 in
        run) while [ "$1" != IMAGE ]; do shift; done; shift; "$@" ;;
        inspect) echo false ;;
    esac
}
poweroff() { :; }
CONSOLE=/dev/stdout
"""
"""The commands of the machine's system."""


class Ec2(AwsClient):
    """`refuse` answers the next creation; `ended` is what an instance shows in place of its own end."""

    def __init__(self, machines: Machines) -> None:
        super().__init__("ec2", None, None, errors.of_client)
        self._machines, self._ids = machines, count(1)
        client = boto3.client(
            "ec2", region_name="eu-central-1", aws_access_key_id="made-up", aws_secret_access_key="made-up"
        )
        self._model, self._methods = client.meta.service_model, client.meta.method_to_api_mapping
        self.instances: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, tuple[dict[str, Any], str]] = {}
        self.refuse: tuple[str, str] | None = None
        self.ended: tuple[dict[str, str], str] | None = None

    async def call(self, service: str, operation: str, what: str, **parameters: Any) -> Any:
        model = self._model.operation_model(self._methods[operation])
        validate_parameters(parameters, model.input_shape)
        try:
            answer = await getattr(self, f"_{operation}")(**parameters)
        except ClientError as error:
            raise self._refusal(error.response, what) from error
        validate_parameters(answer, model.output_shape)
        return answer

    async def _run_instances(self, **asked: Any) -> dict[str, Any]:
        if self.refuse is not None:
            code, message = self.refuse
            raise ClientError({"Error": {"Code": code, "Message": message}}, "RunInstances")
        token = asked.pop("ClientToken")
        assert len(token) <= 64
        assert asked["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert "IamInstanceProfile" not in asked
        if token in self.tokens:
            first, id = self.tokens[token]
            if first != asked:
                error = {"Code": "IdempotentParameterMismatch", "Message": "used with other parameters"}
                raise ClientError({"Error": error}, "RunInstances")
            return {"Instances": [self.instances[id]]}
        id = f"i-{next(self._ids):017x}"
        script = asked["UserData"]
        assert len(script) <= 16384
        if self.ended is None:
            memory = re.search(r"--memory=(\d+)m", script)
            assert memory is not None
            own = SHIM.replace("IMAGE", "remote-claude/worker") + script
            own = own.replace("/opt/worker/bin/python", self._machines.python)
            await self._machines.start(id, ("/bin/sh", "-c", own), {}, int(memory[1]))
        tags = next(one["Tags"] for one in asked["TagSpecifications"] if one["ResourceType"] == "instance")
        self.instances[id] = {"InstanceId": id, "Tags": tags, "State": {"Name": "pending"}}
        self.tokens[token] = asked, id
        return {"Instances": [self.instances[id]]}

    async def _describe_instances(self, **asked: Any) -> dict[str, Any]:
        (only,) = asked["Filters"]
        key, (value,) = only["Name"].removeprefix("tag:"), only["Values"]
        chosen = [one for one in self.instances.values() if {"Key": key, "Value": value} in one["Tags"]]
        for one in chosen:
            done = self.ended is not None or self._machines.end(one["InstanceId"]) is not None
            one["State"] = {"Name": "terminated" if done else "running"}
            if self.ended is not None and self.ended[0]:
                one["StateReason"] = self.ended[0]
        return {"Reservations": [{"Instances": [one]} for one in chosen]}

    async def _terminate_instances(self, **asked: Any) -> dict[str, Any]:
        for id in asked["InstanceIds"]:
            if self.ended is None and self._machines.end(id) is None:
                self.instances[id]["StateReason"] = {
                    "Code": "Client.UserInitiatedShutdown",
                    "Message": "terminated",
                }
                await self._machines.kill(id)
        return {"TerminatingInstances": [{"InstanceId": id} for id in asked["InstanceIds"]]}

    async def _get_console_output(self, **asked: Any) -> dict[str, Any]:
        end = self._machines.end(asked["InstanceId"]) if self.ended is None else None
        text = self.ended[1] if self.ended is not None else end.output if end is not None else ""
        return {"Output": base64.b64encode(f"[    0.0] Linux version\n{text}".encode()).decode()}
