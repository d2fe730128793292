"""Mirrors whose engine is DRBD (`ports.mirrors.Mirrors`): the kernel's module, moved by its
programs. What it may do follows from the record and from the permit, as with our own engine;
`reconciler.drbd.rules` has the rules.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.adapters.linux import drbd_wishes
from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.drbd import comparison, rules
from reconciler.drbd.comparison import Comparison
from reconciler.drbd.resource_file import device_of
from reconciler.drbd.rules import Ask, Known
from reconciler.drbd.state import Generations, State
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import Decide, EngineView, MirrorPlan, Question, Stopped

SETTLE_LOOKS = 50
LOOK_AGAIN_S = 0.1
RETRY_S = 0.5
WATCH_LIMIT_S = 5.0
"""A look is made at least that often: nothing depends on an event alone."""

NONE = Generations("0" * 16)
_UNSETTLED = ("Attaching", "Negotiating")


class LinuxDrbd:
    """Mirrors live under `<run directory>/mirrors/<name>`, as those of our own engine do.
    `cluster_key` is the file that all servers of the cluster share; `boot` is this power-on."""

    def __init__(self, run_directory: Path, cluster_key: Path | None, boot: str) -> None:
        self._root, self._cluster_key, self._boot = run_directory / "mirrors", cluster_key, boot
        self._locks: dict[str, asyncio.Lock] = {}

    def _side(self, name: str) -> DrbdSide:
        return DrbdSide(name, self._root / name)

    def has(self, name: str) -> bool:
        """Whether DRBD was told of it in this boot."""
        return bool(self._side(name).notes())

    def _alone_with(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def ensure(self, plan: MirrorPlan) -> None:
        if plan.shared:
            raise HostError("DRBD mirrors a disk of one server, not one that several see")
        side = self._side(plan.name)
        async with self._alone_with(plan.name):
            await side.set_up(plan, self._cluster_key)
            state = await self._settled(side)
            if state.connected:
                side.split.unlink(missing_ok=True)
            if not state.serves:
                side.alone.unlink(missing_ok=True)
            side.end_isolation()
            if state.connection == "StandAlone" and side.may_connect(serves=state.serves):
                await side.admin("connect")

    async def _settled(self, side: DrbdSide) -> State:
        for _ in range(SETTLE_LOOKS):
            state = await self._state(side)
            if state.disk not in _UNSETTLED:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        return state

    async def _state(self, side: DrbdSide) -> State:
        state = await side.state()
        if state is None:
            raise HostError(f"DRBD does not have mirror {side.name}")
        return state

    async def view(self, name: str) -> EngineView | None:
        side = self._side(name)
        notes = side.notes()
        state = await side.state() if notes else None
        if state is None or "plan" not in notes:
            return None
        plan, ids = notes["plan"], await self._ids(side, state)
        return EngineView(
            serves=state.serves,
            epoch=int(notes.get("epoch", 0)) if state.serves else 0,
            over=rules.over(state, str(notes.get("refusal", ""))),
            suspended=bool(state.suspended),
            path=device_of(plan["port"]),
            header=rules.header_of(
                name,
                state,
                ids,
                begun=side.begun(),
                isolated_until=notes.get("isolated_until", 0.0) if notes.get("isolated") else None,
            ),
            boot=self._boot,
            details=rules.details(
                state,
                peer=plan["peer"],
                address=plan["peers"][0],
                asynchronous=plan["asynchronous"],
                split=side.split.exists(),
                limit=plan["limit"],
                comparison=_compared(side, comparison.noted(notes.get("check")), state, ids),
            ),
        )

    async def _ids(self, side: DrbdSide, state: State) -> Generations:
        """A side that lost its disk cannot be asked for them, and has none."""
        return NONE if state.disk in rules.WITHOUT_DISK else await side.generations()

    async def prepare(self, name: str, named: str) -> str:  # noqa: ARG002 - DRBD has ids of its own
        """DRBD begins a new generation by itself once it writes without the other side."""
        side = self._side(name)
        async with self._alone_with(name):
            state, ids = await self._state(side), await side.generations()
            if state.serves:
                raise HostError(f"mirror {name} serves already")
            if ids.never_written:
                await side.begin(f"{secrets.randbits(60) << 4:016X}", self._cluster_key)
                await self._settled(side)
                ids = await side.generations()
            return ids.current

    async def promote(self, name: str, epoch: int, generation: str) -> None:
        side = self._side(name)
        async with self._alone_with(name):
            ids = await side.generations()
            if generation not in (ids.current, ids.base):
                raise HostError(f"mirror {name} has another generation by now")
            side.note(epoch=epoch, refusal="", isolated=False, told="", both=False, held=False)
            side.note(check=None)  # it was of another time
            side.split.unlink(missing_ok=True)
            side.alone.touch(mode=0o600)
            if (await self._state(side)).peer_role == "Primary":
                # The record is ours by now. It loses us, asks before it goes on, and is refused.
                await side.part()
            # Never by force: DRBD itself refuses data that is not whole.
            await side.admin("primary")
            side.note_begun("")
            if (await self._state(side)).connection == "StandAlone":
                await side.admin("connect")

    async def stop(self, name: str, limit_s: float = 5.0) -> Stopped:
        side = self._side(name)
        async with self._alone_with(name):
            if await side.state() is None:
                return Stopped(clean=False, handed_over=False)
            await side.admin("secondary")
            state = await self._state(side)
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    while state.connected and state.pending:
                        await asyncio.sleep(LOOK_AGAIN_S)
                        state = await self._state(side)
            handed_over = state.both_current and not state.pending and not side.alone.exists()
            side.alone.unlink(missing_ok=True)
            side.note(epoch=0, refusal="")
            return Stopped(clean=True, handed_over=handed_over)

    async def ask(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        side = self._side(name)
        async with self._alone_with(name):
            return await drbd_wishes.carry_out(side, await self._state(side), request)

    async def quit(self, name: str) -> None:
        side = self._side(name)
        async with self._alone_with(name):
            state = await side.state() if side.notes() else None
            if state is not None:
                if state.serves:
                    raise HostError(f"mirror {name} serves")
                await side.down(state)
            side.forget()

    async def abort(self, name: str, reason: str) -> None:
        """DRBD could only let go of what waits by saying that it was written: that would be an
        acknowledgement which nobody has. So the server must go down with it."""
        state = await self._side(name).state()
        if state is not None and state.suspended:
            raise HostError(
                f"{reason}, but writes wait in mirror {name}, and DRBD cannot let them fail"
            )

    # -- what it asks ----------------------------------------------------------------------------

    async def attend(self, name: str, decide: Decide) -> None:
        side = self._side(name)
        async with self._watched(name) as changed:
            while True:
                try:
                    state = await side.state()
                    if state is None:
                        return
                    asked = await self._question(side, state)
                    if asked is not None:
                        await self._settle(side, asked, decide)
                        continue
                except HostError:
                    # Whoever looks at the mirror gets the same, and says so. Writes may wait for
                    # the next try: it must come.
                    await asyncio.sleep(RETRY_S)
                    continue
                await changed()

    async def _question(self, side: DrbdSide, state: State) -> Ask | None:
        notes = side.notes()
        if notes.get("refusal"):
            return None
        known = Known(
            alone=side.alone.exists(),
            told=str(notes.get("told", "")),
            both=bool(notes.get("both")),
            held=bool(notes.get("held")),
            repairs=self._repairs(side),
        )
        return rules.question(state, await side.generations(), known)

    @staticmethod
    def _repairs(side: DrbdSide) -> bool:
        known = comparison.noted(side.notes().get("check"))
        return known is not None and known.wants_copy

    async def _settle(self, side: DrbdSide, asked: Ask, decide: Decide) -> None:
        """Ask; if it is granted DRBD is told so, else it stays as it is, for good. In between the
        mark never says more than the record."""
        if asked.kind == "both":
            await self._name_both(side, asked, decide)
            return
        side.note(both=False)
        if asked.hold:
            side.note(held=True)
            await side.admin("suspend-io")
        if await self._is_granted(side, asked, decide):
            side.alone.touch(mode=0o600)
            await self._part(side)
            held = bool(side.notes().get("held"))
            if rules.stands_still(await self._state(side), held=held):
                await side.admin("resume-io")
            side.note(told=asked.generation, held=False)

    async def _part(self, side: DrbdSide) -> None:
        """For a moment: when both sides meet again DRBD copies what a comparison found."""
        known = comparison.noted(side.notes().get("check"))
        if known is None or not known.wants_copy:
            return
        if (await self._state(side)).connection != "StandAlone":
            await side.part()
        side.note(check=replace(known, repair=False).to_json())

    async def _name_both(self, side: DrbdSide, asked: Ask, decide: Decide) -> None:
        side.alone.unlink(missing_ok=True)
        if not rules.may_name_both(await self._state(side), await side.generations(), asked):
            side.alone.touch(mode=0o600)  # that is what the record still says
        elif await self._is_granted(side, asked, decide):
            side.note(both=True)

    async def _is_granted(self, side: DrbdSide, asked: Ask, decide: Decide) -> bool:
        epoch = int(side.notes()["epoch"])
        refusal = await decide(Question(asked.kind, asked.generation, epoch))
        if refusal is not None:
            side.note(refusal=refusal)
        return refusal is None

    async def changed(self, name: str) -> None:
        async with self._watched(name) as changed:
            await changed()

    @asynccontextmanager
    async def _watched(self, name: str) -> AsyncIterator[Any]:
        """Something to wait with for the next event of a resource, or `WATCH_LIMIT_S`."""
        try:
            process = await asyncio.create_subprocess_exec(
                "drbdsetup",
                "events2",
                name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise HostError(f"drbdsetup cannot be run: {error.strerror}") from error
        output = process.stdout
        assert output is not None  # noqa: S101 - it is a pipe

        async def changed() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_LIMIT_S):
                    while line := await output.readline():
                        if not line.startswith(b"exists"):
                            return
                    await asyncio.sleep(WATCH_LIMIT_S)  # it ended: only the clock is left

        try:
            yield changed
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _compared(
    side: DrbdSide, known: Comparison | None, state: State, ids: Generations
) -> Comparison | None:
    """How a comparison is by now. `known` was read before `state`: one that began in between would
    seem to be at its end."""
    if known is None or known.ended:
        return known
    found = comparison.looked_at(known, state, ids, side.percent(state))
    if found.ended and comparison.noted(side.notes().get("check")) == known:
        side.note(check=found.to_json())
    return found
