"""Nothing starts, and in the end nothing runs, but what the store's ownership record names."""

from reconciler.decide.records import Ownership
from tests.simulation.facts import End, Fact, Powered, Restored, Stored, Up
from tests.simulation.invariants.base import Handler, Invariant


class NoOrphan(Invariant):
    name = "no_orphan"

    def __init__(self) -> None:
        self._records: dict[str, Ownership] = {}
        self._boots: dict[str, str] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Stored: self._stored, Powered: self._powered, End: self._end} | {
            Restored: self._restored
        }

    def _restored(self, fact: Restored) -> None:
        found = [record for _, record in fact.records if isinstance(record, Ownership)]
        self._records = {record.group: record for record in found}

    def _stored(self, fact: Stored) -> None:
        if isinstance(fact.new, Ownership):
            self._records[fact.new.group] = fact.new

    def _powered(self, fact: Powered) -> None:
        self._boots[fact.server] = fact.boot_id

    def _up(self, fact: Up) -> str | None:
        record = self._records.get(fact.group)
        boot = self._boots.get(fact.server, "")
        if record is None:
            return f"{fact.resource} starts on {fact.server} without an ownership record"
        if (record.owner, record.epoch, record.boot_id) == (fact.server, fact.epoch, boot):
            return None
        return (
            f"{fact.resource} starts on {fact.server} ({boot}) at epoch {fact.epoch}; the store "
            f"says {record.owner} ({record.boot_id}) at epoch {record.epoch}"
        )

    def _end(self, fact: End) -> str | None:
        groups = dict(fact.wanted)
        for resource, server, epoch in fact.active:
            record = self._records.get(groups.get(resource, ""))
            if record is None or (record.owner, record.epoch) != (server, epoch):
                return f"{resource} runs on {server} at epoch {epoch}, owned: {record}"
        return None
