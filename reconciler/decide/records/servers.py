"""What the store holds of servers: sessions, who decides, who may be away, who is asked."""

from reconciler.decide.records.base import Record


class Session(Record):
    """run/sessions/<server>: this agent lives. Bound to its lease.

    `incarnation` changes with every session; `boot_id` with every power-on. `watchdog_s` is the
    time-out W of the hardware watchdog that is armed since some time of this boot and stays so
    (0: none), `dead_man_s` the longest deadline D that the pulse holds or is about to hold
    (0: an agent that does not say). The record is written again, with the same incarnation, before
    either becomes longer. `reads_schema` is the newest schema of records that this agent reads; the
    record itself is always of the oldest one.
    """

    server: str
    boot_id: str
    incarnation: str
    lease: int
    version: str = ""
    generation: int = 0
    started_wall: float = 0.0
    watchdog_s: float = 0.0
    dead_man_s: float = 0.0
    reads_schema: int = 1


class StoreLife(Record):
    """run/store: which etcd cluster these records belong to, and how often it was restored.

    A `store_id` other than the present one means that a backup was restored and nobody said `store
    restored` yet. The first 16 bits of every epoch are the `generation`. `doubted` are servers that
    may still run something from before.
    """

    store_id: str
    generation: int = 0
    doubted: tuple[str, ...] = ()
    who: str = ""
    restored_wall: float = 0.0


class Coordinator(Record):
    """run/coordinator: who decides for the cluster. Bound to that server's lease."""

    server: str
    incarnation: str


class Cordon(Record):
    """run/cordons/<server>: it takes no groups, and gives away those that it has.

    With a `boot_id` for that boot only (it is being shut down); else until somebody says `undrain`.
    """

    server: str
    boot_id: str = ""
    who: str = ""
    why: str = ""
    since_wall: float = 0.0


class Hold(Record):
    """run/holds/<server>: the agent of this boot may be away until then; see `holding`.

    `id` is the operation that asked for it, `for_s` how long it may last at all. `in_force`: the
    server's pulse has stretched its deadline. `released`: somebody ended it early.
    """

    server: str
    boot_id: str
    id: str
    for_s: float
    until_wall: float
    in_force: bool = False
    released: bool = False
    who: str = ""
    why: str = ""


class Challenge(Record):
    """run/challenges/<server>: *answer this through the store, if you live* (nonce). `deaf`: it is
    heard, and was asked because it said that it hears no majority."""

    server: str
    challenger: str
    deaf: bool = False


class Answer(Record):
    """run/answers/<server>: echoes the nonce of the challenge."""

    server: str
    boot_id: str
    pulse_alive: bool = True
