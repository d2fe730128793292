"""In-memory twin of the etcd adapter, for the simulator and fast tests."""

from reconciler.adapters.memory.faults import FINE, Fate, Faults, NoFaults
from reconciler.adapters.memory.state import MemoryState
from reconciler.adapters.memory.store import MemoryStore
from reconciler.adapters.memory.watching import WatchTiming

__all__ = ["FINE", "Fate", "Faults", "MemoryState", "MemoryStore", "NoFaults", "WatchTiming"]
