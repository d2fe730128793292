"""What operators ask for once."""

from enum import StrEnum

from reconciler.decide.records.base import Record


class OperationKind(StrEnum):
    MOVE = "move"
    START = "start"
    STOP = "stop"
    FENCE = "fence"
    CONFIRM_FENCE = "confirm-fence"
    BYPASS_BARRIER = "bypass-barrier"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    HOLD = "hold"
    RELEASE_HOLD = "release-hold"
    CANCEL = "cancel"
    CLEAR = "clear"
    MIRROR_RESYNC = "mirror-resync"
    MIRROR_VERIFY = "mirror-verify"
    MIRROR_LIMIT = "mirror-limit"
    MIRROR_ISOLATE = "mirror-isolate"
    MIRROR_REJOIN = "mirror-rejoin"
    MIRROR_DISCARD = "mirror-discard"
    MIRROR_PROMOTE = "mirror-promote"


class OperationPhase(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Operation(Record):
    """run/operations/<ulid>: an operator's one-shot wish; the phase belongs to the coordinator.

    `target` is "group/web", "resource/web-ip", "server/n1" or "cluster". `to` is the wished server
    of a move or start, and who carries out a wish about a mirror. `for_s`: seconds of a hold or an
    isolation; `how`: the way of a resync; `limit`: bytes a second. With `preempt` a monitor's
    recovery of the group that is under way is not waited for. `begun`: it was under way, no guard
    refused it.
    """

    id: str
    kind: OperationKind
    target: str
    to: str | None = None
    boot_id: str | None = None
    for_s: float | None = None
    who: str = ""
    why: str = ""
    phase: OperationPhase = OperationPhase.PENDING
    result: str = ""
    created_wall: float = 0.0
    begun: bool = False
    finished_wall: float | None = None
    preempt: bool = False
    how: str = ""
    limit: int | None = None
