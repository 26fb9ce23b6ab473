"""A task on a GitHub repository ends with a pushed branch and a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from github import TOKEN, GitHubDouble, github_double
from product import Product, product, repository

REFUSED = 1


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubDouble]:
    with github_double(tmp_path_factory.mktemp("forge")) as double:
        yield double


@pytest.fixture(scope="module")
def connected(forge: GitHubDouble) -> Iterator[Product]:
    environment = {
        "RCLAUDE_RUNNER_GITHUB_API": forge.api,
        "RCLAUDE_RUNNER_PULL_REQUEST_GIVE_UP_S": "0.1",
        "RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8",
    }
    with product(environment) as stack:
        stack.ok("repo", "connect", "github", "--token-stdin", stdin=f"{TOKEN}\n".encode())
        yield stack


@pytest.fixture
def url(forge: GitHubDouble, tmp_path: Path) -> str:
    return forge.repository(f"ada/{tmp_path.name}", repository(tmp_path / "repo", {"README.md": "hello\n"}))


def test_a_task_ends_with_a_branch_and_one_pull_request(
    forge: GitHubDouble, connected: Product, url: str
) -> None:
    name = url.removeprefix(f"{forge.url}/")
    before = len(forge.pulls)
    done = connected.ok(
        *("run", "--agent", "shell", "--repo", url, "--pr", "--draft", "--title", "Say more", "--json"),
        "env > env.txt; git config --list >> env.txt; echo more >> README.md",
    )
    task = done.json["id"]
    [pull] = forge.pulls[before:]
    assert done.json["pull_request"]["url"] == pull["html_url"]
    assert (pull["title"], pull["draft"], pull["base"]["ref"]) == ("Say more", True, "main")
    assert task in pull["body"]
    branch = f"rclaude/{task}"
    assert pull["head"]["ref"] == branch
    assert forge.git(name, "show", f"{branch}:README.md") == "hello\nmore"
    assert TOKEN not in forge.git(name, "show", f"{branch}:env.txt")
    assert forge.git(name, "rev-parse", branch) == done.json["result"]["commit"]

    assert pull["html_url"] in connected.ok("show", task).out
    assert connected.ok("pr", task).out.strip() == pull["html_url"]
    assert len(forge.pulls) == before + 1

    follow_up = connected.ok("resume", task, "echo and more >> README.md", "--json").json
    assert follow_up["pull_request"]["url"] == pull["html_url"], "the same branch, the same pull request"
    assert forge.git(name, "show", f"{branch}:README.md") == "hello\nmore\nand more"
    assert forge.git(name, "rev-parse", f"{branch}~1") == done.json["result"]["commit"]
    assert len(forge.pulls) == before + 1
    logged = str(connected.events())
    assert "PullRequestOpened" in logged
    assert TOKEN not in logged
    assert pull["html_url"] not in logged
    connected.verified()


def test_a_forge_that_fails_leaves_the_task_as_it_was_and_pr_tries_again(
    forge: GitHubDouble, connected: Product, url: str
) -> None:
    before = len(forge.pulls)
    forge.failures["POST"] = [(403, {}), (500, {}), (500, {})]
    done = connected.ok("run", "--agent", "shell", "--repo", url, "--pr", "--json", "echo more >> README.md")
    task = done.json["id"]
    assert (done.json["state"], done.json["pull_request"]["reason"]) == ("succeeded", "forge_forbidden")
    assert "rclaude repo connect github" in connected.ok("show", task).out
    assert "hello" in connected.ok("diff", task).out

    again = connected.run("pr", task)
    assert (again.code, f"rclaude pr {task}" in again.err) == (REFUSED, True), again.err
    assert connected.ok("pr", task).out.strip() == forge.pulls[-1]["html_url"]
    assert len(forge.pulls) == before + 1
    assert forge.pulls[-1]["title"] == "echo more >> README.md"


def test_a_pull_request_needs_the_url_of_its_repository(connected: Product) -> None:
    refused = connected.run("run", "--agent", "shell", "--no-repo", "--pr", "--json", "true")
    assert (refused.code, refused.json["error"]["code"]) == (2, "pull_request_needs_url")
