"""What every provider of a cloud passes beside `ProviderContract`."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clouds.machines import Machines
from provider_contract import ProviderContract
from remote_claude.runner.providers import ComputeProvider, SandboxExists
from remote_claude.runner.providers.clouds import Cloud, CloudProvider


class CloudContract(ProviderContract):
    """Subclasses make a `Cloud` over their double, which runs its sandboxes on `machines`."""

    @pytest.fixture
    async def machines(self, tmp_path: Path) -> AsyncIterator[Machines]:
        found = Machines(tmp_path)
        yield found
        await found.close()

    @pytest.fixture
    def runner(self) -> str:
        return f"runner_{uuid.uuid4().hex}"

    @pytest.fixture
    @abstractmethod
    def clouds(self, machines: Machines) -> object:
        """The double; `cloud` makes clients of it."""

    @abstractmethod
    def cloud(self, double: object, runner: str) -> Cloud: ...

    @pytest.fixture
    async def provider(self, clouds: object, runner: str) -> AsyncIterator[ComputeProvider]:
        found = CloudProvider(runner, self.cloud(clouds, runner))
        yield found
        await found.close()

    async def test_what_an_earlier_process_left_is_removed(
        self, provider: ComputeProvider, clouds: object, name: str, runner: str
    ) -> None:
        await provider.launch(self.shell(name, "sleep 1000", labels={"task": "task_1"}))
        other = CloudProvider("runner_of_another", self.cloud(clouds, "runner_of_another"))
        assert await other.recover() == []
        following = CloudProvider(runner, self.cloud(clouds, runner))
        assert await following.recover() == [name]
        assert await following.list() == []
        assert (await provider.wait(name)).reason == "killed"
        await following.close()
        await other.close()

    async def test_a_launch_whose_answer_was_lost_is_not_done_twice(
        self, provider: ComputeProvider, clouds: object, name: str, runner: str
    ) -> None:
        first = await provider.launch(self.shell(name, "sleep 1000"))
        again = CloudProvider(runner, self.cloud(clouds, runner))
        assert (await again.launch(self.shell(name, "sleep 1000"))).handle == first.handle
        assert len(await provider.list()) == 1
        other = CloudProvider(runner, self.cloud(clouds, runner))
        with pytest.raises(SandboxExists):
            await other.launch(self.shell(name, "true"))
        await again.close()
        await other.close()
