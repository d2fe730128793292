"""Tells what this server's sides of mirrored disks are like, and carries out operators' wishes
about them (`decide.mirror_wishes`).

Looks at each engine once a second. What came of a wish stays in the status until the coordinator
has ended it; a wish may be carried out twice when the agent ends in between.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.decide.circumstances import listed_servers
from reconciler.decide.copies import side_of
from reconciler.decide.mirror_status import MirrorCheck, MirrorResult, MirrorStatus
from reconciler.decide.mirror_wishes import MIRROR_KINDS
from reconciler.decide.records import Operation, OperationKind, OperationPhase
from reconciler.decide.snapshot import Snapshot
from reconciler.loops.act import wait_for
from reconciler.loops.resting_sides import ReadMirror, RestingSides, Seen
from reconciler.loops.state import AgentState
from reconciler.mirror.decide.promotion import order_is_lost
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import EngineView, Mirrors
from specs.scalars import format_size

LOOK_EVERY_S = 1.0
WITHOUT_ANY_S = 5.0
AS_OF_STEP_S = 5.0
"""How exactly the age of an asynchronous copy is told: each step is a write to the store."""

KIND = OperationKind


class MirrorCare:
    """`mirrors` are the engines of this server, `read` asks a disk without one. `publish` makes the
    status be written soon."""

    def __init__(
        self,
        state: AgentState,
        mirrors: Mirrors | None,
        publish: Callable[[], None],
        read: ReadMirror | None = None,
    ) -> None:
        self._state, self._mirrors, self._publish = state, mirrors, publish
        self._resting = RestingSides(state.clock, read)
        self._wake, self._new_specs = state.new_wake(), state.new_spec_wake()
        self._results: dict[str, dict[str, MirrorResult]] = {}
        self._whole: dict[str, float | None] = {}
        self._looked_wall = 0.0
        self._names: tuple[int, tuple[str, ...]] = (-1, ())

    async def run(self) -> None:
        """For ever; an engine that does not answer is told of, and ends nothing."""
        if self._mirrors is None:
            await asyncio.get_running_loop().create_future()
            return
        while True:
            self._wake.clear()
            self._new_specs.clear()
            snapshot = self._state.snapshot()
            names = self._mirrored(snapshot) if snapshot is not None else ()
            if snapshot is not None:
                await self._look(self._mirrors, snapshot, names)
            if names:
                await self._rest(names)
            else:
                await wait_for(self._state, self._new_specs, WITHOUT_ANY_S)

    async def _rest(self, names: tuple[str, ...]) -> None:
        """Until the next look is due, or there is a wish."""
        deadline = self._state.clock.now() + LOOK_EVERY_S
        while (left := deadline - self._state.clock.now()) > 0:
            await wait_for(self._state, self._wake, left)
            self._wake.clear()
            snapshot = self._state.snapshot()
            if snapshot is not None and any(self._wishes(snapshot, name) for name in names):
                return

    def _mirrored(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Mirrors of which this server has a side, looked for once for each revision."""
        if self._names[0] != snapshot.specs.revision:
            me = snapshot.me
            found = (
                name
                for name, resource in sorted(snapshot.specs.resources.items())
                if side_of(snapshot, resource, me) is not None
                and me in listed_servers(snapshot, resource.spec.group)
            )
            self._names = (snapshot.specs.revision, tuple(found))
        return self._names[1]

    async def _look(self, mirrors: Mirrors, snapshot: Snapshot, names: tuple[str, ...]) -> None:
        sides = self._state.mirror_sides
        for name in set(sides) - set(names):
            del sides[name]
        for name in names:
            for operation in self._wishes(snapshot, name):
                self._results.setdefault(name, {})[operation.id] = await self._carry_out(
                    mirrors, name, operation
                )
            self._forget_ended(snapshot, name)
            self._looked_wall = self._state.clock.wall()
            try:
                view = await mirrors.view(name)
                seen = await self._resting.look(snapshot, name, engine=view is not None)
                new = self._seen(snapshot, self._status(name, view), seen)
            except HostError as error:
                new = self._status(name, None).model_copy(update={"problem": str(error)})
            old = sides.get(name)
            if old is not None and 0 < old.size < new.size:
                events = self._state.events
                events.emit("mirror_grown", resource=name, size=new.size, before=old.size)
            if old is None or _differs(old, new):
                sides[name] = new
                self._publish()
        self._state.mirror_sides_known = True

    # -- wishes ------------------------------------------------------------------------------

    def _wishes(self, snapshot: Snapshot, name: str) -> list[Operation]:
        """Those that this server was named for and has not carried out."""
        done = self._results.get(name, {})
        return [
            stored.record
            for _, stored in sorted(snapshot.operations.items())
            if stored.record.kind in MIRROR_KINDS
            and stored.record.phase is OperationPhase.RUNNING
            and stored.record.target == f"resource/{name}"
            and stored.record.to == snapshot.me
            and stored.record.id not in done
        ]

    def _forget_ended(self, snapshot: Snapshot, name: str) -> None:
        done = self._results.get(name, {})
        for number in list(done):
            stored = snapshot.operations.get(number)
            if stored is not None and stored.record.phase is not OperationPhase.RUNNING:
                del done[number]

    async def _carry_out(self, mirrors: Mirrors, name: str, operation: Operation) -> MirrorResult:
        try:
            answer = await mirrors.ask(name, request(operation, name))
        except HostError as error:
            return MirrorResult(operation=operation.id, ok=False, text=str(error))
        generation = str(answer.get("generation", ""))
        text = told(operation, name, self._state.me)
        return MirrorResult(operation=operation.id, ok=True, text=text, generation=generation)

    # -- status ------------------------------------------------------------------------------

    def _status(self, name: str, view: EngineView | None) -> MirrorStatus:
        state = self._state
        known = state.known_store
        common: dict[str, Any] = {
            "resource": name,
            "server": state.me,
            "boot_id": state.boot_id,
            "results": tuple(result for _, result in sorted(self._results.get(name, {}).items())),
            "store_generation": known.generation if known is not None else 0,
            "at_wall": round(state.clock.wall(), 3),
        }
        if view is None:
            return MirrorStatus(**common, engine=False, problem="its engine does not run")
        fields = side(view)
        if fields["as_of_wall"] is None:
            fields["as_of_wall"] = self._last_whole(name, view)
        return MirrorStatus(**common, **fields)

    def _seen(self, snapshot: Snapshot, status: MirrorStatus, seen: Seen) -> MirrorStatus:
        fields: dict[str, Any] = {"roles": seen.roles}
        if seen.problem:
            fields["problem"] = seen.problem
        if seen.mirror is not None:
            mirror = snapshot.specs.resources[status.resource].spec.mirror()
            details = {
                "asynchronous": mirror is not None and mirror.asynchronous,
                "bytes_to_copy": seen.mirror.to_copy,
            }
            header, boot = seen.mirror.header, self._state.boot_id
            fields |= side(EngineView(False, 0, "", False, "", header, boot, details))
            fields["at_rest"] = True
        return status.model_copy(update=fields)

    def _last_whole(self, name: str, view: EngineView) -> float | None:
        """When a side that is not connected any more was seen with everything, if it was."""
        if view.serves or view.header.fresh:
            self._whole.pop(name, None)
            return None
        if view.details.get("connected"):
            if view.header.consistent and not view.details.get("asynchronous"):
                self._whole[name] = self._looked_wall // 0.001 / 1000
            return None
        if name not in self._whole:
            before = self._state.mirror.mirror_status.get((self._state.me, name))
            if before is not None and not before.serving:
                whole = before.connected and before.consistent and not before.asynchronous
                self._whole[name] = before.as_of_wall or (before.at_wall if whole else None)
        return self._whole.get(name)


