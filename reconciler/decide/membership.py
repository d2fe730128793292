"""Who is here, who is suspected, and who decides.

Invariants: nobody is called silent by a server that was slow itself; nobody is called silent while
any reachable server still hears it; a server named in the fence slot decides nothing.
"""

from enum import StrEnum

from reconciler.decide.hearing import PeerView
from reconciler.decide.records import OLDEST_SCHEMA, SCHEMA, FenceRecord, Session
from reconciler.decide.snapshot import Snapshot, Stored

# A slot is over for everybody else only after this much longer than for its executor.
SLOT_EXPIRY_FACTOR = 1.25


class Standing(StrEnum):
    """One server as this server sees it."""

    ONLINE = "online"
    SUSPECT = "suspect"
    SILENT = "silent"
    STORE_ISOLATED = "store-isolated"
    FENCED = "fenced"
    OFFLINE = "offline"


class Role(StrEnum):
    """What this server may decide for the cluster."""

    COORDINATOR = "coordinator"
    VACANT = "vacant"
    DEPUTY = "deputy"
    NONE = "none"


def unreadable(snapshot: Snapshot, *keys: str) -> str | None:
    """A sentence when one of these keys holds a record that nobody here understands. It is unknown
    then, which is neither what it was before nor absent."""
    for key in keys:
        if key in snapshot.unreadable:
            return f"the record {key} cannot be read by this version"
    return None


def proven_off(snapshot: Snapshot, server: str, boot_id: str) -> bool:
    """True if a fence proves that this boot of the server is over."""
    fence = snapshot.fences.get(server)
    return fence is not None and fence.record.proof_for(boot_id) is not None


def session_of(snapshot: Snapshot, server: str) -> Stored[Session] | None:
    """The server's session, unless its boot is proven off."""
    session = snapshot.sessions.get(server)
    if session is None or proven_off(snapshot, server, session.record.boot_id):
        return None
    return session


def common_schema(snapshot: Snapshot) -> int:
    """The newest schema that every agent in session reads: what is stored now is of this one."""
    read = [stored.record.reads_schema for stored in snapshot.sessions.values()]
    return max(OLDEST_SCHEMA, min([SCHEMA, *read]))


def can_judge(snapshot: Snapshot) -> bool:
    """Am I slow? Then I accuse nobody."""
    peers = snapshot.peers
    late_s = peers.late_ms / 1000
    return (
        peers.pulse_alive
        and not peers.paused
        and late_s <= snapshot.specs.timing.heartbeat_interval
    )


def reachable_peers(snapshot: Snapshot) -> dict[str, PeerView]:
    """Servers that this server hears right now."""
    return {
        name: peer
        for name, peer in sorted(snapshot.peers.peers.items())
        if not peer.suspect and not peer.silent
    }


def agreed_silent(snapshot: Snapshot, server: str) -> bool:
    """Silent on all paths for K heartbeats, as seen by this and by every reachable server."""
    peer = snapshot.peers.peers.get(server)
    if peer is None or not peer.silent or not can_judge(snapshot):
        return False
    return all(
        server in other.sees_silent
        for name, other in reachable_peers(snapshot).items()
        if name != server
    )


def standing(snapshot: Snapshot, server: str) -> Standing:
    session = session_of(snapshot, server)
    if server == snapshot.me:
        return Standing.ONLINE if session is not None else Standing.STORE_ISOLATED
    peer = snapshot.peers.peers.get(server)
    silent = agreed_silent(snapshot, server)
    suspect = peer is not None and (peer.suspect or peer.silent) and can_judge(snapshot)
    if session is None:
        fence = snapshot.fences.get(server)
        heard = peer is not None and not peer.suspect and not peer.silent
        if (
            fence is not None
            and fence.record.proves_off
            and not (heard and _new_boot(peer, fence.record))
        ):
            return Standing.FENCED
        return Standing.STORE_ISOLATED if heard else Standing.OFFLINE
    if silent:
        return Standing.SILENT
    return Standing.SUSPECT if suspect else Standing.ONLINE


def _new_boot(peer: PeerView | None, fence: FenceRecord) -> bool:
    return peer is not None and peer.boot_id is not None and peer.boot_id not in fence.covers


def session_proven(snapshot: Snapshot) -> bool:
    """This agent's own lease is proven right now, and it is the session that the store shows."""
    own = snapshot.own_session
    if own is None or snapshot.now >= own.valid_until:
        return False
    stored = snapshot.sessions.get(snapshot.me)
    return stored is not None and stored.record.incarnation == own.incarnation


def slot_open(snapshot: Snapshot) -> bool:
    """A fence is in progress (or its end is not certain yet). One whose executor has a session of
    another boot is not: whatever could have sent a command ended with the boot before."""
    slot = snapshot.fence_slot
    if slot is None or slot.record.closed:
        return False
    executor, boot = snapshot.sessions.get(slot.record.executor), slot.record.executor_boot
    if executor is not None and boot and executor.record.boot_id != boot:
        return False
    return snapshot.now < slot.seen_at + slot.record.valid_for_s * SLOT_EXPIRY_FACTOR


def named_in_slot(snapshot: Snapshot, server: str) -> bool:
    slot = snapshot.fence_slot
    return slot is not None and slot_open(snapshot) and slot.record.victim == server


def role(snapshot: Snapshot) -> Role:
    """COORDINATOR decides; VACANT may take the empty place with its first decision; DEPUTY stands
    in for a coordinator that it suspects: it may challenge, and depose with a fence intent."""
    own = snapshot.own_session
    if own is None or not session_proven(snapshot) or named_in_slot(snapshot, snapshot.me):
        return Role.NONE
    holder = snapshot.coordinator
    if holder is None:
        return Role.VACANT
    if holder.record.server == snapshot.me:
        same = holder.record.incarnation == own.incarnation
        return Role.COORDINATOR if same else Role.VACANT
    coordinator = holder.record.server
    if standing(snapshot, coordinator) is Standing.FENCED:
        return Role.VACANT
    peer = snapshot.peers.peers.get(coordinator)
    doubtful = peer is not None and (peer.suspect or peer.silent or is_deaf(snapshot, coordinator))
    if doubtful and can_judge(snapshot) and _first_online(snapshot, coordinator) == snapshot.me:
        return Role.DEPUTY
    return Role.NONE


def _first_online(snapshot: Snapshot, other_than: str) -> str | None:
    for name in sorted(snapshot.specs.servers):
        if name != other_than and standing(snapshot, name) is Standing.ONLINE:
            return name
    return None


def is_deaf(snapshot: Snapshot, server: str) -> bool:
    """Its own heartbeats say that it hears no majority: packets reach us, and none reach it."""
    peer, servers = snapshot.peers.peers.get(server), set(snapshot.specs.servers)
    heard = servers - (peer.sees_silent if peer else frozenset())
    return len(heard | {server}) * 2 <= len(servers)


def hears_majority(snapshot: Snapshot, within_s: float = 0.0) -> bool:
    """This server and those it hears are more than half of the cluster's servers. `within_s` also
    counts those that were heard so lately: for what must not hang on one late heartbeat."""
    heard = {
        name
        for name, peer in snapshot.peers.peers.items()
        if not (peer.suspect or peer.silent)
        or (peer.heard_at is not None and snapshot.now - peer.heard_at <= within_s)
    }
    here = 1 + len(heard & set(snapshot.specs.servers))
    return here * 2 > len(snapshot.specs.servers)
