"""Kernel receive times on our own clock."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.pulse.path import arrival

times = st.floats(-1e9, 1e9, allow_nan=False)


def test_a_datagram_that_waited_arrived_when_the_kernel_got_it() -> None:
    assert arrival(stamp=1000.0, now=50.0, realtime=1000.25, since=40.0) == 49.75


def test_without_a_stamp_it_arrived_now() -> None:
    assert arrival(stamp=None, now=50.0, realtime=1000.0, since=40.0) == 50.0


@given(stamp=times, realtime=times, now=st.floats(0, 1e6), waited=st.floats(0, 1e3))
def test_whatever_the_wall_clock_does_the_arrival_is_since_the_last_drain(
    stamp: float, realtime: float, now: float, waited: float
) -> None:
    since = now - waited
    assert since <= arrival(stamp, now, realtime, since) <= now
