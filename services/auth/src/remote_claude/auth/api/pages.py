"""The few pages that auth shows by itself: signing in, confirming a sign-in of the CLI. No script, no style from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse

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


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page. `body` is HTML."""
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - Remote Claude</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return HTMLResponse(document, status, HEADERS)


def sign_in(providers: Iterable[tuple[str, str]], next: str) -> HTMLResponse:
    """The providers, by name and title."""
    links = "".join(
        f'<a class="button" href="/auth/sign-in/{escape(name)}?{escape(urlencode({"next": next}))}">'
        f"Continue with {escape(title)}</a>"
        for name, title in providers
    )
    nobody = (
        "<p>No sign-in provider is set up here. On the machine of the server, "
        "<code>rclaude open</code> signs its owner in.</p>"
    )
    return page("Sign in", links or nobody)


def confirm(title: str, text: str, action: str, fields: Mapping[str, str], button: str) -> HTMLResponse:
    """A question that is answered by a form."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    form = f'<form method="post" action="{escape(action)}">{hidden}<button>{escape(button)}</button></form>'
    return page(title, f"<p>{escape(text)}</p>{form}")


def enter_code() -> HTMLResponse:
    """Where the code of a machine without a browser is typed."""
    form = (
        '<form method="get" action="/auth/device"><label>The code that <code>rclaude login</code> shows'
        '<input name="code" autocomplete="off" autofocus></label><button>Continue</button></form>'
    )
    return page("Sign a machine in", form)
