"""What the monitors of mirrored disks have in common: the engine of this server, and what it says.

They read the engine's status. The engine itself dials, and copies what it knows to differ, for as
long as it runs; what only a comparison found is copied when the spec says so.
"""

from typing import Literal

from pydantic import Field

from reconciler.plugin import MonitorType, Site
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import EngineView
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.scalars import Name, impact


class MirrorMonitor(MonitorType):
    """A monitor of one mirrored disk."""

    resource: Name = Field(
        description="The mirrored disk.",
        json_schema_extra=impact("monitor", example="data"),
    )
    broken: Literal["warning", "fault"] = Field(
        default="warning",
        description="What it is when the mirror gives no second copy now: a warning, which is "
        "shown and told, or a fault, for which the `recovery` is climbed.",
        json_schema_extra=impact("monitor", example="warning"),
    )

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),)

    async def engine(self, site: Site) -> EngineView | None:
        """None when no engine runs here. Raises `ProbeUnavailable` for what is no such disk."""
        found, types = site.resources.get(self.resource), self.resource_types()
        if found is None or found.spec.type not in types:
            raise ProbeUnavailable(f"resource {self.resource} is no {' or '.join(types)}")
        return await site.host.mirrors.view(self.resource)

    def bad(self, reason: str) -> Sample:
        """As the spec says."""
        if self.broken == "fault":
            return Sample(False, reason)
        return Sample(True, reason, warning=True)


class PairMonitor(MirrorMonitor):
    """A monitor of the state of both sides."""

    repair: Literal["none", "checksum"] = Field(
        default="none",
        description="What is done when `clusterctl mirror verify` found differences: nothing but "
        "saying so, or what `mirror resync --checksum` does, once for each such comparison. The "
        "side that serves counts; the other one gets its data.",
        json_schema_extra=impact("monitor", example="none"),
    )

    async def pair(self, site: Site, view: EngineView) -> Sample:
        found = state_of(self, view)
        parts = different_parts(view)
        if not parts or not found.healthy or found.warning:
            return found
        text = f"the last comparison found {parts} different part{'s' if parts > 1 else ''}"
        command = f"clusterctl mirror resync {self.resource} --checksum"
        if self.repair == "none":
            return self.bad(f"{text}: {command}")
        try:
            # From then on the engine's last comparison is this one: it is asked once.
            await site.host.mirrors.ask(self.resource, {"do": "resync", "how": "checksum"})
        except HostError as error:
            return self.bad(f"{text}, and they cannot be copied: {error}")
        return Sample(True, f"{text}: what differs is copied again", warning=True)


def different_parts(view: EngineView) -> int:
    """Parts that the last whole comparison found different, and that nobody copied since."""
    said = view.details.get("verify") or {}
    if not view.serves or said.get("ended") != "done" or said.get("repair"):
        return 0
    found = said.get("different", ())
    return found if isinstance(found, int) else len(found)


def state_of(monitor: MirrorMonitor, view: EngineView) -> Sample:
    """The pair, as the side that this server has knows it."""
    details = view.details
    if view.over:
        return Sample(False, view.over)
    if view.suspended:
        return Sample(False, "writes wait until the store says who is current")
    connected, problem = bool(details.get("connected")), str(details.get("problem", ""))
    missing = int(details.get("bytes_to_copy", 0) or 0)
    if not view.serves:
        return _follows(monitor, view, connected, missing)
    verdict = str(details.get("verdict", ""))
    if verdict in ("split-brain", "refused") and not connected:
        return monitor.bad(f"{verdict}: {details.get('verdict_reason', '')}")
    if not connected:
        more = f", {problem}" if problem else ""
        return monitor.bad(f"the other side is away{more}; {_size(missing)} differ")
    if details.get("stage") != "both":
        return Sample(True, f"the other side is copied to; {_size(missing)} are left", warning=True)
    return Sample(True, "both sides have everything")


def _follows(monitor: MirrorMonitor, view: EngineView, connected: bool, missing: int) -> Sample:
    if view.header.isolated:
        return monitor.bad("this side is isolated as a snapshot")
    if not connected:
        return monitor.bad("no serving side is connected to this one")
    if not view.header.consistent:
        return Sample(True, f"this side is copied to; {_size(missing)} are left", warning=True)
    return Sample(True, "this side follows")


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
