"""A shared disk for a person, while its group is stopped (`clusterctl volume unlock`).

It is taken as its owner would take it: with the group's last epoch in the key. So whoever owns the
group next has a newer one and shuts this server out. Each time is in the cluster's events.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
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
from reconciler.decide.records import EventRecord, Phase
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

LOOK_EVERY_S = 1.0
KEEP_EVENT_S = 7 * 24 * 3600.0
GRACE_S = 5.0
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
        owned = await connection.store.get(connection.keys.group(group))
        guard = Unchanged(connection.keys.group(group), owned.mod_revision if owned else 0)
        opened = _Opened(connection, name, device, max(view.epoch, 1))
        opened.reserves = getattr(found.spec, "reservation", "none") != "none"
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


class _Opened:
    def __init__(self, connection: Connection, name: str, device: str, epoch: int) -> None:
        self._connection, self._name, self._device = connection, name, device
        self._epoch, self.reserves = epoch, False
        self._disks, self._volumes = LinuxDisks(RUN_DIRECTORY), LinuxVolumes()

    async def take(self) -> None:
        """Raises `Failure` when somebody has it."""
        try:
            view = await self._disks.look(self._device)
            if view.taken or view.uses:
                reasons = "; ".join(view.uses) or "it is in use on this server"
                raise Failure(f"refused: {self._device}: {reasons}", ExitCode.REFUSED)
            if self.reserves:
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
        deadline = loop.time() + ttl_s
        try:
            while (left := deadline - loop.time()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_EVERY_S, left)):
                        await stopped.wait()
                        return "it was interrupted"
                if await self._has_owner(guard):
                    return "its group is being started"
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        return "the time is over"

    async def _has_owner(self, guard: Unchanged) -> bool:
        """Not while the store is away: nobody becomes an owner without it."""
        try:
            found = await self._connection.store.get(guard.key)
        except StoreError:
            return False
        return (found.mod_revision if found is not None else 0) != guard.mod_revision

    async def give_back(self) -> None:
        """Raises `Failure` when the disk cannot be freed: then it must be freed by hand."""
        try:
            for mount in await self._volumes.mounts_of(self._device):
                await self._volumes.unmount(mount.directory, GRACE_S)
            if self.reserves:
                await self._disks.release(self._device, self._name, self._epoch)
        except HostError as error:
            text = f"{self._device} cannot be locked: {error}; unmount it by hand, now"
            raise Failure(text, ExitCode.FAILED) from error
        finally:
            self._volumes.close()

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
