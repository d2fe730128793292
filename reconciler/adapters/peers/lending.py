"""The watchdog's descriptor on its way back from a pulse to an agent that has not opened it."""

import os
from collections.abc import Sequence


class Lent:
    """What came and was not taken yet. `asked`: on this connection already."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self.asked = False

    def keep(self, descriptors: Sequence[int]) -> None:
        """Those that came with a message; ours from here on."""
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # for Python those that are received are
            self._descriptors.append(descriptor)

    def take(self) -> int | None:
        """The caller's from here on."""
        return self._descriptors.pop() if self._descriptors else None

    def forget(self) -> None:
        """The connection is over: what nobody took is closed."""
        while (descriptor := self.take()) is not None:
            os.close(descriptor)
        self.asked = False
