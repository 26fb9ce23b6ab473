"""The rules of the house, held by reading the imports."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("auth", "users", "gateway", "scheduler", "billing", "runner")
SHARED = ("concurrency", "contracts", "eventsourcing", "access", "edge", "outbound", "runtime")
PACKAGES = {
    **{name: ROOT / "services" / name / "src/remote_claude" / name for name in SERVICES},
    **{name: ROOT / "shared/src/remote_claude" / name for name in SHARED},
    "cli": ROOT / "cli/src/remote_claude/cli",
    "worker": ROOT / "services/runner/worker/src/remote_claude/worker",
}
LAYERS = {"domain": 0, "projections": 1, "handlers": 2, "consumers": 3, "api": 3, "service": 4}
IMPURE = {
    "asyncio", "fastapi", "faststream", "httpx2", "nats", "os", "psycopg", "random", "secrets", "socket",
    "sqlmodel", "subprocess", "time", "uuid", "uuid_utils",
}  # fmt: skip
CLOCKS = re.compile(r"\b(datetime\.now|datetime\.utcnow|date\.today|time\.time|monotonic\(|uuid4|new_id\()")


def modules(package: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(package.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """The package of ours that an imported name belongs to."""
    parts = name.split(".")
    return parts[1] if parts[0] == "remote_claude" and len(parts) > 1 else None


def found(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules(PACKAGES[package])
        for name in imports(tree)
        if own(name) in forbidden
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_services_never_import_each_other(service: str) -> None:
    assert found(service, {*SERVICES, "cli"} - {service}) == []


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("concurrency", {*SERVICES, "cli", "contracts", "eventsourcing", "access", "edge", "runtime"}),
        ("contracts", {*SERVICES, "cli", "concurrency", "eventsourcing", "access", "edge", "runtime"}),
        ("eventsourcing", {*SERVICES, "cli", "contracts", "access", "edge", "runtime"}),
        ("access", {*SERVICES, "cli", "edge", "runtime"}),
        ("edge", {*SERVICES, "cli", "runtime"}),
        ("outbound", {*SERVICES, "cli", *SHARED} - {"outbound"}),
        ("runtime", {*SERVICES, "cli"}),
        ("cli", {*SERVICES, *SHARED}),
        ("worker", {*SERVICES, *SHARED, "cli"}),
    ],
)
def test_shared_packages_and_the_cli_keep_to_their_layer(package: str, forbidden: set[str]) -> None:
    assert found(package, forbidden) == []


def test_contracts_import_the_standard_library_pydantic_and_orjson_only() -> None:
    outside = {
        name.split(".")[0]
        for _, tree in modules(PACKAGES["contracts"])
        for name in imports(tree)
        if own(name) is None
    }
    assert outside - set(sys.stdlib_module_names) <= {"pydantic", "orjson"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_rooms_in_order(service: str) -> None:
    wrong = []
    for path, tree in modules(PACKAGES[service]):
        layer = LAYERS.get(path.relative_to(PACKAGES[service]).parts[0].removesuffix(".py"))
        for name in imports(tree):
            if own(name) == service and layer is not None:
                room = [*name.split("."), ""][2]
                if LAYERS.get(room, -1) > layer:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_domains_are_pure(service: str) -> None:
    for path, tree in modules(PACKAGES[service] / "domain"):
        assert not {name.split(".")[0] for name in imports(tree)} & IMPURE, path
        assert not CLOCKS.search(path.read_text()), path


@pytest.mark.parametrize(("library", "home"), [("stripe", "billing"), ("authlib", "auth")])
def test_an_outside_service_is_known_to_one_of_ours_only(library: str, home: str) -> None:
    users = {
        package
        for package, folder in PACKAGES.items()
        for _, tree in modules(folder)
        for name in imports(tree)
        if name.split(".")[0] == library
    }
    assert users <= {home}


@pytest.mark.parametrize("service", SERVICES)
def test_no_sql_touches_another_services_schema(service: str) -> None:
    schemas = re.compile(
        rf"\b({'|'.join(s for s in SERVICES if s != service)})_[a-z]+\.[a-z_]+ ", re.IGNORECASE
    )
    for path, tree in modules(PACKAGES[service]):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not (
                    re.search(r"\b(FROM|JOIN|INTO|UPDATE)\b", node.value) and schemas.search(node.value)
                ), path


def test_mypy_reads_every_file() -> None:
    """It counts as many files as there are."""
    done = subprocess.run([ROOT / ".venv/bin/mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    folders = [*PACKAGES.values(), ROOT / "tests", ROOT / "deploy"]
    files = sum(1 for folder in folders for _ in folder.rglob("*.py"))
    checked = re.search(r"\(checked (\d+) source files\)|in (\d+) source files", done.stdout)
    assert checked is not None, done.stdout
    assert int(checked[1] or checked[2]) == files


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_makes_the_namespace_its_own(package: str) -> None:
    assert not (PACKAGES[package].parent / "__init__.py").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_without_any_other(service: str) -> None:
    code = (
        f"import remote_claude.{service}.service, sys;"
        f"others = [m for m in sys.modules if m.split('.')[:1] == ['remote_claude'] and m.count('.') > 0"
        f" and m.split('.')[1] in {set(SERVICES) - {service}!r}];"
        "assert not others, others"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_waits_with_wait_for(package: str) -> None:
    """On Python 3.11 `asyncio.wait_for` can swallow a cancellation: `asyncio.timeout` can't."""
    for path, tree in modules(PACKAGES[package]):
        assert "asyncio.wait_for" not in ast.unparse(tree), path


@pytest.mark.parametrize("package", PACKAGES)
def test_connections_of_the_pool_are_borrowed(package: str) -> None:
    """The pool itself waits with `asyncio.wait_for`."""
    for path, tree in modules(PACKAGES[package]):
        assert path.name == "schemas.py" or "pool.connection(" not in ast.unparse(tree), path
