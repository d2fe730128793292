"""Rules that span objects; `apply`, `diff` and the loops call it on the whole set.

A single document's own rules are in its model.
"""

from collections.abc import Iterator

from specs.address_rules import check_addresses
from specs.catalogue import TypeCatalogue
from specs.disk_rules import check_disks
from specs.errors import Severity, SpecProblem
from specs.heartbeat_rules import check_heartbeat_paths
from specs.hybrid_rules import check_hybrid_disks
from specs.mirror_rules import check_mirrors
from specs.monitor_rules import check_monitors
from specs.proof_rules import check_proofs
from specs.reference_rules import check_cycles, check_eligible, check_references
from specs.spec_set import ObjectRef, SpecSet
from specs.timing_rules import check_timing, check_watchdog
from specs.volume_rules import check_volumes

MOST_VOTERS = 5


def check(specs: SpecSet, types: TypeCatalogue) -> list[SpecProblem]:
    """Errors and warnings in order of file and line; errors must stop an apply.

    `types` is part of the contract for rules of types to come.
    """
    del types
    found = [
        *_cluster(specs),
        *_fencing(specs),
        *check_proofs(specs),
        *check_references(specs),
        *check_cycles(specs),
        *check_addresses(specs),
        *check_disks(specs),
        *check_mirrors(specs),
        *check_volumes(specs),
        *check_hybrid_disks(specs),
        *check_monitors(specs),
    ]
    if not any(problem.code == "E0201" for problem in found):
        # A dangling name explains a group without servers better than this rule does.
        found.extend(check_eligible(specs))
    return sorted(found, key=lambda item: (item.file, item.line, item.column, item.path, item.code))


def errors_of(problems: list[SpecProblem]) -> list[SpecProblem]:
    """Only those that must stop an apply."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def _cluster(specs: SpecSet) -> Iterator[SpecProblem]:
    found = [item for ref, item in specs.objects.items() if ref.kind == "Cluster"]
    if not found:
        first = next(iter(specs.objects.values()), None)
        file = first.source if first else "(empty set)"
        yield SpecProblem(file, 0, 0, "", "the set has no Cluster; it needs exactly one", "E0204")
        return
    for item in found[1:]:
        message = f"a second Cluster; {found[0].ref} is in {found[0].source}:{found[0].line}"
        yield item.problem(("metadata", "name"), message, "E0204")
    if specs.cluster is None:
        return
    item, spec = found[0], specs.cluster.spec
    yield from check_timing(item, spec.timing)
    yield from check_heartbeat_paths(specs, item)
    for name, server in specs.servers.items():
        if server.spec.watchdog is not None:
            of_server = specs.objects[ObjectRef("Server", name)]
            timeout = server.spec.watchdog.timeout
            yield from check_watchdog(of_server, timeout, spec.timing.resolved())
    heartbeats = [network.name for network in spec.networks if network.heartbeat]
    if not heartbeats:
        message = "no network carries heartbeats; every server would look dead"
        yield item.problem(("spec", "networks"), message, "E0402", at="key")
    elif len(heartbeats) == 1:
        message = f"heartbeats travel on network {heartbeats[0]!r} only; a second one tells a "
        yield item.problem(
            ("spec", "networks"), message + "broken link from a dead server", "W0604", at="key"
        )
    if message := _quorum(len(specs.servers)):
        yield item.problem(("metadata", "name"), message, "W0601")


def _quorum(servers: int) -> str:
    if servers == 1:
        return "one server: nothing can take over from it"
    if servers == 2:
        return (
            "two servers: neither has a majority without the other, so no failover happens; "
            "add a third voting server on any small machine"
        )
    if servers <= MOST_VOTERS and servers % 2 == 0 and servers:
        return f"{servers} servers survive no more failures than {servers - 1}; use an odd number"
    return ""


def _fencing(specs: SpecSet) -> Iterator[SpecProblem]:
    for name, server in specs.servers.items():
        if server.spec.fencing is None:
            item = specs.objects[ObjectRef("Server", name)]
            message = (
                "without fencing levels nobody can prove that this server is off: its groups "
                "stay blocked after a crash until a person confirms it"
            )
            yield item.problem(("spec", "fencing"), message, "W0602")
