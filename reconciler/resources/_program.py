"""What the types that run programs say about them: how they ended, and their last words."""

import signal

from reconciler.plugin import Place


def ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended in an unknown way"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"exited with code {exit_code}"


def last_words(place: Place) -> str:
    return last_line(place.host.runners.log_tail(place.name, 1000))


def last_line(output: str) -> str:
    """To append to a reason; "" without any output."""
    lines = output.strip().splitlines()
    return f"; its last words: {lines[-1][:200]}" if lines else ""
