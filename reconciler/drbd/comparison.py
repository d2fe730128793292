"""A comparison of both sides by DRBD (`drbdadm verify`): how far it is, and what came of it.

DRBD only counts what differs; that its run got to the end follows from both sides having been
current all the time. Pure; called by `adapters.linux.drbd` and `drbd_wishes`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from reconciler.drbd.state import Generations, State

PART = 4096
"""What a bit of DRBD's bitmap stands for, in bytes."""
_UNDER_WAY = ("VerifyS", "VerifyT")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`id` is whose wish it is, `generation` that of the data when it began; `done` bytes were
    looked at, `different` parts differ. With `repair` they are to be copied at the end. `ended` is
    why it ended, "" while it goes on."""

    id: str
    generation: str
    repair: bool = False
    done: int = 0
    different: int = 0
    ended: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def wants_copy(self) -> bool:
        return self.repair and self.ended == "done" and self.different > 0


def noted(fields: Mapping[str, Any] | None) -> Comparison | None:
    """What `to_json` gave."""
    return Comparison(**fields) if fields else None


def under_way(state: State) -> bool:
    return state.replication in _UNDER_WAY


def why_not(state: State) -> str:
    """Why a comparison cannot begin; "" if it can."""
    if not state.serves:
        return "this side does not serve: ask the other one"
    if not state.both_current:
        return "the other side is not in sync"
    return "both sides are compared already" if under_way(state) else ""


def looked_at(
    known: Comparison, state: State, ids: Generations, percent: float | None
) -> Comparison:
    """How it is now. A side that was lost meanwhile left another generation behind, whatever came
    after it: DRBD begins one when it goes on alone."""
    if known.ended:
        return known
    if not state.serves:
        return replace(known, ended="this side does not serve any more")
    if not state.both_current or ids.current != known.generation:
        return replace(known, ended="the other side is not in sync")
    if under_way(state):
        return replace(known, done=int(state.size * (percent or 0.0) / 100))
    return replace(known, done=state.size, different=-(-state.out_of_sync // PART), ended="done")
