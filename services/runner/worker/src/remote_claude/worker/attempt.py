"""From the assignment to its result: prepare or restore the files, run the agent, save its turns, commit."""

from __future__ import annotations

import asyncio
import ssl
import tarfile
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from remote_claude.worker import agents, artifacts, checkpoints, commit_messages, repository
from remote_claude.worker import setup as setup_of_repository
from remote_claude.worker.agents.base import STOPPED, AgentResult, Job, Turns
from remote_claude.worker.agents.shell import run_command
from remote_claude.worker.checkpoints import Places, State
from remote_claude.worker.connection import ReceivedAssignment, RunnerConnection
from remote_claude.worker.first_of import first_of
from remote_claude.worker.permissions import Permissions
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.frames import Output, Status
from remote_claude.worker.protocol.messages import Assignment, CheckpointSent, CheckRun
from remote_claude.worker.repository import Prepared, RepositoryFailed
from remote_claude.worker.setup import Setup
from remote_claude.worker.streams import forwarded
from remote_claude.worker.terminals import serve_openings

T = TypeVar("T")

MODEL, EGRESS = "model", "egress"
"""Destinations of streams."""
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
FLUSH_S = 30.0
"""How long the last checkpoint may take after the agent's end."""
TRUST_VARIABLES = (
    *(
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
    ),
    *("CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT"),
)


class Stopped(Exception):
    """The runner stops the attempt."""


