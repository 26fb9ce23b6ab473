"""What the gateway decides about a task: given what was recorded, when asked, then this is recorded or refused."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from event_examples import runner_joined
from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import (
    PermissionAnswered,
    TaskCancellationRequested,
    TaskContentRemoved,
    TaskMessageSent,
    TaskSubmitted,
)
from remote_claude.contracts.refusals import InvalidCursor
from remote_claude.contracts.runner import OPERATOR_MODEL, RunnerDrained, RunnerJoined
from remote_claude.gateway.domain.cursor import Cursor
from remote_claude.gateway.domain.offers import Offers
from remote_claude.gateway.domain.refusals import (
    AgentUnavailable,
    IdempotencyKeyReused,
    NotOffered,
    PermissionNotAsked,
    RepositoryUrlRefused,
    TaskAlreadyFinished,
    TaskNotFound,
    UnknownAgent,
)
from remote_claude.gateway.domain.repositories import check_url
from remote_claude.gateway.domain.task import (
    AnswerPermission,
    Command,
    RemoveContent,
    RequestCancellation,
    SendMessage,
    State,
    SubmitTask,
    decide,
    evolve,
    initial_state,
)

TASK, ORG, USER = "task_1", "org_1", "user_1"
PROMPT = Sealed(key=ORG, box="c2VhbGVk")


def submit(body_hash: str = "hash") -> SubmitTask:
    return SubmitTask(SUBMITTED.model_copy(update={"body_hash": body_hash}))


CANCEL = RequestCancellation(task=TASK, org=ORG, user=USER)
SUBMITTED = TaskSubmitted(task=TASK, org=ORG, user=USER, prompt=PROMPT, agent="shell", body_hash="hash")
REQUESTED = TaskCancellationRequested(task=TASK, org=ORG, user=USER)


def when(given: Sequence[Event], command: Command) -> list[Event]:
    state = initial_state
    for event in given:
        state = evolve(state, event)
    return decide(command, state)


def test_a_new_task_is_recorded_as_it_was_asked() -> None:
    assert when([], submit()) == [SUBMITTED]


def test_the_same_submission_again_records_nothing() -> None:
    assert when([SUBMITTED], submit()) == []


def test_the_same_submission_after_a_cancellation_records_nothing() -> None:
    assert when([SUBMITTED, REQUESTED], submit()) == []


@pytest.mark.parametrize("given", [[SUBMITTED], [SUBMITTED, REQUESTED]])
def test_another_body_under_the_same_key_is_refused(given: list[Event]) -> None:
    with pytest.raises(IdempotencyKeyReused):
        when(given, submit("another"))


def test_a_submitted_task_can_be_asked_to_end() -> None:
    assert when([SUBMITTED], CANCEL) == [REQUESTED]


def test_asking_for_the_end_again_records_nothing() -> None:
    assert when([SUBMITTED, REQUESTED], CANCEL) == []


def test_what_was_never_submitted_cannot_be_asked_to_end() -> None:
    with pytest.raises(TaskNotFound):
        when([], CANCEL)


def joined(*agents: str, runner: str = "runner_1") -> RunnerJoined:
    return runner_joined(runner, agents=agents)


def offers(*events: RunnerJoined | RunnerDrained) -> Offers:
    known = Offers()
    for event in events:
        known.evolve(event)
    return known


@pytest.mark.parametrize("agent", ["claude", "shell", "noop"])
def test_a_known_agent_may_wait_for_a_runner_while_there_is_none(agent: str) -> None:
    offers().check(agent, None, {}, ORG)


def test_an_agent_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownAgent) as refused:
        offers(joined("shell", "codex")).check("gpt", None, {}, ORG)
    assert refused.value.extra == {"known": ["claude", "codex", "gemini", "noop", "opencode", "shell"]}
    assert "codex" in refused.value.detail


def test_a_known_agent_that_no_runner_offers_is_refused_with_how_to_get_it() -> None:
    with pytest.raises(AgentUnavailable) as refused:
        offers(joined("shell")).check("claude", None, {}, ORG)
    assert "ANTHROPIC_API_KEY" in refused.value.detail
    assert refused.value.extra == {"offered": ["shell"]}


def test_a_runner_that_joins_again_offers_what_it_says_now() -> None:
    with pytest.raises(AgentUnavailable):
        offers(joined("shell", "claude"), joined("shell")).check("claude", None, {}, ORG)


def test_what_one_of_several_runners_offers_is_available_until_it_leaves() -> None:
    both = offers(joined("shell"), joined("claude", runner="runner_2"))
    both.check("claude", None, {}, ORG)
    both.evolve(RunnerDrained(runner="runner_2"))
    with pytest.raises(AgentUnavailable):
        both.check("claude", None, {}, ORG)


def test_a_machine_of_an_organisations_own_is_offered_to_that_one_only() -> None:
    own = offers(
        joined("shell").model_copy(update={"provider": "machine", "only_for": "org_1"}),
        joined("shell", runner="runner_2"),
    )
    own.check("shell", "machine", {}, "org_1")
    with pytest.raises(NotOffered) as refused:
        own.check("shell", "machine", {}, "org_2")
    assert "machine" not in str(refused.value.extra)


def test_the_operators_key_serves_the_organisation_that_its_runner_names() -> None:
    base = runner_joined(agents=("claude",), capabilities=(OPERATOR_MODEL,))
    owners = offers(base.model_copy(update={"operator_model_for": "org_1"}))
    assert not owners.without_model("claude", "org_1")
    assert owners.without_model("claude", "org_2")
    assert not offers(base).without_model("claude", "org_2")


def test_providers_and_capabilities_are_those_of_the_runners_that_are_there() -> None:
    one = runner_joined("runner_1", capabilities=("model", "operator_model"))
    both = offers(one, runner_joined("runner_2", provider="docker", capabilities=("image", "model")))
    assert (both.providers, both.capabilities) == (["docker", "local"], ["image", "model"])
    both.evolve(RunnerDrained(runner="runner_2"))
    assert (both.providers, both.capabilities) == (["local"], ["model"])


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/name.git",
        "http://localhost:3000/owner/name",
        "https://user@host/owner/name.git",
        "ssh://git@github.com:22/owner/name.git",
        "git://host/name",
        "git@github.com:owner/name.git",
        "https://[::1]:8443/a/b",
    ],
)
def test_urls_that_a_runner_can_clone_are_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "/home/me/repository",
        "./repository",
        "../up",
        "~/repository",
        "C:\\repository",
        "file:///home/me/repository",
        "FILE:///etc",
        "ext::sh -c touch% /tmp/x",
        "ext::git@host:x",
        "fd::17",
        "ftp://host/name",
        "javascript:alert(1)",
        "https://",
        "https://host",
        "https://host/",
        "https:///name",
        "https://-oProxyCommand=x/name",
        "ssh://-oProxyCommand=x/name",
        "ssh://-oProxyCommand=x@host/name",
        "-oProxyCommand=x@host:name",
        "git@-host:name",
        "https://host:notaport/name",
        "https://[::1/name",
        "",
    ],
)
def test_urls_that_are_local_or_would_run_something_are_refused(url: str) -> None:
    with pytest.raises(RepositoryUrlRefused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:made-up@host/owner/name.git",
        "ssh://git:made-up@host/owner/name.git",
        "https://:made-up@host/owner/name.git",
        "https://ghp_made0up0token@github.com/owner/name.git",
        "https://glpat-made-up@gitlab.com/owner/name.git",
        "https://x-access-token@github.com/owner/name.git",
    ],
)
def test_a_url_with_a_password_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(RepositoryUrlRefused, match="rclaude repo connect") as refused:
        check_url(url)
    assert "made" not in refused.value.detail


def test_cursors_sort_as_the_output_does() -> None:
    assert Cursor.parse("0.0") < Cursor.parse("1.2") < Cursor.parse("1.10") < Cursor.parse("2.1")
    assert str(Cursor.parse("12.345")) == "12.345"


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "-1.0", "1.0.0", "a.b", "1.1\n", "\u0663.\u0661", "9999999999.1"]
)
def test_a_cursor_that_was_not_made_here_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


def state_after(*events: Event) -> State:
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state


def message(number: int) -> TaskMessageSent:
    return TaskMessageSent(task=TASK, org=ORG, user=USER, number=number, text=PROMPT)


def test_messages_to_a_task_are_numbered() -> None:
    command = SendMessage(task=TASK, org=ORG, user=USER, text=PROMPT)
    assert decide(command, state_after(SUBMITTED, message(1))) == [message(2)]


def test_a_message_needs_a_task_that_goes_on() -> None:
    command = SendMessage(task=TASK, org=ORG, user=USER, text=PROMPT)
    with pytest.raises(TaskNotFound):
        decide(command, initial_state)
    with pytest.raises(TaskAlreadyFinished):
        decide(command, state_after(SUBMITTED, TaskCancellationRequested(task=TASK, org=ORG, user=USER)))


def test_removed_content_is_recorded_once() -> None:
    remove = RemoveContent(task=TASK, org=ORG, kinds=("output", "artifacts"))
    before = TaskContentRemoved(task=TASK, org=ORG, kinds=("output",))
    after = TaskContentRemoved(task=TASK, org=ORG, kinds=("artifacts",))
    assert decide(remove, state_after(SUBMITTED, before)) == [after]
    assert decide(remove, state_after(SUBMITTED, before, after)) == []
    with pytest.raises(TaskNotFound):
        decide(remove, initial_state)


def test_the_first_answer_to_a_permission_request_counts() -> None:
    allow = AnswerPermission(task=TASK, org=ORG, user=USER, request="1-1", decision="allow")
    answered = PermissionAnswered(task=TASK, org=ORG, user=USER, request="1-1", decision="allow")
    assert decide(allow, state_after(SUBMITTED)) == [answered]
    assert decide(allow, state_after(SUBMITTED, answered)) == []
    with pytest.raises(PermissionNotAsked):
        decide(replace(allow, decision="deny"), state_after(SUBMITTED, answered))
    with pytest.raises(TaskNotFound):
        decide(allow, initial_state)
