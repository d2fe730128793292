"""Guards of what a server does to itself (pulse, watchdog, mailbox, terms of a grant), of exclusion
and of restored stores, each with the way to switch it off."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide import decide, expiry, granting, leases, placement, store_life
from reconciler.loops import act, pulse_care, session
from reconciler.loops.state import AgentState
from reconciler.pulse import deadman
from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.watch import DeadMan

Patch = pytest.MonkeyPatch


def no_expiry_arithmetic(patch: Patch) -> None:
    """Time is a proof only after D and W on the slowest of clocks, and a reset."""

    def wait_s(record: Any) -> float | None:
        by_time = record.on_store_loss == "stop" and record.watchdog_s > 0
        return record.dead_man_s if by_time else None

    patch.setattr(expiry, "wait_s", wait_s)


def no_wait_for_the_watchdog(patch: Patch) -> None:
    """A session waits for its watchdog: else what is granted at once never moves by time."""
    patch.setattr(session, "waits_for_watchdog", lambda *_: False)


def no_hold_of_the_pulse(patch: Patch) -> None:
    """Before a start the pulse knows that something must not outlive D, and stops feeding then."""
    patch.setattr(act, "must_hold", lambda _: False)
    real = expiry.broken_terms

    def broken(snapshot: Any, record: Any) -> Any:
        return real(replace(snapshot, peers=replace(snapshot.peers, holds=True)), record)

    patch.setattr(leases, "broken_terms", broken)


def no_bound_by_grants(patch: Patch) -> None:
    """Longer deadlines are taken only once the records of what runs here allow for them."""
    patch.setattr(pulse_care, "longest_deadlines", lambda _: None)


def no_feeding_rule(patch: Patch) -> None:
    """The watchdog is not fed while something runs on that had to end."""
    patch.setattr(DeadMan, "may_feed", lambda _: True)


def no_stop_by_the_pulse(patch: Patch) -> None:
    """What is under `stop` is ended at D by the pulse, whoever is heard."""
    real = deadman.step

    def step(state: Any, situation: Any) -> Any:
        return real(state, replace(situation, armed_stop=False))

    patch.setattr("reconciler.pulse.watch.deadman.step", step)


def no_stop_in_order(patch: Patch) -> None:
    """What is under `stop` is stopped in order by its agent before that."""
    patch.setattr(leases, "is_unproven", lambda _: False)


def no_policy_of_the_grant(patch: Patch) -> None:
    """In force is the policy of the ownership record, not that of the specs."""

    def policy_of(self: Any, group: str) -> str:
        found = self.specs.groups.get(group) if self.specs else None
        return str(found.spec.on_store_loss) if found else "stop"

    patch.setattr(AgentState, "policy_of", policy_of)


def no_isolation_grace(patch: Patch) -> None:
    """Who was heard within D/2 counts: a late heartbeat makes nobody alone."""
    real = leases.hears_majority
    patch.setattr(leases, "hears_majority", lambda snapshot, **_: real(snapshot))


def no_mailbox_rule(patch: Patch) -> None:
    """A promise on a disk that is not read any more is kept by not feeding."""
    patch.setattr(Mailbox, "may_feed", lambda self, _: not self.pill)


def no_inherited_promise(patch: Patch) -> None:
    """A promise binds every pulse of its boot, also one that never saw the disk."""
    patch.setattr(Mailbox, "inherit", lambda *_: None)


def no_pill_found(patch: Patch) -> None:
    """A boot that finds its pill is over."""
    patch.setattr(DeadMan, "condemn", lambda *_: None)
    patch.setattr(Mailbox, "may_feed", lambda *_: True)


def no_disk_delay(patch: Patch) -> None:
    """What was written to a disk before a power-off and is read after it contradicts nothing."""
    patch.setattr("reconciler.loops.fence.delay_s", lambda *_: 0.0)


def no_exclusion(patch: Patch) -> None:
    """A group that wants a server for itself shares none."""
    patch.setattr(placement, "_exclusion", lambda *_: "none")


def no_generation(patch: Patch) -> None:
    """After `store restored` no epoch of before is granted or goes on."""
    for module in (leases, granting, store_life):
        patch.setattr(module, "first_epoch", lambda _: 0)


def no_doubt(patch: Patch) -> None:
    """On a store that is not the one of before, nobody acts until a person says so."""
    for module in (decide, leases, session):
        patch.setattr(module, "doubt", lambda _: None)


def no_waiting_for_the_doubted(patch: Patch) -> None:
    """After `store restored` nothing is granted until each server is proven to run nothing of
    before."""
    patch.setattr(decide, "waiting", lambda _: None)


def no_stretch(patch: Patch) -> None:
    """A pulse that was told of an `agent hold` ends nothing under `keep` before its end."""
    real = deadman.step

    def step(state: Any, situation: Any) -> Any:
        return real(state, replace(situation, held_until=0.0))

    patch.setattr("reconciler.pulse.watch.deadman.step", step)
