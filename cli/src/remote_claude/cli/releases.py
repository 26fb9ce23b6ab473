"""Releases: which one this program is of, and how a newer one is fetched, checked and put in its place.

A release is a folder at an address: `SHA256SUMS`, its signature `SHA256SUMS.sig`, and the files that it names. The signature
is that of `ssh-keygen -Y sign` (OpenSSH's PROTOCOL.sshsig) by an Ed25519 key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from remote_claude.cli.errors import CliError, Exit

NAMESPACE = "remote-claude-release"
SUMS_BYTES, PROGRAM_BYTES = 64 * 1024, 256 * 1024 * 1024
"""More than any release has: a server can't fill the memory or the disk."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where releases are, and who signs them: a line of a file of allowed signers (ssh-keygen)."""

    url: str
    signers: str


@dataclass(frozen=True, slots=True)
class Published:
    """The program of a release for this platform."""

    version: str
    name: str
    sha256: str


def built_in() -> Source | None:
    """What the build of this program has written into it; None for one that `make release` has not built."""
    folder = getattr(sys, "_MEIPASS", None)
    if folder is None:
        return None
    about = json.loads((Path(folder) / "release.json").read_text())
    return Source(about["url"], about["signers"])


def upgrade_command() -> str | None:
    """How this program is upgraded by what has installed it; None for the one-file program, which upgrades itself."""
    if getattr(sys, "frozen", False):
        is_folder = Path(getattr(sys, "_MEIPASS", "")).is_relative_to(Path(sys.executable).resolve().parent)
        return (
            "apt-get install ./rclaude_VERSION_ARCHITECTURE.deb, with the package of the release"
            if is_folder
            else None
        )
    if "/uv/tools/" in sys.prefix:
        return "uv tool upgrade remote-claude"
    if "/pipx/" in sys.prefix:
        return "pipx upgrade remote-claude"
    if (clone := _clone()) is not None:
        return f"git -C {clone} pull && make -C {clone} install"
    return f"{sys.executable} -m pip install --upgrade remote-claude"


def _clone() -> Path | None:
    """The repository that `make install` has installed this program from, if it has."""
    try:
        origin = json.loads(distribution("remote-claude").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(origin["url"]).path)).parent


def newest(source: Source) -> Published:
    """The release at its address, its signature checked. Raises `CliError`."""
    sums = _load(f"{source.url}/SHA256SUMS", SUMS_BYTES)
    verify(sums, _load(f"{source.url}/SHA256SUMS.sig", SUMS_BYTES).decode("ascii", "replace"), source.signers)
    wanted = f"{platform.system().lower()}-{platform.machine()}"
    for line in sums.decode().splitlines():
        if found := re.fullmatch(rf"([0-9a-f]{{64}})  (rclaude-(\d[0-9A-Za-z.]*)-{re.escape(wanted)})", line):
            return Published(found[3], found[2], found[1])
    raise CliError(f"the release at {source.url} has no program for {wanted}", code="no_release_for_platform")


def install(source: Source, published: Published, target: Path) -> None:
    """Put a program in the place of `target`, whole or not at all, once its sum is right and it has started."""
    content = _load(f"{source.url}/{published.name}", PROGRAM_BYTES)
    if hashlib.sha256(content).hexdigest() != published.sha256:
        raise CliError(
            f"{published.name} is not the file that was published: nothing was changed", code="checksum_wrong"
        )
    draft = target.with_name(f".{target.name}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "wb") as file:
            file.write(content)
        said = subprocess.run(
            [str(draft), "--version"], capture_output=True, text=True, check=False, timeout=60
        )
        if said.returncode or published.version not in said.stdout:
            raise CliError(
                f"{published.name} does not start here: nothing was changed\n{said.stderr}",
                code="release_unusable",
            )
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def is_newer(version: str, than: str) -> bool:
    """Whether a version comes after another: their numbers, from left to right."""
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def verify(message: bytes, armoured: str, signers: str) -> None:
    """Raises `CliError` unless one of the signers has signed this as a release. Source: PROTOCOL.sshsig of OpenSSH."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        fields = _Fields(base64.b64decode("".join(armoured.strip().splitlines()[1:-1])))
        if fields.take(6) != b"SSHSIG" or fields.take(4) != b"\0\0\0\1":
            raise ValueError("not a signature of ssh-keygen")
        public, namespace, reserved, hashed, signature = (fields.string() for _ in range(5))
        if namespace.decode() != NAMESPACE or public not in _keys(signers):
            raise ValueError("signed by another key, or for something else")
        digest = hashlib.new({b"sha256": "sha256", b"sha512": "sha512"}[hashed], message).digest()
        signed = b"SSHSIG" + b"".join(
            len(part).to_bytes(4, "big") + part for part in (namespace, reserved, hashed, digest)
        )
        key, value = _Fields(public), _Fields(signature)
        if key.string() != b"ssh-ed25519" or value.string() != b"ssh-ed25519":
            raise ValueError("not an Ed25519 key")
        Ed25519PublicKey.from_public_bytes(key.string()).verify(value.string(), signed)
    except (ValueError, KeyError, IndexError, binascii.Error, InvalidSignature) as error:
        raise CliError(
            f"the signature of the release is wrong ({error or 'it is of something else'}): nothing was changed",
            Exit.REFUSED,
            code="signature_wrong",
        ) from error


def _keys(signers: str) -> set[bytes]:
    """The Ed25519 keys of a file of allowed signers."""
    return {base64.b64decode(found) for found in re.findall(r"ssh-ed25519 ([A-Za-z0-9+/=]+)", signers)}


class _Fields:
    """What SSH writes: strings with their length before them."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def take(self, count: int) -> bytes:
        if len(self._rest) < count:
            raise ValueError("it is cut off")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))


def _load(url: str, limit: int) -> bytes:
    import httpx2

    content = bytearray()
    try:
        with httpx2.stream("GET", url, follow_redirects=True, timeout=60) as answer:
            if answer.status_code != httpx2.codes.OK:
                raise CliError(f"{url}: the server answered {answer.status_code}", Exit.UNREACHABLE)
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > limit:
                    raise CliError(
                        f"{url} is larger than {limit} bytes: nothing was changed", code="release_too_large"
                    )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise CliError(f"{url} can't be loaded: {error}", Exit.UNREACHABLE) from error
    return bytes(content)
