"""Other organisations of the embedded stack's owner: a key for each, since a key acts for one organisation.

The owner's own key opens a session for a moment, which makes the key.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote_claude.cli import config
from remote_claude.cli.config import Target
from remote_claude.cli.errors import CliError, Exit, from_problem
from remote_claude.cli.identity.profiles import write_private

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient


def path() -> Path:
    """The file with the keys, and the organisation that one acts for unless it is the first."""
    return config.home() / "organisations.json"


def current() -> str | None:
    """The organisation that one acts for; None: the owner's first one."""
    found: str | None = _load()["current"]
    return found


def key() -> str | None:
    """The key to act with; None: the owner's own."""
    content = _load()
    found: str | None = content["keys"].get(content["current"])
    return found


def of_the_owner(target: Target) -> Target:
    """The same server with the owner's own key."""
    return replace(target, api_key=config.owners_key(), supervised=False)


def act_for(client: CliClient, org: str) -> None:
    """Act for an organisation from now on; `client` has the owner's own key. Raises `CliError`."""
    content = _load()
    if org == client.get("/v1/session")["org"]:
        current = None
    else:
        current = org
        if org not in content["keys"]:
            content["keys"][org] = _new_key(client, org)
    _save({**content, "current": current})


def forget(org: str) -> None:
    """Forget the key of an organisation; if one acts for it, act for the owner's first one."""
    content = _load()
    if content["keys"].pop(org, None) is not None:
        _save({**content, "current": None if content["current"] == org else content["current"]})


def _new_key(client: CliClient, org: str) -> str:
    """Make a key for an organisation by a session that is ended again."""
    import httpx2

    link = client.post("/v1/session/links")["url"]
    with httpx2.Client(base_url=client.target.url, timeout=30, trust_env=False) as browser:
        browser.get(link)
        session = browser.get("/v1/session").json()
        headers = {"RClaude-Org": org, "X-CSRF-Token": session.get("csrf_token") or ""}
        body = {"name": "rclaude org switch", "scopes": session.get("scopes")}
        made = browser.post("/v1/keys", json=body, headers=headers)
        browser.delete("/v1/session", headers=headers)
    if made.is_error:
        raise from_problem(made.status_code, made.json())
    return str(made.json()["secret"])


def _load() -> dict[str, Any]:
    try:
        content = json.loads(path().read_text())
        return {"current": content["current"], "keys": dict(content["keys"])}
    except FileNotFoundError:
        return {"current": None, "keys": {}}
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CliError(
            f"{path()} can't be read ({error}): remove it, then switch again", Exit.USAGE
        ) from error


def _save(content: dict[str, Any]) -> None:
    write_private(path(), json.dumps(content, indent=1, sort_keys=True))
