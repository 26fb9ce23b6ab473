"""The forms of auth's own pages: who is signed in in a browser, and whether a form was made for that person."""

from __future__ import annotations

from hmac import compare_digest

from fastapi import Request

from remote_claude.access import credential_secrets
from remote_claude.access.principal import BrowserSession, Identity
from remote_claude.access.refusals import CsrfRefused, NotAdmitted
from remote_claude.edge.caller import cookie_name, presented
from remote_claude.runtime.service import Runtime


def person(runtime: Runtime, request: Request) -> Identity | None:
    """The person who is signed in in this browser."""
    try:
        identity = runtime.verifier.identify(presented(request))
    except NotAdmitted:
        return None
    return identity if isinstance(identity.credential, BrowserSession) else None


def confirmed(runtime: Runtime, request: Request, token: str) -> Identity:
    """The person who has sent one of our forms. Raises `CsrfRefused`."""
    shown = presented(request, form=True)
    if shown.cookie is None or not compare_digest(token, credential_secrets.csrf_token(shown.cookie)):
        raise CsrfRefused("The form is of another session. Go back and load the page again.")
    return runtime.verifier.identify(shown)


def csrf_token(request: Request) -> str:
    """What a form has to bring back: it goes with the browser's cookie."""
    return credential_secrets.csrf_token(request.cookies[cookie_name(request)])
