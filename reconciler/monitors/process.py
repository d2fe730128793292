"""A process runs on this server."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.plugin import MonitorType, Site
from reconciler.ports.host import RunnerState
from reconciler.ports.probes import Sample
from specs.scalars import Name, impact


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text[:80]!r} is not a regular expression: {error}") from None
    return text


class Process(MonitorType):
    """The main process of a resource runs, or enough processes match a pattern.

    The pattern is a regular expression, searched in each command line (its words joined by
    spaces). Processes of other groups and of the system match too.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: web-workers}
    spec:
      type: process
      target: resource/web-server
      pattern: "^nginx: worker"
      minimum: 2
      interval: 10s
      timeout: 5s
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("appliw", "psw")

    type: Literal["process"] = Field(
        default="process",
        description="Type of the monitor (aliases: appliw, psw).",
        json_schema_extra=impact("monitor", example="process"),
    )
    resource: Name | None = Field(
        default=None,
        description="Resource whose main process is looked for. Exactly one of `resource` and "
        "`pattern`.",
        json_schema_extra=impact("monitor", example="web-server"),
    )
    pattern: (
        Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_pattern)] | None
    ) = Field(
        default=None,
        description="Regular expression that command lines are searched for.",
        json_schema_extra=impact("monitor", example="^nginx: worker"),
    )
    minimum: Annotated[int, Field(ge=1, le=100000)] = Field(
        default=1,
        description="Processes that must match the pattern.",
        json_schema_extra=impact("monitor", example=2),
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.resource is None) == (self.pattern is None):
            raise ValueError("give either resource or pattern")
        return self

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),) if self.resource else ()

    async def sample(self, site: Site) -> Sample:
        if self.resource is None:
            settings = {"pattern": self.pattern, "minimum": self.minimum}
            return await site.probes.run("process", settings, self.timeout)
        view = await site.host.runners.observe(self.resource)
        if view.state is RunnerState.RUNNING:
            return Sample(True, f"process {view.pid} runs")
        output = site.host.runners.log_tail(self.resource)
        return Sample(False, f"its runner is {view.state.value}", output)
