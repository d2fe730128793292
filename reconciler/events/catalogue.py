"""Every event that this package emits. Whoever emits a new name adds its entry here."""

from collections.abc import Mapping

from reconciler.events.entry import EventType, error, info, warning

_READ_STATUS = "Run `clusterctl status`: it shows the reason and the next command."
_STORE_AWAY = "Once is no harm. If it goes on, look at etcd on the servers: is there a majority?"

SECTIONS: Mapping[str, tuple[EventType, ...]] = {
    "Groups": (
        info(
            "group_granted",
            "group server epoch previous_owner proof reason candidates",
            "The coordinator gave the group to a server, at a new epoch.",
        ),
        info(
            "group_online",
            "group epoch duration_ms",
            "All wanted resources of the group run on its owner.",
        ),
        info(
            "group_release_requested",
            "group server epoch reason",
            "The owner was asked to stop the group and to give it up (a move, stop or failback).",
        ),
        info(
            "group_stopped",
            "group epoch reason duration_ms",
            "Every resource of the group was seen stopped on this server.",
        ),
        info(
            "group_released",
            "group epoch reason",
            "The owner gave up this epoch for good; another server may have the group.",
        ),
        warning(
            "group_parked",
            "group epoch reason",
            "Nobody owns the group now, and it will not start by itself.",
            "If nobody asked for it: `clusterctl describe group/NAME`, then `clusterctl clear` or "
            "`start`.",
        ),
        info(
            "group_stop_requested",
            "group",
            "The group has no spec any more, so its owner was asked to stop it.",
        ),
        info("group_removed", "group", "A group without a spec was given up by its owner."),
        info(
            "group_judged",
            "group phase reasons",
            "The coordinator changed its word on a group that is not simply running.",
            _READ_STATUS,
        ),
        error(
            "group_failed",
            "group epoch reason",
            "A resource could not be started, or died too often; the group leaves this server.",
            "Read the reason, then `clusterctl describe group/NAME`.",
        ),
        error(
            "group_stop_failed",
            "group reason",
            "A resource could not be stopped. If the group must leave, this server resets itself.",
            "Find out on the server why the resource does not stop.",
        ),
        info(
            "activation_waits",
            "group epoch reason",
            "A start was held back because this server may not start the group right now.",
            retried=True,
        ),
    ),
    "Resources": (
        info("resource_started", "group resource epoch duration_ms", "The start was successful."),
        info("resource_stopped", "group resource epoch duration_ms", "It was seen stopped."),
        warning(
            "resource_start_failed",
            "group resource epoch reason",
            "One try to start it failed; `activationRetries` says how many more follow.",
            "Read the reason. The output of an application is in its run directory.",
        ),
        error(
            "resource_stop_failed",
            "group resource epoch reason",
            "One try to stop it failed; `deactivationRetries` says how many more follow.",
            "Read the reason; a resource that never stops makes its server reset itself.",
        ),
        warning(
            "resource_drifted",
            "group resource state reason",
            "It is not as it should be any more: it died, or somebody changed it by hand.",
            "It is restarted in place as long as `restarts` allows. Find out who did it.",
        ),
        info(
            "resources_stopped",
            "group resources",
            "The list of resources that an operator keeps stopped in a running group changed.",
        ),
        warning(
            "resources_restarted",
            "group resources reason",
            "They are stopped and started again in place, because a monitor asked for it.",
            "Read the reason, then `clusterctl describe monitor/NAME`.",
        ),
        warning(
            "resource_upkeep_failed",
            "resource reason",
            "The periodic work for a running resource ended with a fault of the program.",
            "Report it with the agent's log. The resource itself runs on.",
        ),
        warning(
            "announcement_failed",
            "resource reason",
            "A floating address could not be announced; clients may stay with the old server.",
            "Look at the interface on its owner. It is tried again.",
            retried=True,
        ),
    ),
    "Monitors": (
        info(
            "monitor_suspected",
            "monitor target reason",
            "A probe failed; `retry` says how many may fail before it is a fault.",
        ),
        warning(
            "monitor_faulted",
            "monitor target reason",
            "Too many probes in a row failed; what follows is in the monitor's `recovery`.",
            "Read the reason. `clusterctl describe monitor/NAME` shows the last output.",
        ),
        info("monitor_recovered", "monitor target reason", "The probe is healthy again."),
        warning(
            "monitor_delayed",
            "monitor target duration_ms timeout_ms",
            "A probe was healthy, but took a large part of its time-out (`delayWarning`).",
            "Find out what is slow before the probe runs out of time.",
            retried=True,
        ),
        warning(
            "monitor_probe_unknown",
            "monitor target reason",
            "The probe could not be made. It counts neither as healthy nor as a failure.",
            "Read the reason: the monitor does not watch anything until this is repaired.",
            retried=True,
        ),
        warning(
            "recovery_started",
            "monitor target step groups restarts failovers reason",
            "A faulty monitor takes its next step; the counts include it.",
            "Find out why the service failed.",
        ),
        warning(
            "recovery_waits",
            "monitor target reason",
            "The next step of a faulty monitor cannot be taken now.",
            "Read the reason. It is taken as soon as that is over, if the probe fails still.",
        ),
        error(
            "monitor_parked",
            "monitor target action",
            "All steps of the recovery were taken; the monitor goes on probing, nothing more.",
            "Repair the service. Healthy probes (`resetAfter`) make the monitor act again.",
        ),
        error(
            "monitor_broke",
            "monitor error",
            "A monitor ended with a fault of the program; it starts again after a minute.",
            "Report it with the agent's log.",
        ),
    ),
    "Servers as others hear them": (
        warning(
            "server_suspected",
            "server",
            "At least two heartbeats are missing on every path.",
            "Often a pause or a loaded machine; frequent ones call for slower timings.",
        ),
        error(
            "server_silent",
            "server",
            "The promised number of heartbeats is missing on every path, as seen from here.",
            _READ_STATUS,
        ),
        info("server_heard", "server", "Heartbeats of the server come again."),
        warning(
            "server_challenged",
            "server",
            "A suspected server was asked to answer through the store.",
            "Nothing yet: a living server answers within the challenge timeout.",
        ),
        info("challenge_answered", "nonce", "This server was asked whether it lives, and said so."),
        warning(
            "challenge_answer_failed",
            "error",
            "This server could not write its answer to a challenge; it tries again.",
            "If it does not succeed in time, this server may be fenced. Look at etcd.",
            retried=True,
        ),
        error(
            "server_not_in_specs",
            "name",
            "The applied specs have no Server of this agent's name, so it sends no heartbeats.",
            "Apply a Server object with the name in the agent's configuration.",
        ),
    ),
    "Fencing": (
        warning(
            "fence_requested",
            "server executor level attempt why",
            "A server is to be powered off; the slot for one fence at a time is taken.",
            "Nothing; look whether `fence_confirmed` follows.",
        ),
        info(
            "fence_executed",
            "server outcome detail duration_ms",
            "The executor's own result, before it is stored.",
        ),
        warning(
            "fence_confirmed",
            "server executor outcome detail attempt duration_ms",
            "The server is proven off; its groups may move.",
            "Find out why it had to be fenced.",
        ),
        error(
            "fence_failed",
            "server executor outcome detail attempt duration_ms",
            "The power-off is not proven; nothing is taken over. It is tried again, by other "
            "servers and levels first.",
            "Read the detail. If the server is surely off: `clusterctl fence confirm SERVER`.",
        ),
        warning(
            "fence_confirmed_by_person",
            "server who",
            "A person swore that the server is off; its groups may move.",
            "Nothing, if it was you.",
        ),
        warning(
            "fence_prepare_failed",
            "server error",
            "The session to the fence device could not be opened early; only time is lost.",
            "Read the error; `clusterctl fence test SERVER` shows whether the device works.",
            retried=True,
        ),
        info("fence_test_passed", "server level detail", "The fence device answers as it should."),
        error(
            "fence_test_failed",
            "server level detail",
            "The fence device could not be used from this server: a fence would fail now.",
            "Read the detail and repair it before the device is needed.",
        ),
        info(
            "store_leader_moved",
            "to",
            "The store's lead was handed to a server without groups: no owner's crash costs an "
            "election.",
        ),
        warning(
            "store_leader_kept",
            "to error",
            "The store's lead could not be handed over; a crash of its server costs an election.",
            "Look at `clusterctl status`: does every member of the store answer?",
        ),
        info(
            "server_powered_on",
            "server",
            "A fenced server is switched on again, once (`afterFence: on`).",
        ),
        warning(
            "server_power_on_failed",
            "server attempt error",
            "The fence device did not switch the fenced server on.",
            "Switch it on by hand.",
        ),
    ),
    "Coordinator and operations": (
        info("coordinator_taken", "server", "This server decides for the cluster from now on."),
        warning(
            "coordinator_deposed",
            "server",
            "A silent coordinator lost its place, together with the request to fence it.",
            "Nothing; see `fence_requested`.",
        ),
        info("operation_started", "operation kind target who", "An operator's wish is under way."),
        info("operation_finished", "operation kind target result who", "A wish was fulfilled."),
        warning(
            "operation_failed",
            "operation kind target result who",
            "A wish was refused, or could not be fulfilled.",
            "Read the result.",
        ),
        error(
            "effect_failed",
            "effect error",
            "Something that was to be done ended with a fault of the program.",
            "Report it with the agent's log.",
        ),
    ),
    "Store and sessions": (
        info("session_created", "incarnation boot_id", "This agent has a session in the store."),
        error(
            "session_lost",
            "reason",
            "This agent's session has ended. What runs goes on; nothing new is started.",
            "It is created again by itself. If not, look at etcd.",
        ),
        warning(
            "session_renewal_failed",
            "error",
            "The session could not be created or renewed; it is tried again.",
            _STORE_AWAY,
            retried=True,
        ),
        warning("store_watch_stale", "reason", "The store is silent.", _STORE_AWAY, retried=True),
        warning(
            "store_read_failed", "error", "A read of the store failed.", _STORE_AWAY, retried=True
        ),
        warning(
            "store_write_failed",
            "error",
            "A write did not happen; it is decided anew.",
            _STORE_AWAY,
            retried=True,
        ),
        warning(
            "store_write_unknown",
            "error",
            "A write had no answer. The store is read again before anything else is decided.",
            _STORE_AWAY,
            retried=True,
        ),
        warning(
            "status_write_failed",
            "error",
            "This server's status was not stored.",
            _STORE_AWAY,
            retried=True,
        ),
        error(
            "record_unreadable",
            "key error",
            "A record in the store could not be understood; it is not taken for absent.",
            "Look whether all servers run versions that understand each other.",
        ),
        info("specs_read", "revision", "This server works with a new revision of the specs."),
        warning(
            "specs_read_failed", "error", "The specs could not be read.", _STORE_AWAY, retried=True
        ),
        error(
            "specs_refused",
            "error",
            "The newest specs are not valid for this agent; the last ones stay in force.",
            "`clusterctl rollback`, or bring this agent to the version that wrote them.",
        ),
    ),
    "This server": (
        info("agent_started", "version pid boot", "The agent runs."),
        info("agent_stopped", "", "The agent was asked to end. What it started runs on."),
        warning(
            "real_time_refused",
            "reason",
            "The agent got no real-time priority; under load it is slower.",
            "Allow it (CAP_SYS_NICE), or use the timing profile `no-realtime`.",
        ),
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
        warning(
            "pulse_warned", "warning", "The pulse runs, with less than it asked for.", "Read it."
        ),
        error(
            "dead_man_fired",
            "outcomes",
            "This server was isolated for too long; the pulse ended everything that ran here.",
            "Repair the networks; the server comes back by itself.",
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
    ),
}
