"""`rclaude-admin stack`: dedicated stacks. Renders the manifests of one, and keeps an inventory as events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import Refused, administer, require

if TYPE_CHECKING:
    from remote_claude.contracts.users import StackConfigured
    from remote_claude.runtime.service import Runtime

app = typer.Typer(
    no_args_is_help=True, help="Dedicated stacks: an installation of its own for one organisation."
)

NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
RELEASE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
IMAGES = ("auth", "users", "gateway", "scheduler", "billing", "runner", "admin")
EXAMPLE_REGISTRY = "registry.example.com/remote-claude"
"""What the overlay `production` has in the place of a registry; kustomize matches names as the base left them."""
QUOTA = """apiVersion: v1
kind: ResourceQuota
metadata: {name: stack}
spec:
  hard: {requests.cpu: "32", requests.memory: 64Gi, limits.memory: 128Gi, pods: "60", persistentvolumeclaims: "8"}
"""

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Base = Annotated[
    str,
    typer.Option(
        "--base",
        help="The overlay that the manifests stand on, as kustomize names it: a path relative to the folder, or a URL.",
    ),
]


def _shaped(pattern: re.Pattern[str], what: str) -> Any:
    def check(value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise typer.BadParameter(f"not {what}: {value!r}")
        return value

    return check


def kustomization(stack: StackConfigured, base: str) -> str:
    """The kustomization of a stack: JSON, which is YAML. Everything of the stack has its name in it."""
    host = {"op": "replace", "value": stack.domain}
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": f"remote-claude-{stack.stack}",
        "resources": [base, "quota.yaml"],
        "labels": [{"pairs": {"remote-claude/stack": stack.stack}, "includeTemplates": True}],
        "images": [
            {"name": f"{prefix}/{image}", "newName": f"{stack.registry}/{image}", "newTag": stack.release}
            for image in IMAGES
            for prefix in dict.fromkeys(("remote-claude", EXAMPLE_REGISTRY, stack.registry))
        ],
        "configMapGenerator": [
            {
                "name": "settings",
                "behavior": "merge",
                "literals": [
                    f"RCLAUDE_PUBLIC_URL=https://{stack.domain}",
                    f"RCLAUDE_OBJECTS={stack.objects}",
                    f"RCLAUDE_BILLING_DEFAULT_PLAN={stack.plan}",
                ],
            }
        ],
        "patches": [
            {
                "target": {"kind": "Ingress"},
                "patch": json.dumps(
                    [{**host, "path": "/spec/rules/0/host"}, {**host, "path": "/spec/tls/0/hosts/0"}]
                ),
            },
            {
                "target": {"kind": "Deployment|StatefulSet|Job"},
                "patch": json.dumps(
                    [
                        {
                            "op": "add",
                            "path": "/spec/template/spec/nodeSelector",
                            "value": {"remote-claude/stack": stack.stack},
                        },
                        {
                            "op": "add",
                            "path": "/spec/template/spec/tolerations",
                            "value": [
                                {"key": "remote-claude/stack", "value": stack.stack, "effect": "NoSchedule"}
                            ],
                        },
                    ]
                ),
            },
        ],
    }
    return json.dumps(document, indent=2) + "\n"


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(
            callback=_shaped(NAME, "a name of a stack"), help="Its name, such as acme; part of its namespace."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Where its manifests are written.")],
    org: Annotated[str, typer.Option("--org", help="The organisation that it is for.")],
    domain: Annotated[
        str, typer.Option("--domain", callback=_shaped(DOMAIN, "a public name"), help="Its public name.")
    ],
    objects: Annotated[
        str, typer.Option("--objects", help="The URL of its own bucket, such as s3://acme-remote-claude.")
    ],
    registry: Annotated[
        str,
        typer.Option("--registry", help="Where its images are, such as registry.example.com/remote-claude."),
    ],
    release: Annotated[
        str, typer.Option("--release", callback=_shaped(RELEASE, "a tag"), help="The tag of its images.")
    ] = "0.1.0",
    plan: Annotated[str, typer.Option("--plan", help="The plan of its organisation.")] = "enterprise",
    base: Base = "../../overlays/production",
) -> None:
    """Render the manifests of a stack for one organisation, and record it."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.contracts.users import StackConfigured

        await require(runtime, "organisation", org)
        if name in (found := await _inventory(runtime)):
            raise Refused(f"there is a stack {name} already, of {found[name].org}: take another name")
        stack = StackConfigured(
            stack=name,
            org=org,
            plan=plan,
            domain=domain,
            objects=objects,
            registry=registry.rstrip("/"),
            release=release,
        )
        _write(folder, stack, base)
        await _record(runtime, stack)
        typer.echo(
            f"{folder}: apply it with `kubectl apply -k {folder}`, after `deploy/k8s/secrets.sh SECRETS remote-claude-{name}`"
        )

    administer(work, user="users")


@app.command()
def upgrade(
    name: Annotated[str, typer.Argument(help="The stack.")],
    folder: Annotated[Path, typer.Argument(help="Where its manifests are.")],
    release: Annotated[
        str, typer.Option("--release", callback=_shaped(RELEASE, "a tag"), help="The tag of its images.")
    ],
    base: Base = "../../overlays/production",
) -> None:
    """Render the manifests of one stack for another release, and record it. Other stacks stay as they are."""

    async def work(runtime: Runtime) -> None:
        stack = await _find(runtime, name)
        stack = stack.model_copy(update={"release": release})
        _write(folder, stack, base)
        await _record(runtime, stack)
        typer.echo(f"{folder}: `kubectl apply -k {folder}` upgrades {name} to {release}")

    administer(work, user="users")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="The stack.")]) -> None:
    """Take a stack out of the inventory. Delete its namespace yourself, after a backup."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.contracts.users import StackRemoved

        stack = await _find(runtime, name)
        await _record(runtime, StackRemoved(stack=name, org=stack.org))

    administer(work, user="users")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show the stacks that there are."""

    async def work(runtime: Runtime) -> None:
        found = (await _inventory(runtime)).values()
        if as_json:
            typer.echo(json.dumps([stack.model_dump() for stack in found]))
            return
        for stack in found:
            typer.echo(f"{stack.stack}  {stack.org}  {stack.plan}  {stack.release}  https://{stack.domain}")

    administer(work, user="users")


def _write(folder: Path, stack: StackConfigured, base: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(kustomization(stack, base))
    (folder / "quota.yaml").write_text(QUOTA)


async def _find(runtime: Runtime, name: str) -> StackConfigured:
    found = await _inventory(runtime)
    if name not in found:
        raise Refused(f"there is no stack {name}; `rclaude-admin stack list` shows those that there are")
    return found[name]


async def _inventory(runtime: Runtime) -> dict[str, StackConfigured]:
    """The stacks by name: a fold of the log."""
    from remote_claude.contracts.users import StackConfigured

    found: dict[str, StackConfigured] = {}
    async for batch in runtime.log.read(subjects="ev.users.*.stack.>"):
        for recorded in batch:
            if isinstance(event := recorded.event, StackConfigured):
                found[event.stack] = event
            else:
                found.pop(event.stack, None)
    return found


async def _record(runtime: Runtime, event: Any) -> None:
    from remote_claude.users.handlers import Directory

    await Directory(runtime.log, runtime.keyring, runtime.clock).stack(event)
