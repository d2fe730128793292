"""What the agent and `clusterctl` may ask of an engine: one function for each `do`.

status                            everything, see `full_status`
prepare {named}                   -> {generation, header, boot}
promote {epoch, generation}       -> {path, size}
stop {limit}                      -> {clean, handed_over}, after both sides were flushed; the other
                                  one has `limit` seconds for it
abort {reason}                    every request fails from now on
answer {number, refusal}          see `control`
cut {reason}                      the other side is known to be gone
limit {bytes}                     of the background copy, a second; 0 is no limit
resync {how}                      `difference`: try to connect now; `full`: copy everything again;
                                  `checksum`: compare, and copy what differs
verify {id}                       compare both sides; the result is in the status
discard {confirm: RESOURCE}       give this side's data up (after a split brain)
accept {confirm: RESOURCE}        -> {generation}: this side is to serve, though it lacks data
isolate {seconds} / rejoin        refuse the other side's stream for a while
grow {size}                       of this side; the other one first
quit
"""

from dataclasses import dataclass
from typing import Any

from reconciler.mirror.checking import Checking
from reconciler.mirror.control import Answer
from reconciler.mirror.engine import STOP_LIMIT_S, Engine, EngineError
from reconciler.mirror.opening import room


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `answer` is for commands that return None and answer later."""

    engine: Engine
    request: dict[str, Any]
    answer: Answer


def serve(engine: Engine) -> None:
    """Let the engine answer its control socket."""

    def do(request: dict[str, Any], answer: Answer) -> None:
        found = _COMMANDS.get(str(request.get("do")))
        if found is None:
            answer({"ok": False, "error": f"unknown request {request.get('do')!r}"})
            return
        try:
            result = found(Asked(engine, request, answer))
        except (EngineError, OSError) as error:
            answer({"ok": False, "error": str(error)})
            return
        if result is not None:
            answer({"ok": True, **result})

    engine.do = do


def full_status(engine: Engine) -> dict[str, Any]:
    """For people and for the driver. Sizes in bytes, rates in bytes a second; `data_as_of` is a
    wall-clock second: what this side surely has. None means now, or unknown on a side that
    follows nobody. `room` is the device's size (0: a file), `peer_size` that of the other side
    while it is connected."""
    header, primary = engine.disk.metadata.header, engine.primary
    block = 1 << engine.disk.metadata.geometry.block_shift
    status: dict[str, Any] = {
        **engine.brief(),
        "resource": header.resource,
        "server": engine.settings.server,
        "peer": engine.settings.peer,
        "peers": list(engine.settings.peers),
        "header": header.to_json(),
        "boot": engine.disk.boot,
        "size": header.size,
        "room": room(engine.settings),
        "asynchronous": engine.settings.asynchronous,
        "bytes_to_copy": engine.disk.metadata.dirty.count * block,
        "limit": engine.limit,
        "connected": False,
        "address": "",
        "problem": engine.listening.failure,
        "data_as_of": None,
    }
    if primary is not None:
        status |= _serving(engine)
    elif engine.listening.current is not None:
        visitor = engine.listening.current
        status["connected"] = visitor.session is not None
        status["data_as_of"] = visitor.data_as_of or None
        if visitor.session is not None:
            status["bytes_to_copy"] = visitor.session.to_copy * block
    elif not header.fresh:
        status["data_as_of"] = header.as_of or None
    return status


def _serving(engine: Engine) -> dict[str, Any]:
    primary, dialing = engine.primary, engine.dialing
    assert primary is not None  # noqa: S101 - the caller looked
    status: dict[str, Any] = {"connected": primary.link is not None}
    if dialing is not None:
        status |= {"address": dialing.address, "problem": dialing.problem}
        status["peer_size"] = dialing.peer_size if primary.link is not None else 0
        status["backlog"] = dialing.channel.backlog if dialing.channel is not None else 0
    if primary.verdict is not None:
        status["verdict"] = primary.verdict.meeting.value
        status["verdict_reason"] = primary.verdict.reason
    copying = primary.copying
    if primary.link is not None and copying.started_at is not None:
        took = max(0.001, engine.now() - copying.started_at)
        rate = copying.copied / took
        left = status.get("bytes_to_copy", engine.disk.metadata.dirty.count << 16)
        status |= {"copied": copying.copied, "rate": round(rate)}
        status["seconds_left"] = round(left / rate, 1) if rate else None
    if engine.checking is not None:
        status["verify"] = _compared(engine, engine.checking)
    return status


def _compared(engine: Engine, checking: Checking) -> dict[str, Any]:
    size = engine.disk.metadata.header.size
    rate = checking.done / max(0.001, engine.now() - checking.began)
    found: dict[str, Any] = {
        "id": checking.id,
        "done": checking.done,
        "different": checking.different[:1000],
        "ended": checking.ended,
        "repair": checking.repair,
    }
    if not checking.ended and checking.done:
        left = (size - checking.done) / rate
        found |= {"rate": round(rate), "seconds_left": round(left, 1)}
    return found


def _status(asked: Asked) -> dict[str, Any]:
    return {"status": full_status(asked.engine)}


def _prepare(asked: Asked) -> dict[str, Any]:
    generation = asked.engine.prepare(str(asked.request["named"]))
    header = asked.engine.disk.metadata.header
    return {"generation": generation, "header": header.to_json(), "boot": asked.engine.disk.boot}


def _promote(asked: Asked) -> dict[str, Any]:
    asked.engine.promote(int(asked.request["epoch"]), str(asked.request["generation"]))
    return {"path": asked.engine.settings.served, "size": asked.engine.disk.metadata.header.size}


def _stop(asked: Asked) -> None:
    asked.engine.stop(asked.answer, float(asked.request.get("limit", STOP_LIMIT_S)))


def _abort(asked: Asked) -> dict[str, Any]:
    if asked.engine.primary is not None:
        asked.engine.primary.abort(str(asked.request.get("reason", "told to")))
    return {}


def _answer(asked: Asked) -> dict[str, Any]:
    refusal = asked.request["refusal"]
    if asked.engine.primary is not None:
        number = int(asked.request["number"])
        asked.engine.primary.answered(number, None if refusal is None else str(refusal))
    return {}


def _cut(asked: Asked) -> dict[str, Any]:
    if asked.engine.dialing is not None:
        asked.engine.dialing.cut(str(asked.request.get("reason", "told to")))
    return {}


def _limit(asked: Asked) -> dict[str, Any]:
    asked.engine.limit = max(0, int(asked.request["bytes"]))
    if asked.engine.primary is not None:
        asked.engine.primary.copying.limit = asked.engine.limit
    return {}


def _resync(asked: Asked) -> dict[str, Any]:
    engine = asked.engine
    if engine.primary is None or engine.primary.over:
        raise EngineError("this side does not serve: ask the other one")
    if engine.primary.suspended:
        raise EngineError("this side waits for the store")
    how = str(asked.request.get("how", "full"))
    if how == "checksum":
        return _verify(asked)
    if how == "full":
        # Take nothing for granted: the peer becomes the target of a copy of everything.
        engine.primary.cut("a copy of everything was asked for")
        engine.disk.metadata.dirty.fill()
        engine.disk.metadata.save_bitmap()
        engine.checking = None  # what it found is copied over
    if engine.dialing is not None:
        engine.dialing.hurry()
    return {}


def _verify(asked: Asked) -> dict[str, Any]:
    engine = asked.engine
    if engine.primary is None or engine.primary.over:
        raise EngineError("this side does not serve: ask the other one")
    repair = asked.request.get("do") == "resync"
    number = str(asked.request.get("id", ""))
    engine.checking = Checking(engine.primary, number, repair, engine.now())
    engine.checking.pump(engine.primary.acked_seq)
    return {}


def _discard(asked: Asked) -> dict[str, Any]:
    if asked.engine.primary is not None:
        raise EngineError("this side serves: its data cannot be given up")
    if asked.request.get("confirm") != asked.engine.settings.resource:
        raise EngineError("the resource's name must be repeated in 'confirm'")
    asked.engine.disk.metadata.save(discard=True)
    asked.engine.tell("mirror_discarded", who=str(asked.request.get("who", "")))
    return {}


def _accept(asked: Asked) -> dict[str, Any]:
    """An operator gives up what only the other side has. What speaks against serving this side is
    taken back, but for a copy that is not finished; which generation it holds stays as it is."""
    engine, header = asked.engine, asked.engine.disk.metadata.header
    if engine.primary is not None:
        raise EngineError("this side serves already")
    if asked.request.get("confirm") != engine.settings.resource:
        raise EngineError("the resource's name must be repeated in 'confirm'")
    if header.fresh or not header.consistent:
        raise EngineError("what this side has fits no moment: a copy to it is not finished")
    engine.listening.dismiss("an operator wants this side to serve")
    engine.disk.metadata.save(order_kept=False, isolated=False, discard=False)
    engine.tell("mirror_accepted", who=str(asked.request.get("who", "")))
    return {"generation": header.current}


def _isolate(asked: Asked) -> dict[str, Any]:
    if asked.engine.primary is not None:
        raise EngineError("this side serves: isolate the other one")
    asked.engine.isolate(float(asked.request["seconds"]))
    return {}


def _rejoin(asked: Asked) -> dict[str, Any]:
    asked.engine.rejoin()
    return {}


def _grow(asked: Asked) -> dict[str, Any]:
    asked.engine.grow(int(asked.request["size"]))
    return {"size": asked.engine.disk.metadata.header.size}


def _quit(asked: Asked) -> dict[str, Any]:
    if asked.engine.primary is not None and not asked.engine.primary.over:
        raise EngineError("this side serves")
    asked.engine.quit = True
    return {}


_COMMANDS = {
    "status": _status,
    "prepare": _prepare,
    "promote": _promote,
    "stop": _stop,
    "abort": _abort,
    "answer": _answer,
    "cut": _cut,
    "limit": _limit,
    "resync": _resync,
    "verify": _verify,
    "discard": _discard,
    "accept": _accept,
    "isolate": _isolate,
    "rejoin": _rejoin,
    "grow": _grow,
    "quit": _quit,
}
