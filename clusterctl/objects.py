"""How people name objects: `group/web`, `groups`, `sg`, `Resource/web-ip`."""

from dataclasses import dataclass

import click

from specs.errors import nearest

# Kind as in files: (its lower-case names in commands).
KINDS: dict[str, tuple[str, ...]] = {
    "Cluster": ("cluster", "clusters"),
    "Server": ("server", "servers", "srv"),
    "ServerGroup": ("servergroup", "servergroups", "server-group", "server-groups", "sg"),
    "Group": ("group", "groups", "grp"),
    "Resource": ("resource", "resources", "res"),
    "Monitor": ("monitor", "monitors", "mon"),
    "Operation": ("operation", "operations", "op", "ops"),
}
_BY_NAME = {name: kind for kind, names in KINDS.items() for name in names}


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object; `str` is `Group/web` as in manifests, `short` is `group/web` as people type."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def short(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def parse_kind(text: str) -> str:
    """The kind's name as in files; raises `click.UsageError`."""
    kind = _BY_NAME.get(text.lower())
    if kind is None:
        known = [names[0] for names in KINDS.values()]
        hint = nearest(text, _BY_NAME)
        raise click.UsageError(f"no such kind: {text}{hint} (kinds: {', '.join(known)})")
    return kind


def parse_ref(text: str) -> Ref:
    """`KIND/NAME`; raises `click.UsageError`."""
    kind, slash, name = text.partition("/")
    if not slash or not name:
        raise click.UsageError(f"{text!r} does not name an object: write KIND/NAME, as group/web")
    return Ref(parse_kind(kind), name)


def parse_selection(words: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    """`group`, `group/web`, `group web db`: (kind, names; none = all). Raises `UsageError`."""
    if not words:
        raise click.UsageError("say what to get, such as: groups, servers, group/web")
    if "/" not in words[0]:
        return parse_kind(words[0]), frozenset(words[1:])
    refs = [parse_ref(word) for word in words]
    kinds = {ref.kind for ref in refs}
    if len(kinds) > 1:
        raise click.UsageError("one kind at a time")
    return refs[0].kind, frozenset(ref.name for ref in refs)
