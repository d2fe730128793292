"""All loops of one agent in one TaskGroup; the same in production and in the simulator."""

import asyncio
from collections.abc import Callable, Mapping

from reconciler.decide.actions import LocalWant
from reconciler.decide.snapshot import Specs
from reconciler.loops.act import CoordinationLoop, LocalLoop
from reconciler.loops.fence import FenceLoop, Prober
from reconciler.loops.followers import NO_FOLLOW, Follow, FollowLoop
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.group_slots import MakeDriver
from reconciler.loops.machine import MachineHand
from reconciler.loops.mirror_care import MirrorCare
from reconciler.loops.mirror_cuts import MirrorCuts
from reconciler.loops.monitors import MonitorLoop, TakeSample
from reconciler.loops.preparation import Preparation
from reconciler.loops.recovery_script import RunScript, no_scripts
from reconciler.loops.resting_sides import ReadMirror
from reconciler.loops.session import AnswerLoop, SessionLoop
from reconciler.loops.standby import StandbyLoop
from reconciler.loops.state import AgentState
from reconciler.loops.status import StatusLoop
from reconciler.ports.mirrors import Mirrors
from reconciler.ports.power import Power
from reconciler.ports.specs import SpecSource
from specs.document import Metadata
from specs.resource import Resource, ResourceSpec

ReadResource = Callable[[Mapping[str, object]], Resource]


class AgentLoops:
    """`read_resource` turns a remembered resource (JSON) back into its model."""

    def __init__(
        self,
        state: AgentState,
        *,
        make_driver: MakeDriver,
        read_resource: ReadResource,
        specs: SpecSource,
        power: Power,
        prober: Prober,
        version: str,
        on_specs: Callable[[Specs], None],
        take_sample: TakeSample,
        run_script: RunScript = no_scripts,
        follow: Follow = NO_FOLLOW,
        mirrors: Mirrors | None = None,
        read_mirror: ReadMirror | None = None,
    ) -> None:
        self.state = state
        self._read_resource = read_resource
        self._specs, self._on_specs = specs, on_specs
        self.runners: dict[str, GroupRunner] = {}
        self.adopted = asyncio.Event()
        self._runner_tasks: asyncio.TaskGroup | None = None
        self.fences = FenceLoop(state, power, prober)
        self._hand = MachineHand(state, power)
        self._local = LocalLoop(state, self._set_wants, self._hand.obey)
        self._coordination = CoordinationLoop(state, self.fences.start)
        self._session = SessionLoop(state, version)
        self._answer = AnswerLoop(state)
        self._preparation = Preparation(state, make_driver)
        self._local.prepare = self._preparation.begin
        self._status = StatusLoop(state, lambda: self.runners, self.fences, version)
        self._standby = StandbyLoop(state, run_script)
        self._followers = FollowLoop(state, follow)
        self._mirror_care = MirrorCare(state, mirrors, self._status.soon, read_mirror)
        self._mirror_cuts = MirrorCuts(state, mirrors)
        self._monitors = MonitorLoop(
            state, lambda: self.runners, take_sample, self._status.is_stored, run_script
        )

    async def run(self) -> None:
        """For ever; any loop that fails ends all, and the supervisor starts the agent again."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._runner_tasks = tasks
                self._adopt()
                self.adopted.set()
                for loop in (
                    self.state.mirror.follow_run(),
                    self.state.mirror.follow_status(),
                    self._follow_specs(),
                    self._follow_peers(),
                    self._answer.run(),
                    self._session.run(),
                    self._local.run(),
                    self._coordination.run(),
                    self._status.run(),
                    self._monitors.run(),
                    self._standby.run(),
                    self._followers.run(),
                    self._mirror_care.run(),
                    self._mirror_cuts.run(),
                    self.fences.run_self_tests(),
                ):
                    tasks.create_task(loop)
        finally:
            self._preparation.close()
            for runner in self.runners.values():
                await runner.close()

    def _adopt(self) -> None:
        """What an agent of this boot started before may still run: it is ours to keep or stop."""
        for group, started in sorted(self.state.local_state.started_groups().items()):
            resources = {}
            self.state.store_loss[group] = str(started.get("on_store_loss", "stop"))
            if not started["resources"]:
                self.state.events.emit(
                    "remembered_unreadable", group=group, resource="", error="the file is damaged"
                )
            for name, spec in started["resources"].items():
                try:
                    resources[name] = self._read_resource(spec)
                except (ValueError, TypeError, KeyError) as error:
                    # It may run: a resource of no type, which can only be stopped.
                    unknown = ResourceSpec(group=group, type="unknown")
                    resources[name] = Resource(metadata=Metadata(name=name), spec=unknown)
                    self.state.events.emit(
                        "remembered_unreadable", group=group, resource=name, error=str(error)
                    )
            self._add_runner(group, resources, int(started["epoch"]))

    def _add_runner(
        self, group: str, adopted: Mapping[str, Resource] | None = None, epoch: int = 0
    ) -> GroupRunner:
        runner = GroupRunner(group, self.state, self._preparation.driver, adopted, epoch)
        self.runners[group] = runner
        if self._runner_tasks is not None:
            self._runner_tasks.create_task(runner.run())
        return runner

    def group_of(self, resource: str) -> str:
        """The group of a resource that runs here or is in the specs; "" if nobody knows it."""
        for group, runner in self.runners.items():
            if resource in runner.slots:
                return group
        known = self.state.specs.resources.get(resource) if self.state.specs else None
        return known.spec.group if known else ""

    def _set_wants(self, wants: Mapping[str, LocalWant]) -> None:
        for group, want in wants.items():
            runner = self.runners.get(group) or self._add_runner(group)
            runner.want(want)

    async def _follow_specs(self) -> None:
        async for specs in self._specs.changes():
            self.fences.forget_devices()
            self.state.use_specs(specs)
            self._on_specs(specs)
            self.state.events.emit("specs_read", revision=specs.revision)
            self.state.wake()

    async def _follow_peers(self) -> None:
        before: dict[str, str] = {}
        while True:
            await self.state.peers.changed()
            self.state.wake()
            for name, peer in sorted(self.state.peers.view().peers.items()):
                word = "silent" if peer.silent else "suspected" if peer.suspect else "heard"
                if before.get(name, word) != word:
                    self.state.events.emit(f"server_{word}", server=name)
                before[name] = word
