"""Volumes of mirrored disks: do they fit, and does a change leave their data where it is; used by
the checks, and by whatever compares the specs of now with those to come.
"""

from collections.abc import Iterator

from specs.errors import SpecProblem
from specs.scalars import format_size
from specs.spec_set import ObjectRef, SpecSet
from specs.volume_layout import move, needed


def check_volumes(specs: SpecSet) -> Iterator[SpecProblem]:
    """Two volumes of one name, and a disk that is not just as large as they are: its last volume
    reaches to its end, and would take what may become another one."""
    for name, resource in specs.resources.items():
        mirror = resource.spec.mirror()
        if mirror is None:
            continue
        item = specs.objects[ObjectRef("Resource", name)]
        seen: dict[str, int] = {}
        for number, extent in enumerate(mirror.volumes):
            first = seen.setdefault(extent.name, number)
            if first != number:
                text = f"volume {first + 1} of this disk has the name {extent.name!r} already"
                yield item.problem(("spec", "volumes", number, "name"), text, "E0314")
        total = needed(mirror.volumes)
        if total != mirror.size:
            text = (
                f"the volumes need {format_size(total)} (each begins at a whole MiB), size says "
                f"{format_size(mirror.size)}: leave it out"
            )
            yield item.problem(("spec", "size"), text, "E0314")


def check_moves(old: SpecSet, new: SpecSet) -> Iterator[SpecProblem]:
    """Volumes that would not be found where their data is, in order of name."""
    for name, resource in new.resources.items():
        before = old.resources.get(name)
        was, now = before.spec.mirror() if before else None, resource.spec.mirror()
        if was is None or now is None or was.volumes == now.volumes:
            continue
        found = move(was.volumes, now.volumes)
        if found is None:
            continue
        item = new.objects[ObjectRef("Resource", name)]
        divided = bool(now.volumes and now.volumes[0].name)
        if not divided:
            yield item.problem(("spec", "size"), found.text, "E0315")
        elif found.number is None:
            yield item.problem(("spec", "volumes"), found.text, "E0315", at="key")
        else:
            yield item.problem(("spec", "volumes", found.number), found.text, "E0315")
