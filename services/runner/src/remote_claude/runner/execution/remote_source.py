"""A repository from a URL, fetched outside the sandbox, which has no network, into a bundle.

URL, reference and the server that answers are a stranger's: only network protocols, nothing of the
operator's (configuration, credentials, keys, questions on a terminal), bounded in bytes and time.
Which hosts may be reached `remote_claude.outbound` decides.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from remote_claude.outbound import AddressRefused, AllowedHosts, resolve
from remote_claude.runner.egress import AnyHost, Connected, EgressProxy
from remote_claude.runner.forges.pushing import TOKEN, Credential
from remote_claude.worker.git import GitFailed, environment, git
from remote_claude.worker.repository import BASE_REF, SENT_REF

PORTS = {"https": 443, "http": 80, "git": 9418, "ssh": 22}
SCHEMES = ("https", "http", "git", "ssh")

_WATCH_EVERY = 0.05  # seconds between two looks at the size
_REFS_MOST = 16 * 1024 * 1024  # bytes of references that a server may list
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*)|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SCP = re.compile(r"([^@/:\s]+)@([^@/:\s]+):(?!//)(\S+)")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock$")
_PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PASSED_ON: tuple[str, ...] = (
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)
_PASSED_ON += ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE")

# What Git and the servers say; LC_ALL=C. A private repository looks like a missing one, on purpose.
_MISSING = re.compile(
    r"not found|does not exist|not exported|does not appear to be a git repository|could not read Username"
    r"|could not read Password|Authentication failed|Permission denied|returned error: 40[134]|no such repository",
    re.IGNORECASE,
)
_NO_SUCH_OBJECT = re.compile(
    r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref", re.IGNORECASE
)


class SourceFailed(Exception):
    """`repository_url_refused`, `repository_not_found` (or not open to everyone), `repository_unreachable`
    (also: too slow), `repository_too_large`, `ref_not_found`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    size: int  # bytes, of the history as packed
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    base: str | None
    sent: str
    sha256: str  # of the bundle
    size: int  # bytes


async def fetch(
    url: str,
    ref: str | None,
    out: Path,
    *,
    limits: SourceLimits,
    allowed: AllowedHosts,
    credential: Credential | None = None,
) -> Sent:
    """Bundles `ref` (a branch, a tag, a full reference or commit id; the default branch when None) with its
    history, as `refs/rclaude/base` and `refs/rclaude/sent`. `out` is there whole or not at all.

    The host's addresses are checked, over HTTP at every connection, those of redirects too.
    """
    url = checked_url(url)
    await _check_host(url, allowed)
    if ref is not None and (not ref or _BAD_REF.search(ref)):
        raise SourceFailed("ref_not_found", f"{ref!r} can't be the name of a branch, a tag or a commit")
    with tempfile.TemporaryDirectory(prefix=".source-", dir=out.parent) as temporary:
        async with _way_out(allowed) as way_out:
            source = _Source(url, Path(temporary), way_out.port, credential)
            try:
                commit = await _bounded(source.fetch(ref), Path(temporary), limits)
            except SourceFailed as error:
                if not way_out.refused:
                    raise
                raise SourceFailed("repository_url_refused", way_out.refused[0]) from error
        sha256, size = await asyncio.to_thread(_digest, source.bundle)
        source.bundle.replace(out)
    return Sent(base=commit, sent=commit, sha256=sha256, size=size)


@dataclass(slots=True)
class _WayOut:
    """A proxy on a port of loopback that checks addresses; none where the operator has a proxy of their own."""

    port: int | None = None
    refused: list[str] = field(default_factory=list)

    async def connected(self, connection: Connected) -> None:
        if connection.outcome == "refused":
            self.refused.append(connection.detail)


@asynccontextmanager
async def _way_out(allowed: AllowedHosts) -> AsyncIterator[_WayOut]:
    way_out = _WayOut()
    if any(os.environ.get(name) for name in _PROXIES):
        yield way_out
        return
    proxy = EgressProxy(AnyHost(), allowed, way_out.connected)
    way_out.port = await proxy.listen_on_loopback()
    try:
        yield way_out
    finally:
        await proxy.close()


async def _check_host(url: str, allowed: AllowedHosts) -> None:
    """Raises `SourceFailed` for a host that is not on the public internet. One that has no address is left to Git."""
    if scp := _SCP.fullmatch(url):
        host, port = scp[2], PORTS["ssh"]
    else:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        await resolve(host, port, allowed)
    except AddressRefused as error:
        raise SourceFailed("repository_url_refused", str(error)) from error
    except (OSError, UnicodeError):
        return


def checked_url(url: str) -> str:
    """The URL, if it leads over the network and can't be taken for an option.

    Errors: `repository_url_refused`.
    """
    refused = SourceFailed(
        "repository_url_refused",
        f"{shown(url)!r} is not the URL of a repository: use https, http, git or ssh, as https://host/path",
    )
    if not url.isprintable() or " " in url or "\\" in url or not url.isascii():
        raise refused
    if scp := _SCP.fullmatch(url):
        if _USER.fullmatch(scp[1]) and _HOST.fullmatch(scp[2]) and not scp[3].startswith("-"):
            return url
        raise refused
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused from error
    authority = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if parts.scheme not in SCHEMES or not _HOST.fullmatch(authority) or not parts.path.strip("/"):
        raise refused
    if parts.username is not None and not _USER.fullmatch(parts.username):
        raise refused
    return url


def shown(url: str) -> str:
    """The URL without what may be a password."""
    try:
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        return re.sub(r"//[^/@]*@", "//", url)


