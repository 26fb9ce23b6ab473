"""Where the Jobs of the provider `kubernetes` run."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class KubernetesSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_KUBERNETES_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_KUBERNETES_", frozen=True, extra="ignore")

    kubeconfig: str | None = None
    """A file as `kubectl` has it. Without one the pod's own service account is used, or `~/.kube/config`."""
    context: str | None = None
    """Of that file; its current one unless set."""
    namespace: str = "remote-claude-tasks"
    image: str = "remote-claude/worker"
    """Of the sandboxes; a task may name another."""
    runtime_class: str | None = None
    """Such as `gvisor` or `kata`."""
    service_account: str = "default"
    """Of the pods, which get no token of it."""
    schedule_s: int = 300
    """Seconds that a pod may wait for a node."""
    poll_s: float = 2.0
    """Seconds between two looks at the Jobs."""
