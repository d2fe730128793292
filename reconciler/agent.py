"""`reconciler`: the agent of one server. The composition root: builds the ports, runs the loops.

`reconciler [--config FILE] [--check]`. Ends with 0 on SIGTERM (what it runs goes on running), with
2 for a bad configuration, with 70 for anything that its supervisor should restart it for, and with
75 when a final action ended it: then it shall not be started again by itself.
"""

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import structlog

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.etcd import EtcdStore, TlsFiles
from reconciler.adapters.journal import Journal
from reconciler.adapters.linux.emergency import AddressProber
from reconciler.adapters.linux.gauges import LinuxGauges
from reconciler.adapters.linux.host import LinuxHost
from reconciler.adapters.linux.local_state import FileLocalState
from reconciler.adapters.linux.machine import LinuxMachine
from reconciler.adapters.linux.notify import READY, STOPPING, notify
from reconciler.adapters.linux.probes import LinuxProbes
from reconciler.adapters.peers.pulse_peers import PulsePeers
from reconciler.adapters.power import RegisteredPower
from reconciler.binding import LeftoverDriver, bind
from reconciler.config import DEFAULT_CONFIG, AgentConfig, load_config
from reconciler.decide.circumstances import circumstances, listed_servers
from reconciler.decide.keys import Keys
from reconciler.decide.records import Phase
from reconciler.decide.snapshot import Specs
from reconciler.loops.agent_loops import AgentLoops
from reconciler.loops.consents import StoreConsents
from reconciler.loops.facts import FactsLoop
from reconciler.loops.followers import Follow
from reconciler.loops.mirror_records import StoreMirrorRecords
from reconciler.loops.pulse_care import PulseCare
from reconciler.loops.specs import RepositorySpecs
from reconciler.loops.state import AgentState
from reconciler.plugin import MonitorType, Place, Registry, ResourceType, Site
from reconciler.ports.driver import Driver
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.ports.store import StoreError, Unavailable
from reconciler.repository import RepositoryError, SpecRepository, load_stored
from specs.errors import SpecErrors
from specs.load import SpecSet
from specs.monitor import Monitor
from specs.program import DEFAULT_PATH
from specs.resource import Resource
from specs.script import Script

VERSION = "0.1.0"
EXIT_BAD_CONFIG = 2
EXIT_RESTART = 70
EXIT_STAY_AWAY = 75
KILL_LIST_EVERY_S = 1.0
LOG_BYTES = 2**20
REPLACED_AFTER_S = 3.0
KEYS_LOOK_S = 1.0
REAL_TIME_PRIORITY = 10


class StoreReplaced(Exception):
    """The store behind the endpoints is not the one that this agent began with."""


