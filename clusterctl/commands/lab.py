"""`clusterctl lab …`: a cluster of pretend servers on this machine, to learn, break and test.

Every server is made of namespaces, with its own etcd, agent, addresses, files and BMC.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand, output_option

if TYPE_CHECKING:
    from clusterctl.lab.plan import Plan

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_DIRECTORY = Path.home() / ".clusterctl-lab"


@click.group()
def command() -> None:
    """A cluster of pretend servers on this machine, with everything breakable."""


def _explained(function: Callable[P, R]) -> Callable[P, R]:
    """Needs root; turns a `LabError` into one sentence."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from clusterctl.lab.plan import LabError

        if os.geteuid() != 0:
            raise Failure(
                "a lab needs root, because it makes network and process namespaces",
                ExitCode.NOT_PERMITTED,
                f"sudo {' '.join(sys.argv)}",
            )
        try:
            return function(*args, **kwargs)
        except LabError as error:
            raise Failure(str(error), ExitCode.FAILED) from error

    return wrapper


def _directory_option(function: Callable[P, R]) -> Callable[P, R]:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        envvar="CLUSTERCTL_LAB",
        default=None,
        help="Directory of the lab (CLUSTERCTL_LAB; default: the only one of this checkout).",
    )(function)


def _lab(directory: Path | None) -> "Plan":
    from clusterctl.lab import plan, up

    if directory is not None:
        return plan.load(directory.resolve())
    running = up.running_labs()
    # A lab of another checkout is somebody else's: only --dir may touch it.
    running = [each for each in running if plan.load(each).source == up.SOURCE]
    if len(running) == 1:
        return plan.load(running[0])
    if not running:
        text = "no lab of this checkout is up"
        raise Failure(text, ExitCode.FAILED, "clusterctl lab up --detach, or --dir DIRECTORY")
    found = ", ".join(str(each) for each in running)
    raise Failure(f"several labs are up: {found}", ExitCode.USAGE, "say which with --dir")


def _report(output: str, data: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(data, indent=2) if output == "json" else text)


@command.command("up", cls=ClusterCommand)
@click.option("--servers", type=click.IntRange(1, 32), default=3, show_default=True)
@click.option("--name", default="demo", show_default=True, help="Name of the cluster.")
@click.option("--detach", is_flag=True, help="Return when it is up, instead of staying.")
@click.option("--bare", is_flag=True, help="Servers only: install the cluster yourself.")
@click.option(
    "--profile",
    type=click.Choice(["default", "fast-lan", "no-realtime", "wan"]),
    default="default",
    show_default=True,
    help="Timing profile.",
)
@click.option(
    "--state-size",
    "state_mib",
    type=click.IntRange(256),
    metavar="MIB",
    default=None,
    help="State directories in memory, of this size, so that they can be filled.",
)
@_directory_option
@output_option("text", "json")
@_explained
def lab_up(
    servers: int,
    name: str,
    detach: bool,
    bare: bool,
    profile: str,
    state_mib: int | None,
    directory: Path | None,
    output: str,
) -> None:
    """Build a lab, power its servers on and install a cluster on them."""
    from clusterctl.lab import down, handover, status, up

    chosen = (directory or DEFAULT_DIRECTORY).resolve()
    say = _silent if output == "json" else _progress
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    lab = up.make_plan(chosen, name, servers, state_mib or 0, profile)
    built = False
    try:
        up.bring_up(lab, say)
        if not bare:
            up.install(lab, say)
            handover.hand_over(lab, say)
        built = True
        _report(output, status.lab_status(lab), handover.farewell(lab, detached=detach, bare=bare))
        if detach:
            return
        signal.pause()
    except BaseException:  # Ctrl-C as well, which is how it usually ends
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # a second one must not leave half of it
        # a half-built lab is of no use to anybody; its logs are what says why
        down.take_down(lab, up.INDEX_DIRECTORY, keep_files=not built)
        raise


def _end(number: int, frame: object) -> None:  # noqa: ARG001
    """Being told to end is a reason to clean up, as Ctrl-C is."""
    raise KeyboardInterrupt


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _silent(text: str) -> None:
    """With -o json only the result is printed."""


