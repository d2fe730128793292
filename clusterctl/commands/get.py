"""`get`: objects with their state, for people and for scripts."""

import asyncio
import json

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.objects import Ref, parse_selection
from clusterctl.picture import Picture, follow, read_picture
from clusterctl.render.rows import NEEDS, document, headers, row
from clusterctl.render.table import table


@click.command(cls=ClusterCommand)
@click.argument("what", nargs=-1, metavar="KIND[/NAME]...")
@click.option("-w", "--watch", is_flag=True, help="Go on and print what changes.")
@output_option("table", "wide", "yaml", "json", "name")
@click.pass_obj
def command(cli: CliContext, what: tuple[str, ...], watch: bool, output: str) -> ExitCode:
    """List objects of a KIND (cluster, server, servergroup, group, resource, monitor, operation).

    -o yaml gives back what was applied, comments included; -o json adds the status.
    """
    kind, names = parse_selection(what)
    if output == "yaml" and (kind == "Operation" or watch):
        raise click.UsageError("-o yaml is for specs, and not for watching")
    return asyncio.run(_get(cli, kind, names, output, watch))


async def _get(
    cli: CliContext, kind: str, names: frozenset[str], output: str, watch: bool
) -> ExitCode:
    needs = NEEDS[kind] if output not in ("yaml", "name") else ()
    async with connected(cli) as connection:
        if watch:
            return await _watch(cli, connection, kind, names, output)
        picture = await read_picture(connection, needs, cli.types() if needs else None)
    refs = _selected(picture, kind, names)
    _print(cli, picture, refs, kind, output)
    return ExitCode.DONE


def _selected(picture: Picture, kind: str, names: frozenset[str]) -> list[Ref]:
    found = picture.refs(kind)
    missing = names - {ref.name for ref in found}
    if missing:
        from specs.errors import nearest

        name = min(missing)
        hint = nearest(name, [ref.name for ref in found])
        raise Failure(
            f"there is no {kind.lower()}/{name}{hint}",
            ExitCode.USAGE,
            f"clusterctl get {kind.lower()}s",
        )
    return [ref for ref in found if not names or ref.name in names]


def _print(cli: CliContext, picture: Picture, refs: list[Ref], kind: str, output: str) -> None:
    if output == "json":
        click.echo(json.dumps([document(picture, ref) for ref in refs], indent=2))
    elif output == "yaml":
        click.echo(joined([picture.text(ref) for ref in refs]), nl=False)
    elif output == "name":
        for ref in refs:
            click.echo(ref.short)
    elif not refs:
        click.echo(f"no {kind.lower()} yet", err=True)
    else:
        wide = output == "wide"
        rows = [row(picture, ref, cli.style, wide=wide) for ref in refs]
        for line in table(headers(kind, wide=wide), rows):
            click.echo(cli.style.plain(line))


def joined(texts: list[str]) -> str:
    """Documents as one stream of YAML, each byte as it was applied."""
    parts = []
    for text in texts:
        begins = text.lstrip().startswith("---")
        ends = "" if text.endswith("\n") else "\n"
        parts.append((text if begins or len(texts) == 1 else f"---\n{text}") + ends)
    return "".join(parts)


async def _watch(
    cli: CliContext, connection: Connection, kind: str, names: frozenset[str], output: str
) -> ExitCode:
    """First all rows, then each row that changed, until interrupted."""
    shown: dict[Ref, str] = {}
    wide = output == "wide"
    first = True
    async for picture in follow(connection, NEEDS[kind], cli.types()):
        refs = [ref for ref in picture.refs(kind) if not names or ref.name in names]
        if first and output in ("table", "wide"):
            _print(cli, picture, refs, kind, output)
        for ref in refs:
            state = json.dumps(document(picture, ref), sort_keys=True)
            if shown.get(ref) == state:
                continue
            shown[ref] = state
            if output == "json":
                click.echo(state)
            elif output == "name":
                click.echo(ref.short)
            elif not first:
                cells = row(picture, ref, cli.style, wide=wide)
                click.echo(cli.style.plain("  ".join(cells)))
        for ref in [ref for ref in shown if ref not in refs]:
            del shown[ref]
            if output != "json":
                click.echo(f"{ref.short} deleted")
        first = False
    return ExitCode.DONE
