"""One seeded schedule: writes, flushes, crashes, power losses, cuts, takeovers; then all is healed
and both disks must become equal."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.mirror.decide import promotion
from reconciler.mirror.primary import Primary
from reconciler.mirror.side import prepare
from tests.mirror.recording import PowerLoss
from tests.mirror.simulation import beside
from tests.mirror.simulation.node import SIZE, Node, Wire
from tests.mirror.simulation.oracle import SECTOR, Oracle, Violation

STEPS = 320
HEAL_STEPS = 6000


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violation: str
    trace: tuple[str, ...]


@dataclass
class Play:
    seed: int
    asynchronous: bool | None = None
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        if self.asynchronous is None:
            self.asynchronous = self.rng.random() < 0.35
        self.oracle = Oracle(SIZE // SECTOR, self.asynchronous)
        self.nodes = [
            Node(name, self.rng, self.oracle, self.asynchronous, self.trace.append)
            for name in ("A", "B")
        ]
        self.wires: list[Wire] = []
        self.record: promotion.Current | None = None
        self.owner, self.epoch = self.nodes[0], 1
        self.split = self.healing = False
        self.store_up = True
        self.number = 0
        # Calm schedules get far; rough ones break everything that was begun.
        self.roughness = self.rng.choice((0.05, 0.15, 0.4, 1.0))
        self.lies = not self.asynchronous and self.rng.random() < 0.4
        for node in self.nodes:  # sides with a disk that two servers share
            if self.rng.random() < 0.3:
                node.servers.append("boot-1")
        for node in self.nodes:
            node.start()

    # -- steps -----------------------------------------------------------------------------------

    def run(self) -> str:
        try:
            with beside.small_parts():
                for _ in range(STEPS):
                    self._step(self.rng.choices(*zip(*self._actions(), strict=True))[0])
                self._heal()
        except Violation as violation:
            return str(violation)
        return ""

    def _step(self, action: Callable[[], None]) -> None:
        action()

    def _guarded(self, node: Node, action: Callable[[], None]) -> None:
        try:
            action()
        except PowerLoss:
            node.die(power=True)

    def _actions(self) -> list[tuple[Callable[[], None], float]]:
        found: list[tuple[Callable[[], None], float]] = [(self._coordinator, 6.0)]
        for node in self.nodes:
            if node.up:
                found += self._node_actions(node)
            else:
                found.append((lambda n=node: self._start(n), 1.5))
            if not self.healing:
                found.append((lambda n=node: beside.fault(self, n), 0.3 * self.roughness))
                found += beside.actions(self, node, self.roughness)
        for wire in self.wires:
            if wire.to_target and not wire.told_target:
                found.append((lambda w=wire: self._to_target(w), 8.0))
            if wire.to_source and not wire.told_source:
                found.append((lambda w=wire: self._to_source(w), 8.0))
            if wire.is_cut and not (wire.told_source and wire.told_target):
                found.append((lambda w=wire: self._tell(w), 2.0))
        if not self.healing:
            # In sync is where most can be lost: there the owner changes more often.
            rough = 1.0 if self.owner.in_sync else self.roughness
            found += [
                (self._cut, 0.4 * rough),
                (self._move, 0.4 * rough),
                (self._toggle_store, 0.2 * rough),
            ]
        return found

    def _node_actions(self, node: Node) -> list[tuple[Callable[[], None], float]]:
        found: list[tuple[Callable[[], None], float]] = []
        if node.primary is not None:
            if not self.healing:
                found.append((lambda: self._app(node), 6.0))
            found.append((lambda: self._guarded(node, node.primary.pump), 1.0))
            found.append((lambda: self._connect(node), 2.0))
        if node is self.owner or node.activation:
            found.append((lambda: self._activate(node), 3.0))
        if node.answers:
            found.append((lambda: self._answer(node), 6.0))
        return found

    def _app(self, node: Node) -> None:
        self.number += 1
        if self.rng.random() < 0.2:
            self._guarded(node, lambda: node.app_flush(self.number))
        else:
            self._guarded(node, lambda: node.app_write(self.number))

    def _start(self, node: Node) -> None:
        self.trace.append(f"{node.name}: starts")
        self._guarded(node, node.start)

    # -- streams ---------------------------------------------------------------------------------

    def _other(self, node: Node) -> Node:
        return self.nodes[1] if node is self.nodes[0] else self.nodes[0]

    def _connect(self, node: Node) -> None:
        other = self._other(node)
        primary = node.primary
        self._drop_closed()
        if primary is None or not primary.may_connect or node.wire is not None:
            return
        if self.split or not other.up:
            return
        wire = node.connect(other)
        if wire is not None:
            self.wires.append(wire)

    def _to_target(self, wire: Wire) -> None:
        if self.split and not wire.is_cut:
            return  # a black hole, until somebody cuts it
        for _ in range(self.rng.choice((1, 1, 3, 8))):
            if wire.to_target and not wire.told_target:
                self._guarded(wire.target, lambda: wire.target.target_takes(wire))

    def _to_source(self, wire: Wire) -> None:
        if self.split and not wire.is_cut:
            return
        for _ in range(self.rng.choice((1, 1, 3, 8))):
            if wire.to_source and not wire.told_source:
                self._guarded(wire.source, lambda: wire.source.source_takes(wire))

    def _tell(self, wire: Wire) -> None:
        """One end hears that the stream is gone; what it did not read by then it never does."""
        if not wire.told_source and self.rng.random() < 0.5:
            wire.told_source = True
            if wire.source.wire is wire:
                wire.source.wire = None
                if wire.source.primary is not None and wire.source.primary.link is wire:
                    lost = wire.source.primary.lost
                    self._guarded(wire.source, lambda: lost("the stream was cut"))
        elif not wire.told_target:
            wire.told_target = True
            if wire.target.session_wire is wire:
                wire.target.session = wire.target.session_wire = None
        self._drop_closed()

    def _drop_closed(self) -> None:
        for wire in self.wires:
            if wire.told_source and wire.source.wire is wire and wire.is_cut:
                wire.source.wire = None
        self.wires = [w for w in self.wires if not (w.told_source and w.told_target)]

    # -- the coordinator, and the agents beside the engines --------------------------------------

    def _coordinator(self) -> None:
        node = self.rng.choice(self.nodes)
        if not node.asks or not self.store_up:
            return
        kind, generation, number, epoch = node.asks[0]
        repeat = self.rng.random() < 0.15  # an answer that got lost: it is asked again
        if not repeat:
            node.asks.popleft()
        refusal: str | None = f"another server owns the group at epoch {self.epoch}"
        if node is self.owner and epoch == self.epoch:
            peer = self._other(node).name
            new = (
                promotion.alone(self.record, node.name, epoch, generation)
                if kind == "alone"
                else promotion.both(self.record, node.name, peer, epoch, generation)
            )
            if new is not None:
                self.record, refusal = new, None
            elif kind == "both" and number != getattr(node.primary, "_question", 0):
                return  # long over
        self.trace.append(f"{node.name}: asked {kind} {generation}: {refusal or self.record}")
        if not repeat or self.rng.random() < 0.3:  # or two agents answer it
            node.answers.append((number, refusal, epoch))

    def _answer(self, node: Node) -> None:
        number, refusal, epoch = node.answers.popleft()
        primary = node.primary
        if primary is not None and primary.epoch == epoch:
            self._guarded(node, lambda: primary.answered(number, refusal))

    def _activate(self, node: Node) -> None:
        self._guarded(node, lambda: self._activation_step(node))

    def _activation_step(self, node: Node) -> None:
        if node.primary is not None:
            if node.primary.epoch != self.epoch:
                self._release(node)  # the old epoch's service must end first
            return
        stage = node.activation
        if stage is None or stage[1] != self.epoch:
            node.activation = None
            if node is not self.owner or not self.store_up:
                return
            if promotion.why_not(self.record, node.name, node.header(), node.boot) is not None:
                return
            generation = node.new_id()
            assert node.disk is not None
            named = self.record.generation if self.record else ""
            node.close_session()
            try:
                prepare(node.disk, named, generation)
            except OSError:
                node.die(power=False)
                return
            node.activation = ("prepared", self.epoch, generation)
        elif stage[0] == "prepared" and self.store_up:
            node.activation = None
            if node is not self.owner:
                return
            if promotion.why_not(self.record, node.name, node.header(), node.boot) is not None:
                return
            new = promotion.alone(self.record, node.name, self.epoch, stage[2])
            if new is None:
                return
            self.record = new
            node.activation = ("committed", self.epoch, stage[2])
            self.trace.append(f"{node.name}: committed {new}")
        elif stage[0] == "committed":
            node.activation = None
            self._promote(node, stage[2])

    def _promote(self, node: Node, generation: str) -> None:
        assert node.disk is not None
        primary = Primary(
            node.disk,
            self.epoch,
            node,
            node,
            node,
            asynchronous=bool(self.asynchronous),
            queue_limit=8 << 10,
        )
        node.primary = primary
        node.wire = None
        try:
            primary.start(generation)
        except OSError:
            node.die(power=False)
            return
        self.trace.append(f"{node.name}: promoted at {self.epoch} as {generation}")
        self.oracle.promoted(node.data.content, self.epoch, node.lost_power)
        node.lost_power = False

    def _move(self) -> None:
        """Another owner (or the same once more), with a proof that the old one does not run."""
        old, new = self.owner, self.rng.choice(self.nodes)
        kind = self.rng.choice(("fence", "kill", "release", "release") + ("lie",) * self.lies)
        self.trace.append(f"move {old.name} -> {new.name} by {kind}")
        if kind == "release":
            if not self._release(old):
                return
        elif kind == "fence":
            old.die(power=True)
        elif kind == "kill":
            old.die(power=False)
        self.owner, self.epoch = new, self.epoch + 1

    def _release(self, node: Node) -> bool:
        node.activation = None
        primary = node.primary
        if primary is None:
            return True
        self._guarded(node, primary.stop)
        for _ in range(400):
            if node.primary is None or primary.stopped:
                break
            before = len(self.wires)
            for wire in list(self.wires):
                if wire.to_target and not wire.told_target:
                    self._to_target(wire)
                elif wire.to_source and not wire.told_source:
                    self._to_source(wire)
                elif wire.is_cut:
                    self._tell(wire)
            if not before and node.primary is not None:
                break
        if node.primary is not None and not primary.stopped:
            self._guarded(node, primary.finish)  # it gave up waiting for its peer
        if node.primary is primary:
            node.primary = None
            if primary.over != "stopped" and self.rng.random() < 0.5:
                self._guarded(node, node.start)  # the engine reads its metadata again
            if node.wire is not None:
                node.wire.cut()
                node.wire.told_source = True
                node.wire = None
        node.asks.clear()
        node.answers.clear()
        node.writes.clear()
        node.flushes.clear()
        return True

    # -- faults ------------------------------------------------------------------------------------

    def _cut(self) -> None:
        if self.wires and self.rng.random() < 0.7:
            wire = self.rng.choice(self.wires)
            wire.cut()
            self.trace.append(f"cut {wire.source.name} -> {wire.target.name}")
        elif self.rng.random() < 0.4:
            self.split = not self.split
            self.trace.append(f"split {self.split}")

    def _toggle_store(self) -> None:
        self.store_up = not self.store_up
        self.trace.append(f"store up {self.store_up}")

    # -- the end ---------------------------------------------------------------------------------

    def _heal(self) -> None:
        if any(node.data.broken or node.replaced for node in self.nodes):
            return
        self.trace.append("healed")
        self.split, self.store_up, self.healing = False, True, True
        for node in self.nodes:
            node.data.fuse = node.meta.fuse = None
            if not node.up:
                self._start(node)
        for _ in range(HEAL_STEPS):
            for node in self.nodes:
                beside.rejoin(self, node)
            if self._is_healed():
                break
            self._step(self.rng.choices(*zip(*self._actions(), strict=True))[0])
            self._choose_owner()
        else:
            raise Violation(f"it does not come together again: {self.record}")
        if self.nodes[0].data.content != self.nodes[1].data.content:
            raise Violation("both sides are in sync and differ")

    def _is_healed(self) -> bool:
        wire = self.owner.wire
        if wire is None or wire.is_cut or wire.to_target or wire.to_source:
            return False
        return self.owner.in_sync and self.owner.serves

    def _choose_owner(self) -> None:
        """What placement does: a server that may not serve is left for one that may."""
        for node in self.nodes:
            if node.primary is not None and node is not self.owner:
                self._release(node)
        primary = self.owner.primary
        if primary is not None and primary.epoch == self.epoch and not primary.over:
            return
        if self.owner.activation or not all(node.up for node in self.nodes):
            return
        able = [
            n
            for n in self.nodes
            if promotion.why_not(self.record, n.name, n.header(), n.boot) is None
        ]
        if not able:
            raise Violation(f"nobody may serve: {self.record}")
        if primary is not None or self.owner not in able:
            self._release(self.owner)
            self.owner, self.epoch = able[0], self.epoch + 1


def run_seed(seed: int, asynchronous: bool | None = None) -> Outcome:
    play = Play(seed, asynchronous)
    violation = play.run()
    return Outcome(seed, violation, tuple(play.trace))
