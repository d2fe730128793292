"""Addresses and neighbours of this server (`ports.host.Network`) on rtnetlink and raw frames.

Requests to the kernel run one after the other in one thread: the routing lock may be held for long
by others, and a request that was given up can't overtake a later one.
"""

import asyncio
import ctypes
import ipaddress
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from reconciler.adapters.linux import frames
from reconciler.adapters.linux.atomic_file import read_json, write_json
from reconciler.adapters.linux.netlink import MARK, Link, RouteSocket, notification_socket
from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import HeldAddress, HostError

_T = TypeVar("_T")
_SO_ATTACH_FILTER = 26
REQUEST_TIMEOUT_S = 3.0
PROBES_IN_WINDOW = 3
LOOPBACK = "lo"


class LinuxNetwork:
    """One for each agent. Who added an address, and at which epoch, is kept under
    `<run directory>/addresses`, so that the next agent knows it too."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory / "addresses"
        self._records: dict[str, dict[str, Any]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._route: RouteSocket | None = None
        self._sender: socket.socket | None = None
        self._notices: socket.socket | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    def close(self) -> None:
        """Close every socket. Addresses stay."""
        if self._notices is not None:
            with suppress(RuntimeError):  # the loop may be closed already
                asyncio.get_running_loop().remove_reader(self._notices)
            self._notices.close()
        if self._sender is not None:
            self._sender.close()
        self._thread.submit(self._close_route)
        self._thread.shutdown(wait=True)

    async def addresses(self) -> tuple[HeldAddress, ...]:
        return await self._in_thread(self._list)

    async def interface_for(self, address: str) -> str | None:
        found = await self._subnet(address, None)
        return found.interface if found else None

    async def prefix_for(self, address: str, interface: str) -> int | None:
        found = await self._subnet(address, interface)
        return found.prefix if found else None

    async def add_address(self, address: str, interface: str, owner: str, permit: Permit) -> None:
        parsed = ipaddress.ip_interface(address)
        held = HeldAddress(str(parsed.ip), parsed.network.prefixlen, interface, owner, permit.epoch)
        await self._in_thread(lambda: self._add(held, permit))

    async def remove_address(self, held: HeldAddress) -> None:
        await self._in_thread(lambda: self._remove(held))

    async def probe(self, address: str, interface: str, window_s: float = 0.03) -> str | None:
        if interface == LOOPBACK:
            return None
        own = {link.mac for link in await self._in_thread(lambda: self._kernel().links())}
        loop = asyncio.get_running_loop()
        packets = _bound_packet_socket(address, interface)
        try:
            mac = await asyncio.wait_for(
                _first_user(loop, packets, address, own, window_s), window_s + REQUEST_TIMEOUT_S
            )
        except OSError as error:
            raise HostError(f"can't probe {address} on {interface}: {error.strerror}") from error
        finally:
            # Closing waits for all processors (8 ms measured): never in the loop.
            loop.run_in_executor(None, packets.close)
        return frames.mac_text(mac) if mac else None

    async def announce(self, address: str, interface: str) -> None:
        if interface == LOOPBACK:
            return
        try:
            if self._sender is None:
                self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                self._sender.setblocking(False)
            self._sender.bind((interface, 0))
            mac = self._sender.getsockname()[4]
            for frame in frames.announcement_frames(mac, _plain(address)):
                self._sender.send(frame)
        except OSError as error:
            raise HostError(f"can't announce {address} on {interface}: {error.strerror}") from error

    async def accepts(self, address: str, port: int, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    async def changed(self) -> None:
        loop = asyncio.get_running_loop()
        if self._notices is None:
            self._notices = notification_socket()
            loop.add_reader(self._notices, self._on_notice, self._notices)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _on_notice(self, notices: socket.socket) -> None:
        # A full buffer (ENOBUFS) is a change too: something was lost.
        with suppress(OSError):
            while notices.recv(1 << 16):
                pass
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _subnet(self, address: str, interface: str | None) -> HeldAddress | None:
        """The narrowest subnet of an own address (not a floating one) that holds the address."""
        plain = ipaddress.ip_address(_plain(address))
        candidates = [
            held
            for held in await self.addresses()
            if held.owner is None and held.address != str(plain)
            if interface is None or held.interface == interface
            if plain in ipaddress.ip_interface(f"{held.address}/{held.prefix}").network
        ]
        return max(candidates, key=lambda held: held.prefix, default=None)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise HostError("the kernel's routing table did not answer in time") from None
        except OSError as error:
            raise HostError(f"rtnetlink: {error.strerror or error}") from error

    # Everything below runs in the one thread.

    def _kernel(self) -> RouteSocket:
        if self._route is None:
            self._route = RouteSocket()
        return self._route

    def _close_route(self) -> None:
        if self._route is not None:
            self._route.close()

    def _links(self) -> dict[int, Link]:
        return {link.index: link for link in self._kernel().links()}

    def _list(self) -> tuple[HeldAddress, ...]:
        links = self._links()
        records = self._known()
        return tuple(
            HeldAddress(found.address, found.prefix, links[found.index].name, *ownership)
            for found in self._kernel().addresses()
            if found.index in links
            if (ownership := _ownership(records.get(found.address), found.protocol))
        )

    def _add(self, held: HeldAddress, permit: Permit) -> None:
        index = self._index(held.interface)
        if index is None:
            raise HostError(f"there is no interface {held.interface} on this server")
        before = self._known().get(held.address)
        # Recorded before it is added: an address without a record would look hand-made.
        self._record(held.address, {"owner": held.owner, "epoch": held.epoch})
        try:
            permit.check()
            self._kernel().add(held.address, held.prefix, index)
        except BaseException:  # whatever stopped it, the address is not there
            self._record(held.address, before)
            raise
        if not permit.is_valid():
            self._remove(held)
            raise PermitExpired(f"permit for epoch {permit.epoch} ended while adding the address")

    def _remove(self, held: HeldAddress) -> None:
        index = self._index(held.interface)
        if index is not None:
            self._kernel().remove(held.address, held.prefix, index)
        self._record(held.address, None)

    def _index(self, interface: str) -> int | None:
        return next((i for i, link in self._links().items() if link.name == interface), None)

    def _known(self) -> dict[str, dict[str, Any]]:
        if self._records is None:
            contents = (read_json(path) for path in self._directory.glob("*.json"))
            self._records = {str(c["address"]): c for c in contents if c and "address" in c}
        return self._records

    def _record(self, address: str, ownership: dict[str, Any] | None) -> None:
        path = self._directory / f"{address.replace(':', '_')}.json"
        if ownership is None:
            self._known().pop(address, None)
            path.unlink(missing_ok=True)
            return
        self._known()[address] = {**ownership, "address": address}
        write_json(path, self._known()[address])


def _plain(address: str) -> str:
    return str(ipaddress.ip_interface(address).ip)


def _ownership(record: dict[str, Any] | None, protocol: int) -> tuple[str | None, int | None]:
    if record is not None:
        return record.get("owner"), record.get("epoch")
    return ("" if protocol == MARK else None), None


def _bound_packet_socket(address: str, interface: str) -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        packets.setblocking(False)
        kind = frames.ethertype(address)
        if kind == frames.ETHERTYPE_IPV6:
            _attach_filter(packets, frames.ADVERTISEMENTS_ONLY)
        packets.bind((interface, kind))
    except OSError as error:
        packets.close()
        raise HostError(f"can't probe {address} on {interface}: {error.strerror}") from error
    return packets


def _attach_filter(packets: socket.socket, steps: tuple[tuple[int, int, int, int], ...]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    memory = ctypes.create_string_buffer(program)
    packed = struct.pack("@HP", len(steps), ctypes.addressof(memory))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, packed)


async def _first_user(
    loop: asyncio.AbstractEventLoop,
    packets: socket.socket,
    address: str,
    own: set[bytes],
    window_s: float,
) -> bytes | None:
    """Send probes evenly over the first two thirds of the window, and listen until its end."""
    ask = frames.probe_frame(packets.getsockname()[4], address)
    begin = loop.time()
    sends = [
        begin + window_s * number * 2 / 3 / PROBES_IN_WINDOW for number in range(PROBES_IN_WINDOW)
    ]
    while (now := loop.time()) < begin + window_s or sends:
        if sends and now >= sends[0]:
            await loop.sock_sendall(packets, ask)
            sends.pop(0)
            continue
        until = sends[0] if sends else begin + window_s
        try:
            async with asyncio.timeout_at(until):
                frame = await loop.sock_recv(packets, 2048)
        except TimeoutError:
            continue
        mac = frames.user_of(frame, address)
        if mac is not None and mac not in own:
            return mac
    return None
