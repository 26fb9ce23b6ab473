"""The few pages that the server writes by itself, without the dashboard's scripts: no script, no style from outside."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from fastapi.responses import HTMLResponse

from remote_claude.contracts.refusals import Refusal

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' http://127.0.0.1:*; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 0 1rem; color: #1c1c1c; background: #fff }
a.button, button { display: block; width: 100%; box-sizing: border-box; margin: .5rem 0; padding: .7rem; border: 1px solid #767676;
  border-radius: .4rem; background: #f4f4f4; color: inherit; font: inherit; text-align: center; text-decoration: none; cursor: pointer }
input { font: inherit; padding: .6rem; width: 100%; box-sizing: border-box }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 } a.button, button { background: #2a2a2a } }
"""
TITLES = {
    "sign_in_used": "This link has been used",
    "ticket_refused": "This link is no longer good",
    "session_ended": "The session is over",
    "unauthenticated": "You are not signed in",
    "not_found": "There is no such page",
}
"""Headings of refusals that people meet in a browser; others have the phrase of their status."""
SIGN_IN = frozenset({"sign_in_used", "ticket_refused", "session_ended", "unauthenticated", "sign_in_failed"})
"""Refusals after which another link to sign in helps."""


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page. `body` is HTML."""
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - Remote Claude</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return HTMLResponse(document, status, HEADERS)


def refused(refusal: Refusal) -> HTMLResponse:
    """A refusal for a person who followed a link: what happened, and what to do."""
    link = (
        "<p>On the machine of the server, <code>rclaude open</code> signs you in with another link. "
        "If you are signed in already, go on to the dashboard.</p>"
    )
    body = f"<p>{escape(refusal.detail)}</p>{link if refusal.code in SIGN_IN else ''}"
    return page(
        TITLES.get(refusal.code, HTTPStatus(refusal.status).phrase),
        f'{body}<a class="button" href="/">Open the dashboard</a>',
        refusal.status,
    )
