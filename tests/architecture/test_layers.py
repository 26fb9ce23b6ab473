"""Which module may import which, checked by reading the imports."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("auth", "users", "gateway", "scheduler", "billing", "runner")
SHARED = ("concurrency", "contracts", "eventsourcing", "access", "edge", "outbound", "runtime")
PACKAGES = {
    **{name: ROOT / "services" / name / "src/remote_claude" / name for name in SERVICES},
    **{name: ROOT / "shared/src/remote_claude" / name for name in SHARED},
    "client": ROOT / "shared/client/src/remote_claude/client",
    "cli": ROOT / "cli/src/remote_claude/cli",
    "worker": ROOT / "services/runner/worker/src/remote_claude/worker",
}
LAYERS = {"domain": 0, "projections": 1, "handlers": 2, "consumers": 3, "api": 3, "admin": 4, "service": 5}
"""The parts that every service has, each with its layer. A part imports its own layer and those below."""
OWN_LAYERS: dict[str, dict[str, int]] = {
    "auth": {"settings": 0, "providers": 1, "token_signing": 2, "tickets": 2},
    "users": {"settings": 0, "mailer": 1, "ticket_mails": 3, "mail_answers": 3, "erasures": 3, "key_admin": 4, "stacks": 4, "ticket_admin": 4},
    "gateway": {"settings": 0, "message_delivery": 2, "dashboard": 3, "waiting_reasons": 2, "month_budgets": 2, "log_waits": 0, "live_tasks": 2, "watchers": 2, "webhook_deliveries": 2, "sockets": 3, "content_removal": 3, "retention_admin": 4},
    "scheduler": {"settings": 0, "leadership": 2, "terms": 3, "broker_requests": 4, "process": 4, "metrics": 4},
    "billing": {
        "settings": 0, "documents": 0, "invoice_signing": 0, "stripe_adapter": 0, "plan_sizes": 1, "simulation": 2, "margin": 2, "month_answers": 2, "sla": 2,
        "invoices": 3, "invoice_issuing": 3, "exports": 3, "coupons": 3, "stripe_worker": 3, "mails": 3, "rederive": 3, "watch": 4, "storage": 4, "metrics": 4, "admin_work": 4, "invoice_admin": 4, "sla_admin": 4,
    },
    "runner": {
        "agents": 0, "worker": 0, "unix_sockets": 0, "providers": 1, "egress": 2, "sessions": 2, "model_proxy": 2,
        "stopping": 0, "lineage": 0, "billed_time": 3, "settings": 3, "leases": 3, "execution": 3, "forges": 3, "assignments": 4,
        "machines": 3, "relayed": 3, "runner_lifecycle": 4,
    },
}  # fmt: skip
"""The parts that only this service has."""
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
        ("client", {*SERVICES, *SHARED, "cli"}),
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
def test_a_service_has_its_layers_in_order(service: str) -> None:
    layers = LAYERS | OWN_LAYERS[service]
    wrong = []
    for path, tree in modules(PACKAGES[service]):
        here = path.relative_to(PACKAGES[service]).parts[0].removesuffix(".py")
        if here in {"__init__", "__main__"}:
            continue
        if here not in layers:
            wrong.append(f"{path.relative_to(ROOT)} is in no layer: give it one in OWN_LAYERS")
            continue
        for name in imports(tree):
            part = [*name.split("."), ""][2] if own(name) == service else ""
            if layers.get(part, -1) > layers[here]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_two_parts_of_a_service_import_each_other(service: str) -> None:
    """Not by way of others either."""
    graph: dict[str, set[str]] = {}
    for path, tree in modules(PACKAGES[service]):
        here = path.relative_to(PACKAGES[service]).parts[0].removesuffix(".py")
        there = {[*name.split("."), ""][2] for name in imports(tree) if own(name) == service}
        graph.setdefault(here, set()).update(there - {here, ""})
    TopologicalSorter(graph).prepare()


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


@pytest.mark.timeout(900)  # without a cache, beside other tests
def test_types_hold_in_every_file() -> None:
    """What `make types` does, beside the other tests: mypy finds nothing, and has read as many files as there are."""
    done = subprocess.run([ROOT / ".venv/bin/mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    folders = [*PACKAGES.values(), ROOT / "tests", ROOT / "deploy"]
    files = sum(1 for folder in folders for _ in folder.rglob("*.py"))
    checked = re.search(r"\(checked (\d+) source files\)|in (\d+) source files", done.stdout)
    assert done.returncode == 0, done.stdout
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


@pytest.mark.parametrize("package", PACKAGES)
def test_private_members_of_nats_py_are_used_in_one_module(package: str) -> None:
    """A release of nats-py may move them; `jetstream/fast_connection.py` is the place to look then."""
    used = {
        (path.name, node.attr)
        for path, tree in modules(PACKAGES[package])
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and getattr(node.value, "attr", getattr(node.value, "id", None)) in {"client", "nats", "nc"}
    }
    assert {name for name, _ in used} == ({"fast_connection.py"} if package == "eventsourcing" else set())


# From the bottom up. A part imports what is below it and itself, and nothing of the parts beside it.
PACKAGE_LAYERS: dict[str, list[set[str]]] = {
    "eventsourcing": [{"core"}, {"jetstream", "postgres"}],
    "runtime": [
        {"ids", "durable_files", "lean_imports", "purpose", "settings", "sealed_objects", "mail"},
        {"objects", "manifests", "agent_output", "owner", "broker", "telemetry"},
        {"archive", "settings_sources"},
        {"service"},
        {"http", "instruments", "schema_page", "used_keys"},
        {"host"},
        {"embedded"},
        {"admin", "reference"},
    ],
}
PARTS = {"eventsourcing": {"jetstream", "postgres"}}


def part(package: str, dotted: str) -> str | None:
    """The part of a module of a package, by the module's name below the package; None for the package itself."""
    first = dotted.split(".")[0]
    if package == "eventsourcing":
        return first if first in PARTS[package] else "core"
    return None if first in {"", "__init__", "__main__"} else first


