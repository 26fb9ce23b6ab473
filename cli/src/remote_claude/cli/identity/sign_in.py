"""The ways to sign in: a browser on this machine (RFC 8252), a code typed elsewhere (RFC 8628), a GitHub token."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from remote_claude.cli import render
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.tokens import StoredTokens, request
from remote_claude.client.credentials import CLIENT_ID

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GITHUB_GRANT = "urn:remote-claude:params:oauth:grant-type:github-token"
PATIENCE_S = 300.0
PAGE = (
    b"<!doctype html><meta charset=utf-8><title>rclaude</title><p>You are signed in. You can close this page."
)
REFUSED = (
    b"<!doctype html><meta charset=utf-8><title>rclaude</title><p>The sign-in failed: look at the terminal."
)


def has_browser() -> bool:
    """Whether a browser on this machine is of use to the person at the terminal."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    )


def by_browser(url: str) -> StoredTokens:
    """Open a browser, and wait for it to come back to a port of this machine. Raises `CliError`."""
    import webbrowser

    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with _Callback(state) as callback:
        redirect_uri = f"http://127.0.0.1:{callback.server_port}/callback"
        query = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = f"{url}/oauth/authorize?{urlencode(query)}"
        render.note(f"sign in here: {page}")
        webbrowser.open(page)
        code = callback.wait()
    answer = request(
        url,
        grant_type="authorization_code",
        code=code,
        redirect_uri=redirect_uri,
        code_verifier=verifier,
    )
    return StoredTokens.of(answer)


def by_device(url: str) -> StoredTokens:
    """Show a code that is confirmed in a browser elsewhere, and wait for it. Raises `CliError`."""
    from remote_claude.cli.client import unsigned
    from remote_claude.client import operations

    begun = unsigned(url, operations.begin_device({"client_id": CLIENT_ID}))
    render.note(f"open {begun['verification_uri']} in a browser and enter the code {begun['user_code']}")
    render.note(f"or open {begun['verification_uri_complete']}")
    deadline = time.monotonic() + float(begun["expires_in"])
    while time.monotonic() < deadline:
        time.sleep(float(begun["interval"]))
        try:
            return StoredTokens.of(request(url, grant_type=DEVICE_GRANT, device_code=begun["device_code"]))
        except CliError as error:
            if error.code not in ("authorization_pending", "slow_down"):
                raise
    raise CliError("nobody has confirmed the code in time: run `rclaude login` again", Exit.TIMED_OUT)


def by_github_token(url: str, token: str) -> StoredTokens:
    """Sign in with a GitHub token that this machine has. Raises `CliError`."""
    return StoredTokens.of(request(url, grant_type=GITHUB_GRANT, github_token=token))


class _Callback(HTTPServer):
    """Waits on a free port of the loopback for the browser to bring the code."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _CallbackHandler)
        self.state, self.code, self.error = state, "", ""

    def wait(self) -> str:
        """The code. Raises `CliError`."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.code and not self.error:
            self.timeout = max(0.0, deadline - time.monotonic())
            if self.timeout == 0.0:
                raise CliError("nobody has signed in in time: run `rclaude login` again", Exit.TIMED_OUT)
            self.handle_request()
        if self.error:
            raise CliError(f"the sign-in was refused: {self.error}", Exit.REFUSED, code="sign_in_failed")
        return self.code


class _CallbackHandler(BaseHTTPRequestHandler):
    server: _Callback

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        ours = parts.path == "/callback" and secrets.compare_digest(query.get("state", ""), self.server.state)
        if ours:
            self.server.code, self.server.error = query.get("code", ""), query.get("error", "")
        self.send_response(200 if ours and self.server.code else 400)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE if ours and self.server.code else REFUSED)

    def log_message(self, *_: object) -> None:
        """A terminal is no access log."""
