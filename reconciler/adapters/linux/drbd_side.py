"""One mirror as DRBD has it on this server: its files, its backing devices, its programs.

Used by `drbd`. `<run directory>/mirrors/<name>` holds what ends with the boot: `drbd.json` (the
plan, the epoch that serves), and two marks, `alone` and `split`, that DRBD's handlers share.
"""

import asyncio
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from reconciler.adapters.linux import loop_device
from reconciler.adapters.linux.atomic_file import read_json, write_json
from reconciler.adapters.linux.command import run
from reconciler.drbd import resource_file
from reconciler.drbd.resource_file import Unfit, Wanted
from reconciler.drbd.state import (
    Generations,
    State,
    Unreadable,
    parse_events,
    parse_generations,
    parse_progress,
    parse_version,
)
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan

_T = TypeVar("_T")
COMMAND_TIMEOUT_S = 20.0
SPLIT_RETRY_S = 10.0
OUTPUT_LIMIT = 1 << 14
CONFIGURATION = Path("/etc/drbd.d")
DEVICES = "/dev/"
_HEAD = 4096
_SECRET_DIGITS = 40


class DrbdSide:
    """Raises `HostError` from every method that asks DRBD."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self.alone, self.split = directory / "alone", directory / "split"
        self._notes = directory / "drbd.json"
        self._file = CONFIGURATION / f"clusterctl-{name}.res"

    # -- what is known of it ---------------------------------------------------------------------

    def notes(self) -> Mapping[str, Any]:
        """{"plan", "epoch", "refusal", "isolated", "check", …}; empty when it is not DRBD's."""
        return read_json(self._notes) or {}

    def note(self, **changes: Any) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self._notes, {**self.notes(), **changes})

    def forget(self) -> None:
        for path in (self._notes, self.alone, self.split, self._file):
            path.unlink(missing_ok=True)

    def may_connect(self, *, serves: bool) -> bool:
        """After a split brain the side that serves tries again from time to time: the other one may
        have been given up by now. That one waits for a person."""
        if not self.split.exists():
            return not self.notes().get("isolated")
        if not serves or time.time() - self.split.stat().st_mtime < SPLIT_RETRY_S:
            return False
        self.split.touch()
        return True

    def end_isolation(self) -> None:
        """When its time is over, as our own engine does."""
        notes = self.notes()
        if notes.get("isolated") and time.time() > notes.get("isolated_until", 0.0):
            self.note(isolated=False)

    def percent(self, state: State) -> float | None:
        """How far a copy or a comparison is."""
        if state.done is not None:
            return state.done
        return parse_progress(_kernel_says(), int(self.notes()["plan"]["port"]))

    def begun(self) -> str:
        """The id that this side gave itself for its first start."""
        try:
            return self._begun().read_text().strip()
        except OSError:
            return ""

    def _begun(self) -> Path:
        plan = self.notes().get("plan", {})
        return Path(f"{plan.get('metadata', self.directory / 'none')}.begun")

    def note_begun(self, generation: str) -> None:
        path = self._begun()
        if not generation:
            path.unlink(missing_ok=True)
            return
        with path.open("w") as opened:
            opened.write(generation)
            opened.flush()
            os.fsync(opened.fileno())

    async def state(self) -> State | None:
        """None when DRBD has no such resource now."""
        output = await self._run("drbdsetup", "events2", "--now", "--statistics", self.name)
        return _read(lambda: parse_events(output, self.name))

    async def generations(self) -> Generations:
        output = await self.admin("get-gi")
        return _read(lambda: parse_generations(output))

    # -- what is done to it ----------------------------------------------------------------------

    async def admin(self, *words: str) -> str:
        """One order of drbdadm: ("primary",), ("connect", "--discard-my-data"), …"""
        return await self._run("drbdadm", *words, self.name)

    async def part(self) -> None:
        """From the other side, without agreeing with it: in agreement DRBD would mark the side that
        does not serve as outdated, and never serve it again. Which side counts the record says."""
        await self.admin("disconnect", "--force")

    async def down(self, state: State) -> None:
        """DRBD does not have it any more; what this side holds stays as it is."""
        if state.connection != "StandAlone":
            await self.part()
        await self.admin("down")

    async def _run(self, *command: str) -> str:
        code, output = await run(command, COMMAND_TIMEOUT_S, limit=OUTPUT_LIMIT)
        if code:
            said = " ".join(output.split())[:300]
            raise HostError(f"{' '.join(command)}: {said or f'exit code {code}'}")
        return output

    async def set_up(self, plan: MirrorPlan, key: Path | None) -> None:
        """Attached, and looking for the other side; made when it never was."""
        version = await self._version()
        found = await self.state()
        if found is not None and found.serves:
            return
        wanted = json.loads(json.dumps(asdict(plan)))
        if found is not None and self.notes().get("isolated"):
            return  # a connection would change the snapshot
        if found is not None and found.disk != "Diskless" and self.notes().get("plan") == wanted:
            return
        if found is not None:
            await self.down(found)
        self.note(plan=wanted, epoch=0, refusal="")
        await self._up(plan, key, version, "")

    async def begin(self, generation: str, key: Path | None) -> None:
        """Before the first start ever: an id of its own, and data that counts as consistent. Only
        for metadata that was just made; there is nothing that could be lost."""
        if not (await self.generations()).never_written:
            raise HostError(f"{self.name} was written already, it is not begun anew")
        fields = self.notes()["plan"]
        ways = {name: tuple(fields[name]) for name in ("listen", "peers")}
        plan, version = MirrorPlan(**{**fields, **ways}), await self._version()
        self.note_begun(generation)
        await self.admin("down")
        await self._up(plan, key, version, generation)

    async def _up(
        self, plan: MirrorPlan, key: Path | None, version: tuple[int, int], begin: str
    ) -> None:
        """Its loop devices live as long as DRBD has them: each time they may have other names."""
        await asyncio.to_thread(_refuse_lost_data, plan)
        with await asyncio.to_thread(_backing, plan.data, plan.size) as data:
            size = resource_file.metadata_bytes(plan.size)
            with await asyncio.to_thread(_backing, _metadata(plan), size) as meta:
                self._write(self._wanted(plan, data.node, meta.node, _secret(key, plan), version))
                if await asyncio.to_thread(_is_blank, meta.node):
                    await self.admin("create-md", "--force")
                if begin:
                    await self._run(*_set_generation(plan, meta.node, version, begin))
                await self.admin("up")

    async def _version(self) -> tuple[int, int]:
        if not (text := _kernel_says()):
            await self._run("modprobe", "drbd")
            text = _kernel_says()
        return _read(lambda: parse_version(text))

    def _wanted(
        self, plan: MirrorPlan, data: str, meta: str, secret: str, version: tuple[int, int]
    ) -> Wanted:
        local = os.uname().nodename
        return Wanted(
            name=self.name,
            local=local,
            peer=plan.peer if plan.peer != local else f"{plan.peer}-other",
            first=plan.server < plan.peer,
            disk=data,
            metadata=meta,
            size=plan.size,
            port=plan.port,
            address=plan.listen[0],
            peer_address=plan.peers[0],
            secret=secret,
            alone=str(self.alone),
            split=str(self.split),
            version=version,
            asynchronous=plan.asynchronous,
            timeout_s=plan.timeout_s,
            limit=plan.limit,
        )

    def _write(self, wanted: Wanted) -> None:
        try:
            text = resource_file.render(wanted)
            temporary = self._file.with_suffix(".new")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(temporary, flags, 0o600), "w") as opened:
                opened.write(text)
            temporary.replace(self._file)
        except Unfit as error:
            raise HostError(str(error)) from None
        except OSError as error:
            raise HostError(f"{self._file} cannot be written: {error.strerror}") from error


