"""What must never happen: one rule a file, each a pure reader of `tests.simulation.facts`."""

from tests.simulation.facts import Fact
from tests.simulation.invariants.base import Invariant
from tests.simulation.invariants.bounded_work import BoundedWork
from tests.simulation.invariants.convergence import Convergence
from tests.simulation.invariants.epoch_monotonic import EpochMonotonic
from tests.simulation.invariants.every_action_explained import EveryActionExplained
from tests.simulation.invariants.exclusion_kept import ExclusionKept
from tests.simulation.invariants.fence_in_force import FenceInForce
from tests.simulation.invariants.fence_keeps_quorum import FenceKeepsQuorum
from tests.simulation.invariants.idempotent import Idempotent
from tests.simulation.invariants.needless_fence import NeedlessFence
from tests.simulation.invariants.needless_reset import NeedlessReset
from tests.simulation.invariants.no_double_active import NoDoubleActive
from tests.simulation.invariants.no_lost_or_half_applied_spec import NoLostOrHalfAppliedSpec
from tests.simulation.invariants.no_orphan import NoOrphan
from tests.simulation.invariants.no_start_without_proof import NoStartWithoutProof
from tests.simulation.invariants.one_decider import OneDecider
from tests.simulation.invariants.proof_before_takeover import ProofBeforeTakeover
from tests.simulation.invariants.self_stop_in_time import SelfStopInTime
from tests.simulation.invariants.start_stop_order import StartStopOrder
from tests.simulation.invariants.stop_in_time import StopInTime
from tests.simulation.invariants.terms_held import TermsHeld

ALL: tuple[type[Invariant], ...] = (
    NoDoubleActive,
    ProofBeforeTakeover,
    NoStartWithoutProof,
    OneDecider,
    SelfStopInTime,
    StopInTime,
    TermsHeld,
    ExclusionKept,
    EpochMonotonic,
    NoLostOrHalfAppliedSpec,
    NoOrphan,
    StartStopOrder,
    BoundedWork,
    NeedlessFence,
    NeedlessReset,
    FenceInForce,
    FenceKeepsQuorum,
    EveryActionExplained,
    Idempotent,
    Convergence,
)


def first_broken(history: list[Fact], kind: type[Invariant]) -> str | None:
    """What this invariant says of a history, or None."""
    invariant = kind()
    for fact in history:
        broken = invariant.see(fact)
        if broken is not None:
            return broken
    return None
