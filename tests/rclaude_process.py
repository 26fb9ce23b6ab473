"""`rclaude` as its own process, signed in at an installation."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2

import forking
from identity_stack import Installation

RCLAUDE = str(Path(sys.executable).with_name("rclaude"))


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RCLAUDE_")}
    nothing = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "BROWSER": "true"}
    return {**kept, **nothing, "RCLAUDE_HOME": str(home), **more}


async def rclaude(home: Path, *arguments: str, given: str = "", **more: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    run = partial(forking.run, "rclaude", cwd=Path.cwd(), env=environment(home, **more), stdin=given.encode())
    done = await asyncio.to_thread(run, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def rclaude_admin(installation: Installation, *arguments: str, given: str = "", **more: str) -> str:
    """Standard output of `rclaude-admin`, with the settings of the installation."""
    settings = installation.host.runtime.settings
    told = {
        "RCLAUDE_NATS_URL": settings.nats_url,
        "RCLAUDE_NATS_CREDENTIALS": str(settings.nats_credentials or ""),
        "RCLAUDE_POSTGRES_DSN": settings.postgres_dsn,
        "RCLAUDE_OBJECTS": settings.objects,
        "RCLAUDE_KEK_FILE": str(settings.kek_file),
    }
    env = environment(settings.home, **{name: value for name, value in {**told, **more}.items() if value})
    run = partial(forking.run, "rclaude-admin", cwd=Path.cwd(), env=env, stdin=given.encode())
    done = await asyncio.to_thread(run, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def confirm(browser: httpx2.AsyncClient, url: str) -> httpx2.Response:
    page = await browser.get(url)
    assert page.status_code == 200, page.text
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    return await browser.post(action[1], data=form)


async def signed_in(
    installation: Installation, home: Path, *how: str, browser: httpx2.AsyncClient | None = None
) -> str:
    """Run `rclaude login`, and do what it asks for in a browser, the owner's unless given; what it prints."""
    process = await asyncio.create_subprocess_exec(
        RCLAUDE,
        "login",
        installation.url,
        *how,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    page = ""
    while not page:
        line = (await process.stderr.readline()).decode()
        assert line, "it asks for a browser"
        if found := re.search(r"(http://\S+/(?:oauth/authorize\?\S+|auth/device\?code=\S+))", line):
            page = found[1]
    answer = await confirm(browser or await installation.browser(), page)
    if answer.status_code == 303:  # to the port where the command waits
        with suppress(httpx2.TransportError):
            await installation.client().get(answer.headers["location"])
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
