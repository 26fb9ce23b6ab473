"""The committed page can be built again from its sources, and its sources fit the API."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard_build import STATIC, WEB
from openapi_document import document

pytestmark = pytest.mark.timeout(240)
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def npx(*command: str) -> None:
    """A program of the page's packages, to its end."""
    done = subprocess.run(
        ["npm", "exec", "--offline", "--", *command],
        cwd=WEB,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_a_fresh_build_is_the_committed_page(tmp_path: Path) -> None:
    npx("vite", "build", "--outDir", str(tmp_path), "--emptyOutDir")
    built, committed = (
        {p.relative_to(folder).as_posix(): p for folder in (root,) for p in folder.rglob("*") if p.is_file()}
        for root in (tmp_path, STATIC)
    )
    assert built.keys() == committed.keys()
    # Compressed files depend on the compressor's version too.
    differing = [
        n
        for n in built
        if not n.endswith((".br", ".gz")) and built[n].read_bytes() != committed[n].read_bytes()
    ]
    assert differing == []


def test_the_page_fits_the_api() -> None:
    (WEB / "openapi.json").write_bytes(asyncio.run(document()))
    npx("node", "tools/types.mjs")
    npx("tsc", "--noEmit")
