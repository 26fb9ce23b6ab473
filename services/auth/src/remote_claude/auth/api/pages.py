"""The few pages that auth shows by itself: signing in, confirming a sign-in of the CLI. No script, no style from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse

from remote_claude.edge.html import page


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
