"""Power control through a server's management controller (BMC), Redfish over HTTPS."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.fences._attempt import Attempt
from reconciler.fences._bmc import BmcDevice, BmcSettings
from reconciler.fences._guid import digits
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, Wanted, always
from specs.scalars import Duration, Port, impact

if TYPE_CHECKING:  # its HTTP library costs time and memory, and binds a socket when imported
    from reconciler.fences._redfish_session import RedfishSession, System


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return plain


def _redfish_path(path: str) -> str:
    if not path.startswith("/redfish/"):
        raise ValueError(f"'{path}' does not begin with /redfish/")
    return path


class Redfish(BmcSettings):
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

    type: Literal["redfish"] = Field(
        default="redfish",
        description="Type of the fence device.",
        json_schema_extra=impact("none", example="redfish"),
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
    timeout: Annotated[Duration, Field(ge=0.2, le=120)] = Field(
        default=10.0,
        description="Time for one whole operation, login included.",
        json_schema_extra=impact("none", example="10s"),
    )

    @model_validator(mode="after")
    def _one_trust(self) -> Self:
        if self.fingerprint is not None and self.ca_file is not None:
            raise ValueError("give either fingerprint or caFile, not both")
        return self

    def device(self, clock: Clock) -> "RedfishDevice":
        return RedfishDevice(self, clock)


class RedfishDevice(BmcDevice[Redfish, "RedfishSession"]):
    """`ports.power.FenceDevice` for one BMC."""

    what = "Redfish"
    identity = "UUID"
    question_s = 1.0
    pauses_s = (0.05, 0.5)

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        """See the port. The UUID is compared before anything is sent that changes something."""
        del boots  # it ends the power, and all of them

        def may_leave() -> float:
            left = valid_until - self._clock.now()
            if left <= 0:
                raise FenceError("the right to fence ended before the command could leave")
            wanted()
            return left

        def work(session: "RedfishSession", attempt: Attempt) -> PowerOffReport:
            started = time.monotonic()
            system = session.system(attempt)
            guid = self._checked(self._whole(system))
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
            self._checked(self._whole(session.system(attempt)))
            self._switch_on(session, attempt)

        await self._run(work)

    async def power_cycle(self) -> None:
        """Off and on again; a server that is off is switched on."""

        def work(session: "RedfishSession", attempt: Attempt) -> None:
            system = session.system(attempt)
            self._checked(self._whole(system))
            if system.power is PowerState.ON:
                answered = session.reset(attempt, system, "ForceOff", attempt.remaining)
                self._await(session, attempt, PowerState.OFF, answered)
            self._switch_on(session, attempt)

        await self._run(work)

    async def identify(self, seconds: int) -> None:
        """Light the locator LED until it is asked with 0; Redfish knows no duration."""
        await self._run(lambda session, attempt: session.identify(attempt, lit=seconds > 0))

    # -- parts ----------------------------------------------------------------------------------

    def _open(self, attempt: Attempt) -> "RedfishSession":
        from reconciler.fences._redfish_session import RedfishSession, Target

        given = self._settings
        password = given.password_from.read()
        target = Target(
            given.address, given.port, given.user, password, given.fingerprint, given.ca_file
        )
        return RedfishSession(target, given.system, attempt)

    def _look(self, session: "RedfishSession", attempt: Attempt) -> tuple[str | None, PowerState]:
        system = session.system(attempt)
        return self._whole(system), system.power

    def _power(self, session: "RedfishSession", attempt: Attempt) -> PowerState:
        return session.system(attempt).power

    def _ask(self, session: "RedfishSession", question: Attempt) -> None:
        session.system(question)

    def _whole(self, system: "System") -> str | None:
        found = system.uuid
        if found is not None and not re.fullmatch(r"[0-9a-f]{32}", digits(found)):
            raise FenceError(f"{self._name()} reports the UUID {found[:60]!r}, which is none")
        return found

    def _switch_on(self, session: "RedfishSession", attempt: Attempt) -> None:
        system = session.system(attempt)
        if system.power is PowerState.OFF:
            answered = session.reset(attempt, system, "On", attempt.remaining)
            self._await(session, attempt, PowerState.ON, answered)
