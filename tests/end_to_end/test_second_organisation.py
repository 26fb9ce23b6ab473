"""The owner of an embedded stack acts for another organisation of theirs, without a sign-in provider."""

from __future__ import annotations

from product import Product
from servers import until


def test_the_owner_of_a_stack_acts_for_a_second_organisation(stack: Product) -> None:
    first = stack.ok("whoami", "--json").json["org"]
    acme = stack.ok("org", "create", "Acme").out.strip()
    stack.ok("org", "switch", "Acme")
    try:
        assert stack.ok("whoami", "--json").json["org"] == acme
        assert {o["id"] for o in stack.ok("org", "list", "--json").json} >= {first, acme}
        assert f"%3Forg%3D{acme}" in stack.ok("open", "--print").out
        stack.ok("org", "rename", "Acme and Sons")
        until(lambda: "Acme and Sons" in stack.ok("org", "list").out, "the new name")
        done = stack.ok("run", "--agent", "shell", "--no-repo", "--json", "echo for acme")
        assert done.json["state"] == "succeeded"
        renamed = [e for e in stack.ok("audit", "--json").lines if e["action"] == "OrgSettingsChanged"]
        assert [bool(e["address"]) for e in renamed] == [True]

        plain = stack.ok("key", "create", "plain").out.strip()
        opened = Product(stack.home, {**stack.environment, "RCLAUDE_API_KEY": plain}).ok("open", "--print")
        assert opened.out.strip() == f"{stack.stack_file()['url']}/"
        assert "signs no browser in" in opened.err
    finally:
        stack.ok("org", "delete", acme)
    assert stack.ok("whoami", "--json").json["org"] == first
    assert done.json["id"] not in stack.ok("list", "--json").out
