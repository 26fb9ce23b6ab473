"""The scheduler's page says what the scheduler does."""

import re
from pathlib import Path

from remote_claude.contracts import EVENTS
from remote_claude.scheduler.domain.evolve import FOLDS
from remote_claude.scheduler.settings import SchedulerSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "services/scheduler/README.md").read_text()
SETTINGS = (ROOT / "docs/reference/settings.md").read_text()


def test_every_event_that_is_read_or_written_is_in_the_tables() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Za-z]+)`", row)}
    assert named == set(FOLDS)
    assert {name for name, event in EVENTS.items() if event.producer == "scheduler"} <= named


def test_every_setting_is_named_with_its_default() -> None:
    for name, field in SchedulerSettings.model_fields.items():
        assert f"| `RCLAUDE_SCHEDULER_{name.upper()}` | `{field.default:g}` |" in SETTINGS
