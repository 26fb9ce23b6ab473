"""AWS: Fargate tasks in a small VPC, as a stack of CloudFormation."""

from __future__ import annotations

from dataclasses import replace

from remote_claude.cli.errors import CliError
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudCheck, Deployed, Prices, Say
from remote_claude.cli.self_hosted.clouds.cloudformation import AwsAccount, plan, refusals

ACTIONS = (
    "cloudformation:CreateStack", "ec2:CreateVpc", "ec2:CreateVpcEndpoint", "ec2:CreateSecurityGroup", "ecr:CreateRepository",
    "ecs:CreateCluster", "ecs:RegisterTaskDefinition", "iam:CreateRole", "iam:CreatePolicy", "iam:PassRole",
    "logs:CreateLogGroup",
)  # fmt: skip
VPCS, FARGATE = ("vpc", "L-F678F1CE"), ("fargate", "L-3032A538")
"""Quotas, by service and code: VPCs of a region, and vCPUs of Fargate tasks at one time."""
ENDPOINT_HOUR, ENDPOINTS, IMAGE_MONTH = 0.01, 3, 0.05
VCPU_HOUR, GIB_HOUR, ADDRESS_HOUR = 0.04048, 0.004445, 0.005
"""Source: AWS price list, us-east-1."""


class Aws:
    """The account that a profile of AWS's own configuration leads to."""

    needs_gateway = True
    prices = Prices(
        fixed=ENDPOINTS * ENDPOINT_HOUR * 730 + IMAGE_MONTH,
        task_hour=2 * VCPU_HOUR + 4 * GIB_HOUR + ADDRESS_HOUR,
    )

    def __init__(self, answers: Answers) -> None:
        self._account = AwsAccount(answers.region or None, answers.account or None)
        self.answers = replace(answers, region=self._account.region)
        self.account = self._account.id
        self.identity = f"account {self._account.id} ({self._account.identity})"

    def checks(self) -> list[CloudCheck]:
        return [self._rights(), self._vpcs(), self._fargate()]

    def plan(self) -> dict[str, int]:
        return plan()

    def deploy(self, say: Say) -> Deployed:
        answers, region = self.answers, self._account.region
        outputs = self._account.deploy(
            answers.name,
            {
                "GatewayCidr": answers.gateway_cidr,
                "GatewayPort": str(answers.gateway_port),
                "WorkerImage": answers.image,
                "S3PrefixListId": self._account.s3_prefix_list(),
            },
            say,
        )
        settings = {
            "RCLAUDE_RUNNER_PROVIDERS": "local,ecs",
            "RCLAUDE_RUNNER_GATEWAY_URL": answers.gateway_url,
            "RCLAUDE_RUNNER_ECS_REGION": region,
            "RCLAUDE_RUNNER_ECS_CLUSTER": outputs["ClusterName"],
            "RCLAUDE_RUNNER_ECS_TASK_DEFINITION": outputs["TaskDefinitionFamily"],
            "RCLAUDE_RUNNER_ECS_SUBNETS": outputs["Subnets"],
            "RCLAUDE_RUNNER_ECS_SECURITY_GROUPS": outputs["SecurityGroup"],
            "RCLAUDE_RUNNER_ECS_PUBLIC_IP": "true",
            **({"RCLAUDE_RUNNER_ECS_PROFILE": answers.account} if answers.account else {}),
        }
        repository = outputs["RepositoryUri"]
        host = repository.partition("/")[0]
        steps = (
            f"aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {host}",
            f"docker tag remote-claude/worker {repository}:latest",
            f"docker push {repository}:latest",
        )
        return Deployed("ecs", settings, () if answers.image else steps, outputs)

    def resources(self) -> list[tuple[str, str]]:
        return self._account.resources(self.answers.name)

    def destroy(self, say: Say) -> None:
        self._account.destroy(self.answers.name, say)

    def _rights(self) -> CloudCheck:
        """By the policies of one's own identity. Those of the whole organisation are seen only when something is made."""
        arn = self._account.identity
        if arn.endswith(":root"):
            return CloudCheck(
                "rights", "note", "the account's root user may do all of it; use a role instead"
            )
        if ":assumed-role/" in arn:
            arn = arn.replace(":sts:", ":iam:").replace(":assumed-role/", ":role/").rpartition("/")[0]
        try:
            with refusals("the rights can't be looked up"):
                answer = self._account.client("iam").simulate_principal_policy(
                    PolicySourceArn=arn, ActionNames=list(ACTIONS)
                )
        except CliError as error:
            return CloudCheck("rights", "note", str(error))
        missing = [
            one["EvalActionName"] for one in answer["EvaluationResults"] if one["EvalDecision"] != "allowed"
        ]
        if missing:
            return CloudCheck(
                "rights", "failed", f"{arn} may not {', '.join(missing)}: use a profile that may"
            )
        return CloudCheck("rights", "ok", f"all {len(ACTIONS)} that were asked for")

    def _vpcs(self) -> CloudCheck:
        if any(type == "AWS::EC2::VPC" for type, _ in self.resources()):
            return CloudCheck("VPCs", "ok", "the stack has its own already")
        try:
            with refusals("the quota of VPCs can't be looked up"):
                quota = self._quota(*VPCS)
                used = len(self._account.client("ec2").describe_vpcs()["Vpcs"])
        except CliError as error:
            return CloudCheck("VPCs", "note", str(error))
        if used >= quota:
            return CloudCheck(
                "VPCs",
                "failed",
                f"{used} of {quota:.0f} are used: remove one, or ask for more (Service Quotas, {VPCS[1]})",
            )
        return CloudCheck("VPCs", "ok", f"{used} of {quota:.0f} are used")

    def _fargate(self) -> CloudCheck:
        try:
            with refusals("the quota of Fargate can't be looked up"):
                quota = self._quota(*FARGATE)
        except CliError as error:
            return CloudCheck("Fargate", "note", str(error))
        if quota < 1:
            return CloudCheck(
                "Fargate", "failed", f"no vCPU may be used: ask for more (Service Quotas, {FARGATE[1]})"
            )
        return CloudCheck("Fargate", "ok", f"{quota:.0f} vCPUs at one time")

    def _quota(self, service: str, code: str) -> float:
        answer = self._account.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)
        return float(answer["Quota"]["Value"])