@command.command("down", cls=ClusterCommand)
@click.option("--keep-files", is_flag=True, help="Keep logs and disks of the servers.")
@_directory_option
@output_option("text", "json")
@_explained
def lab_down(keep_files: bool, directory: Path | None, output: str) -> None:
    """End a lab and remove all of it, also after `lab up` was killed."""
    from clusterctl.lab import down, up

    lab = _lab(directory)
    down.take_down(lab, up.INDEX_DIRECTORY, keep_files=keep_files)
    _report(output, {"directory": str(lab.directory), "down": True}, f"lab {lab.name} is gone")


@command.command("status", cls=ClusterCommand)
@_directory_option
@output_option("text", "json")
@_explained
def lab_status(directory: Path | None, output: str) -> None:
    """Servers, their power, processes and BMCs, and which networks are cut."""
    from clusterctl.lab import status

    data = status.lab_status(_lab(directory))
    lines = [f"lab {data['name']} in {data['directory']} (daemon {data['daemon']})"]
    for server in data["servers"]:
        programs = " ".join(name for name, pids in server["processes"].items() if pids)
        lines.append(
            f"{server['name']:4} {server['state']:8} power {server['power']:3} "
            f"bmc {server['bmc']['mode'] or '?':14} {server['addresses']['private']:13} {programs}"
        )
    lines += [
        f"cut: {cut['server']} {cut['network']}" + (f" from {cut['from']}" if cut["from"] else "")
        for cut in data["cuts"]
    ]
    _report(output, data, "\n".join(lines))


@command.command("crash", cls=ClusterCommand)
@click.argument("server")
@_directory_option
@output_option("text", "json")
@_explained
def lab_crash(server: str, directory: Path | None, output: str) -> None:
    """Stop a server dead, as a kernel panic does; its BMC still says on."""
    from clusterctl.lab import faults, inside

    lab = _lab(directory)
    node = lab.server(server)
    faults.require_running(lab, node)
    inside.press(lab, [node], "crash")
    _report(output, {"server": server, "state": "crashed"}, f"{server} has crashed")


@command.command("power", cls=ClusterCommand)
@click.argument("server")
@click.argument("action", type=click.Choice(["on", "off", "reset", "status"]))
@_directory_option
@output_option("text", "json")
@_explained
def lab_power(server: str, action: str, directory: Path | None, output: str) -> None:
    """Switch a server on or off, or read its power. `on` also brings a crashed one back."""
    from clusterctl.lab import inside, power

    lab = _lab(directory)
    node = lab.server(server)
    state = power.read(lab.node_directory(server))
    if action == "on" and state.on and not state.running:
        action = "reset"
    if action != "status":
        inside.press(lab, [node], action)
        state = power.read(lab.node_directory(server))
    word = "on" if state.on else "off"
    data = {"server": server, "power": word, "running": state.running}
    crashed = ", but it has crashed" if state.on and not state.running else ""
    _report(output, data, f"{server} is {word}{crashed}")


def _signal_command(name: str, text: str) -> None:
    @command.command(name, cls=ClusterCommand, help=text)
    @click.argument("target", metavar="SERVER[/PROGRAM]")
    @_directory_option
    @output_option("text", "json")
    @_explained
    def run(target: str, directory: Path | None, output: str) -> None:
        from clusterctl.lab import faults, inside

        lab = _lab(directory)
        server, _, program = target.partition("/")
        node = lab.server(server)
        faults.require_running(lab, node)
        if program:
            numbers = {
                "kill": signal.SIGKILL,
                "pause": signal.SIGSTOP,
                "resume": signal.SIGCONT,
            }
            count = faults.signal_program(lab, node, program, numbers[name])
        else:
            count = 1
            if name == "kill":
                inside.press(lab, [node], "crash")
            else:
                {"pause": faults.pause, "resume": faults.resume}[name](lab, node)
        done = {"kill": "killed", "pause": "paused", "resume": "resumed"}[name]
        _report(output, {"target": target, "done": done, "processes": count}, f"{target} {done}")