class AttemptRun:
    """One attempt in its sandbox. `base`, `sent`, `commit` and `files` are what it leaves."""

    def __init__(
        self,
        connection: RunnerConnection,
        *,
        workspace: Path,
        home: Path,
        runner_url: str,
        scratch: Path,
    ) -> None:
        self._connection, self._runner_url, self._scratch = connection, runner_url, scratch
        self._emit, self._stop = connection.window.put, connection.stop
        self._workspace, self._home = workspace, home
        self.base: str | None = None
        self.sent: str | None = None
        self.commit: str | None = None
        self.files: dict[str, Path] = {}
        self.checks: list[CheckRun] = []
        """Those of the repository that have run."""
        self.remark = ""
        """What the user should know of a success."""

    async def run(self, received: ReceivedAssignment) -> AgentResult:
        """The phases. What an agent has done before it failed is committed too."""
        assignment = received.assignment
        await self._emit(Status(phase="preparing"))
        prepared, agent = await self._unless_stopped(
            asyncio.gather(
                self._prepare(assignment, received.bundle), asyncio.to_thread(agents.create, assignment.agent)
            )
        )
        places = Places(workspace=self._workspace, home=self._home, prepared=prepared)
        restored = await self._unless_stopped(self._restore(places, assignment, received.checkpoint))
        artifacts_folder = self._home / artifacts.FOLDER
        artifacts_folder.mkdir(exist_ok=True)
        setup = setup_of_repository.read(self._workspace)
        saver = _Saver(self._connection, places, self._scratch / protocol.CHECKPOINT, restored)
        async with AsyncExitStack() as stack:
            ports = {
                name: await stack.enter_async_context(
                    forwarded(self._runner_url, lambda: self._connection.session_key, name)
                )
                for name in assignment.streams
            }
            saving = asyncio.create_task(saver.run())
            stack.callback(saving.cancel)
            job = Job(
                task=assignment.task,
                attempt=assignment.attempt,
                prompt=assignment.prompt,
                model=assignment.model,
                agent_options=assignment.agent_options,
                model_api=assignment.model_api,
                model_region=assignment.model_region,
                model_project=assignment.model_project,
                permission_mode=assignment.permission_mode,
                continues=assignment.continues and restored is not None,
                workspace=self._workspace,
                model_url=f"http://127.0.0.1:{ports[MODEL]}" if MODEL in ports else None,
                environment={
                    **setup.environment,
                    **assignment.environment,
                    artifacts.VARIABLE: str(artifacts_folder),
                    commit_messages.VARIABLE: str(self._scratch / commit_messages.FILE),
                    **_proxy_environment(ports.get(EGRESS)),
                    **_trust_environment(assignment.authority, self._scratch / "authorities.pem"),
                },
            )
            connecting = asyncio.create_task(
                serve_openings(self._connection, self._runner_url, self._workspace, job.environment)
            )
            stack.callback(connecting.cancel)
            permissions = Permissions(assignment.attempt, self._emit, self._connection.answers)
            answering = asyncio.create_task(permissions.run())
            stack.callback(answering.cancel)
            turns = Turns(
                messages=self._connection.messages,
                ended=saver.turn_ended,
                ask=permissions.ask,
                restored=restored.agent if restored else None,
                interrupted=self._connection.interrupted,
            )
            ended = await self._set_up(setup, job)
            if ended is None:
                await self._emit(Status(phase="running"))
                ended = await agent.run(job, turns, self._emit, self._stop)
            if ended.outcome == "succeeded":
                ended = await self._check(setup, job) or ended
            if not self._stop.is_set():
                await saver.flush()
            saving.cancel()
            with suppress(asyncio.CancelledError):
                await saving
        await self._keep_artifacts(artifacts_folder)
        if prepared:
            await self._emit(Status(phase="committing"))
            await self._unless_stopped(self._conclude(assignment, prepared, ended))
        return ended

    async def _set_up(self, setup: Setup, job: Job) -> AgentResult | None:
        """The set-up step of the repository, in a section of its own; a result if it failed, or was stopped."""
        for note in setup.notes:
            await self._emit(Output(stream="stderr", text=f"{setup.file}: {note}\n"))
        if setup.command is None:
            return None
        await self._emit(Status(phase="setting_up"))
        over = asyncio.Event()
        late = asyncio.get_running_loop().call_later(setup.timeout_s, over.set)
        stopped = asyncio.create_task(self._stop.wait())
        stopped.add_done_callback(lambda _: over.set())
        try:
            ended = await run_command(setup.command, job, self._emit, over)
        finally:
            late.cancel()
            stopped.cancel()
        if self._stop.is_set():
            return STOPPED
        if ended.outcome == "succeeded":
            return None
        why = f"took longer than {setup.timeout_s:g} s" if ended is STOPPED else f"ended with {ended.text}"
        text = f"The set-up step of {setup.file} {why}: {setup.command.strip().splitlines()[0][:200]}"
        return AgentResult(outcome="failed", reason="setup_failed", text=text, exit_code=ended.exit_code)

    async def _check(self, setup: Setup, job: Job) -> AgentResult | None:
        """The checks of the repository, on what the agent left; a result for the first that fails."""
        if setup.checks:
            await self._emit(Status(phase="checking"))
        for command in setup.checks:
            ended = await run_command(command, job, self._emit, self._stop)
            if ended is STOPPED:
                return ended
            self.checks.append(CheckRun(command=command, exit_code=ended.exit_code or 0))
            if ended.outcome == "failed":
                text = f"The check of {setup.file} ended with {ended.text}: {command[:200]}"
                return AgentResult(
                    outcome="failed", reason="check_failed", text=text, exit_code=ended.exit_code
                )
        return None

    async def _prepare(self, assignment: Assignment, bundle: Path | None) -> Prepared | None:
        if bundle is None:
            return None
        prepared = await repository.prepare(
            bundle,
            self._workspace,
            assignment.branch,
            author=(assignment.author_name, assignment.author_email),
            aside=self._scratch / "aside.git",
        )
        self.base, self.sent = prepared.base, prepared.sent
        if prepared.missing:
            await self._emit(Output(stream="stderr", text=prepared.missing + "\n"))
        return prepared

    async def _restore(self, places: Places, assignment: Assignment, checkpoint: Path | None) -> State | None:
        """From the checkpoint of an earlier attempt, or of the task that this one continues, if it can be read."""
        if checkpoint is None:
            return None
        await self._emit(Status(phase="restoring"))
        try:
            state = await checkpoints.restore(checkpoint, places)
        except (RepositoryFailed, OSError, tarfile.TarError, ValueError) as error:
            text = f"the checkpoint can't be restored, the task starts from the beginning: {error}\n"
            await self._emit(Output(stream="stderr", text=text))
            return None
        await asyncio.to_thread(checkpoint.unlink)
        if assignment.continues:
            state = replace(state, turn=0, messages=0)
            of = "an earlier task"
        else:
            self._connection.skip_messages(state.messages)
            of = f"turn {state.turn} of an earlier attempt"
        text = f"continuing after {of}; files that Git ignores are not restored\n"
        await self._emit(Output(stream="stderr", text=text))
        return state

    async def _keep_artifacts(self, folder: Path) -> None:
        out = self._scratch / protocol.ARTIFACTS
        try:
            archive, left_out = await asyncio.to_thread(artifacts.pack, folder, out)
        except OSError as error:
            await self._emit(Output(stream="stderr", text=f"the artifacts can't be kept: {error}\n"))
            return
        if left_out:
            text = f"too much for artifacts, left out: {', '.join(left_out[:20])}\n"
            await self._emit(Output(stream="stderr", text=text))
        if archive is not None:
            self.files[protocol.ARTIFACTS] = archive

    async def _conclude(self, assignment: Assignment, prepared: Prepared, ended: AgentResult) -> None:
        written = await asyncio.to_thread(commit_messages.read, self._scratch / commit_messages.FILE)
        said = written or ended.summary
        concluded = await repository.conclude(
            self._workspace,
            prepared,
            branch=assignment.branch,
            message=lambda changed: commit_messages.message(assignment, said, changed),
            author=(assignment.author_name, assignment.author_email),
            out=self._scratch / "result",
            max_bytes=assignment.max_result_bytes,
        )
        remarks = [] if concluded.commit else ["the agent changed no file that Git tracks"]
        if concluded.left_out:
            remarks.append(f"not in the result: {', '.join(concluded.left_out)}")
        if remarks:
            await self._emit(Output(stream="stderr", text="; ".join(remarks) + "\n"))
        self.remark = "; ".join([*remarks, *filter(None, [prepared.missing])])
        self.commit = None if assignment.patch_only else concluded.commit
        if concluded.bundle and concluded.patch:
            self.files |= {protocol.RESULT_BUNDLE: concluded.bundle, protocol.CHANGES_PATCH: concluded.patch}

    async def _unless_stopped(self, doing: Awaitable[T]) -> T:
        done, _ = await first_of(doing, self._stop.wait())
        if done is None:
            raise Stopped
        result: T = done.result()
        return result


