"""Owners that are heard but hear no majority themselves: packets of theirs arrive, none reach them.

Each will end what it runs, and could never say so. Called by `fencing`, which asks them through the
store and ends those that do not answer, as it does with silent ones.
"""

from reconciler.decide.actions import Reason, Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import Standing, can_judge, is_deaf, standing, unreadable
from reconciler.decide.records import Challenge
from reconciler.decide.snapshot import Snapshot, Stored

DEAF = "heard, but it hears no majority, and has not answered"
# Longer than for a silent one: it still serves its clients, and its words may be a moment old.
ANSWER_S = 1.0
RENEW_S = 5.0


def deaf_owners(snapshot: Snapshot) -> list[str]:
    """Those whose session still lives; one without is a deserter."""
    if not can_judge(snapshot):
        return []
    found = set()
    for name, stored in snapshot.ownerships.items():
        record, owner = stored.record, stored.record.owner
        peer = snapshot.peers.peers.get(owner or "")
        release = snapshot.releases.get(name)
        released = release is not None and release.record.epoch == record.epoch
        if owner is None or peer is None or peer.boot_id != record.boot_id or released:
            continue
        is_online = standing(snapshot, owner) is Standing.ONLINE
        if owner != snapshot.me and is_online and is_deaf(snapshot, owner):
            found.add(owner)
    return sorted(found)


def deaf_challenges(snapshot: Snapshot, keys: Keys) -> list[Write]:
    """A new challenge for each of them without one that is fresh."""
    writes = []
    for server in deaf_owners(snapshot):
        stored = snapshot.challenges.get(server)
        if _fresh(snapshot, server) is not None or unreadable(snapshot, keys.challenge(server)):
            continue
        record = Challenge(server=server, challenger=snapshot.me, deaf=True)
        reason = Reason.of("server_challenged", server=server)
        expected = stored.mod_revision if stored else 0
        writes.append(Write(keys.challenge(server), record, expected, reason))
    return writes


def cut_off(snapshot: Snapshot) -> list[str]:
    """Those that did not answer in time."""
    return [s for s in deaf_owners(snapshot) if snapshot.now >= answer_due(snapshot, s)]


def answer_due(snapshot: Snapshot, server: str) -> float:
    """Until when it may answer; never over if it has, or was not asked."""
    challenge, answer = _fresh(snapshot, server), snapshot.answers.get(server)
    if challenge is None or (answer and answer.record.nonce == challenge.record.nonce):
        return float("inf")
    return challenge.seen_at + ANSWER_S


def _fresh(snapshot: Snapshot, server: str) -> Stored[Challenge] | None:
    stored, own = snapshot.challenges.get(server), snapshot.own_session
    if stored is None or not stored.record.deaf or snapshot.now - stored.seen_at > RENEW_S:
        return None
    # from before this agent began: how old it is can not be known
    return None if own is not None and stored.mod_revision < own.mod_revision else stored
