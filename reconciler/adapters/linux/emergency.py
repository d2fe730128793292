"""What the pulse's dead-man has to end on this server: asked by the agent whenever that changes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from reconciler.adapters.linux.host import LinuxHost
from reconciler.adapters.peers.configuration import (
    KillEntry,
    kill_address,
    kill_cgroup,
    kill_process,
)


async def kill_list(host: LinuxHost, policy_of: Callable[[str], str]) -> list[KillEntry]:
    """Every workload that a runner holds, then every address that is ours. `policy_of` tells what
    losing the store means for a resource by name, "keep" or "stop"."""
    entries: list[KillEntry] = []
    for record in host.runners.recorded():
        policy = policy_of(record.name)
        if record.cgroup:
            entries.append(kill_cgroup(record.cgroup, policy))
        if record.main is not None and record.exit_code is None:
            entries.append(kill_process(record.main.pid, record.main.start, policy))
    entries.extend(
        kill_address(f"{held.address}/{held.prefix}", held.interface, policy_of(held.owner))
        for held in await host.network.addresses()
        if held.owner is not None
    )
    return entries


class AddressProber:
    """Asks the networks that this server is in who still answers for an address."""

    def __init__(self, host: LinuxHost) -> None:
        self._network = host.network

    async def probe(self, addresses: Sequence[str]) -> Mapping[str, str]:
        """MAC by address. An address outside every network of ours is not probed."""
        answers = await asyncio.gather(*(self._one(address) for address in addresses))
        return {a: mac for a, mac in zip(addresses, answers, strict=True) if mac is not None}

    async def _one(self, address: str) -> str | None:
        interface = await self._network.interface_for(address)
        return None if interface is None else await self._network.probe(address, interface)
