"""From files to the set that would result: validated as a whole, compared, guarded.

Used by apply, diff, delete and rollback, so that all four see the same errors and refusals.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from reconciler.decide.server_status import server_view
from reconciler.decide.status import group_view
from reconciler.decide.stored import StoredRecords
from reconciler.repository import StoredSet, load_stored
from specs.check import check, errors_of
from specs.diff import ObjectChange, diff
from specs.errors import Severity, SpecErrors, SpecProblem
from specs.spec_set import ObjectRef, SpecSet
from specs.timing_rules import timing_sums
from specs.volume_rules import check_moves

if TYPE_CHECKING:
    from specs.load import TypeCatalogue

DEFAULT_SOURCE = "cli"


@dataclass(frozen=True)
class Proposal:
    """What would be stored: `texts` are written, `removed` go, `new` is the resulting set."""

    stored: StoredSet
    old: SpecSet
    new: SpecSet
    texts: dict[str, str]
    removed: frozenset[ObjectRef]
    changes: tuple[ObjectChange, ...]
    warnings: tuple[SpecProblem, ...]

    @property
    def leaving(self) -> frozenset[ObjectRef]:
        """What goes, and resources that go to another group: that one may run on another server,
        and starts them there while the old one still stops them here."""
        moved = {
            ObjectRef("Resource", name)
            for name, resource in self.old.resources.items()
            if name in self.new.resources
            and self.new.resources[name].spec.group != resource.spec.group
        }
        return self.removed | moved

    @property
    def files(self) -> dict[str, Mapping[str, str]]:
        """What the texts name: object -> name of a file -> its content."""
        return {str(ref): o.files for ref, o in self.new.objects.items() if str(ref) in self.texts}

    @property
    def nothing(self) -> bool:
        return not self.texts and not self.removed

    @property
    def timing(self) -> tuple[str, ...]:
        """The cluster's timing sums, worked out, when the Cluster itself changes."""
        if not any(change.ref.kind == "Cluster" for change in self.changes):
            return ()
        if self.new.cluster is None:
            return ()
        watchdogs = (server.spec.watchdog for server in self.new.servers.values())
        longest = max((each.timeout for each in watchdogs if each), default=0.0)
        return timing_sums(self.new.cluster.spec.timing.resolved(), longest)

    def word(self, ref: ObjectRef) -> str:
        """What happens to one object of the files, in a word."""
        if str(ref) not in self.texts:
            return "unchanged"
        if ref not in self.old.objects:
            return "created"
        return "configured"


def propose(
    given: SpecSet,
    stored: StoredSet,
    types: "TypeCatalogue",
    *,
    source: str,
    prune: bool = False,
    force: bool = False,
) -> Proposal:
    """The result of laying `given` over what is stored. Raises `SpecErrors` with all problems of
    the resulting set, and `Failure` (4) when another source owns an object."""
    old = load_stored(stored, types)
    kept = stored.objects
    texts = {
        str(ref): item.text
        for ref, item in given.objects.items()
        if str(ref) not in kept
        or (kept[str(ref)].text, kept[str(ref)].files) != (item.text, item.files)
        or (force and kept[str(ref)].source != source)
    }
    if not force:
        _refuse_foreign(stored, texts, source)
    removed = frozenset(
        ref
        for ref in old.objects
        if prune and ref not in given.objects and kept[str(ref)].source == source
    )
    return _checked(stored, old, old.merged(given, removed), texts, removed, types)


def removal(stored: StoredSet, types: "TypeCatalogue", ref: ObjectRef) -> Proposal:
    """The result of removing one object. Raises `Failure` (5) while others need it."""
    old = load_stored(stored, types)
    removed = frozenset({ref})
    try:
        return _checked(stored, old, old.merged(SpecSet.of(()), removed), {}, removed, types)
    except SpecErrors as error:
        raise Failure(
            f"refused: without {ref.kind.lower()}/{ref.name} the specs are not valid:\n{error}",
            ExitCode.REFUSED,
            "remove or change what uses it first",
        ) from None


def replacement(stored: StoredSet, target: StoredSet, types: "TypeCatalogue") -> Proposal:
    """The result of going back to the specs of `target`."""
    old, new = load_stored(stored, types), load_stored(target, types)
    removed = frozenset(set(old.objects) - set(new.objects))
    texts = {
        name: found.text
        for name, found in target.objects.items()
        if name not in stored.objects
        or (stored.objects[name].text, stored.objects[name].files) != (found.text, found.files)
    }
    return _checked(stored, old, new, texts, removed, types)


def _checked(
    stored: StoredSet,
    old: SpecSet,
    new: SpecSet,
    texts: dict[str, str],
    removed: frozenset[ObjectRef],
    types: "TypeCatalogue",
) -> Proposal:
    problems = [*check(new, types), *check_moves(old, new)] if new.objects else []
    errors = errors_of(problems)
    if errors:
        raise SpecErrors(*errors)
    warnings = tuple(p for p in problems if p.severity is Severity.WARNING)
    return Proposal(stored, old, new, texts, removed, diff(old, new), warnings)


def _refuse_foreign(stored: StoredSet, names: Iterable[str], source: str) -> None:
    kept = stored.objects
    foreign = [(name, kept[name].source) for name in sorted(names) if name in kept]
    lines = [
        f"{_short(name)} is owned by source {owner!r}, you apply as {source!r}"
        for name, owner in foreign
        if owner != source
    ]
    if lines:
        raise Failure(
            "\n".join(lines),
            ExitCode.CONFLICT,
            f"take over: --force-conflicts; or apply as --source {foreign[0][1]};"
            " or leave these objects out of your files",
        )


