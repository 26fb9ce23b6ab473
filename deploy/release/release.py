"""`make release`: all files of one version, in `build/release/<version>`, built from the last commit.

RCLAUDE_RELEASE_KEY names the private key that signs them (`ssh-keygen -t ed25519`), RCLAUDE_RELEASES the address at which
they will be published. A build without a key is a draft: it is signed by a key that is made for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "release"
WORK = ROOT / "build" / "release"
UV = Path(sys.executable).with_name("uv")
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
MEMBERS = sorted(
    str(file.parent.relative_to(ROOT)) for each in WORKSPACE for file in ROOT.glob(f"{each}/pyproject.toml")
)
NAMESPACE = "remote-claude-release"
"""What a signature is good for: another use of the same key does not pass as a release."""
SIGNER = "release@remote-claude"
PLATFORM = f"{platform.system().lower()}-{platform.machine()}"


def main() -> None:
    """Build, check that it installs, sum and sign."""
    number = version(ROOT)
    release = WORK / number
    for folder in (release, WORK / "work"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    source = export(WORK / "work" / "source", number)
    key, signers = signing_key()
    url = os.environ.get("RCLAUDE_RELEASES", "")
    say(f"{number}: distributions")
    for member in MEMBERS:
        run(UV, "build", "--quiet", "--no-build-isolation", "--out-dir", release, source / member)
    (release / ".gitignore").unlink(missing_ok=True)
    say("the whole product in a clean environment")
    whole = environment(WORK / "work" / "whole", release, f"remote-claude[embedded]=={number}")
    run(whole / "bin" / "rclaude", "--version")
    run(whole / "bin" / "rclaude-admin", "--help", quiet=True)
    say("the command line as a binary")
    client = environment(WORK / "work" / "client", release, f"remote-claude[aws]=={number}")
    materials = {f"remote-claude-{number}.cdx.json": whole, f"rclaude-{number}-{PLATFORM}.cdx.json": client}
    for name, folder in materials.items():
        bill_of_materials(folder, release / name)
    about = {"version": number, "url": url, "signers": signers}
    binary(client, release / f"rclaude-{number}-{PLATFORM}", about)
    if shutil.which("dpkg-deb"):
        say("the package of Debian")
        debian(number, release)
    for name in ("install.sh", "rclaude.rb"):
        render(HERE / name, release / name, number, url, signers, release)
    say("checksums and signature")
    sums(release)
    run("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, release / "SHA256SUMS")
    say(f"ready: {release}")


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def run(*command: str | Path, quiet: bool = False, **environment: str) -> None:
    """A command, which must succeed."""
    subprocess.run(
        [str(part) for part in command],
        check=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL if quiet else None,
    )


def output(*command: str | Path) -> str:
    """What a command prints."""
    done = subprocess.run(
        [str(part) for part in command], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout


def version(root: Path) -> str:
    """The version that all members have. Ends the process where they differ, or the changelog does not name it."""
    found = {
        member: tomllib.loads((root / member / "pyproject.toml").read_text())["project"]["version"]
        for member in MEMBERS
    }
    if len({*found.values()}) != 1:
        sys.exit(f"the members have different versions: {found}")
    number = str(found["cli"])
    if f"## [{number}]" not in (root / "CHANGELOG.md").read_text():
        say(f"a draft: CHANGELOG.md has no section [{number}]")
    return number


def export(folder: Path, number: str) -> Path:
    """The last commit, with the licence in each member; members of a release need each other at exactly this version."""
    folder.mkdir()
    archive = subprocess.Popen(["git", "archive", "--format=tar", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
    if archive.wait():
        sys.exit("git archive failed")
    for member in MEMBERS:
        shutil.copy(ROOT / "LICENSE", folder / member / "LICENSE")
        project = folder / member / "pyproject.toml"
        project.write_text(pinned(project.read_text(), number))
    return folder


def pinned(project: str, number: str) -> str:
    """A pyproject whose requirements on other members name their version."""
    return re.sub(r'(?<!name = )"(remote-claude-[a-z]+(?:\[\w+\])?)"', rf'"\1=={number}"', project)


def signing_key() -> tuple[Path, str]:
    """The private key, and its public one as a line of a file of allowed signers."""
    given = os.environ.get("RCLAUDE_RELEASE_KEY")
    key = Path(given) if given else WORK / "work" / "draft-key"
    if not given:
        say("a draft: signed by a key made for it; RCLAUDE_RELEASE_KEY names yours")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "draft", "-f", key)
    kind, public = output("ssh-keygen", "-y", "-P", "", "-f", key).split()[:2]
    if kind != "ssh-ed25519":
        sys.exit(f"{key} is {kind}: a release is signed by an Ed25519 key (`ssh-keygen -t ed25519`)")
    return key, f'{SIGNER} namespaces="{NAMESPACE}" {kind} {public}'


def environment(folder: Path, release: Path, requirement: str) -> Path:
    """A virtual environment with what was built, and its dependencies as `requirements.lock` has them."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(
        UV, "pip", "install", "--quiet", "--python", folder, "--find-links", release,
        "--constraint", ROOT / "requirements.lock", "--no-sources", requirement,
    )  # fmt: skip
    return folder


