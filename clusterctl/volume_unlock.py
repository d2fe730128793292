"""A shared disk for a person, while its group is stopped (`clusterctl volume unlock`).

It is taken as its owner would take it, with an epoch of its own in the key, which the group's
record skips from then on: whoever owned the group before, or unlocked the disk elsewhere, is shut
out, and whoever comes next has a newer one and shuts this server out. One person at a time has a
disk. Each time is in the cluster's events.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.objects import Ref
from clusterctl.operations import require, who
from clusterctl.picture import read_picture
from reconciler.adapters.linux.disks import LinuxDisks
from reconciler.adapters.linux.volumes import LinuxVolumes
from reconciler.decide.group_case import DELETED
from reconciler.decide.records import EventRecord, Ownership, Phase, StoreLife, Wanted
from reconciler.decide.store_life import COUNTER_BITS
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.decide.unlocks import VolumeUnlock
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

LOOK_EVERY_S = 1.0
KEEP_EVENT_S = 7 * 24 * 3600.0
GRACE_S = 5.0
SILENCE_S = 5.0
"""A disk without a reservation is locked again when the store is silent for longer: its group may
have been started where it answers."""

LEASE_MORE_S = 60.0
"""Beyond the time of an unlock: what it takes to free the disk."""

RUN_DIRECTORY = Path("/run/clusterctl")


async def hold_open(cli: CliContext, name: str, ttl_s: float, why: str) -> str:
    """Why it ended. Raises `Failure`."""
    async with connected(cli) as connection:
        await require(connection, Ref("Resource", name))
        picture = await read_picture(connection, ("Resource", "Group"), cli.types())
        found = picture.specs.resources[name] if picture.specs else None
        device = getattr(found.spec, "device", None) if found else None
        if found is None or found.spec.type != "shared-disk" or device is None:
            raise Failure(f"resource {name} is no shared disk with a device", ExitCode.USAGE)
        group = found.spec.group
        view = picture.group(group)
        if view.phase is not Phase.OFFLINE or view.owner is not None:
            where = f" on {view.owner}" if view.owner else ""
            raise Failure(
                f"refused: group {group} is {view.phase}{where}: its disk is its owner's",
                ExitCode.REFUSED,
                f"clusterctl stop group/{group}",
            )
        reserves = getattr(found.spec, "reservation", "none") != "none"
        right = await _Right.get(connection, name, group, ttl_s, reserves=reserves)
        guard = right.guard
        opened = _Opened(connection, name, device, right, reserves=reserves)
        try:
            await opened.take()
            await opened.publish(guard).emit(
                "volume_unlocked", resource=name, device=device, who=who(), ttl_s=ttl_s, why=why
            )
            click.echo(
                f"{device} is yours on this server for {ttl_s:g} s at most; mount it by hand. "
                "Interrupt this to lock it again."
            )
            ended = await opened.until(guard, ttl_s)
        finally:
            await opened.give_back()
        await opened.publish().emit(
            "volume_locked", resource=name, device=device, who=who(), reason=ended
        )
        return ended


@dataclass(frozen=True, slots=True)
class _Right:
    """To one disk, at an epoch that nobody had before. `guard` holds until the group is started."""

    epoch: int
    guard: Unchanged
    lease: int

    @classmethod
    async def get(
        cls, connection: Connection, name: str, group: str, ttl_s: float, *, reserves: bool
    ) -> "_Right":
        """Raises `Failure` when somebody else has it, or may get it at any moment."""
        store, keys = connection.store, connection.keys
        stored, held = await store.get(keys.group(group)), await store.get(keys.unlock(name))
        if held is not None:
            other = VolumeUnlock.from_bytes(held.value)
            until = time.strftime("%H:%M:%S", time.localtime(other.until_wall))
            raise Failure(
                f"refused: {other.who} has {name} unlocked on {other.server} until {until}",
                ExitCode.REFUSED,
            )
        record = Ownership(group=group, epoch=0, cause=DELETED, nonce="")
        if stored is not None:
            record = Ownership.from_bytes(stored.value)
        if not reserves and record.wanted is not Wanted.OFFLINE:
            raise Failure(
                f"refused: group {group} may be started by itself, and {name} has no reservation",
                ExitCode.REFUSED,
                f"clusterctl stop group/{group}",
            )
        life = await store.get(keys.store_life)
        generation = StoreLife.from_bytes(life.value).generation if life is not None else 0
        nonce = secrets.token_hex(8)
        epoch = max(record.epoch, generation << COUNTER_BITS) + 1
        lease = (await store.grant(ttl_s + LEASE_MORE_S)).lease
        unlock = VolumeUnlock(
            nonce=nonce,
            resource=name,
            server=socket.gethostname(),
            who=who(),
            until_wall=connection.clock.wall() + ttl_s,
        )
        new = record.model_copy(update={"epoch": epoch, "nonce": nonce})
        at = Unchanged(keys.group(group), stored.mod_revision if stored is not None else 0)
        result = await store.commit(
            Transaction(
                (at, Unchanged(keys.unlock(name), 0)),
                (
                    Put(keys.group(group), new.to_bytes()),
                    Put(keys.unlock(name), unlock.to_bytes(), lease),
                ),
                guard=keys.group(group),
            )
        )
        written = await store.get(keys.group(group)) if result.succeeded else None
        if written is None or Ownership.from_bytes(written.value).nonce != nonce:
            await store.revoke(lease)
            raise Failure(
                f"refused: group {group} is being started, or {name} was unlocked elsewhere",
                ExitCode.CONFLICT,
            )
        return cls(epoch, Unchanged(keys.group(group), written.mod_revision), lease)


class _Opened:
    def __init__(
        self, connection: Connection, name: str, device: str, right: _Right, *, reserves: bool
    ) -> None:
        self._connection, self._name, self._device = connection, name, device
        self._right, self._epoch, self._reserves = right, right.epoch, reserves
        tls = connection.settings.tls
        self._disks = LinuxDisks(RUN_DIRECTORY, Path(tls.ca) if tls is not None else None)
        self._volumes = LinuxVolumes()

    async def take(self) -> None:
        """Raises `Failure` when somebody has it."""
        try:
            view = await self._disks.look(self._device)
            if view.taken or view.uses:
                reasons = "; ".join(view.uses) or "it is in use on this server"
                raise Failure(f"refused: {self._device}: {reasons}", ExitCode.REFUSED)
            if self._reserves:
                permit = Permit(self._epoch, lambda: True)
                await self._disks.reserve(self._device, self._name, permit)
        except HostError as error:
            raise Failure(f"refused: {error}", ExitCode.REFUSED) from error

    async def until(self, guard: Unchanged, ttl_s: float) -> str:
        """The time is over, the group was started, or a signal came."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, stopped.set)
        heard = loop.time()
        deadline = heard + ttl_s
        try:
            while (left := deadline - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_EVERY_S, left)):
                        await stopped.wait()
                        return "it was interrupted"
                changed = await self._has_changed(guard)
                if changed:
                    return "its group is being started"
                heard = loop.time() if changed is not None else heard
                if not self._reserves and loop.time() - heard > SILENCE_S:
                    return "the store does not answer, and only it keeps the group from starting"
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        return "the time is over"

    async def _has_changed(self, guard: Unchanged) -> bool | None:
        """The group's record; None while the store is away from here."""
        try:
            found = await self._connection.store.get(guard.key)
        except StoreError:
            return None
        return (found.mod_revision if found is not None else 0) != guard.mod_revision

    async def give_back(self) -> None:
        """Raises `Failure` when the disk cannot be freed: then it must be freed by hand, and nobody
        else gets it before the time is over."""
        try:
            # The group's new owner may be this server: what it has mounted is its own.
            claim = self._disks.claims().get(self._name)
            theirs = claim.directory if claim is not None and claim.epoch > self._epoch else ""
            for mount in await self._volumes.mounts_of(self._device):
                if mount.directory != theirs:
                    await self._volumes.unmount(mount.directory, GRACE_S)
            if self._reserves:
                await self._disks.release(self._device, self._name, self._epoch)
        except HostError as error:
            text = f"{self._device} cannot be locked: {error}; unmount it by hand, now"
            raise Failure(text, ExitCode.FAILED) from error
        finally:
            self._volumes.close()
        with contextlib.suppress(StoreError):  # the lease ends by itself
            await self._connection.store.revoke(self._right.lease)

    def publish(self, *guards: Unchanged) -> "_Publisher":
        return _Publisher(self._connection, guards)


class _Publisher:
    """Writes one event into the store, if the guards hold."""

    def __init__(self, connection: Connection, guards: tuple[Unchanged, ...]) -> None:
        self._connection, self._guards = connection, guards

    async def emit(self, event: str, /, **fields: Any) -> None:
        """Raises `Failure` when the group's ownership is another one by now, and `StoreError`."""
        connection = self._connection
        wall = connection.clock.wall()
        record = EventRecord(
            id=ulid(wall, secrets.token_bytes(RANDOM_BYTES)),
            nonce=secrets.token_hex(8),
            name=event,
            server=socket.gethostname(),
            at_wall=wall,
            fields=fields,
        )
        lease = await connection.store.grant(KEEP_EVENT_S)
        put = Put(connection.keys.event(record.id), record.to_bytes(), lease.lease)
        result = await connection.store.commit(Transaction(self._guards, (put,)))
        if not result.succeeded:
            raise Failure("refused: its group is being started", ExitCode.CONFLICT)