def _differs(old: MirrorStatus, new: MirrorStatus) -> bool:
    """Progress is told once a second while something is copied, the time of day never alone."""
    return old.model_copy(update={"at_wall": new.at_wall}) != new


def side(view: EngineView) -> dict[str, Any]:
    """Fields of `MirrorStatus` out of what an engine says. An engine of another kind may say less:
    what is missing has its default."""
    header, details = view.header, view.details
    fields: dict[str, Any] = {
        "serving": view.serves,
        "epoch": view.epoch,
        "suspended": view.suspended,
        "over": view.over,
        "size": header.size,
        "room": int(details.get("room", 0)),
        "generation": header.current,
        "ancestors": tuple(dict.fromkeys((*header.bases, *header.history)))[:16],
        "served": header.primary and not header.clean,
        "fresh": header.fresh,
        "consistent": header.consistent,
        "clean": header.clean,
        "discard": header.discard,
        "isolated": header.isolated,
        "isolated_until_wall": header.isolated_until if header.isolated else None,
        "unfit": unfit(view),
        "as_of_wall": as_of(view),
        "to_copy": int(details.get("bytes_to_copy", 0)),
        "verdict_reason": str(details.get("verdict_reason", "")),
    }
    for name in ("peer", "stage", "connected", "address", "problem", "asynchronous", "verdict"):
        if name in details:
            fields[name] = details[name]
    for name in ("copied", "rate", "seconds_left", "backlog", "limit"):
        if details.get(name) is not None:
            fields[name] = details[name]
    if (check := details.get("verify")) is not None:
        fields["check"] = _check(check)
    return fields


