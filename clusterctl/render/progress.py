"""One line of progress: bar, percent, amount, rate, time left. Redrawn on a terminal; elsewhere a
line whenever it has gone on by a tenth."""

import sys
from typing import IO

from clusterctl.render.style import Style
from reconciler.decide.mirror_view import Progress

WIDTH = 24
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount(size: float) -> str:
    """`1.5 GiB`: binary units, three digits at most before the point."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """`9 s`, `4 min 10 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def bar(percent: float, style: Style) -> str:
    full = min(WIDTH, max(0, round(percent / 100 * WIDTH)))
    filled, empty = ("#", ".") if style.ascii_only else ("█", "░")
    return filled * full + empty * (WIDTH - full)


def line(found: Progress, style: Style) -> str:
    """`████░░ 42 %  420 MiB of 1.0 GiB  120 MiB/s  5 s left`."""
    words = [
        f"{bar(found.percent, style)} {min(99, int(found.percent)):3d} %"
        if found.done < found.total
        else f"{bar(100, style)} 100 %",
        f"{amount(found.done)} of {amount(found.total)}",
    ]
    if found.rate is not None:
        words.append(f"{amount(found.rate)}/s")
    if found.seconds_left is not None and found.done < found.total:
        words.append(f"{duration(found.seconds_left)} left")
    return "  ".join(words)


class ProgressLine:
    """Written to stderr, so that the output of a command stays its result."""

    def __init__(self, style: Style, stream: IO[str] | None = None) -> None:
        self._style, self._stream = style, stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._tenth = -1
        self._drawn = False

    def show(self, label: str, found: Progress) -> None:
        text = self._style.plain(f"{label}  {line(found, self._style)}")
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._drawn = True
        elif int(found.percent // 10) != self._tenth:
            self._tenth = int(found.percent // 10)
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """The line stays as it is; what follows begins below."""
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
        self._drawn = False
