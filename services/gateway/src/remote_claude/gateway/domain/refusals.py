"""What the gateway refuses, by stable code and HTTP status; `detail` says what to do next."""

from __future__ import annotations

from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import SPEAKS


class TaskNotFound(Refusal):
    """Unknown, or another organisation's: nobody can tell which."""

    code = "task_not_found"
    status = 404

    def __init__(self, task: str) -> None:
        super().__init__(f"There is no task {task[:64]!r}. `rclaude list` shows yours.")


class NotInTeam(Refusal):
    """Unknown, or one that the caller is not in: nobody can tell which."""

    code = "team_not_found"
    status = 404

    def __init__(self, team: str) -> None:
        super().__init__(f"You are in no team {team[:64]!r}. `rclaude org team list` shows the teams.")


class LabelOfTeam(Refusal):
    """A label that another team owns."""

    code = "label_of_team"
    status = 403

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The label {name[:64]!r} with this value belongs to a team that the task is not of. Submit it for that "
            "team (`--team`), or choose another label. `rclaude org team list` shows the labels of each.",
            label=name,
        )


class TaskAlreadyFinished(Refusal):
    code = "task_already_finished"
    status = 409

    def __init__(self, state: str) -> None:
        super().__init__(
            f"The task has ended already: it is {state}. `rclaude resume` continues an ended task.",
            state=state,
        )


class MessageNotTaken(Refusal):
    code = "message_not_taken"
    status = 409

    def __init__(self, task: str, number: int) -> None:
        super().__init__(
            f"The agent had ended before it took message {number}. `rclaude resume {task}` continues the task.",
            number=number,
        )


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"
    status = 409

    def __init__(self, task: str) -> None:
        super().__init__(
            f"This Idempotency-Key has submitted {task} with another body. Use a new key for a new task.",
            id=task,
        )


class UnknownAgent(Refusal):
    code = "unknown_agent"

    def __init__(self, agent: str, known: list[str]) -> None:
        super().__init__(f"There is no agent {agent!r}. Known: {', '.join(known)}.", known=known)


class AgentUnavailable(Refusal):
    code = "agent_unavailable"

    def __init__(self, agent: str, offered: list[str]) -> None:
        how = HOW_TO_OFFER.get(agent, "Ask the operator for a runner that offers it.")
        what = ", ".join(offered) or "none"
        super().__init__(f"No runner offers the agent {agent!r}. Offered: {what}. {how}", offered=offered)


class NotOffered(Refusal):
    """`what` is the field of the submission that no runner can fulfil, `offered` what there is instead."""

    code = "not_offered"

    def __init__(self, what: str, asked: str | None = None, offered: list[str] | None = None) -> None:
        name = what.replace("_", "-") + (f" {asked!r}" if asked else "")
        instead = f" Offered: {', '.join(offered)}." if offered else ""
        super().__init__(
            f"No runner offers the {name} that the task asks for.{instead} Submit it without `{what}`, or ask the "
            "operator for a runner that offers it.",
            field=what,
        )


class PermissionNotAsked(Refusal):
    code = "permission_not_asked"
    status = 409

    def __init__(self, task: str, request: str) -> None:
        super().__init__(
            f"The agent of {task} does not wait for an answer to {request[:40]!r}: it is answered already, or the agent "
            f"asks no more. `rclaude show {task}` shows what it asks."
        )


class TaskNotFinished(Refusal):
    code = "task_not_finished"
    status = 409

    def __init__(self, task: str, state: str) -> None:
        super().__init__(
            f"The task {task} is still {state}: only a finished task can be continued. Wait for its end.",
            state=state,
        )


_INSTALL = "Install {} (npm {}) where the runner and its sandboxes find it, and start the runner again."
HOW_TO_OFFER = {
    "claude": "Set ANTHROPIC_API_KEY in the environment that the runner is started in, and start it again.",
    "codex": _INSTALL.format("Codex", "@agentclientprotocol/codex-acp"),
    "gemini": _INSTALL.format("Gemini CLI", "@google/gemini-cli"),
    "opencode": _INSTALL.format("OpenCode", "opencode-ai"),
    "noop": "The operator has to allow it on the runner.",
}


