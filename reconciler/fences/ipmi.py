"""Power control through a server's management controller (BMC), IPMI 2.0 over LAN."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from reconciler.fences._attempt import Attempt, in_thread
from reconciler.fences._guid import checked_guid, digits, same_guid
from reconciler.fences._ipmi_session import (
    POWER_CYCLE,
    POWER_DOWN,
    POWER_UP,
    IpmiSession,
    Target,
)
from reconciler.fences._secret import PasswordSource
from reconciler.plugin import FenceType
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest
from specs.scalars import Address, Duration, Port, impact

_FRESH_S = 20.0  # a prepared session older than this may be gone at the BMC (60 s by the standard)
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2
_Result = TypeVar("_Result")


class Ipmi(FenceType):
    """A BMC that is reached over the network, as nearly every server has one.

    Every operation reads the state, sends the command and reads the state again until it is what
    was asked for. With `guid` the BMC's system GUID is compared first, so that a wrongly entered
    address never switches off another machine or proves the wrong one dead.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Server
    metadata: {name: n1}
    spec:
      addresses: {private: 10.77.1.11}
      fencing:
        levels:
          - type: ipmi
            address: 10.77.3.11
            user: admin
            passwordFrom: {file: /etc/clusterctl/secrets/bmc}
    ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["ipmi"] = Field(
        default="ipmi",
        description="Type of the fence device.",
        json_schema_extra=impact("none", example="ipmi"),
    )
    address: Address = Field(
        description="The BMC's own IPv4 address.",
        json_schema_extra=impact("none", example="10.77.3.11"),
    )
    port: Port = Field(
        default=623,
        description="The BMC's UDP port.",
        json_schema_extra=impact("none", example=623),
    )
    user: Annotated[str, Field(min_length=1, max_length=16)] = Field(
        description="A BMC user with the privilege ADMINISTRATOR.",
        json_schema_extra=impact("none", example="admin"),
    )
    password_from: PasswordSource = Field(
        description="Where the agent finds the user's password.",
        json_schema_extra=impact("none", example={"file": "/etc/clusterctl/secrets/bmc"}),
    )
    cipher_suite: Literal[2, 3, 16, 17] | None = Field(
        default=None,
        description="Cipher suite of the session.",
        json_schema_extra=impact("none", example=3, default_text="17, then 3 if that is refused"),
    )
    guid: str | None = Field(
        default=None,
        description="The server's system GUID; another one in the BMC's answer is an error.",
        json_schema_extra=impact(
            "none",
            example="a1234567-89ab-cdef-a123-456789abcde1",
            default_text="not compared",
        ),
    )
    timeout: Annotated[Duration, Field(ge=0.2, le=120)] = Field(
        default=5.0,
        description="Time for one whole operation, login included.",
        json_schema_extra=impact("none", example="5s"),
    )

    @model_validator(mode="before")
    @classmethod
    def _no_plain_password(cls, values: Any) -> Any:
        if isinstance(values, dict) and "password" in values:
            raise ValueError(
                "'password' is not allowed in a spec, which everybody can read; put it into a file "
                "of mode 0600 on each server and write passwordFrom: {file: PATH}"
            )
        return values

    @field_validator("address")
    @classmethod
    def _only_version_4(cls, address: str) -> str:
        if ":" in address:
            raise ValueError(f"'{address}': a BMC is reached over IPv4 only")
        return address

    @field_validator("guid")
    @classmethod
    def _is_guid(cls, guid: str | None) -> str | None:
        return None if guid is None else checked_guid(guid)

    def device(self, clock: Clock) -> "IpmiDevice":
        return IpmiDevice(self, clock)


