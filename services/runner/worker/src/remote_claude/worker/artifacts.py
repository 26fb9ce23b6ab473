"""Files that an agent leaves in `$RCLAUDE_ARTIFACTS`, as one tar archive of the result."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

VARIABLE = "RCLAUDE_ARTIFACTS"
FOLDER = "artifacts"
"""In the home of the agent, so that checkpoints have it."""
MAX_BYTES = 256 * 1024 * 1024
"""Of all files; what is over it is left out and named."""
MAX_FILES = 1000


def pack(folder: Path, out: Path) -> tuple[Path | None, list[str]]:
    """The archive, None without files; and those that are left out. Regular files only, no link is followed."""
    kept, left_out, size = list[Path](), list[str](), 0
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(at) / name
            if path.is_symlink() or not path.is_file():
                continue
            length = path.stat().st_size
            if size + length > MAX_BYTES or len(kept) >= MAX_FILES:
                left_out.append(str(path.relative_to(folder)))
                continue
            size += length
            kept.append(path)
    if not kept:
        return None, left_out
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(kept):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)
    return out, left_out


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
