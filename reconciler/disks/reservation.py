"""SCSI-3 persistent reservations: one server's key at a time may write.

Type 5, *write exclusive, registrants only*: the unit refuses writes of everybody whose path is not
registered. A key is

    tag (16 bits) | generation (12) | counter (36)

`tag` names the cluster's resource, so that keys of others are seen as such; the rest is the group's
epoch, so that keys of one resource have an order, and an old owner knows that it is old. Taking
over is preempt and abort: the old key goes, and with it what its server still had under way. All
writes to the unit are guarded by the key that was read before, except for the registration; that is
why nothing is written before the keys were read again.

Pure of the operating system: it talks to `scsi.Path`s. Used by `__main__` and tests; `nvme` uses
its keys.
"""

import hashlib
from collections.abc import Sequence

from reconciler.disks import scsi
from reconciler.disks.scsi import Path

_COUNTER_BITS, _GENERATION_BITS, _EPOCH_COUNTER_BITS = 36, 12, 48
_EPOCH_BITS = _COUNTER_BITS + _GENERATION_BITS


class Refused(Exception):
    """The unit must not be taken, or was not; one sentence."""


def key_of(resource: str, epoch: int) -> int:
    """The 64-bit key of a resource, as one cluster names it, at an epoch. Raises `Refused` when the
    epoch does not fit."""
    generation, counter = epoch >> _EPOCH_COUNTER_BITS, epoch & ((1 << _EPOCH_COUNTER_BITS) - 1)
    if generation >> _GENERATION_BITS or counter >> _COUNTER_BITS or epoch <= 0:
        raise Refused(f"epoch {epoch} does not fit into a reservation key")
    tag = int.from_bytes(hashlib.sha256(f"clusterctl\0{resource}".encode()).digest()[:2], "big")
    return (tag or 1) << _EPOCH_BITS | generation << _COUNTER_BITS | counter


def epoch_in(key: int) -> int:
    """The epoch of a key that is ours."""
    order = _order(key)
    return order >> _COUNTER_BITS << _EPOCH_COUNTER_BITS | order & ((1 << _COUNTER_BITS) - 1)


def take(paths: Sequence[Path], key: int) -> None:
    """Make `key` the only one that may write, through all paths. May be called again at any time.

    Raises `Refused` when somebody else's or a newer key is there, `scsi.ScsiError` when the unit
    does not obey. After either nothing of `key` is registered, unless the unit is unreachable."""
    refuse_others(scsi.read_keys(paths[0]), key)
    try:
        for path in paths:
            _register(path, key)
        _become_holder(paths[0], key)
        for other in sorted(set(scsi.read_keys(paths[0])) - {key}):
            refuse_others((other,), key)
            _out(paths[0], scsi.PREEMPT_AND_ABORT, key, other, "an old key does not go")
        _verify(paths[0], key)
    except (Refused, scsi.ScsiError):
        drop(paths, key)
        raise


def drop(paths: Sequence[Path], key: int) -> None:
    """Unregister `key` on every path where it is ours; with it goes its reservation. A path that
    does not answer keeps it: nobody writes there either."""
    for path in paths:
        command, parameters = scsi.reserve_out(scsi.REGISTER, key, 0)
        scsi.patient(path, command, parameters)


def why_not_held(paths: Sequence[Path], key: int) -> str:
    """Why `key` does not keep others from writing any more, or nothing. Reads only."""
    keys = scsi.read_keys(paths[0])
    if key not in keys or scsi.read_holder(paths[0]) != (key, scsi.WRITE_EXCLUSIVE_REGISTRANTS):
        newer = newer_epochs(keys, key)
        return (
            f"another server took it at epoch {newer[-1]}" if newer else "its reservation is gone"
        )
    for other in sorted(set(keys) - {key}):
        if is_newer(other, key) is not False:
            return f"another key is registered too, {other:#018x}"
    return ""


def hold(paths: Sequence[Path], key: int) -> str:
    """Shut old keys out once more, such as that of a server which slept in the middle of a start;
    answers as `why_not_held`. It never registers: whoever was shut out itself must not let itself
    in again."""
    reason = why_not_held(paths, key)
    if not reason:
        for other in older(scsi.read_keys(paths[0]), key):
            _out(paths[0], scsi.PREEMPT_AND_ABORT, key, other, "an old key does not go")
    return reason


def is_newer(other: int, key: int) -> bool | None:
    """None for the key of somebody else."""
    return _order(other) > _order(key) if other >> _EPOCH_BITS == key >> _EPOCH_BITS else None


def older(keys: Sequence[int], key: int) -> list[int]:
    """Keys of this resource from before `key`: those that may be shut out."""
    return sorted(other for other in set(keys) - {key} if is_newer(other, key) is False)


def newer_epochs(keys: Sequence[int], key: int) -> list[int]:
    """Epochs of this resource after that of `key`, in order."""
    return sorted(epoch_in(other) for other in keys if is_newer(other, key))


def refuse_others(keys: Sequence[int], key: int) -> None:
    """Raises `Refused` for a key of somebody else, or of a newer epoch."""
    for other in keys:
        if other >> _EPOCH_BITS != key >> _EPOCH_BITS:
            raise Refused(f"it is reserved by somebody else, with key {other:#018x}")
        if _order(other) > _order(key):
            raise Refused(f"it is reserved at the newer epoch {epoch_in(other)}")


def _order(key: int) -> int:
    return key & ((1 << _EPOCH_BITS) - 1)


def _register(path: Path, key: int) -> None:
    """Not every unit can keep registrations over its own power loss."""
    for persist in (True, False):
        command, parameters = scsi.reserve_out(scsi.REGISTER_AND_IGNORE, 0, key, persist=persist)
        answer = scsi.patient(path, command, parameters)
        if answer.is_good:
            return
        if answer.key != scsi.ILLEGAL_REQUEST:
            break
    raise scsi.ScsiError("it takes no persistent reservations", answer)


def _become_holder(path: Path, key: int) -> None:
    """Whoever changes the holder between the look and the command makes the unit refuse it."""
    holder = scsi.read_holder(path)
    if holder is None:
        _out(path, scsi.RESERVE, key, 0, "it cannot be reserved")
    elif holder[0] != key:
        refuse_others((holder[0],), key)
        _out(path, scsi.PREEMPT_AND_ABORT, key, holder[0], "its old owner cannot be shut out")
    elif holder[1] != scsi.WRITE_EXCLUSIVE_REGISTRANTS:
        raise Refused(f"it is reserved in another way (type {holder[1]})")


def _verify(path: Path, key: int) -> None:
    keys = set(scsi.read_keys(path))
    if keys != {key}:
        refuse_others(sorted(keys - {key}), key)
        raise Refused("its reservation is gone" if key not in keys else "old keys are still there")
    if scsi.read_holder(path) != (key, scsi.WRITE_EXCLUSIVE_REGISTRANTS):
        raise Refused("its reservation is gone")


def _out(path: Path, action: int, key: int, new: int, what: str) -> None:
    command, parameters = scsi.reserve_out(action, key, new)
    answer = scsi.patient(path, command, parameters)
    if not answer.is_good:
        raise scsi.ScsiError(what, answer)
