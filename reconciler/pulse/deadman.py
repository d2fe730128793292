"""When must this server end what it runs, although nobody told it to? Pure; `process` asks it.

Only the policy `keep` exists so far: a server gives up only when it is alone *and* unproven, for
longer than the deadline. Losing the store alone stops nobody, losing the others alone neither.
"""

from dataclasses import dataclass, replace

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class DeadManState:
    """`isolated_since`: since when fewer than a majority are heard (None: a majority is heard).
    `fired_at`: last time it fired in this isolation."""

    isolated_since: float | None = None
    fired_at: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the decision depends on. Times are CLOCK_MONOTONIC seconds.

    `proven_at`: send time of the newest successful session renewal. `hears_majority`: None when
    the pulse cannot say (it was paused itself). `armed`: there is something to end.
    """

    now: float
    deadline: float
    proven_at: float
    hears_majority: bool | None
    armed: bool


def step(state: DeadManState, situation: Situation) -> tuple[DeadManState, bool]:
    """The next state and whether to end everything now.

    While the reasons last it fires again once per second, for what could not be ended or was
    started since. Not knowing who is heard neither starts nor ends an isolation, and never fires.
    """
    if situation.hears_majority:
        return DeadManState(), False
    if situation.hears_majority is False and state.isolated_since is None:
        state = DeadManState(isolated_since=situation.now)
    if situation.hears_majority is None or state.isolated_since is None or not situation.armed:
        return state, False
    alone = situation.now - state.isolated_since > situation.deadline
    unproven = situation.now - situation.proven_at > situation.deadline
    again = state.fired_at is None or situation.now - state.fired_at >= RETRY_S
    if not (alone and unproven and again):
        return state, False
    return replace(state, fired_at=situation.now), True
