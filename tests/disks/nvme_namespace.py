"""An NVMe namespace as far as reservations go, byte by byte: what the NVM command set says of type
3. Each `Host` is one server. Nothing is shared with the code under test but the bytes."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.disks.nvme import Answer

GOOD, INVALID, CONFLICT, HOST_ID_FORMAT = 0, 0x02, 0x83, 0x18


@dataclass
class Namespace:
    keys: dict[str, int] = field(default_factory=dict)  # by host
    holder: str | None = None
    kind: int = 0
    can_persist: bool = True
    long_ids: bool = True
    aborted: list[str] = field(default_factory=list)


@dataclass
class Host:
    unit: Namespace
    name: str
    before: Callable[[int, int], None] | None = None  # called before each command
    sent: list[tuple[int, int, bytes]] = field(default_factory=list)

    def send(
        self, opcode: int, cdw10: int, out: bytes = b"", size: int = 0, cdw11: int = 0
    ) -> Answer:
        self.sent.append((opcode, cdw10, out))
        if self.before is not None:
            self.before(opcode, cdw10)
        if opcode == 0x0E:
            return self._report(cdw10, size, cdw11)
        done = {0x0D: self._register, 0x11: self._acquire, 0x15: self._release}[opcode]
        return Answer(done(cdw10, out))

    def write(self) -> bool:
        return self.unit.holder is None or self.name in self.unit.keys

    def _report(self, cdw10: int, size: int, cdw11: int) -> Answer:
        assert (cdw10 + 1) * 4 == size
        if bool(cdw11 & 1) != self.unit.long_ids:
            return Answer(HOST_ID_FORMAT)
        names = sorted(self.unit.keys)
        data = struct.pack("<IBHxxBxxxxxxxxxxxxxx", 7, self.unit.kind, len(names), 1)
        assert len(data) == 24
        if self.unit.long_ids:
            data += bytes(40)
        for number, name in enumerate(names):
            held = int(name == self.unit.holder)
            key = self.unit.keys[name]
            data += struct.pack("<HBxxxxx", number, held)
            if self.unit.long_ids:
                data += struct.pack("<Q", key) + name.encode().ljust(16, b"\0") + bytes(32)
            else:
                data += name.encode().ljust(8, b"\0") + struct.pack("<Q", key)
        return Answer(GOOD, data.ljust(size, b"\0"))

    def _register(self, cdw10: int, out: bytes) -> int:
        action, ignore, keep = cdw10 & 7, bool(cdw10 & 8), cdw10 >> 30
        old, new = struct.unpack("<QQ", out)
        if keep == 3 and not self.unit.can_persist:
            return INVALID
        mine = self.unit.keys.get(self.name)
        if action == 0:
            if mine not in (None, new):
                return CONFLICT
            self.unit.keys[self.name] = new
        elif action == 1:
            if mine is None or (not ignore and mine != old):
                return CONFLICT
            self._gone(self.name)
        else:
            if mine is None or (not ignore and mine != old):
                return CONFLICT
            self.unit.keys[self.name] = new
        return GOOD

    def _gone(self, name: str) -> None:
        del self.unit.keys[name]
        if self.unit.holder == name:
            self.unit.holder, self.unit.kind = None, 0

    def _acquire(self, cdw10: int, out: bytes) -> int:
        action, kind = cdw10 & 7, cdw10 >> 8 & 0xFF
        mine, other = struct.unpack("<QQ", out)
        if self.unit.keys.get(self.name) != mine:
            return CONFLICT
        if action == 0:
            if self.unit.holder not in (None, self.name):
                return CONFLICT
            self.unit.holder, self.unit.kind = self.name, kind
            return GOOD
        victims = [name for name, key in self.unit.keys.items() if key == other]
        if not victims:
            return CONFLICT
        takes = self.unit.holder in victims
        for name in victims:
            self._gone(name)
            if action == 2:
                self.unit.aborted.append(name)
        if takes:
            self.unit.holder, self.unit.kind = self.name, kind
        return GOOD

    def _release(self, cdw10: int, out: bytes) -> int:
        raise AssertionError("nothing is ever released but by unregistering")
