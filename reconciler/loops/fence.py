"""Effects on other machines: power off with judgement, power on, probes, self-tests.

Each intent is executed once per agent; its outcome goes back into the state, never to the store
from here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from reconciler.decide.actions import (
    AskMembers,
    Effect,
    ExecuteFence,
    MoveStoreLeader,
    PowerOn,
    PrepareFence,
    ProbeAddresses,
)
from reconciler.decide.fence_execution import (
    delay_s,
    ends_all,
    judge_power_off,
    not_wanted,
    plain_guid,
    time_to_silence_s,
)
from reconciler.decide.records import FenceIntent, FenceOutcome, FencingTest
from reconciler.decide.snapshot import LocalFence, LocalProbe, StoreMember
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.power import FenceDevice, FenceError, Power, PowerState
from reconciler.ports.store import StoreError

PREPARE_AGAIN_S = 3.0
SELF_TEST_EVERY_S = 300.0
SELF_TEST_LOOK_S = 3.0
MOVE_LEADER_AGAIN_S = 10.0
ASK_MEMBERS_AGAIN_S = 0.25


class Prober(Protocol):
    async def probe(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """MAC of another machine for each address that somebody answers for now."""
        ...


class FenceLoop:
    """Starts effects as tasks of its own group; `tests` holds the newest self-tests."""

    def __init__(self, state: AgentState, power: Power, prober: Prober) -> None:
        self._state, self._power, self._prober = state, power, prober
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._devices: dict[tuple[str, int], FenceDevice] = {}
        self._prepared: dict[str, float] = {}
        self._members_asked_at = float("-inf")
        self._tested_at: dict[tuple[str, int], float] = {}
        self.tests: dict[tuple[str, int], FencingTest] = {}

    def start(self, effects: Sequence[Effect]) -> None:
        """Begin what is not under way already."""
        for effect in effects:
            name = self._name(effect)
            if name is None or name in self._tasks:
                continue
            task = asyncio.create_task(self._perform(effect), name=name)
            self._tasks[name] = task
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._state.events.emit("effect_failed", effect=task.get_name(), error=repr(error))

    def _name(self, effect: Effect) -> str | None:
        match effect:
            case ExecuteFence():
                done = effect.intent.nonce in self._state.local_fences
                return None if done else f"fence-{effect.intent.nonce}"
            case PrepareFence():
                now, last = self._state.clock.now(), self._prepared.get(effect.server)
                if last is not None and now - last < PREPARE_AGAIN_S:
                    return None
                self._prepared[effect.server] = now
                return f"prepare-{effect.server}"
            case PowerOn():
                return f"power-on-{effect.server}"
            case ProbeAddresses():
                done = effect.operation in self._state.local_probes
                return None if done else f"probe-{effect.operation}"
            case AskMembers():
                now = self._state.clock.now()
                if now - self._members_asked_at < ASK_MEMBERS_AGAIN_S:
                    return None  # members that are away answer no sooner for being asked again
                self._members_asked_at = now
                return "ask-members"
            case MoveStoreLeader():
                return "move-store-leader"
        return None

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case ExecuteFence():
                await self._fence(effect)
            case PrepareFence():
                await self._prepare(effect.server)
            case PowerOn():
                await self._power_on(effect)
            case ProbeAddresses():
                self._state.local_probes[effect.operation] = await self._probe(effect.addresses)
            case AskMembers():
                await self._ask_members()
            case MoveStoreLeader():
                await self._move_leader(effect.server)
        self._state.wake()

    def _levels(self, server: str) -> tuple[dict[str, Any], ...]:
        specs = self._state.specs
        spec = specs.servers.get(server) if specs else None
        return spec.spec.fencing.levels if spec and spec.spec.fencing else ()

    def _device(self, server: str, level: int) -> FenceDevice:
        levels = self._levels(server)
        if level >= len(levels):
            raise FenceError(f"{server} has no fence level {level}")
        if (server, level) not in self._devices:
            self._devices[server, level] = self._power.device(levels[level])
        return self._devices[server, level]

    async def _fence(self, effect: ExecuteFence) -> None:
        state, intent = self._state, effect.intent
        began = state.clock.now()
        outcome, detail, guid = await self._power_off(effect)
        duration_ms = (state.clock.now() - began) * 1000
        state.local_fences[intent.nonce] = LocalFence(outcome, detail, guid, duration_ms)
        state.events.emit(
            "fence_executed",
            server=intent.victim,
            outcome=outcome.value,
            detail=detail,
            duration_ms=round(duration_ms, 1),
        )

    async def _power_off(self, effect: ExecuteFence) -> tuple[FenceOutcome, str, str | None]:
        state, intent = self._state, effect.intent
        # Taken before: the specs may lose this device while it works.
        levels = self._levels(intent.victim)
        try:
            device = self._device(intent.victim, intent.level)
            boots, wanted = self._boots(intent), partial(self._still_wanted, intent)
            report = await device.power_off(effect.valid_until, boots, wanted)
        except FenceError as error:
            return FenceOutcome.FAILED, str(error), None
        late_s = delay_s(state.specs, intent.victim) if state.specs else 0.0
        confirmed_at = state.clock.now() + late_s
        if not ends_all(report.boot_id, intent.covers, self._newest_boot(intent.victim)):
            text = f"boot {report.boot_id} was ended, which is not the one that counts"
            return FenceOutcome.FAILED, text, report.guid
        probe = LocalProbe()
        if report.after is PowerState.OFF:
            probe = await self._probe(effect.probe_addresses)
            await self._listen(intent.victim, confirmed_at, effect.valid_until)
        if probe.error:
            return (
                FenceOutcome.FAILED,
                f"the addresses cannot be probed: {probe.error}",
                report.guid,
            )
        outcome, detail = judge_power_off(
            before_on=report.before is PowerState.ON,
            after_off=report.after is PowerState.OFF,
            guid=report.guid,
            expected_guid=levels[intent.level].get("guid"),
            peers=state.peers.view(),
            victim=intent.victim,
            confirmed_at=confirmed_at,
            answered=dict(probe.answered),
        )
        return outcome, detail, report.guid

    def _still_wanted(self, intent: FenceIntent) -> None:
        """A device may take long to open a session, and this server may have stood still."""
        text = not_wanted(intent, self._state.peers.view())
        if text is not None:
            raise FenceError(text)

    def _newest_boot(self, server: str) -> str | None:
        session = self._state.mirror.maps["sessions"].get(server)
        return session.record.boot_id if session else None

    def _boots(self, intent: FenceIntent) -> tuple[str, ...]:
        """Those whose end is what this intent is for. The server may have started again since: a
        device that ends boots must leave the new one alone."""
        newest = self._newest_boot(intent.victim)
        return tuple(boot for boot in intent.covers if ends_all(boot, intent.covers, newest))

    async def _probe(self, addresses: Sequence[str]) -> LocalProbe:
        try:
            return LocalProbe(await self._prober.probe(addresses))
        except HostError as error:
            return LocalProbe(error=str(error))

    async def _listen(self, victim: str, since: float, until: float) -> None:
        """Until the victim is silent or heard again, bounded. A silent suspect costs no time; one
        that was heard till now (an operator's fence) could send its next heartbeat any moment."""
        state = self._state
        if state.specs is None:
            return
        end = min(until, since + time_to_silence_s(state.specs, victim))
        while state.clock.now() < end:
            peer = state.peers.view().peers.get(victim)
            if peer is None or peer.silent or (peer.heard_at or since) > since:
                return
            await state.clock.sleep(state.specs.timing.heartbeat_interval / 4)

    async def _prepare(self, server: str) -> None:
        try:
            await self._device(server, 0).prepare()
        except FenceError as error:
            # Only a head start is lost; the real call reports its own error.
            self._state.events.emit("fence_prepare_failed", server=server, error=str(error))

    async def _power_on(self, effect: PowerOn) -> None:
        """Each level in turn: the device that switched it off may not have been the first. When it
        is tried again is decided out of what is stored."""
        server = effect.server
        for level in range(max(1, len(self._levels(server)))):
            try:
                await self._device(server, level).power_on()
            except FenceError as error:
                self._state.events.emit(
                    "server_power_on_failed", server=server, level=level, error=str(error)
                )
                continue
            self._state.local_power_ons[server] = effect.fenced_wall
            return

    async def _ask_members(self) -> None:
        # A member that is away would use up the whole time: the others' answers are what counts.
        specs = self._state.specs
        timeout_s = specs.timing.challenge_timeout if specs else 0.15
        members = await self._state.store.members(timeout_s=timeout_s)
        self._state.store_members = tuple(
            StoreMember(m.server, m.answered_at if m.reachable else None, m.is_leader)
            for m in members
        )

    async def _move_leader(self, server: str) -> None:
        try:
            await self._state.store.move_leader(server)
        except StoreError as error:
            self._state.events.emit("store_leader_kept", to=server, error=str(error))
            await self._state.clock.sleep(self._state.jitter(MOVE_LEADER_AGAIN_S))
            return
        self._state.events.emit("store_leader_moved", to=server)
        await self._ask_members()

    async def run_self_tests(self) -> None:
        """For ever: each fence device of every other server, from here; changes nothing."""
        state = self._state
        while True:
            await state.clock.sleep(state.jitter(SELF_TEST_LOOK_S))
            known = self._known()
            for gone in set(self.tests) - known:
                del self.tests[gone]
            due = [where for where in sorted(known) if self._is_due(where)]
            for server, level in due:
                await self._self_test(server, level)
            if due:
                state.wake()

    def _known(self) -> set[tuple[str, int]]:
        """Every device of every server; one's own too, for it must be right when others need it."""
        servers = self._state.specs.servers if self._state.specs else {}
        return {(name, i) for name in servers for i in range(len(self._levels(name)))}

    def _is_due(self, where: tuple[str, int]) -> bool:
        tested_at = self._tested_at.get(where, float("-inf"))
        return self._state.clock.now() - tested_at >= SELF_TEST_EVERY_S

    async def _self_test(self, server: str, level: int) -> None:
        state = self._state
        # Taken before the test: the specs may lose this device while it runs.
        levels = self._levels(server)
        expected = levels[level].get("guid") if level < len(levels) else None
        try:
            result = await self._device(server, level).self_test()
            ok, detail, guid, ms = result.ok, result.detail, result.guid, result.duration_ms
        except FenceError as error:
            ok, detail, guid, ms = False, str(error), None, 0.0
        self._tested_at[server, level] = state.clock.now()
        if ok and expected and guid and plain_guid(guid) != plain_guid(str(expected)):
            ok, detail = False, f"the device says it is {guid}, expected {expected}"
        before = self.tests.get((server, level))
        self.tests[server, level] = FencingTest(
            server=server,
            level=level,
            ok=ok,
            detail=detail,
            guid=guid,
            at_wall=state.clock.wall(),
            duration_ms=ms,
        )
        if before is None or before.ok != ok:
            name = "fence_test_passed" if ok else "fence_test_failed"
            state.events.emit(name, server=server, level=level, detail=detail)

    def forget_devices(self) -> None:
        """The specs changed: build the devices anew at their next use."""
        self._devices.clear()
        self._prepared.clear()
        self._tested_at.clear()
