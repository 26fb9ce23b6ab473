"""What AWS refuses, as this product's errors: a stable code, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remote_claude.runner.providers.base import (
    CapacityMissing,
    CredentialsRefused,
    ProviderError,
    QuotaReached,
    RequestThrottled,
    SandboxExists,
    SandboxFailed,
)

_CREDENTIALS = {
    "AccessDeniedException", "AccessDenied", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId",
    "InvalidSignatureException", "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnauthorizedOperation",
    "UnrecognizedClientException", "OptInRequired",
}  # fmt: skip
_THROTTLED = {"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"}
_QUOTA = {"LimitExceededException", "ServiceQuotaExceededException"}


def of_client(error: Mapping[str, Any], what: str) -> ProviderError:
    """The error behind `ClientError.response`."""
    found = error.get("Error", {})
    code, message = str(found.get("Code", "unknown")), str(found.get("Message", ""))
    problem = f"{what}: AWS says {code}: {message}"
    if code in _CREDENTIALS:
        return CredentialsRefused(
            f"{problem}. Check the credentials of this runner (`aws sts get-caller-identity`) and the rights of its role"
        )
    if code in _QUOTA or "limit on the number" in message.lower():
        return QuotaReached(f"{problem}. Raise the quota in the console under Service Quotas, AWS Fargate")
    if code in _THROTTLED:
        return RequestThrottled(
            f"{problem}. It is tried again; start fewer tasks at one time if this goes on"
        )
    if code == "ConflictException":
        return SandboxExists(f"{problem}. Another process has launched under this name")
    return SandboxFailed(problem)


def of_failure(reason: str, detail: str, what: str) -> ProviderError:
    """The error behind a failure of RunTask, or the `stoppedReason` of a task that never started."""
    problem = f"{what}: {reason}" + (f" ({detail})" if detail else "")
    lower = reason.lower()
    if "limit on the number" in lower or "vcpu limit" in lower:
        return QuotaReached(f"{problem}. Raise the quota in the console under Service Quotas, AWS Fargate")
    if "capacity" in lower or lower.startswith("resource:"):
        return CapacityMissing(
            f"{problem}. It is tried again; name subnets in more availability zones, or use capacity that is not spot"
        )
    if "cannotpull" in lower:
        return SandboxFailed(f"{problem}. Push the worker's image to where the task definition names it")
    return SandboxFailed(problem)
