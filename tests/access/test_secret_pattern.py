"""The published regular expression finds every secret that the product hands out, and nothing that only looks like one."""

import re
from pathlib import Path

import pytest

from remote_claude.access import credential_secrets
from remote_claude.access.credential_secrets import generate

ROOT = Path(__file__).resolve().parents[2]
KINDS = [
    value
    for name, value in vars(credential_secrets).items()
    if name.isupper() and isinstance(value, str) and value.startswith("rc")
]
GUIDE = ROOT / "docs/guides/organisations.md"
REFERENCE = ROOT / "docs/reference/http.md"


def published() -> re.Pattern[str]:
    """As the reference has it."""
    found = re.search(r"`(\\b\(\?:rck[^`]+)`", REFERENCE.read_text())
    assert found, f"{REFERENCE} publishes no regular expression"
    return re.compile(found[1])


def test_the_reference_publishes_the_pattern_of_the_code() -> None:
    assert published().pattern == credential_secrets.PATTERN
    assert len(KINDS) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_secret_of_each_kind_is_found_where_secrets_leak(kind: str) -> None:
    for _ in range(50):
        secret = generate(kind)
        for text in (
            secret,
            f"KEY={secret}",
            f'{{"secret": "{secret}"}}',
            f"https://x.example/?token={secret}&a=1",
        ):
            assert published().findall(text) == [secret]


def near_misses() -> dict[str, str]:
    secret = generate()
    return {
        "too short": secret[:-1],
        "too long": secret + "a",
        "another prefix": "rcx_" + secret[4:],
        "no underscore": secret.replace("_", "-", 1),
        "upper-case prefix": secret[:4].upper() + secret[4:],
        "a sign inside": secret[:20] + "-" + secret[21:],
        "the end of a longer word": "a" + secret,
        "an id": "key_" + "0" * 38,
    }


@pytest.mark.parametrize("what", near_misses())
def test_what_only_looks_like_a_secret_is_not_found(what: str) -> None:
    assert published().search(near_misses()[what]) is None


def test_the_guide_finds_keys_too() -> None:
    assert "http.md#keys-and-sessions" in GUIDE.read_text()
