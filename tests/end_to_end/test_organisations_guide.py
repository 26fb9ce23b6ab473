"""The commands of the guide to organisations, run as a reader would."""

from pathlib import Path

from guides import follow
from product import Product


def test_the_commands_of_the_guide_make_a_key_for_ci_and_end_it(stack: Product, tmp_path: Path) -> None:
    said = follow(stack, "organisations.md", tmp_path)
    assert "from CI" in said
    assert "deploys" not in stack.ok("service-account", "list").out