def _short(name: str) -> str:
    kind, _, rest = name.partition("/")
    return f"{kind.lower()}/{rest}"


def guard_removals(
    proposal: Proposal, records: StoredRecords, *, at_most_half: bool = False
) -> None:
    """Raises `Failure` (5) when something that is to go, or to leave its group, still runs, or,
    with `at_most_half`, when more than half of all objects would go at once."""
    refusals: list[tuple[str, str]] = []
    for ref in sorted(proposal.leaving):
        refusal = _still_used(ref, proposal, records)
        if refusal is not None:
            refusals.append(refusal)
    if refusals:
        lines = "\n".join(f"refused: {text}" for text, _ in refusals)
        raise Failure(lines, ExitCode.REFUSED, refusals[0][1])
    if at_most_half and len(proposal.removed) * 2 > len(proposal.old.objects):
        raise Failure(
            f"refused: {len(proposal.removed)} of {len(proposal.old.objects)} objects would go",
            ExitCode.REFUSED,
            "look at clusterctl diff --prune, then add --yes",
        )


def refuse_running_group(ref: ObjectRef, records: StoredRecords) -> None:
    """That a group runs is the first thing to know, before who else names it. Raises `Failure`."""
    running = _running_group(ref, records)
    if running is not None:
        raise Failure(f"refused: {running[0]}", ExitCode.REFUSED, running[1])


def _running_group(ref: ObjectRef, records: StoredRecords) -> tuple[str, str] | None:
    if ref.kind != "Group":
        return None
    view = group_view(ref.name, records)
    if view.owner is None:
        return None
    return f"group/{ref.name} is {view.phase} on {view.owner}", f"clusterctl stop group/{ref.name}"


def _still_used(
    ref: ObjectRef, proposal: Proposal, records: StoredRecords
) -> tuple[str, str] | None:
    """(sentence, next command) while the object is in use on a server."""
    if ref.kind == "Group":
        return _running_group(ref, records)
    if ref.kind == "Server":
        server = server_view(ref.name, records)
        if server.groups:
            text = f"server/{ref.name} owns {', '.join(server.groups)}"
            return text, f"clusterctl move {server.groups[0]}"
        if server.state == "online":
            text = f"server/{ref.name} is online"
            return text, f"stop its agent first: systemctl stop clusterctl-agent on {ref.name}"
    if ref.kind == "Resource":
        return _resource_used(ref, proposal, records)
    return None


def _resource_used(
    ref: ObjectRef, proposal: Proposal, records: StoredRecords
) -> tuple[str, str] | None:
    resource = proposal.old.resources[ref.name]
    view = group_view(resource.spec.group, records, [(ref.name, resource.spec.type)])
    state = next((r.state for r in view.resources if r.name == ref.name), "unknown")
    if view.owner is None or state == "inactive":
        return None
    text = f"resource/{ref.name} is {state} on {view.owner} (group/{view.name} is {view.phase})"
    return text, f"clusterctl stop resource/{ref.name}"


def change_lines(changes: Sequence[ObjectChange]) -> list[tuple[str, str]]:
    """(mark, text) a line: `+`, `-` or `~` and the object, then its fields."""
    marks = {"added": "+", "removed": "-", "changed": "~"}
    lines = []
    for change in changes:
        mark = marks[change.kind]
        lines.append((mark, f"{mark} {change.ref.kind.lower()}/{change.ref.name}"))
        for field in change.fields:
            effect = "" if field.impact == "none" else f"   ({field.impact} is disturbed)"
            if _is_long(field.old) and _is_long(field.new):
                lines.append(("~", f"    ~ {field.path}:{effect}"))
                lines.extend(_text_lines(field.old, field.new))
            elif field.old is None:
                lines.append(("+", f"    + {field.path}: {shown(field.new)}{effect}"))
            elif field.new is None:
                lines.append(("-", f"    - {field.path}: {shown(field.old)}{effect}"))
            else:
                text = f"    ~ {field.path}: {shown(field.old)} → {shown(field.new)}{effect}"
                lines.append(("~", text))
    return lines


def _is_long(value: object) -> bool:
    return isinstance(value, str) and "\n" in value


def _text_lines(old: str, new: str) -> Iterator[tuple[str, str]]:
    """The lines of a text that change, with one line around them."""
    from difflib import unified_diff

    pieces = list(unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1))[2:]
    for piece in pieces:
        mark = piece[:1] if piece[:1] in ("+", "-") else "~"
        yield mark, f"        {piece}"


def shown(value: object) -> str:
    """A value on one line."""
    import json

    if isinstance(value, str) and "\n" in value:
        return f"{value.partition(chr(10))[0]} … ({len(value.splitlines())} lines)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def changes_json(changes: Sequence[ObjectChange]) -> list[dict[str, object]]:
    """The contract of `diff -o json`."""
    return [
        {
            "object": f"{change.ref.kind.lower()}/{change.ref.name}",
            "change": change.kind,
            "impact": change.impact,
            "fields": [
                {"path": f.path, "old": f.old, "new": f.new, "impact": f.impact}
                for f in change.fields
            ],
        }
        for change in changes
    ]
