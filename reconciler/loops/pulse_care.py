"""What the agent tells its pulse besides reports: configuration, keys, watchdog, what to end.

The pulse outlives the agent, so everything here is told again to a new one, and nothing becomes
longer before the others can reckon with it.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from reconciler.adapters.linux.emergency import kill_list
from reconciler.adapters.linux.host import LinuxHost
from reconciler.adapters.linux.watchdog import WatchdogKeeper
from reconciler.adapters.peers.configuration import (
    KillEntry,
    PulseConfiguration,
    device_paths,
    heartbeat_paths,
)
from reconciler.adapters.peers.pulse_peers import PulseError, PulsePeers
from reconciler.config import AgentConfig
from reconciler.decide.expiry import longest_deadlines
from reconciler.decide.records import Session
from reconciler.decide.snapshot import Specs
from reconciler.loops.act import wait_for
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.pulse.packet import key_id
from specs.server import WatchdogSpec

KILL_LIST_EVERY_S = 1.0
KEYS_LOOK_S = 1.0


class PulseCare:
    """`group_of` names the group of a resource that runs here; `adopted` is set once what an
    earlier agent started is known."""

    def __init__(
        self,
        config: AgentConfig,
        state: AgentState,
        peers: PulsePeers,
        host: LinuxHost,
        group_of: Callable[[str], str],
        adopted: asyncio.Event,
    ) -> None:
        self._config, self._state, self._peers, self._host = config, state, peers, host
        self._group_of, self._adopted = group_of, adopted
        self._watchdog = WatchdogKeeper()
        self._armed: tuple[float, float] | None = None  # time-out, stall
        self._deadline = 0.0

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keep_kill_list())
            tasks.create_task(self.keep_cluster_keys())
            tasks.create_task(self.keep_watchdog())

    async def keep_cluster_keys(self) -> None:
        """The pulse runs with the keys in the file, whenever somebody exchanges it."""
        path, seen = self._config.cluster_key_file, (0, 0)
        while True:
            await self._state.clock.sleep(KEYS_LOOK_S)
            specs = self._state.specs
            try:
                entry = path.stat()
                known = json.loads(path.read_text())["keys"]
                names = tuple(key_id(bytes.fromhex(key)).hex() for key in known)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it goes on with those that it has; `pulse_not_configured` tells
            if specs is None or (entry.st_mtime_ns, entry.st_ino) == seen:
                continue
            self.configure(specs)
            try:
                await self._peers.ready()
            except PulseError:
                continue  # told by the pulse's own events; tried again
            seen = (entry.st_mtime_ns, entry.st_ino)
            self._state.cluster_keys = names
            self._state.wake()

    def configure(self, specs: Specs) -> None:
        if self._state.me not in specs.servers:
            self._state.events.emit("server_not_in_specs", name=self._state.me)
            return
        timing = specs.timing
        self._deadline = self._dead_man(timing.dead_man)
        addresses = {name: server.spec.addresses for name, server in specs.servers.items()}
        networks = [n.name for n in specs.cluster.spec.networks if n.heartbeat]
        try:
            keys = json.loads(self._config.cluster_key_file.read_text())["keys"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            # The groups here still need their agent; others see a pulse that is not what it was.
            self._state.events.emit("pulse_not_configured", error=type(error).__name__)
            return
        self._peers.configure(
            PulseConfiguration(
                cluster=self._config.cluster,
                server=self._state.me,
                boot_id=self._state.boot_id,
                keys=tuple(keys),
                interval=timing.heartbeat_interval,
                misses=timing.heartbeat_misses,
                dead_man=self._deadline,
                session_ttl=timing.session_ttl,
                paths={
                    **heartbeat_paths(
                        self._state.me, networks, addresses, self._config.heartbeat_port
                    ),
                    **device_paths(
                        self._state.me,
                        specs.cluster.spec.heartbeat_paths,
                        timing.heartbeat_interval,
                    ),
                },
            )
        )

    def _promise(self) -> Session | None:
        """What this boot's session tells the others of its deadlines."""
        stored = self._state.mirror.maps["sessions"].get(self._state.me)
        mine = stored is not None and stored.record.boot_id == self._state.boot_id
        return stored.record if stored is not None and mine else None

    def _dead_man(self, wanted: float) -> float:
        """A longer deadline is in force only once the others can read it, and those who granted
        groups under the old one have written it down."""
        promise, bound = self._promise(), self._bound()
        told = promise.dead_man_s if promise and promise.dead_man_s else wanted
        return min(wanted, told, bound[0] if bound else wanted)

    def _bound(self) -> tuple[float, float] | None:
        """The longest (D, W) that groups were granted under; what the pulse holds until we know."""
        snapshot, pulse = self._state.snapshot(), self._peers.view()
        if snapshot is not None:
            return longest_deadlines(snapshot)
        return (pulse.dead_man_s, pulse.watchdog_s) if pulse.holds else None

    async def keep_watchdog(self) -> None:
        """The pulse has the deadline and the watchdog that this server's spec wants, for ever."""
        wake = self._state.new_wake()
        while True:
            wake.clear()
            specs = self._state.specs
            if specs is not None:
                if self._dead_man(specs.timing.dead_man) != self._deadline:
                    self.configure(specs)
                self._arm_watchdog(specs)
            await wait_for(self._state, wake, KILL_LIST_EVERY_S)
            await self._state.clock.sleep(0.1)

    def _arm_watchdog(self, specs: Specs) -> None:
        server, pulse = specs.servers.get(self._state.me), self._peers.status()
        wanted = server.spec.watchdog if server else None
        if pulse.watchdog_error:
            self._watchdog.forget()
            self._armed = None
        elif pulse.watchdog_s and not self._watchdog.is_open:
            # The pulse of the agent before us holds it: fed, and opened by nobody else. With it in
            # our hands too the end of that pulse neither feeds nor closes it.
            if (lent := self._peers.borrow_watchdog()) is None:
                return
            self._watchdog.adopt(lent)
        arm = self._timeout(wanted), (wanted.stall or 0.0) if wanted else 0.0
        if not arm[0] or arm == self._armed:
            return
        device = Path(wanted.device) if wanted else Path()
        try:
            self._peers.arm(self._watchdog.descriptor(device), *arm)
        except OSError as error:
            self._state.events.emit("watchdog_failed", error=f"{device}: {error.strerror}")
            return
        self._armed = arm

    def _timeout(self, wanted: WatchdogSpec | None) -> float:
        """What the next pulse, too, may arm it with now; 0 for nothing. A longer time-out than
        before only once the others can read it, and those who granted groups under the old one
        have written it down. One that is open must be fed for the rest of the boot."""
        promise, bound = self._promise(), self._bound()
        told = promise.watchdog_s if promise else 0.0
        if wanted is None:
            fed = told or self._peers.status().watchdog_s
            return fed if self._watchdog.is_open else 0.0
        return min(wanted.timeout, told or wanted.timeout, bound[1] if bound else wanted.timeout)

    def _policy_of(self, resource: str) -> str:
        return self._state.policy_of(self._group_of(resource))

    async def keep_kill_list(self) -> None:
        """The pulse always knows what to end if this agent does not come back."""
        await self._adopted.wait()
        wake = self._state.new_wake()
        registered: list[KillEntry] | None = None  # what the agent before us said is not known
        while True:
            wake.clear()
            entries = registered
            try:
                entries = await kill_list(self._host, self._policy_of)
            except HostError as error:
                self._state.events.emit("kill_list_failed", error=str(error))
            if entries is not None and entries != registered:
                self._peers.register(entries)
                registered = entries
            await wait_for(self._state, wake, KILL_LIST_EVERY_S)
            await self._state.clock.sleep(0.1)