class _Saver:
    """Saves the latest turn in the background: one checkpoint at a time, and none for a turn that a later one follows."""

    def __init__(
        self, connection: RunnerConnection, places: Places, archive: Path, restored: State | None
    ) -> None:
        self._connection, self._places, self._archive = connection, places, archive
        self._turn = restored.turn if restored else 0
        self._latest: State | None = None
        self._wake = asyncio.Event()
        self._saved = asyncio.Event()
        self._saved.set()
        self._named: set[str] = set()

    async def turn_ended(self, agent: dict[str, Any]) -> None:
        """Note a turn. Every message that the agent has taken so far belongs to it."""
        if not self._connection.saves:
            return
        self._turn += 1
        self._latest = State(turn=self._turn, messages=self._connection.taken_messages, agent=agent)
        self._saved.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until the latest turn is saved, for so long and no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._saved.wait()

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._save()
            if not self._wake.is_set():
                self._saved.set()

    async def _save(self) -> None:
        state = self._latest
        assert state is not None
        try:
            skipped = await checkpoints.save(state, self._places, self._archive)
        except (RepositoryFailed, OSError) as error:
            await self._say(f"turn {state.turn} could not be saved: {error}")
            return
        for path in skipped:
            await self._say(f"too large for a checkpoint: {path}")
        await self._connection.save(CheckpointSent(turn=state.turn, messages=state.messages), self._archive)

    async def _say(self, text: str) -> None:
        """Once for each text."""
        if text not in self._named:
            self._named.add(text)
            await self._connection.window.put(Output(stream="stderr", text=text + "\n"))


def _proxy_environment(port: int | None) -> Mapping[str, str]:
    """What makes common tools use the egress proxy."""
    if port is None:
        return {}
    url = f"http://127.0.0.1:{port}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    return {**dict.fromkeys(names, url), "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}


def _trust_environment(authority: str | None, bundle: Path) -> Mapping[str, str]:
    """What makes common tools trust the authority, besides those that the sandbox trusts."""
    if authority is None:
        return {}
    system = ssl.get_default_verify_paths().cafile or SYSTEM_AUTHORITIES
    known = Path(system).read_text() if Path(system).is_file() else ""
    bundle.write_text(f"{known}\n{authority}")
    return dict.fromkeys(TRUST_VARIABLES, str(bundle))
