"""What is broken, one function each: it begins with both sides in sync and a counter that writes,
and ends with both engines up and nothing broken. Called by `__main__`."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable

from tests.mirror.faults.place import TIMEOUT_S, Place, until
from tests.mirror.pair import Side

FLOOD = 26
Kind = Callable[[Place, random.Random], None]
AHEAD = 15
"""Writes that one side is ahead of the other before the next thing happens."""


def owner_killed(place: Place, rng: random.Random) -> None:
    old = place.owner
    old.kill()
    place.lose_counter()
    _replaced(place, old)


def owner_power(place: Place, rng: random.Random) -> None:
    """Its network goes with it: what its kernel had not sent is lost. A killed process alone loses
    nothing of that."""
    old = place.owner
    place.network.cut(place.number(old))
    time.sleep(rng.random() * TIMEOUT_S / 2)
    place.power_off(old)
    place.lose_counter()
    _replaced(place, old)


def follower_killed(place: Place, rng: random.Random) -> None:
    place.follower.kill()
    _ahead(place)
    if rng.random() < 0.5:
        _stale_follower_is_asked(place)
    else:
        place.follower.start()
        place.together()
    _end(place, rng)


def both_power(place: Place, rng: random.Random) -> None:
    sides = [*place.sides]
    rng.shuffle(sides)
    if rng.random() < 0.5:  # the follower first: the owner goes on alone for a while
        place.follower.kill()
        _ahead(place)
        sides = [place.follower, place.owner]
        place.power_off(place.owner)
    else:
        for side in sides:
            place.power_off(side)
    place.lose_counter()
    for side in sides:
        side.start()
    _who_may(place, sides)


def cut(place: Place, rng: random.Random) -> None:
    place.network.cut(rng.randrange(2))
    _separated(place, rng)


def black_hole(place: Place, rng: random.Random) -> None:
    """In one direction or the other: data or acknowledgements are lost."""
    place.network.swallow(rng.randrange(2))
    _separated(place, rng)


def follower_stands_still(place: Place, rng: random.Random) -> None:
    process = place.follower.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        _ahead(place)
    finally:
        process.send_signal(signal.SIGCONT)
    place.together()
    _end(place, rng)


def owner_overtaken(place: Place, rng: random.Random) -> None:
    """The owner stands still, is replaced without a fence, and goes on."""
    old = place.owner
    assert old.process is not None
    old.process.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        stack.callback(os.kill, old.process.pid, signal.SIGCONT)
        place.follower.promote()
        place.tell("promoted", server=place.follower.name, current=_current(place))
    until(lambda: old.status()["over"])
    place.lose_counter()
    old.kill()
    place.owner, place.follower = place.follower, old
    place.owner.attach()
    place.look()
    old.start()


def store_away(place: Place, rng: random.Random) -> None:
    """The follower dies while nobody can write the record: nothing is answered any more."""
    place.cluster.available = False
    try:
        place.follower.kill()
        # on a slow machine it may have been alone before
        until(lambda: _is_suspended(place.owner) or _is_alone(place.owner))
        if rng.random() < 0.5:
            old = place.owner
            place.power_off(old)
            place.lose_counter()
            place.cluster.available = True
            place.follower.start()
            _replaced(place, old)
            return
    finally:
        place.cluster.available = True
    _ahead(place)
    place.follower.start()
    place.together()
    _end(place, rng)


def copy_interrupted(place: Place, rng: random.Random) -> None:
    """Either side dies in the middle of a copy: the target is never served."""
    place.follower.kill()
    with (place.owner.mount / "much").open("wb") as file:
        file.write(rng.randbytes(6 << 20))
        os.fsync(file.fileno())
    place.owner.call(do="limit", bytes=4 << 20)
    place.follower.start()
    until(lambda: place.owner.status().get("copied", 0) > 1 << 20)
    if rng.random() < 0.5:
        place.follower.kill()
        place.follower.start()
        place.owner.call(do="limit", bytes=0)
    else:
        old, target = place.owner, place.follower
        place.power_off(old)
        place.lose_counter()
        place.refuses(target)
        old.start()
        place.take_over(old)
    place.together()
    (place.owner.mount / "much").unlink()
    _end(place, rng)


def owner_disk(place: Place, rng: random.Random) -> None:
    """Its disk takes no more writes: they fail, and the other side takes over. A file that has all
    its space already cannot run out of it."""
    old = place.owner
    if not place.on_devices and place.has_all_space(old):
        owner_power(place, rng)
        return
    _break(place, old)
    try:
        _until_over(place, old)
        place.lose_counter()
        old.kill()
    finally:
        _mend(place, old)
    _replaced(place, old)


def follower_disk(place: Place, rng: random.Random) -> None:
    target = place.follower
    if not place.on_devices and place.has_all_space(target):
        follower_killed(place, rng)
        return
    _break(place, target)
    try:
        assert place.counter is not None
        until(lambda: _is_alone(place.owner))
        _ahead(place)
    finally:
        _mend(place, target)
    target.kill()
    target.start()
    place.together()
    _end(place, rng)


# -- parts ---------------------------------------------------------------------------------------


def _ahead(place: Place) -> None:
    """The owner is alone and has answered some writes since."""
    place.owner.wait(stage="alone")
    assert place.counter is not None
    place.counter.wait(place.counter.acknowledged() + AHEAD)


def _end(place: Place, rng: random.Random) -> None:
    """Both are in sync again. Sometimes the owner dies now, so that the other one is looked at."""
    if rng.random() < 0.5:
        place.together()
        owner_killed(place, rng)
    else:
        place.lose_counter()
        place.look()


def _separated(place: Place, rng: random.Random) -> None:
    try:
        _ahead(place)
        if rng.random() < 0.5:
            _stale_follower_is_asked(place)
    finally:
        place.network.heal()
    place.together()
    _end(place, rng)


def _stale_follower_is_asked(place: Place) -> None:
    """The owner dies while it is ahead. The other side may not serve; the owner comes back."""
    old = place.owner
    place.power_off(old)
    place.lose_counter()
    if place.follower.process is None:
        place.follower.start()
    place.refuses(place.follower)
    old.start()
    place.take_over(old)
    place.network.heal()
    place.together()


def _replaced(place: Place, old: Side) -> None:
    """The other side takes over and the old owner comes back. If that one was alone already, which
    happens on a slow machine, the other side is refused, and it serves again itself."""
    try:
        place.take_over()
    except PermissionError:
        place.network.heal()
        old.start()
        place.take_over(old)
        return
    place.network.heal()
    old.start()


def _is_alone(side: Side) -> bool:
    return bool(side.status()["stage"] == "alone")


def _is_suspended(side: Side) -> bool:
    return bool(side.status()["suspended"])


def _who_may(place: Place, sides: list[Side]) -> None:
    for side in sides:
        with contextlib.suppress(PermissionError):
            place.take_over(side)
            return
    place.tell("stuck", why="nobody may serve")


def _current(place: Place) -> list[str]:
    events = [e for e in place.cluster.history if e["event"] == "record"]
    return list(events[-2]["servers"]) if len(events) > 1 else [s.name for s in place.sides]


def _break(place: Place, side: Side) -> None:
    """A device takes no writes any more; a file gets no more space. The last run of its place:
    afterwards its file has all the space that it can ever need."""
    place.is_worn = True
    if place.on_devices:
        place.read_only(side, on=True)
        return
    place.fill(side)
    with contextlib.suppress(OSError), (place.owner.mount / "flood").open("wb") as file:
        for _ in range(FLOOD):
            file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())


def _mend(place: Place, side: Side) -> None:
    if place.on_devices:
        place.read_only(side, on=False)
    else:
        place.free(side)


def _until_over(place: Place, side: Side) -> None:
    assert place.counter is not None
    place.counter.wait_failed()
    until(lambda: side.status()["over"])


KINDS: dict[str, Kind] = {
    "owner-killed": owner_killed,
    "owner-power": owner_power,
    "follower-killed": follower_killed,
    "both-power": both_power,
    "cut": cut,
    "black-hole": black_hole,
    "follower-stands-still": follower_stands_still,
    "owner-overtaken": owner_overtaken,
    "store-away": store_away,
    "copy-interrupted": copy_interrupted,
    "owner-disk": owner_disk,
    "follower-disk": follower_disk,
}
