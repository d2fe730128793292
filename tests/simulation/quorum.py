"""Paths beside the networks: the shared disk with its mailboxes and pills, and the serial line.

A server's way to the disk is the link (server, server, DISK); of the line each direction is one.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from reconciler.fences.poison_pill import _wait_s
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest, Wanted, always
from reconciler.pulse.mailbox import Mailbox
from tests.simulation.ears import HEARTBEAT_S, NEVER, Ears
from tests.simulation.facts import Pill
from tests.simulation.variants import DISK, SERIAL
from tests.simulation.virtual_time import SimClock

if TYPE_CHECKING:
    from tests.simulation.world import World

# What `HeartbeatPathSpec.every` makes of it.
EVERY_S: Final = {DISK: 5 * HEARTBEAT_S, SERIAL: HEARTBEAT_S}
LISTEN_S = 0.5


def reads_disk(world: "World", server: str) -> bool:
    return (server, server, DISK) not in world.broken


class WideEars(Ears):
    """Who is heard on a network, on the disk, or on the line."""

    def missed(self, sender: str, hearer: str) -> int:
        fewest = super().missed(sender, hearer)
        if not fewest:
            return 0
        return min([fewest, *(missed for _, missed in self.beside(sender, hearer).values())])

    def beside(self, sender: str, hearer: str) -> dict[str, tuple[float | None, int]]:
        """For each path that is no network: world's time of the newest heartbeat, and misses."""
        variant, found = self._world.variant, {}
        if variant.disk:
            links = ((sender, sender, DISK), (hearer, hearer, DISK))
            found[DISK] = self._on(DISK, sender, hearer, links)
        if variant.serial and {sender, hearer} == set(self._world.names[:2]):
            found[SERIAL] = self._on(SERIAL, sender, hearer, ((sender, hearer, SERIAL),))
        return found

    def _on(
        self, path: str, sender: str, hearer: str, links: tuple[tuple[str, str, str], ...]
    ) -> tuple[float | None, int]:
        world, host, every = self._world, self._world.hosts[sender], EVERY_S[path]
        if not host.boot:
            return None, NEVER
        since = max(
            world.hosts[hearer].pulse_up_since,
            host.pulse_up_since,
            host.resumed_at,
            *(world.healed.get(link, 0.0) for link in links),
        )
        cuts = [world.broken[link] for link in links if link in world.broken]
        if sender in world.frozen:
            cuts.append(world.frozen[sender])
        if not host.powered or host.pulse_down:
            cuts.append(world.died_at.get(sender, 0.0))
        # Read in the reader's own rounds: up to one interval after it was written.
        late = every * (((ord(sender[-1]) * 7 + ord(hearer[-1]) * 3) % 10) / 10)
        until = min([world.loop.now - late, *cuts])
        heard = int(until / every + 1e-6) * every
        if heard < since:
            return None, NEVER
        return heard + late, max(0, int((world.loop.now - heard - late) / every + 1e-6))


class SimMailbox(Mailbox):
    """The real rules; the disk is the world's."""

    def __init__(self, world: "World", server: str) -> None:
        super().__init__(server, 0, world.variant.mailbox_s)
        self._world = world

    def look(self, now: float) -> None:
        """One round of the disk's thread, if the disk answers."""
        disk, server = self._world.disk, self._server
        if not self.boot_id or not reads_disk(self._world, server):
            return
        wanted = 0 if self.retracting else self.wanted_s
        self._round += 1
        self.promised_s = max(self.promised_s, wanted)
        disk.promises[server] = {
            "server": server,
            "boot_id": self.boot_id,
            "watchdog_s": wanted,
            "patience_s": self._patience,
            "round": self._round,
        }
        if not wanted:
            self.promised_s = 0
        if disk.pills.get(server) == self.boot_id:
            self.pill = True
        self.read_at = now


class SimPaths:
    """`pulse.paths.Paths`, as far as feeding asks."""

    def __init__(self, world: "World", server: str) -> None:
        self._boxes = {DISK: SimMailbox(world, server)} if world.variant.mailbox_s else {}

    def mailboxes(self) -> Iterator[tuple[str, SimMailbox]]:
        yield from self._boxes.items()

    def retract(self, timeout_s: float) -> bool:
        del timeout_s
        for box in self._boxes.values():
            box.retracting = True
        return not self._boxes

    def look(self, now: float) -> None:
        for box in self._boxes.values():
            box.look(now)


class SimPill:
    """`fences.poison_pill.PoisonPillDevice`, on the world's disk."""

    def __init__(self, world: "World", me: str, level: Mapping[str, Any], clock: SimClock) -> None:
        self._world, self._me, self._clock = world, me, clock
        self._victim = str(level["server"])

    def _promise(self) -> dict[str, Any]:
        if not reads_disk(self._world, self._me):
            raise FenceError("the disk does not answer")
        found = self._world.disk.promises.get(self._victim)
        if found is None:
            raise FenceError(f"{self._victim} has promised nothing")
        return found

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        await self._clock.sleep(0.01)
        promise = self._promise()
        if promise["boot_id"] not in boots:
            raise FenceError("the promise is of another boot")
        wait, left = _wait_s(promise), valid_until - self._clock.now()
        if wait > left:
            raise FenceError(f"a pill needs {wait:.1f} s, and {left:.1f} s are left")
        boot_id = str(promise["boot_id"])
        self._world.disk.pills[self._victim] = boot_id
        self._world.note("pill_written", server=self._victim, by=self._me, boot_id=boot_id)
        self._world.emit(Pill(self._world.loop.now, self._victim, boot_id))
        await self._clock.sleep(wait)
        now = self._promise()
        await self._clock.sleep(LISTEN_S)
        if now["boot_id"] == boot_id:
            if any(now[term] != promise[term] for term in ("watchdog_s", "patience_s")):
                raise FenceError(f"{self._victim} changed its promise meanwhile")
            if self._promise() != now:
                raise FenceError(f"{self._victim} still writes, although it must be over")
        return PowerOffReport(PowerState.ON, PowerState.OFF, None, 10.0, boot_id)

    async def self_test(self) -> SelfTest:
        try:
            _wait_s(self._promise())
        except FenceError as error:
            return SelfTest(False, str(error), 10.0)
        return SelfTest(True, "ok", 10.0)

    async def status(self) -> PowerState:
        raise FenceError("a poison pill cannot tell whether the power is on")

    async def power_on(self) -> None:
        raise FenceError("a poison pill cannot switch a server on")

    async def power_cycle(self) -> None:
        raise FenceError("a poison pill cannot switch a server on")

    async def identify(self, seconds: int) -> None:
        raise FenceError("a disk has no locator LED")

    async def prepare(self) -> None:
        """There is nothing to open early."""
