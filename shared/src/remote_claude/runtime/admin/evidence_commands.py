"""`rclaude-admin evidence`: what an auditor asks for, in one signed archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import administer
from remote_claude.runtime.admin.log_commands import log_of
from remote_claude.runtime.admin.progress import ProgressDisplay
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.eventsourcing.events import RecordedEvent
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Evidence for an audit.")

CHANGES = frozenset(
    {
        "ApiKeyIssued", "ApiKeyRevoked", "MemberJoined", "MemberRoleChanged", "MemberRemoved", "OrgCreated",
        "OrgDeleted", "OrgRestored", "OrgErased", "OrgSuspended", "OrgResumed", "UserErased", "PlanChanged",
        "SecretStored", "SecretRemoved", "SecretReleased", "SigningKeyRotated", "AdjustmentPosted", "CreditGranted",
    }
)  # fmt: skip
"""Types of events that change who may do what, or what is owed."""
MANIFEST, SIGNATURE, PUBLIC_KEY = "manifest.json", "manifest.sig", "public_key.pem"


class AccessReview:
    """Who has access: a fold of membership and keys. `found` has roles and live keys by organisation."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, dict[str, Any]]] = {}

    def apply(self, recorded: RecordedEvent) -> None:
        """Take one event into account; others than those of membership and keys change nothing."""
        if recorded.type not in (
            "MemberJoined",
            "MemberRoleChanged",
            "MemberRemoved",
            "ApiKeyIssued",
            "ApiKeyRevoked",
        ):
            return
        data = json.loads(recorded.data)
        org = self.found.setdefault(data["org"], {"members": {}, "keys": {}})
        match recorded.type:
            case "MemberJoined" | "MemberRoleChanged":
                org["members"][data["user"]] = {"role": data["role"], "since": recorded.occurred_at}
            case "MemberRemoved":
                org["members"].pop(data["user"], None)
            case "ApiKeyIssued":
                org["keys"][data["key"]] = {
                    "user": data["user"],
                    "scopes": data["scopes"],
                    "issued": recorded.occurred_at,
                }
            case "ApiKeyRevoked":
                org["keys"].pop(data["key"], None)


@app.command()
def collect(file: Annotated[Path, typer.Argument(help="The archive to write; it must not exist.")]) -> None:
    """Write access, changes, releases and the log's verification into an archive that the key of the heads signs."""
    if file.exists():
        raise typer.BadParameter(f"{file} exists already: name another file")

    async def work(runtime: Runtime) -> None:
        from remote_claude.runtime.archive import verify as verifying

        access, changes = AccessReview(), []
        async for batch in runtime.log.read():
            for recorded in batch:
                access.apply(recorded)
                if recorded.type in CHANGES:
                    changes.append(_line(recorded))
        with ProgressDisplay("verify") as progress:
            report = await verifying.verify(log_of(runtime), runtime.pool, runtime.heads, progress=progress)
        heads = [head for head in runtime.heads.read() if head.problem is None]
        newest = {"position": heads[-1].position, "hash": heads[-1].hash.hex()} if heads else None
        parts = {
            "access.json": access.found,
            "changes.json": changes,
            "releases.json": {d.name: d.version for d in distributions() if d.name},
            "log.json": {"verification": report.document(), "newest_head": newest},
        }
        files = {name: _json(part) for name, part in parts.items()}
        files[MANIFEST] = _json(
            {
                "collected_at": runtime.clock().isoformat(),
                "position": await runtime.log.last_position(),
                "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            }
        )
        files[SIGNATURE] = runtime.heads.signature(files[MANIFEST]).encode()
        files[PUBLIC_KEY] = runtime.heads.public_pem()
        with tarfile.open(file, "x:gz") as archive:
            for name, content in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                archive.addfile(entry, io.BytesIO(content))
        typer.echo(
            f"{file}: {len(changes)} changes, {len(access.found)} organisations, {len(report.findings)} findings"
        )

    administer(work, Purpose.LOOK)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(exists=True, help="An archive of `evidence collect`.")],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", help="The public key that it has to be signed by; that in the archive unless given."
        ),
    ] = None,
) -> None:
    """Check the signature and every file of an archive; needs no server."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    with tarfile.open(file) as archive:
        found = {m.name: f.read() for m in archive.getmembers() if (f := archive.extractfile(m)) is not None}
    try:
        public = load_pem_public_key(key.read_bytes() if key else found[PUBLIC_KEY])
        assert isinstance(public, Ed25519PublicKey)
        public.verify(bytes.fromhex(found[SIGNATURE].decode()), found[MANIFEST])
        named = json.loads(found[MANIFEST])["sha256"]
    except (KeyError, ValueError, AssertionError, InvalidSignature) as error:
        raise _bad(f"{file} is not signed by that key, or is damaged") from error
    wrong = [n for n, digest in named.items() if hashlib.sha256(found.get(n, b"")).hexdigest() != digest]
    if wrong or set(found) != {*named, MANIFEST, SIGNATURE, PUBLIC_KEY}:
        raise _bad(f"{file} was changed: {', '.join(wrong) or 'it has other files than its manifest'}")
    typer.echo(f"{file}: intact")


def _bad(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)


def _line(recorded: RecordedEvent) -> dict[str, Any]:
    """One change: what, when, about which stream, by whom. No payload: names in it are sealed, and not needed."""
    return {
        "position": recorded.position,
        "at": recorded.occurred_at,
        "type": recorded.type,
        "stream": recorded.stream,
        "actor": recorded.context.actor,
        "event_id": recorded.event_id,
    }


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, default=str).encode() + b"\n"
