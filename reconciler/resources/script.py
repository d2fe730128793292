"""Scripts that start and stop something where its group runs."""

from contextlib import suppress
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.decide.circumstances import script_variables
from reconciler.decide.standby import STANDBY_START
from reconciler.plugin import Place, StandbyScript, StartLevel
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.host import HostError, RunnerState, RunnerView, StopPlan, Workload
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.resources._program import Program, ended, last_line, last_words
from specs.program import DEFAULT_PATH, ExitCodes
from specs.scalars import Duration, impact
from specs.script import QuietScript
from specs.script import Script as ScriptText

STATUS_EVERY_S = 0.5
OWN_SHARE = 0.9
"""Part of `stopTimeout` that the stop script has; the rest is for killing it, and what it left."""

GRACE_SHARE = 0.6
"""Part of what is left then that processes have to end by themselves."""

RESIDENT_STOP_SHARE = 0.5
"""Part of `stopTimeout` that the stop script of a resident script has before it is signalled."""


class Script(Program):
    """Scripts of your own: one that starts, one that stops, and one that tells whether it runs.

    The scripts are part of the specs: `apply` reads them beside the YAML file, stores them with the
    revision, and each server runs exactly that text. Everybody who may read the specs can read
    them, so keep secrets in files on the servers. They run as the agent's user (root), without
    standard input; `runuser` runs parts of them as somebody else.

    `mode: sync` (the default): the start script does its work and ends; with an exit code out of
    `successExitCodes` the resource is active. Processes that it leaves running belong to the
    resource and are ended when it stops. What it starts elsewhere (`systemctl start`) does not:
    nothing but the stop script ends that, and a server that has lost the cluster cannot.
    `mode: resident`: the start script stays and is the service; when it ends, the resource has
    failed, which is seen at once.

    The stop script runs before anything is signalled; for a `sync` script its failure, or none
    within 90 % of `stopTimeout`, is a failed stop, and a server that cannot stop a resource resets
    itself. Without a `status` script a `sync` resource counts as active from its start to its stop.
    With one it is asked every 10 seconds: exit code 0 means that it runs, a code out of
    `stoppedExitCodes` that it does not, anything else that nobody knows, and then nothing is done.

    Scripts must stand being run again: a start that an agent's end interrupted goes on, a stop
    begins anew. A script that takes too long is killed with everything that it started.

    They find in their environment: `CLUSTER_NAME`, `CLUSTER_GROUP`, `CLUSTER_RESOURCE`,
    `CLUSTER_SERVER`, `CLUSTER_OWNER`, `CLUSTER_PREVIOUS_OWNER`, `CLUSTER_PRIORITY` (1 is the
    group's first server), `CLUSTER_EPOCH` (grows with each grant, so that storage can refuse a
    writer of the past), `CLUSTER_ACTION` (start, stop, status, standby-start, standby-stop),
    `CLUSTER_EVENT` (start, failover, recover), `CLUSTER_FACTOR` (why it stops: groupstop,
    groupmove, groupfailover, resourcestop, resourcerestart) and `CLUSTER_CAUSE` (a sentence). The
    same is there as `CLP_*` and `ARMS_*`, in capitals: `EVENT`, `FACTOR`, `LASTACTION` (NONE),
    `SERVER` (HOME on the first server, else OTHER), `SERVER_PREV`, `PRIORITY`, `DISK` (SUCCESS),
    `GROUPNAME`, `RESOURCENAME`, `CLUSTERNAME`, `OSNAME`.

    Output of the start script is in `runners/NAME/output.log` in the run directory, that of the
    others in `scripts/NAME.log`.

    `standbyStart` and `standbyStop` run on the group's other servers, after it came online and
    when it stops there. They have no influence on the group: nobody waits for them, and a failure
    is an event. `standbyStart` runs again (`CLUSTER_EVENT=recover`) after a start of the agent.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: queue}
    spec:
      group: web
      type: script
      start:
        text: |
          #!/bin/sh
          exec /opt/queue/bin/queue open --epoch "$CLUSTER_EPOCH"
      stop:
        text: |
          #!/bin/sh
          exec /opt/queue/bin/queue close
    ```
    """

    level: ClassVar[StartLevel] = StartLevel.WORKLOAD

    type: Literal["script"] = Field(
        default="script",
        description="Type of the resource.",
        json_schema_extra=impact("resource", example="script"),
    )
    start: ScriptText = Field(
        description="Starts it, or is it (resident).",
        json_schema_extra=impact("resource", example={"file": "start.sh"}),
    )
    stop: QuietScript | None = Field(
        default=None,
        description="Stops it.",
        json_schema_extra=impact(
            "none", example={"file": "stop.sh"}, default_text="its processes are ended"
        ),
    )
    status: QuietScript | None = Field(
        default=None,
        description="Tells whether it runs, changes nothing.",
        json_schema_extra=impact(
            "none", example={"file": "status.sh"}, default_text="the start's end tells"
        ),
    )
    mode: Literal["sync", "resident"] = Field(
        default="sync",
        description="Whether the start script ends, or stays and is the service.",
        json_schema_extra=impact("resource", example="sync"),
    )
    success_exit_codes: ExitCodes = Field(
        default=(0,),
        description="Exit codes of the start script that mean success.",
        json_schema_extra=impact("none", example=[0]),
    )
    stop_exit_codes: ExitCodes = Field(
        default=(0,),
        description="Exit codes of the stop script that mean success.",
        json_schema_extra=impact("none", example=[0]),
    )
    stopped_exit_codes: ExitCodes = Field(
        default=(3,),
        description="Exit codes of the status script that mean that it does not run.",
        json_schema_extra=impact("none", example=[3]),
    )
    status_timeout: Annotated[Duration, Field(ge=0.5, le=60)] = Field(
        default=4.0,
        description="Time that the status script has; without an answer the state is unknown.",
        json_schema_extra=impact("none", example="4s"),
    )
    standby_start: QuietScript | None = Field(
        default=None,
        description="Runs on the group's other servers after the group came online.",
        json_schema_extra=impact(
            "none", example={"file": "standby.sh"}, default_text="nothing runs there"
        ),
    )
    standby_stop: QuietScript | None = Field(
        default=None,
        description="Runs on the group's other servers when the group stops.",
        json_schema_extra=impact(
            "none", example={"file": "standby.sh"}, default_text="nothing runs there"
        ),
    )
    standby_timeout: Annotated[Duration, Field(ge=1, le=3600)] = Field(
        default=60.0,
        description="Time that a standby script has before it is killed.",
        json_schema_extra=impact("none", example="60s"),
    )
    log_files: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="Older log files that are kept beside each.",
        json_schema_extra=impact("resource", example=1),
    )

    @model_validator(mode="after")
    def _codes_differ(self) -> "Script":
        if 0 in self.stopped_exit_codes:
            raise ValueError("stoppedExitCodes cannot hold 0: it means that it runs")
        return self

    @property
    def observe_timeout(self) -> float:
        """The status script's time, and some to kill it."""
        return self.status_timeout + 3.0 if self.status else super().observe_timeout

    @property
    def has_standby(self) -> bool:
        return self.standby_start is not None or self.standby_stop is not None

    def standby(self, action: str) -> StandbyScript | None:
        script = self.standby_start if action == STANDBY_START else self.standby_stop
        if script is None:
            return None
        environment = {"PATH": DEFAULT_PATH, **self.env}
        return StandbyScript(script, self.standby_timeout, environment, self.cwd)

    # -- what it is ----------------------------------------------------------------------------

    async def observe(self, place: Place) -> Observation:
        view = await place.host.runners.observe(place.name)
        state, reason = self._judge(view)
        if self.status is not None and state in (ResourceState.ACTIVE, ResourceState.INACTIVE):
            state, reason = _with_answer(state, *await self._ask(place, view.epoch or 0))
        return Observation(state, reason, view.epoch)

    def _judge(self, view: RunnerView) -> tuple[ResourceState, str]:
        """By what is recorded of the start script."""
        sync = self.mode == "sync"
        match view.state:
            case RunnerState.ABSENT:
                return ResourceState.INACTIVE, ""
            case RunnerState.RUNNING if not sync:
                return ResourceState.ACTIVE, ""
            case RunnerState.RUNNING:
                return ResourceState.PARTIAL, "its start script has not ended yet"
            case RunnerState.STOPPING:
                return ResourceState.PARTIAL, "it is being stopped"
            case RunnerState.EXITED if sync and view.exit_code in self.success_exit_codes:
                return ResourceState.ACTIVE, ""
            case RunnerState.EXITED:
                return ResourceState.FAILED, f"its start script {ended(view.exit_code)}"
            case _ if view.left is None:
                return ResourceState.UNKNOWN, "its runner died, and what is left can't be seen"
            case _:
                return ResourceState.FAILED, "its runner died before the start script ended"

    async def _ask(self, place: Place, epoch: int) -> tuple[bool | None, str]:
        """What the status script says; None is unknown."""
        if self.status is None:
            return None, "it has no status script"
        said = await self._run(place, self.status, "status", epoch, self.status_timeout)
        if said.exit_code == 0:
            return True, ""
        if said.exit_code in self.stopped_exit_codes:
            return False, f"its status script says that it does not run ({said.reason})"
        return None, f"its status script: {said.reason}{last_line(said.output)}"

    async def changed(self, place: Place) -> None:
        await place.host.runners.changed(place.name)

    # -- start ---------------------------------------------------------------------------------

    async def prepare(self, place: Place) -> None:
        """What cannot be stopped for want of its script is not started either."""
        await place.host.runners.prepare()
        await self._place_all(place)

    async def _place_all(self, place: Place) -> None:
        for script in (self.start, self.stop, self.status):
            if script is not None:
                await place.host.scripts.place(script.text)

    async def activate(self, place: Place, permit: Permit) -> None:
        view = await place.host.runners.observe(place.name)
        if view.epoch is not None and view.epoch > permit.epoch:
            raise ResourceError(f"it runs at the newer epoch {view.epoch} already", retry=False)
        if view.epoch == permit.epoch and await self._goes_on(place, view):
            with suppress(HostError):  # a changed spec may have brought another stop script
                await self._place_all(place)
        else:
            if view.state is not RunnerState.ABSENT:
                permit.check()
                await self._end(place, permit.epoch, view)
            await place.host.runners.start(
                place.name, await self._workload(place, permit.epoch), permit
            )
        await self._wait_until_started(place, permit.epoch)

    async def give_up(self, place: Place, epoch: int) -> str:
        await place.host.runners.kill(place.name, epoch)
        return f"; its script and all that it started were killed{last_words(place)}"

    async def _goes_on(self, place: Place, view: RunnerView) -> bool:
        """Whether a start at this epoch, an earlier agent's maybe, is done or under way."""
        if self.mode == "sync" and view.state is RunnerState.RUNNING:
            return True
        if self._judge(view)[0] is not ResourceState.ACTIVE:
            return False
        return self.status is None or (await self._ask(place, view.epoch or 0))[0] is not False

    async def _wait_until_started(self, place: Place, epoch: int) -> None:
        runners = place.host.runners
        while (view := await runners.observe(place.name)).state is RunnerState.RUNNING:
            if self.mode == "resident":
                break
            await runners.changed(place.name, RunnerState.RUNNING)
        self._require(place, view)
        while self.status is not None and not (await self._ask(place, epoch))[0]:
            await place.clock.sleep(STATUS_EVERY_S)
            self._require(place, await runners.observe(place.name))

    def _require(self, place: Place, view: RunnerView) -> None:
        state, reason = self._judge(view)
        if state is not ResourceState.ACTIVE:
            raise ResourceError(f"{reason or 'it was stopped'}{last_words(place)}")

    async def _workload(self, place: Place, epoch: int) -> Workload:
        return Workload(
            command=await _command(place, self.start),
            environment=self._environment(place, "start", epoch),
            directory=self.cwd,
            keep_after_exit=self.mode == "sync",
            log_limit_bytes=self.log_limit,
            log_files=self.log_files,
        )

    def _environment(self, place: Place, action: str, epoch: int) -> dict[str, str]:
        given = script_variables(
            place.circumstances(),
            group=place.group,
            resource=place.name,
            server=place.server,
            epoch=epoch,
            action=action,
        )
        return {"PATH": DEFAULT_PATH, **self.env, **given}

    # -- stop ----------------------------------------------------------------------------------

    async def deactivate(self, place: Place, epoch: int) -> None:
        view = await place.host.runners.observe(place.name)
        if view.epoch is not None and view.epoch > epoch:
            return
        # Not started by us, as far as is known; the status script may know better.
        if view.epoch is None and (
            self.status is None or (await self._ask(place, epoch))[0] is False
        ):
            return
        await self._end(place, epoch, view)

    async def _end(self, place: Place, epoch: int, view: RunnerView) -> None:
        """The record of the start goes last, so that an interrupted stop begins anew."""
        runners = place.host.runners
        # A start script that still works must not work against the stop script.
        if view.state is not RunnerState.ABSENT and not self._serves(view):
            await runners.kill(place.name, epoch)
        if self.stop is None:
            share = 0.0
        else:
            lives = self.mode == "resident" and self._serves(view)
            share = RESIDENT_STOP_SHARE if lives else OWN_SHARE
            limit = self.stop_timeout * share
            said = await self._run(place, self.stop, "stop", view.epoch or epoch, limit)
            if said.exit_code not in self.stop_exit_codes:
                text = f"its stop script: {said.reason}{last_line(said.output)}"
                if self.mode == "sync":
                    raise ResourceError(text)
                place.events.emit(
                    "script_failed",
                    group=place.group,
                    resource=place.name,
                    script="stop",
                    reason=text,
                )
        grace = self.stop_timeout * (1.0 - share) * GRACE_SHARE
        await runners.stop(place.name, epoch, StopPlan(grace_s=grace))

    def _serves(self, view: RunnerView) -> bool:
        """A start script whose work is done, or that is the service and stays until it is told."""
        return self._judge(view)[0] is ResourceState.ACTIVE

    async def _run(
        self, place: Place, script: ScriptText, action: str, epoch: int, limit_s: float
    ) -> Sample:
        """A script that ends, in a tree of its own that ends with it."""
        log = place.run_directory / "scripts" / f"{place.name}.log"
        settings = {
            "command": await _command(place, script),
            "environment": self._environment(place, action, epoch),
            "directory": self.cwd,
            "log": [str(log), self.log_limit, self.log_files],
        }
        try:
            return await place.probes.run("command", settings, limit_s)
        except ProbeUnavailable as error:
            return Sample(None, str(error))


async def _command(place: Place, script: ScriptText) -> tuple[str, ...]:
    """The interpreter is named, so that its absence is what the reason says."""
    return (*script.interpreter, await place.host.scripts.place(script.text))


def _with_answer(state: ResourceState, runs: bool | None, reason: str) -> tuple[ResourceState, str]:
    """What the record says, and what the status script says."""
    if runs is None:
        return ResourceState.UNKNOWN, reason
    if state is ResourceState.ACTIVE:
        return (state, "") if runs else (ResourceState.FAILED, reason)
    return (ResourceState.PARTIAL, "it runs, but was not started here") if runs else (state, "")
