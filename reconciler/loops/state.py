"""Everything an agent knows, in one place; `snapshot` freezes it for `decide`.

Loops write their own part and call `wake`; nothing here decides.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

from reconciler.decide.hearing import PeersView
from reconciler.decide.keys import Keys
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import MonitorStatus
from reconciler.decide.snapshot import (
    KnownStore,
    LocalFence,
    LocalGroup,
    LocalProbe,
    OwnSession,
    PastAction,
    Snapshot,
    Specs,
    Stored,
    StoreMember,
)
from reconciler.loops.mirror import MAPS, Mirror
from reconciler.ports.clock import Clock
from reconciler.ports.events import Events
from reconciler.ports.local_state import LocalState
from reconciler.ports.machine import Machine
from reconciler.ports.peers import Peers
from reconciler.ports.store import Store

ActOnMachine = Callable[[str, str, str], Awaitable[None]]
"""(action, reason, key of what it is for): see `loops.machine.MachineHand.take`."""


async def _nobody_acts(action: str, reason: str, key: str) -> None:
    del action, reason, key


# An agent looks at least each quarter of a second.
STANDSTILL_S = 1.0


class AgentState:
    """One server's knowledge. `specs` is None until the first revision with a Cluster was read."""

    def __init__(
        self,
        *,
        me: str,
        keys: Keys,
        clock: Clock,
        store: Store,
        peers: Peers,
        machine: Machine,
        events: Events,
        local_state: LocalState,
        rng: random.Random,
    ) -> None:
        self.me, self.keys = me, keys
        self.clock, self.store, self.peers = clock, store, peers
        self.machine, self.events, self.local_state = machine, events, local_state
        self.rng = rng
        self.boot_id = machine.boot_id()
        self.specs: Specs | None = None
        self.own_session: OwnSession | None = None
        self.started_at = clock.now()
        self.proof_at = clock.now()
        self._looked_at = clock.now()
        self.stood_still_at = float("-inf")
        self.renewal_due = asyncio.Event()  # at once: what was proven before a pause counts no more
        self.proven = False  # until then `proof_at` is a guess, and the pulse may know better
        self.store_loss: dict[str, str] = {}  # policy of each group that was started here
        self.dropped: dict[str, int] = dict(local_state.dropped_epochs())
        self.known_store = local_state.known_store()
        self.cluster_keys: tuple[str, ...] = ()  # public names of those that the pulse runs with
        self.machine_actions = local_state.machine_actions()
        self.act_on_machine: ActOnMachine = _nobody_acts
        self.ended = asyncio.Event()  # the agent shall end, and not be started again
        self.local_groups: dict[str, LocalGroup] = {}
        self.monitors: dict[str, MonitorStatus] = {}
        self.monitors_known = False  # whether `monitors` has all that this server shall run
        self.mirror_sides: dict[str, MirrorStatus] = {}
        self.mirror_sides_known = False  # whether `mirror_sides` has all that this server has
        self.local_fences: dict[str, LocalFence] = {}
        self.local_probes: dict[str, LocalProbe] = {}
        self.local_power_ons: dict[str, float] = {}
        self.store_members: tuple[StoreMember, ...] = ()
        self.on_challenge: Callable[[], None] = lambda: None
        self._wakes: list[asyncio.Event] = []
        self._spec_wakes: list[asyncio.Event] = []
        self.mirror = Mirror(keys, store, clock, events, self.wake, self._on_record)
        self._views = self._read_only()

    def new_wake(self) -> asyncio.Event:
        """An event of the caller's own that is set at every change."""
        event = asyncio.Event()
        self._wakes.append(event)
        return event

    def new_spec_wake(self) -> asyncio.Event:
        """One that is set when other specs are in force: for who has nothing to do till then."""
        event = asyncio.Event()
        self._spec_wakes.append(event)
        return event

    def wake(self) -> None:
        for event in self._wakes:
            event.set()

    def use_specs(self, specs: Specs) -> None:
        """These are in force from now on."""
        self.specs = specs
        for event in self._spec_wakes:
            event.set()

    def nonce(self) -> str:
        return f"{self.rng.getrandbits(96):024x}"

    def jitter(self, base_s: float) -> float:
        """Between half and one and a half times the base."""
        return base_s * (0.5 + self.rng.random())

    def _on_record(self, kind: str, name: str, stored: Stored[Any] | None) -> None:
        if kind == "challenges" and name == self.me and stored is not None:
            self.on_challenge()

    def remember_actions(self, actions: tuple[PastAction, ...]) -> None:
        """These final actions count from now on: durable first. Raises `OSError`."""
        self.local_state.remember_machine_actions(actions)
        self.machine_actions = actions

    def remember_store(self, known: KnownStore) -> None:
        """Work with this store from now on: durable first. Raises `OSError`."""
        self.local_state.remember_store(known)
        self.known_store = known

    def drop_epoch(self, group: str, epoch: int) -> None:
        """Give an epoch up for good: durable first. Raises `OSError`, then nothing is given up."""
        if self.dropped.get(group, 0) < epoch:
            self.local_state.drop_epoch(group, epoch)
            self.dropped[group] = epoch

    def policy_of(self, group: str) -> str:
        """What losing the store means for a group that runs here: by its ownership record, else by
        what was remembered at its start. What nobody knows is not left running unproven."""
        stored = self.mirror.maps["groups"].get(group)
        if stored is not None and stored.record.owner == self.me:
            return str(stored.record.on_store_loss)
        return self.store_loss.get(group, "stop")

    def _newest_proof(self, view: PeersView) -> float:
        known = view.proven_at
        return self.proof_at if self.proven or known is None else known

    def _note_pause(self, view: PeersView, now: float) -> None:
        """What was proven before a pause proves nothing after it."""
        gap = now - self._looked_at
        is_paused = view.paused or not view.pulse_alive
        if is_paused or gap > STANDSTILL_S:
            self.stood_still_at = now
        if not is_paused and self.proof_at <= self.stood_still_at:
            self.renewal_due.set()
        self._looked_at = now

    def _read_only(self) -> dict[str, Any]:
        """The tables of a snapshot, made once: they change in place and are never replaced."""
        mirror = self.mirror
        tables: dict[str, dict[Any, Any]] = {
            **{name: mirror.maps[name] for name in MAPS if name != "groups"},
            "ownerships": mirror.maps["groups"],
            "absent_since": mirror.absent_since,
            "group_status": mirror.group_status,
            "monitor_status": mirror.monitor_status,
            "mirror_status": mirror.mirror_status,
            "local_groups": self.local_groups,
            "dropped_epochs": self.dropped,
            "local_fences": self.local_fences,
            "local_probes": self.local_probes,
            "local_power_ons": self.local_power_ons,
        }
        return {name: MappingProxyType(table) for name, table in tables.items()}

    def snapshot(self) -> Snapshot | None:
        """Frozen view of now; None while there is no spec to decide by."""
        view, now = self.peers.view(), self.clock.now()
        self._note_pause(view, now)
        if self.specs is None or not self.mirror.synced.is_set():
            return None
        singles = self.mirror.singles
        return Snapshot(
            now=now,
            wall=self.clock.wall(),
            me=self.me,
            boot_id=self.boot_id,
            **self._views,
            specs=self.specs,
            peers=view,
            own_session=self.own_session,
            fresh_at=self.mirror.fresh_at,
            proof_at=self._newest_proof(view),
            stood_still_at=self.stood_still_at,
            revision=self.mirror.revision,
            complete_since=self.mirror.complete_since,
            coordinator=singles["coordinator"],
            fence_slot=singles["fence-slot"],
            store_members=self.store_members,
            unreadable=frozenset(self.mirror.unreadable),
            store_id=self.mirror.store_id,
            known_store=self.known_store,
            machine_actions=self.machine_actions,
            store_life=singles["store"],
        )
