"""A cluster in a sentence: `Scene` builds the frozen snapshots that the tests of `decide` look at.

Default: three servers n1..n3 in session that hear each other, n1 looks and is coordinator, group
`web` on all of them was never owned. Every method changes the scene and returns it.
"""

from typing import Any

from reconciler.decide.actions import Decision, Write
from reconciler.decide.decide import decide
from reconciler.decide.hearing import PeersView
from reconciler.decide.records import (
    Coordinator,
    FenceIntent,
    Operation,
    OperationPhase,
    Ownership,
    Verdict,
)
from reconciler.decide.snapshot import (
    OwnSession,
    Snapshot,
    Specs,
    Stored,
)
from reconciler.decide.standby_side import with_standby_sides
from specs.cluster import Cluster
from tests.decide.given import AREAS, Given
from tests.decide.names import CLUSTER, KEYS, NOW, WALL, Mirrored, Plain, agent, boot

__all__ = ["CLUSTER", "KEYS", "NOW", "WALL", "Mirrored", "Plain", "Scene", "agent", "boot"]


class Scene(Given):
    """A snapshot in the making, what `decide` makes of it, and what follows."""

    def at(self, seconds: float) -> "Scene":
        """Let time pass; sessions, members and the healthy peers stay fresh."""
        self.now += seconds
        self.wall += seconds
        self.proof_at += seconds
        if self.own_session is not None:
            own = self.own_session
            self.own_session = OwnSession(
                own.incarnation, own.lease, own.mod_revision, own.valid_until + seconds
            )
        self.members_answer(*(m.server for m in self.members if m.answered_at is not None))
        for name, peer in list(self.peers.items()):
            if not peer.suspect and not peer.silent:
                self.hear(name, boot_id=peer.boot_id, sees=peer.sees_silent)
        return self

    def snapshot(self) -> Snapshot:
        cluster = Cluster.model_validate(
            {
                "metadata": {"name": CLUSTER},
                "spec": {
                    "networks": [{"name": "private", "cidr": "10.0.0.0/24"}],
                    **self.cluster,
                },
            }
        )
        specs = with_standby_sides(
            Specs(
                1,
                cluster,
                dict(self.servers),
                dict(self.server_groups),
                dict(self.groups),
                dict(self.resources),
                dict(self.monitors),
            )
        )
        return Snapshot(
            now=self.now,
            wall=self.wall,
            me=self.me,
            boot_id=boot(self.me),
            specs=specs,
            peers=PeersView(taken_at=self.now, peers=dict(self.peers), **self.pulse),
            own_session=self.own_session,
            fresh_at=self.now,
            proof_at=self.proof_at,
            revision=self.revision,
            coordinator=self.coordinator,
            fence_slot=self.fence_slot,
            group_status=dict(self.group_status),
            monitor_status=dict(self.monitor_status),
            mirror_status=dict(self.mirror_status),
            store_members=self.members,
            local_groups=dict(self.local_groups),
            dropped_epochs=dict(self.dropped),
            local_fences=dict(self.local_fences),
            local_probes=dict(self.local_probes),
            local_power_ons=dict(self.local_power_ons),
            unreadable=frozenset(self.unreadable),
            store_life=self.store_life,
            store_id=self.store_id,
            known_store=self.known_store,
            absent_since=dict(self.absent_since),
            complete_since=self.complete_since,
            **{name: dict(table) for name, table in self.tables.items()},
        )

    def decide(self) -> Decision:
        return decide(self.snapshot())

    def store(self, decision: Decision) -> "Scene":
        """What the act loop does with a decision, if every compare holds (else AssertionError)."""
        self.revision += 1
        if decision.take_coordinator:
            record = Coordinator(nonce="new", server=self.me, incarnation=agent(self.me))
            self.coordinator = Stored(record, self.revision, self.now)
        for write in (*decision.own_writes, *decision.writes):
            self._store(write)
        return self

    def _store(self, write: Write) -> None:
        current = self.stored(write.key)
        assert (current.mod_revision if current else 0) == write.expected, write.key
        record = write.record
        if record is not None:
            record = record.model_copy(update={"nonce": f"nonce-{self.revision}"})
        stored = None if record is None else Stored(record, self.revision, self.now)
        path = KEYS.parse(write.key)
        if path[1] == "store":
            self.store_life = stored
        elif path[1] == "fence-slot":
            self.fence_slot = stored
        elif stored is None:
            del self.tables[AREAS[path[1]]][path[2]]
        else:
            self.tables[AREAS[path[1]]][path[2]] = stored

    def stored(self, key: str) -> Stored[Any] | None:
        path = KEYS.parse(key)
        if path[1] == "store":
            return self.store_life
        if path[1] == "fence-slot":
            return self.fence_slot
        return self.tables[AREAS[path[1]]].get(path[2])

    def settle(self, rounds: int = 6) -> Decision:
        """Decide and store until nothing more is written; the last decision."""
        for _ in range(rounds):
            decision = self.decide()
            if not decision.writes and not decision.own_writes:
                return decision
            self.store(decision)
        raise AssertionError(f"never settles: {decision.writes} {decision.own_writes}")


def written(decision: Decision, key: str) -> Any:
    """The record that the decision stores under this key, or None."""
    for write in (*decision.writes, *decision.own_writes):
        if write.key == key:
            return write.record
    return None


def granted(decision: Decision, group: str = "web") -> Ownership | None:
    """The new ownership, if this decision changes it."""
    record = written(decision, KEYS.group(group))
    return record if isinstance(record, Ownership) else None


def verdict(decision: Decision, group: str = "web") -> Verdict | None:
    record = written(decision, KEYS.verdict(group))
    return record if isinstance(record, Verdict) else None


def intent(decision: Decision) -> FenceIntent | None:
    record = written(decision, KEYS.fence_slot)
    return record if isinstance(record, FenceIntent) and not record.closed else None


def result(decision: Decision, id: str = "01") -> tuple[OperationPhase, str] | None:  # noqa: A002
    """Phase and sentence that the decision stores for an operation."""
    record = written(decision, KEYS.operation(id))
    return (record.phase, record.result) if isinstance(record, Operation) else None


def reasons(scene: Scene) -> str:
    """What the decision says of group web, in one line."""
    found = verdict(scene.decide())
    return " ".join(found.reasons) if found else ""


def dying() -> Scene:
    """n3 owns web and went silent a second ago."""
    return Scene().own("n3").silence("n3")
