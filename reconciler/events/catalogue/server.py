"""Events: this server. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
    info("agent_started", "version pid boot", "The agent runs."),
    info("agent_stopped", "", "The agent was asked to end. What it started runs on."),
    warning(
        "real_time_refused",
        "reason",
        "The agent got no real-time priority; under load it is slower.",
        "Allow it (CAP_SYS_NICE), or use the timing profile `no-realtime`.",
    ),
    info(
        "server_held",
        "server until who why",
        "Its agent may be away until then: its pulse waits that long before it ends what runs.",
    ),
    info("server_hold_ended", "server reason", "The pulse has its short deadline again."),
    info("pulse_started", "pid", "The agent started the process that sends heartbeats."),
    info("pulse_heard", "", "The pulse reports again."),
    error(
        "pulse_lost",
        "",
        "The pulse does not report. Nothing is started here until it does.",
        "It is started again by itself. If not, read the agent's log.",
    ),
    warning(
        "pulse_unreachable",
        "reason",
        "No connection to the pulse.",
        "See `pulse_lost`.",
        retried=True,
    ),
    error(
        "pulse_hung",
        "pid killed",
        "The pulse stood still for too long and was killed; a new one is started.",
        "Look for heavy load, or a machine that was paused.",
    ),
    error(
        "pulse_refused",
        "what reason",
        "The pulse did not accept what the agent told it.",
        "Report it with the agent's log.",
    ),
    warning(
        "pulse_paused",
        "late_ms",
        "The pulse, and probably the whole machine, stood still for a while.",
        "Frequent ones call for slower timings or a less loaded machine.",
    ),
    warning("pulse_warned", "warning", "The pulse runs, with less than it asked for.", "Read it."),
    error(
        "dead_man_fired",
        "outcomes",
        "This server was unproven for too long: isolated, or without the store and groups with "
        "`onStoreLoss: stop`. The pulse ended what it must not run.",
        "Repair the networks or the store; the server comes back by itself.",
    ),
    info(
        "watchdog_armed",
        "timeout_s",
        "The hardware watchdog resets this machine when the pulse does not feed it for so long.",
    ),
    error(
        "watchdog_failed",
        "error",
        "The hardware watchdog of this server's spec is not fed: it cannot be opened, or refuses.",
        "Is the device there and free (`wdctl`)? Nothing else may use it, systemd included.",
        retried=True,
    ),
    error(
        "machine_action_taken",
        "action reason",
        "A final action of a monitor or a group on this server begins.",
        "Repair what failed; after some of them in a while `clusterctl clear server/NAME`.",
    ),
    warning(
        "machine_action_suppressed",
        "action reason",
        "A final action on this server is due and not taken.",
        "Read the reason; what failed runs badly, or not at all, until a person acts.",
        retried=True,
    ),
    warning(
        "power_cycle_failed",
        "error",
        "This server could not switch itself off and on by its own fence device.",
        "It resets itself instead. `clusterctl fence test SERVER`.",
    ),
    error(
        "machine_reset",
        "reason",
        "This machine resets itself: it could not stop what it must not run, or the final "
        "action of a monitor says so.",
        "After the restart read the events before this one.",
    ),
    error(
        "machine_reset_refused",
        "reason error",
        "This machine must reset itself and cannot. What could not be stopped may still run.",
        "Switch the machine off by hand, then `clusterctl fence confirm SERVER`.",
    ),
    error(
        "remembered_unreadable",
        "group resource error",
        "What ran here before the agent's restart is not understood any more. It is stopped by "
        "its name, and started anew if its group belongs here.",
        "Nothing, after a change of version; else report it with the agent's log.",
    ),
    warning(
        "kill_list_failed",
        "error",
        "The pulse could not be told what to end in an emergency; it keeps the last list.",
        "Read the error; it is tried again.",
        retried=True,
    ),
    error(
        "pulse_not_configured",
        "error",
        "The cluster key cannot be read; the pulse goes on with what it has, if anything.",
        "Restore /etc/clusterctl/cluster.key from another server and restart the agent.",
    ),
    warning(
        "facts_not_published",
        "error",
        "This server could not measure itself, or not publish it: `clusterctl doctor` is blind.",
        "Is the state directory writable, and has the store a majority?",
        retried=True,
    ),
)
