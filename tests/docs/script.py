"""A block of commands as one shell script that tells how each line ended; test_walk.py runs it."""

import re
import shlex

PATIENCE = 4  # a machine of tests is slower than one of a reader
FOLLOW_S = 20  # how long something is looked at that goes on until ^C
MARK = "::ended::"
FOLLOWS = re.compile(r"clusterctl (?:events|status|get) .*(?:-f|--follow|-w|--watch)(?:\s|$)")


def expected(line: str) -> set[int]:
    """Exit statuses that the line's comment allows."""
    if FOLLOWS.search(line.partition("#")[0]):
        return {124, 130}
    if re.match(r"\s*clusterctl diff\b", line):
        return {0, 1}
    found = re.search(r"#.*?\bexit (\d+)( if)?", line)
    if not found:
        return {0}
    return {int(found[1]), 0} if found[2] else {int(found[1])}


def as_run(line: str) -> str:
    line = re.sub(r"(--timeout )(\d+)s\b", lambda m: f"{m[1]}{PATIENCE * int(m[2])}s", line)
    if FOLLOWS.search(line.partition("#")[0]):
        return f"timeout --signal=INT {FOLLOW_S} {line}"
    return line


def script(lines: list[str]) -> str:
    """Ends with the first line whose exit status is not the one that the page promises."""
    text = ""
    for number, line in enumerate(lines):
        allowed = "|".join(str(code) for code in sorted(expected(line)))
        text += f"echo {shlex.quote('+ ' + line)}\n{as_run(line)}\n"
        text += (
            f'code=$?; echo "{MARK} {number} $code"; case $code in {allowed}) ;; *) exit;; esac\n'
        )
    return text
