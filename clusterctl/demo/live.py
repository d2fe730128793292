"""The live table of the demo: redrawn on a terminal, one line per change elsewhere."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import click

from clusterctl.connection import CliContext, connected
from clusterctl.picture import Picture, follow
from clusterctl.render.style import Style
from clusterctl.render.table import table
from reconciler.ports.store import StoreError

More = Callable[[Picture, Style], tuple[str, ...]]


def _no_more(picture: Picture, style: Style) -> tuple[str, ...]:  # noqa: ARG001
    return ()


@asynccontextmanager
async def live_table(
    cli: CliContext,
    kinds: Sequence[str] = (),
    more: More = _no_more,
    count: Callable[[], str] = str,
) -> AsyncIterator[None]:
    """Shows the cluster while the block runs; the block never waits for it. `more` adds cells out
    of specs of `kinds`, `count` a number that grows by itself."""
    task = asyncio.create_task(_show(cli, kinds, more, count))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _show(
    cli: CliContext, kinds: Sequence[str], more: More, count: Callable[[], str]
) -> None:
    began = time.monotonic()
    screen = _Screen(sys.stdout.isatty(), more, count)
    types = cli.types() if kinds else None
    with screen:
        while True:
            try:
                async with connected(cli) as connection:
                    # A member dies in this story: its silence is no news here.
                    pictures = follow(connection, kinds, types, on_silence=lambda _: None)
                    async for picture in pictures:
                        screen.update(picture, cli.style, time.monotonic() - began)
            except StoreError as error:
                # The table must outlive the store's bad moments: that is what is being shown.
                click.echo(f"  the store does not answer: {error}", err=True)
                await asyncio.sleep(0.2)


class _Screen:
    def __init__(self, terminal: bool, more: More, count: Callable[[], str]) -> None:
        self._more, self._count = more, count
        self._last: tuple[str, ...] = ()
        self._live = None
        if terminal:
            from rich.live import Live

            self._live = Live(refresh_per_second=20)

    def __enter__(self) -> "_Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, picture: Picture, style: Style, seconds: float) -> None:
        added = self._more(picture, style)
        cells = (*_cells(picture, style), *added)
        if self._live is not None:
            from rich.text import Text

            shown = [*_table(picture, style), *(("", *added) if added else ()), self._count()]
            self._live.update(Text.from_ansi("\n".join(shown)))
        elif cells != self._last:
            click.echo(f"  {seconds:6.2f} s  " + "   ".join((*cells, self._count())).rstrip())
        self._last = cells


def _cells(picture: Picture, style: Style) -> tuple[str, ...]:
    groups = []
    for ref in picture.refs("Group"):
        view = picture.group(ref.name)
        groups.append(f"{ref.name} {style.mark(str(view.phase))} on {view.owner or 'no server'}")
    servers = []
    for ref in picture.refs("Server"):
        state = picture.server(ref.name).state
        servers.append(f"{ref.name} {style.mark(state)}")
    return (*groups, *servers)


def _table(picture: Picture, style: Style) -> list[str]:
    rows = []
    for ref in picture.refs("Server"):
        view = picture.server(ref.name)
        heard = " ".join(view.heard_by) or "-"
        rows.append((view.name, style.mark(view.state), ",".join(view.groups) or "-", heard))
    groups = []
    for ref in picture.refs("Group"):
        group = picture.group(ref.name)
        state = style.mark(str(group.phase))
        groups.append((group.name, state, group.owner or "-", str(group.epoch), group.cause))
    return [
        *table(("SERVER", "STATE", "GROUPS", "HEARD BY"), rows),
        "",
        *table(("GROUP", "STATE", "ON", "EPOCH", "BECAUSE"), groups),
    ]
