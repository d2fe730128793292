"""What a Monitor says about other objects, and timings that fit together; used by the checks."""

from collections.abc import Iterator

from specs.errors import SpecProblem, suggestion
from specs.monitor import MonitorSpec
from specs.scalars import format_duration
from specs.spec_set import LoadedObject, ObjectRef, SpecSet
from specs.yaml_text import Path

LONG_TIMEOUT = 3
"""A hanging probe may delay the next one, but not by more intervals than this."""


def check_monitors(specs: SpecSet) -> Iterator[SpecProblem]:
    """Dangling names, probes that could never run."""
    for name, monitor in specs.monitors.items():
        item, spec = specs.objects[ObjectRef("Monitor", name)], monitor.spec
        yield from _objects(item, spec, specs)
        yield from _servers(item, spec, specs)
        if spec.timeout > spec.interval * LONG_TIMEOUT:
            message = (
                f"is more than {LONG_TIMEOUT} intervals of {format_duration(spec.interval)}: a "
                "hanging probe delays all that follow"
            )
            yield item.problem(("spec", "timeout"), message, "W0606")


def _objects(item: LoadedObject, spec: MonitorSpec, specs: SpecSet) -> Iterator[SpecProblem]:
    named = [(("spec", "target"), spec.target), (("spec", "activeWith"), spec.active_with or "")]
    named += [(("spec", field), f"resource/{name}") for field, name in spec.resources()]
    for path, text in named:
        kind, slash, name = text.partition("/")
        if slash:
            yield from _exists(item, path, kind.capitalize(), name, specs)
    for field, name, volume in spec.volumes():
        found = specs.resources.get(name)
        mirror = found.spec.mirror() if found is not None else None
        names = [extent.name for extent in mirror.volumes if extent.name] if mirror else []
        if found is not None and volume not in names:
            message = f"{name!r} has no volume {volume!r}{suggestion(volume, names)}"
            yield item.problem(("spec", field), message, "E0201")
    wanted = spec.resource_types()
    for field, name in spec.resources():
        found = specs.resources.get(name)
        if wanted and found is not None and found.spec.type not in wanted:
            message = (
                f"{name!r} is a {found.spec.type}; this monitor looks at {' and '.join(wanted)}"
            )
            yield item.problem(("spec", field), message, "E0207")


def _servers(item: LoadedObject, spec: MonitorSpec, specs: SpecSet) -> Iterator[SpecProblem]:
    for number, server in enumerate(spec.servers or ()):
        yield from _exists(item, ("spec", "servers", number), "Server", server, specs)
    group = _group_of(spec.companion or "", specs)
    if spec.servers is None or group not in specs.groups:
        return
    if not set(spec.servers) & set(specs.eligible_servers(group)):
        message = f"none of them may run group {group!r}: this monitor would never probe"
        yield item.problem(("spec", "servers"), message, "E0206")


def _group_of(text: str, specs: SpecSet) -> str:
    kind, _, name = text.partition("/")
    if kind == "resource":
        resource = specs.resources.get(name)
        return resource.spec.group if resource else ""
    return name


def _exists(
    item: LoadedObject, path: Path, kind: str, name: str, specs: SpecSet
) -> Iterator[SpecProblem]:
    if ObjectRef(kind, name) not in specs.objects:
        known = [ref.name for ref in specs.objects if ref.kind == kind]
        yield item.problem(path, f"there is no {kind} {name!r}{suggestion(name, known)}", "E0201")
