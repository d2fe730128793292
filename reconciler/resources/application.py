"""A program that runs where its group runs: a server process, or a command that is run once."""

import asyncio
import signal
from contextlib import suppress
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from reconciler.plugin import Place, StartLevel
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.host import HostError, RunnerState, RunnerView, StopPlan, Workload
from reconciler.resources._program import Program, ended, last_words
from specs.document import Model
from specs.program import DEFAULT_PATH, Command, ExitCodes
from specs.scalars import Address, Duration, Port, impact

CONNECT_EVERY_S = 0.02
GRACE_SHARE = 0.6
"""Part of `stopTimeout` that a program has to end by itself; the rest is for killing it."""


def _signal_name(text: str) -> str:
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name not in signal.Signals.__members__:
        raise ValueError(f"{text!r} is not a signal such as SIGTERM")
    return name


class Readiness(Model):
    """When a program counts as started."""

    port: Port = Field(
        description="TCP port that accepts connections once the program serves.",
        json_schema_extra=impact("none", example=8080),
    )
    address: Address = Field(
        default="127.0.0.1",
        description="Address of this server that the port is tried on.",
        json_schema_extra=impact("none", example="127.0.0.1"),
    )


class Application(Program):
    """A program under a runner of its own, which outlives the agent and ends the whole tree.

    `resident`: the program stays; when it ends, its resource has failed, which is seen at once.
    `one-shot`: the start waits for the program's exit code; the resource is active after success.

    To stop it, `stopCommand` runs (if there is one), then `stopSignal` is sent; whatever still runs
    after 60 % of `stopTimeout` is killed, with all its children. For a one-shot program a failing
    `stopCommand` is a failed stop. The program finds `CLUSTER_GROUP`, `CLUSTER_RESOURCE`,
    `CLUSTER_SERVER` and `CLUSTER_EPOCH` in its environment; the epoch grows with each start in the
    cluster, so that storage can refuse a writer of the past. What it writes is kept in
    `output.log` in its directory under the run directory.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: web-server}
    spec:
      group: web
      type: application
      command: [python3, -m, http.server, "8080"]
      cwd: /srv
      startedWhen: {port: 8080}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("appli",)
    level: ClassVar[StartLevel] = StartLevel.WORKLOAD

    type: Literal["application"] = Field(
        default="application",
        description="Type of the resource (alias: appli).",
        json_schema_extra=impact("resource", example="application"),
    )
    command: Command = Field(
        description="Program and arguments. No shell reads them.",
        json_schema_extra=impact("resource", example=["python3", "-m", "http.server", "8080"]),
    )
    mode: Literal["resident", "one-shot"] = Field(
        default="resident",
        description="Whether the program stays, or ends and leaves an exit code.",
        json_schema_extra=impact("resource", example="resident"),
    )
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="User, by name or number, that the program runs as.",
        json_schema_extra=impact("resource", example="www-data", default_text="the agent's user"),
    )
    user_group: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Primary group, by name or number, that the program runs as.",
        json_schema_extra=impact(
            "resource", example="www-data", default_text="the user's own primary group"
        ),
    )
    success_exit_codes: ExitCodes = Field(
        default=(0,),
        description="Exit codes of a one-shot program that mean success.",
        json_schema_extra=impact("none", example=[0]),
    )
    stop_command: Command | None = Field(
        default=None,
        description="Program and arguments that stop it, run as the same user.",
        json_schema_extra=impact(
            "none", example=["/usr/sbin/apachectl", "graceful-stop"], default_text="only the signal"
        ),
    )
    stop_signal: Annotated[str, AfterValidator(_signal_name)] = Field(
        default="SIGTERM",
        description="Signal that asks it to stop: first the program, then what it left running.",
        json_schema_extra=impact("none", example="SIGTERM"),
    )
    start_grace: Annotated[Duration, Field(le=3600)] = Field(
        default=0.0,
        description="A resident program that ends within this time after its start has failed to "
        "start. The start takes at least as long.",
        json_schema_extra=impact("none", example="1s"),
    )
    started_when: Readiness | None = Field(
        default=None,
        description="What a resident program must do before its start counts as successful.",
        json_schema_extra=impact(
            "none", example={"port": 8080}, default_text="executing the program is enough"
        ),
    )

    @model_validator(mode="after")
    def _mode_fits(self) -> "Application":
        if self.mode == "one-shot" and (self.started_when or self.start_grace):
            raise ValueError("startedWhen and startGrace are for resident programs only")
        if self.start_grace >= self.start_timeout:
            raise ValueError("startGrace must be shorter than startTimeout")
        return self

    async def observe(self, place: Place) -> Observation:
        view = await place.host.runners.observe(place.name)
        state, reason = self._judge(view)
        details = {"pid": str(view.pid)} if view.pid and state is ResourceState.ACTIVE else {}
        return Observation(state, reason, view.epoch, details)

    async def prepare(self, place: Place) -> None:
        await place.host.runners.prepare()

    async def activate(self, place: Place, permit: Permit) -> None:
        view = await place.host.runners.observe(place.name)
        if view.epoch is not None and view.epoch > permit.epoch:
            raise ResourceError(f"it runs at the newer epoch {view.epoch} already", retry=False)
        if self._judge(view)[0] is ResourceState.ACTIVE and view.epoch == permit.epoch:
            return
        if view.state is not RunnerState.ABSENT:
            permit.check()
            await place.host.runners.stop(place.name, permit.epoch, self._plan())
        await place.host.runners.start(place.name, self._workload(place, permit.epoch), permit)
        try:
            await self._wait_until_started(place)
        except ResourceError as error:
            raise ResourceError(f"{error}{last_words(place)}", retry=error.retry) from None

    async def deactivate(self, place: Place, epoch: int) -> None:
        runners = place.host.runners
        view = await runners.observe(place.name)
        if view.epoch is None or view.epoch > epoch:
            return
        if not view.is_held and self.mode == "one-shot" and self.stop_command:
            await self._undo(place, view.epoch)
        await runners.stop(place.name, epoch, self._plan())

    async def changed(self, place: Place) -> None:
        await place.host.runners.changed(place.name)

    def _judge(self, view: RunnerView) -> tuple[ResourceState, str]:
        once = self.mode == "one-shot"
        match view.state:
            case RunnerState.ABSENT:
                return ResourceState.INACTIVE, ""
            case RunnerState.RUNNING:
                return (
                    (ResourceState.PARTIAL, "the program has not ended yet")
                    if once
                    else (ResourceState.ACTIVE, "")
                )
            case RunnerState.STOPPING:
                return ResourceState.PARTIAL, "it is being stopped"
            case RunnerState.EXITED:
                if once and view.exit_code in self.success_exit_codes:
                    return ResourceState.ACTIVE, ""
                return ResourceState.FAILED, f"the program {ended(view.exit_code)}"
            case RunnerState.LOST if view.left is None:
                return ResourceState.UNKNOWN, "its runner died, and what is left can't be seen"
            case RunnerState.LOST if view.left:
                return ResourceState.PARTIAL, f"its runner died, {view.left} processes are left"
            case _:
                return ResourceState.FAILED, "its runner died, and the program with it"

    async def _wait_until_started(self, place: Place) -> None:
        if self.mode == "one-shot":
            await self._wait_for_exit(place)
        if self.started_when is not None:
            while not await self._accepts(place, self.started_when):
                await self._require_running(place)
                await place.clock.sleep(CONNECT_EVERY_S)
        elif self.start_grace:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.start_grace):
                    await place.host.runners.changed(place.name, RunnerState.RUNNING)
        if self.mode == "resident":
            await self._require_running(place)

    async def _wait_for_exit(self, place: Place) -> None:
        while (view := await place.host.runners.observe(place.name)).state is RunnerState.RUNNING:
            await place.host.runners.changed(place.name, RunnerState.RUNNING)
        state, reason = self._judge(view)
        if state is not ResourceState.ACTIVE:
            raise ResourceError(reason or "the program was stopped")

    async def _accepts(self, place: Place, readiness: Readiness) -> bool:
        return await place.host.network.accepts(readiness.address, readiness.port, timeout_s=1.0)

    async def _require_running(self, place: Place) -> None:
        state, reason = self._judge(await place.host.runners.observe(place.name))
        if state is not ResourceState.ACTIVE:
            raise ResourceError(reason or "the program was stopped")

    async def _undo(self, place: Place, epoch: int) -> None:
        """The runner that should have run the stop command is dead: run it under a new one."""
        runners = place.host.runners
        await runners.stop(place.name, epoch, StopPlan(grace_s=0.0))
        undo = self._workload(place, epoch).with_command(self.stop_command or ())
        await runners.start(place.name, undo, Permit(epoch, lambda: True))
        while (view := await runners.observe(place.name)).state is RunnerState.RUNNING:
            await runners.changed(place.name, RunnerState.RUNNING)
        await runners.stop(place.name, epoch, StopPlan(grace_s=0.0))
        if view.exit_code != 0:
            raise HostError(f"stop command {ended(view.exit_code)}")

    def _workload(self, place: Place, epoch: int) -> Workload:
        cluster = {
            "CLUSTER_GROUP": place.group,
            "CLUSTER_RESOURCE": place.name,
            "CLUSTER_SERVER": place.server,
            "CLUSTER_EPOCH": str(epoch),
        }
        return Workload(
            command=self.command,
            environment={"PATH": DEFAULT_PATH, **self.env, **cluster},
            directory=self.cwd,
            user=self.user,
            group=self.user_group,
            keep_after_exit=self.mode == "one-shot",
            log_limit_bytes=self.log_limit,
        )

    def _plan(self) -> StopPlan:
        return StopPlan(
            command=self.stop_command or (),
            signal=signal.Signals[self.stop_signal].value,
            grace_s=self.stop_timeout * GRACE_SHARE,
            must_succeed=self.mode == "one-shot",
        )
