"""An IP address that is always where its group runs; clients follow it without noticing."""

import ipaddress
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from reconciler.plugin import Place, ResourceType, StartLevel
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.host import HeldAddress, HostError
from specs.scalars import Duration, impact, parse_address, parse_interface_address

FIRST_ANNOUNCEMENTS_S = (0.05, 0.2)
"""Pauses before the second and the third announcement; the first leaves with the activation."""


class FloatingIp(ResourceType):
    """An IPv4 or IPv6 address on an interface of the server that runs the group.

    Before the address is added, the network is asked whether another machine uses it; if one
    answers, the start fails and names its MAC address. Neighbours are told at once, after 50 ms and
    250 ms, and then periodically, because a client that missed it stays on the old server for long.
    An address that somebody configured by hand is never taken over or removed.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: web-ip}
    spec:
      group: web
      type: floating-ip
      address: 10.77.2.100/24
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("fip",)
    level: ClassVar[StartLevel] = StartLevel.ADDRESS

    type: Literal["floating-ip"] = Field(
        default="floating-ip",
        description="Type of the resource (alias: fip).",
        json_schema_extra=impact("resource", example="floating-ip"),
    )
    address: str = Field(
        description="The address, with or without its prefix length.",
        json_schema_extra=impact("resource", example="10.77.2.100/24", format="address"),
    )
    interface: Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[^\s/]+$")] | None = (
        Field(
            default=None,
            description="Interface that carries the address, the same name on every server.",
            json_schema_extra=impact(
                "resource",
                example="eth1",
                default_text="the interface whose subnet holds the address",
            ),
        )
    )
    announce_every: Annotated[Duration, Field(ge=1, le=3600)] = Field(
        default=30.0,
        description="Time between two announcements while the address is held.",
        json_schema_extra=impact("none", example="30s"),
    )
    probe_window: Annotated[Duration, Field(ge=0.005, le=5)] = Field(
        default=0.03,
        description="Time that another user of the address has to answer before the start.",
        json_schema_extra=impact("none", example="30ms"),
    )

    @field_validator("address")
    @classmethod
    def _usable_address(cls, text: str) -> str:
        shown = parse_interface_address(text) if "/" in text else parse_address(text)
        plain = ipaddress.ip_interface(shown).ip
        if plain.is_multicast or plain.is_loopback or plain.is_unspecified or plain.is_link_local:
            raise ValueError(f"{text!r} can't move between servers: it is not a unicast address")
        return shown

    @property
    def plain(self) -> str:
        """The address without its prefix length."""
        return str(ipaddress.ip_interface(self.address).ip)

    def addresses(self) -> tuple[str, ...]:
        return (self.plain,)

    async def observe(self, place: Place) -> Observation:
        held = await place.host.network.addresses()
        ours = self._ours(held, place)
        right = [address for address in ours if self._is_right(address)]
        if len(ours) > len(right):
            return Observation(ResourceState.PARTIAL, f"{_where(ours)} is still there")
        if right:
            where = {"interface": right[0].interface}
            return Observation(ResourceState.ACTIVE, "", right[0].epoch, where)
        other = self._configured_by_others(held, place)
        reason = f"{_where(other)} was configured by somebody else" if other else ""
        return Observation(ResourceState.INACTIVE, reason)

    async def prepare(self, place: Place) -> None:
        interface, _ = await self._target(place)
        mac = await place.host.network.probe(self.plain, interface, self.probe_window)
        if mac is not None:
            raise ResourceError(
                f"{self.plain} is in use on {interface} by the machine with MAC {mac}", retry=False
            )

    async def activate(self, place: Place, permit: Permit) -> None:
        network = place.host.network
        held = await network.addresses()
        if other := self._configured_by_others(held, place):
            raise ResourceError(f"{_where(other)} was configured by somebody else", retry=False)
        interface, prefix = await self._target(place)
        for stale in self._ours(held, place):
            if (stale.address, stale.prefix, stale.interface) != (self.plain, prefix, interface):
                permit.check()
                await network.remove_address(stale)
        await network.add_address(f"{self.plain}/{prefix}", interface, place.name, permit)
        await network.announce(self.plain, interface)

    async def deactivate(self, place: Place, epoch: int) -> None:
        for held in self._ours(await place.host.network.addresses(), place):
            if held.epoch is None or held.epoch <= epoch:
                await place.host.network.remove_address(held)

    async def changed(self, place: Place) -> None:
        await place.host.network.changed()

    async def keep(self, place: Place, permit: Permit) -> None:
        pauses = list(FIRST_ANNOUNCEMENTS_S)
        failing = False
        while True:
            await place.clock.sleep(pauses.pop(0) if pauses else self.announce_every)
            if not permit.is_valid():
                continue
            try:
                await self._announce_if_held(place)
                failing = False
            except HostError as error:
                if not failing:
                    place.events.emit("announcement_failed", resource=place.name, reason=str(error))
                failing = True

    async def _announce_if_held(self, place: Place) -> None:
        for held in self._ours(await place.host.network.addresses(), place):
            if held.address == self.plain:
                await place.host.network.announce(self.plain, held.interface)

    async def _target(self, place: Place) -> tuple[str, int]:
        """Interface and prefix length, from the spec or else from this server's own subnets."""
        network = place.host.network
        interface = self.interface or await network.interface_for(self.plain)
        if interface is None:
            raise ResourceError(
                f"no interface of {place.server} has a subnet that holds {self.plain}", retry=False
            )
        if "/" in self.address:
            return interface, ipaddress.ip_interface(self.address).network.prefixlen
        prefix = await network.prefix_for(self.plain, interface)
        if prefix is None:
            raise ResourceError(
                f"{interface} has no subnet that holds {self.plain}: write its prefix length",
                retry=False,
            )
        return interface, prefix

    def _is_right(self, held: HeldAddress) -> bool:
        """What the spec fixes is as it says; the rest was right when it was added."""
        if held.address != self.plain or self.interface not in (None, held.interface):
            return False
        return "/" not in self.address or self.address == f"{held.address}/{held.prefix}"

    def _ours(self, held: tuple[HeldAddress, ...], place: Place) -> list[HeldAddress]:
        """Added by this resource (also with an older spec), or marked as ours by an agent whose
        notes are lost."""
        return [
            one
            for one in held
            if one.owner == place.name or (one.owner == "" and one.address == self.plain)
        ]

    def _configured_by_others(
        self, held: tuple[HeldAddress, ...], place: Place
    ) -> list[HeldAddress]:
        ours = self._ours(held, place)
        return [one for one in held if one.address == self.plain and one not in ours]


def _where(held: list[HeldAddress]) -> str:
    return ", ".join(f"{one.address}/{one.prefix} on {one.interface}" for one in held)
