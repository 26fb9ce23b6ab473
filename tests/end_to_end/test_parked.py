"""What an administrator does about an event that a view can't fold, on a stack that runs."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import nats
import pytest

from product import Product, product
from servers import until

VIEW = "users_directory"


@pytest.fixture(scope="module")
def one() -> Iterator[Product]:
    with product() as one:
        yield one


def damage(one: Product, person: str) -> None:
    """Write an event that no release can read into the log of a running stack, and a good one behind it."""

    async def publish() -> None:
        broker = one.status()["nats"]
        client = await nats.connect(broker["url"], nkeys_seed=broker["credentials"])
        sealed = {"key": person, "box": "bm9uY2U="}
        stream = client.jetstream()
        for data in ({"user": 1}, {"user": person, "name": sealed, "email": None}):
            headers = {
                "ce-specversion": "1.0", "ce-id": str(uuid4()), "ce-source": "users", "ce-type": "UserRegistered",
                "ce-time": "2026-11-01T00:00:00.000000Z", "ce-dataschema": "remote-claude:UserRegistered:1",
            }  # fmt: skip
            await stream.publish(f"ev.users._.user.{person}", json.dumps(data).encode(), headers=headers)
        await client.close()

    asyncio.run(publish())


def parked(one: Product, *args: str) -> list[Any]:
    done = one.admin("parked", "list", "--json", *args)
    assert done.code == 0, done.err
    rows: list[Any] = done.json
    return rows


def test_a_parked_event_is_listed_tried_again_dropped_and_left_out(one: Product) -> None:
    damage(one, "user_x")
    until(lambda: len(parked(one)) == 2, "two parked events", 60, pause=0.2)
    bad, good = parked(one, VIEW)
    assert {**bad, "position": 0, "id": ""} == {
        "view": VIEW, "position": 0, "id": "", "type": "UserRegistered", "version": 1,
        "aggregate": "ev.users._.user.user_x", "error": bad["error"], "since": "2026-11-01T00:00:00.000000Z",
    }  # fmt: skip
    assert bad["error"].startswith("UndecodableEvent")
    assert good["error"] == "an earlier event of its stream is parked"
    assert "UndecodableEvent" in one.admin("parked", "list").out
    positions = [bad["position"], good["position"]]
    assert [e["position"] for e in one.api("/v1/status/parked").json()["parked"]] == positions
    with one.client() as client:
        tried = client.post("/v1/status/parked/retry", json={"view": VIEW}).json()
        assert (tried["folded"], [e["position"] for e in tried["parked"]]) == ([], positions)
        assert client.post("/v1/status/parked/retry", json={"view": "no_such_view"}).status_code == 404

    again = one.admin("parked", "retry", "--all", "--json")
    assert again.code == 1
    assert again.json == [{"view": VIEW, "folded": [], "parked": [bad, good]}]

    no = one.admin("parked", "drop", VIEW, str(bad["position"]))
    assert (no.code, "--reason" in no.err) == (2, True)
    dropped = one.admin("parked", "drop", VIEW, str(bad["position"]), "--reason", "a drill", "--by", "ada")
    assert dropped.code == 0
    assert f"parked retry {VIEW} {good['position']}" in dropped.out
    retried = one.admin("parked", "retry", VIEW, str(good["position"]))
    assert (retried.code, retried.out) == (0, f"{VIEW}: 1 folded, 0 still parked\n")

    assert parked(one) == []
    [trace] = parked(one, "--dropped")
    assert (trace["position"], trace["by"], trace["reason"]) == (bad["position"], "ada", "a drill")
    assert "ada: a drill" in one.admin("parked", "list", "--dropped").out
    rebuilt = one.admin("rebuild", VIEW, "--json")
    assert (rebuilt.code, rebuilt.json["equal"]) == (0, True)
    assert one.status()["services"]["users"]["state"] == "ready"


def test_what_is_not_parked_is_refused_by_name(one: Product) -> None:
    for command, said in (
        (("retry", VIEW, "3"), "position 3 is not parked"),
        (("drop", VIEW, "3", "--reason", "x"), "position 3 is not parked"),
        (("retry", "nonsense"), "there is no view 'nonsense'"),
        (("list", "nonsense"), "there is no view 'nonsense'"),
        (("retry",), "--all"),
        (("retry", "--all", VIEW), "not both"),
    ):
        done = one.admin("parked", *command)
        assert done.code == 2
        assert said in done.err
    for which in ("--all", VIEW):
        done = one.admin("parked", "retry", which)
        assert (done.code, done.out) == (0, "nothing is parked\n")