class ModelKeyNeeded(Refusal):
    code = "model_key_needed"

    def __init__(self, agent: str) -> None:
        kinds = SPEAKS[agent]
        on_own_stack = (
            " On a stack of your own you can also set ANTHROPIC_API_KEY and start it again (`rclaude down`, `rclaude up`)."
            if "anthropic" in kinds
            else ""
        )
        add = (
            "rclaude model add anthropic"
            if "anthropic" in kinds
            else f"rclaude model add NAME --kind {min(kinds)} --model MODEL"
        )
        super().__init__(
            f"There is no key for the model of the agent {agent!r} that your organisation may use. Store yours with "
            f"`{add}`.{on_own_stack} The agent `shell` needs none.",
        )


class RepositoryUrlRefused(Refusal):
    code = "repository_url_refused"


class BundleNotFound(Refusal):
    code = "bundle_not_found"

    def __init__(self, sha256: str) -> None:
        super().__init__(f"There is no upload {sha256}. Send it first: `PUT /v1/blobs/{sha256}`.")


class PullRequestNeedsUrl(Refusal):
    code = "pull_request_needs_url"

    def __init__(self) -> None:
        super().__init__(
            "A pull request needs the repository's https URL on its forge. Name it as the task's repository, or take "
            "the result with `rclaude apply` and push it yourself."
        )


class NoPullRequest(Refusal):
    """The task did not succeed, or changed nothing."""

    code = "no_pull_request"
    status = 409

    def __init__(self, why: str) -> None:
        super().__init__(f"There is nothing to open a pull request of: {why}.")


class NoResult(Refusal):
    code = "no_result"
    status = 404


class ContentNotKept(Refusal):
    """The time that the plan keeps it is over."""

    code = "content_not_kept"
    status = 410

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"The {kind} of this task {'is' if kind == 'output' else 'are'} no longer kept: the plan of the organisation says for how long. "
            "What the task has cost stays."
        )


class NotKnownToBeRecorded(Refusal):
    """The log gave no answer in time: the request may be recorded, now or in a moment, or not."""

    code = "log_unavailable"
    status = 503

    def __init__(self, task: str) -> None:
        super().__init__(
            f"The event log does not answer, and whether this was recorded for {task} isn't known. Send the request "
            "again with the same Idempotency-Key: it is recorded once. Without a key, look for the task first. Should it "
            "stay so, `rclaude status` says why.",
            id=task,
        )


class ScheduleInvalid(Refusal):
    code = "schedule_invalid"


class ScheduleNotFound(Refusal):
    code = "schedule_not_found"
    status = 404

    def __init__(self, schedule: str) -> None:
        super().__init__(f"There is no schedule {schedule[:64]!r}. `rclaude schedule list` shows all.")


class BatchNotFound(Refusal):
    code = "batch_not_found"
    status = 404

    def __init__(self, batch: str) -> None:
        super().__init__(f"There is no batch {batch[:64]!r}. `rclaude batches` shows yours.")


class BatchAlreadyEnded(Refusal):
    code = "batch_already_ended"
    status = 409

    def __init__(self, outcome: str) -> None:
        super().__init__(f"The batch has ended ({outcome}): there is nothing to cancel.", outcome=outcome)


class BatchInvalid(Refusal):
    code = "batch_invalid"

    def __init__(self, item: int, why: str) -> None:
        super().__init__(f"Item {item} is no task: {why}. Nothing of the batch was submitted.", item=item)


class TriggerNotFound(Refusal):
    code = "trigger_not_found"
    status = 404

    def __init__(self, trigger: str) -> None:
        super().__init__(f"There is no trigger {trigger[:64]!r}. `rclaude trigger list` shows all.")


class ShareNotFound(Refusal):
    """There is none, it has ended, or its secret is another: the answers are the same."""

    code = "share_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("This link opens no task: it is not complete, it has expired, or it was revoked.")


class MembersOnly(Refusal):
    """Schedules, triggers and batches act for a person, and end with the person's membership."""

    code = "members_only"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "Schedules, triggers and batches belong to a member of the organisation. Use a member's own credential."
        )
