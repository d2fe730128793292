"""What an apply would do to the groups that run: the forecast that `diff` shows."""

from collections.abc import Sequence

from clusterctl.changes import Proposal
from reconciler.decide.impact import Impact, preview
from reconciler.decide.standby_side import specs_of
from reconciler.decide.stored import StoredRecords


def forecast(proposal: Proposal, records: StoredRecords, wall: float) -> tuple[Impact, ...]:
    """Nothing before the first apply, and nothing for a set without a Cluster."""
    old, new = specs_of(proposal.old, 0), specs_of(proposal.new, 0)
    if old is None or new is None or not proposal.changes:
        return ()
    return preview(records, old, new, wall)


def forecast_lines(effects: Sequence[Impact], *, changed: bool) -> list[str]:
    """One line for each effect; a change without one says so."""
    if not changed:
        return []
    if not effects:
        return ["effect: nothing that runs is disturbed"]
    return [f"effect: group/{one.group}: {one.text}{_about(one)}" for one in effects]


def _about(effect: Impact) -> str:
    if effect.about_ms is None:
        return ""
    seconds = effect.about_ms / 1000
    shown = f"{seconds:.1f} s" if seconds >= 1 else f"{effect.about_ms:.0f} ms"
    return f" (away for about {shown}, as measured last)"
