"""The texts that keep this server's hands off the cluster's disks at boot: rules for udev, a filter
for LVM. Pure; `commands/volume` writes them.

A disk of the cluster is not scanned, assembled, activated or mounted by itself. Its names in
/dev/disk stay, and an explicit `mount` works: that is what the agent does.
"""

import re
from collections.abc import Iterable

from specs.resource import Use

UDEV_RULES = "etc/udev/rules.d/63-clusterctl-gate.rules"
"""After 60, which finds out what is on a disk, and before 64, where that is acted upon."""

LVM_CONFIG = "etc/lvm/lvmlocal.conf"
BEGIN, END = "# begin: clusterctl volume gate", "# end: clusterctl volume gate"
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)
_FILTER = re.compile(r"^\s*(?:devices/)?global_filter\s*=", re.MULTILINE)
_SAFE = re.compile(r"^/dev/[A-Za-z0-9@%+:=._/-]+$")
_KERNEL_NAME = re.compile(r"^/dev/(?:sd|vd|xvd|hd|nvme|loop|dm-|md|zd|rbd|drbd)[A-Za-z0-9]*$")


class NotGated(ValueError):
    """The files cannot say what is wanted; one sentence."""


def devices_of(resources: Iterable[object]) -> list[str]:
    """Block devices that resources use, in order. `resources` have `uses()` (`specs.resource`)."""
    found = set()
    for spec in resources:
        uses: Iterable[Use] = getattr(spec, "uses", tuple)()
        found |= {use.name for use in uses if use.name.startswith("/dev/")}
    return sorted(found)


def udev_rules(devices: Iterable[str]) -> str:
    """Empty without a device. Raises `NotGated` for a name that no rule can hold."""
    lines = [_match(device) for device in devices]
    if not lines:
        return ""
    return "\n".join(
        [
            "# Written by `clusterctl volume gate`: only the cluster's agent uses these disks.",
            'SUBSYSTEM!="block", GOTO="clusterctl_gate_end"',
            *lines,
            'GOTO="clusterctl_gate_end"',
            'LABEL="clusterctl_gate"',
            'ENV{ID_FS_TYPE}="", ENV{ID_FS_USAGE}=""',
            'ENV{UDISKS_IGNORE}="1", ENV{SYSTEMD_READY}="0"',
            'LABEL="clusterctl_gate_end"',
            "",
        ]
    )


def _match(device: str) -> str:
    if not _SAFE.match(device):
        raise NotGated(f"{device!r} cannot be written into a rule of udev")
    name = device.removeprefix("/dev/")
    key = "KERNEL" if _KERNEL_NAME.match(device) else "SYMLINK"
    return f'{key}=="{name}", GOTO="clusterctl_gate"'


def lvm_config(devices: Iterable[str], found: str) -> str:
    """`found`, the file as it is, with our block in it; without a device our block goes. Raises
    `NotGated` when the file has a filter of its own: there can be one only."""
    rest = _BLOCK.sub("", found)
    rejected = [_rejection(device) for device in devices]
    if not rejected:
        return rest
    if _FILTER.search(_without_comments(rest)):
        raise NotGated(
            f"it has a global_filter of its own: add {', '.join(rejected)} to it, first in the list"
        )
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{BEGIN}\ndevices/global_filter = [ {', '.join(rejected)} ]\n{END}\n"


def _rejection(device: str) -> str:
    if not _SAFE.match(device):
        raise NotGated(f"{device!r} cannot be written into a filter of LVM")
    return f'"r|^{re.escape(device)}$|"'


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text.splitlines())
