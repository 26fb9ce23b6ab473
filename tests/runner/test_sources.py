"""Repositories from URLs, fetched from real Git servers on loopback."""

import asyncio
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote_claude.outbound import AllowedHosts
from remote_claude.runner.execution.remote_source import SourceFailed, SourceLimits, checked_url, fetch, shown
from remote_claude.worker.repository import conclude, prepare
from repositories import AGENT, BRANCH, Repo, git_home, until

LIMITS = SourceLimits(size=64 * 1024 * 1024, seconds=60)
LOOPBACK = AllowedHosts.parse("127.0.0.0/8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    with git_home(tmp_path / "home"):
        yield


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.init(tmp_path / "served" / "project.git")
    repo.commit("first", **{"a.txt": "1\n"})
    repo.git("tag", "light")
    repo.git("tag", "-a", "v1.0", "-m", "annotated")
    repo.git("branch", "topic/x")
    repo.commit("second", **{"a.txt": "2\n"})
    return repo


@pytest.fixture
def daemon(tmp_path: Path, repo: Repo) -> Iterator[str]:
    """`git daemon`: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *("git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--verbose"),
            *(
                "--export-all",
                "--informative-errors",
                f"--base-path={tmp_path / 'served'}",
                str(tmp_path / "served"),
            ),
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert b"Ready to rumble" in process.stderr.readline()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield f"git://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Backend(http.server.CGIHTTPRequestHandler):
    """`git http-backend`, and the failures of real servers."""

    cgi_directories = ["/git"]
    have_fork = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        match self.path.split("/")[1]:
            case "private":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="private"')
                self.end_headers()
            case "broken":
                self.send_error(500)
            case "evil":
                self.send_response(301)
                self.send_header("Location", f"file://{self.server.served}/project.git")  # type: ignore[attr-defined]
                self.end_headers()
            case "slow":
                self.server.hanging.wait()  # type: ignore[attr-defined]
            case _:
                self.run_backend(b"")

    def do_POST(self) -> None:
        self.run_backend(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def run_backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.served),  # type: ignore[attr-defined]
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        out = subprocess.run(
            ["git", "http-backend"], env=env, input=body, capture_output=True, check=True
        ).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def web(tmp_path: Path, repo: Repo) -> Iterator[str]:
    """`git http-backend` behind a server: its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        server.daemon_threads = True
        server.served = tmp_path / "served"  # type: ignore[attr-defined]
        server.hanging = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.hanging.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@contextmanager
def failing(code: str) -> Iterator[list[str]]:
    said: list[str] = []
    with pytest.raises(SourceFailed) as caught:
        yield said
    assert caught.value.code == code, caught.value
    said.append(str(caught.value))


async def test_the_default_branch_comes_with_its_history_and_can_be_worked_on(
    daemon: str, repo: Repo, tmp_path: Path
) -> None:
    out = tmp_path / "b"
    sent = await fetch(f"{daemon}/project.git", None, out, limits=LIMITS, allowed=LOOPBACK)
    assert sent.base == sent.sent == repo.head
    assert (sent.size, sent.sha256) == (out.stat().st_size, hashlib.sha256(out.read_bytes()).hexdigest())
    workspace = tmp_path / "workspace"
    prepared = await prepare(out, workspace, BRANCH)
    assert (prepared.base, prepared.sent) == (repo.head, repo.head)
    assert Repo(workspace).git("log", "--format=%s").split("\n") == ["second", "first"]
    Repo(workspace).write({"b.txt": "b\n"})
    concluded = await conclude(workspace, prepared, branch=BRANCH, message=lambda _: "m", author=AGENT)
    repo.git("fetch", "--quiet", str(concluded.bundle), f"{BRANCH}:{BRANCH}")
    assert repo.files(BRANCH) == {"a.txt": "2", "b.txt": "b"}


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "heads/main"])
async def test_a_branch_is_found_by_short_and_by_full_name(
    web: str, repo: Repo, tmp_path: Path, ref: str
) -> None:
    assert (
        await fetch(f"{web}/project.git", ref, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    ).sent == repo.head


@pytest.mark.parametrize("ref", ["v1.0", "light", "refs/tags/v1.0", "topic/x"])
async def test_tags_and_branches_with_slashes_are_found(
    daemon: str, repo: Repo, tmp_path: Path, ref: str
) -> None:
    first = repo.git("rev-parse", "HEAD^")
    assert (
        await fetch(f"{daemon}/project.git", ref, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    ).sent == first


@pytest.mark.parametrize("allowed", ["true", "false"])
async def test_a_commit_is_found_by_its_id(web: str, repo: Repo, tmp_path: Path, allowed: str) -> None:
    repo.git("config", "uploadpack.allowAnySHA1InWant", allowed)
    first = repo.git("rev-parse", "HEAD^")
    assert (
        await fetch(f"{web}/project.git", first, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    ).sent == first


REFS = [
    "nowhere",
    "0" * 40,
    "--upload-pack=touch x",
    "-x",
    "a b",
    "a:b",
    "+main",
    "ma*n",
    "",
    "../x",
    "a\x00b",
    "main\n",
]


@pytest.mark.parametrize("ref", REFS)
async def test_a_missing_reference_is_named(daemon: str, tmp_path: Path, ref: str) -> None:
    with failing("ref_not_found"):
        await fetch(f"{daemon}/project.git", ref, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    assert not (tmp_path / "b").exists()


async def test_a_repository_without_a_commit_is_named(daemon: str, tmp_path: Path) -> None:
    Repo.init(tmp_path / "served/empty.git")
    with failing("ref_not_found") as said:
        await fetch(f"{daemon}/empty.git", None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    assert "no commit yet" in said[0]


async def test_a_missing_repository_is_named(daemon: str, web: str, tmp_path: Path) -> None:
    for url in (f"{daemon}/nowhere.git", f"{web}/nowhere.git"):
        with failing("repository_not_found"):
            await fetch(url, None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)


async def test_a_private_repository_prompts_for_no_password(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home/.netrc").write_text("machine 127.0.0.1 login operator password secret\n")
    (tmp_path / "home/gitconfig").write_text(f"[credential]\n\thelper = !touch {tmp_path}/asked\n")
    monkeypatch.setenv("GIT_ASKPASS", f"touch {tmp_path}/asked;")
    with failing("repository_not_found") as said:
        await fetch(f"{web}/private/x.git", None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    assert "not open to everyone" in said[0]
    assert not (tmp_path / "asked").exists()


async def test_a_server_that_fails_is_unreachable(web: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    for url in (f"{web}/broken/x.git", f"git://127.0.0.1:{closed}/x", f"ssh://127.0.0.1:{closed}/x"):
        with failing("repository_unreachable"):
            await fetch(url, None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)


async def test_a_redirection_to_a_file_is_not_followed(web: str, tmp_path: Path) -> None:
    with failing("repository_unreachable"):
        await fetch(f"{web}/evil/x.git", None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)


URLS = [
    "/etc", "./x", "../x", "C:\\x", "~/x", "file:///etc", "FILE:///etc", "ext::sh -c touch% /tmp/x", "fd::17",
    "https::https://example.com/x", "--upload-pack=touch x", "-oProxyCommand=x", "ssh://-oProxyCommand=x/y",
    "ssh://-x@host/y", "git@-oProxyCommand=x:y", "host:path", "ftp://example.com/x", "https://", "https:///x",
    "https://example.com", "https://example.com/", "https://exam ple.com/x", "https://example.com/x\n", "",
    "https://example.com:99999/x", "https://example.com/\x00", "git+ssh://example.com/x", "javascript:alert(1)",
    "https://ex%61mple.com/x", "https://[::1", "-x@host:path", "git@host:-path", "https://exämple.com/x", "\\\\host\\x",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
async def test_what_is_no_network_url_is_refused(url: str, tmp_path: Path) -> None:
    with failing("repository_url_refused"):
        await fetch(url, None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://example.com/a/b.git",
            "http://user:secret@example.com:8080/a",
            "ssh://git@example.com/~ada/x",
        ),
        *("git@example.com:ada/x.git", "git://[::1]:9418/x", "https://gitlab.example/group/-/x"),
    ],
)
def test_network_urls_pass_as_they_are(url: str) -> None:
    assert checked_url(url) == url


async def test_a_password_in_the_url_is_not_repeated(web: str, tmp_path: Path) -> None:
    assert shown("https://ada:secret@example.com/x") == "https://example.com/x"
    with failing("repository_not_found") as said:
        await fetch(
            web.replace("//", "//ada:secret@") + "/private/x.git",
            None,
            tmp_path / "b",
            limits=LIMITS,
            allowed=LOOPBACK,
        )
    assert "secret" not in said[0]


async def test_a_repository_beyond_the_size_limit_is_refused(daemon: str, repo: Repo, tmp_path: Path) -> None:
    repo.commit("large", large=os.urandom(3_000_000))
    with failing("repository_too_large"):
        await fetch(
            f"{daemon}/project.git",
            None,
            tmp_path / "b",
            limits=SourceLimits(size=1_000_000, seconds=60),
            allowed=LOOPBACK,
        )
    assert not (tmp_path / "b").exists()
    assert _left(tmp_path) == []


async def test_a_server_that_never_answers_is_left_and_no_process_stays(web: str, tmp_path: Path) -> None:
    with failing("repository_unreachable") as said:
        await fetch(
            f"{web}/slow/x.git",
            None,
            tmp_path / "b",
            limits=SourceLimits(size=1_000_000, seconds=0.5),
            allowed=LOOPBACK,
        )
    assert "within 0.5 s" in said[0]
    assert _running(f"{web}/slow") == []


async def test_a_cancelled_fetch_leaves_nothing(web: str, tmp_path: Path) -> None:
    task = asyncio.ensure_future(
        fetch(f"{web}/slow/x.git", None, tmp_path / "b", limits=LIMITS, allowed=LOOPBACK)
    )
    await until(lambda: bool(_running(f"{web}/slow")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not _running(f"{web}/slow"))
    assert _left(tmp_path) == []


def _left(folder: Path) -> list[Path]:
    return list(folder.glob(".source-*"))


def _running(argument: str) -> list[str]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = command.read_bytes()
        except OSError:  # it ended
            continue
        if argument.encode() in arguments:
            found.append(command.parent.name)
    return found


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x.git", "http://localhost:9/x.git", "git://127.0.0.1:9/x.git", "http://10.0.0.1/x.git",
        "http://169.254.169.254/x.git", "ssh://127.0.0.1:9/x.git", "git@127.0.0.1:x.git",
    ],
)  # fmt: skip
async def test_a_url_off_the_public_internet_is_refused_until_the_operator_allows_it(
    url: str, tmp_path: Path
) -> None:
    with failing("repository_url_refused") as said:
        await fetch(url, None, tmp_path / "b", limits=LIMITS, allowed=AllowedHosts())
    assert "RCLAUDE_OUTBOUND_ALLOW" in said[0]


async def test_a_redirect_off_the_public_internet_is_refused(tmp_path: Path) -> None:
    reached: list[str] = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(302)
            self.send_header("location", f"http://127.0.0.2{self.path}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x.git"
        with failing("repository_url_refused") as said:
            await fetch(url, None, tmp_path / "b", limits=LIMITS, allowed=AllowedHosts.parse("127.0.0.1"))
        server.shutdown()
        thread.join()
    assert "127.0.0.2" in said[0]
    assert len(reached) == 1
