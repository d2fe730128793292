"""Hybrid disks: which server of each server group is the *current* one, the only one that touches
the disk that the group shares.

In the server group of the owner it is the owner. In the other one it is the owner of a derived
group `<group>-standby`, which runs the following side of the mirror. So the role is given, proven
and taken over as every group is: by a record with an epoch, bound to a session, and only with a
proof that its last holder is over.

Invariants: in each server group one server at most holds the disk of it, as owner of either group;
epochs of both groups together only grow, so that the disk's reservation keys have an order; the
epoch of the one never equals one of the other.
"""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.pairing import Pairing
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import Ownership, Phase
from reconciler.decide.snapshot import Snapshot, Specs
from specs.document import Metadata
from specs.group import FailoverSpec, Group
from specs.resource import STANDBY_SUFFIX, Resource
from specs.spec_set import SpecSet

TRIES_WINDOW_S = 60.0
"""A server where following failed is tried again after so long: nothing is lost by it."""

TRIES = 100


def specs_of(found: SpecSet, revision: int) -> Specs | None:
    """What is decided by: the set, and the groups that it implies; None without a Cluster."""
    if found.cluster is None:
        return None
    return with_standby_sides(
        Specs(
            revision=revision,
            cluster=found.cluster,
            servers=dict(found.servers),
            server_groups=dict(found.server_groups),
            groups=dict(found.groups),
            resources=dict(found.resources),
            monitors=dict(found.monitors),
        )
    )


def with_standby_sides(specs: Specs) -> Specs:
    """These specs with a derived group for each one that has hybrid disks."""
    groups, resources = dict(specs.groups), dict(specs.resources)
    pairings: dict[str, Pairing] = {}
    for name, resource in specs.resources.items():
        main = specs.groups.get(resource.spec.group)
        following = resource.spec.following(name)
        if main is None or following is None:
            continue
        derived = _derived(resource.spec.group, main)
        sites = {
            site: specs.server_groups[site].spec.servers
            for site in main.spec.server_groups or ()
            if site in specs.server_groups
        }
        groups[derived.metadata.name] = derived
        part = Resource(metadata=Metadata(name=name + STANDBY_SUFFIX), spec=following)
        resources[part.metadata.name] = part
        pairings[resource.spec.group] = Pairing(derived.metadata.name, False, sites)
        pairings[derived.metadata.name] = Pairing(resource.spec.group, True, sites)
    if not pairings:
        return specs
    return replace(specs, groups=groups, resources=resources, pairings=pairings)


def _derived(name: str, main: Group) -> Group:
    failover = FailoverSpec(across_server_groups="any", max_failures=TRIES, window=TRIES_WINDOW_S)
    spec = main.spec.model_copy(
        update={
            "startup": "auto",
            "failover": failover,
            "exclusion": "none",
            "failback": "manual",
            "final_action": "none",
        }
    )
    return Group(metadata=Metadata(name=name + STANDBY_SUFFIX), spec=spec)


def held_back(
    snapshot: Snapshot,
    group: str,
    server: str,
    owners: Mapping[str, str],
    *,
    by_operator: bool = False,
) -> str | None:
    """Why this server must not hold the disk of its server group for this group; None if it may,
    and for every group without a hybrid disk. `owners` are those after this decision. An operator
    may let either side be looked at while nobody serves."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None:
        return None
    keys, partner = Keys(snapshot.specs.cluster.metadata.name), pairing.partner
    if (problem := unreadable(snapshot, keys.group(partner), keys.release(partner))) is not None:
        return problem
    site = pairing.site_of(server)
    if site is None:
        return "it is in none of the server groups that have the disk"
    other = owners.get(partner)
    if pairing.follows:
        free = by_operator and other is None
        return None if free else _why_not_follow(snapshot, pairing, site, other)
    if other is None or other == server or pairing.site_of(other) != site:
        return None
    stored = snapshot.ownerships.get(partner)
    if stored is not None and stored.record.owner == other and is_over(snapshot, stored.record):
        return None
    return f"{other} is the current server of server group {site}"


def _why_not_follow(
    snapshot: Snapshot, pairing: Pairing, site: str, serving: str | None
) -> str | None:
    """The following side is where the serving one is not, and was not last."""
    if serving is None:
        stored = snapshot.ownerships.get(pairing.partner)
        last = stored.record.previous_owner if stored else None
        if last is None:
            return f"group {pairing.partner} has never run"
        serving = last
    if pairing.site_of(serving) != site:
        return None
    return f"server group {site} is the one that serves group {pairing.partner}"


def is_over(snapshot: Snapshot, record: Ownership) -> bool:
    """Proven stopped, by a proof that its group accepts."""
    proof, group = proof_of_stop(snapshot, record), snapshot.specs.groups.get(record.group)
    return proof is not None and group is not None and proof.value in group.spec.proofs


def misplaced(snapshot: Snapshot, group: str, owner: str) -> str | None:
    """Why the derived group must leave its healthy owner: its server group serves now. Not before
    the serving group is up there, which may take over what follows, or has given up."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None or not pairing.follows:
        return None
    stored = snapshot.ownerships.get(pairing.partner)
    serving = stored.record if stored else None
    if serving is None or serving.owner is None:
        return None
    site = pairing.site_of(owner)
    if pairing.site_of(serving.owner) != site:
        return None
    status = snapshot.group_status.get((serving.owner, pairing.partner))
    is_up = status is not None and status.epoch == serving.epoch and status.phase is Phase.ONLINE
    if not is_up and not is_over(snapshot, serving):
        return None
    return f"server group {site} serves now"


def followed(snapshot: Snapshot, group: str) -> str:
    """The group that this one was derived for; "" if it was not."""
    pairing = snapshot.specs.pairings.get(group)
    return pairing.partner if pairing is not None and pairing.follows else ""


def next_epoch(snapshot: Snapshot, group: str, last: int) -> int:
    """The epoch of the next grant, above `last`. Of a pair the serving group has the even ones, the
    derived one the odd ones, above those of both."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None:
        return last + 1
    partner = snapshot.ownerships.get(pairing.partner)
    last = max(last, partner.record.epoch if partner else 0)
    return last + 1 + (last + 1 + pairing.follows) % 2


def partner_depends(snapshot: Snapshot, keys: Keys, group: str) -> tuple[tuple[str, int], ...]:
    """What a grant of one group of a pair rests on of the other: compared in its transaction."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None:
        return ()
    partner = pairing.partner
    owned, released = snapshot.ownerships.get(partner), snapshot.releases.get(partner)
    depends = [
        (keys.group(partner), owned.mod_revision if owned else 0),
        (keys.release(partner), released.mod_revision if released else 0),
    ]
    if owned is not None and owned.record.owner is not None:
        fence = snapshot.fences.get(owned.record.owner)
        depends.append((keys.fence(owned.record.owner), fence.mod_revision if fence else 0))
    return tuple(depends)
