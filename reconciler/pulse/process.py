"""The pulse process: one loop over sockets and timers. `__main__` runs it, `adapters.peers` talks
to it over `link`.

Each pass reads the clock *before* it drains the sockets and judges at that instant, so whatever
had been received by then is known. Nothing in the loop waits for an agent, a disk or a network.
"""

import gc
import json
import os
import secrets
import select
import selectors
import sys
import time
from typing import Any

from reconciler.pulse import settings
from reconciler.pulse.feeding import Feeding
from reconciler.pulse.judge import Judge, Peer, Settings
from reconciler.pulse.link import Connection, LinkServer
from reconciler.pulse.packet import STORE_STATES, Heartbeat, KeyRing, Refused
from reconciler.pulse.paths import Paths
from reconciler.pulse.realtime import harden
from reconciler.pulse.watch import DeadMan
from reconciler.pulse.watchdog import Watchdog

SCHEMA = 1
_BATCHED_UP_TO_S = 0.1
VIEW_EVERY_S = 0.2
_UPKEEP_EVERY_S = 1.0
_COLLECT_EVERY = 60  # upkeeps
_SETTLE_S = 10.0


class Pulse:
    """`socket_path`: where agents connect; `state_path`: see `watch.DeadMan`."""

    def __init__(self, socket_path: str, state_path: str | None) -> None:
        now = time.monotonic()
        self._link = LinkServer(socket_path)
        self._realtime, self._locked, self._warnings = harden()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._link, selectors.EVENT_READ)
        self._start = secrets.token_hex(8)
        self._dead_man = DeadMan(state_path, now)
        self._watchdog = Watchdog()
        self._configuration: settings.Configuration | None = None
        self._keys: KeyRing | None = None
        self._judge: Judge | None = None
        # the configuration before, as long as others may still go by it
        self._pace: settings.Configuration | None = None
        self._settled_at = now
        self._paths = Paths(self._selector)
        self._feeding = Feeding(self._dead_man, self._watchdog, self._paths, _log)
        self._sequence = 0
        self._store = "unknown"
        self._reported_at: float | None = None
        self._sent: object = None
        self._tick_at = now
        self._view_at = now
        self._upkeep_at = now + _UPKEEP_EVERY_S
        self._upkeeps = 0
        self._stopping = False

    def stop(self) -> None:
        """End in order, after the pass that is under way."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`, an agent says so, or the socket file is gone."""
        _log("pulse_started", pid=os.getpid(), realtime=self._realtime, locked=self._locked)
        try:
            while not self._stopping:
                self._pass()
        finally:
            if self._stopping:
                self._feeding.let_go()
            self._paths.close()
            self._link.close()
            self._selector.close()
            _log("pulse_stopped")

    def _pass(self) -> None:
        ready = self._selector.select(max(0.0, self._wake_at() - time.monotonic()))
        now = time.monotonic()
        ticking = self._judge is not None and now >= self._tick_at
        if self._judge is not None and ticking:
            self._judge.woke(now, self._tick_at)
        answers = self._drain(now)
        changed = self._judge is not None and self._judge.judge(now)
        if ticking or (changed and self._told(now) != self._sent):
            self._beat(now)
        elif answers:
            self._beat(now, answers)
        if ticking:
            self._next_tick(now)
            self._watch_dead_man(now)
        for key, _ in ready:
            self._serve(key.fileobj, now)
        if changed or now >= self._view_at:
            self._publish(now)
        if now >= self._upkeep_at:
            self._upkeep(now)
        self._paths.listen(wanted=self._judge is None or not self._is_calm(self._judge))

    def _wake_at(self) -> float:
        if self._judge is None:
            return min(self._upkeep_at, self._view_at)
        due = min(self._tick_at, self._judge.next_due())
        # While all is calm, what has time waits for a tick.
        return due if self._is_calm(self._judge) else min(due, self._view_at, self._upkeep_at)

    def _is_calm(self, judge: Judge) -> bool:
        """Heartbeats may wait for the next tick: the kernel notes when they came."""
        return judge.settings.interval <= _BATCHED_UP_TO_S and judge.is_calm

    # -- heartbeats -----------------------------------------------------------------------------

    def _drain(self, now: float) -> set[str]:
        """Hear everything received before `now`; the peers that need an answer at once."""
        answers: set[str] = set()
        if self._judge is None or self._keys is None:
            return answers
        realtime = time.time() - (time.monotonic() - now)
        for path in self._paths:
            for datagram, at in path.drain(now, realtime):
                try:
                    beat = self._keys.open(datagram)
                except Refused as refusal:
                    self._judge.refusals[refusal.reason] += 1
                    continue
                if self._judge.hear(beat, path.name, at).answer:
                    answers.add(beat.sender)
        return answers

    def _beat(self, now: float, only: set[str] | None = None) -> None:
        """Send one heartbeat to every peer (or `only` those) on every path."""
        configuration, keys, judge = self._configuration, self._keys, self._judge
        if configuration is None or keys is None or judge is None:
            return
        self._sequence += 1
        told = silent, suspect, store, agent_alive = self._told(now)
        if only is None:
            self._sent = told
        for path in self._paths.due(now):
            for name in path.settings.peers:
                if only is not None and name not in only:
                    continue
                beat = Heartbeat(
                    cluster=configuration.cluster,
                    sender=configuration.server,
                    to=name,
                    path=path.name,
                    boot_id=configuration.boot_id,
                    start=self._start,
                    sequence=self._sequence,
                    echo=judge.peers[name].claimed_start,
                    silent=silent,
                    suspect=suspect,
                    store=store,
                    agent_alive=agent_alive,
                    keys=keys.ids,
                )
                path.send(name, keys.seal(beat, judge.peers[name].keys))

    def _told(self, now: float) -> tuple[frozenset[str], frozenset[str], str, bool]:
        """What our heartbeats say of others and of ourselves: silent, suspect, store, agent."""
        peers = self._judge.peers if self._judge else {}
        silent = frozenset(name for name, peer in peers.items() if peer.silent)
        suspect = frozenset(name for name, peer in peers.items() if peer.suspect)
        agent_alive = self._agent_alive(now)
        return silent, suspect, self._store if agent_alive else "unknown", agent_alive

    def _next_tick(self, now: float) -> None:
        assert self._configuration is not None  # noqa: S101
        interval = self._configuration.interval
        if self._pace is not None:
            interval = min(interval, self._pace.interval)
        self._tick_at += interval
        if self._tick_at <= now:  # we were late: no burst to make up for it
            self._tick_at = now + interval

    def _agent_alive(self, now: float) -> bool:
        if self._reported_at is None or self._configuration is None:
            return False
        return now - self._reported_at <= self._configuration.dead_man

    # -- dead-man -------------------------------------------------------------------------------

    def _watch_dead_man(self, now: float) -> None:
        if self._judge is None or self._configuration is None:
            return
        majority = self._judge.hears_majority(now)
        outcomes = self._dead_man.judge(now, self._configuration.dead_man, majority)
        if outcomes:
            ended = [{"entry": o.entry, "error": o.error} for o in outcomes]
            _log("dead_man_fired", ended=ended)
            self._publish(time.monotonic())
        condemned = self._dead_man.condemned
        self._feeding.feed(now)
        if self._dead_man.condemned is not condemned:
            self._publish(now)

    # -- the agent ------------------------------------------------------------------------------

    def _serve(self, ready: object, now: float) -> None:
        if ready is self._link:
            connection = self._link.accept()
            if connection is not None:
                self._selector.register(connection, selectors.EVENT_READ)
                connection.send(self._hello())
                connection.send(self._view(now))
        elif isinstance(ready, Connection):
            for message in ready.receive():
                lent = self._watchdog.descriptor if message.get("op") == "lend-watchdog" else None
                ready.send(self._obey(message, now), lent)
            if ready.closed and ready in self._link.connections:
                self._forget(ready)

    def _forget(self, connection: Connection) -> None:
        self._selector.unregister(connection)
        self._link.connections.remove(connection)
        connection.close()

    def _obey(self, message: dict[str, Any], now: float) -> dict[str, Any]:
        op, descriptors = message.get("op"), message.pop("_descriptors", [])
        try:
            if op == "watchdog":
                return self._feeding.arm(message, descriptors, now)
            if op == "lend-watchdog":  # its agent was stopped, and the next one has not opened it
                return {"op": "watchdog-lent"}
            if op == "configure":
                changed = self._configure(settings.parse(message), now)
                return {"op": "configured", "changed": changed}
            if op == "report":
                self._report(message, now)
                return {"op": "reported"}
            if op == "register-kill":
                self._dead_man.register(message["entries"], now)
                return {"op": "registered", "entries": len(message["entries"])}
            if op == "hold":
                self._dead_man.hold(bool(message["hold"]), now)
                self._publish(now)
                return {"op": "held", "hold": bool(message["hold"])}
            if op == "stretch":
                self._dead_man.stretch(str(message["hold"]), float(message["until"]), now)
                _log("deadline_stretched", hold=message["hold"], until=message["until"])
                self._publish(now)
                return {"op": "stretched"}
            if op == "stop":
                self._stopping = True
                return {"op": "stopping"}
        except (ValueError, KeyError, TypeError, OSError, IndexError) as error:
            _log("message_refused", op=op, reason=str(error))
            return {"op": "refused", "what": op, "reason": str(error)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return {"op": "refused", "what": str(op), "reason": "unknown operation"}

    def _report(self, message: dict[str, Any], now: float) -> None:
        store = message["store"]
        if store not in STORE_STATES:
            raise ValueError(f"report: unknown store state {store!r}")
        self._store, self._reported_at = store, now
        if "proven_at" in message:
            sent_at = message["proven_at"]
            self._dead_man.prove(None if sent_at is None else float(sent_at), 0.0, now)
        elif self._configuration:  # an agent of the version before this one
            until, ttl = message.get("proof_until"), self._configuration.session_ttl
            self._dead_man.prove(None if until is None else float(until), ttl, now)
        if self._told(now) != self._sent:
            self._beat(now)

    def _configure(self, wanted: settings.Configuration, now: float) -> bool:
        """Apply; an equal configuration disturbs nothing. True when something changed."""
        before = self._configuration
        if wanted == before:
            return False
        self._configuration, self._keys = wanted, wanted.key_ring()
        self._dead_man.bind(wanted.boot_id)
        self._feeding.boot_id = wanted.boot_id
        same = before is not None and (before.cluster, before.server, before.boot_id) == (
            wanted.cluster,
            wanted.server,
            wanted.boot_id,
        )
        if self._judge is None or not same:
            self._judge = Judge(wanted.judge_settings(), self._start, now)
            self._tick_at = now
        else:
            if before is not None and wanted.pace != before.pace:
                self._pace, self._settled_at = before, now + _SETTLE_S
            self._judge.configure(self._expected(wanted), now)
            self._tick_at = min(self._tick_at, now + wanted.interval)
        self._bind_paths(wanted)
        _log("pulse_configured", server=wanted.server, paths=sorted(wanted.paths))
        return True

    def _expected(self, wanted: settings.Configuration) -> Settings:
        """What the others are judged by: not all of them have a new pace at the same moment, so for
        a while they are given the slower one, and get the faster one."""
        new = wanted.judge_settings()
        return new if self._pace is None else new.slower(self._pace.judge_settings())

    def _bind_paths(self, wanted: settings.Configuration) -> None:
        problems = self._paths.bind(wanted.paths, wanted.cluster)
        self._dead_man.take_back(self._paths.taken_back())
        kept = [w for w in self._warnings if not w.startswith("path ")]
        self._warnings = kept + [f"path {name}: {text}" for name, text in problems.items()]

    def _upkeep(self, now: float) -> None:
        self._upkeep_at = now + _UPKEEP_EVERY_S
        self._upkeeps += 1
        if self._pace is not None and now >= self._settled_at:
            self._pace = None
            if self._judge is not None and self._configuration is not None:
                self._judge.configure(self._expected(self._configuration), now)
        if self._configuration:
            self._bind_paths(self._configuration)
        if not self._link.is_reachable():
            _log("socket_removed")
            self._stopping = True
        if self._upkeeps % _COLLECT_EVERY == 0:
            gc.collect()  # right after a tick, over what was made since the start only

    # -- messages to the agent ------------------------------------------------------------------

    def _hello(self) -> dict[str, Any]:
        return {
            "op": "hello",
            "schema": SCHEMA,
            "pid": os.getpid(),
            "start": self._start,
            "realtime": self._realtime,
            "locked": self._locked,
            "warnings": self._warnings,
            "configured": self._configuration is not None,
        }

    def _publish(self, now: float) -> None:
        self._view_at = now + VIEW_EVERY_S
        view = self._view(now)
        for connection in list(self._link.connections):
            connection.send(view)
            if connection.closed:
                self._forget(connection)

    def _view(self, now: float) -> dict[str, Any]:
        judge = self._judge
        view: dict[str, Any] = {
            "op": "view",
            "schema": SCHEMA,
            "taken_at": now,
            "start": self._start,
            "warnings": self._warnings,
            "dead_man": self._dead_man.summary(now),
            "deadline": self._configuration.dead_man if self._configuration else 0.0,
            "watchdog": self._watchdog.summary(now),
            "peers": {},
        }
        if judge is None:
            return view
        view["late_ms"] = judge.late(now) * 1000
        view["paused"] = judge.paused(now)
        view["pauses"] = judge.pauses
        view["refused"] = dict(judge.refusals)
        view["path_errors"] = {path.name: dict(path.errors) for path in self._paths}
        view["peers"] = {name: _peer_view(judge, name, p, now) for name, p in judge.peers.items()}
        return view


def _peer_view(judge: Judge, name: str, peer: Peer, now: float) -> dict[str, Any]:
    return {
        "paths": {
            path: {"heard_at": at, "missed": judge.missed(name, path, now)}
            for path, at in peer.heard.items()
        },
        "heard_at": peer.heard_at,
        "suspect": peer.suspect,
        "silent": peer.silent,
        "boot_id": peer.boot_id,
        "sees_silent": sorted(peer.silent_there),
        "sees_suspect": sorted(peer.suspect_there),
        "store": peer.store,
        "agent_alive": peer.agent_alive,
    }


def _log(event: str, **fields: Any) -> None:
    """One JSON line on standard error; a full or closed log never stops heartbeats."""
    try:
        if not select.select([], [sys.stderr], [], 0)[1]:
            return
        line = json.dumps({"event": event, "monotonic": round(time.monotonic(), 3), **fields})
        os.write(sys.stderr.fileno(), line.encode() + b"\n")
    except (OSError, ValueError):
        return
