"""Each invariant has a history that must fail it, and one next to it that must not."""

import pytest

from reconciler.decide.records import (
    Coordinator,
    FenceIntent,
    Ownership,
    Phase,
    Proof,
    Session,
    Verdict,
)
from tests.simulation.facts import (
    Applied,
    Deadline,
    Down,
    End,
    Exclusive,
    Fact,
    Frozen,
    Hears,
    PowerCommand,
    Powered,
    Renewed,
    SpecsRead,
    Stored,
    Tick,
    Up,
    Watched,
)
from tests.simulation.invariants import ALL, first_broken

History = list[Fact]
OWNER = ("run", "groups", "a")
SLOT = ("run", "fence-slot")


def up(at: float, server: str = "n1", epoch: int = 1, resource: str = "a-0", level: int = 0) -> Up:
    return Up(at, server, "a", resource, epoch, level)


def down(at: float, server: str = "n1", resource: str = "a-0", by: str = "driver") -> Down:
    return Down(at, server, "a", resource, 0, by)


def owned(owner: str | None, epoch: int, cause: str = "start") -> Ownership:
    boot = f"{owner}-1" if owner else ""
    return Ownership(
        group="a", epoch=epoch, owner=owner, boot_id=boot, cause=cause, proof=Proof.RELEASED
    )


def stored(at: float, old: Ownership | None, new: Ownership | None, writer: str = "") -> Stored:
    return Stored(at, OWNER, old, new, writer)


def intent(victim: str = "n1", **more: object) -> FenceIntent:
    values: dict[str, object] = {
        "victim": victim,
        "covers": (f"{victim}-1",),
        "executor": "n2",
        "executor_incarnation": "x",
        "level": 0,
        "attempt": 1,
        "valid_for_s": 10.0,
        "requested_by": "n2",
        "reason": "silent and unanswered",
    }
    return FenceIntent.model_validate({**values, **more})


def slot(at: float, new: FenceIntent, old: FenceIntent | None = None) -> Stored:
    return Stored(at, SLOT, old, new)


def leads(at: float, server: str) -> Stored:
    record = Coordinator(server=server, incarnation="x")
    return Stored(at, ("run", "coordinator"), None, record, server)


def tick(at: float, servers: tuple[str, ...] = (), *, calm: bool = True) -> Tick:
    return Tick(at, (("a", servers),), calm)


ONE, TWO = owned("n1", 1), owned("n2", 2)
STOPS = ONE.model_copy(update={"on_store_loss": "stop", "dead_man_s": 6.0, "watchdog_s": 1.0})
BOOTS: History = [Powered(0, "n1", True, "n1-1"), Powered(0, "n2", True, "n2-1")]
ENDED = End(60, (("a-0", "n1", 1),), (("a-0", "a"),))
SESSION = Stored(1, ("run", "sessions", "n1"), None, Coordinator(server="n1", incarnation="x"))

# invariant -> (history that keeps it, what is added to break it)
CASES: dict[str, tuple[History, History]] = {
    "no_double_active": ([up(1), down(2), up(3, "n2", 2)], [up(4)]),
    "proof_before_takeover": (
        [stored(0, None, ONE), up(1), down(2), stored(3, ONE, TWO), up(4, "n2", 2)],
        [stored(5, TWO, owned("n1", 3))],
    ),
    "no_start_without_proof": (
        [Renewed(1, "n1", 0.9, 10.9), up(7.0), Frozen(11, "n1", True), Frozen(12, "n1", False)],
        [Renewed(12.5, "n1", 11.9, 21.9), up(13.0)],
    ),
    "one_decider": (
        [leads(0, "n1"), stored(1, None, ONE, "n1"), leads(2, "n2")],
        [stored(3, ONE, TWO, "n1")],
    ),
    "self_stop_in_time": (
        [up(0), Renewed(1, "n1", 0.9), Hears(2, "n1", False), tick(9.0)],
        [tick(11.0)],
    ),
    "epoch_monotonic": (
        [stored(0, None, ONE), up(1), stored(2, ONE, TWO), up(3, "n2", 2)],
        [up(4, "n1", 1)],
    ),
    "no_lost_or_half_applied_spec": (
        [Applied(1, 7, 3), SpecsRead(2, "n1", 3, (7, 7))],
        [SpecsRead(3, "n1", 4, (7, 8))],
    ),
    "no_orphan": ([*BOOTS, stored(0, None, ONE), up(1)], [up(2, "n2", 1)]),
    "start_stop_order": (
        [up(1), up(2, resource="a-1", level=60), Down(3, "n1", "a", "a-1", 60, "driver")],
        [up(4, resource="a-1", level=60), down(5)],
    ),
    "bounded_work": ([up(at / 10) for at in range(60)], [up(6.0)]),
    "needless_fence": (
        [slot(0, intent()), PowerCommand(1, "n1", "n2")],
        [PowerCommand(2, "n1", "n2", ("n3",))],
    ),
    "fence_in_force": (
        [slot(0, intent()), PowerCommand(1, "n1", "n2")],
        [slot(2, intent(closed=True), intent()), PowerCommand(3, "n1", "n2")],
    ),
    "fence_keeps_quorum": (
        [PowerCommand(1, "n1", "n2")],
        [PowerCommand(2, "n1", "n2", quorum=False)],
    ),
    "every_action_explained": (
        [stored(0, None, ONE), tick(1), tick(30), tick(31, ("n1",)), tick(40)],
        [tick(81)],
    ),
    "stop_in_time": (
        [stored(0, None, STOPS), Renewed(1, "n1", 0.9), up(2), Frozen(3, "n1", True), tick(9.0)],
        [tick(10.0)],
    ),
    "terms_held": (
        [stored(0, None, STOPS), Deadline(0, "n1", 6.0), Watched(0, "n1", 1.0), up(1)],
        [Watched(2, "n1", 2.0)],
    ),
    "exclusion_kept": (
        [Exclusive(0, ("a", "b")), up(1), Up(2, "n2", "b", "b-0", 1, 0), down(3)],
        [up(4, "n2", 2)],
    ),
    "needless_reset": (
        [
            Renewed(1, "n1", 0.9),
            Frozen(2, "n1", True),
            Powered(4, "n1", False, "n1-1", "watchdog"),
            Powered(4, "n1", True, "n1-2", "watchdog"),
            Renewed(8, "n1", 7.9),
        ],
        [Powered(9, "n1", False, "n1-2", "watchdog")],
    ),
    "idempotent": (
        [stored(0, None, ONE), stored(1, ONE, TWO)],
        [stored(2, TWO, TWO.model_copy(update={"nonce": "another"}))],
    ),
    "convergence": ([SESSION, stored(1, None, ONE), ENDED], [stored(61, ONE, TWO), ENDED]),
}


