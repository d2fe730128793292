"""First process of a guest after its initramfs: runs what the test asks for, and nothing else.

Standard library only. One JSON object a line over a virtio port: {"number", "argv", "input",
"timeout"} in; {"number", "code", "output"} out, in any order. `guest.py` is the other end.
"""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

PORT = "clusterctl"


def _words() -> dict[str, str]:
    pairs = (word.partition("=") for word in Path("/proc/cmdline").read_text().split())
    return {key: value for key, equals, value in pairs if equals}


def _prepare(words: dict[str, str]) -> None:
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", LANG="C.UTF-8")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.chdir("/")
    name = words["name"]
    for command in (
        f"hostname {name}",
        "ip link set lo up",
        f"ip address add {words['address']}/24 dev eth0",
        "ip link set eth0 up",
        "modprobe -a configfs loop",
        "mount -t configfs configfs /sys/kernel/config",
        "mount -t debugfs debugfs /sys/kernel/debug",
        "mkdir -p /dev/shm /dev/pts /run/lock /etc/target/pr /run/udev",
        "mount -t devpts devpts /dev/pts",
    ):
        subprocess.run(command.split(), check=False)
    Path("/etc/hostname").write_text(f"{name}\n")
    Path("/etc/fstab").write_text("")


def _port() -> int:
    while True:
        for found in Path("/sys/class/virtio-ports").glob("*"):
            if (found / "name").read_text().strip() == PORT:
                return os.open(f"/dev/{found.name}", os.O_RDWR)
        time.sleep(0.02)


def _run(order: dict[str, object], port: int, lock: threading.Lock) -> None:
    code, output = _done(order)
    answer = {"number": order["number"], "code": code, "output": output}
    line = json.dumps(answer).encode() + b"\n"
    with lock:
        while line:
            line = line[os.write(port, line) :]


def _done(order: dict[str, object]) -> tuple[int, str]:
    argv, text = order["argv"], str(order["input"]).encode()
    try:
        child = subprocess.Popen(  # type: ignore[call-overload]
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 127, f"{error.filename}: {error.strerror}"
    try:
        output, _ = child.communicate(text, timeout=float(str(order["timeout"])))
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        try:
            output, _ = child.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            return 124, "(it does not die)"
        return 124, output.decode(errors="replace")
    return child.returncode, output.decode(errors="replace")


def main() -> None:
    _prepare(_words())
    port, lock = _port(), threading.Lock()
    rest = b""
    while True:
        got = os.read(port, 65536)
        if not got:
            time.sleep(0.02)  # nobody is connected yet
            continue
        *lines, rest = (rest + got).split(b"\n")
        for line in lines:
            order = json.loads(line)
            threading.Thread(target=_run, args=(order, port, lock), daemon=True).start()


if __name__ == "__main__":
    main()