class Agent:
    """Everything one agent is made of. `async with` is not needed: `run` cleans up."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.clock = MonotonicClock()
        self.keys = Keys(config.cluster)
        self.registry = Registry.discover()
        config.state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        config.run_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.events = Journal(
            config.server, self.keys, self.clock, config.state_directory / "events.jsonl"
        )
        tls = TlsFiles(config.ca_file, config.certificate_file, config.key_file)
        secure = config.endpoints[0].startswith("https:")
        self.store = EtcdStore.connect(config.endpoints, tls if secure else None, self.clock)
        self.peers = PulsePeers(
            config.run_directory / "pulse.sock",
            clock=self.clock,
            state_path=config.run_directory / "pulse.json",
            events=self.events,
        )
        machine = LinuxMachine(config.boot_id_file, allow_reset=True)
        self.host = LinuxHost(
            config.run_directory,
            config.state_directory,
            config.cluster_key_file,
            machine.boot_id(),
            config.pki_directory,
        )
        self.probes = LinuxProbes()
        self.state = AgentState(
            me=config.server,
            keys=self.keys,
            clock=self.clock,
            store=self.store,
            peers=self.peers,
            machine=machine,
            events=self.events,
            local_state=FileLocalState(config.state_directory, config.run_directory),
            rng=random.SystemRandom(),
        )
        self.loops = AgentLoops(
            self.state,
            make_driver=self._driver,
            read_resource=self._read_resource,
            specs=RepositorySpecs(self.store, self.keys, self.clock, self.events, self._read_head),
            power=RegisteredPower(self.registry, self.clock),
            prober=AddressProber(self.host),
            version=VERSION,
            on_specs=self._configure_pulse,
            take_sample=self._sample,
            run_script=self._run_script,
            follow=Follow(self._follow, self._unfollow),
            mirrors=self.host.mirrors,
            read_mirror=self.host.disks.resting_mirror,
        )

        self.pulse_care = PulseCare(
            config, self.state, self.peers, self.host, self.loops.group_of, self.loops.adopted
        )

    async def run(self) -> None:
        """Until cancelled, or until a loop fails."""
        with closing(self.probes):
            async with self.host, asyncio.TaskGroup() as tasks:
                tasks.create_task(self.peers.run())
                tasks.create_task(self.events.publish(self.store))
                tasks.create_task(self.pulse_care.run())
                tasks.create_task(self._end_when_replaced())
                tasks.create_task(self._facts().run())
                tasks.create_task(self.loops.run())

    def _configure_pulse(self, specs: Specs) -> None:
        self.pulse_care.configure(specs)

    def _facts(self) -> FactsLoop:
        gauges = LinuxGauges(
            self.config.state_directory,
            self.config.boot_id_file,
            self.config.pki_directory,
            self.host.network,
            lambda: self.peers.status().realtime if self.peers.status().pid else None,
        )
        return FactsLoop(self.state, gauges)

    async def leave(self) -> None:
        """End the session at once when this server is being shut down in order: the others need
        not wait until it runs out, also if this is the coordinator."""
        own, cordon = self.state.own_session, self.state.mirror.maps["cordons"].get(self.state.me)
        leaving = cordon is not None and cordon.record.boot_id == self.state.boot_id
        running = [g for g in self.state.local_groups.values() if g.phase is not Phase.OFFLINE]
        if own is None or not leaving or running:
            return
        try:
            await self.store.revoke(own.lease)
        except StoreError as error:
            self.events.emit("session_not_ended", error=str(error))

    async def _end_when_replaced(self) -> None:
        """Behind the endpoints is another store, restored from a backup: the next agent begins with
        what it says. Not at once, for a single wrong endpoint is no reason to end."""
        seen = 0
        while True:
            await self.clock.sleep(1.0)
            fresh = self.clock.now() - self.state.mirror.fresh_at < REPLACED_AFTER_S
            seen = seen + 1 if self.store.is_replaced and not fresh else 0
            if seen >= REPLACED_AFTER_S:
                self.events.emit("store_replaced")
                raise StoreReplaced

    async def _read_head(self) -> tuple[int, SpecSet] | None:
        repository = SpecRepository(self.store, self.keys)
        if await repository.head() is None:
            return None
        try:
            stored = await repository.read()
        except RepositoryError as error:  # collected while we read, or written by pieces
            raise Unavailable(str(error)) from error
        # Thousands of objects take seconds to parse: challenges must be answered meanwhile.
        return stored.revision, await asyncio.to_thread(load_stored, stored, self.registry)

    def _driver(self, resource: Resource) -> Driver:
        if not isinstance(resource.spec, ResourceType):
            return LeftoverDriver(self.host, resource.metadata.name)
        return bind(resource, self._place(resource))

    async def _follow(self, resource: Resource) -> None:
        if isinstance(resource.spec, ResourceType):
            await resource.spec.follow(self._place(resource))

    async def _unfollow(self, resource: Resource) -> None:
        if isinstance(resource.spec, ResourceType):
            await resource.spec.unfollow(self._place(resource))

    def _addresses(self, group: str) -> Mapping[str, Mapping[str, str]]:
        """Servers that may run the group, each with its addresses by network."""
        snapshot = self.state.snapshot()
        if snapshot is None:
            return {}
        servers = snapshot.specs.servers
        listed = listed_servers(snapshot, group)
        return {name: servers[name].spec.addresses for name in listed if name in servers}

    def _server_groups(self) -> Mapping[str, tuple[str, ...]]:
        found = self.state.specs.server_groups if self.state.specs else {}
        return {name: group.spec.servers for name, group in found.items()}

    def _place(self, resource: Resource) -> Place:
        return Place(
            name=resource.metadata.name,
            group=resource.spec.group,
            server=self.config.server,
            host=self.host,
            clock=self.clock,
            events=self.events,
            run_directory=self.config.run_directory,
            probes=self.probes,
            circumstances=lambda: circumstances(
                self.state.snapshot(), resource.spec.group, resource.metadata.name
            ),
            servers=lambda: self._addresses(resource.spec.group),
            server_groups=self._server_groups,
            records=StoreMirrorRecords(self.state),
            consents=StoreConsents(self.state),
        )

    async def _sample(self, monitor: Monitor, specs: Specs) -> Sample:
        """One probe of a monitor; see `loops.monitors.TakeSample`."""
        if not isinstance(monitor.spec, MonitorType):
            raise ProbeUnavailable(f"monitor type {monitor.spec.type!r} is not installed")
        name, server = monitor.metadata.name, self.config.server
        site = Site(name, server, self.host, self.probes, specs.resources)
        return await monitor.spec.sample(site)

    async def _run_script(
        self,
        name: str,
        script: Script,
        variables: Mapping[str, str],
        timeout_s: float,
        directory: str,
    ) -> Sample:
        """A script beside the resources' own; see `loops.recovery_script.RunScript`."""
        log = self.config.run_directory / "scripts" / f"{name}.log"
        settings = {
            "command": [*script.interpreter, await self.host.scripts.place(script.text)],
            "environment": {"PATH": DEFAULT_PATH, **variables},
            "directory": directory,
            "log": [str(log), LOG_BYTES, 1],
        }
        return await self.probes.run("command", settings, timeout_s)

    def _read_resource(self, dumped: Mapping[str, object]) -> Resource:
        spec = dumped["spec"]
        if not isinstance(spec, dict):
            raise TypeError("a remembered resource has no spec")
        model = self.registry.resource_model(str(spec.get("type")))
        if model is None:
            raise ValueError(f"a remembered resource has the unknown type {spec.get('type')!r}")
        return Resource.model_validate({**dumped, "spec": model.model_validate(spec)})


