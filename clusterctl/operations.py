"""One-shot wishes of operators: written once, then watched until the coordinator ended them."""

import asyncio
import functools
import getpass
import os
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, output_option
from clusterctl.objects import Ref
from clusterctl.picture import close, read_run
from reconciler.decide.records import Operation, OperationKind, OperationPhase, Ownership, Phase
from reconciler.decide.status import group_view, operation_json
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.ports.store import Put, Transaction, Unavailable, Unchanged, WatchBatch
from specs.errors import nearest

DEFAULT_WAIT_S = 120.0
TELL_AFTER_S = 5.0
"""A prompt that says nothing for longer looks like one that hangs."""


def who() -> str:
    """`alice@host`: the person behind sudo, if any."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


async def request(connection: Connection, kind: OperationKind, target: str, **more: Any) -> str:
    """Write the wish and return its id. `more`: fields of `Operation`, such as `to`."""
    wall = connection.clock.wall()
    operation = Operation(
        id=ulid(wall, secrets.token_bytes(RANDOM_BYTES)),
        kind=kind,
        target=target,
        who=who(),
        created_wall=wall,
        nonce=secrets.token_hex(8),
        **more,
    )
    key = connection.keys.operation(operation.id)
    put = Transaction((Unchanged(key, 0),), (Put(key, operation.to_bytes()),), guard=key)
    result = await connection.store.commit(put, timeout_s=connection.settings.timeout_s)
    if not result.succeeded:
        raise Failure(f"operation {operation.id} exists already", ExitCode.CONFLICT)
    return operation.id


async def finished(connection: Connection, operation_id: str, timeout_s: float) -> Operation:
    """The operation once it has ended. Raises `Failure`: 7 when the time is over, 130 when
    interrupted, both saying that the wish stands."""
    look = f"clusterctl get operation/{operation_id}"
    loop = asyncio.get_running_loop()
    text = f"operation {operation_id} goes on; this waits for its end, {timeout_s:g} s at most"
    told = loop.call_later(TELL_AFTER_S, functools.partial(click.echo, text, err=True))
    batches = connection.store.watch(connection.keys.operation(operation_id))
    try:
        async with asyncio.timeout(timeout_s):
            return await _ended(connection, batches, operation_id)
    except TimeoutError:
        raise Failure(
            f"operation {operation_id} has not ended within {timeout_s:g} s; it goes on",
            ExitCode.TIMEOUT,
            look,
        ) from None
    except asyncio.CancelledError:
        raise Failure(
            f"interrupted; operation {operation_id} goes on", ExitCode.INTERRUPTED, look
        ) from None
    finally:
        told.cancel()
        await close(batches)


async def _ended(
    connection: Connection, batches: AsyncIterator[WatchBatch], operation_id: str
) -> Operation:
    key = connection.keys.operation(operation_id)
    async for batch in batches:
        if batch.stale_reason:
            click.echo(f"waiting for the store: {batch.stale_reason}", err=True)
        for changed, value in batch.changes:
            if changed != key:
                continue
            if value is None:
                raise Failure(f"operation {operation_id} was removed", ExitCode.FAILED)
            operation = Operation.from_bytes(value.value)
            if operation.phase in (OperationPhase.DONE, OperationPhase.FAILED):
                return operation
            if operation.phase is OperationPhase.PENDING and operation.result:
                click.echo(f"{operation.result}; --preempt would not", err=True)
    raise Unavailable("the watch of the operation ended")


async def carry_out(
    connection: Connection,
    cli: CliContext,
    operation_id: str,
    *,
    wait: bool,
    timeout_s: float,
    output: str,
) -> ExitCode:
    """Wait if asked to, print the outcome, and turn it into an exit code."""
    if not wait:
        _print(Operation(id=operation_id, kind=OperationKind.CLEAR, target=""), output, cli, True)
        return ExitCode.DONE
    operation = await finished(connection, operation_id, timeout_s)
    if output == "json":
        _print(operation, output, cli, False)
    if operation.phase is OperationPhase.DONE:
        if output != "json":
            _print(operation, output, cli, False)
        return ExitCode.DONE
    text = operation.result or "no reason given"
    if not operation.begun:  # ended before it began: a guard of the coordinator said no
        raise Failure(f"refused: {text}", ExitCode.REFUSED, _next(operation))
    raise Failure(f"failed: {text}", ExitCode.FAILED, _next(operation))


def _next(operation: Operation) -> str:
    return (
        "clusterctl status"
        if operation.target == "cluster"
        else (f"clusterctl describe {operation.target}")
    )


def _print(operation: Operation, output: str, cli: CliContext, only_id: bool) -> None:
    if output == "json":
        import json

        shown = {"id": operation.id}
        if not only_id:
            shown |= {"kind": str(operation.kind), "target": operation.target}
            shown |= operation_json(operation)
        click.echo(json.dumps(shown))
    elif only_id:
        click.echo(operation.id)
    else:
        text = operation.result or f"{operation.kind} {operation.target}"
        click.echo(cli.style.plain(cli.style.mark("done", text)))


def operate(
    cli: CliContext,
    kind: OperationKind,
    ref: Ref | None,
    *,
    wait: bool,
    timeout_s: float,
    output: str,
    **more: Any,
) -> ExitCode:
    """The whole life of a wish for one object (None: the cluster), as most verbs need it."""

    async def work() -> ExitCode:
        async with connected(cli) as connection:
            if ref is not None:
                await require(connection, ref)
            if more.get("to"):
                await require(connection, Ref("Server", str(more["to"])))
            target = ref.short if ref else "cluster"
            if wait and ref is not None and ref.kind == "Group":
                await _say_if_blocked(connection, ref.name)
            operation_id = await request(connection, kind, target, **more)
            return await carry_out(
                connection, cli, operation_id, wait=wait, timeout_s=timeout_s, output=output
            )

    return asyncio.run(work())


async def _say_if_blocked(connection: Connection, group: str) -> None:
    """A wish for a blocked group waits, maybe for a person: say so before the waiting begins."""
    view = group_view(group, await read_run(connection))
    if view.phase is Phase.BLOCKED:
        why = view.reasons[0] if view.reasons else "no reason is known yet"
        text = f"group/{group} is blocked ({why}); the wish waits until it is not"
        click.echo(text + (f"; next: {view.next_command}" if view.next_command else ""), err=True)


async def require(connection: Connection, ref: Ref) -> None:
    """Raises `Failure` (2) with the nearest name when the specs have no such object."""
    known = list((await connection.repository.read()).objects)
    if str(ref) not in known and not await _is_derived(connection, ref):
        names = [name.split("/", 1)[1] for name in known if name.startswith(f"{ref.kind}/")]
        raise Failure(
            f"there is no {ref.short}{nearest(ref.name, names)}",
            ExitCode.USAGE,
            f"clusterctl get {ref.kind.lower()}s",
        )


async def _is_derived(connection: Connection, ref: Ref) -> bool:
    """A group that the cluster made for the side of a hybrid disk that follows."""
    if ref.kind != "Group":
        return False
    found = await connection.store.get(
        connection.keys.group(ref.name), timeout_s=connection.settings.timeout_s
    )
    return found is not None and bool(Ownership.from_bytes(found.value).follows)


def preempt_option(command: Any) -> Any:
    """--preempt of commands whose wish waits for a monitor's recovery of the group."""
    text = "Do not wait for a monitor's recovery of the group that is under way: end it."
    return click.option("--preempt", is_flag=True, help=text)(command)


def wish_options(command: Any) -> Any:
    """--wait, --timeout, --why and -o of commands that write an operation."""
    for option in (
        output_option("text", "json"),
        click.option("--why", default="", metavar="TEXT", help="Reason, kept with the operation."),
        click.option(
            "--timeout",
            "timeout_s",
            type=SECONDS,
            default=DEFAULT_WAIT_S,
            metavar="DURATION",
            help="How long to wait for the result (default 120s).",
        ),
        click.option(
            "--wait/--no-wait", default=True, help="Wait for the result, or print the id only."
        ),
    ):
        command = option(command)
    return command
