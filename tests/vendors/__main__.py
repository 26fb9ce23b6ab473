"""`make test-cloud PROVIDER=fly`: a provider against its real vendor, with the credentials and settings of the environment.

Bounded: at most `SANDBOXES` of the smallest size, each with a deadline of a minute at the vendor too. Whatever fails, all that
was started is removed, and what is left is looked for afterwards.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory

from remote_claude.runner.providers import (
    ComputeProvider,
    LaunchSpec,
    ProviderError,
    ProviderSettings,
    SandboxLimits,
    create,
)

SANDBOXES = 4
DEADLINE_S = float(os.environ.get("TEST_DEADLINE_S", "20"))
CREDENTIALS = {
    "ecs": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "ec2": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "fly": ("FLY_API_TOKEN", "RCLAUDE_RUNNER_FLY_TOKEN"),
    "kubernetes": ("RCLAUDE_RUNNER_KUBERNETES_KUBECONFIG", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"),
    "cloud_run": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "container_instances": ("AZURE_CLIENT_ID", "IDENTITY_ENDPOINT"),
    "codespaces": ("GITHUB_TOKEN", "RCLAUDE_RUNNER_CODESPACES_TOKEN"),
    "docker": ("DOCKER_HOST",),
}
"""One of these has to be set, or nothing is tried."""


def spec(name: str, script: str, duration_s: float = 60) -> LaunchSpec:
    """A small sandbox."""
    limits = SandboxLimits(vcpu_millis=250, memory_mib=512, duration_s=duration_s)
    return LaunchSpec(
        name=f"test-{name}-{uuid.uuid4().hex[:12]}", argv=("/bin/sh", "-c", script), limits=limits
    )


async def suite(provider: ComputeProvider) -> None:
    """What every provider promises, four launches long. Raises `AssertionError` and `ProviderError`."""
    step("an end with its code")
    one = spec("exit", "echo hello; exit 7")
    await provider.launch(one)
    end = await provider.wait(one.name)
    assert (end.code, end.reason) == (7, "exited"), end
    step("one that is ended")
    two = spec("kill", "sleep 1000")
    await provider.launch(two)
    assert [found.name for found in await provider.list()] == [two.name]
    await provider.terminate(two.name)
    assert (await provider.wait(two.name)).reason == "killed"
    step("a deadline")
    three = spec("deadline", "sleep 1000", duration_s=DEADLINE_S)
    await provider.launch(three)
    assert (await provider.wait(three.name)).reason == "deadline"
    step("the environment is its own")
    four = spec("env", "env | grep -c AWS_SECRET && exit 1 || exit 0")
    await provider.launch(four)
    assert (await provider.wait(four.name)).code == 0
    step("nothing is left")
    assert await provider.list() == []


def step(what: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


async def run(name: str, home: Path) -> None:
    """The suite, and the removal of what it has started. Raises what the suite raises."""
    settings = ProviderSettings(
        runner=f"runner_test_{uuid.uuid4().hex}", home=home, environment=dict(os.environ)
    )
    provider = create(name, settings)
    try:
        await provider.recover()
        await suite(provider)
    finally:
        await provider.close()
        again = create(name, settings)
        left = await again.recover()
        await again.close()
        if left:
            step(f"removed what was left: {', '.join(left)}")


def main(name: str) -> int:
    """0 if it passed, 1 if it failed, 2 if it could not be tried."""
    known = sorted(
        {entry.name for entry in entry_points(group="remote_claude.compute_providers")} & {*CREDENTIALS}
    )
    if name not in known:
        print(f"name a provider: make test-cloud PROVIDER=..., one of {', '.join(known)}", file=sys.stderr)
        return 2
    if not any(os.environ.get(variable) for variable in CREDENTIALS[name]):
        print(
            f"nothing was tested: there are no credentials for {name}; set {' or '.join(CREDENTIALS[name])}, and the settings "
            f"RCLAUDE_RUNNER_{name.upper()}_* (docs/reference/settings.md)",
            file=sys.stderr,
        )
        return 2
    step(f"{name}: at most {SANDBOXES} sandboxes of the smallest size, a minute each")
    with TemporaryDirectory() as home:
        try:
            asyncio.run(run(name, Path(home)))
        except (AssertionError, ProviderError) as error:
            print(f"{name} failed: {getattr(error, 'code', '')} {error}", file=sys.stderr)
            return 1
    step(f"{name} passed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
