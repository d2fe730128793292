"""Records of what servers say of their side of a mirrored disk: status, which proves nothing.

Written by `loops.mirror_care`, read by the coordinator, `clusterctl mirror` and monitors. Sizes are
bytes, rates bytes a second, `*_wall` wall-clock seconds.
"""

from reconciler.decide.records import Record
from specs.scalars import format_size


class MirrorCheck(Record):
    """A comparison of both sides: how far it is, and how many parts of `part` bytes differ. `ended`
    is why it ended, "done" when it looked at everything. `repair`: what differs is copied then.
    `rate` and `seconds_left` are known while it goes on."""

    done: int = 0
    different: int = 0
    part: int = 1 << 20
    ended: str = ""
    operation: str = ""
    repair: bool = False
    rate: int | None = None
    seconds_left: float | None = None

    @property
    def differs(self) -> bool:
        """It found differences, and nothing was done about them."""
        return self.ended == "done" and self.different > 0 and not self.repair

    def __str__(self) -> str:
        """What it found."""
        if self.ended != "done":
            return f"not to the end: {self.ended}" if self.ended else "under way"
        if self.different == 0:
            return "both sides are equal"
        size = format_size(self.part)
        number = size.rstrip("BKMGTi")
        parts, differ = ("part", "differs") if self.different == 1 else ("parts", "differ")
        found = f"{self.different} {parts} of {number} {size[len(number) :]} {differ}"
        return f"{found}; copied again" if self.repair else found


class MirrorResult(Record):
    """What came of an operator's wish on this side. `generation` is that of the data here, for a
    promotion."""

    operation: str
    ok: bool
    text: str = ""
    generation: str = ""


class MirrorStatus(Record):
    """status/<server>/mirrors/<resource>: one side, as its engine tells.

    `serving` is True on the side that serves the disk, at `epoch`; `stage` (alone, joining, both)
    and `verdict` (the outcome of the last meeting) are its. `consistent` is False on the unfinished
    target of a copy. `unfit` says why this side could not serve although the cluster's record may
    name it; "" if nothing here speaks against it. `to_copy` is what the other side lacks, or what
    is still to come here; `rate` and `seconds_left` are known while copying. `as_of_wall` is the
    time up to which this side has everything; None: now. `engine` is False while none runs.
    `generation` is that of the data here, `ancestors` are older ones that it came from.
    `served`: this side served last, and its stop in order is not known. `store_generation` is that
    of the store when this was written.
    `size` is that of the mirror on this side, `room` that of the device there (0: a file).
    `roles` is told of a hybrid disk whose record is of before a restore: the epochs of both its
    groups under which this was seen. With `at_rest` nobody has the disk of this server's server
    group, and what is said of the data was read from it, without an engine.
    """

    resource: str
    server: str
    boot_id: str
    peer: str = ""
    engine: bool = True
    serving: bool = False
    epoch: int = 0
    stage: str = ""
    suspended: bool = False
    over: str = ""
    connected: bool = False
    address: str = ""
    problem: str = ""
    verdict: str = ""
    verdict_reason: str = ""
    asynchronous: bool = False
    size: int = 0
    room: int = 0
    generation: str = ""
    ancestors: tuple[str, ...] = ()
    served: bool = False
    fresh: bool = False
    consistent: bool = True
    clean: bool = True
    discard: bool = False
    isolated: bool = False
    isolated_until_wall: float | None = None
    unfit: str = ""
    to_copy: int = 0
    copied: int = 0
    rate: int | None = None
    seconds_left: float | None = None
    backlog: int = 0
    limit: int = 0
    as_of_wall: float | None = None
    check: MirrorCheck | None = None
    results: tuple[MirrorResult, ...] = ()
    store_generation: int = 0
    roles: tuple[int, int] | None = None
    at_rest: bool = False
    at_wall: float = 0.0
