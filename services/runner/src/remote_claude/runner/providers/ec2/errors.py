"""What EC2 refuses, as this product's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remote_claude.runner.providers.base import (
    CapacityMissing,
    CredentialsRefused,
    ImageUnusable,
    ProviderError,
    QuotaReached,
    SandboxExists,
)
from remote_claude.runner.providers.ecs import errors

_QUOTA = {"InstanceLimitExceeded", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "VolumeLimitExceeded"}
_CAPACITY = {"InsufficientInstanceCapacity", "InsufficientHostCapacity", "SpotMaxPriceTooLow", "Unsupported"}


def of_client(error: Mapping[str, Any], what: str) -> ProviderError:
    """The error behind `ClientError.response`."""
    found = error.get("Error", {})
    code, message = str(found.get("Code", "unknown")), str(found.get("Message", ""))
    problem = f"{what}: AWS says {code}: {message}"
    if code in _QUOTA:
        return QuotaReached(f"{problem}. Raise the quota in the console under Service Quotas, Amazon EC2")
    if code in _CAPACITY:
        return CapacityMissing(
            f"{problem}. It is tried again; name a subnet in another zone, or leave spot out"
        )
    if code == "IdempotentParameterMismatch":
        return SandboxExists(f"{problem}. Another process has launched under this name")
    if code.startswith("InvalidAMIID"):
        return ImageUnusable(f"{problem}. Set RCLAUDE_RUNNER_EC2_AMI to an image of this region")
    if code == "AuthFailure":
        return CredentialsRefused(
            f"{problem}. Check the credentials of this runner (`aws sts get-caller-identity`)"
        )
    return errors.of_client(error, what)
