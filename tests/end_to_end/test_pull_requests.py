"""A task on a repository of any forge ends with a pushed branch and a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forge_doubles import DOUBLES, TOKEN, ForgeDouble, forge_double
from product import Product, git, product, repository

REFUSED = 1
Connected = tuple[Product, dict[str, ForgeDouble]]


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    with ExitStack() as stack:
        forges = {
            one.kind: stack.enter_context(forge_double(tmp_path_factory.mktemp(one.kind), one))
            for one in DOUBLES
        }
        environment = {
            "RCLAUDE_FORGES": ",".join(f"{kind}={kind}:{forge.url}" for kind, forge in forges.items()),
            "RCLAUDE_RUNNER_PULL_REQUEST_GIVE_UP_S": "0.1",
            "RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8",
        }
        running = stack.enter_context(product(environment))
        for kind in forges:
            running.ok("repo", "connect", kind, "--token-stdin", stdin=f"{TOKEN}\n".encode())
        yield running, forges


def made(forge: ForgeDouble, tmp_path: Path) -> tuple[str, str]:
    """Name and URL of a new repository."""
    name = f"{forge.example.rpartition('/')[0]}/{tmp_path.name.replace('_', '-')[:40]}"
    files = {"README.md": "hello\n", ".rclaude.toml": 'checks = ["test -s README.md"]\n'}
    if forge.templates:
        files[forge.templates] = "## Checklist\n"
    return name, forge.repository(name, repository(tmp_path / "repo", files))


EACH_FORGE = [  # every client passes the same contract in tests/runner/test_forges.py
    one.kind if one is DOUBLES[0] else pytest.param(one.kind, marks=pytest.mark.nightly) for one in DOUBLES
]


@pytest.mark.parametrize("kind", EACH_FORGE)
def test_a_task_ends_with_a_branch_and_one_pull_request(
    connected: Connected, tmp_path: Path, kind: str
) -> None:
    stack, forge = connected[0], connected[1][kind]
    name, url = made(forge, tmp_path)
    before = len(forge.pulls)
    done = stack.ok(
        *("run", "--agent", "shell", "--repo", url, "--pr", "--draft", "--author", "Ada <ada@example.com>"),
        *("--reviewer", "grace", "--reviewer", "nobody", "--pr-label", "bot", "--json"),
        "env > env.txt; git config --list >> env.txt; echo more >> README.md; "
        "printf 'Say more\\n\\nReaders asked for it.' > $RCLAUDE_COMMIT_MESSAGE",
    )
    task = done.json["id"]
    [pull] = forge.pulls[before:]
    assert done.json["pull_request"]["url"] == pull.url
    assert (pull.title.removeprefix("Draft: ").removeprefix("WIP: "), pull.draft) == ("Say more", True)
    assert (pull.base, pull.reviewers) == ("main", ["grace"] if kind not in ("github", "gitea") else [])
    assert pull.labels == ([] if kind == "bitbucket" else ["bot"])
    for part in (task, "`test -s README.md` | passed", "$0.0000", "Not everything could be set"):
        assert part in pull.body
    assert ("## Checklist" in pull.body) == bool(forge.templates)
    branch = f"rclaude/{task}"
    assert pull.head == branch
    assert forge.git(name, "show", f"{branch}:README.md") == "hello\nmore"
    assert TOKEN not in forge.git(name, "show", f"{branch}:env.txt")
    assert forge.git(name, "rev-parse", branch) == done.json["result"]["commit"]
    message = forge.git(name, "log", "-1", "--format=%an <%ae>%n%B", branch)
    assert message.startswith("Ada <ada@example.com>\nSay more\n\nReaders asked for it.\n\nRclaude-Task: ")
    assert "Co-authored-by: Remote Claude <" in message
    assert "env.txt" not in message

    assert pull.url in stack.ok("show", task).out
    assert stack.ok("pr", task).out.strip() == pull.url

    pull.body = f"People's words.\n\n{pull.body}"
    follow_up = stack.ok("resume", task, "echo and more >> README.md", "--json").json
    assert follow_up["pull_request"]["url"] == pull.url, "the same branch, the same pull request"
    assert forge.git(name, "show", f"{branch}:README.md") == "hello\nmore\nand more"
    assert forge.git(name, "rev-parse", f"{branch}~1") == done.json["result"]["commit"]
    assert pull.body.startswith("People's words.")
    assert follow_up["id"] in pull.body
    pull.remarks.append(("grace", "README.md:2", "Say why"))
    pull.checks.append(("lint", "E501 line too long"))
    stack.ok("pr", "fix", pull.url, 'printf %s "$RCLAUDE_FEEDBACK" > feedback.md', "--json")
    said = forge.git(name, "show", f"{branch}:feedback.md")
    assert "Comment by grace at README.md:2\n\nSay why" in said
    assert "Failing check: lint\n\nE501" in said
    assert len(forge.pulls) == before + 1
    logged = str(stack.events())
    assert "PullRequestOpened" in logged
    assert TOKEN not in logged
    assert pull.url not in logged


@pytest.mark.parametrize("kind", EACH_FORGE)
def test_a_forge_that_fails_leaves_the_task_as_it_was_and_pr_tries_again(
    connected: Connected, tmp_path: Path, kind: str
) -> None:
    stack, forge = connected[0], connected[1][kind]
    _, url = made(forge, tmp_path)
    before = len(forge.pulls)
    forge.failures["POST"] = [(403, {}), (500, {}), (500, {})]
    done = stack.ok("run", "--agent", "shell", "--repo", url, "--pr", "--json", "echo more >> README.md")
    task = done.json["id"]
    assert (done.json["state"], done.json["pull_request"]["reason"]) == ("succeeded", "forge_forbidden")
    assert f"rclaude repo connect {kind}" in stack.ok("show", task).out
    assert "hello" in stack.ok("diff", task).out

    again = stack.run("pr", task)
    assert (again.code, f"rclaude pr {task}" in again.err) == (REFUSED, True), again.err
    forge.failures["POST"].clear()
    assert stack.ok("pr", task).out.strip() == forge.pulls[-1].url
    assert len(forge.pulls) == before + 1
    assert forge.pulls[-1].title == "Change README.md"


def test_what_is_pushed_is_signed_and_does_nothing_on_the_forge(connected: Connected, tmp_path: Path) -> None:
    stack, forge = connected[0], connected[1]["github"]
    name, url = made(forge, tmp_path)
    public = stack.ok("org", "signing-key", "create").out.strip()
    assert stack.ok("org", "signing-key", "show").out.strip() == public
    signers = tmp_path / "signers"
    signers.write_text(f"* {public}\n")
    message = (
        "printf 'Say more\\n\\nFixes #3, asked by @grace.' > $RCLAUDE_COMMIT_MESSAGE; echo more >> README.md"
    )
    task = stack.ok("run", "--agent", "shell", "--repo", url, "--pr", "--json", message).json["id"]
    branch = f"rclaude/{task}"
    trusting = ("-c", f"gpg.ssh.allowedSignersFile={signers}")
    assert "Good " in forge.git_errors(name, *trusting, "verify-commit", "-v", branch)
    text = forge.git(name, "log", "-1", "--format=%B", branch)
    assert "Fixes #3" not in text
    assert "@grace" not in text
    assert "Fixes #3, asked by @grace." in text.replace("\u200b", "")
    assert "<agent@remote-claude.invalid>" in text
    follow_up = stack.ok("resume", task, "echo and more >> README.md", "--json").json
    assert follow_up["state"] == "succeeded"
    assert forge.git(name, "rev-list", "--count", branch) == "3"
    forge.git(name, *trusting, "verify-commit", branch, f"{branch}~1")
    stack.ok("org", "signing-key", "remove")
    assert "PRIVATE KEY" not in str(stack.events())


def test_a_task_without_a_commit_leaves_a_patch(connected: Connected, tmp_path: Path) -> None:
    stack, _ = connected
    repo = repository(tmp_path / "repo", {"README.md": "hello\n"})
    run = ("run", "--agent", "shell", "--repo", str(repo), "--patch-only", "--json")
    done = stack.ok(*run, "echo more >> README.md").json
    assert done["result"]["commit"] is None
    assert "+more" in stack.ok("diff", done["id"]).out
    applied = stack.ok("apply", done["id"], "--json", cwd=repo).json
    assert (applied["commit"], applied["files"]) == (None, ["README.md"])
    assert git(repo, "diff", "--cached", "--name-only") == "README.md\n"
    assert "more" in (repo / "README.md").read_text()
    refused = stack.run("run", "--repo", str(repo), "--patch-only", "--pr", "true")
    assert (refused.code, "--pr" in refused.err) == (2, True)


def test_what_a_clone_without_submodules_and_lfs_lacks_is_said(connected: Connected, tmp_path: Path) -> None:
    stack, forge = connected[0], connected[1]["github"]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    repo = repository(tmp_path / "repo", {".gitattributes": "*.bin filter=lfs\n", "model.bin": pointer})
    head = git(repo, "rev-parse", "HEAD").strip()
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{head},lib")
    git(repo, "commit", "--quiet", "-m", "a submodule")
    url = forge.repository(f"{forge.example.rpartition('/')[0]}/lacking", repo)
    done = stack.ok("run", "--agent", "shell", "--repo", url, "--json", "echo more > more.txt").json
    assert "submodules (lib) and the contents of LFS files (model.bin)" in done["detail"]
    assert done["detail"] in stack.ok("logs", done["id"]).out
    assert "submodules (lib)" in stack.ok("show", done["id"]).out


def test_repositories_are_listed_by_a_token_of_ones_own_or_an_app(
    connected: Connected, tmp_path: Path
) -> None:
    stack, forge = connected[0], connected[1]["github"]
    name, url = made(forge, tmp_path)
    assert name in stack.ok("repo", "list").out
    [found] = stack.ok("repo", "search", name.rpartition("/")[2], "--json").json
    assert (found["name"], found["private"], found["default_branch"]) == (name, True, "main")
    assert stack.ok("repo", "search", "no-such-name", "--json").json == []

    stack.ok("repo", "connect", "github", "--own", "--token-stdin", stdin=b"not-good\n")
    refused = stack.run("repo", "list", "--json")
    assert (refused.code, "refused the token" in refused.err + refused.out) == (2, True), (
        "the forge checks the person"
    )
    task = stack.run("run", "--agent", "shell", "--repo", url, "--json", "true").json
    assert (task["state"], task["reason"]) == ("failed", "repository_not_found")
    stack.ok("repo", "disconnect", "github", "--own")

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forge.app_key = key.public_key()
    file = tmp_path / "app.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    stack.ok("repo", "connect", "github", "--app", "12", "--installation", "34", "--key-file", str(file))
    assert name in stack.ok("repo", "list").out
    done = stack.ok("run", "--agent", "shell", "--repo", url, "--pr", "--json", "echo more >> README.md").json
    assert done["pull_request"]["state"] == "opened"
    assert "PRIVATE KEY" not in str(stack.events())
    stack.ok("repo", "connect", "github", "--token-stdin", stdin=f"{TOKEN}\n".encode())


def test_what_holds_whatever_the_forge(connected: Connected) -> None:
    stack, _ = connected
    refused = stack.run("run", "--agent", "shell", "--no-repo", "--pr", "--json", "true")
    assert (refused.code, refused.json["error"]["code"]) == (2, "pull_request_needs_url")
    unknown = stack.run("repo", "connect", "nowhere", "--token-stdin", stdin=b"x\n")
    assert (unknown.code, "codeberg" in unknown.err) == (2, True)
    stack.verified()
