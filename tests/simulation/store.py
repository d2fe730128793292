"""The simulated etcd: the in-memory store's data, its members on the servers, and their troubles.

A leader needs a majority of members that stand and reach it; without one nothing is answered and no
lease ends, and a new one prolongs all leases, as etcd does.
"""

from contextvars import Context
from typing import TYPE_CHECKING, Any

from reconciler.adapters.memory import FINE, Fate, MemoryState, MemoryStore
from reconciler.decide.keys import Keys
from reconciler.decide.records import Record
from reconciler.loops.mirror import MAPS, SINGLES
from reconciler.ports.store import CommitResult, LeaseProof, NoLeader, Transaction
from tests.simulation.facts import Renewed, Stored
from tests.simulation.virtual_time import SimClock

if TYPE_CHECKING:
    from tests.simulation.world import World

ELECTION_S = (0.5, 1.5)


class StorePaths:
    """Who leads the store, and who reaches it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.leader: str | None = None
        self._electing_until = 0.0
        self._known: dict[str, bool] = {}
        self.reached_since: dict[str, float] = {}

    def changed(self) -> None:
        """Links or machines changed: the leader may have lost its majority."""
        world = self._world
        self._known = {}
        if self.leader is not None and not self._has_majority(self.leader):
            self.leader = None
            self._electing_until = world.loop.now + world.rng.uniform(*ELECTION_S)
            world.note("store_leader_lost")
        if self.leader is None:
            delay = max(0.0, self._electing_until - world.loop.now) + 0.001
            world.loop.call_later(delay, self._elect, context=Context())

    def _elect(self) -> None:
        world = self._world
        if self.leader is not None or world.loop.now < self._electing_until:
            return
        fit = [name for name in world.names if self._has_majority(name)]
        if not fit:
            return
        self.leader = world.rng.choice(fit)
        world.state.leader = self.leader
        self._known = {}
        world.note("store_leader_elected", server=self.leader)
        world.state.prolong_leases()

    def _has_majority(self, leader: str) -> bool:
        world = self._world
        if not world.stands(leader):
            return False
        followers = [n for n in world.names if n == leader or self._follows(n, leader)]
        return len(followers) * 2 > len(world.names)

    def _follows(self, member: str, leader: str) -> bool:
        return self._world.stands(member) and self._world.reaches(leader, member)

    def has_leader(self) -> bool:
        return self.leader is not None and self._world.loop.now >= self._world.store_stall_until

    def reachable(self, server: str) -> bool:
        """This server reaches a member that follows the leader."""
        if not self.has_leader():
            return False
        if server not in self._known:
            self._known[server] = self._reaches_a_member(server)
        return self._known[server]

    def _reaches_a_member(self, server: str) -> bool:
        world, leader = self._world, self.leader or ""
        for member in world.names:
            serves = member == leader or self._follows(member, leader)
            if serves and (member == server or world.reaches(server, member)):
                return True
        return False


class SimState(MemoryState):
    """The store's data; requests under way belong to the network, not to their sender."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.keys = Keys("sim")
        self._records: dict[str, Record] = {}
        self.needs_leader = False
        self.writer = ""  # whose transaction is being carried out
        super().__init__(SimClock(world.loop), ClientFaults(world, ""))

    def spawn(self, work: Any) -> None:
        task = self.world.loop.create_task(work, context=Context())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None), context=Context())

    def _apply(self, operations: Any) -> None:
        before = self.revision
        super()._apply(operations)
        if self.revision == before:
            return
        for key, item in self._history[-1][1]:
            model = _model(self.keys.parse(key))
            if model is None:
                continue
            path = self.keys.parse(key)
            old = self._records.pop(key, None)
            new = model.from_bytes(item.value) if item is not None else None
            if new is not None:
                self._records[key] = new
            self.world.emit(Stored(self.world.loop.now, path, old, new, self.writer))

    def commit(self, transaction: Transaction) -> CommitResult:
        self._need_leader()
        return super().commit(transaction)

    def grant(self, ttl_s: float) -> tuple[int, float]:
        self._need_leader()
        return super().grant(ttl_s)

    def keep_alive(self, lease_id: int) -> float:
        self._need_leader()
        return super().keep_alive(lease_id)

    def record(self, key: str) -> Record | None:
        """A record of `run/` as it stands."""
        return self._records.get(key)

    def _need_leader(self) -> None:
        if self.needs_leader and not self.world.paths.has_leader():
            raise NoLeader("the store has no leader")

    def expire_leases(self, now: float | None = None) -> None:
        """Only a leader ends leases."""
        if self.world.paths.leader is not None:
            super().expire_leases(now)

    def prolong_leases(self) -> None:
        """A new leader does not know when the last renewals were: all live for their whole TTL."""
        for number, lease in self._leases.items():
            lease.ends_at = max(lease.ends_at, self._end_of(number, lease.ttl_s))

    async def _end_in_time(self, lease_id: int) -> None:
        while (lease := self._leases.get(lease_id)) is not None:
            await self.clock.sleep(max(0.1, lease.ends_at - self.clock.now()))
            self.expire_leases()


