"""What a probe answers; used by all probes of this process."""

OUTPUT_LIMIT = 2000
"""Bytes of a probe's output that are kept: its end, where errors are."""

Answer = dict[str, object]


def good(reason: str = "", output: str = "", code: int | None = None) -> Answer:
    return {"healthy": True, "reason": reason, "output": output[-OUTPUT_LIMIT:], "code": code}


def bad(reason: str, output: str = "", code: int | None = None) -> Answer:
    """`code` is the exit code of a command that ended by itself."""
    output = output[-OUTPUT_LIMIT:]
    return {"healthy": False, "reason": reason[:500], "output": output, "code": code}


def unknown(reason: str) -> Answer:
    """It could not be probed; this says nothing about what was to be looked at."""
    return {"healthy": None, "reason": reason[:500], "output": ""}
