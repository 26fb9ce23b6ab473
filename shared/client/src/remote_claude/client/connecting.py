"""How to reach a server: proxies, certificates, and where the environment says it is."""

from __future__ import annotations

import json
import os
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from remote_claude.client.errors import NotConfigured, Unusable

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one message of a WebSocket."""


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def http_options(url: str) -> dict[str, Any]:
    """The options of an HTTP client. Raises `Unusable`. No proxy leads to this machine."""
    return {
        "base_url": url,
        "timeout": httpx.Timeout(30.0, connect=5.0),
        "trust_env": not is_loopback(url),
        "verify": True if not is_loopback(url) else _authorities(),
    }


def websocket_options(url: str) -> dict[str, Any]:
    """The options of a WebSocket."""
    return {"max_size": MAX_MESSAGE, "proxy": None if is_loopback(url) else True}


def proxy_unusable(error: Exception) -> Unusable:
    """The error for a proxy that the environment names and that can't be used."""
    return Unusable(
        f"the proxy of this environment can't be used ({error}): set HTTPS_PROXY to an http:// proxy in place of "
        "ALL_PROXY, or the server's name in NO_PROXY",
        "proxy_unusable",
    )


def _authorities() -> ssl.SSLContext | bool:
    """The authorities that `SSL_CERT_FILE` names, which are not read where the environment is not trusted."""
    file = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file) if file else True
    except OSError as error:
        raise Unusable(
            f"SSL_CERT_FILE names {file}, which can't be used ({error}): name a file of certificates, or unset it",
            "certificates_unusable",
        ) from error


def from_environment() -> tuple[str, str]:
    """URL and API key of `RCLAUDE_URL` and `RCLAUDE_API_KEY`, otherwise of the embedded stack in `RCLAUDE_HOME`.

    Raises `NotConfigured`.
    """
    url, key = os.environ.get("RCLAUDE_URL", ""), os.environ.get("RCLAUDE_API_KEY", "")
    if url and key:
        return url.rstrip("/"), key
    if url:
        raise NotConfigured(f"{url} needs an API key: set RCLAUDE_API_KEY")
    home = Path(os.environ.get("RCLAUDE_HOME") or "~/.rclaude").expanduser()
    try:
        stack = json.loads((home / "run" / "stack.json").read_text())
        return str(stack["url"]), key or Path(stack["api_key"]).read_text().strip()
    except (OSError, ValueError, KeyError) as error:
        raise NotConfigured(
            f"no stack runs in {home}: start it with `rclaude up`, or set RCLAUDE_URL and RCLAUDE_API_KEY"
        ) from error
