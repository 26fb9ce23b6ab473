"""Every code block of the guides: what can run on this machine is typed word for word, the rest is parsed."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.exceptions import TyperException

from guides import (
    ROOT,
    Reader,
    blocks,
    command_lines,
    first_words,
    missing,
    parse,
    script,
    settings,
    variables,
)
from messages_api import MessagesApi
from product import product, repository

SHELL = ("sh", "bash", "console")
"""`bash` is for what `follow` leaves out, since it needs something that is not on this machine."""
OTHER = ("text", "toml", "yaml", "python", "dockerfile")
OURS = {"rclaude", "rclaude-admin"}
OF_THE_SHELL = {"export", "unset", "cd", "until", "echo", "cat", "cp", "mkdir", "rm", "tar"}
OF_OTHERS = {
    "apt-get", "aws", "az", "claude", "curl", "docker", "fly", "gcloud", "git", "helm", "kubectl", "make", "npm", "pip", "python",
    "sha256sum", "ssh-keygen", "systemctl", "useradd",
}  # fmt: skip
"""Programs that a guide names and that are not ours: their words can't be checked here."""
OF_THE_BUILD = {"RCLAUDE_RELEASE_KEY", "RCLAUDE_RELEASES"}
FIRST, LAST = "self-host.md", "policies.md"
"""The first brings the stack up; what the last one sets would bind the others."""
PLANS = ROOT / "services/billing/src/remote_claude/billing/domain/plans.toml"


def test_a_guide_names_commands_and_options_that_exist() -> None:
    wrong = []
    for block in blocks():
        text = script(block)
        unknown = variables(text) - settings() - OF_THE_BUILD
        wrong += [f"{block.place}: there is no setting {name}" for name in unknown]
        if block.language not in SHELL:
            continue
        wrong += [f"{block.place}: there is no {what}" for what in missing(text)]
        unknown = set(first_words(text)) - OURS - OF_THE_SHELL - OF_OTHERS
        wrong += [
            f"{block.place}: {word} is a program that no test knows"
            for word in unknown
            if not word.startswith("deploy/")
        ]
        for words in command_lines(text):
            try:
                parse(words)
            except TyperException as error:
                if "does not exist" not in error.format_message():  # a file, which a reader has
                    wrong.append(f"{block.place}: {shlex.join(words)}: {error.format_message()}")
    assert wrong == []


def test_every_other_block_is_what_it_says() -> None:
    for block in blocks():
        if block.language in SHELL:
            continue
        assert block.language in OTHER, f"{block.place}: a block without a language that a test knows"
        match block.language:
            case "toml":
                tomllib.loads(block.text)
            case "yaml":
                yaml.safe_load(block.text)
            case "python":
                compile(block.text, block.place, "exec")


@pytest.mark.timeout(300)
def test_what_a_guide_shows_happens(tmp_path: Path, model: MessagesApi) -> None:
    model.play()
    files = {
        ".gitignore": "".join(f"*.{kind}\n" for kind in ("txt", "pem", "toml", "pub", "json")),
        "token.txt": "a-made-up-token\n",
        "key.pem": "a made-up key\n",
        "plans.toml": PLANS.read_text(),
        "costs.toml": next(b.text for b in blocks() if "[providers.default]" in b.text),
    }
    folder = repository(tmp_path / "repo", files)
    shown = [block for block in blocks() if block.language == "console"]
    shown.sort(key=lambda block: (block.guide != FIRST, block.guide == LAST))
    with product(
        {"ANTHROPIC_API_KEY": model.key[1], "ANTHROPIC_BASE_URL": model.base_url}, up=False
    ) as stack:
        reader = Reader(stack, folder)
        for number, block in enumerate(shown):
            reader.read(block)
            if number == 0:
                reader.signed_in()
                (folder / "seller.pub").write_bytes((stack.home / "billing_key.pub").read_bytes())
