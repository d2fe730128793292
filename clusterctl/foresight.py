"""What an apply would do to the groups that run: the forecast that `diff` shows."""

from collections.abc import Sequence

from clusterctl.changes import Proposal
from reconciler.decide.impact import Impact, preview
from reconciler.decide.snapshot import Specs
from reconciler.decide.stored import StoredRecords
from specs.spec_set import SpecSet


def forecast(proposal: Proposal, records: StoredRecords, wall: float) -> tuple[Impact, ...]:
    """Nothing before the first apply, and nothing for a set without a Cluster."""
    old, new = _specs(proposal.old), _specs(proposal.new)
    if old is None or new is None or not proposal.changes:
        return ()
    return preview(records, old, new, wall)


def _specs(found: SpecSet) -> Specs | None:
    if found.cluster is None:
        return None
    return Specs(
        revision=0,
        cluster=found.cluster,
        servers=dict(found.servers),
        server_groups=dict(found.server_groups),
        groups=dict(found.groups),
        resources=dict(found.resources),
        monitors=dict(found.monitors),
    )


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
