"""DRBD's states in the words of our mirrors, and what a serving side must ask before it goes on.

The record `run/mirrors/<resource>` decides here as it does for our own engine. DRBD is told to
freeze its I/O whenever it loses the other side (`fencing resource-and-stonith`); a file says that
the record names this side alone, and only with that file is it let go on. Pure; called by
`adapters.linux.drbd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.drbd.comparison import PART, Comparison
from reconciler.drbd.state import Generations, State
from reconciler.mirror.header import Header

WITHOUT_DISK = ("Diskless", "Failed", "Detaching")
_FOLLOWING = ("Consistent", "UpToDate")


@dataclass(frozen=True, slots=True)
class Ask:
    """May this side acknowledge `alone`, or are `both` current? `hold`: nothing may be acknowledged
    until that is answered, and DRBD does not see to it by itself."""

    kind: Literal["alone", "both"]
    generation: str
    hold: bool = False


def header_of(
    name: str, state: State, ids: Generations, *, begun: str, isolated_until: float | None
) -> Header:
    """`isolated_until` is a wall-clock second, None on a side that is no snapshot. `begun` is an id
    that this side gave itself for its first start, before anything was written.

    Older ids count as pending: the record may name the generation that a newer one came from, and
    data that came from it has everything of it. That a side is *in* the record is what keeps a
    stale one out. DRBD marks what a lost server may not have flushed by itself, so no side that
    followed loses the order of writes."""
    fresh = ids.never_written or (bool(begun) and ids.current == begun)
    older = tuple(one for one in (ids.base, *ids.history) if one)
    return Header(
        resource=name,
        size=state.size,
        current=ids.current,
        pending=older,
        bases=older[:1],
        history=older[1:],
        consistent=fresh or state.disk in _FOLLOWING,
        clean=not (ids.was_primary and not state.serves),
        primary=ids.was_primary,
        fresh=fresh,
        isolated=isolated_until is not None,
        isolated_until=isolated_until or 0.0,
        order_kept=False,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the record, durable as long as DRBD runs. `alone`: it names only this side,
    and DRBD knows that. `told` is the generation that was asked for last. `both`: it named both
    after that. `held`: writes were stopped for a question, and nobody let them go on yet.
    `repairs`: both sides are there, but were found to differ; they are to meet anew."""

    alone: bool
    told: str = ""
    both: bool = False
    held: bool = False
    repairs: bool = False


def question(state: State, ids: Generations, known: Known) -> Ask | None:
    """What a side must ask now."""
    if not state.serves:
        return None
    if known.alone:
        if known.told != ids.current or stands_still(state, held=known.held):
            # DRBD begins a generation by itself when it goes on without the other side
            return Ask("alone", ids.current)
        return Ask("both", ids.current) if state.both_current and not state.suspended else None
    if "fencing" in state.suspended:
        return Ask("alone", ids.current)
    if not state.both_current:
        # such as a peer that is there but lost its disk: DRBD would go on
        return Ask("alone", ids.current, hold=True)
    if known.repairs:
        return Ask("alone", ids.current, hold=True)
    # An agent ended on the way to naming both: begin again where nothing is in doubt.
    return None if known.both else Ask("alone", ids.current)


def may_name_both(state: State, ids: Generations, asked: Ask) -> bool:
    """Looked at again after the mark went: from then on DRBD freezes with the loss of the peer. One
    that was lost before that may have been written past."""
    return state.serves and state.both_current and ids.current == asked.generation


def stands_still(state: State, *, held: bool) -> bool:
    """Whether writes wait for us. What a person suspended is not ours to resume."""
    return "fencing" in state.suspended or (held and "user" in state.suspended)


def over(state: State, refusal: str) -> str:
    """Why a serving side has ended; "" when it has not."""
    if not state.serves:
        return ""
    if refusal:
        return refusal
    return "its disk failed" if state.disk in WITHOUT_DISK else ""


def details(
    state: State,
    *,
    peer: str,
    address: str,
    asynchronous: bool,
    split: bool,
    limit: int,
    comparison: Comparison | None = None,
) -> Mapping[str, Any]:
    """For people, in the words of our own engine (`reconciler.mirror.commands.full_status`)."""
    said: dict[str, Any] = {
        "engine": "drbd",
        "peer": peer,
        "address": address,
        "connected": state.connected,
        "asynchronous": asynchronous,
        "bytes_to_copy": state.out_of_sync,
        "stage": stage(state),
        "limit": limit,
        "problem": "",
        "drbd": f"{state.connection} {state.role}/{state.peer_role} "
        f"{state.disk}/{state.peer_disk} {state.replication}",
    }
    if comparison is not None:
        said["verify"] = {**comparison.to_json(), "part": PART}
    if split:
        said["verdict"] = "split-brain"
        said["verdict_reason"] = (
            "both sides have data that the other one lacks; an operator must give one of them up"
        )
    elif state.connection == "StandAlone":
        said["problem"] = "it stands alone: DRBD does not look for the other side"
    return said


def stage(state: State) -> str:
    """alone, joining, both; "" on a side that follows."""
    if not state.serves:
        return ""
    if state.both_current:
        return "both"
    return "joining" if state.connected else "alone"
