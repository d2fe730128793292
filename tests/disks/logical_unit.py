"""A SCSI unit as far as persistent reservations go, byte by byte: what SPC-4 says of types 5.

Each `Nexus` is one server's path to it. Nothing here is shared with the code under test but the
bytes: commands are parsed anew.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.disks.scsi import Answer

CONFLICT = Answer(0x18)
ATTENTION = Answer(0x02, key=6, asc=0x2A, ascq=0x03)
ILLEGAL = Answer(0x02, key=5, asc=0x24, ascq=0x00)


@dataclass
class Unit:
    keys: dict[str, int] = field(default_factory=dict)  # by nexus
    holder: str | None = None
    kind: int = 0
    generation: int = 0
    can_persist: bool = True
    aborted: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def reserved_key(self) -> int | None:
        return self.keys.get(self.holder) if self.holder else None


@dataclass
class Nexus:
    unit: Unit
    name: str
    attention: bool = False
    before: Callable[[bytes], None] | None = None  # called before each command
    sent: list[bytes] = field(default_factory=list)

    def send(self, command: bytes, out: bytes = b"", size: int = 0) -> Answer:
        self.sent.append(command)
        if self.before is not None:
            self.before(command)
        if self.attention:
            self.attention = False
            return ATTENTION
        if command[0] == 0x5E:
            return self._read(command, size)
        if command[0] == 0x5F:
            return self._change(command, out)
        return Answer(0)

    def write(self) -> bool:
        """A write of this server: refused unless it is registered, once somebody has reserved."""
        if self.unit.holder is not None and self.name not in self.unit.keys:
            return False
        self.unit.written.append(self.name)
        return True

    def _read(self, command: bytes, size: int) -> Answer:
        (allocated,) = struct.unpack_from(">H", command, 7)
        assert allocated == size
        if command[1] == 0:
            keys = b"".join(key.to_bytes(8, "big") for key in self.unit.keys.values())
            data = struct.pack(">II", self.unit.generation, len(keys)) + keys
        else:
            key = self.unit.reserved_key()
            data = struct.pack(">II", self.unit.generation, 16 if key is not None else 0)
            if key is not None:
                data += key.to_bytes(8, "big") + bytes(5) + bytes([self.unit.kind, 0, 0])
        return Answer(0, data.ljust(size, b"\0"))

    def _change(self, command: bytes, out: bytes) -> Answer:
        action, kind = command[1] & 0x1F, command[2]
        (length,) = struct.unpack_from(">I", command, 5)
        assert length == len(out) == 24
        key, new = struct.unpack_from(">QQ", out)
        if out[20] & 1 and not self.unit.can_persist:
            return ILLEGAL
        mine = self.unit.keys.get(self.name, 0)
        if action == 6 or action == 0:
            return CONFLICT if action == 0 and key != mine else self._register(new)
        if not mine or key != mine:
            return CONFLICT
        if action == 1:
            if self.unit.holder not in (None, self.name):
                return CONFLICT
            self.unit.holder, self.unit.kind = self.name, kind
        elif action == 5:
            return self._preempt(new, kind)
        return Answer(0)

    def _register(self, new: int) -> Answer:
        if new:
            self.unit.keys[self.name] = new
        else:
            self.unit.keys.pop(self.name, None)
            if self.unit.holder == self.name:
                self.unit.holder = None
        self.unit.generation += 1
        return Answer(0)

    def _preempt(self, victim: int, kind: int) -> Answer:
        gone = [n for n, key in self.unit.keys.items() if key == victim and n != self.name]
        if not gone:
            return CONFLICT
        if self.unit.reserved_key() == victim:
            self.unit.holder, self.unit.kind = self.name, kind
        for name in gone:
            del self.unit.keys[name]
            self.unit.aborted.append(name)
        self.unit.generation += 1
        return Answer(0)
