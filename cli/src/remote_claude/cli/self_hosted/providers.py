"""The compute providers of this home: their settings in a file, their credentials in the keyring or in a file of their own.

Which settings a provider has is found in what is installed beside the client: nothing of the runner is imported here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.profiles import write_private
from remote_claude.cli.identity.tokens import store

PROVIDERS, SETTINGS = "remote_claude.compute_providers", "remote_claude.settings"
LOCAL = "local"
SERVICE = "rclaude provider"
SECRET = {"token", "registry_password"}
"""Settings that are never shown."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A provider of this home. `secrets` are the names of settings whose values are in `store`: `keyring` or `file`."""

    settings: dict[str, str]
    secrets: list[str]
    store: str


def installed() -> dict[str, EntryPoint]:
    """The providers whose code is here."""
    return {entry.name: entry for entry in entry_points(group=PROVIDERS)}


def load() -> dict[str, Chosen]:
    """Every provider of this home by name. Raises `CliError` when the file is damaged."""
    try:
        return {name: Chosen(**values) for name, values in json.loads(_path().read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise CliError(f"{_path()} can't be read ({error}): correct it or remove it", Exit.USAGE) from error


def fields(name: str) -> set[str]:
    """The settings that a provider has. Raises `CliError` for one that is not installed."""
    known = installed()
    if name not in known:
        there = f"there are: {', '.join(sorted(known))}" if known else "install 'remote-claude[embedded]'"
        raise CliError(f"there is no compute provider {name!r}; {there}", Exit.USAGE, code="provider_unknown")
    found = [e for e in entry_points(group=SETTINGS) if e.name == _prefix(name)]
    return set(found[0].load().model_fields) if found else set()


def add(name: str, settings: dict[str, str], secrets: dict[str, str]) -> Chosen:
    """Keep a provider, in place of what was kept under its name. Raises `CliError` for a setting that it does not have."""
    known = fields(name)
    if unknown := (settings.keys() | secrets.keys()) - known:
        raise CliError(
            f"{name} has no setting {', '.join(sorted(unknown))}; it has: {', '.join(sorted(known)) or 'none'}",
            Exit.USAGE,
        )
    if shown := settings.keys() & SECRET:
        raise CliError(
            f"{', '.join(sorted(shown))} is a secret: give it with --secret, which reads it from standard input",
            Exit.USAGE,
        )
    remove(name)
    chosen = Chosen(settings, sorted(secrets), store() if secrets else "file")
    if secrets:
        _keep(name, chosen.store, json.dumps(secrets))
    _save({**load(), name: chosen})
    return chosen


def remove(name: str) -> bool:
    """Forget a provider and its credentials; whether there was one."""
    found = load()
    chosen = found.pop(name, None)
    if chosen is None:
        return False
    if chosen.store == "keyring":
        import keyring
        from keyring.errors import KeyringError

        with suppress(KeyringError):
            keyring.delete_password(SERVICE, _account(name))
    _file(name).unlink(missing_ok=True)
    _save(found)
    return True


def environment(name: str, chosen: Chosen) -> dict[str, str]:
    """The variables that the runner reads, credentials included. Raises `CliError` where these are gone."""
    values = chosen.settings | (_secrets(name, chosen) if chosen.secrets else {})
    return {f"{_prefix(name)}{field.upper()}": value for field, value in values.items()}


def runner_settings(before: dict[str, str]) -> dict[str, str]:
    """For the environment of an embedded stack, beside what was deployed."""
    found = load()
    names = [*filter(None, before.get("RCLAUDE_RUNNER_PROVIDERS", LOCAL).split(",")), *found]
    merged = {
        key: value for name, chosen in found.items() for key, value in environment(name, chosen).items()
    }
    return (
        {**before, **merged, "RCLAUDE_RUNNER_PROVIDERS": ",".join(dict.fromkeys(names))} if found else before
    )


def made(name: str) -> Any:
    """The provider itself, from this process's environment."""
    return installed()[name].load()(
        SimpleNamespace(runner="check", home=config.home() / "runner" / name, environment={})
    )


def _prefix(name: str) -> str:
    return f"RCLAUDE_RUNNER_{name.upper()}_"


def _keep(name: str, place: str, text: str) -> None:
    if place == "keyring":
        import keyring

        keyring.set_password(SERVICE, _account(name), text)
    else:
        write_private(_file(name), text)


def _secrets(name: str, chosen: Chosen) -> dict[str, str]:
    try:
        if chosen.store == "keyring":
            import keyring

            return dict(json.loads(keyring.get_password(SERVICE, _account(name)) or ""))
        return dict(json.loads(_file(name).read_text()))
    except (OSError, ValueError) as error:
        raise CliError(
            f"the credentials of {name} are gone: `rclaude provider add {name}` takes them again",
            Exit.REFUSED,
        ) from error


def _save(found: dict[str, Chosen]) -> None:
    write_private(
        _path(), json.dumps({name: asdict(one) for name, one in found.items()}, indent=1, sort_keys=True)
    )


def _path() -> Path:
    return config.home() / "providers.json"


def _file(name: str) -> Path:
    return config.home() / "credentials" / f"provider-{name}.json"


def _account(name: str) -> str:
    return f"{config.home()}:{name}"