class IpmiDevice:
    """`ports.power.FenceDevice` for one BMC."""

    def __init__(self, settings: Ipmi, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._prepared: tuple[IpmiSession, float] | None = None

    async def power_off(self, valid_until: float, boots: tuple[str, ...] = ()) -> PowerOffReport:
        """See the port. The GUID is compared before anything is sent that changes something."""
        del boots  # it ends the power, and all of them

        def may_leave() -> None:
            if self._clock.now() >= valid_until:
                raise FenceError("the right to fence ended before the command could leave")

        def work(session: IpmiSession, attempt: Attempt) -> PowerOffReport:
            started = time.monotonic()
            guid = self._checked_guid(session, attempt)
            before = session.power(attempt)
            if before is PowerState.OFF:
                after = session.power(attempt)
                if after is not PowerState.OFF:
                    raise FenceError(f"{self._name()} reads off and then on: it is not trusted")
            else:
                may_leave()
                answered = session.control(attempt, POWER_DOWN, lambda: _both(attempt, may_leave))
                after = self._await(session, attempt, PowerState.OFF, answered)
            return PowerOffReport(before, after, guid, (time.monotonic() - started) * 1000)

        return await self._run(work)

    async def power_on(self) -> None:
        def work(session: IpmiSession, attempt: Attempt) -> None:
            self._checked_guid(session, attempt)
            if session.power(attempt) is PowerState.OFF:
                answered = session.control(attempt, POWER_UP, attempt.check)
                self._await(session, attempt, PowerState.ON, answered)

        await self._run(work)

    async def power_cycle(self) -> None:
        """Off and on again; a server that is off is switched on."""

        def work(session: IpmiSession, attempt: Attempt) -> None:
            self._checked_guid(session, attempt)
            was = session.power(attempt)
            command = POWER_CYCLE if was is PowerState.ON else POWER_UP
            answered = session.control(attempt, command, attempt.check)
            if command == POWER_CYCLE:
                self._await(session, attempt, PowerState.OFF, answered)
            self._await(session, attempt, PowerState.ON, answered)

        await self._run(work)

    async def status(self) -> PowerState:
        return await self._run(lambda session, attempt: session.power(attempt))

    async def identify(self, seconds: int) -> None:
        """Light the locator LED; 0 switches it off, at most 255 s."""
        await self._run(lambda session, attempt: session.identify(attempt, seconds))

    async def self_test(self) -> SelfTest:
        """Login, GUID and power state with a session of its own. Never raises."""
        started = time.monotonic()

        def work(session: IpmiSession, attempt: Attempt) -> tuple[str | None, PowerState]:
            return self._checked_guid(session, attempt), session.power(attempt)

        warning = self._settings.password_from.warning()
        try:
            guid, power = await self._run(work, fresh=True)
        except FenceError as error:
            detail = "; ".join(text for text in (str(error), warning) if text)
            return SelfTest(False, detail, (time.monotonic() - started) * 1000)
        parts = [f"{self._name()} answers, power is {power}"]
        if guid is not None and self._settings.guid is None:
            parts.append(f"guid is not set in the spec (this BMC reports {guid})")
        if warning:
            parts.append(warning)
        milliseconds = (time.monotonic() - started) * 1000
        return SelfTest(True, "; ".join(parts), milliseconds, guid, power)

    async def prepare(self) -> None:
        """Keep a session open for the next call, if one can be had now."""
        if self._prepared is not None and time.monotonic() - self._prepared[1] < _FRESH_S:
            return

        def work(attempt: Attempt, deliver: Callable[[IpmiSession], None]) -> None:
            deliver(IpmiSession(self._target(), attempt))

        try:
            session = await in_thread(work, self._settings.timeout, self._name())
        except FenceError:
            return  # the port's promise: the real call will say it
        self.close()
        self._prepared = session, time.monotonic()

    def close(self) -> None:
        """Let go of a prepared session."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared[0].drop()

    def __del__(self) -> None:
        self.close()

    # -- parts ----------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"BMC {self._settings.address}:{self._settings.port}"

    def _target(self) -> Target:
        settings = self._settings
        password = settings.password_from.read()
        return Target(
            settings.address, settings.port, settings.user, password, settings.cipher_suite
        )

    async def _run(
        self, work: Callable[[IpmiSession, Attempt], _Result], *, fresh: bool = False
    ) -> _Result:
        """`work` in a thread with the prepared session, or with a new one."""
        prepared = None if fresh else self._take_prepared()

        def body(attempt: Attempt, deliver: Callable[[_Result], None]) -> None:
            session = self._usable(prepared, attempt)
            try:
                deliver(work(session, attempt))
            except FenceError as error:
                attempt.fail(error)
            finally:
                session.close()

        return await in_thread(body, self._settings.timeout, self._name())

    def _take_prepared(self) -> IpmiSession | None:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        if time.monotonic() - prepared[1] >= _FRESH_S:
            prepared[0].drop()
            return None
        return prepared[0]

    def _usable(self, prepared: IpmiSession | None, attempt: Attempt) -> IpmiSession:
        """The prepared session if the BMC still knows it; asked briefly, then a new one."""
        if prepared is not None:
            question = Attempt(time.monotonic() + min(0.5, attempt.remaining() / 4))
            try:
                prepared.guid(question)
            except FenceError:
                prepared.drop()
            else:
                return prepared
        return IpmiSession(self._target(), attempt)

    def _checked_guid(self, session: IpmiSession, attempt: Attempt) -> str | None:
        guid = session.guid(attempt)
        wanted = self._settings.guid
        if wanted is None:
            return guid
        if guid is None:
            raise FenceError(f"{self._name()} does not report a system GUID, the spec asks for one")
        if not same_guid(wanted, guid):
            raise FenceError(
                f"{self._name()} belongs to another server: its system GUID is {guid}, "
                f"the spec says {wanted}"
            )
        # In the spec's byte order, so that nobody after us takes it for another machine's.
        return digits(wanted)

    def _await(
        self, session: IpmiSession, attempt: Attempt, wanted: PowerState, answered: bool
    ) -> PowerState:
        """Read until the state is the wanted one; raises `FenceError` when time is up."""
        pause = _FIRST_PAUSE_S
        while True:
            state = session.power(attempt)
            if state is wanted:
                return state
            attempt.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            if attempt.remaining() <= pause:
                command = "after the command" if answered else "and never answered the command"
                raise FenceError(f"{self._name()} still reads {state} {command}, not {wanted}")


def _both(attempt: Attempt, may_leave: Callable[[], None]) -> None:
    attempt.check()
    may_leave()