_signal_command(
    "kill",
    """Kill a server (as `crash`) or one of its programs with SIGKILL.

    Programs: agent, pulse, etcd, enrolment, runner, probe.
    """,
)
_signal_command("pause", "Freeze a server or one of its programs.")
_signal_command("resume", "Let a frozen server or program run on.")


@command.command("cut", cls=ClusterCommand)
@click.argument("server")
@click.option(
    "--network",
    required=True,
    type=click.Choice(["private", "public", "management", "all"]),
    help="all = private and public.",
)
@click.option("--from", "other", default=None, help="Only from this server; default everybody.")
@click.option(
    "--only",
    "traffic",
    type=click.Choice(["all", "heartbeat", "store"]),
    default="all",
    show_default=True,
    help="What is dropped.",
)
@click.option(
    "--direction",
    type=click.Choice(["both", "in", "out"]),
    default="both",
    show_default=True,
    help="in: the server hears nothing; out: nobody hears it.",
)
@click.option(
    "--loss",
    type=click.IntRange(1, 100),
    default=100,
    show_default=True,
    help="How many of a hundred packets are dropped.",
)
@_directory_option
@output_option("text", "json")
@_explained
def lab_cut(
    server: str,
    network: str,
    other: str | None,
    traffic: str,
    direction: str,
    loss: int,
    directory: Path | None,
    output: str,
) -> None:
    """Cut a server from a network, wholly or in part."""
    from clusterctl.lab import faults

    lab = _lab(directory)
    lab.server(server)
    if other is not None:
        lab.server(other)
        if other == server:
            raise Failure("a server can not be cut from itself", ExitCode.USAGE)
    networks = ("private", "public") if network == "all" else (network,)
    cuts = [faults.Cut(server, each, other, traffic, direction, loss) for each in networks]
    faults.cut(lab, cuts)
    data = {"server": server, "networks": list(networks), "from": other}
    _report(output, data, f"{server} is cut from {', '.join(networks)}; back: clusterctl lab heal")


@command.command("heal", cls=ClusterCommand)
@_directory_option
@output_option("text", "json")
@_explained
def lab_heal(directory: Path | None, output: str) -> None:
    """Take back every cut."""
    from clusterctl.lab import faults

    lab = _lab(directory)
    healed = faults.current_cuts(lab)
    faults.heal(lab)
    _report(output, {"healed": len(healed)}, f"{len(healed)} cuts healed")


@command.command("bmc", cls=ClusterCommand)
@click.argument("server")
@click.argument(
    "mode",
    type=click.Choice(["ok", "dead", "slow", "says-off", "says-on", "wrong-password"]),
)
@_directory_option
@output_option("text", "json")
@_explained
def lab_bmc(server: str, mode: str, directory: Path | None, output: str) -> None:
    """Make a server's BMC fail or lie."""
    from clusterctl.lab import inside

    lab = _lab(directory)
    lab.server(server)
    inside.ask_daemon(lab, {"do": "bmc", "server": server, "mode": mode})
    _report(output, {"server": server, "mode": mode}, f"the BMC of {server}: {mode}")


@command.command("exec", cls=ClusterCommand, context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@_directory_option
@output_option("text", "json")
@_explained
def lab_exec(node: str, words: tuple[str, ...], directory: Path | None, output: str) -> None:
    """Run a program on a server or on the client: `lab exec n1 -- ip address`."""
    from clusterctl.lab import inside

    lab = _lab(directory)
    target = lab.node(node)
    if output == "json":
        text = "" if sys.stdin.isatty() else sys.stdin.read()
        done = inside.run_on(lab, target, words, stdin=text, timeout_s=24 * 3600)
        click.echo(
            json.dumps(
                {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
            )
        )
        raise SystemExit(done.returncode if done.returncode >= 0 else 128 - done.returncode)
    argv = inside.argv_on(lab, target, words)
    environment = inside.node_environment(lab)
    inside.join_cgroup(lab, target.name)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environment)  # noqa: S606
