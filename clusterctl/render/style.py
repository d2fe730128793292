"""Marks and colours: every state carries a shape and a word, colour only repeats them."""

import os
import sys
from dataclasses import dataclass
from enum import Enum
from typing import IO

import click


class Tone(Enum):
    """(shape, ASCII shape, colour)."""

    OK = ("●", "[ok]", "green")
    CHANGING = ("◐", "[..]", "blue")
    WARNING = ("▲", "[!!]", "yellow")
    FAILED = ("✖", "[XX]", "red")
    STOPPED = ("○", "[--]", "bright_black")
    UNKNOWN = ("?", "[??]", "magenta")


_TONES = {
    Tone.OK: ("online", "active", "done", "ok", "healthy"),
    Tone.CHANGING: ("starting", "stopping", "recovering", "pending", "running"),
    Tone.WARNING: ("suspect", "partial", "warning", "degraded"),
    Tone.FAILED: ("failed", "blocked", "fenced", "lost", "critical", "faulty", "parked"),
    Tone.STOPPED: ("offline", "inactive"),
}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words}


def tone_of(state: str) -> Tone:
    """Words that nobody knows are unknown, never green."""
    return _TONE_OF.get(state, Tone.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Style:
    """How this terminal is written to."""

    color: bool = False
    ascii_only: bool = False

    def paint(self, text: str, tone: Tone) -> str:
        return click.style(text, fg=tone.value[2]) if self.color else text

    def mark(self, state: str, text: str | None = None) -> str:
        """`● online`; `text` replaces the word."""
        tone = tone_of(state)
        shape = tone.value[1] if self.ascii_only else tone.value[0]
        return self.paint(f"{shape} {text or state}", tone)

    def plain(self, text: str) -> str:
        """Replace what an ASCII terminal cannot show."""
        if not self.ascii_only:
            return text
        return text.replace("→", "->").replace("·", "-").encode("ascii", "replace").decode()


def style_for(stream: IO[str], *, no_color: bool, ascii_only: bool) -> Style:
    """Colour only on a terminal and not against NO_COLOR; ASCII where UTF-8 cannot be written."""
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    color = terminal and not no_color and not os.environ.get("NO_COLOR")
    encoding = (getattr(stream, "encoding", None) or sys.getdefaultencoding()).lower()
    return Style(color, ascii_only or "utf" not in encoding)
