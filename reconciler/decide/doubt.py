"""Why what a server reported may not be true any more; used by the views of groups and servers.

A report is only as live as its reporter: a session outlives a crash by its whole TTL, so it alone
says little. Nothing here is a proof of anything; proofs are made by `fencing` and `leases`.
"""

from reconciler.decide.stored import StoredRecords

HEARD = "heard"  # a path's state in `ServerStatus.heartbeats`; anything else is not heard


def doubt(server: str, records: StoredRecords) -> str:
    """A sentence's end ("has no session"), or "" when the server may be believed now."""
    slot = records.fence_slot
    if slot is not None and slot.victim == server:
        return f"is being fenced by {slot.executor}, attempt {slot.attempt}: {slot.reason}"
    session = records.sessions.get(server)
    if session is None:
        return "has no session"
    if is_proven_off(server, records, session.boot_id):
        return "is proven off; its session only waits for its end"
    heard, deaf = ears(server, records)
    if heard:
        # A challenge stays in the store when it is over: what is heard since then counts.
        return ""
    challenge = records.challenges.get(server)
    if challenge is None:
        return f"is not heard by {', '.join(deaf)}" if deaf else ""
    answer = records.answers.get(server)
    if answer is None or answer.nonce != challenge.nonce:
        return f"has not answered the challenge of {challenge.challenger} yet"
    return "" if answer.pulse_alive else "answers through the store, but its pulse process is dead"


def is_proven_off(server: str, records: StoredRecords, boot_id: str) -> bool:
    """A fence ended this boot of the server."""
    fence = records.fences.get(server)
    return fence is not None and fence.proof_for(boot_id) is not None


def ears(server: str, records: StoredRecords) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(live servers that hear this one, live servers that do not), by name."""
    heard: list[str] = []
    deaf: list[str] = []
    for reporter, status in sorted(records.server_status.items()):
        session = records.sessions.get(reporter)
        if reporter == server or session is None or session.boot_id != status.boot_id:
            continue
        paths = status.heartbeats.get(server)
        if paths:
            (heard if HEARD in paths.values() else deaf).append(reporter)
    return tuple(heard), tuple(deaf)
