"""What changes while the demo goes on: a line for each change, and on a terminal a table below."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from clusterctl.connection import CliContext, connected
from clusterctl.picture import Picture, follow
from clusterctl.render.style import Style
from clusterctl.render.table import table, width
from reconciler.ports.store import StoreError

if TYPE_CHECKING:
    from rich.text import Text

FIRST_S = 10.0
"""How long the story waits for the first picture."""

WIDTH = 78

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
    """Shows the cluster while the block runs, from before its first step on; the block never waits
    for it after that. `more` adds cells out of specs of `kinds`, `count` a number that grows by
    itself."""
    screen = _Screen(sys.stdout.isatty(), cli.style, more, count)
    task = asyncio.create_task(_show(cli, kinds, screen))
    try:
        await asyncio.wait({task, asyncio.ensure_future(screen.began.wait())}, timeout=FIRST_S)
        screen.restart_clock()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _show(cli: CliContext, kinds: Sequence[str], screen: "_Screen") -> None:
    types = cli.types() if kinds else None
    with screen:
        while True:
            try:
                async with connected(cli) as connection:
                    # A member dies in this story: its silence is no news here.
                    pictures = follow(connection, kinds, types, on_silence=lambda _: None)
                    async for picture in pictures:
                        screen.update(picture)
            except StoreError as error:
                # The table must outlive the store's bad moments: that is what is being shown.
                click.echo(f"  the store does not answer: {error}", err=True)
                await asyncio.sleep(0.2)


class _Screen:
    """On a terminal the present state, redrawn, below one line for each change; elsewhere the lines
    alone. The first line tells everything, each other one what changed."""

    def __init__(self, terminal: bool, style: Style, more: More, count: Callable[[], str]) -> None:
        self._style, self._more, self._count = style, more, count
        self._last: tuple[str, ...] = ()
        self._table: list[str] = []
        self._since = time.monotonic()
        self.began = asyncio.Event()
        self._live = None
        if terminal:
            from rich.live import Live

            self._live = Live(get_renderable=self._drawn, refresh_per_second=10)

    def __enter__(self) -> "_Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def restart_clock(self) -> None:
        self._since = time.monotonic()

    def update(self, picture: Picture) -> None:
        added = self._more(picture, self._style)
        cells = (*_cells(picture, self._style), *added)
        self._table = [*_table(picture, self._style), *(("", *added) if added else ())]
        if cells != self._last:
            new = [cell for cell in cells if cell not in self._last]
            self._say(tuple(new) or cells)
        self._last = cells
        self.began.set()

    def _say(self, cells: tuple[str, ...]) -> None:
        seconds = time.monotonic() - self._since if self.began.is_set() else 0.0
        text = "\n".join(change_lines(seconds, (*cells, self._count())))
        if self._live is None:
            click.echo(text)
            return
        from rich.text import Text

        self._live.console.print(Text.from_ansi(text), highlight=False)

    def _drawn(self) -> "Text":
        from rich.text import Text as Shown

        return Shown.from_ansi("\n".join(["", *self._table, self._count()]))


def change_lines(seconds: float, cells: Sequence[str]) -> list[str]:
    """`  0.23 s  web ● online on n1   n2 ▲ suspect`, broken between cells where 80 columns end."""
    lines = [f"  {seconds:6.2f} s "]
    for cell in filter(None, cells):
        if width(lines[-1]) + width(cell) > WIDTH and lines[-1].strip():
            lines.append(" " * 11)
        lines[-1] += f" {cell}  "
    return [line.rstrip() for line in lines]


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
