"""One question or order about a device; one JSON object on standard output.

    python -S -m reconciler.disks look NAME
    python -S -m reconciler.disks mirror NAME
    python -S -m reconciler.disks take NAME RESOURCE EPOCH      (drop, hold, check: the same)

`look` says what `look` below returns, `mirror` {"header", "to_copy"}: what a mirror on a
shared disk that nobody uses knows of itself; the others say {"node", "reason"}, an empty one when
it is so; {"error"} instead when the device refuses or cannot be asked, with "gone" when there is no
such device. `adapters.linux.disks` runs it.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.disks import device, nvme, reservation
from reconciler.disks.scsi import Device, NoScsi, Path, ScsiError, answering
from reconciler.mirror import resting
from reconciler.mirror.metadata import MetadataDamaged


def main(arguments: Sequence[str]) -> int:
    try:
        question = _QUESTIONS.get(arguments[0])
        said = question(arguments[1]) if question is not None else _reserve(*arguments)
    except NoScsi as error:
        said = {"error": f"{error}: without `reservation: none` it cannot be used"}
    except device.Gone as error:
        said = {"error": str(error), "gone": True}
    except (device.Unusable, reservation.Refused, ScsiError, nvme.NvmeError) as error:
        said = {"error": str(error)}
    except OSError as error:
        said = {"error": f"{arguments[1]}: {error.strerror}"}
    json.dump(said, sys.stdout)
    return 0


def look(name: str) -> Mapping[str, Any]:
    """What the disk is and who uses it: what `ports.disks.DiskView` is made of. Raises
    `Unusable` and `OSError`."""
    node = device.node_of(name)
    units = device.units(node)
    reasons = list(device.uses(node))
    number = device.number_of(node)
    what, mounts = device.content(node)
    return {
        "node": node,
        "number": number,
        "uses": [*reasons, what] if what else reasons,
        "taken": device.is_taken(node),
        **_paths(units),
        "units": len(units),
        "mounts": mounts,
        "foreign": device.foreign_mounts(number),
    }


def _mirror(name: str) -> Mapping[str, Any]:
    try:
        header, to_copy = resting.look(name)
        return {"header": header.to_json(), "to_copy": to_copy}
    except MetadataDamaged as error:
        raise device.Unusable(f"{name}: {error}") from None


def _reserve(order: str, name: str, resource: str, epoch: str) -> Mapping[str, Any]:
    key = reservation.key_of(resource, int(epoch))
    node = device.node_of(name)
    units = device.units(node)
    reasons = [
        _on_nvme(order, unit[0], key) if nvme.is_nvme(unit[0]) else _on_scsi(order, unit, key)
        for unit in units
    ]
    return {"node": node, "reason": next(filter(None, reasons), ""), **_paths(units)}


def _paths(units: Sequence[Sequence[str]]) -> Mapping[str, int]:
    paths = [node for unit in units for node in unit]
    return {"paths": len(paths), "running": sum(map(device.is_running, paths))}


def _on_scsi(order: str, unit: Sequence[str], key: int) -> str:
    running = [node for node in unit if device.is_running(node)] or unit
    paths: Sequence[Path] = [Device(node) for node in running]
    if len(paths) > 1:
        paths = answering(paths)
    if order == "take":
        reservation.take(paths, key)
    elif order == "drop":
        reservation.drop(paths, key)
    elif order == "hold":
        return reservation.hold(paths, key)
    else:
        return reservation.why_not_held(paths, key)
    return ""


def _on_nvme(order: str, node: str, key: int) -> str:
    unit = nvme.Device(node)
    if order == "take":
        nvme.take(unit, key)
    elif order == "drop":
        nvme.drop(unit, key)
    elif order == "hold":
        return nvme.hold(unit, key)
    else:
        return nvme.why_not_held(unit, key)
    return ""


_QUESTIONS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {"look": look, "mirror": _mirror}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
