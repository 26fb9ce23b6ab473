"""What the product is made of: licences, credentials in the repository, the bill of materials, labels of images."""

from __future__ import annotations

import re
import runpy
from types import SimpleNamespace

import pytest

from docker_host import ROOT

chain = SimpleNamespace(**runpy.run_path(str(ROOT / "deploy/release/supply_chain.py")))


def test_every_licence_of_the_lock_file_may_be_used() -> None:
    names = [name for name, _, _ in chain.locked(chain.LOCK.read_text())]
    assert len(names) > 100
    assert chain.bad_licences(names) == []
    given = {
        "a": "MIT",
        "b": "AGPL-3.0-only",
        "c": "Proprietary",
        "d": "MIT AND GPL-2.0-only",
        "e": "Apache-2.0 OR MIT",
    }
    assert [line.split()[0] for line in chain.bad_licences([*given], given)] == ["b", "c", "d"]


def test_no_file_of_the_repository_has_a_credential() -> None:
    assert chain.secrets(chain.tracked()) == []


@pytest.mark.parametrize(
    "parts",
    [
        ("sk-ant-", "api03-", "x" * 40), ("gh", "p_", "a" * 36), ("AKI", "A", "ABCDEFGHIJKLMNOP"), ("rc", "k_", "0" * 38),
        ("-----BEGIN PRIVATE ", "KEY-----\n", "M" * 64), ("S", "U", "A" * 56), ("sk_", "live_", "1" * 24),
    ],
)  # fmt: skip
def test_a_credential_is_found_and_not_repeated(parts: tuple[str, ...]) -> None:
    [found] = chain.secrets({"a.txt": f"one\nkey = {''.join(parts)}\n"})
    assert found.startswith("a.txt:2: ")
    assert parts[-1] not in found


def test_the_bill_of_materials_is_the_lock_file() -> None:
    text = chain.LOCK.read_text()
    made = chain.materials(text, "0.1.0")

    assert made == chain.materials(text, "0.1.0")
    assert len(made["components"]) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    references = [component["bom-ref"] for component in made["components"]]
    assert len({*references}) == len(references)
    assert all(component["hashes"] for component in made["components"])


def test_images_say_what_they_are_and_of_which_commit() -> None:
    dockerfile = (ROOT / "deploy/images/Dockerfile").read_text()
    for stage in ("worker", "runtime"):
        part = dockerfile.split(f" AS {stage}\n")[1].split("\nFROM ")[0]
        labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", part))
        assert {"title", "version", "licenses", "revision"} <= labels
    assert '"REVISION=$revision"' in (ROOT / "deploy/images/build.sh").read_text()