def _check(said: Mapping[str, Any]) -> MirrorCheck:
    """Our own engine says which parts differ, DRBD how many, and how large one is."""
    different = said["different"]
    found = MirrorCheck(
        done=said["done"],
        different=different if isinstance(different, int) else len(different),
        ended=said["ended"],
        operation=said.get("id", ""),
        repair=bool(said.get("repair", False)),
        rate=said.get("rate"),
        seconds_left=said.get("seconds_left"),
    )
    return found.model_copy(update={"part": said["part"]}) if "part" in said else found


def unfit(view: EngineView) -> str:
    """Why this side could not serve although the record may name it. What the record itself decides
    is not said here: this may be older."""
    header = view.header
    if view.serves:
        return ""
    if view.over:
        return view.over
    if header.isolated:
        return "this side is isolated as a snapshot"
    if order_is_lost(header, view.boot):
        return "this side lost power while it followed an asynchronous mirror"
    return ""


def as_of(view: EngineView) -> float | None:
    """Up to when a side that follows has everything; None is now, and what nobody knows."""
    found = view.details.get("data_as_of")
    if view.serves or found is None:
        return None
    if not view.details.get("connected"):
        return float(found)
    if not view.details.get("asynchronous"):
        return None
    return float(found) // AS_OF_STEP_S * AS_OF_STEP_S


def request(operation: Operation, name: str) -> Mapping[str, Any]:
    """What the engine is asked (`reconciler.mirror.commands`)."""
    kind, confirmed = operation.kind, {"confirm": name, "who": operation.who}
    requests: dict[OperationKind, dict[str, Any]] = {
        KIND.MIRROR_RESYNC: {"do": "resync", "how": operation.how or "difference"},
        KIND.MIRROR_VERIFY: {"do": "verify"},
        KIND.MIRROR_LIMIT: {"do": "limit", "bytes": operation.limit or 0},
        KIND.MIRROR_ISOLATE: {"do": "isolate", "seconds": operation.for_s or 0.0},
        KIND.MIRROR_REJOIN: {"do": "rejoin"},
        KIND.MIRROR_DISCARD: {"do": "discard", **confirmed},
        KIND.MIRROR_PROMOTE: {"do": "accept", **confirmed},
    }
    return {**requests[kind], "id": operation.id}


def told(operation: Operation, name: str, me: str) -> str:
    """What was done, in a sentence."""
    how = {"full": "everything is copied again", "checksum": "what differs is copied again"}
    limit = f"limited to {format_size(operation.limit)}/s" if operation.limit else "unlimited"
    texts = {
        KIND.MIRROR_RESYNC: how.get(operation.how, "the difference is copied"),
        KIND.MIRROR_VERIFY: "both sides are compared",
        KIND.MIRROR_LIMIT: f"copying of {name} is {limit}",
        KIND.MIRROR_ISOLATE: f"{me} stands still as a snapshot of {name}",
        KIND.MIRROR_REJOIN: f"{me} follows again",
        KIND.MIRROR_DISCARD: f"what {me} had of {name} is given up",
        KIND.MIRROR_PROMOTE: f"{me} is ready to serve {name}",
    }
    return texts[operation.kind]
