"""How the API of a cluster is reached: a kubeconfig file, or the service account of the pod that the runner is in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from remote_claude.runner.providers.base import SandboxUnavailable

POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ADVICE = "set RCLAUDE_RUNNER_KUBERNETES_KUBECONFIG to a file that `kubectl` works with"


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """One cluster and one user. Tokens are read afresh for each call: they are short-lived."""

    server: str
    verify: ssl.SSLContext | bool
    user: Mapping[str, Any]
    token_file: Path | None = None

    async def headers(self) -> Mapping[str, str]:
        """Raises `SandboxUnavailable` when the user's command gives no token."""
        if self.token_file is not None:
            token = await asyncio.to_thread(self.token_file.read_text)
        elif command := self.user.get("exec"):
            token = await _token_of(command)
        else:
            token = str(self.user.get("token", ""))
        return {"authorization": f"Bearer {token.strip()}"} if token else {}


def find(kubeconfig: str | None, context: str | None) -> ClusterAccess:
    """Raises `SandboxUnavailable`, which says what to do."""
    if kubeconfig is None and (POD / "token").exists():
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST", ""),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return ClusterAccess(
            server, ssl.create_default_context(cafile=str(POD / "ca.crt")), {}, POD / "token"
        )
    path = Path(kubeconfig or "~/.kube/config").expanduser()
    try:
        found = yaml.safe_load(path.read_text())
        chosen = _named(found["contexts"], context or found["current-context"])["context"]
        cluster = _named(found["clusters"], chosen["cluster"])["cluster"]
        user = _named(found["users"], chosen["user"])["user"]
        server = str(cluster["server"])
        token_file = Path(user["tokenFile"]) if "tokenFile" in user else None
        return ClusterAccess(server, _tls(cluster, user, path.parent), user, token_file)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SandboxUnavailable(f"{path} leads to no cluster ({error!r}): {_ADVICE}") from error


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise ValueError(f"there is no {name}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext | bool:
    if not str(cluster["server"]).startswith("https:"):
        return True
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        raise ValueError(
            "insecure-skip-tls-verify is not supported: name the cluster's certificate authority"
        )
    if authority := _bytes(cluster, "certificate-authority", folder):
        context.load_verify_locations(cadata=authority.decode())
    certificate, key = _bytes(user, "client-certificate", folder), _bytes(user, "client-key", folder)
    if certificate and key:
        with tempfile.NamedTemporaryFile() as file:  # ssl reads files only; readable by its owner alone
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _bytes(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return (folder / entry[key]).read_bytes() if key in entry else None


async def _token_of(command: Mapping[str, Any]) -> str:
    """What a credential plugin prints, such as that of EKS or GKE. Source: "Client-go credential plugins"."""
    env = {**os.environ, **{one["name"]: one["value"] for one in command.get("env") or ()}}
    env["KUBERNETES_EXEC_INFO"] = json.dumps(
        {"apiVersion": command["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    )
    try:
        process = await asyncio.create_subprocess_exec(
            command["command"],
            *(command.get("args") or ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        output, errors = await process.communicate()
        return str(json.loads(output)["status"]["token"])
    except OSError as error:
        raise SandboxUnavailable(
            f"{command['command']} can't be run ({error}): install it, or {_ADVICE}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxUnavailable(
            f"{command['command']} gave no token ({errors.decode(errors='replace')[-300:]}): sign in, or {_ADVICE}"
        ) from error
