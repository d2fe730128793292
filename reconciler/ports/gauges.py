"""What a server can measure of itself; `loops.facts` publishes it, `doctor` judges it."""

from typing import Protocol

from reconciler.decide.storage_facts import StorageFacts


class Gauges(Protocol):
    async def fsync_ms(self) -> float:
        """The slowest of a few durable writes to the state directory. Raises `OSError`."""
        ...

    def boot_s(self) -> float | None:
        """Time from power-on to the first start of an agent; None when nobody can say."""
        ...

    def realtime(self) -> bool | None:
        """Whether the pulse has its real-time priority; None while there is no pulse."""
        ...

    def certificates(self) -> dict[str, float]:
        """For each certificate of this server when it ends, in seconds of wall time."""
        ...

    async def storage(self) -> StorageFacts:
        """Block devices, their use, and free space; what cannot be read is missing."""
        ...

    async def interface_for(self, address: str) -> str | None:
        """The interface that carries this server's own address."""
        ...
