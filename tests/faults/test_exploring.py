"""How the crash points are driven: what one run comes by may be met again in another way."""

from crashing.exploring import TRIES, TRIES_OF_THE_RARE, Exploration, Scenario
from crashing.points import Point
from crashing.runs import Run

COMMON, BY_CHANCE = Point("publish", "after", "TaskStarted", 1), Point("commit", "before", "a_view", 1)
RARE = Point("append", "before", "give_back", 1)


def ran(scenario: Scenario, *deaths: Point, seen: tuple[Point, ...] = ()) -> Run:
    """A run with a life after each death; in the last one it came by `seen`."""
    return Run(scenario, deaths, (*[()] * len(deaths), seen), ())


def test_a_point_that_is_not_met_is_looked_for_where_most_runs_have_come_by_it() -> None:
    found = Exploration()
    [scenario] = found.learn(ran((BY_CHANCE,), BY_CHANCE, seen=(RARE,)), lambda _: {1})
    assert scenario == (BY_CHANCE, RARE)
    for _ in range(2):
        assert found.learn(ran((COMMON,), COMMON, seen=(RARE,)), lambda _: {1}) == []
    ways = []
    for tries in range(1, 3):
        found.note(ran(scenario, BY_CHANCE), tries)
        ways.append(found.queue.popleft())
    assert ways == [((BY_CHANCE, RARE), 2), ((COMMON, RARE), 3)]


def test_a_place_at_which_nothing_has_died_is_tried_more_often() -> None:
    found = Exploration()
    found.learn(ran((), seen=(RARE,)), lambda _: {1})
    found.note(ran((RARE,)), TRIES)
    assert found.queue.pop() == ((RARE,), TRIES + 1)
    found.note(ran((RARE,), RARE), 1)
    found.note(ran((COMMON, RARE)), TRIES)
    assert (list(found.queue), found.left) == ([], [(COMMON, RARE)])
    assert found.died_at == {RARE}
    assert TRIES < TRIES_OF_THE_RARE
