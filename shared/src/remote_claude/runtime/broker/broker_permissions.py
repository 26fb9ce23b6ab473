"""Who may say what to the broker: generated from the published events and from what each service declares.

The streams are in the account `log`, whose one user, `admin`, may do everything. Each service is an account of its own
that imports from it exactly what the service needs, and has one user. An account and not a list of permissions, because
the broker does not check the reply subject of a request: within one account a user that may ask JetStream anything could have
the answer delivered to `$JS.API.STREAM.PURGE...`, to another's events or to a data key. Here an answer comes back
into the asker's own account, where such a subject is nobody's. The user's permissions say the same again, so that what
is refused is refused loudly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from importlib import import_module
from importlib.metadata import entry_points
from operator import or_
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from remote_claude.contracts import EVENTS
from remote_claude.eventsourcing.jetstream.streams import may_append
from remote_claude.runtime.broker.accounts import ADMIN, TOGETHER
from remote_claude.runtime.broker.connection import BrokerRefused
from remote_claude.runtime.broker.uses import READ_LOG, REPORT_USED_KEYS, Grant

ENTRY_POINTS = "remote_claude.services"
LOG = "log"
NOBODY = "nobody"
INBOX = "_INBOX.>"
FORWARDED = "_R_.>"
"""Where the broker has an account's answers to the requests of others, to pass them on."""
DIRECT_ANSWERS_WITHIN = "10s"
"""How long the broker expects further answers to a direct get. It keeps note of each until then."""


def services() -> list[str]:
    """The installed services, by name."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))


def events_of(service: str) -> frozenset[str]:
    """The subjects of the events that a service publishes."""
    return frozenset(
        f"ev.{event.producer}.{'*' if event.in_organisation else '_'}.{event.aggregate}.*"
        for event in EVENTS.values()
        if event.producer == service
    )


async def check(client: Client, names: Iterable[str], credentials: Path | None) -> None:
    """See that this process's credential may append the events of these services. Raises `BrokerRefused`."""
    for name in names:
        subject = min(events_of(name), default=None)
        if subject is not None and not await may_append(client, subject.replace("*", "probe")):
            raise BrokerRefused(
                f"the broker's user of {credentials or 'this process'} may not append the events of {name}: "
                f"RCLAUDE_NATS_CREDENTIALS has to name the seed of {name}'s own user"
            )


def grant(service: str) -> Grant:
    """All that a service may: read the log, append its own events, and what it declares."""
    declared = import_module(f"remote_claude.{service}.consumers").USES
    return reduce(
        or_, (use.value for use in declared), READ_LOG | REPORT_USED_KEYS | Grant(one=events_of(service))
    )


def grants() -> dict[str, Grant]:
    """The grant of each credential but the administrator's: one a service, and one for all of them in one process."""
    each = {name: grant(name) for name in services()}
    return {**each, TOGETHER: reduce(or_, each.values())}


def generate() -> dict[str, Any]:
    """The accounts for the installed services, as `accounts.json` has them."""
    granted = grants()
    return {
        LOG: {"jetstream": "enabled", "users": [{"seed": ADMIN}], "exports": _exports(granted)},
        # Every account gets "JetStream not enabled" from an API of its own, unless the whole of it is imported:
        # here from where nobody listens.
        NOBODY: {"exports": [{"service": "nothing.>", "accounts": list(granted)}]},
        **{name: _account(name, granted) for name in granted},
    }


def _exports(granted: Mapping[str, Grant]) -> list[dict[str, Any]]:
    exports = []
    for subject in sorted(reduce(or_, (g.one | g.many for g in granted.values()))):
        export: dict[str, Any] = {
            "service": subject,
            "accounts": [name for name, g in granted.items() if subject in g.one | g.many],
        }
        if any(subject in g.many for g in granted.values()):
            export["response_type"] = "Stream"
        if subject.startswith("$JS.API.DIRECT.GET."):
            export["response_threshold"] = DIRECT_ANSWERS_WITHIN
        exports.append(export)
    return exports


def _account(name: str, granted: Mapping[str, Grant]) -> dict[str, Any]:
    own = granted[name]
    apart = {other: g for other, g in granted.items() if other != TOGETHER} if name != TOGETHER else {}
    others = {other: g for other, g in apart.items() if other != name}
    imports: list[dict[str, Any]] = [
        {"service": {"account": LOG, "subject": subject}} for subject in sorted(own.one | own.many)
    ]
    imports += [
        {"service": {"account": other, "subject": subject}}
        for other, g in others.items()
        for subject in sorted(own.within & g.answers)
    ]
    imports.append({"service": {"account": NOBODY, "subject": "nothing.>"}, "to": "$JS.API.>"})
    exports = [
        {"service": subject, "accounts": [other for other, g in others.items() if subject in g.within]}
        for subject in sorted(own.answers if apart else ())
    ]
    permissions = {
        "publish": {"allow": sorted(own.publish)},
        "subscribe": {"allow": [INBOX, *sorted(own.answers)]},
    }
    if own.answers:
        # By name: for `allow_responses` the broker keeps note of whatever it delivers with a reply subject, each event
        # of the log too, for two minutes, and once that are many looks through all of it at each further one.
        permissions["publish"]["allow"].append(FORWARDED if apart else INBOX)
        if apart and own.within & own.answers:  # it asks itself: the answer stays in its account
            permissions["publish"]["allow"].append(INBOX)
    return {
        "users": [{"seed": name, "permissions": permissions}],
        "imports": imports,
        **({"exports": exports} if exports else {}),
    }
