"""Looks at and reserves shared disks (`ports.disks.Disks`), in a process for each question.

One that waits for a dead disk is killed and left behind, and the agent goes on.
"""

import hashlib
import json
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.adapters.linux.atomic_file import read_json, write_json
from reconciler.adapters.linux.command import run
from reconciler.mirror.header import Header
from reconciler.ports.disks import Claim, DiskView, RestingMirror
from reconciler.ports.driver import Permit
from reconciler.ports.host import DiskGone, HostError

ANSWER_TIMEOUT_S = 15.0
_FIELDS = tuple(Claim.__dataclass_fields__)
_CODE = Path(__file__).resolve().parents[3]


class LinuxDisks:
    """Claims are files below `<run directory>/disks`: they end with the boot, as mounts do. `ca`,
    the certificate of the cluster's authority, tells its keys from those of another cluster that
    sees the same disk by mistake, and has a resource of the same name."""

    def __init__(self, run_directory: Path, ca: Path | None = None) -> None:
        self._directory, self._ca = run_directory / "disks", ca
        self._paths: dict[str, tuple[int, int]] = {}

    def claims(self) -> Mapping[str, Claim]:
        found = {}
        for path in sorted(self._directory.glob("*.json")):
            content = read_json(path)
            if content is None:
                raise HostError(f"{path} cannot be read: what is mounted here is not known")
            known = {key: value for key, value in content.items() if key in _FIELDS}
            try:
                found[path.stem] = Claim(**known)
            except TypeError as error:
                raise HostError(f"{path} is no claim of a disk: {error}") from None
        return found

    def claim(self, resource: str, claim: Claim) -> None:
        content = {name: getattr(claim, name) for name in _FIELDS}
        try:
            write_json(self._directory / f"{resource}.json", content)
        except OSError as error:
            raise HostError(f"the claim cannot be noted: {error.strerror}") from error

    def disclaim(self, resource: str) -> None:
        try:
            (self._directory / f"{resource}.json").unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"the claim cannot be forgotten: {error.strerror}") from error

    async def look(self, device: str) -> DiskView:
        said = await self._ask("look", device)
        return DiskView(
            said["node"],
            tuple(said["uses"]),
            said["taken"],
            said["paths"],
            said["mounts"],
            tuple(said["foreign"]),
        )

    async def resting_mirror(self, disk: str) -> RestingMirror:
        said = await _ask("mirror", disk)
        try:
            return RestingMirror(Header.from_json(said["header"]), int(said["to_copy"]))
        except (TypeError, ValueError) as error:
            raise HostError(f"{disk}: {error}") from error

    async def reserve(self, device: str, resource: str, permit: Permit) -> str:
        permit.check()
        said = await self._ask("take", device, self._named(resource), str(permit.epoch))
        if not permit.is_valid():
            await self.release(device, resource, permit.epoch)
            permit.check()
        return str(said["node"])

    async def reserved(self, device: str, resource: str, epoch: int) -> str:
        return str((await self._ask("check", device, self._named(resource), str(epoch)))["reason"])

    async def hold(self, device: str, resource: str, permit: Permit) -> str:
        permit.check()
        said = await self._ask("hold", device, self._named(resource), str(permit.epoch))
        return str(said["reason"])

    async def release(self, device: str, resource: str, epoch: int) -> None:
        await self._ask("drop", device, self._named(resource), str(epoch))

    def _named(self, resource: str) -> str:
        """The resource as no other cluster names it. Raises `HostError`."""
        if self._ca is None:
            return resource
        try:
            certificate = ssl.PEM_cert_to_DER_cert(self._ca.read_text().strip())
        except (OSError, ValueError) as error:
            raise HostError(f"{self._ca} cannot be read: {error}") from None
        return f"{hashlib.sha256(certificate).hexdigest()}/{resource}"

    def paths(self, device: str) -> tuple[int, int]:
        return self._paths.get(device, (0, 0))

    async def _ask(self, order: str, device: str, *words: str) -> dict[str, Any]:
        said = await _ask(order, device, *words)
        self._paths[device] = (int(said["running"]), int(said["paths"]))
        return said


async def _ask(*words: str) -> dict[str, Any]:
    """Raises `HostError` with what the device, or its process, said."""
    environment = {"PYTHONPATH": str(_CODE), "PATH": os.environ.get("PATH", os.defpath)}
    command = [sys.executable, "-S", "-m", "reconciler.disks", *words]
    code, output = await run(command, ANSWER_TIMEOUT_S, environment, limit=1 << 16)
    try:
        said: dict[str, Any] = json.loads(output)
    except ValueError:
        raise HostError(f"{words[1]} cannot be looked at ({code}): {output[-300:]}") from None
    if "error" in said:
        raise (DiskGone if said.get("gone") else HostError)(str(said["error"]))
    return said
