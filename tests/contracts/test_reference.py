"""The documentation says what the code does: what is generated is fresh, what is written is whole."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from pydantic import BaseModel

from remote_claude.cli.app import app as rclaude
from remote_claude.eventsourcing.views import View
from remote_claude.runtime import reference, schema_page
from remote_claude.runtime.admin.app import ENTRY_POINTS
from remote_claude.runtime.admin.app import app as rclaude_admin
from remote_claude.runtime.broker.broker_permissions import services

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCES = [ROOT / "shared", ROOT / "services"]
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("services/*/README.md")])
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
DECISIONS = sorted(DOCS.glob("adr/[0-9]*.md"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(path: str) -> str:
    return (DOCS / path).read_text()


# What is generated


def test_the_asyncapi_document_is_fresh() -> None:
    assert (ROOT / reference.ASYNCAPI).read_text() == reference.asyncapi(), "run `make docs`"


def test_the_page_of_the_database_schema_is_fresh() -> None:
    assert (ROOT / reference.SCHEMA).read_text() == schema_page.page(services()), "run `make docs`"


def test_the_brokers_accounts_are_fresh() -> None:
    assert (ROOT / reference.ACCOUNTS).read_text() == reference.broker_accounts(), "run `make docs`"


@pytest.mark.parametrize("service", services())
def test_a_services_table_of_events_is_fresh(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text()
    assert reference.with_table(readme, service) == readme, "run `make docs`"


def views(service: str) -> list[type[View]]:
    """The views that a service's modules of projections define."""
    folder = ROOT / "services" / service / "src/remote_claude" / service / "projections"
    modules = [
        import_module(f"remote_claude.{service}.projections.{p.stem}") for p in folder.glob("[!_]*.py")
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, View) and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("service", services())
def test_a_service_says_of_every_event_of_its_views_that_it_reads_it(service: str) -> None:
    for view in views(service):
        assert view.handles <= reference.reads(service), view.name
    assert len(views(service)) == 0 or reference.reads(service)


# What is written


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command, what the services add to `rclaude-admin` included, by the words that call it."""
    whole = typer.Typer(add_completion=False)
    whole.add_typer(rclaude, name="rclaude")
    whole.add_typer(rclaude_admin, name="rclaude-admin")
    for entry in entry_points(group=ENTRY_POINTS):
        whole.add_typer(entry.load(), name=f"rclaude-admin {entry.name}")
    yield from _below(typer.main.get_command(whole), [])


def _below(command: Any, words: list[str]) -> Iterator[tuple[str, click.Command]]:
    if hasattr(command, "commands"):
        for word, child in command.commands.items():
            yield from _below(child, [*words, word])
    else:
        yield " ".join(words), command


def sections(text: str) -> dict[str, str]:
    """The text below each heading, by heading."""
    parts = re.split(r"^#+ (.+)$", FENCED.sub("", text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


EVERY_COMMAND = dict(sorted(commands(), key=lambda pair: pair[0]))


def test_the_commands_of_every_place_are_found() -> None:
    assert {"rclaude run", "rclaude-admin log read", "rclaude-admin plan set"} <= EVERY_COMMAND.keys()


@pytest.mark.parametrize("words", EVERY_COMMAND)
def test_a_command_is_documented_with_all_of_its_options(words: str) -> None:
    documented = sections(page("reference/cli.md"))
    assert words in documented
    options = {
        option
        for parameter in EVERY_COMMAND[words].params
        for option in parameter.opts
        if option.startswith("--")
    }
    missing = {option for option in options - {"--help"} if f"`{option}`" not in documented[words]}
    assert missing == set()


def settings() -> Iterator[str]:
    """The environment variable of every field of every settings class."""
    for root in SOURCES:
        for path in root.rglob("settings.py"):
            parts = path.relative_to(root).parts
            module = import_module(".".join(parts[parts.index("src") + 1 :]).removesuffix(".py"))
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, BaseModel)
                    and value.__module__ == module.__name__
                    and value.model_fields
                ):
                    prefix = value.model_config.get("env_prefix") or vars(module)["PREFIX"]
                    yield from (f"{prefix}{field.upper()}" for field in value.model_fields)


def test_every_setting_is_documented() -> None:
    written = page("reference/settings.md")
    found = list(settings())
    assert {"RCLAUDE_NATS_URL", "RCLAUDE_RUNNER_SLOTS", "RCLAUDE_GATEWAY_ROUTES"} <= set(found)
    assert [setting for setting in found if f"| `{setting}` |" not in written] == []


def test_every_documented_setting_exists() -> None:
    written = set(re.findall(r"^\| `(RCLAUDE_[A-Z_]+)` \|", page("reference/settings.md"), re.MULTILINE))
    of_the_cli = {
        "RCLAUDE_HOME",
        "RCLAUDE_URL",
        "RCLAUDE_API_KEY",
        "RCLAUDE_AGENT",
        "RCLAUDE_AUTHOR",
        "RCLAUDE_PROFILE",
    }
    assert written - of_the_cli <= set(settings())


def refusals() -> Iterator[tuple[str, str]]:
    """(file, code) of every problem document that is made with a literal code."""
    for root in SOURCES:
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(id="Problem"), args=[_, ast.Constant(value=str(code)), *_]):
                        yield name(path), code


def test_every_error_code_is_documented() -> None:
    table = sections(page("reference/http.md"))["Refusals"]
    found = {code: path for path, code in refusals()}
    assert {"invalid_request", "period_not_found"} <= found.keys()
    assert {code: path for code, path in found.items() if f"| `{code}` |" not in table} == {}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_names_the_tests_that_hold_it(path: Path) -> None:
    text = path.read_text()
    for part in ("Context", "Decision", "Consequences", "Alternatives", "Held by"):
        assert f"\n## {part}\n" in text, part
    named = re.findall(r"`(tests/[\w/]+\.py)`", sections(text)["Held by"])
    assert named
    assert [test for test in named if not (ROOT / test).is_file()] == []
    assert f"({path.name})" in page("adr/README.md")


def anchors(path: Path) -> set[str]:
    """What a link to a heading of a page may say after its `#`."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in sections(path.read_text())
    }


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", path.read_text())):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        place = (path.parent / target).resolve() if target else path
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(link)
    assert broken == []
