"""What a batch file asks for."""

import re
from typing import Any

import pytest

from remote_claude.cli.batches.items import Batch, read
from remote_claude.cli.errors import CliError


def batch(text: str, kind: str = "yaml", template: str | None = None, **options: Any) -> Batch:
    defaults = options.pop("defaults", {})
    name = options.pop("name", None)
    return read(text, kind, name=name, template=template, defaults=defaults, place=lambda repo: repo)


def prompts(of: Batch) -> list[str]:
    return [item.body["prompt"] for item in of.items]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("yaml", "- {prompt: one, repo: a, timeout: 60, labels: {team: core}}\n- prompt: two\n"),
        ("jsonl", '{"prompt": "one", "repo": "a", "timeout": 60, "labels": {"team": "core"}}\n\n{"prompt": "two"}\n'),
        ("csv", "prompt,repo,timeout,labels\none,a,60,team=core\ntwo,,,\n"),
    ],
)  # fmt: skip
def test_the_three_formats_say_the_same(kind: str, text: str) -> None:
    one, two = batch(text, kind).items
    assert one.body == {"prompt": "one", "agent": "claude", "timeout_s": 60, "labels": {"team": "core"}}
    assert one.repo == "a"
    assert (two.body, two.repo) == ({"prompt": "two", "agent": "claude", "labels": {}}, None)


def test_a_template_takes_any_field_and_an_items_own_prompt_goes_first() -> None:
    text = '{"file": "a.py", "line": 3}\n{"file": "b.py", "prompt": "own {file}"}\n'
    found = batch(text, "jsonl", "fix {{all}} of {file} $(awk '{print $1}')")
    assert prompts(found) == ["fix {all} of a.py $(awk '{print $1}')", "own {file}"]


def test_a_matrix_is_every_combination() -> None:
    text = """
    name: upgrade
    prompt: move {repo} to {python}
    agent: shell
    matrix: {repo: [a, b], python: ["3.13", "3.14"]}
    """
    found = batch(text, template=None)
    assert prompts(found) == ["move a to 3.13", "move a to 3.14", "move b to 3.13", "move b to 3.14"]
    assert found.name == "upgrade"
    assert {item.body["agent"] for item in found.items} == {"shell"}


def test_the_same_items_have_the_same_keys_in_any_order_and_equal_ones_have_different_keys() -> None:
    here, there = (
        batch("[{prompt: a}, {prompt: b}, {prompt: a}]"),
        batch("[{prompt: a}, {prompt: a}, {prompt: b}]"),
    )
    assert {item.key for item in here.items} == {item.key for item in there.items}
    assert len({item.key for item in here.items}) == 3


def test_the_name_follows_from_what_is_asked() -> None:
    assert batch("[{prompt: a}]").name == batch('{"prompt": "a"}', "jsonl").name
    assert batch("[{prompt: a}]").name != batch("[{prompt: b}]").name
    assert batch("[{prompt: a}]", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("text", "kind", "template", "says"),
    [
        ("- {prompt: a, timout: 3}", "yaml", None, "item 1: there is no field 'timout'"),
        ("- {prompt: a}\n- {repo: b}", "yaml", None, "item 2: it has no prompt"),
        ("- {repo: b}", "yaml", "fix {file}", "item 1: the prompt template uses {file}"),
        ("- {prompt: a, timeout: soon}", "yaml", None, "item 1: timeout is not a whole number: 'soon'"),
        ("- {prompt: a, id: x}\n- {prompt: b, id: x}", "yaml", None, "item 2: the id 'x'"),
        ("- {prompt: a, labels: {batch: x}}", "yaml", None, "the label 'batch'"),
        ("[]", "yaml", None, "no items"),
        ("", "csv", None, "no items"),
        ("items: {prompt: a}", "yaml", None, "items are a list"),
        ("- just words", "yaml", None, "item 1 is no mapping"),
        ("- {prompt: [", "yaml", None, "can't be read as yaml"),
        ('{"prompt": ', "jsonl", None, "can't be read as jsonl"),
        ("prompt\na,b\n", "csv", None, "more columns"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_item(
    text: str, kind: str, template: str | None, says: str
) -> None:
    with pytest.raises(CliError, match=re.escape(says)):
        batch(text, kind, template)
