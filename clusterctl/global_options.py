"""Options that every command takes, before or after its name; they fill the `CliContext`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from clusterctl.connection import CliContext


class Seconds(click.ParamType[float]):
    """`30s`, `5m`, `1h30m`; a bare number is seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        from specs.scalars import parse_duration

        try:
            return float(value) if value.replace(".", "", 1).isdigit() else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SECONDS = Seconds()


def _choose(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that puts a given value into `CliContext.choice`."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ARG001
        context = ctx.find_object(CliContext)
        if value is not None and context is not None:
            context.choice = replace(context.choice, **{field: value})

    return callback


def _switch(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that switches a flag of `CliContext` on."""

    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
        context = ctx.find_object(CliContext)
        if value and context is not None:
            setattr(context, field, True)

    return callback


def global_options(*, top: bool) -> list[click.Parameter]:
    """The options for the program itself (`top`, where the environment counts), or for a command
    (hidden, so that its help stays short)."""

    def option(names: list[str], env: str, field: str, text: str, **extra: Any) -> click.Option:
        return click.Option(
            names,
            envvar=env if top else None,
            callback=_choose(field),
            expose_value=False,
            hidden=not top,
            help=text,
            **extra,
        )

    def flag(names: list[str], env: str, field: str, text: str) -> click.Option:
        return click.Option(
            names,
            envvar=env if top else None,
            is_flag=True,
            callback=_switch(field),
            expose_value=False,
            hidden=not top,
            help=text,
        )

    options: list[click.Parameter] = [
        option(
            ["--endpoints"],
            "CLUSTERCTL_ENDPOINTS",
            "endpoints",
            "Members of the store, separated by commas (CLUSTERCTL_ENDPOINTS).",
            metavar="URLS",
        ),
        option(
            ["--cluster"],
            "CLUSTERCTL_CLUSTER",
            "cluster",
            "Name of the cluster (CLUSTERCTL_CLUSTER).",
            metavar="NAME",
        ),
        option(
            ["--context"],
            "CLUSTERCTL_CONTEXT",
            "context",
            "File with cluster, endpoints and certificates (CLUSTERCTL_CONTEXT;"
            " default /etc/clusterctl/context.yaml).",
            metavar="FILE",
        ),
        flag(["--no-color"], "CLUSTERCTL_NO_COLOR", "no_color", "No colours (also NO_COLOR)."),
        flag(["--ascii"], "CLUSTERCTL_ASCII", "ascii_only", "ASCII marks only."),
        flag(["--debug"], "CLUSTERCTL_DEBUG", "debug", "Show details of an internal error."),
    ]
    # A command with a --timeout of its own (how long it waits for a result) keeps that one.
    options.append(
        option(
            ["--timeout"],
            "CLUSTERCTL_TIMEOUT",
            "timeout_s",
            "How long to wait for an answer of the store (default 5s).",
            type=SECONDS,
            metavar="DURATION",
        )
    )
    return options


class ClusterCommand(click.Command):
    """A command that also takes the global options after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {name for param in self.params for name in param.opts}
        for option in global_options(top=False):
            if not taken & set(option.opts):
                self.params.append(option)


def output_option(*formats: str) -> Callable[[Any], Any]:
    """`-o`, the first format being the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="Format of the output.",
    )
