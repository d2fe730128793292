"""Power control through a server's management controller (BMC), Redfish over HTTPS."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from reconciler.fences._attempt import Attempt, in_thread
from reconciler.fences._guid import checked_guid, digits, same_guid
from reconciler.fences._secret import PasswordSource
from reconciler.plugin import FenceType
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest
from specs.scalars import Address, Duration, Port, impact

if TYPE_CHECKING:  # its HTTP library costs time and memory, and binds a socket when imported
    from reconciler.fences._redfish_session import RedfishSession, System

_FRESH_S = 20.0  # a prepared session older than this may be gone at the BMC
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_Result = TypeVar("_Result")


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return plain


def _redfish_path(path: str) -> str:
    if not path.startswith("/redfish/"):
        raise ValueError(f"'{path}' does not begin with /redfish/")
    return path


class Redfish(FenceType):
    """A BMC that speaks Redfish, as nearly every server of the last ten years does.

    Every operation reads the state, sends the command and reads the state again until it is what
    was asked for. The BMC must show the certificate that the spec names, before the password
    leaves. With `guid` the system's UUID is compared first, so that a wrongly entered address never
    switches off another machine or proves the wrong one dead.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Server
    metadata: {name: n1}
    spec:
      addresses: {private: 10.77.1.11}
      fencing:
        levels:
          - type: redfish
            address: 10.77.3.11
            user: admin
            passwordFrom: {file: /etc/clusterctl/secrets/bmc}
            guid: a1234567-89ab-cdef-a123-456789abcde1
            fingerprint: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["redfish"] = Field(
        default="redfish",
        description="Type of the fence device.",
        json_schema_extra=impact("none", example="redfish"),
    )
    address: Address = Field(
        description="The BMC's own address.",
        json_schema_extra=impact("none", example="10.77.3.11"),
    )
    port: Port = Field(
        default=443,
        description="The BMC's HTTPS port.",
        json_schema_extra=impact("none", example=443),
    )
    user: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="A BMC user who may log in and reset the system.",
        json_schema_extra=impact("none", example="admin"),
    )
    password_from: PasswordSource = Field(
        description="Where the agent finds the user's password.",
        json_schema_extra=impact("none", example={"file": "/etc/clusterctl/secrets/bmc"}),
    )
    fingerprint: Annotated[str, AfterValidator(_fingerprint)] | None = Field(
        default=None,
        description="SHA-256 of the BMC's certificate: only this one is trusted, whoever signed it "
        "and whatever name it has. At most one of `fingerprint` and `caFile`.",
        json_schema_extra=impact("none", default_text="not pinned"),
    )
    ca_file: str | None = Field(
        default=None,
        pattern=r"^/",
        description="File with the certificates of who signed the BMC's, which names `address`.",
        json_schema_extra=impact(
            "none",
            example="/etc/clusterctl/pki/bmc-ca.crt",
            default_text="the authorities that this machine trusts",
        ),
    )
    system: Annotated[str, AfterValidator(_redfish_path)] | None = Field(
        default=None,
        description="Path of the system, for a BMC that has several.",
        json_schema_extra=impact(
            "none", example="/redfish/v1/Systems/1", default_text="the only one"
        ),
    )
    guid: Annotated[str, AfterValidator(checked_guid)] | None = Field(
        default=None,
        description="The system's UUID; another one in the BMC's answer is an error.",
        json_schema_extra=impact(
            "none",
            example="a1234567-89ab-cdef-a123-456789abcde1",
            default_text="not compared",
        ),
    )
    timeout: Annotated[Duration, Field(ge=0.2, le=120)] = Field(
        default=10.0,
        description="Time for one whole operation, login included.",
        json_schema_extra=impact("none", example="10s"),
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

    @model_validator(mode="after")
    def _one_trust(self) -> Self:
        if self.fingerprint is not None and self.ca_file is not None:
            raise ValueError("give either fingerprint or caFile, not both")
        return self

    def device(self, clock: Clock) -> "RedfishDevice":
        return RedfishDevice(self, clock)


class RedfishDevice:
    """`ports.power.FenceDevice` for one BMC."""

    def __init__(self, settings: Redfish, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._prepared: tuple[RedfishSession, float] | None = None

    async def power_off(self, valid_until: float, boots: tuple[str, ...] = ()) -> PowerOffReport:
        """See the port. The UUID is compared before anything is sent that changes something."""
        del boots  # it ends the power, and all of them

        def may_leave() -> float:
            left = valid_until - self._clock.now()
            if left <= 0:
                raise FenceError("the right to fence ended before the command could leave")
            return left

        def work(session: "RedfishSession", attempt: Attempt) -> PowerOffReport:
            started = time.monotonic()
            system = session.system(attempt)
            guid = self._checked(system)
            if system.power is PowerState.OFF:
                if session.system(attempt).power is not PowerState.OFF:
                    raise FenceError(f"{self._name()} reads off and then on: it is not trusted")
                after = PowerState.OFF
            else:
                answered = session.reset(attempt, system, "ForceOff", may_leave)
                after = self._await(session, attempt, PowerState.OFF, answered)
            took = (time.monotonic() - started) * 1000
            return PowerOffReport(system.power, after, guid, took)

        return await self._run(work)

    async def power_on(self) -> None:
        def work(session: "RedfishSession", attempt: Attempt) -> None:
            self._checked(session.system(attempt))
            self._switch_on(session, attempt)

        await self._run(work)

    async def power_cycle(self) -> None:
        """Off and on again; a server that is off is switched on."""

        def work(session: "RedfishSession", attempt: Attempt) -> None:
            system = session.system(attempt)
            self._checked(system)
            if system.power is PowerState.ON:
                answered = session.reset(attempt, system, "ForceOff", attempt.remaining)
                self._await(session, attempt, PowerState.OFF, answered)
            self._switch_on(session, attempt)

        await self._run(work)

    async def status(self) -> PowerState:
        return await self._run(lambda session, attempt: session.system(attempt).power)

    async def identify(self, seconds: int) -> None:
        """Light the locator LED until it is asked with 0; Redfish knows no duration."""
        await self._run(lambda session, attempt: session.identify(attempt, lit=seconds > 0))

    async def self_test(self) -> SelfTest:
        """Login, UUID and power state with a session of its own. Never raises."""
        started = time.monotonic()
        warning = self._settings.password_from.warning()
        try:
            system = await self._run(lambda session, attempt: session.system(attempt), fresh=True)
            guid = self._checked(system)
        except FenceError as error:
            detail = "; ".join(text for text in (str(error), warning) if text)
            return SelfTest(False, detail, (time.monotonic() - started) * 1000)
        parts = [f"{self._name()} answers, power is {system.power}"]
        if guid is not None and self._settings.guid is None:
            parts.append(f"guid is not set in the spec (this BMC reports {guid})")
        if warning:
            parts.append(warning)
        took = (time.monotonic() - started) * 1000
        return SelfTest(True, "; ".join(parts), took, guid, system.power)

    async def prepare(self) -> None:
        """Keep a session open for the next call, if one can be had now."""
        if self._prepared is not None and time.monotonic() - self._prepared[1] < _FRESH_S:
            return

        def work(attempt: Attempt, deliver: "Callable[[RedfishSession], None]") -> None:
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

    # -- parts ----------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"Redfish {self._settings.address}:{self._settings.port}"

    def _open(self, attempt: Attempt) -> "RedfishSession":
        from reconciler.fences._redfish_session import RedfishSession, Target

        given = self._settings
        password = given.password_from.read()
        target = Target(
            given.address, given.port, given.user, password, given.fingerprint, given.ca_file
        )
        return RedfishSession(target, given.system, attempt)

    async def _run(
        self, work: "Callable[[RedfishSession, Attempt], _Result]", *, fresh: bool = False
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

    def _usable(
        self, prepared: "tuple[RedfishSession, float] | None", attempt: Attempt
    ) -> "RedfishSession":
        """The prepared session if the BMC still knows it; asked briefly, then a new one."""
        if prepared is not None:
            session, since = prepared
            question = Attempt(time.monotonic() + min(1.0, attempt.remaining() / 4))
            try:
                if time.monotonic() - since < _FRESH_S:
                    session.system(question)
                    return session
            except FenceError:
                pass
            session.drop()
        return self._open(attempt)

    def _checked(self, system: "System") -> str | None:
        wanted, found = self._settings.guid, system.uuid
        if found is not None and not re.fullmatch(r"[0-9a-f]{32}", digits(found)):
            raise FenceError(f"{self._name()} reports the UUID {found[:60]!r}, which is none")
        if wanted is None:
            return found
        if found is None:
            raise FenceError(f"{self._name()} reports no UUID, the spec asks for one")
        if not same_guid(wanted, found):
            raise FenceError(
                f"{self._name()} belongs to another server: its UUID is {found}, the spec says "
                f"{wanted}"
            )
        return digits(wanted)

    def _switch_on(self, session: "RedfishSession", attempt: Attempt) -> None:
        system = session.system(attempt)
        if system.power is PowerState.OFF:
            answered = session.reset(attempt, system, "On", attempt.remaining)
            self._await(session, attempt, PowerState.ON, answered)

    def _await(
        self, session: "RedfishSession", attempt: Attempt, wanted: PowerState, answered: bool
    ) -> PowerState:
        """Read until the state is the wanted one; raises `FenceError` when time is up."""
        pause = _FIRST_PAUSE_S
        while True:
            state = session.system(attempt).power
            if state is wanted:
                return state
            attempt.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            if attempt.remaining() <= pause:
                command = "after the command" if answered else "and never answered the command"
                raise FenceError(f"{self._name()} still reads {state} {command}, not {wanted}")
