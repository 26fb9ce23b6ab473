"""`rclaude-admin stack`: dedicated stacks. Renders the manifests of one, and keeps an inventory as events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer, require

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
        help="The overlay that the manifests extend, as kustomize names it: a path relative to the folder, or a URL.",
    ),
]


def _shaped(pattern: re.Pattern[str], what: str) -> Any:
    def check(value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise typer.BadParameter(f"not {what}: {value!r}")
        return value

    return check


def manifests(stack: StackConfigured, base: str) -> dict[str, str]:
    """The files of a stack by their paths. Kustomizations are JSON, which is YAML. Everything has the stack's name in it."""
    namespace = f"remote-claude-{stack.stack}"
    return {
        "kustomization.yaml": _kustomization({"resources": ["services", "tasks"]}),
        "services/kustomization.yaml": _kustomization(_services(stack, namespace, _part(base, "services"))),
        "services/quota.yaml": QUOTA,
        "tasks/kustomization.yaml": _kustomization(_tasks(namespace, _part(base, "tasks"))),
    }


def _kustomization(document: dict[str, Any]) -> str:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return json.dumps(head | document, indent=2) + "\n"


def _part(base: str, part: str) -> str:
    """A part of the overlay, as a folder below the stack's names it."""
    path, mark, query = base.partition("?")
    return f"{'../' if base.startswith('.') else ''}{path.rstrip('/')}/{part}{mark}{query}"


def _replaced(path: str, value: str) -> str:
    return json.dumps([{"op": "replace", "path": path, "value": value}])


NAMED = "namespaceSelector/matchLabels/kubernetes.io~1metadata.name"


def _tasks(namespace: str, base: str) -> dict[str, Any]:
    """Where the stack's tasks run: its own runner, and no other, may start Jobs there and is reached from there."""
    return {
        "namespace": f"{namespace}-tasks",
        "resources": [base],
        "patches": [
            {
                "target": {"kind": "RoleBinding", "name": "runner"},
                "patch": _replaced("/subjects/0/namespace", namespace),
            },
            {
                "target": {"kind": "NetworkPolicy", "name": "to-runner"},
                "patch": _replaced(f"/spec/egress/0/to/0/{NAMED}", namespace),
            },
        ],
    }


def _services(stack: StackConfigured, namespace: str, base: str) -> dict[str, Any]:
    host = {"op": "replace", "value": stack.domain}
    return {
        "namespace": namespace,
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
            },
            {
                "name": "tasks",
                "behavior": "merge",
                "literals": [
                    f"RCLAUDE_RUNNER_KUBERNETES_NAMESPACE={namespace}-tasks",
                    f"RCLAUDE_RUNNER_KUBERNETES_IMAGE={stack.registry}/worker:{stack.release}",
                ],
            },
        ],
        "patches": [
            {
                "target": {"kind": "NetworkPolicy", "name": "runner"},
                "patch": _replaced(f"/spec/ingress/0/from/0/{NAMED}", f"{namespace}-tasks"),
            },
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
            raise CommandRefused(f"there is a stack {name} already, of {found[name].org}: take another name")
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
    for path, text in manifests(stack, base).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


async def _find(runtime: Runtime, name: str) -> StackConfigured:
    found = await _inventory(runtime)
    if name not in found:
        raise CommandRefused(
            f"there is no stack {name}; `rclaude-admin stack list` shows those that there are"
        )
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
