"""`cert status|renew`: how long this cluster's certificates hold, and new ones in time."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.render.table import table

RENEW = "clusterctl cert renew"


@click.group()
def command() -> None:
    """See how long the certificates hold, and renew those of this server."""


@command.command(cls=ClusterCommand)
@output_option("text", "json")
@click.pass_obj
def status(cli: CliContext, output: str) -> ExitCode:
    """Certificates of this server, and of the others as they say; exit 1 if one has expired.

    WARN is less than 30 days. Works without the store, then it shows this server only.
    """
    from clusterctl.bootstrap.layout import BootstrapError, Layout

    now = datetime.now(UTC)
    try:
        rows = _own(Layout(), now)
    except BootstrapError as error:
        raise Failure(str(error), ExitCode.FAILED) from error
    others, problem = asyncio.run(_others(cli, rows[0]["server"], now))
    rows += others
    if output == "json":
        click.echo(json.dumps({"certificates": rows, "others": problem or "read"}))
    else:
        heads = ["SERVER", "CERTIFICATE", "SUBJECT", "UNTIL", "DAYS", "STATE"]
        cells = [
            [r["server"], r["name"], r["subject"], r["until"], f"{r['daysLeft']:.0f}", r["state"]]
            for r in rows
        ]
        click.echo("\n".join(table(heads, cells)))
        if problem:
            click.echo(f"the other servers are not shown: {problem}", err=True)
    bad = [r for r in rows if r["state"] == "expired"]
    if bad:
        where = ", ".join(sorted({r["server"] for r in bad}))
        raise Failure(f"expired on {where}", ExitCode.DIFFERENT, f"there: {RENEW}")
    return ExitCode.DONE


def _row(server: str, name: str, subject: str, until: datetime, state: str, left: float) -> Any:
    return {
        "server": server,
        "name": name,
        "subject": subject,
        "until": until.isoformat(timespec="seconds"),
        "daysLeft": round(left, 1),
        "state": state,
    }


def _own(layout: Any, now: datetime) -> list[dict[str, Any]]:
    from clusterctl.bootstrap import renewal

    server = _server(layout)
    return [
        _row(server, v.name, v.subject, v.until, v.word(now), v.days_left(now))
        for v in renewal.inspect(layout)
    ]


def _server(layout: Any) -> str:
    from reconciler.config import load_config

    return load_config(layout.agent_config).server if layout.agent_config.exists() else "-"


async def _others(cli: CliContext, own: str, now: datetime) -> tuple[list[dict[str, Any]], str]:
    """(rows of the other servers from what their agents published, why there are none)."""
    from clusterctl.bootstrap.renewal import WARN_DAYS
    from clusterctl.failure import explained
    from clusterctl.picture import read_run
    from reconciler.ports.store import StoreError

    try:
        async with connected(cli) as connection:
            facts = (await read_run(connection)).server_facts
    except (StoreError, Failure) as error:
        told = explained(error)
        return [], told.message if told else str(error)
    rows = []
    for server, found in sorted(facts.items()):
        for name, until in sorted(found.certificates.items()):
            left = (until - now.timestamp()) / 86400
            word = "expired" if left <= 0 else "WARN" if left < WARN_DAYS else "ok"
            if server != own:
                rows.append(_row(server, name, "", datetime.fromtimestamp(until, UTC), word, left))
    return rows, ""


@command.command(cls=ClusterCommand)
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default="60s", help="How long to wait for an answer."
)
@output_option("text", "json")
def renew(timeout_s: float, output: str) -> ExitCode:
    """New certificates for this server, also when the present ones have expired.

    Where the CA's key is they are signed at once; other servers ask there, so begin there. Nothing
    is restarted: etcd and agent take the new files with their next connection. The CA itself
    (10 years) can not be renewed.
    """
    from clusterctl.bootstrap import renewal
    from clusterctl.bootstrap.layout import BootstrapError, Layout
    from reconciler.config import load_config

    layout = Layout()
    try:
        if not layout.agent_config.exists():
            raise BootstrapError(f"{layout.agent_config} is not there: this is no server")
        config = load_config(layout.agent_config)
        if layout.key("ca").exists():
            names = renewal.renew_here(layout, config.server)
        else:
            names = asyncio.run(
                renewal.renew_through_service(layout, config.server, config.endpoints, timeout_s)
            )
    except TimeoutError:
        text = f"no enrolment service answered within {timeout_s:.0f} s"
        raise Failure(text, ExitCode.TIMEOUT, f"{RENEW} on the first server, then here") from None
    except BootstrapError as error:
        raise Failure(str(error), ExitCode.FAILED) from error
    rows = [row for row in _own(layout, datetime.now(UTC)) if row["name"] in names]
    if output == "json":
        click.echo(json.dumps({"renewed": rows}))
    else:
        for row in rows:
            click.echo(f"{row['name']}: until {row['until']}")
    return ExitCode.DONE