def _kernel_says() -> str:
    try:
        return Path("/proc/drbd").read_text()
    except OSError:
        return ""


class _Backing:
    """A block device, and what keeps it there until somebody else has it open."""

    def __init__(self, node: str, descriptor: int) -> None:
        self.node, self._descriptor = node, descriptor

    def __enter__(self) -> "_Backing":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _backing(path: str, size: int) -> _Backing:
    """A device as it is; a file, made with `size` bytes when missing, through a loop device."""
    try:
        if Path(path).is_block_device():
            return _Backing(os.path.realpath(path), -1)
        file = Path(path)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as opened:
                opened.truncate(size)
                os.fsync(opened.fileno())
        elif file.stat().st_size < size:
            raise HostError(f"{path} has {file.stat().st_size} bytes, {size} are needed")
        return _Backing(*loop_device.attach(path, alone=True))
    except BlockingIOError:
        raise HostError(f"{path} is still in use through another loop device") from None
    except OSError as error:
        raise HostError(f"{path} cannot be used: {error.strerror}") from error


def _refuse_lost_data(plan: MirrorPlan) -> None:
    """Zeros in the place of data that is away would be served as what the metadata says of it, and
    a file in /dev lies in memory. Raises `HostError`."""
    data, metadata = plan.data, _metadata(plan)
    for path in (data, metadata):
        if os.path.normpath(path).startswith(DEVICES) and not Path(path).exists():
            raise HostError(f"{path} is not there")
    if not Path(data).exists() and Path(metadata).exists() and not _is_blank(metadata):
        raise HostError(
            f"{data} is not there, but its mirror was built: bring its disk back, or remove "
            f"{metadata}, and everything is copied from the other side"
        )


def _is_blank(node: str) -> bool:
    """Whether there is no metadata, of whatever kind. Raises `HostError`."""
    try:
        with Path(node).open("rb") as opened:
            return not opened.read(_HEAD).strip(b"\0")
    except OSError as error:
        raise HostError(f"{node} cannot be read: {error.strerror}") from error


def _set_generation(
    plan: MirrorPlan, meta: str, version: tuple[int, int], generation: str
) -> tuple[str, ...]:
    """Ids, then the flags "consistent" and "was up to date"; version 9 keeps them for each peer."""
    nine = version >= (9, 0)
    where = (str(plan.port), "v09" if nine else "v08", meta, "flex-external")
    peer = ("--node-id", "1" if plan.server < plan.peer else "0") if nine else ()
    return ("drbdmeta", "--force", *where, "set-gi", *peer, f"{generation}:0:0:0:1:1")


def _metadata(plan: MirrorPlan) -> str:
    """Beside the file of our own engine, never the same one."""
    return plan.metadata if Path(plan.metadata).is_block_device() else f"{plan.metadata}.drbd"


def _secret(key: Path | None, plan: MirrorPlan) -> str:
    """Out of the oldest key of the cluster that is still good: both sides have that one while keys
    change. Both ends of DRBD must have the same."""
    try:
        if key is None:
            raise OSError
        keys = json.loads(key.read_text())["keys"]
        digest = hmac.new(str(keys[-1]).encode(), f"drbd\0{plan.name}".encode(), hashlib.sha256)
    except (OSError, ValueError, KeyError, IndexError):
        raise HostError("there is no cluster key to derive the mirror's key from") from None
    return digest.hexdigest()[:_SECRET_DIGITS]


def _read(parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except Unreadable as error:
        raise HostError(str(error)) from None
