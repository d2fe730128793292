"""Real faults, out of a seed, on a lab of its own: `make faults`, or

    python -m tests.faults --minutes 10 --seed 1 --servers 3 [--fault NAME]… [--single] [--evidence]
    python -m tests.faults --list
    python -m tests.faults --check HISTORY [--servers 3 --seed 1 --evidence]
    python -m tests.faults --check HISTORY HISTORY…      # tables of recovery of all together

Ends with 1 after a violation. Report, picture and history are left in the directory that it names;
with --evidence a copy of the report, its picture and a condensed history go to docs/evidence/.
"""

import argparse
import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.faults import checks, report, timeline
from tests.faults.campaign import Campaign
from tests.faults.history import Line, condensed, parse
from tests.faults.kinds.kind import all_kinds
from tests.faults.schedule import Round, rounds
from tests.integration.lab_under_test import SOURCE, missing

EVIDENCE = SOURCE / "docs/evidence"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):  # in the background a shell ignores the second
        signal.signal(number, _end)
    kinds = all_kinds()
    unknown = [name for name in options.fault if name not in kinds]
    if options.list or unknown:
        for name in unknown:
            print(f"no such fault: {name}", file=sys.stderr)
        print("\n".join(f"{kind.name:24} {kind.text}" for kind in kinds.values()))
        return 2 if unknown else 0
    if len(options.check) > 1:
        print(report.together(*map(_read, options.check)))
        return 0
    if options.check:
        return _conclude(options.dir, _read(options.check[0]), options)
    if missing():
        print(f"no lab can be made: {missing()}", file=sys.stderr)
        return 2
    chosen = [kinds[name] for name in options.fault] or list(kinds.values())
    if options.single:
        plan = rounds(options.seed, chosen, options.servers, combined=0.0)
    else:
        plan = rounds(options.seed, chosen, options.servers)
    directory = options.dir or Path(tempfile.mkdtemp(prefix="clusterctl-faults-"))
    history = run(directory, options.servers, plan, options.minutes * 60)
    return _conclude(directory, history, options)


def _read(path: Path) -> list[Line]:
    data = path.read_bytes()
    return parse((gzip.decompress(data) if path.suffix == ".gz" else data).decode())


def _conclude(directory: Path | None, history: Sequence[Line], options: argparse.Namespace) -> int:
    """Reports where they are wanted, and the exit status."""
    if directory is not None:
        _leave(directory, history, options)
        say(f"report: {directory}/{_name(options)}.md")
    if options.evidence:
        EVIDENCE.mkdir(exist_ok=True)
        _leave(EVIDENCE, condensed(history), options, full=history)
    return _told(checks.violations(history))


def _end(number: int, frame: object) -> None:
    """The lab is taken down in any case."""
    raise KeyboardInterrupt


def run(directory: Path, servers: int, plan: Iterable[Round], seconds: float) -> list[Line]:
    """Rounds until the time is over or nothing helps any more; returns the history. The logs of
    the servers and their events are kept in `directory`."""
    campaign = Campaign.start(directory / "lab", servers, all_kinds(), say)
    try:
        campaign.prepare()
        deadline = time.monotonic() + seconds
        known: set[str] = set()
        for planned in plan:
            well = campaign.run_round(planned)
            for text in campaign.violations():
                if text not in known:
                    say(f"VIOLATION {text}")
                known.add(text)
            if time.monotonic() > deadline or not (well or campaign.repaired()):
                break
        return list(campaign.cluster.whole_history())
    finally:
        keep_history(campaign, directory)
        keep_states(campaign, directory)
        campaign.close()
        campaign.cluster.down(keep=directory / f"logs-{os.getpid()}")


def keep_history(campaign: Campaign, directory: Path) -> None:
    source = campaign.cluster.shared / "history"
    if source.exists():
        shutil.copy(source, directory / "history.jsonl")


def keep_states(campaign: Campaign, directory: Path) -> None:
    """The agents' own events, which are in memory here."""
    (directory / "events").mkdir(exist_ok=True)
    for server in campaign.cluster.servers:
        source = campaign.cluster.state_directory(server) / "events.jsonl"
        if source.exists():
            shutil.copy(source, directory / "events" / f"{server}.jsonl")


def _leave(
    directory: Path,
    history: Sequence[Line],
    options: argparse.Namespace,
    full: Sequence[Line] | None = None,
) -> None:
    """Report, picture and history; `full` is what the report judges where it is not the same."""
    name = _name(options)
    servers = [f"n{number}" for number in range(1, options.servers + 1)]
    title = f"{options.servers} servers, seed {options.seed}"
    (directory / f"{name}.svg").write_text(timeline.draw(full or history, servers, title))
    repeat = f"make faults ARGS='--servers {options.servers} --seed {options.seed} --minutes "
    repeat += f"{options.minutes:g}{' --single' if options.single else ''}"
    repeat += f"{''.join(f' --fault {each}' for each in options.fault)}'"
    about = report.About(options.servers, options.seed, _commit(), repeat, f"{name}.svg")
    (directory / f"{name}.md").write_text(report.write(about, full or history))
    lines = "".join(f"{line.to_json()}\n" for line in history)
    packed = gzip.compress(lines.encode(), mtime=0)  # the same bytes for the same history
    (directory / f"{name}.jsonl.gz").write_bytes(packed)


def _name(options: argparse.Namespace) -> str:
    return f"faults-{options.servers}-servers-seed-{options.seed}"


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.strip()


def _told(violations: Sequence[str]) -> int:
    for text in violations:
        print(f"VIOLATION {text}")
    print("no violation" if not violations else f"{len(violations)} violations")
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", type=int, default=3, choices=range(3, 10))
    parser.add_argument("--fault", action="append", default=[], metavar="NAME")
    parser.add_argument("--single", action="store_true", help="one fault at a time")
    parser.add_argument("--list", action="store_true", help="print the kinds of faults")
    parser.add_argument("--evidence", action="store_true", help="also write docs/evidence/")
    parser.add_argument("--dir", type=Path, help="where to leave everything (default: a new one)")
    text = "judge a history again; several: only what they cost together"
    parser.add_argument("--check", type=Path, nargs="+", default=[], metavar="HISTORY", help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
