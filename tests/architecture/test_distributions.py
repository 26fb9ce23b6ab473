"""Each service installs alone: its own wheel and the shared one, and nothing else of ours."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("auth", "users", "gateway", "scheduler", "billing", "runner")


def wheel(member: str, folder: Path) -> Path:
    """Build a member's wheel, without a network."""
    before = set(folder.glob("*.whl"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT / member, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = set(folder.glob("*.whl")) - before
    return built


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel("shared", tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_installs_and_imports_with_no_other_of_ours(
    service: str, shared: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    extra = [wheel("services/runner/worker", tmp_path)] if service == "runner" else []
    for file in (shared, *extra, wheel(f"services/{service}", tmp_path)):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(site)
    others = [name for name in SERVICES if name != service] + ["cli"]
    code = f"""
import sys
sys.path[:0] = [{str(site)!r}]
sys.path.append({sysconfig.get_paths()["purelib"]!r})  # third parties; the workspace's own links are not followed
import importlib.util
import remote_claude.{service}.service as service
assert service.__file__.startswith({str(site)!r}), service.__file__
assert callable(service.build)
for other in {others!r}:
    assert importlib.util.find_spec(f"remote_claude.{{other}}") is None, other
"""
    subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=tmp_path)


def test_the_cli_installs_with_the_sdk_alone_and_says_what_the_stack_needs(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for member in ("shared/client", "cli"):
        with zipfile.ZipFile(wheel(member, tmp_path)) as archive:
            archive.extractall(site)
    code = f"""
import sys
sys.path[:0] = [{str(site)!r}]
sys.path.append({sysconfig.get_paths()["purelib"]!r})
from remote_claude.client import AsyncClient, Client
assert Client.__module__.startswith("remote_claude.client")
sys.argv = ["rclaude", "up"]
from remote_claude.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env={"RCLAUDE_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "remote-claude[embedded]" in done.stderr
