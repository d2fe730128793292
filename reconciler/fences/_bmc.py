"""What all kinds of management controllers (BMCs) have in common: their fields, and operations in a
thread, each with a session that was opened before or with a new one.

Bases of `ipmi` and `redfish`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from reconciler.fences._attempt import Attempt, in_thread
from reconciler.fences._guid import checked_guid, digits, same_guid
from reconciler.fences._secret import PasswordSource
from reconciler.plugin import FenceType
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerState, SelfTest
from specs.scalars import Address, Duration, Port, impact

FRESH_S = 20.0
"""A prepared session older than this may be gone at the BMC (60 s by the IPMI standard)."""


class BmcSettings(FenceType):
    """Fields of every BMC; types narrow them."""

    model_config = ConfigDict(hide_input_in_errors=True)

    address: Address = Field(
        description="The BMC's own address.",
        json_schema_extra=impact("none", example="10.77.3.11"),
    )
    port: Port
    user: str
    password_from: PasswordSource = Field(
        description="Where the agent finds the user's password.",
        json_schema_extra=impact("none", example={"file": "/etc/clusterctl/secrets/bmc"}),
    )
    guid: Annotated[str, AfterValidator(checked_guid)] | None = Field(
        default=None,
        description="The server's system GUID (UUID); another one in the BMC's answer is an error.",
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


class BmcSession(Protocol):
    """A login that was made; both end it, `drop` without asking the BMC."""

    def close(self) -> None: ...

    def drop(self) -> None: ...


_Session = TypeVar("_Session", bound=BmcSession)
_Settings = TypeVar("_Settings", bound=BmcSettings)
_Result = TypeVar("_Result")


class BmcDevice(ABC, Generic[_Settings, _Session]):
    """Half of a `ports.power.FenceDevice`: what does not depend on how the BMC speaks."""

    what = "BMC"
    identity = "system GUID"
    question_s = 0.5
    pauses_s = (0.01, 0.2)

    def __init__(self, settings: _Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._prepared: tuple[_Session, float] | None = None

    @abstractmethod
    def _open(self, attempt: Attempt) -> _Session:
        """Log in. Raises `FenceError`."""

    @abstractmethod
    def _look(self, session: _Session, attempt: Attempt) -> tuple[str | None, PowerState]:
        """Whose BMC it says that it is, unchecked, and the power. Raises `FenceError`."""

    def _power(self, session: _Session, attempt: Attempt) -> PowerState:
        return self._look(session, attempt)[1]

    # -- the port ----------------------------------------------------------------------------------

    async def status(self) -> PowerState:
        return await self._run(self._power)

    async def self_test(self) -> SelfTest:
        """Login, GUID and power state with a session of its own. Never raises."""
        started = time.monotonic()

        def work(session: _Session, attempt: Attempt) -> tuple[str | None, PowerState]:
            found, power = self._look(session, attempt)
            return self._checked(found), power

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
        took = (time.monotonic() - started) * 1000
        return SelfTest(True, "; ".join(parts), took, guid, power)

    async def prepare(self) -> None:
        """Keep a session open for the next call, if one can be had now."""
        if self._prepared is not None and time.monotonic() - self._prepared[1] < FRESH_S:
            return

        def work(attempt: Attempt, deliver: Callable[[_Session], None]) -> None:
            deliver(self._open(attempt))

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

    # -- parts -------------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"{self.what} {self._settings.address}:{self._settings.port}"

    async def _run(
        self, work: Callable[[_Session, Attempt], _Result], *, fresh: bool = False
    ) -> _Result:
        """`work` in a thread with the prepared session, or with a new one."""
        prepared, self._prepared = (None, self._prepared) if fresh else (self._prepared, None)

        def body(attempt: Attempt, deliver: Callable[[_Result], None]) -> None:
            session = self._usable(prepared, attempt)
            try:
                deliver(work(session, attempt))
            except FenceError as error:
                attempt.fail(error)
            finally:
                session.close()

        return await in_thread(body, self._settings.timeout, self._name())

    def _usable(self, prepared: tuple[_Session, float] | None, attempt: Attempt) -> _Session:
        """The prepared session if the BMC still knows it; asked briefly, then a new one."""
        if prepared is not None:
            session, since = prepared
            question = Attempt(time.monotonic() + min(self.question_s, attempt.remaining() / 4))
            try:
                if time.monotonic() - since < FRESH_S:
                    self._ask(session, question)
                    return session
            except FenceError:
                pass  # gone at the BMC
            session.drop()
        return self._open(attempt)

    def _ask(self, session: _Session, question: Attempt) -> None:
        """Anything that only a session answers which the BMC still knows."""
        self._look(session, question)

    def _checked(self, found: str | None) -> str | None:
        """The server's GUID, compared with the spec's. Raises `FenceError`."""
        wanted = self._settings.guid
        if wanted is None:
            return found
        if found is None:
            raise FenceError(f"{self._name()} reports no {self.identity}, the spec asks for one")
        if not same_guid(wanted, found):
            raise FenceError(
                f"{self._name()} belongs to another server: its {self.identity} is {found}, the "
                f"spec says {wanted}"
            )
        # In the spec's byte order, so that nobody after us takes it for another machine's.
        return digits(wanted)

    def _await(
        self, session: _Session, attempt: Attempt, wanted: PowerState, answered: bool
    ) -> PowerState:
        """Read until the state is the wanted one; raises `FenceError` when time is up."""
        pause, longest = self.pauses_s
        while True:
            state = self._power(session, attempt)
            if state is wanted:
                return state
            attempt.pause(pause)
            pause = min(pause * 2, longest)
            if attempt.remaining() <= pause:
                command = "after the command" if answered else "and never answered the command"
                raise FenceError(f"{self._name()} still reads {state} {command}, not {wanted}")