def binary(client: Path, target: Path, about: dict[str, str]) -> None:
    """One file, and beside it in the work folder the same as a folder."""
    work = WORK / "work" / "binary"
    work.mkdir()
    (work / "rclaude.py").write_text("from remote_claude.cli import main\n\nmain()\n")
    (work / "release.json").write_text(json.dumps(about))
    run(
        UV, "pip", "install", "--quiet", "--python", client,
        "--constraint", ROOT / "requirements-release.lock", "pyinstaller",
    )  # fmt: skip
    run(
        client / "bin" / "pyinstaller", "--log-level", "ERROR", "--noconfirm", "--distpath", work / "out",
        "--workpath", work / "build", HERE / "rclaude.spec",
        RELEASE_WORK=str(work), PYTHONHASHSEED="0",
    )  # fmt: skip
    shutil.move(work / "out" / "rclaude", target)
    run(target, "--version")
    run(
        target, "profile", "list", "--json", quiet=True, RCLAUDE_HOME=str(work / "home")
    )  # reads options, as --version does not


def bill_of_materials(folder: Path, target: Path) -> None:
    """What an environment has in it, as CycloneDX. The tool runs in an environment of its own."""
    tools = WORK / "tools"
    if not (tools / "bin" / "cyclonedx-py").exists():
        run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, tools)
        run(
            UV, "pip", "install", "--quiet", "--python", tools, "--require-hashes",
            "--requirement", ROOT / "requirements-release.lock",
        )  # fmt: skip
    run(
        tools / "bin" / "cyclonedx-py", "environment", "--output-reproducible", "--output-format", "JSON",
        "--output-file", target, folder,
    )  # fmt: skip


def debian(number: str, release: Path) -> None:
    """`rclaude_<version>_<architecture>.deb`: the folder in /usr/lib, a link in /usr/bin."""
    root = WORK / "work" / "debian"
    shutil.copytree(
        WORK / "work" / "binary" / "out" / "folder", root / "usr" / "lib" / "rclaude", symlinks=True
    )
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "rclaude").symlink_to("../lib/rclaude/rclaude")
    documents = root / "usr" / "share" / "doc" / "rclaude"
    documents.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", documents / "copyright")
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) // 1024
    architecture = output("dpkg", "--print-architecture").strip()
    (root / "DEBIAN").mkdir(mode=0o755)
    (root / "DEBIAN" / "control").write_text(
        f"Package: rclaude\nVersion: {number}\nArchitecture: {architecture}\nInstalled-Size: {size}\n"
        f"Depends: libc6 (>= {libc()}), git\nSection: devel\nPriority: optional\n"
        "Maintainer: Remote Claude <release@remote-claude.invalid>\n"
        "Description: hand a coding task to an agent and close the laptop\n"
    )
    run(
        "dpkg-deb", "--root-owner-group", "-Zxz", "--build", root,
        release / f"rclaude_{number}_{architecture}.deb", quiet=True,
    )  # fmt: skip


def libc() -> str:
    """The C library of this machine: a binary needs no older one."""
    return platform.libc_ver()[1]


def render(template: Path, target: Path, number: str, url: str, signers: str, release: Path) -> None:
    """Fill the places `@NAME@` of a template."""
    values = {
        "VERSION": number,
        "URL": url,
        "SIGNERS": signers,
        "NAMESPACE": NAMESPACE,
        "SIGNER": SIGNER,
        "PLATFORM": PLATFORM,
        "SHA256": digest(release / f"rclaude-{number}-{PLATFORM}"),
    }
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    target.write_text(text)
    target.chmod(0o755 if target.suffix == ".sh" else 0o644)


def sums(release: Path) -> None:
    """`SHA256SUMS` over all files, as `sha256sum --check` reads it."""
    (release / "SHA256SUMS").write_text("".join(lines(sorted(release.iterdir()))))


def lines(files: Iterable[Path]) -> Iterable[str]:
    """A line for each file."""
    return (f"{digest(file)}  {file.name}\n" for file in files)


def digest(file: Path) -> str:
    """SHA-256, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


if __name__ == "__main__":
    main()
