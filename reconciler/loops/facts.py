"""Publishes what this server measures of itself, now and then; nothing is decided by it."""

from reconciler.decide.records import ServerFacts
from reconciler.decide.snapshot import Specs
from reconciler.loops.state import AgentState
from reconciler.ports.gauges import Gauges
from reconciler.ports.store import Put, StoreError, Transaction

FIRST_S = 3.0
AGAIN_S = 30.0
EVERY_S = 300.0
STORE_TRIES = 5


class FactsLoop:
    """The second round comes soon: only then have the others' clocks been compared, and the first
    specs may not have had this server in them."""

    def __init__(self, state: AgentState, gauges: Gauges) -> None:
        self._state, self._gauges = state, gauges

    async def run(self) -> None:
        state = self._state
        await state.clock.sleep(state.jitter(FIRST_S))
        pause = AGAIN_S
        while True:
            if state.specs is not None and state.own_session is not None:
                try:
                    await self._publish(state.specs)
                    whole = state.mirror.clock_offsets and state.me in state.specs.servers
                    pause = EVERY_S if whole else AGAIN_S
                except (StoreError, OSError) as error:
                    state.events.emit("facts_not_published", error=str(error))
            await state.clock.sleep(state.jitter(pause))

    async def _publish(self, specs: Specs) -> None:
        state, gauges = self._state, self._gauges
        fsync_ms = await gauges.fsync_ms()
        server = specs.servers.get(state.me)
        interfaces = {}
        for network, address in sorted(server.spec.addresses.items() if server else ()):
            interfaces[network] = await gauges.interface_for(str(address)) or ""
        store_ms = await self._store_ms()
        facts = ServerFacts(
            server=state.me,
            boot_id=state.boot_id,
            fsync_ms=round(fsync_ms, 2),
            store_ms=round(store_ms, 2),
            boot_s=gauges.boot_s(),
            interfaces=interfaces,
            clock_offsets={s: round(o, 3) for s, o in sorted(state.mirror.clock_offsets.items())},
            realtime=gauges.realtime(),
            certificates=gauges.certificates(),
            storage=await gauges.storage(),
            at_wall=state.clock.wall(),
        )
        put = Put(state.keys.server_facts(state.me), facts.to_bytes())
        await state.store.commit(Transaction((), (put,)))

    async def _store_ms(self) -> float:
        """The slowest of a few reads that a majority of the store must agree to."""
        state, slowest = self._state, 0.0
        for _ in range(STORE_TRIES):
            began = state.clock.now()
            await state.store.get(state.keys.head)
            slowest = max(slowest, state.clock.now() - began)
        return slowest * 1000
