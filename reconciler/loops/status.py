"""Publishes what this server sees: its own status and that of the groups that run here.

Only changes are written, all of one round in one transaction; status is never a proof.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.decide.machine_actions import limit_reached
from reconciler.decide.records import (
    FinalActionTaken,
    MonitorStatus,
    Phase,
    Record,
    ServerStatus,
)
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import doubt
from reconciler.loops.act import wait_for
from reconciler.loops.fence import FenceLoop
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.state import AgentState
from reconciler.ports.store import Delete, Indeterminate, Put, StoreError, Transaction, Unchanged

REFRESH_S = 5.0
SETTLE_S = 0.02
OPERATIONS_PER_WRITE = 60


class StatusLoop:
    def __init__(
        self,
        state: AgentState,
        runners: Callable[[], Mapping[str, GroupRunner]],
        fences: FenceLoop,
        version: str,
    ) -> None:
        self._state, self._runners, self._fences = state, runners, fences
        self._version = version
        self._written: dict[str, bytes] = {}
        self._revisions: dict[str, int] = {}
        self._texts: dict[str, tuple[Record, bytes]] = {}
        self._found: dict[str, Any] = {}
        self._told: ServerStatus | None = None
        self._wake = state.new_wake()

    async def run(self) -> None:
        state = self._state
        while True:
            self._wake.clear()
            try:
                await self._publish()
            except StoreError as error:
                state.events.emit("status_write_failed", error=str(error))
                await state.clock.sleep(state.jitter(0.5))
                continue
            await wait_for(state, self._wake, REFRESH_S)
            await state.clock.sleep(SETTLE_S)

    async def _publish(self) -> None:
        wanted = self._wanted()
        changed = [key for key, value in wanted.items() if self._written.get(key) != value]
        gone = sorted({*self._written, *self._left_behind()} - set(wanted))
        operations: list[Put | Delete] = [Put(key, wanted[key]) for key in changed]
        operations += [Delete(key) for key in gone]
        for start in range(0, len(operations), OPERATIONS_PER_WRITE):
            part = tuple(operations[start : start + OPERATIONS_PER_WRITE])
            await self._commit(part)
            for operation in part:
                if isinstance(operation, Put):
                    self._written[operation.key] = operation.value
                else:
                    self._written.pop(operation.key, None)

    async def _commit(self, part: tuple[Put | Delete, ...]) -> None:
        """Guarded by the first key, so that the write is hedged: right after a crash the others'
        reports are what people look at. Nobody else writes these keys."""
        guard = next((op for op in part if isinstance(op, Put)), None)
        if guard is None:
            await self._state.store.commit(Transaction((), part))
            return
        value = _with_nonce(guard.value, self._state.nonce())
        operations = tuple(Put(op.key, value) if op is guard else op for op in part)
        for _ in range(2):
            known = self._revisions.get(guard.key, 0)
            transaction = Transaction((Unchanged(guard.key, known),), operations, guard.key)
            result = await self._state.store.commit(transaction, timeout_s=1.0)
            if result.succeeded:
                self._revisions[guard.key] = result.revision
                for op in operations:
                    if isinstance(op, Put):
                        self._revisions[op.key] = result.revision
                    else:
                        self._revisions.pop(op.key, None)
                return
            # An earlier agent of this server wrote it: that is the version to replace.
            found = result.found.get(guard.key)
            self._revisions[guard.key] = found.mod_revision if found else 0
        raise Indeterminate("somebody else writes this server's status")

    def _left_behind(self) -> list[str]:
        """What an earlier agent of this server wrote of monitors and mirrors; they may be gone
        meanwhile."""
        state, found = self._state, list[str]()
        if state.monitors_known:
            mine = (name for server, name in state.mirror.monitor_status if server == state.me)
            found += [state.keys.monitor_status(state.me, name) for name in mine]
        if state.mirror_sides_known:
            mine = (name for server, name in state.mirror.mirror_status if server == state.me)
            found += [state.keys.mirror_status(state.me, name) for name in mine]
        return found

    def soon(self) -> None:
        """Something that nobody decides by has changed: write it, and wake nobody else."""
        self._wake.set()

    def is_stored(self, monitor: MonitorStatus) -> bool:
        """Whether this very status is in the store: a step of a recovery is counted before it is
        taken."""
        key = self._state.keys.monitor_status(monitor.server, monitor.monitor)
        return self._written.get(key) == monitor.to_bytes()

    def _wanted(self) -> dict[str, bytes]:
        state, keys = self._state, self._state.keys
        records: dict[str, Record] = {
            keys.monitor_status(state.me, name): status
            for name, status in sorted(state.monitors.items())
        }
        for name, side in sorted(state.mirror_sides.items()):
            records[keys.mirror_status(state.me, name)] = side
        snapshot = state.snapshot()
        doubted = doubt(snapshot) if snapshot is not None else None
        if state.own_session is not None or doubted is not None:
            records[keys.server_status(state.me)] = self._server(snapshot, doubted)
        for group, runner in sorted(self._runners().items()):
            status = runner.status()
            if status.phase is Phase.OFFLINE and not self._owns(group):
                continue
            records[keys.group_status(state.me, group)] = status
        self._texts = {key: self._text(key, record) for key, record in records.items()}
        return {key: text for key, (_, text) in self._texts.items()}

    def _text(self, key: str, record: Record) -> tuple[Record, bytes]:
        """Written out once: this is asked at each change of anything, and most records stay."""
        known = self._texts.get(key)
        return known if known is not None and known[0] is record else (record, record.to_bytes())

    def _owns(self, group: str) -> bool:
        stored = self._state.mirror.maps["groups"].get(group)
        return stored is not None and stored.record.owner == self._state.me

    def _server(self, snapshot: Snapshot | None, doubted: str | None) -> ServerStatus:
        state = self._state
        view = state.peers.view()
        heartbeats: dict[str, dict[str, str]] = {}
        for name, peer in sorted(view.peers.items()):
            heartbeats[name] = {
                path: "heard" if seen.heard_at is not None and seen.missed < 2 else "silent"
                for path, seen in sorted(peer.paths.items())
            }
        warnings = []
        if doubted is not None:
            warnings.append(doubted)
        if not view.pulse_alive:
            warnings.append("the pulse is not running")
        if snapshot is not None and (reached := limit_reached(snapshot)):
            warnings.append(reached)
        server = snapshot.specs.servers.get(state.me) if snapshot else None
        wanted = server.spec.watchdog if server else None
        if wanted is not None and not view.watchdog_s:
            warnings.append(f"the watchdog {wanted.device} is not armed")
        warnings += [f"unreadable record {key}" for key in sorted(state.mirror.unreadable)]
        found: dict[str, Any] = {
            "incarnation": state.own_session.incarnation if state.own_session else "",
            "revision": state.specs.revision if state.specs else 0,
            "heartbeats": heartbeats,
            "fencing": tuple(self._fences.tests[key] for key in sorted(self._fences.tests)),
            "warnings": tuple(warnings),
            "watchdog_s": view.watchdog_s,
            "final_actions": state.machine_actions,
            "store": "quorum" if state.own_session is not None else "unknown",
            "cluster_keys": state.cluster_keys,
            "store_id": state.mirror.store_id,
            "store_generation": state.known_store.generation if state.known_store else 0,
        }
        if self._told is None or found != self._found:
            self._found, self._told = found, self._server_status(found)
        return self._told

    def _server_status(self, found: dict[str, Any]) -> ServerStatus:
        actions = tuple(
            FinalActionTaken(action=a.action, reason=a.reason, at_wall=a.wall)
            for a in self._state.machine_actions
        )
        me, boot, version = self._state.me, self._state.boot_id, self._version
        more = {**found, "final_actions": actions}
        return ServerStatus(server=me, boot_id=boot, version=version, **more)


def _with_nonce(value: bytes, nonce: str) -> bytes:
    """A record's JSON made unlike any other write of the same content."""
    return json.dumps({**json.loads(value), "nonce": nonce}, separators=(",", ":")).encode()
