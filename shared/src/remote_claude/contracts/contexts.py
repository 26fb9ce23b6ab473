"""The place that a text is sealed for. It opens in no other."""


def prompt_context(task: str) -> str:
    return f"{task}/prompt"


def repository_url_context(task: str) -> str:
    return f"{task}/repository/url"


def repository_ref_context(task: str) -> str:
    return f"{task}/repository/ref"


def author_context(task: str) -> str:
    """Name and e-mail address of who the commit is by."""
    return f"{task}/author"


def agent_options_context(task: str) -> str:
    """What Claude Code is told besides its prompt."""
    return f"{task}/agent-options"


def message_context(task: str) -> str:
    return f"{task}/message"


def permission_context(task: str, request: str) -> str:
    """What the agent asks a permission for, and what the person who answers it says."""
    return f"{task}/permission/{request}"


def labels_context(task: str) -> str:
    return f"{task}/labels"


def team_labels_context(team: str) -> str:
    return f"{team}/labels"


def attempt_detail_context(task: str, attempt: int) -> str:
    """Why an attempt ended, in a sentence."""
    return f"{task}/{attempt}/detail"


def attempt_summary_context(task: str, attempt: int) -> str:
    """What the agent says it has done."""
    return f"{task}/{attempt}/summary"


def attempt_checks_context(task: str, attempt: int) -> str:
    """The repository's checks that have run on the result."""
    return f"{task}/{attempt}/checks"


def pull_request_url_context(task: str) -> str:
    return f"{task}/pull-request/url"


def pull_request_title_context(task: str) -> str:
    return f"{task}/pull-request/title"


def pull_request_base_context(task: str) -> str:
    """The branch that a pull request goes to."""
    return f"{task}/pull-request/base"


def pull_request_reviewers_context(task: str) -> str:
    return f"{task}/pull-request/reviewers"


def pull_request_labels_context(task: str) -> str:
    return f"{task}/pull-request/labels"


def pull_request_detail_context(task: str) -> str:
    """Why there is no pull request, in a sentence."""
    return f"{task}/pull-request/detail"


def thread_detail_context(task: str) -> str:
    """Why a comment on the issue or pull request that started a task was given up, in a sentence."""
    return f"{task}/thread/detail"


def secret_context(org: str, owner: str | None, name: str) -> str:
    """A secret of an organisation, or of a person (`owner`) there."""
    return f"{org}/{owner or org}/secret/{name}"


def name_context(owner: str) -> str:
    """The name of a person or an organisation."""
    return f"{owner}/name"


def webhook_url_context(hook: str) -> str:
    return f"{hook}/url"


def webhook_secret_context(hook: str) -> str:
    return f"{hook}/secret"


def starter_context(starter: str, what: str) -> str:
    """What a schedule or a trigger is made of: its `request`, a trigger's `rules` and `secret`."""
    return f"{starter}/{what}"


def batch_name_context(batch: str) -> str:
    return f"{batch}/name"


def batch_detail_context(batch: str, item: int) -> str:
    """Why an item of a batch was refused, in a sentence."""
    return f"{batch}/{item}/detail"


def email_context(owner: str) -> str:
    """The e-mail address of a person, or of an invitation."""
    return f"{owner}/email"


def identity_subject_context(identity: str) -> str:
    """The subject that a sign-in provider knows a person by."""
    return f"{identity}/subject"


def session_client_context(session: str) -> str:
    """The program and the address that a session was opened from."""
    return f"{session}/client"


def origin_context(credential: str) -> str:
    """The program and the address that a request with this credential came from."""
    return f"{credential}/origin"


def key_name_context(key: str) -> str:
    """What the owner of an API key calls it."""
    return f"{key}/key_name"


def signing_key_context(kid: str) -> str:
    """The private key that signs access tokens."""
    return f"{kid}/private"


def customer_details_context(org: str) -> str:
    """Who an organisation's invoices are made out to."""
    return f"{org}/customer-details"


def ticket_title_context(ticket: str) -> str:
    return f"{ticket}/title"


def ticket_message_context(ticket: str, message: str) -> str:
    """A message of a ticket; the ticket's own text has the ticket's id."""
    return f"{ticket}/message/{message}"
