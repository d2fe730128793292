"""Invariants, checked on the world's facts at the moment when they could break.

*No double active* and *epoch monotonic* sit where a resource starts (`World.start_resource`).
"""

from reconciler.decide.keys import Keys
from reconciler.decide.records import Ownership
from reconciler.ports.store import Put, Transaction
from tests.simulation.world import World

# Far more grants than any story of some minutes has a reason for.
MAX_EPOCH = 200


class ProofBeforeTakeover:
    """When ownership leaves a server, nothing of the group runs there any more."""

    def __init__(self, world: World, keys: Keys) -> None:
        self._world, self._keys = world, keys
        self._known: dict[str, Ownership] = {}
        world.commit_checks.append(self.check)

    def check(self, transaction: Transaction) -> None:
        for operation in transaction.operations:
            path = self._keys.parse(operation.key)
            if not isinstance(operation, Put) or path[:2] != ("run", "groups"):
                continue
            new = Ownership.from_bytes(operation.value)
            old = self._known.get(new.group)
            self._known[new.group] = new
            if old is None:
                continue
            self._check_change(old, new)

    def _check_change(self, old: Ownership, new: Ownership) -> None:
        if new.epoch < old.epoch:
            self._world.violate(
                f"epoch_monotonic: {new.group} fell from {old.epoch} to {new.epoch}"
            )
        if new.epoch > MAX_EPOCH:
            self._world.violate(f"bounded_work: {new.group} is granted again and again")
        moved = old.owner is not None and (new.owner != old.owner or new.epoch != old.epoch)
        if not moved or old.owner is None:
            return
        host = self._world.hosts[old.owner]
        prefix = f"{new.group}-"
        running = sorted(name for name in host.active if name.startswith(prefix))
        if running:
            self._world.violate(
                f"proof_before_takeover: {new.group} goes from {old.owner} to {new.owner} "
                f"({new.proof.value}) while {running} run there"
            )


def why_not_converged(
    world: World, keys: Keys, groups: tuple[str, ...], per_group: int
) -> str | None:
    """None when every group runs whole, on exactly its owner, and nothing else runs."""
    wanted: dict[str, str] = {}
    for group in groups:
        item = world.state.get(keys.group(group))
        record = Ownership.from_bytes(item.value) if item else None
        if record is None or record.owner is None:
            return f"convergence: {group} has no owner: {record}"
        for number in range(per_group):
            wanted[f"{group}-{number}"] = record.owner
    found = {name: host.name for host in world.hosts.values() for name in host.active}
    return None if found == wanted else f"convergence: running {found}, owned {wanted}"
