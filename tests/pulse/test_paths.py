"""Which heartbeats wake the pulse."""

import selectors
import socket

from reconciler.pulse.paths import Paths
from reconciler.pulse.settings import PathSettings


def woken(selector: selectors.BaseSelector) -> bool:
    return bool(selector.select(0.5))


def test_a_datagram_wakes_only_who_listens_and_is_kept_for_who_does_not() -> None:
    with selectors.DefaultSelector() as selector, socket.socket(type=socket.SOCK_DGRAM) as sender:
        paths = Paths(selector)
        free = socket.socket(type=socket.SOCK_DGRAM)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = PathSettings("127.0.0.1", port, {"n2": ("127.0.0.1", 9)})
        assert paths.bind({"private": settings}, "demo") == {}
        paths.listen(wanted=False)
        sender.sendto(b"beat", ("127.0.0.1", port))
        assert not woken(selector)
        paths.listen(wanted=True)
        assert woken(selector)
        paths.listen(wanted=False)
        assert paths.bind({}, "demo") == {}
        paths.close()
