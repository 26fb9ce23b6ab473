"""A release at an address: the shell installer and `rclaude self update` take what is signed, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from docker_host import ROOT
from product import Product
from remote_claude.cli import releases
from remote_claude.cli.errors import CliError


def recipe() -> Any:
    """The module `deploy/release/release.py`, which is in no package."""
    spec = spec_from_file_location("release_recipe", ROOT / "deploy/release/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = recipe()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


class Release:
    """A folder with a program of a version, served on the loopback."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.key = folder.parent / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        kind, public, *_ = self.key.with_suffix(".pub").read_text().split()
        self.signers = f'{RECIPE.SIGNER} namespaces="{RECIPE.NAMESPACE}" {kind} {public}'

    def publish(self, version: str) -> Path:
        """A program that says its version; its path."""
        program = self.folder / f"rclaude-{version}-{RECIPE.PLATFORM}"
        program.write_text(f"#!/bin/sh\necho rclaude {version}\n")
        RECIPE.render(
            RECIPE.HERE / "install.sh",
            self.folder / "install.sh",
            version,
            self.url,
            self.signers,
            self.folder,
        )
        RECIPE.sums(self.folder)
        self.sign()
        return program

    def sign(self, namespace: str = RECIPE.NAMESPACE) -> None:
        (self.folder / "SHA256SUMS.sig").unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", self.key, "-n", namespace, self.folder / "SHA256SUMS"],
            check=True,
        )


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    folder = tmp_path / "release"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Release(folder, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def installed(release: Release, place: Path) -> subprocess.CompletedProcess[str]:
    """What the published installer does for a user with this folder."""
    return subprocess.run(
        ["sh", str(release.folder / "install.sh")],
        env={"PATH": os.environ["PATH"], "HOME": str(place), "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )


def updated(release: Release, target: Path) -> str:
    """What `rclaude self update` does to a program; the version that it has then."""
    source = releases.Source(release.url, release.signers)
    found = releases.newest(source)
    releases.install(source, found, target)
    return found.version


def change_program(release: Release) -> None:
    with next(release.folder.glob("rclaude-*-*")).open("a") as file:
        file.write("echo something else\n")


def change_sums(release: Release) -> None:
    change_program(release)
    RECIPE.sums(release.folder)


def sign_for_something_else(release: Release) -> None:
    release.sign("file")


def sign_with_another_key(release: Release) -> None:
    release.key.unlink()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", release.key], input=b"y\n", check=True
    )
    release.sign()


def test_a_release_is_installed_and_a_newer_one_takes_its_place(release: Release, tmp_path: Path) -> None:
    release.publish("0.1.0")
    done = installed(release, tmp_path)
    program = tmp_path / ".local" / "bin" / "rclaude"
    assert done.returncode == 0, done.stderr
    assert "rclaude 0.1.0" in done.stdout
    release.publish("0.1.0").unlink()
    release.publish("0.10.0")
    assert updated(release, program) == "0.10.0"
    assert subprocess.check_output([str(program)], text=True) == "rclaude 0.10.0\n"
    assert releases.is_newer("0.10.0", "0.9.2")
    assert not releases.is_newer("0.9.2", "0.10.0")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (change_program, "checksum_wrong"),
        (change_sums, "signature_wrong"),
        (sign_for_something_else, "signature_wrong"),
        (sign_with_another_key, "signature_wrong"),
    ],
)
def test_what_is_not_signed_is_not_installed(
    release: Release, tmp_path: Path, change: Callable[[Release], None], code: str
) -> None:
    release.publish("0.1.0")
    change(release)
    done = installed(release, tmp_path)
    assert done.returncode == 1
    assert "nothing was installed" in done.stderr
    assert not (tmp_path / ".local").exists()
    program = tmp_path / "rclaude"
    program.write_text("the one before")
    with pytest.raises(CliError) as refused:
        updated(release, program)
    assert refused.value.code == code
    assert program.read_text() == "the one before"


def test_a_program_in_a_clone_says_how_it_is_upgraded(tmp_path: Path) -> None:
    refused = Product(tmp_path / "home").run("self", "update", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "installed_otherwise")
    assert f"git -C {ROOT} pull && make -C {ROOT} install" in refused.json["error"]["detail"]


@pytest.mark.nightly  # builds all distributions and a binary: minutes
def test_a_whole_release_is_built_and_its_binary_updates_itself(release: Release, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "RCLAUDE_RELEASE_KEY": str(release.key),
        "RCLAUDE_RELEASES": release.url,
        "no_proxy": "127.0.0.1",
    }
    subprocess.run([sys.executable, str(RECIPE.HERE / "release.py")], env=environment, check=True)
    version = RECIPE.version(ROOT)
    built = RECIPE.WORK / version
    names = {file.name for file in built.iterdir()}
    assert {
        f"remote_claude-{version}.tar.gz",
        f"rclaude_{version}_amd64.deb",
        "install.sh",
        "rclaude.rb",
    } <= names
    assert len([name for name in names if name.endswith(".whl")]) == len(RECIPE.MEMBERS)
    materials = json.loads((built / f"remote-claude-{version}.cdx.json").read_text())
    assert {"remote-claude-gateway", "nats-py", "claude-agent-sdk"} <= {
        part["name"] for part in materials["components"]
    }
    subprocess.run(
        ["dpkg-deb", "--extract", built / f"rclaude_{version}_amd64.deb", tmp_path / "deb"], check=True
    )
    packaged = tmp_path / "deb" / "usr" / "bin" / "rclaude"
    assert subprocess.check_output([str(packaged), "--version"], text=True) == f"rclaude {version}\n"
    sources = tmp_path / "sources"
    subprocess.run([RECIPE.UV, "venv", "--quiet", sources], check=True)
    subprocess.run(
        [RECIPE.UV, "pip", "install", "--quiet", "--no-deps", "--python", sources, *built.glob("*.tar.gz")],
        check=True,
    )
    for file in built.iterdir():
        (release.folder / file.name).write_bytes(file.read_bytes())
    done = installed(release, tmp_path)
    assert done.returncode == 0, done.stderr
    (release.folder / f"rclaude-{version}-{RECIPE.PLATFORM}").unlink()
    release.publish("99.0.0")
    program = tmp_path / ".local" / "bin" / "rclaude"
    subprocess.run([str(program), "self", "update"], env=environment, check=True)
    assert subprocess.check_output([str(program), "--version"], text=True) == "rclaude 99.0.0\n"
