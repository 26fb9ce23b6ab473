"""Who is there, and which attempts nobody keeps: by a clock that the test moves."""

from remote_claude.contracts.leases import HeldAttempt, LeaseRequest
from remote_claude.scheduler.domain.known_leases import Leases
from scheduling import ORG, RUNNER, World, drained, joined, on_plan, settled, submitted

LEASE, LIMIT = 15.0, 20.0


def leases(now: float = 0.0) -> Leases:
    return Leases(LEASE, LIMIT, now)


def renewal(*attempts: int) -> LeaseRequest:
    held = tuple(HeldAttempt(org=ORG, task="task_1", attempt=n) for n in attempts)
    return LeaseRequest(runner=RUNNER, attempts=held)


def holding() -> World:
    """A log in which the runner holds attempt 1 of a task."""
    return settled(on_plan(), joined(), submitted())


def found(known: Leases, world: World, start: float, end: float) -> dict[str, float]:
    """What expires while the leader looks once a second, and when it was found."""
    expired: dict[str, float] = {}
    now = start
    while now <= end:
        for _, reason in known.expired(world.state, now):
            expired.setdefault(reason, now)
        now += 1
    return expired


def test_a_runner_is_there_for_a_lease_after_it_was_seen() -> None:
    known = leases()
    assert not known.available(RUNNER, 0)
    known.mark_seen(RUNNER, 10)
    assert known.available(RUNNER, 25)
    assert not known.available(RUNNER, 25.1)


def test_an_older_renewal_takes_nothing_back() -> None:
    known = leases()
    known.mark_seen(RUNNER, 10)
    known.mark_seen(RUNNER, 5)
    assert known.available(RUNNER, 25)


def test_a_paused_until_runner_is_given_no_work() -> None:
    known = leases()
    known.mark_seen(RUNNER, 0)
    known.pause(RUNNER, 2)
    assert not known.available(RUNNER, 1)
    assert known.available(RUNNER, 2)


def test_a_new_leader_gives_everybody_a_whole_limit() -> None:
    assert found(leases(), holding(), 0, 20) == {}
    assert found(leases(), holding(), 0, 30) == {"runner_lost": 21}


def test_what_is_renewed_is_held() -> None:
    known, world = leases(), holding()
    for now in range(0, 100, 5):
        known.renew(renewal(1), now)
        assert found(known, world, now, now + 4) == {}


def test_an_attempt_that_its_runner_does_not_list_is_lost_though_the_runner_is_there() -> None:
    known, world = leases(), holding()
    lost: dict[str, float] = {}
    for now in range(0, 30, 5):
        known.renew(renewal(), now)
        lost |= found(known, world, now, now + 4)
    assert list(lost) == ["attempt_lost"]


def test_an_attempt_has_a_whole_limit_from_its_assignment() -> None:
    known, world = leases(), World().record(on_plan(), joined())
    for now in range(0, 100, 5):
        known.renew(renewal(), now)
        assert found(known, world, now, now + 4) == {}
    world.record(submitted()).when().recorded()
    for now in range(100, 120, 5):
        known.renew(renewal(), now)
        assert found(known, world, now, now + 4) == {}
    assert found(known, world, 120, 121) == {"attempt_lost": 121}


def test_one_that_was_asleep_begins_anew() -> None:
    known, world = leases(), holding()
    assert found(known, world, 0, 1) == {}
    assert found(known, world, 1000, 1020) == {}
    assert found(known, world, 1021, 1021) == {"runner_lost": 1021}


def test_a_silent_runner_is_forgotten_once_it_holds_nothing() -> None:
    known = leases()
    assert known.silent(World().record(joined()).state, 50, 60) == []
    assert known.silent(World().record(joined()).state, 70, 60) == [RUNNER]
    assert known.silent(holding().state, 70, 60) == []
    known.mark_seen(RUNNER, 60)
    assert known.silent(World().record(joined()).state, 70, 60) == []


def test_a_leader_that_no_runner_renews_at_notices_it_after_a_lease() -> None:
    known, world = leases(), World().record(joined())
    assert not known.without_renewals(world.state, 15)
    assert known.without_renewals(world.state, 15.1)
    known.renew(renewal(), 16)
    assert not known.without_renewals(world.state, 31)


def test_a_leader_without_runners_expects_no_renewal() -> None:
    assert not leases().without_renewals(World().record(on_plan()).state, 100)
    assert not leases().without_renewals(World().record(joined(), drained()).state, 100)
