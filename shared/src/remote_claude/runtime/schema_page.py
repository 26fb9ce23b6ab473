"""The page `docs/reference/schema.md`: the tables of every view, from their models."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

from remote_claude.eventsourcing.views import View

HEAD = """\
# The database schema

Generated from the models by `make docs`. Each view is a PostgreSQL schema of its name, folded from the log; with its tables it
has a `checkpoint` and its `parked` events. PostgreSQL holds nothing that can't be rebuilt from the log. Beside the views there
is the schema `log`, the [archive](../architecture.md#the-archive). Keys are bold.
"""


def views(services: list[str]) -> Iterator[type[View]]:
    """The class of every view that a service's projections define, by name."""
    found: dict[str, type[View]] = {}
    for service in services:
        spec = find_spec(f"remote_claude.{service}.projections")
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            for path in sorted(Path(folder).glob("[!_]*.py")):
                module = import_module(f"remote_claude.{service}.projections.{path.stem}")
                for value in vars(module).values():
                    if (
                        isinstance(value, type)
                        and issubclass(value, View)
                        and value.__module__ == module.__name__
                    ):
                        found[value.name] = value
    return iter([found[name] for name in sorted(found)])


def page(services: list[str]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section for view in views(services) for section in _view(view))])


def _view(view: type[View]) -> Iterator[str]:
    yield f"## {view.name}\n\nVersion {view.version}. {_docstring(sys.modules[view.__module__])}\n"
    described = {
        str(getattr(value, "__tablename__", "")): value
        for module in {view.__module__, f"{view.__module__.rpartition('.')[0]}.tables"} & sys.modules.keys()
        for value in vars(sys.modules[module]).values()
        if isinstance(value, type) and issubclass(value, SQLModel) and hasattr(value, "__table__")
    }
    for name, table in sorted(view.tables.tables.items()):
        yield f"### {view.name}.{name}\n"
        if name in described and _docstring(described[name]):
            yield f"{_docstring(described[name])}\n"
        yield "| column | type | null |\n|---|---|---|"
        for column in table.columns:
            shown = f"**{column.name}**" if column.primary_key else column.name
            kind = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]  # SQLAlchemy
            yield f"| {shown} | `{kind}` | {'yes' if column.nullable else ''} |"
        yield ""


def _docstring(of: object) -> str:
    """Its own docstring in one paragraph."""
    return " ".join(inspect.cleandoc(vars(of).get("__doc__") or "").split())
