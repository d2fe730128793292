"""Reservations and shared disks on a real SCSI unit that this machine sees as two initiators.

    python -m tests.disks.on_scsi --erase /dev/sda /dev/sdb [--no-abort]

Destroys what the unit holds. Linux makes such a pair out of a file: LIO's loopback target with two
nexuses on one unit; preempt-and-abort hangs in that one, so give `--no-abort` there. Needs root.
"""

# ruff: noqa: ASYNC221, ASYNC230, ASYNC240 - nothing else runs in this loop
import asyncio
import contextlib
import io
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import reconciler.adapters.linux.disks as adapter
from reconciler.adapters.linux.host import LinuxHost
from reconciler.disks import __main__ as program
from reconciler.disks import scsi
from reconciler.ports.driver import ResourceState
from reconciler.ports.host import HostError
from reconciler.probe import disk
from tests.resources.places import driver_of, permit, resource_from

SPEC = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec: {{group: web, type: shared-disk, device: {device}, allowUnstableName: true, mountPoint: {at}}}
"""


def ask(*words: str) -> dict[str, Any]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        program.main(words)
    print(*words, "->", said.getvalue(), flush=True)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return {key: answer[key] for key in ("reason", "error") if key in answer}


def writes(device: str) -> bool:
    """Whether a direct write is accepted, far behind any superblock."""
    descriptor = os.open(device, os.O_WRONLY | os.O_DIRECT)
    try:
        os.pwritev(descriptor, [mmap.mmap(-1, 4096)], 64 << 20)
    except OSError as error:
        print(f"a write to {device}: {error.strerror}", flush=True)
        return False
    finally:
        os.close(descriptor)
    return True


def reservations(one: str, two: str) -> None:
    good = {"reason": ""}
    assert writes(one)
    assert writes(two)
    assert ask("take", one, "data", "5") == good
    assert (writes(one), writes(two)) == (True, False)
    assert ask("take", one, "data", "5") == good
    assert ask("take", two, "data", "6") == good
    assert (writes(one), writes(two)) == (False, True)
    assert "newer epoch 6" in ask("take", one, "data", "5")["error"]
    assert "epoch 6" in ask("check", one, "data", "5")["reason"]
    assert "somebody else" in ask("take", one, "logs", "9")["error"]
    assert not writes(one)
    assert ask("hold", two, "data", "6") == good
    ask("drop", one, "data", "5")
    assert ask("check", two, "data", "6") == good
    ask("drop", two, "data", "6")
    assert writes(one)


async def takeover(one: str, two: str) -> None:
    """The old owner's file system is still mounted when the new one takes the disk."""
    subprocess.run(["mkfs.ext4", "-q", "-F", one], check=True, timeout=120)
    async with (
        LinuxHost(Path("/run/on-scsi/1")) as first,
        LinuxHost(Path("/run/on-scsi/2")) as other,
    ):
        old = driver_of(resource_from(SPEC.format(device=one, at="/run/on-scsi/old")), first)
        new = driver_of(resource_from(SPEC.format(device=two, at="/run/on-scsi/new")), other)
        await old.activate(permit(11))
        Path("/run/on-scsi/old/file").write_text("old")
        os.sync()
        await new.activate(permit(12))
        assert Path("/run/on-scsi/new/file").read_text() == "old"
        refused = False
        try:
            with Path("/run/on-scsi/old/file").open("w") as late:
                late.write("late")
                late.flush()
                os.fsync(late.fileno())
        except OSError as error:
            refused = True
            print(f"a late write: {error.strerror}", flush=True)
        assert refused
        assert (await old.observe()).state is ResourceState.FAILED
        assert (await new.observe()).state is ResourceState.ACTIVE
        await old.deactivate(11)
        assert not Path("/run/on-scsi/old").is_mount()
        assert (await new.observe()).state is ResourceState.ACTIVE
        await new.deactivate(12)
        await old.close()
        await new.close()
    subprocess.run(["e2fsck", "-f", "-n", two], check=True, timeout=120)


async def _in_process(*words: str) -> dict[str, Any]:
    answer = ask(*words)
    if "error" in answer:
        raise HostError(answer["error"])
    return answer


def main(words: list[str]) -> int:
    options = {word for word in words if word.startswith("-")}
    devices = [word for word in words if not word.startswith("-")]
    if len(devices) != 2 or "--erase" not in options or not options <= {"--erase", "--no-abort"}:
        print(__doc__)
        return 2
    if "--no-abort" in options:
        scsi.PREEMPT_AND_ABORT = scsi.PREEMPT
        adapter._ask = _in_process
    reservations(*devices)
    asyncio.run(takeover(*devices))
    said = disk.ready({"path": devices[0], "minimum": 1})
    assert said["healthy"], said
    print("all as it should be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