def _model(path: tuple[str, ...]) -> type[Record] | None:
    if len(path) < 2 or path[0] != "run":
        return None
    return MAPS.get(path[1]) or SINGLES.get(path[1])


class SimStore(MemoryStore):
    """A client whose answered renewals are facts: they were sent before this moment."""

    def __init__(self, world: "World", server: str, clock: SimClock, **more: Any) -> None:
        self._world, self._server, self._own_clock = world, server, clock
        super().__init__(world.state, clock, ClientFaults(world, server), **more)

    def _commit_once(self, transaction: Transaction) -> CommitResult:
        self._world.state.writer = self._server
        try:
            return super()._commit_once(transaction)
        finally:
            self._world.state.writer = ""

    async def grant(self, ttl_s: float, *, timeout_s: float = 2.0) -> LeaseProof:
        sent_at = self._world.loop.now
        proof = await super().grant(ttl_s, timeout_s=timeout_s)
        self._renewed(sent_at, proof.ttl_s)
        return proof

    async def keep_alive(self, lease: int, *, timeout_s: float = 1.0) -> LeaseProof:
        sent_at = self._world.loop.now
        proof = await super().keep_alive(lease, timeout_s=timeout_s)
        self._renewed(sent_at, proof.ttl_s)
        return proof

    def _renewed(self, sent_at: float, ttl_s: float) -> None:
        until = sent_at + ttl_s / self._own_clock.rate
        self._world.emit(Renewed(self._world.loop.now, self._server, sent_at, until))


class ClientFaults:
    """The store as seen from one server (`adapters.memory.Faults`)."""

    def __init__(self, world: "World", server: str) -> None:
        self._world, self._server = world, server

    def fate(self, operation: str, key: str) -> Fate:
        world, rng = self._world, self._world.rng
        if key in world.slow_keys:
            world.note("slow request", key=key)
            return Fate(request_s=world.slow_keys[key])
        if self._server and not world.paths.reachable(self._server):
            if rng.random() < 0.3:
                return Fate(request_s=0.001, error=NoLeader("the member has no leader"))
            # What was sent may lie in a queue and arrive when the way is free again.
            return Fate(lost=rng.random() < 0.7, request_s=rng.random() * 5, reply_lost=True)
        if operation in world.slow_replies:
            return Fate(request_s=0.001, reply_s=world.slow_replies[operation])
        if rng.random() >= world.store_trouble:
            return Fate(request_s=0.001 + rng.random() * 0.003) if operation else FINE
        return Fate(
            request_s=rng.random() * rng.choice((0.05, 1.0, 8.0)),
            lost=rng.random() < 0.2,
            reply_s=rng.random() * 0.5,
            reply_lost=rng.random() < 0.3,
        )

    def watch_delay_s(self, prefix: str) -> float:
        world = self._world
        lag = world.lag.get(self._server, 0.0)
        if world.store_trouble and world.rng.random() < world.store_trouble:
            return lag + world.rng.random() * world.rng.choice((0.1, 3.0))
        return lag + 0.001

    def watch_cut(self, prefix: str) -> str | None:
        return None if self._world.paths.reachable(self._server) else "no leader"

    def member_reachable(self, server: str) -> bool:
        world = self._world
        if not world.stands(server):
            return False
        return server == self._server or world.reaches(self._server, server)

    def lease_lag_s(self, lease: int) -> float:
        late = self._world.rng.random() * 2
        return late + (self._world.rng.random() * 8 if self._world.store_trouble else 0.0)
