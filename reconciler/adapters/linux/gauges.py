"""Measures this server: durable writes, boot time, interfaces. The agent makes one."""

import asyncio
import ipaddress
import os
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from reconciler.adapters.linux.storage import storage
from reconciler.decide.storage_facts import StorageFacts
from reconciler.ports.host import HostError, Network

_WRITES = 10
_BLOCK = b"\0" * 4096


class LinuxGauges:
    """`boot_id_file` is written at the first start of an agent after power-on."""

    def __init__(
        self,
        state_directory: Path,
        boot_id_file: Path,
        pki_directory: Path,
        network: Network,
        realtime: Callable[[], bool | None],
    ) -> None:
        self._state_directory, self._boot_id_file = state_directory, boot_id_file
        self._pki_directory = pki_directory
        self._network, self._realtime = network, realtime

    async def fsync_ms(self) -> float:
        return await asyncio.to_thread(_slowest_write_ms, self._state_directory / ".fsync-probe")

    def boot_s(self) -> float | None:
        try:
            started_wall = self._boot_id_file.stat().st_mtime
        except OSError:
            return None
        booted_wall = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return max(0.0, started_wall - booted_wall)

    def realtime(self) -> bool | None:
        return self._realtime()

    def certificates(self) -> dict[str, float]:
        found = {}
        for path in sorted(self._pki_directory.glob("*.crt")):
            try:
                parsed = x509.load_pem_x509_certificate(path.read_bytes())
            except (OSError, ValueError):
                continue  # `clusterctl cert status` on this server says what is wrong with it
            found[path.stem] = parsed.not_valid_after_utc.timestamp()
        return found

    async def storage(self) -> StorageFacts:
        return await asyncio.to_thread(storage)

    async def interface_for(self, address: str) -> str | None:
        """The one that carries this very address now."""
        try:
            held = await self._network.addresses()
        except HostError:
            return None  # doctor reports a network without an interface
        plain = str(ipaddress.ip_address(address))
        return next((each.interface for each in held if each.address == plain), None)


def _slowest_write_ms(path: Path) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        slowest = 0.0
        for _ in range(_WRITES):
            began = time.monotonic()
            os.write(descriptor, _BLOCK)
            os.fdatasync(descriptor)
            slowest = max(slowest, time.monotonic() - began)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
    return slowest * 1000
