"""The engine of each mirror (`ports.mirrors.Mirrors`): our own, or DRBD, as its plan says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.adapters.linux.drbd import LinuxDrbd
from reconciler.adapters.linux.mirrors import LinuxMirrors
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import Decide, EngineView, MirrorPlan, Mirrors, Stopped


class LinuxMirrorEngines:
    """The engine that a mirror has in this boot answers for it, whatever its spec says by now."""

    def __init__(
        self, run_directory: Path, cluster_key: Path | None, boot: str, pki: Path | None = None
    ) -> None:
        self._own = LinuxMirrors(run_directory, cluster_key, boot, pki)
        self._drbd = LinuxDrbd(run_directory, cluster_key, boot)

    def _of(self, name: str) -> Mirrors:
        return self._drbd if self._drbd.has(name) else self._own

    async def ensure(self, plan: MirrorPlan) -> None:
        wanted: Mirrors = self._drbd if plan.engine == "drbd" else self._own
        running = self._of(plan.name)
        if running is not wanted:
            view = await running.view(plan.name)
            if view is not None and view.serves:
                raise HostError("its other engine serves: stop the group first")
            await running.quit(plan.name)
        await wanted.ensure(plan)

    async def view(self, name: str) -> EngineView | None:
        return await self._of(name).view(name)

    async def prepare(self, name: str, named: str) -> str:
        return await self._of(name).prepare(name, named)

    async def promote(self, name: str, epoch: int, generation: str) -> None:
        await self._of(name).promote(name, epoch, generation)

    async def stop(self, name: str, limit_s: float = 5.0) -> Stopped:
        return await self._of(name).stop(name, limit_s)

    async def ask(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._of(name).ask(name, request)

    async def quit(self, name: str) -> None:
        await self._of(name).quit(name)

    async def abort(self, name: str, reason: str) -> None:
        await self._of(name).abort(name, reason)

    async def attend(self, name: str, decide: Decide) -> None:
        await self._of(name).attend(name, decide)

    async def changed(self, name: str) -> None:
        await self._of(name).changed(name)