def raise_priority() -> str | None:
    """A low real-time priority, not inherited by what we start; the reason if it is refused."""
    try:
        flags = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, flags, os.sched_param(REAL_TIME_PRIORITY))
    except OSError as error:
        return error.strerror
    return None


async def _main(config: AgentConfig) -> int:
    agent = Agent(config)
    # What was loaded stays for good: a collection that looks through it would delay an answer.
    gc.collect()
    gc.freeze()
    refused = raise_priority()
    agent.events.emit("agent_started", version=VERSION, pid=os.getpid(), boot=agent.state.boot_id)
    if refused:
        agent.events.emit("real_time_refused", reason=refused)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    run = asyncio.create_task(agent.run())
    unheard = notify(READY, f"STATUS=agent of {config.server} in cluster {config.cluster}")
    if unheard:
        structlog.get_logger("reconciler").warning("service_manager_not_told", reason=unheard)
    waiter = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(agent.state.ended.wait())
    await asyncio.wait({run, waiter, ended}, return_when=asyncio.FIRST_COMPLETED)
    notify(STOPPING)
    for task in (run, waiter, ended):
        task.cancel()
    results = await asyncio.gather(run, waiter, ended, return_exceptions=True)
    orderly = stop.is_set() or agent.state.ended.is_set()
    if orderly:
        await agent.leave()
    await agent.store.close()
    if orderly:
        agent.events.emit("agent_stopped")
        return 0 if stop.is_set() else EXIT_STAY_AWAY
    structlog.get_logger("reconciler").error("agent_failed", exc_info=results[0])
    return EXIT_RESTART


def main() -> int:
    """Entry point of the `reconciler` command."""
    parser = argparse.ArgumentParser(prog="reconciler", description="The agent of one server.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="read the configuration and end")
    options = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        config = load_config(options.config)
    except SpecErrors as errors:
        sys.stderr.write(f"{errors}\n")
        return EXIT_BAD_CONFIG
    if options.check:
        sys.stdout.write(f"{options.config}: ok\n")
        return 0
    return asyncio.run(_main(config))


if __name__ == "__main__":
    sys.exit(main())