def test_every_invariant_has_its_histories() -> None:
    assert sorted(CASES) == sorted(kind.name for kind in ALL)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_a_broken_history_fails_and_a_whole_one_does_not(kind: type) -> None:
    kept, broken = CASES[kind.name]
    assert first_broken(kept, kind) is None
    said = first_broken([*kept, *broken], kind)
    assert said is not None
    assert said.startswith(f"{kind.name}: ")


OTHERS: dict[str, tuple[str, History]] = {
    "deleted ownership": ("epoch_monotonic", [stored(0, None, ONE), stored(1, ONE, None)]),
    "epoch granted again": (
        "epoch_monotonic",
        [stored(0, None, ONE), stored(1, ONE, owned("n2", 1))],
    ),
    "old boot": ("no_orphan", [*BOOTS, stored(0, None, ONE), Powered(1, "n1", True, "b"), up(2)]),
    "no cause": ("every_action_explained", [stored(0, None, owned("n1", 1, cause=""))]),
    "blocked without a reason": (
        "every_action_explained",
        [Stored(0, ("run", "verdicts", "a"), None, Verdict(group="a", phase=Phase.BLOCKED))],
    ),
    "proof too old": ("no_start_without_proof", [Renewed(1, "n1", 0.9, 10.9), up(11.0)]),
    "late packet": ("fence_in_force", [slot(0, intent()), PowerCommand(12, "n1", "n2")]),
    "two fences": ("fence_in_force", [slot(0, intent()), slot(1, intent("n3"), intent())]),
    "answered": ("needless_fence", [PowerCommand(1, "n1", "n2", answers=True)]),
    "lost": (
        "no_lost_or_half_applied_spec",
        [Applied(1, 7, 3), SpecsRead(2, "n1", 2, (6, 6)), End(9, (), ())],
    ),
    "victim decides": (
        "one_decider",
        [leads(0, "n1"), slot(1, intent("n1")), stored(2, None, ONE, "n1")],
    ),
    "killed by nobody": (
        "stop_in_time",
        [
            stored(0, None, ONE.model_copy(update={"on_store_loss": "stop"})),
            Renewed(1, "n1", 0.9),
            up(2),
            tick(8.7),
        ],
    ),
    "no watchdog": ("terms_held", [stored(0, None, STOPS), Deadline(0, "n1", 6.0), up(1)]),
    "no session": ("convergence", [stored(1, None, ONE), End(60, ENDED.active, (), ("n1",))]),
    "restless": ("convergence", [SESSION, stored(59, None, ONE), ENDED]),
}


def test_an_intent_whose_executor_has_rebooted_may_be_replaced() -> None:
    old = intent(executor_boot="n2-1")
    session = Session(server="n2", boot_id="n2-2", incarnation="y", lease=1, version="")
    back = Stored(1, ("run", "sessions", "n2"), None, session)
    kind = next(kind for kind in ALL if kind.name == "fence_in_force")
    assert first_broken([slot(0, old), back, slot(2, intent("n3"), old)], kind) is None
    assert first_broken([slot(0, old), slot(2, intent("n3"), old)], kind) is not None


@pytest.mark.parametrize("name", OTHERS)
def test_other_ways_to_break_a_rule(name: str) -> None:
    rule, history = OTHERS[name]
    kind = next(kind for kind in ALL if kind.name == rule)
    assert first_broken(history, kind) is not None