class _Source:
    def __init__(self, url: str, folder: Path, proxy: int | None, credential: Credential | None) -> None:
        self.url, self.folder = url, folder
        self.proxied = () if proxy is None else (f"http.proxy=http://127.0.0.1:{proxy}",)
        self.bundle = folder / "bundle"
        self.git_dir = folder / "git"
        ssh = f"ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityFile={os.devnull} -o IdentityAgent=none"
        ssh += f" -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='{folder}/known_hosts' -o ProxyCommand=none"
        self.env = environment(folder) | {k: v for k in _PASSED_ON if (v := os.environ.get(k))}
        if self.proxied:
            self.env = {k: v for k, v in self.env.items() if k.lower() != "no_proxy"}
        self.env |= {
            "GIT_DIR": str(self.git_dir),
            "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_SSH_COMMAND": ssh,
            "GIT_SSH_VARIANT": "ssh",
        }
        self.credentials: tuple[str, ...] = ("credential.helper=",)
        if credential is not None:
            self.env |= {TOKEN: credential.token}
            self.credentials = credential.settings

    async def fetch(self, ref: str | None) -> str:
        """The commit, in a bundle."""
        await self._git("init", "--quiet", "--bare", "--template=")
        if ref and _OID.fullmatch(ref):
            await self._fetch_commit(ref)
        else:
            name = await self._look_up(ref)
            await self._remote("fetch", self.url, f"+{name}:{SENT_REF}")
        commit = (
            await self._git("rev-parse", "--verify", "--quiet", f"{SENT_REF}^{{commit}}", missing=ref)
        ).strip()
        for name in (BASE_REF, SENT_REF):
            await self._git("update-ref", name, commit)
        await self._git("bundle", "create", "--quiet", str(self.bundle), BASE_REF, SENT_REF)
        return commit

    async def _look_up(self, ref: str | None) -> str:
        """The full name of a reference: first match of HEAD or, as Git has it, full name, tag, branch."""
        candidates = [ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}"] if ref else ["HEAD"]
        listed = await self._remote("ls-remote", self.url, *candidates)
        names = {line.partition("\t")[2] for line in listed.splitlines()}
        found = next((name for name in candidates if name in names), None)
        if found:
            return found
        if ref is None:
            raise SourceFailed(
                "ref_not_found", f"{shown(self.url)} has no default branch, or no commit yet: name a branch"
            )
        raise self._no_such(ref)

    async def _fetch_commit(self, commit: str) -> None:
        """By its id where the server allows that, otherwise with everything the server has."""
        try:
            await self._remote("fetch", self.url, f"+{commit}:{SENT_REF}")
            return
        except SourceFailed as error:
            if error.code != "ref_not_found":
                raise
        await self._remote(
            "fetch", self.url, "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"
        )
        await self._git("update-ref", SENT_REF, commit, missing=commit)

    async def _remote(self, command: str, *args: str) -> str:
        """Git, talking to the server."""
        settings = [
            *self.proxied,
            *self.credentials,
            "http.followRedirects=initial",
            "protocol.version=2",
            "fetch.unpackLimit=1",
        ]
        settings += ["transfer.bundleURI=false", "core.bigFileThreshold=16m"]
        flags = {
            "fetch": (
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-maintenance",
            ),
            "ls-remote": ("--quiet",),
        }[command]
        try:
            out = await git(
                command,
                *flags,
                "--",
                *args,
                cwd=self.folder,
                env=self.env,
                most=_REFS_MOST,
                settings=settings,
            )
        except GitFailed as error:
            raise self._explained(error) from error
        return out.decode("utf-8", "replace")

    async def _git(self, *args: str, missing: str | None = None) -> str:
        try:
            return (await git(*args, cwd=self.folder, env=self.env)).decode("utf-8", "replace")
        except GitFailed as error:
            if missing is not None:
                raise self._no_such(missing) from error
            raise SourceFailed(
                "repository_unreachable", f"{shown(self.url)} gave a repository that can't be read: {error}"
            ) from error

    def _no_such(self, ref: str) -> SourceFailed:
        return SourceFailed("ref_not_found", f"{shown(self.url)} has no branch, tag or commit {ref!r}")

    def _explained(self, error: GitFailed) -> SourceFailed:
        message = re.sub(r"[^\x20-\x7e]+", " ", error.stderr).replace(self.url, shown(self.url)).strip()
        if _NO_SUCH_OBJECT.search(message):
            return SourceFailed("ref_not_found", f"{shown(self.url)} doesn't have it: {message[-300:]}")
        if _MISSING.search(message):
            return SourceFailed(
                "repository_not_found",
                f"there is no repository at {shown(self.url)}, or it is not open to everyone: {message[-300:]}",
            )
        return SourceFailed("repository_unreachable", f"{shown(self.url)} can't be fetched: {message[-300:]}")


async def _bounded(work: Coroutine[Any, Any, str], folder: Path, limits: SourceLimits) -> str:
    """Ends the work, and all its processes, when it outgrows its limits."""
    task = asyncio.ensure_future(work)
    late = asyncio.get_running_loop().time() + limits.seconds
    try:
        done = False
        while not done:
            done = bool((await asyncio.wait({task}, timeout=_WATCH_EVERY))[0])
            if await asyncio.to_thread(_size, folder) > limits.size:
                raise SourceFailed(
                    "repository_too_large", f"the repository is larger than {limits.size} bytes"
                )
            if not done and asyncio.get_running_loop().time() > late:
                raise SourceFailed(
                    "repository_unreachable",
                    f"the repository could not be fetched within {limits.seconds:g} s",
                )
        return await task
    finally:
        task.cancel()
        await asyncio.wait({task})


def _size(folder: Path) -> int:
    """Bytes received so far, with the index over them."""
    total = 0
    for path, _, names in os.walk(folder / "git" / "objects"):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:  # a temporary file that Git has just renamed
                continue
    return total


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
