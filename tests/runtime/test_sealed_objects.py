"""Objects at rest: nothing of them can be read without the key of their organisation, and no change goes unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import Keyring
from remote_claude.contracts import EVENTS
from remote_claude.runtime.objects import ObjectNotFound, Objects
from remote_claude.runtime.sealed_objects import PIECE, ObjectDamaged
from scheduling import Newer
from simulator.network import Broker, SimulatedBucket

ORG = "org_1"


@pytest.fixture
async def keyring() -> Keyring:
    bucket: Any = SimulatedBucket(Broker(Newer(EVENTS.values()), Random(1)), "users")
    keyring = Keyring(bucket, bytes(32))
    await keyring.create(ORG)
    return keyring


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def stored(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
async def test_an_object_comes_back_and_is_stored_sealed(
    keyring: Keyring, folder: Path, tmp_path: Path, size: int
) -> None:
    data = (b"a word that stands out " * (size // 20 + 1))[:size]
    objects = Objects(str(folder), keyring)
    sha256 = await objects.put(ORG, data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert await objects.get(ORG, sha256) == data
    [path] = stored(folder)
    assert b"stands out" not in path.read_bytes()
    file = tmp_path / "file"
    file.write_bytes(data)
    assert await objects.put_file(ORG, file) == sha256
    assert await objects.get(ORG, sha256) == data


@pytest.mark.parametrize("change", ["cut", "swap", "flip"])
async def test_a_changed_object_is_refused(keyring: Keyring, folder: Path, change: str) -> None:
    objects = Objects(str(folder), keyring)
    sha256 = await objects.put(ORG, b"x" * (2 * PIECE))
    [path] = stored(folder)
    data = path.read_bytes()
    first, second = data[4 : 4 + (len(data) - 4) // 2], data[4 + (len(data) - 4) // 2 :]
    path.chmod(0o600)
    path.write_bytes(
        {
            "cut": data[:4] + first,
            "swap": data[:4] + second + first,
            "flip": data[:-1] + bytes([data[-1] ^ 1]),
        }[change]
    )
    with pytest.raises((ObjectDamaged, KeyUnusable)):
        await objects.get(ORG, sha256)


async def test_an_erased_key_erases_its_objects(keyring: Keyring, folder: Path) -> None:
    objects = Objects(str(folder), keyring)
    sha256 = await objects.put(ORG, b"personal")
    emptied: Any = SimulatedBucket(Broker(Newer(EVENTS.values()), Random(1)), "users")
    with pytest.raises(ObjectNotFound):
        await Objects(str(folder), Keyring(emptied, bytes(32))).get(ORG, sha256)
