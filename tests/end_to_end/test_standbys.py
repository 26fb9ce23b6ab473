"""Two gateways, two schedulers, two billing services, each a process: one leads or applies, the other takes over."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from servers import Database, nats_with_accounts, until
from service_pairs import SETTINGS, Fault, Pairs, back, frozen, killed, post
from service_processes import installation

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pairs(postgres_server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    folder: Path = tmp_path_factory.mktemp("standbys")
    with (
        postgres_server.fresh() as dsn,
        nats_with_accounts() as as_user,
        installation(as_user, dsn, folder, **SETTINGS) as apart,
    ):
        yield Pairs(apart)


def test_the_same_key_through_both_gateways_at_once_is_one_task(pairs: Pairs) -> None:
    async def ask(n: int) -> list[httpx2.Response]:
        async with asyncio.TaskGroup() as group, httpx2.AsyncClient(timeout=30) as http:
            asked = [
                group.create_task(
                    http.post(
                        f"{gateway.url}/v1/tasks",
                        json={"agent": "noop", "prompt": "once"},
                        headers={
                            "Authorization": f"Bearer {pairs.apart.api_key}",
                            "Idempotency-Key": f"same-{n}",
                        },
                    )
                )
                for gateway in pairs.gateways * 2
            ]
            return list(await asyncio.gather(*asked))

    tasks = set()
    for n in range(10):
        answers = asyncio.run(ask(n))
        assert {answer.status_code for answer in answers} <= {200, 201}, [a.text for a in answers]
        [task] = {answer.json()["id"] for answer in answers}
        tasks.add(task)
    assert len(tasks) == 10
    for gateway in pairs.gateways:
        with pairs.apart.http(gateway) as http:
            assert post(http, "same-1", "something else").status_code == 409
    pairs.all_over(tasks)


def test_both_gateways_show_the_same_tasks_and_output(pairs: Pairs) -> None:
    one, other = (pairs.apart.client(gateway) for gateway in pairs.gateways)
    done = one.ok("run", "--agent", "shell", "--no-repo", "--json", "echo from either").json
    assert done["state"] == "succeeded"
    assert "from either" in other.ok("logs", done["id"]).out
    until(lambda: other.ok("bill", "--json").json == one.ok("bill", "--json").json, "one bill", pause=0.2)
    running = other.ok(
        "run", "--agent", "shell", "--no-repo", "--json", "--detach", "sleep 1; echo live"
    ).json
    assert "live" in one.ok("logs", "-f", running["id"]).out


def test_every_new_organisation_gets_one_account_and_one_period(pairs: Pairs) -> None:
    admin = pairs.apart.operator.admin
    orgs = [admin("org", "create", f"org {n}").out.split()[0] for n in range(2)]
    opened: Counter[tuple[str, str]] = Counter()

    def all_opened() -> bool:
        opened.clear()
        events = admin("log", "read", "--json", "--subject", "ev.billing.>").lines
        opened.update((event["data"]["org"], event["type"]) for event in events)
        return all(opened[org, kind] for org in orgs for kind in ("PlanChanged", "PeriodOpened"))

    until(all_opened, "accounts of the new organisations", 60, pause=0.2)
    assert set(opened.values()) == {1}


KILLED = pytest.param(killed, id="killed", marks=pytest.mark.nightly)
FROZEN = pytest.param(frozen, id="frozen")


@pytest.mark.parametrize("happens", [KILLED, FROZEN])
def test_a_leader_is_followed_by_its_standby_and_stands_down_when_it_comes_back(
    pairs: Pairs, happens: Fault
) -> None:
    leader, standby = pairs.split(pairs.schedulers, pairs.leads)
    with pairs.working() as tasks:
        happens(leader)
        until(lambda: pairs.leads(standby), "the standby leads", 60, pause=0.05)
        before = len(tasks)
        until(lambda: len(tasks) > before + 10, "tasks go on", 60)
        back(leader)
        until(lambda: not pairs.leads(leader), "it stands down", 60, pause=0.05)
    assert pairs.leads(standby)
    assert happens is killed or leader.said("standing down")


@pytest.mark.parametrize(
    ("service", "view"),
    [
        ("gateway", "gateway_tasks"),
        pytest.param("billing", "billing_usage", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("happens", [KILLED, FROZEN])
def test_the_process_that_applies_a_view_is_followed(
    pairs: Pairs, service: str, view: str, happens: Fault
) -> None:
    pair = pairs.gateways if service == "gateway" else pairs.billings
    applies = pairs.applies_view(view)
    applier, standby = pairs.split(pair, applies)
    with pairs.working() as tasks:
        happens(applier)
        until(lambda: applies(standby), "the standby applies the view", 60, pause=0.05)
        before = len(tasks)
        until(lambda: len(tasks) > before + 10, "tasks go on", 60)
        back(applier)
        until(lambda: not applies(applier), "the other follows", 60, pause=0.05)
    assert applies(standby)


def test_after_all_that_the_log_and_the_views_are_right(pairs: Pairs) -> None:
    pairs.holds()
