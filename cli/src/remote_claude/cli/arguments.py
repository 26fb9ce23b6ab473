"""Values of arguments and options that several commands take: prompts, labels, amounts of money."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation

from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.render import NANO

MAX_PROMPT = 64 * 1024
"""Bytes."""


def nano_usd(dollars: str) -> int:
    """An amount of dollars above 0. Raises `CliError`."""
    try:
        amount = Decimal(dollars.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise CliError(f"--budget {dollars}: needs an amount of dollars above 0, such as 2.50", Exit.USAGE)
    return int(amount * NANO)


def prompt_or_input(text: str) -> str:
    """The prompt, read from standard input for `-`. Raises `CliError`."""
    if text == "-":
        data = sys.stdin.buffer.read(MAX_PROMPT + 1)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise CliError(
                f"the prompt on standard input is not UTF-8 (byte {error.start})", Exit.USAGE
            ) from error
    return checked_prompt(text)


def checked_prompt(text: str) -> str:
    """The prompt. Raises `CliError` for one that no agent can be given."""
    if not text.strip():
        raise CliError("the prompt is empty: say what the agent is to do", Exit.USAGE)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise CliError("the prompt is not valid UTF-8", Exit.USAGE) from error
    if size > MAX_PROMPT:
        raise CliError(
            "the prompt is over 64 KiB: put the material into the repository and refer to it", Exit.USAGE
        )
    return text


def labels_of(given: list[str]) -> dict[str, str]:
    """Labels from `KEY=VALUE`. Raises `CliError`."""
    labels = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise CliError(f"not a label: {item!r}; labels are KEY=VALUE", Exit.USAGE)
        labels[key] = value
    return labels
