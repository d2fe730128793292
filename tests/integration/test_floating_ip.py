"""Floating addresses on a real kernel, in two namespaces joined by a cable."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.linux import frames
from reconciler.adapters.linux.host import LinuxHost
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.host import HostError
from specs.resource import Resource
from tests.integration.veth_pair import (
    HERE_MAC,
    INTERFACE,
    THERE_MAC,
    Cable,
    Namespace,
    cable,
)
from tests.resources.places import (
    driver_of,
    expired,
    permit,
    permit_for,
    resource_from,
)

pytestmark = pytest.mark.integration

FOUR, SIX = "10.77.2.100", "fd77:2::100"
BOTH = pytest.mark.parametrize("address", [FOUR, SIX], ids=["ipv4", "ipv6"])


@pytest.fixture
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture
async def host(wire: Cable, tmp_path: Path) -> AsyncIterator[LinuxHost]:
    async with LinuxHost(tmp_path) as made:
        yield made


def floating(address: str, interface: str | None = None) -> Resource:
    where = f", interface: {interface}" if interface else ""
    return resource_from(
        "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: web-ip}\n"
        f"spec: {{group: web, type: floating-ip, address: '{address}'{where}}}\n"
    )


def carried(end: Namespace) -> set[str]:
    """Addresses with their prefix length, as `ip` lists them."""
    listed = json.loads(end.run("ip", "-json", "address", "show", "dev", INTERFACE))
    return {f"{one['local']}/{one['prefixlen']}" for one in listed[0]["addr_info"]}


@BOTH
async def test_it_appears_in_the_subnet_of_its_interface_and_goes_again(
    wire: Cable, host: LinuxHost, address: str
) -> None:
    prefix = 24 if address == FOUR else 64
    driver = driver_of(floating(address), host)
    await driver.activate(permit(4))
    assert f"{address}/{prefix}" in carried(wire.here)
    observed = await driver.observe()
    assert (observed.state, observed.epoch) == (ResourceState.ACTIVE, 4)
    await driver.deactivate(4)
    assert f"{address}/{prefix}" not in carried(wire.here)
    assert (await driver.observe()).state is ResourceState.INACTIVE


@BOTH
async def test_a_client_that_knew_the_old_place_follows(
    wire: Cable, host: LinuxHost, address: str
) -> None:
    dead_server = "02:e0:00:00:00:99"
    wire.there.run(
        *("ip", "neighbour", "replace", address, "lladdr", dead_server),
        *("dev", INTERFACE, "nud", "reachable"),
    )
    driver = driver_of(floating(address), host)
    await driver.activate(permit())
    family = socket.AF_INET if address == FOUR else socket.AF_INET6
    with socket.create_server((address, 0), family=family) as listener:
        with wire.there.entered():
            client = socket.socket(family)
        with client:
            client.setblocking(False)
            async with asyncio.timeout(15):
                await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
    assert HERE_MAC in wire.there.run("ip", "neighbour", "show", address)
    await driver.deactivate(1)


@BOTH
async def test_an_address_that_somebody_else_uses_is_not_taken(
    wire: Cable, host: LinuxHost, address: str
) -> None:
    add_address(wire.there, address)
    driver = driver_of(floating(address), host, probe_window=2.0)
    with pytest.raises(ResourceError, match=THERE_MAC) as caught:
        await driver.activate(permit())
    assert not caught.value.retry
    assert not any(one.startswith(address + "/") for one in carried(wire.here))


@BOTH
async def test_a_probe_without_an_answer_finds_nobody(host: LinuxHost, address: str) -> None:
    assert await host.network.probe(address, INTERFACE) is None


@BOTH
async def test_neighbours_learn_its_new_place(wire: Cable, host: LinuxHost, address: str) -> None:
    with wire.there.entered():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, frames.ethertype(address))
    with heard:
        heard.bind((INTERFACE, frames.ethertype(address)))
        heard.setblocking(False)
        driver = driver_of(floating(address), host)
        await driver.activate(permit())
        senders = await announcements(heard, address, at_least=4 if address == FOUR else 3)
        assert senders == {HERE_MAC}
        await driver.deactivate(1)


async def announcements(heard: socket.socket, address: str, at_least: int) -> set[str]:
    """Who announced it: one at once and two more soon, in both forms for IPv4."""
    found = []
    async with asyncio.timeout(15):
        while len(found) < at_least:
            frame = await asyncio.get_running_loop().sock_recv(heard, 2048)
            if mac := frames.user_of(frame, address):
                found.append(frames.mac_text(mac))
    return set(found)


def add_address(end: Namespace, address: str) -> None:
    prefix = "24" if address == FOUR else "64"
    extra = [] if address == FOUR else ["nodad"]
    end.run("ip", "address", "add", f"{address}/{prefix}", "dev", INTERFACE, *extra)


@BOTH
async def test_an_address_made_by_hand_is_neither_taken_over_nor_removed(
    wire: Cable, host: LinuxHost, address: str
) -> None:
    add_address(wire.here, address)
    driver = driver_of(floating(address), host)
    observed = await driver.observe()
    assert observed.state is ResourceState.INACTIVE
    assert "somebody else" in observed.reason
    with pytest.raises(ResourceError, match="somebody else"):
        await driver.activate(permit())
    await driver.deactivate(9)
    assert any(one.startswith(address + "/") for one in carried(wire.here))


async def test_a_later_agent_knows_its_epoch_and_removes_it(
    wire: Cable, host: LinuxHost, tmp_path: Path
) -> None:
    first = driver_of(floating(FOUR), host)
    await first.activate(permit(6))
    await first.close()
    async with LinuxHost(tmp_path) as later:
        driver = driver_of(floating(FOUR), later)
        assert (await driver.observe()).epoch == 6
        await driver.deactivate(5)
        assert f"{FOUR}/24" in carried(wire.here)
        await driver.deactivate(6)
        assert f"{FOUR}/24" not in carried(wire.here)


async def test_without_its_notes_an_agent_still_knows_its_own_addresses(
    wire: Cable, host: LinuxHost, tmp_path: Path
) -> None:
    first = driver_of(floating(FOUR), host)
    await first.activate(permit(6))
    await first.close()
    async with LinuxHost(tmp_path / "empty") as later:
        (held,) = [one for one in await later.network.addresses() if one.owner is not None]
        if held.owner != "":
            pytest.skip("this kernel does not keep marks of addresses (older than 5.18)")
        driver = driver_of(floating(FOUR), later)
        assert (await driver.observe()).state is ResourceState.ACTIVE
        await driver.deactivate(1)
        assert f"{FOUR}/24" not in carried(wire.here)


async def test_a_hand_that_removes_it_wakes_its_keeper(wire: Cable, host: LinuxHost) -> None:
    driver = driver_of(floating(FOUR), host)
    await driver.activate(permit())
    await driver.observe()
    woken = asyncio.ensure_future(driver.changed())
    await asyncio.sleep(0)
    wire.here.run("ip", "address", "del", f"{FOUR}/24", "dev", INTERFACE)
    await asyncio.wait_for(woken, 15)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    await driver.activate(permit())
    assert f"{FOUR}/24" in carried(wire.here)
    await driver.deactivate(1)


async def test_a_changed_spec_leaves_no_old_address_behind(wire: Cable, host: LinuxHost) -> None:
    old = driver_of(floating(f"{FOUR}/24"), host)
    await old.activate(permit(1))
    await old.close()
    new = driver_of(floating("10.77.2.101/25"), host)
    assert (await new.observe()).state is ResourceState.PARTIAL
    await new.activate(permit(2))
    found = carried(wire.here)
    assert "10.77.2.101/25" in found
    assert f"{FOUR}/24" not in found
    await new.deactivate(2)


async def test_an_address_outside_every_subnet_is_said_in_a_sentence(host: LinuxHost) -> None:
    driver = driver_of(floating("192.0.2.1"), host)
    with pytest.raises(ResourceError, match=r"no interface of n1 has a subnet .* 192\.0\.2\.1"):
        await driver.activate(permit())


async def test_an_interface_that_is_missing_is_said_in_a_sentence(host: LinuxHost) -> None:
    driver = driver_of(floating(f"{FOUR}/24", interface="eth77"), host)
    with pytest.raises(ResourceError, match="eth77"):
        await driver.activate(permit())
    with pytest.raises(HostError, match="there is no interface eth77"):
        await host.network.add_address(f"{FOUR}/24", "eth77", "web-ip", permit())


async def test_a_late_permit_adds_nothing(wire: Cable, host: LinuxHost) -> None:
    network = host.network
    with pytest.raises(PermitExpired):
        await network.add_address(f"{FOUR}/24", INTERFACE, "web-ip", expired())
    with pytest.raises(PermitExpired):
        await network.add_address(f"{FOUR}/24", INTERFACE, "web-ip", permit_for(1))
    assert f"{FOUR}/24" not in carried(wire.here)


async def test_a_ports_answer_is_the_servers_own(host: LinuxHost) -> None:
    listener = socket.create_server(("10.77.2.11", 0))
    with listener:
        port = listener.getsockname()[1]
        assert await host.network.accepts("10.77.2.11", port, timeout_s=5)
    assert not await host.network.accepts("10.77.2.11", port, timeout_s=5)
