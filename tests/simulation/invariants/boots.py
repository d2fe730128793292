"""Which boot each server is in, as its session tells: an intent ends with its executor's boot."""

from reconciler.decide.records import FenceIntent, Session
from tests.simulation.facts import Stored


class Boots:
    def __init__(self) -> None:
        self._boots: dict[str, str] = {}

    def note(self, fact: Stored) -> None:
        if isinstance(fact.new, Session):
            self._boots[fact.new.server] = fact.new.boot_id

    def is_over(self, intent: FenceIntent) -> bool:
        """The executor runs in another boot: the one that could have sent a command is over."""
        boot = self._boots.get(intent.executor, intent.executor_boot)
        return bool(intent.executor_boot) and boot != intent.executor_boot
