"""When must this server end what it runs, although nobody told it to? Pure; `watch` asks it.

Each entry of the kill list has the store-loss policy of its group:

* `keep`: given up only when this server is alone *and* unproven, for longer than the deadline.
  Losing the store alone stops nobody, losing the others alone neither;
* `stop`: given up when it is unproven for longer than the deadline, whoever is heard.

A hold lets `keep` wait until it ends, and changes nothing for `stop`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

RETRY_S = 1.0
LONGEST_HOLD_S = 4 * 3600.0


class Policy(StrEnum):
    """What losing the store means for an entry of the kill list."""

    KEEP = "keep"
    STOP = "stop"


class Scope(StrEnum):
    """What has to end now: nothing, entries with policy `stop`, or everything."""

    NOTHING = "nothing"
    STOP = "stop"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class DeadManState:
    """`isolated_since`: since when fewer than a majority are heard (None: a majority is heard).
    `fired_at`: last time it fired while the present reasons last, and `fired` for what."""

    isolated_since: float | None = None
    fired_at: float | None = None
    fired: Scope = Scope.NOTHING


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the decision depends on. Times are CLOCK_MONOTONIC seconds.

    `proven_at`: send time of the newest successful session renewal. `hears_majority`: None when
    the pulse cannot say (it was paused itself). `armed`: there is something to end; `armed_stop`:
    part of that has the policy `stop`. `held_until`: end of an `agent hold`, 0 for none.
    """

    now: float
    deadline: float
    proven_at: float
    hears_majority: bool | None
    armed: bool
    armed_stop: bool = False
    held_until: float = 0.0


def step(state: DeadManState, situation: Situation) -> tuple[DeadManState, Scope, bool]:
    """The next state, what must not run now, and whether to end it now.

    While the reasons last it fires again once per second, for what could not be ended or was
    started since. Not knowing who is heard neither starts nor ends an isolation.
    """
    if situation.hears_majority:
        state = replace(state, isolated_since=None)
    elif situation.hears_majority is False and state.isolated_since is None:
        state = replace(state, isolated_since=situation.now)
    scope = _scope(state, situation)
    if scope is Scope.NOTHING:
        return DeadManState(state.isolated_since), scope, False
    again = (
        state.fired_at is None
        or scope is not state.fired
        or situation.now - state.fired_at >= RETRY_S
    )
    if again:
        state = replace(state, fired_at=situation.now, fired=scope)
    return state, scope, again


def _scope(state: DeadManState, situation: Situation) -> Scope:
    if situation.now - situation.proven_at <= situation.deadline:
        return Scope.NOTHING
    alone = (
        state.isolated_since is not None
        and situation.hears_majority is not None
        and situation.now - state.isolated_since > situation.deadline
    )
    if alone and situation.armed and situation.now >= situation.held_until:
        return Scope.EVERYTHING
    return Scope.STOP if situation.armed_stop else Scope.NOTHING
