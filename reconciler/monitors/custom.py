"""A command of your own, judged by its exit code."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import Sample
from specs.program import DEFAULT_PATH, Argument, Command, Directory, ExitCodes, VariableName
from specs.scalars import impact


class Custom(MonitorType):
    """A command that ends with exit code 0 while all is well.

    It runs in a process tree of its own. Whatever it started is killed when it ends, and when the
    time-out is over. The end of its output is kept in the monitor's state; a command that writes
    more than 1 MiB has failed. It finds `CLUSTER_MONITOR` and `CLUSTER_SERVER` in its environment,
    and nothing of the agent's.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: web-queue}
    spec:
      type: custom
      target: group/web
      command: [/usr/local/bin/queue-is-short, --limit, "100"]
      interval: 20s
      timeout: 5s
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("genw",)

    type: Literal["custom"] = Field(
        default="custom",
        description="Type of the monitor (alias: genw).",
        json_schema_extra=impact("monitor", example="custom"),
    )
    command: Command = Field(
        description="Program and arguments. No shell reads them.",
        json_schema_extra=impact("monitor", example=["/usr/local/bin/queue-is-short"]),
    )
    success_exit_codes: ExitCodes = Field(
        default=(0,),
        description="Exit codes that mean that all is well.",
        json_schema_extra=impact("monitor", example=[0]),
    )
    cwd: Directory = Field(
        default="/",
        description="Directory that the command starts in.",
        json_schema_extra=impact("monitor", example="/srv"),
    )
    env: dict[VariableName, Argument] = Field(
        default_factory=dict,
        repr=False,
        description="Environment variables. Nothing is inherited from the agent.",
        json_schema_extra=impact("monitor", example={"LANG": "C.UTF-8"}),
    )
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="User, by name or number, that the command runs as.",
        json_schema_extra=impact("monitor", example="nobody", default_text="the agent's user"),
    )

    async def sample(self, site: Site) -> Sample:
        cluster = {"CLUSTER_MONITOR": site.name, "CLUSTER_SERVER": site.server}
        settings = {
            "command": list(self.command),
            "environment": {"PATH": DEFAULT_PATH, **self.env, **cluster},
            "directory": self.cwd,
            "user": self.user,
            "success": list(self.success_exit_codes),
        }
        return await site.probes.run("command", settings, self.timeout)