def arrows(package: str) -> Iterator[tuple[str, str, str]]:
    """Which part imports which, and where that is."""
    prefix = f"remote_claude.{package}."
    for path, tree in modules(PACKAGES[package]):
        here = part(package, ".".join(path.relative_to(PACKAGES[package]).with_suffix("").parts))
        for name in imports(tree):
            there = part(package, name.removeprefix(prefix)) if name.startswith(prefix) else None
            if here is not None and there is not None and here != there:
                yield here, there, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", PACKAGE_LAYERS)
def test_every_module_is_in_a_part(package: str) -> None:
    known = set().union(*PACKAGE_LAYERS[package])
    found = {
        part(package, ".".join(path.relative_to(PACKAGES[package]).with_suffix("").parts))
        for path, _ in modules(PACKAGES[package])
    }
    assert found - {None} == known


@pytest.mark.parametrize("package", PACKAGE_LAYERS)
def test_parts_import_what_is_below_them_only(package: str) -> None:
    level = {name: n for n, parts in enumerate(PACKAGE_LAYERS[package]) for name in parts}
    assert [where for here, there, where in arrows(package) if level[there] >= level[here]] == []


PROCESSES = {
    "server": [*SERVICES, *SHARED, "worker/protocol"],
    "worker": ["worker"],
    "cli": ["cli", "client"],
}


def public_classes(package: str) -> Iterator[tuple[str, str]]:
    """Name and module of each public class. Rows of views are left out: they have the name of their aggregate."""
    first, _, below = package.partition("/")
    for path, tree in modules(PACKAGES[first] / below):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                row = "projections" in path.parts and any(
                    k.arg in {"table", "registry"} for k in node.keywords
                )
                if not row and path != PACKAGES["client"] / "models.py":  # generated
                    yield node.name, str(path.relative_to(ROOT))


@pytest.mark.parametrize("process", PROCESSES)
def test_a_public_class_has_a_name_of_its_own_in_its_process(process: str) -> None:
    homes: dict[str, list[str]] = {}
    for package in PROCESSES[process]:
        for name, path in public_classes(package):
            homes.setdefault(name, []).append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
