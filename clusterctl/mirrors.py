"""Mirrored disks of the specs, as commands see them: found by name, shown, followed while they are
copied or compared."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from clusterctl.connection import Connection
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.picture import Picture, follow, read_picture
from clusterctl.render.progress import ProgressLine
from reconciler.decide.mirror_view import MirrorState, MirrorView, mirror_view
from reconciler.decide.stored import StoredRecords
from specs.errors import nearest
from specs.load import TypeCatalogue
from specs.spec_set import SpecSet

KINDS = ("Server", "ServerGroup", "Group", "Resource")


def sides_of(specs: SpecSet, name: str) -> dict[str, str]:
    """The servers that have a side of this resource, each with what the record calls it; nothing
    when it is no mirror."""
    resource = specs.resources[name].spec
    if resource.group not in specs.groups:
        return {}
    listed = specs.groups[resource.group].spec.server_groups or ()
    found = {}
    for server in specs.eligible_servers(resource.group):
        within = [
            group
            for group in listed
            if group in specs.server_groups and server in specs.server_groups[group].spec.servers
        ]
        side = resource.side_of(server, within)
        if side is not None:
            found[server] = side
    return found


def mirrors_of(picture: Picture) -> list[MirrorView]:
    """All mirrors, by name."""
    return mirrors_in(picture.specs, picture.records) if picture.specs is not None else []


def mirrors_in(specs: SpecSet, records: StoredRecords) -> list[MirrorView]:
    """The same out of specs and records."""
    found = []
    for name in sorted(specs.resources):
        sides = sides_of(specs, name)
        if sides:
            group = specs.resources[name].spec.group
            found.append(mirror_view(name, group, sides, records))
    return found


def view_of(picture: Picture, name: str) -> MirrorView:
    """Raises `Failure` (2) with the nearest name when there is no such mirror."""
    views = mirrors_of(picture)
    for view in views:
        if view.name == name:
            return view
    known = picture.specs is not None and name in picture.specs.resources
    text = f"resource/{name} is no mirrored disk" if known else f"there is no resource/{name}"
    hint = nearest(name, [view.name for view in views])
    raise Failure(text + hint, ExitCode.USAGE, "clusterctl mirror status")


async def read_mirror(connection: Connection, types: TypeCatalogue, name: str) -> MirrorView:
    return view_of(await read_picture(connection, KINDS, types), name)


Judge = Callable[[MirrorView], bool]
"""Whether what is waited for has come. Raises `Failure` when it cannot come any more."""


async def follow_mirror(
    connection: Connection,
    types: TypeCatalogue,
    name: str,
    judge: Judge,
    line: ProgressLine,
    timeout_s: float | None,
) -> MirrorView:
    """Show the progress until `judge` is content. Raises `Failure` (7) when the time is over."""
    pictures: AsyncGenerator[Picture, None] = follow(connection, KINDS, types)
    try:
        async with asyncio.timeout(timeout_s):
            async for picture in pictures:
                view = view_of(picture, name)
                shown = view.check or view.progress
                if shown is not None:
                    line.show("compare" if view.check else "copy", shown)
                if judge(view):
                    return view
    except TimeoutError:
        text = f"mirror {name} is not there within {timeout_s:g} s; it goes on"
        raise Failure(text, ExitCode.TIMEOUT, f"clusterctl mirror status {name}") from None
    finally:
        line.end()
        await pictures.aclose()
    raise AssertionError("a picture is followed for ever")


def in_sync(view: MirrorView) -> bool:
    """Waits for both sides to have all data. Raises `Failure` (6) when a person must act first."""
    if view.state is MirrorState.SPLIT_BRAIN:
        raise Failure(f"failed: {'; '.join(view.reasons)}", ExitCode.FAILED, view.next_command)
    if view.state in (MirrorState.STOPPED, MirrorState.NEW):
        raise Failure(f"nobody serves {view.name} any more", ExitCode.FAILED, view.next_command)
    return view.state is MirrorState.IN_SYNC
