"""What a server has on disks, read out of a made-up tree, and out of this machine's."""

from pathlib import Path

import pytest

from reconciler.adapters.linux.storage import storage
from reconciler.decide.storage_facts import FreeSpace, StorageFacts


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str, *lines: str) -> "Tree":
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        return self

    def disk(self, name: str, number: str, size: int, *links: str, **udev: str) -> "Tree":
        self.text(f"sys/class/block/{name}/size", str(size // 512))
        self.text(f"sys/class/block/{name}/dev", number)
        self.text(f"run/udev/data/b{number}", *(f"E:{k}={v}" for k, v in udev.items()))
        for link in links:
            path = self.root / "dev" / link
            path.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * link.count("/")
            path.symlink_to(f"{up}{name}")
        return self


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.disk("sda", "8:0", 1 << 30, "disk/by-id/ata-ONE")
    made.disk("sdb", "8:16", 2 << 30, "disk/by-id/ata-TWO", ID_FS_TYPE="LVM2_member")
    made.disk("sdc", "8:32", 2 << 30, ID_FS_UUID="abc")
    made.disk("sdd", "8:48", 2 << 30)
    made.disk("dm-0", "253:0", 1 << 20, "mapper/vg0-data", "vg0/data")
    made.disk("dm-1", "253:1", 1 << 20, "mapper/vg0-root", "vg0/root")
    made.disk("loop0", "7:0", 1 << 20)
    made.text("sys/class/block/sda/sda1/partition", "1")
    made.text(
        "proc/self/mountinfo", "1 0 253:1 / / rw - ext4 /dev/mapper/vg0-root rw", "broken line"
    )
    made.text("proc/swaps", "Filename Type", "/dev/sdd partition 1 0 -2")
    made.text("etc/fstab", "# comment", "UUID=abc /backup ext4 defaults 0 2", "proc /proc proc x")
    return made


def test_each_device_is_known_by_all_names_and_by_what_uses_it(tree: Tree) -> None:
    found = storage(tree.root)
    assert {d.names[0]: d.use for d in found.devices} == {
        "/dev/sda": "divided into partitions",
        "/dev/sdb": "a physical volume of LVM",
        "/dev/sdc": "in /etc/fstab for /backup",
        "/dev/sdd": "swap space",
        "/dev/dm-0": "",
        "/dev/dm-1": "the root file system",
    }
    data = found.device("/dev/vg0/data")
    assert data is not None
    assert (data.names[0], data.size) == ("/dev/dm-0", 1 << 20)
    assert "/dev/mapper/vg0-data" in data.names
    assert found.device("/dev/vg0/other") is None
    assert found.fstab == ("/backup", "/proc")
    assert [f.directory for f in found.free] == ["/"]


def test_free_space_is_that_of_the_innermost_file_system() -> None:
    free = (FreeSpace(directory="/", free=1), FreeSpace(directory="/var/lib", free=2))
    facts = StorageFacts(free=free)
    assert facts.free_at("/var/lib/data.img") == 2
    assert facts.free_at("/var/library") == 1
    assert StorageFacts().free_at("/x") is None


def test_this_machine_can_be_asked() -> None:
    assert isinstance(storage(), StorageFacts)
    assert storage(Path("/nonexistent")) == StorageFacts()
