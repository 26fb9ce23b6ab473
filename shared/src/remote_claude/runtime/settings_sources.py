"""Where settings come from: the environment, files named in it, and one settings file.

`RCLAUDE_SETTINGS` names a TOML file, in which `RCLAUDE_SCHEDULER_LEASE_S` is `lease_s` in the table `[scheduler]`.
`RCLAUDE_<SETTING>_FILE` names a file with the value of one setting, such as a secret. The environment has the last word.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from remote_claude.runtime.settings import BadSettings, RuntimeSettings

ENTRY_POINTS = "remote_claude.settings"
"""Prefix of the variables -> the class whose fields they are."""
PREFIX = "RCLAUDE_"
SETTINGS = "RCLAUDE_SETTINGS"
OF_THE_COMMAND_LINE = {
    "RCLAUDE_URL",
    "RCLAUDE_API_KEY",
    "RCLAUDE_API_KEY_FILE",
    "RCLAUDE_PROFILE",
    "RCLAUDE_AGENT",
}
OF_TESTS = ("RCLAUDE_TEST_", "RCLAUDE_BROWSER_TESTS")


def resolve(environment: MutableMapping[str, str]) -> None:
    """Add to the environment what the settings file and the files of single settings say.

    Raises `BadSettings` for a file that can't be read, and for a name that is no setting.
    """
    known = _Known()
    wrong: list[str] = []
    given = {name: "" for name in environment if name.startswith(PREFIX)}
    if path := environment.get(SETTINGS):
        for name, value in _flattened(_parsed(Path(path)), PREFIX, known):
            given.setdefault(name, f" in {path}")
            environment.setdefault(name, value)
    for name, where in sorted(given.items()):
        setting = name.removesuffix("_FILE")
        if name == SETTINGS or name in known or known.is_foreign(name):
            continue
        if setting != name and setting in known:
            if setting in given:
                wrong.append(f"{name}: {setting} is set too; keep one of the two")
                continue
            environment[setting] = _value_of(name, Path(environment.pop(name)))
        else:
            wrong.append(f"{name}{where}: there is no such setting{known.nearest(name)}")
    if wrong:
        raise BadSettings.listing(wrong)


class _Known:
    """The settings of the runtime and of the installed services; a class is imported once a name has its prefix."""

    def __init__(self) -> None:
        self._classes = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        self._names: dict[str, set[str]] = {PREFIX: _names(PREFIX, RuntimeSettings)}

    def __contains__(self, name: str) -> bool:
        return any(
            name in self._under(prefix) for prefix in (PREFIX, *self._classes) if name.startswith(prefix)
        )

    def is_foreign(self, name: str) -> bool:
        """Whether it is another process's: of the command line, of tests, or of a service that is not installed."""
        if name in OF_THE_COMMAND_LINE or name.startswith(OF_TESTS):
            return True
        from remote_claude.contracts import EVENTS  # imported here: few environments have such a name

        return any(
            name.startswith(prefix := f"{PREFIX}{service.upper()}_") and prefix not in self._classes
            for service in {event.producer for event in EVENTS.values()}
        )

    def nearest(self, name: str) -> str:
        names = {n for prefix in (PREFIX, *self._classes) for n in self._under(prefix)} | {SETTINGS}
        without_prefix = sorted(n.removeprefix(PREFIX) for n in names)
        near = difflib.get_close_matches(name.removeprefix(PREFIX), without_prefix, n=1)
        return f"; {PREFIX}{near[0]} is the nearest" if near else ""

    def _under(self, prefix: str) -> set[str]:
        if prefix not in self._names:
            self._names[prefix] = _names(prefix, self._classes[prefix].load())
        return self._names[prefix]


def _names(prefix: str, settings: Any) -> set[str]:
    return {f"{prefix}{field.upper()}" for field in settings.model_fields}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSettings.listing([f"{SETTINGS}: {path} can't be read: {why}"]) from error


def _flattened(table: Mapping[str, Any], prefix: str, known: _Known) -> Iterator[tuple[str, str]]:
    """Variable and value of everything in a table."""
    for key, value in table.items():
        name = f"{prefix}{key.upper()}"
        if not isinstance(value, dict):
            yield name, _text(value)
        elif name in known:
            yield name, json.dumps(value)
        else:
            yield from _flattened(value, f"{name}_", known)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _value_of(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSettings.listing([f"{name}: {path} can't be read: {why}"]) from error
