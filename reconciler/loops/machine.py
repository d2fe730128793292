"""Carries out final actions on this server: counted before they are taken, each bounded in time.

Monitors call it through `AgentState.act_on_machine`, the local loop for groups. Self-fencing does
not go through here: it counts nothing and waits for nothing.
"""

from reconciler.decide.actions import ActOnMachine, ForgetMachineActions
from reconciler.decide.cordon_words import BY_ITSELF
from reconciler.decide.machine_actions import IN_ORDER, MachineAction
from reconciler.decide.records import Operation, OperationKind, Phase
from reconciler.decide.snapshot import PastAction
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.loops.state import AgentState
from reconciler.ports.machine import ResetRefused
from reconciler.ports.power import FenceError, Power
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

LEAVE_S = 20.0
"""Groups may move away for so long, then the machine goes with whatever still runs."""

EVENTS_LEAVE_S = 0.5
"""Others shall read why."""

_LOOK_S = 0.1
_REMEMBERED = 50


class MachineHand:
    def __init__(self, state: AgentState, power: Power) -> None:
        self._state, self._power = state, power
        self._busy = False
        self._told: set[tuple[str, str]] = set()
        state.act_on_machine = self.take

    async def obey(self, effect: ActOnMachine | ForgetMachineActions) -> None:
        """What the rules want; says once why something is not done."""
        if isinstance(effect, ForgetMachineActions):
            left = tuple(a for a in self._state.machine_actions if a.wall > effect.through_wall)
            self._remember(left)
        elif effect.obstacle:
            if (effect.key, effect.obstacle) not in self._told:
                self._told.add((effect.key, effect.obstacle))
                self._state.events.emit(
                    "machine_action_suppressed", action=effect.action, reason=effect.obstacle
                )
        else:
            await self.take(effect.action, effect.reason, effect.key)

    async def take(self, action: str, reason: str, key: str = "") -> None:
        """One at a time. Returns when it was refused, or while it is under way elsewhere."""
        state = self._state
        if self._busy:
            return
        self._busy = True
        try:
            past = PastAction(action, reason, state.clock.wall(), key)
            if not self._remember((*state.machine_actions, past)[-_REMEMBERED:]):
                return  # what is not counted could happen without end
            state.events.emit("machine_action_taken", action=action, reason=reason)
            chosen = MachineAction(action)
            if chosen in IN_ORDER:
                await self._give_groups_away(reason)
            await state.clock.sleep(EVENTS_LEAVE_S)
            await self._end(chosen, reason)
        finally:
            self._busy = False

    def _remember(self, actions: tuple[PastAction, ...]) -> bool:
        try:
            self._state.remember_actions(actions)
        except OSError as error:
            self._state.events.emit(
                "machine_action_suppressed", action="", reason=f"it cannot be counted: {error}"
            )
            return False
        self._state.wake()
        return True

    async def _give_groups_away(self, reason: str) -> None:
        """As an orderly shutdown does it: this boot takes no groups, and gives away what it has."""
        state = self._state
        number = ulid(state.clock.wall(), state.rng.randbytes(RANDOM_BYTES))
        key = state.keys.operation(number)
        wish = Operation(
            nonce=state.nonce(),
            id=number,
            kind=OperationKind.DRAIN,
            target=f"server/{state.me}",
            boot_id=state.boot_id,
            who=f"{BY_ITSELF}{state.me}",
            why=reason,
            created_wall=state.clock.wall(),
        )
        try:
            put = Put(key, wish.to_bytes())
            await state.store.commit(Transaction((Unchanged(key, 0),), (put,), key))
        except StoreError as error:
            state.events.emit("store_write_failed", error=str(error))
        end = state.clock.now() + LEAVE_S
        while self._runs_something() and state.clock.now() < end:
            await state.clock.sleep(_LOOK_S)

    def _runs_something(self) -> bool:
        return any(group.phase is not Phase.OFFLINE for group in self._state.local_groups.values())

    async def _end(self, action: MachineAction, reason: str) -> None:
        """What does not obey is reset: it must not go on as if nothing had been wanted."""
        state, machine = self._state, self._state.machine
        if action is MachineAction.STOP_AGENT:
            if self._runs_something():
                state.events.emit("machine_action_suppressed", action=action, reason="groups stay")
                return
            state.ended.set()
            return
        try:
            if action in (MachineAction.SHUTDOWN, MachineAction.POWER_OFF):
                await machine.power_off(reason)
                return
            if action is MachineAction.CRASH:
                await machine.crash(reason)
                return
            if action is MachineAction.POWER_CYCLE:
                await self._cycle()
        except ResetRefused as error:
            state.events.emit("machine_reset_refused", reason=reason, error=str(error))
        state.events.emit("machine_reset", reason=reason)
        try:
            await machine.reset(reason)
        except ResetRefused as error:
            state.events.emit("machine_reset_refused", reason=reason, error=str(error))

    async def _cycle(self) -> None:
        """By this server's own fence devices, the first that obeys."""
        specs = self._state.specs
        server = specs.servers.get(self._state.me) if specs else None
        fencing = server.spec.fencing if server else None
        for level in fencing.levels if fencing else ():
            try:
                await self._power.device(level).power_cycle()
            except FenceError as error:
                self._state.events.emit("power_cycle_failed", error=str(error))
            else:
                return
