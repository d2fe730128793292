"""Events: fencing. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
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
        "fence_abandoned",
        "server executor attempt",
        "The executor of a fence never told its end, and its time is over; it counts as not tried.",
        "Nothing, if the executor died, too.",
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
        "server level error",
        "The fence device did not switch the fenced server on; it is tried again a few times.",
        "Look at `clusterctl fence test`.",
    ),
    warning(
        "server_stays_off",
        "server tries",
        "A fenced server could not be switched on again (`afterFence: on`); it is not tried any "
        "more.",
        "Look at `clusterctl fence test`, then `clusterctl fence on SERVER`, or switch it on by "
        "hand.",
    ),
)
