"""An account of AWS, and the template `compute.yaml` as a stack in it. The vendor's client is imported at the first use."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from remote_claude.cli.errors import CliError, Exit

POLL_S = 3.0
_GONE = {"DELETE_COMPLETE"}
_READY = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}
_BROKEN = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}
"""A stack in such a state can only be deleted."""
_SIGN_IN = "sign in (`aws sso login`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or name a profile with --profile"

Say = Callable[[str], None]


def template() -> str:
    """The stack of a deployment."""
    return (files("remote_claude.cli") / "self_hosted" / "templates" / "aws" / "compute.yaml").read_text()


def plan() -> dict[str, int]:
    """The types of what is made, and how many of each."""
    return dict(sorted(Counter(re.findall(r"^    Type: (AWS::\S+)$", template(), re.MULTILINE)).items()))


class AwsAccount:
    """One account and region, as a profile leads to it. Raises `CliError` for whatever AWS refuses."""

    def __init__(self, region: str | None, profile: str | None) -> None:
        if find_spec("boto3") is None:
            raise CliError(
                "the client of AWS is not installed: pip install 'remote-claude[aws]'",
                Exit.USAGE,
                code="extra_missing",
            )
        import boto3
        from botocore.exceptions import ProfileNotFound

        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except ProfileNotFound as error:
            raise CliError(f"{error}: `aws configure list-profiles` lists them", Exit.USAGE) from error
        if self._session.region_name is None:
            raise CliError("no region is set: name one, such as --region eu-central-1", Exit.USAGE)
        self.region = str(self._session.region_name)
        with refusals("your identity can't be asked for"):
            identity = self.client("sts").get_caller_identity()
        self.id, self.identity = str(identity["Account"]), str(identity["Arn"])

    def client(self, service: str) -> Any:
        """The vendor's client of one of its services."""
        return self._session.client(service)

    def s3_prefix_list(self) -> str:
        """The id of S3's addresses in this region; empty where it can't be found."""
        name = f"com.amazonaws.{self.region}.s3"
        with refusals("the addresses of S3 can't be looked up"):
            answer = self.client("ec2").describe_prefix_lists(
                Filters=[{"Name": "prefix-list-name", "Values": [name]}]
            )
        return next(
            (
                str(found["PrefixListId"])
                for found in answer["PrefixLists"]
                if found["PrefixListName"] == name
            ),
            "",
        )

    def deploy(self, stack: str, parameters: dict[str, str], say: Say) -> dict[str, str]:
        """Make the stack, or bring it up to date; one that is being made is waited for. Returns its outputs."""
        cloud = self.client("cloudformation")
        found = self._stack(stack)
        if (
            found is not None
            and found["StackStatus"].endswith("_IN_PROGRESS")
            and found["StackStatus"] not in _BROKEN
        ):
            say(f"the stack {stack} is {found['StackStatus']}: waiting for it")
            found = self._wait(found["StackId"], say)
        if found is not None and found["StackStatus"] in _BROKEN:
            say(f"removing what an earlier try left ({found['StackStatus']})")
            self._delete(found["StackId"], say)
            found = None
        request = {
            "StackName": stack,
            "TemplateBody": template(),
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": "remote-claude", "Value": "compute"}],
        }
        before: set[str] = set()
        with refusals(f"the stack {stack} can't be deployed"):
            if found is None or found["StackStatus"] in _GONE:
                id = cloud.create_stack(**request)["StackId"]
            else:
                id = found["StackId"]
                before = {event["EventId"] for event in self._events(id)}
                try:
                    cloud.update_stack(**request)
                except cloud.exceptions.ClientError as error:
                    if "No updates" not in str(error):
                        raise
        ended = self._wait(id, say, before)
        if ended["StackStatus"] not in _READY or ended["StackStatus"].endswith("ROLLBACK_COMPLETE"):
            why = self._why(id)
            raise CliError(
                f"the stack {stack} ended as {ended['StackStatus']}: {why}. Correct that and run the command again: it "
                "resumes; `rclaude destroy --self-hosted` removes what is left",
                code="deploy_failed",
            )
        return {output["OutputKey"]: output["OutputValue"] for output in ended.get("Outputs", [])}

    def resources(self, stack: str) -> list[tuple[str, str]]:
        """What the stack holds: types and names."""
        if self._stack(stack) is None:
            return []
        with refusals(f"the stack {stack} can't be listed"):
            pages = (
                self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
            )
            return [
                (one["ResourceType"], one.get("PhysicalResourceId", ""))
                for page in pages
                for one in page["StackResourceSummaries"]
                if one["ResourceStatus"] != "DELETE_COMPLETE"
            ]

    def destroy(self, stack: str, say: Say) -> None:
        """End its tasks, then remove the stack and all that it holds. One that is gone is fine."""
        found = self._stack(stack)
        if found is None:
            return
        clusters = [name for type, name in self.resources(stack) if type == "AWS::ECS::Cluster" and name]
        ecs = self.client("ecs")
        for cluster in clusters:
            with refusals("the tasks can't be ended"):
                for page in ecs.get_paginator("list_tasks").paginate(
                    cluster=cluster, desiredStatus="RUNNING"
                ):
                    for task in page["taskArns"]:
                        ecs.stop_task(cluster=cluster, task=task, reason="rclaude destroy")
                        say(f"ended {task}")
        self._delete(found["StackId"], say)

    def _delete(self, id: str, say: Say) -> None:
        before = {event["EventId"] for event in self._events(id)}
        with refusals("the stack can't be removed"):
            self.client("cloudformation").delete_stack(StackName=id)
        ended = self._wait(id, say, before)
        if ended["StackStatus"] not in _GONE:
            raise CliError(
                f"the stack ended as {ended['StackStatus']}: {self._why(id)}. Remove that by hand, then run this again",
                code="destroy_failed",
            )

    def _stack(self, name: str) -> Any:
        cloud = self.client("cloudformation")
        with refusals(f"the stack {name} can't be looked at"):
            try:
                (found,) = cloud.describe_stacks(StackName=name)["Stacks"]
            except cloud.exceptions.ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return None if found["StackStatus"] in _GONE and not name.startswith("arn:") else found

    def _wait(self, id: str, say: Say, before: Collection[str] = ()) -> Any:
        """Until the stack is at rest; each step is said once, those before apart."""
        shown = set(before)
        while True:
            found = self._stack(id) or {"StackStatus": "DELETE_COMPLETE"}
            for event in reversed(self._events(id)):
                if event["EventId"] not in shown:
                    shown.add(event["EventId"])
                    say(f"{event['LogicalResourceId']}: {event['ResourceStatus']}")
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                return found
            time.sleep(POLL_S)

    def _events(self, id: str) -> list[Any]:
        """The newest first."""
        with refusals("the stack's progress can't be read"):
            return list(self.client("cloudformation").describe_stack_events(StackName=id)["StackEvents"])

    def _why(self, id: str) -> str:
        """The first thing that failed."""
        failed = [event for event in self._events(id) if event["ResourceStatus"].endswith("_FAILED")]
        first = failed[-1] if failed else {}
        return f"{first.get('LogicalResourceId', 'the stack')}: {first.get('ResourceStatusReason', 'no reason given')}"


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Errors of the vendor as a sentence with what to do."""
    from botocore import exceptions as vendor

    try:
        yield
    except (
        vendor.NoCredentialsError,
        vendor.PartialCredentialsError,
        vendor.CredentialRetrievalError,
        vendor.SSOError,
        vendor.TokenRetrievalError,
    ) as error:
        raise CliError(
            f"no AWS credentials can be used ({error}): {_SIGN_IN}", Exit.REFUSED, code="credentials_missing"
        ) from error
    except vendor.EndpointConnectionError as error:
        raise CliError(f"{what}: {error}", Exit.UNREACHABLE) from error
    except vendor.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
            raise CliError(
                f"{what}: {error}. Use a profile that may do this", Exit.REFUSED, code="rights_missing"
            ) from error
        if code in ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"):
            raise CliError(
                f"{what}: {error}: {_SIGN_IN}", Exit.REFUSED, code="credentials_refused"
            ) from error
        raise CliError(f"{what}: {error}", code="aws_refused") from error
    except vendor.BotoCoreError as error:
        raise CliError(f"{what}: {error}", code="aws_failed") from error
