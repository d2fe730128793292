"""Everything that is done, and everything that is not, has a reason that people can read."""

from reconciler.decide.records import FenceIntent, Ownership, Phase, Verdict
from tests.simulation.facts import Fact, PowerCommand, Restored, Stored, Tick
from tests.simulation.invariants.base import Handler, Invariant

# Longer than a session's life, a fence with all its attempts at one level, and a start.
SILENT_FOR_S = 40.0


class EveryActionExplained(Invariant):
    name = "every_action_explained"

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._slot: FenceIntent | None = None
        self._down_since: dict[str, float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Stored: self._stored,
            Restored: self._restored,
            PowerCommand: self._command,
            Tick: self._tick,
        }

    def _restored(self, fact: Restored) -> None:
        self._slot = None
        self._verdicts.clear()

    def _stored(self, fact: Stored) -> str | None:
        new, old = fact.new, fact.old
        if isinstance(new, Verdict):
            self._verdicts[new.group] = new
            if new.phase in (Phase.BLOCKED, Phase.FAILED) and not new.reasons:
                return f"{new.group} is {new.phase.value} without a reason"
        elif isinstance(old, Verdict):
            self._verdicts.pop(old.group, None)
        if isinstance(new, FenceIntent):
            self._slot = new
            if not new.reason:
                return f"a fence of {new.victim} without a reason"
        if isinstance(new, Ownership) and not new.cause:
            return f"the record of {new.group} at epoch {new.epoch} has no cause"
        return None

    def _command(self, fact: PowerCommand) -> str | None:
        if self._slot is None or not self._slot.reason:
            return f"{fact.victim} is switched off without a reason"
        return None

    def _tick(self, fact: Tick) -> str | None:
        for group, servers in fact.runs:
            if servers or not fact.calm:
                self._down_since.pop(group, None)
                continue
            since = self._down_since.setdefault(group, fact.at)
            verdict = self._verdicts.get(group)
            told = verdict is not None and (verdict.reasons or verdict.phase is Phase.STARTING)
            if fact.at - since > SILENT_FOR_S and not told:
                return f"{group} runs nowhere since {since:.1f} and nobody says why"
        return None
