"""The guests themselves: they boot, run programs, and die as machines do."""

from tests.guests.conftest import Pair
from tests.guests.marks import guest_test

pytestmark = guest_test


def test_programs_run_inside_with_debians_kernel_and_this_checkout(pair: Pair) -> None:
    release = pair.one.run("uname", "-r")
    assert release.strip().endswith("-amd64")
    assert pair.one.run("hostname").strip() == "n1"
    assert pair.two.run("cat", stdin="text") == "text"
    assert pair.one.attempt("false").code == 1
    assert pair.one.attempt("sleep", "100", timeout_s=0.2).code == 124
    assert pair.one.attempt("no-such-program").code == 127
    pair.one.run("test", "-b", "/dev/vda")


def test_what_was_not_flushed_is_gone_after_a_power_loss(pair: Pair) -> None:
    pair.two.shell("mkfs.ext4 -q /dev/vda; mkdir /mnt/t; mount /dev/vda /mnt/t")
    pair.two.shell("echo kept >/mnt/t/kept; sync; echo lost >/mnt/t/lost")
    pair.two.power_off()
    assert not pair.two.is_up
    pair.two.start()
    pair.two.wait().shell("mkdir /mnt/t; mount /dev/vda /mnt/t")
    assert pair.two.run("cat", "/mnt/t/kept").strip() == "kept"
    assert pair.two.attempt("cat", "/mnt/t/lost").output.strip() != "lost"
