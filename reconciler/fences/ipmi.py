"""Power control through a server's management controller (BMC), IPMI 2.0 over LAN."""

import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from reconciler.fences._attempt import Attempt
from reconciler.fences._bmc import BmcDevice, BmcSettings
from reconciler.fences._ipmi_session import (
    POWER_CYCLE,
    POWER_DOWN,
    POWER_UP,
    IpmiSession,
    Target,
)
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, Wanted, always
from specs.scalars import Address, Port, impact


class Ipmi(BmcSettings):
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
    cipher_suite: Literal[2, 3, 16, 17] | None = Field(
        default=None,
        description="Cipher suite of the session.",
        json_schema_extra=impact("none", example=3, default_text="17, then 3 if that is refused"),
    )

    @field_validator("address")
    @classmethod
    def _only_version_4(cls, address: str) -> str:
        if ":" in address:
            raise ValueError(f"'{address}': a BMC is reached over IPv4 only")
        return address

    def device(self, clock: Clock) -> "IpmiDevice":
        return IpmiDevice(self, clock)


class IpmiDevice(BmcDevice[Ipmi, IpmiSession]):
    """`ports.power.FenceDevice` for one BMC."""

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        """See the port. The GUID is compared before anything is sent that changes something."""
        del boots  # it ends the power, and all of them

        def may_leave() -> None:
            if self._clock.now() >= valid_until:
                raise FenceError("the right to fence ended before the command could leave")
            wanted()

        def work(session: IpmiSession, attempt: Attempt) -> PowerOffReport:
            started = time.monotonic()
            guid = self._checked(session.guid(attempt))
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
            self._checked(session.guid(attempt))
            if session.power(attempt) is PowerState.OFF:
                answered = session.control(attempt, POWER_UP, attempt.check)
                self._await(session, attempt, PowerState.ON, answered)

        await self._run(work)

    async def power_cycle(self) -> None:
        """Off and on again; a server that is off is switched on."""

        def work(session: IpmiSession, attempt: Attempt) -> None:
            self._checked(session.guid(attempt))
            was = session.power(attempt)
            command = POWER_CYCLE if was is PowerState.ON else POWER_UP
            answered = session.control(attempt, command, attempt.check)
            if command == POWER_CYCLE:
                self._await(session, attempt, PowerState.OFF, answered)
            self._await(session, attempt, PowerState.ON, answered)

        await self._run(work)

    async def identify(self, seconds: int) -> None:
        """Light the locator LED; 0 switches it off, at most 255 s."""
        await self._run(lambda session, attempt: session.identify(attempt, seconds))

    def __del__(self) -> None:
        self.close()

    # -- parts ----------------------------------------------------------------------------------

    def _open(self, attempt: Attempt) -> IpmiSession:
        given = self._settings
        password = given.password_from.read()
        target = Target(given.address, given.port, given.user, password, given.cipher_suite)
        return IpmiSession(target, attempt)

    def _look(self, session: IpmiSession, attempt: Attempt) -> tuple[str | None, PowerState]:
        return session.guid(attempt), session.power(attempt)

    def _power(self, session: IpmiSession, attempt: Attempt) -> PowerState:
        return session.power(attempt)

    def _ask(self, session: IpmiSession, question: Attempt) -> None:
        session.guid(question)


def _both(attempt: Attempt, may_leave: Callable[[], None]) -> None:
    attempt.check()
    may_leave()
