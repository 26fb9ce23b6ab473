"""Ignored files, submodules and LFS contents that are sent with the repository."""

from pathlib import Path

import pytest

from product import Product, git


@pytest.fixture
def project(repo: Path) -> Path:
    (repo / ".gitignore").write_text(".env\n*.log\nbuilt/\n")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "--message", "ignore")
    (repo / ".env").write_text("TOKEN=made-up\r\n")
    (repo / "noise.log").write_text("noise\n")
    (repo / "built" / "bin").mkdir(parents=True)
    (repo / "built" / "bin" / "tool").write_text("#!/bin/sh\necho tool runs\n")
    (repo / "built" / "bin" / "tool").chmod(0o755)
    (repo / "built" / "link").symlink_to("bin/tool")
    return repo


def test_ignored_files_stay_here_unless_they_are_named(stack: Product, project: Path) -> None:
    done = stack.ok(
        "run", "--agent", "shell", "find . -name .env -o -name built -o -name '*.log'", cwd=project
    )
    assert "./" not in done.out
    assert "not sent: ignored files (.env, built/ (2 files), noise.log; `--include PATTERN`" in done.err


def test_what_include_names_goes_along_byte_for_byte_and_does_not_come_back(
    stack: Product, project: Path
) -> None:
    prompt = "od -c .env; built/bin/tool; built/link; ls *.log; echo new > new.txt"
    done = stack.ok(
        "run", "--agent", "shell", "--json", "--include", ".env", "--include", "built/", prompt, cwd=project
    )
    assert "sent: ignored files (.env, built/ (2 files)); not sent: ignored files (noise.log)" in done.err
    said = stack.ok("logs", done.json["id"]).out
    assert r"\r  \n" in said
    assert said.count("tool runs") == 2
    assert "No such file" in said
    patch = stack.ok("diff", done.json["id"]).out
    assert "new.txt" in patch
    assert "TOKEN" not in patch


def test_a_file_in_the_repository_names_them_too(stack: Product, project: Path) -> None:
    (project / ".worktreeinclude").write_text("# for agents\n*\n!*.log\n")
    done = stack.ok("run", "--agent", "shell", "cat .env; ls", cwd=project)
    assert "TOKEN=made-up" in done.out
    assert "noise.log" not in done.out


def test_lfs_contents_on_this_disk_go_along_and_stay_pointers(stack: Product, repo: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1"
    git(repo, "config", "filter.lfs.clean", f"sed 's|.*|{pointer}|'")
    git(repo, "config", "filter.lfs.smudge", "cat")
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo / "model.bin").write_text("the contents\n")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "--message", "large")
    assert pointer in git(repo, "show", "HEAD:model.bin")
    done = stack.ok("run", "--agent", "shell", "--json", "cat model.bin; echo new > new.txt", cwd=repo)
    assert "sent: LFS contents (model.bin)" in done.err
    assert "the contents" in stack.ok("logs", done.json["id"]).out
    assert "model.bin" not in stack.ok("diff", done.json["id"]).out


def test_include_needs_a_repository_on_this_disk(stack: Product) -> None:
    refused = stack.run("run", "--agent", "shell", "--no-repo", "--include", ".env", "true")
    assert (refused.code, "--include" in refused.err) == (2, True)


def test_the_files_of_submodules_are_sent_and_a_change_in_one_is_named(
    stack: Product, repo: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    git(tmp_path, "init", "--quiet", "library")
    (library / "lib.txt").write_text("as committed\n")
    (library / "old.txt").write_text("old\n")
    git(library, "add", ".")
    git(library, "commit", "--quiet", "--message", "library")
    for place in ("vendor/lib", "vendor/absent"):
        git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), place)
    git(repo, "commit", "--quiet", "--message", "submodules")
    git(repo, "submodule", "--quiet", "deinit", "vendor/absent")
    (repo / "vendor" / "lib" / "lib.txt").write_text("as it is here\n")
    prompt = "cat vendor/lib/lib.txt; echo x > vendor/lib/new.txt; rm vendor/lib/old.txt; echo y > new.txt"
    done = stack.ok("run", "--agent", "shell", "--json", prompt, cwd=repo)
    assert (
        "sent: submodules (vendor/lib/ (2 files)); not sent: submodules (vendor/absent: not checked"
        in done.err
    )
    assert "as it is here" in stack.ok("logs", done.json["id"]).out
    detail = done.json["detail"]
    assert "vendor/lib/new.txt (in a submodule), vendor/lib/old.txt (in a submodule)" in detail
    assert "lib/lib.txt" not in detail
    patch = stack.ok("diff", done.json["id"]).out
    assert "new.txt" in patch
    assert "vendor" not in patch
