"""One attempt, from its assignment to its last event: source, sandbox, output, metering, result."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from remote_claude.access import KeyErased, KeyUnusable
from remote_claude.contracts.contexts import prompt_context, repository_ref_context, repository_url_context
from remote_claude.contracts.gateway import (
    BundleRepository,
    RemoteRepository,
    Repository,
    TaskCancellationRequested,
    TaskSubmitted,
)
from remote_claude.contracts.runner import Cumulative, Result, SealedOutput
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.events import parse_timestamp, stream_id
from remote_claude.runner import metering, sources
from remote_claude.runner.domain.attempt import Finish, Sample, Start
from remote_claude.runner.journal import Journal, Superseded
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.runner.protocol import CHANGES_PATCH, RESULT_BUNDLE, Task
from remote_claude.runner.providers.base import ComputeProvider, LaunchSpec, Limits, ProviderError
from remote_claude.runner.sessions import WorkerSession
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.output import OutputConflict
from remote_claude.runtime.service import Runtime

log = structlog.get_logger(__name__)

StopReason = Literal["cancelled", "timed_out", "lost", "revoked"]
