"""What the proofs that a group lists rest on: `expired` (time alone), and `none` at all."""

from collections.abc import Iterator

from specs.errors import SpecProblem
from specs.group import GroupSpec
from specs.spec_set import LoadedObject, ObjectRef, SpecSet
from specs.yaml_text import Path


def check_proofs(specs: SpecSet) -> Iterator[SpecProblem]:
    """Groups that list `expired` without what it rests on, or that give the promise up."""
    for name, group in specs.groups.items():
        item = specs.objects[ObjectRef("Group", name)]
        if "expired" in group.spec.proofs:
            yield from _expired(specs, name, item, group.spec)
        if "none" in group.spec.proofs:
            yield from _none(specs, name, item, group.spec)


def _none(specs: SpecSet, name: str, item: LoadedObject, spec: GroupSpec) -> Iterator[SpecProblem]:
    path: Path = ("spec", "proofs", spec.proofs.index("none"))
    exposed = [r.metadata.name for r in specs.resources_of(name) if r.spec.one_writer]
    if exposed:
        message = f"'none' would let two servers write to {', '.join(exposed)} and damage the data"
        yield item.problem(path, message, "E0502")
    else:
        message = "'none': this group may run on two servers at once when the network is parted"
        yield item.problem(path, message, "W0607")


def _expired(
    specs: SpecSet, name: str, item: LoadedObject, spec: GroupSpec
) -> Iterator[SpecProblem]:
    path: Path = ("spec", "proofs", spec.proofs.index("expired"))
    if spec.on_store_loss != "stop":
        message = (
            "proof 'expired' needs onStoreLoss: stop; an owner that keeps its groups without the "
            "store never has to stop"
        )
        yield item.problem(path, message, "E0502")
        return
    exposed = [r.metadata.name for r in specs.resources_of(name) if r.spec.one_writer]
    if exposed:
        message = (
            f"proof 'expired' is not enough for {', '.join(exposed)}: a second writer would "
            "damage the data, and nothing but a stop keeps it out"
        )
        yield item.problem(path, message, "E0502")
    servers = specs.eligible_servers(name)
    bare = [s for s in servers if specs.servers[s].spec.watchdog is None]
    if bare and len(bare) == len(servers):
        message = f"proof 'expired' needs a watchdog, and {', '.join(bare)} have none"
        yield item.problem(path, message, "E0502")
    elif bare:
        message = f"{', '.join(bare)} without a watchdog: from there proof 'expired' never comes"
        yield item.problem(path, message, "W0605")
