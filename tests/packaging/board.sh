#!/bin/sh
# The main board of one server of test_installed.py: `board.sh DIRECTORY/servers/NAME COMMAND`.
#
#   get WORD...            what ipmi_sim asks ("power:1")
#   set WORD VALUE         what ipmi_sim wants: power 0|1, reset 1, shutdown 1
#   crash                  all ends at once, the BMC still says on
#   live                   boots again as often as the server reboots itself (started by `set`)
#
# settings (in DIRECTORY/settings): CGROUP, NUMBER, ROOT. Runs in the test's own mount, network and
# PID namespaces. A boot has a network namespace of its own, so addresses end with the power.
set -eu
directory=$1 operation=$2
shift 2
name=${directory##*/}
. "$directory/settings"
bit=$directory/power.bit

stop() {
  ip link set "pub-$name" down 2>/dev/null || true
  ip link set "priv-$name" down 2>/dev/null || true
  [ -d "$CGROUP" ] || return 0
  while grep -q 'populated 1' "$CGROUP/cgroup.events"; do
    echo 1 >"$CGROUP/cgroup.kill"
    sleep 0.005
  done
}

start() {
  stop
  echo 1 >"$bit"
  setsid /bin/sh "$0" "$directory" live </dev/null >>"$directory/board.log" 2>&1 &
}

plug() { # NETWORK INTERFACE ADDRESS INDEX
  ip link del "$1-$name" 2>/dev/null || true
  ip link add "$1-$name" address "02:78:0$4:00:00:1$NUMBER" type veth \
    peer name "$2" address "02:78:0$4:00:00:0$NUMBER" netns "installed-$name"
  ip link set "$1-$name" master "$1" up
  ip -n "installed-$name" address add "$3" dev "$2"
  ip -n "installed-$name" link set "$2" up
}

live() {
  mkdir -p "$CGROUP"
  echo $$ >"$CGROUP/cgroup.procs"
  while true; do
    find "$CGROUP" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
    ip netns del "installed-$name" 2>/dev/null || true
    ip netns add "installed-$name"
    ip -n "installed-$name" link set lo up
    plug priv eth0 "10.77.1.1$NUMBER/24" 1
    plug pub eth1 "10.77.2.1$NUMBER/24" 2
    code=0
    nsenter --net="/run/netns/installed-$name" systemd-nspawn -q -D "$ROOT" -b --register=no \
      --keep-unit --machine="$name" --hostname="$name" --console=pipe --capability=all \
      --resolv-conf=off --timezone=off --link-journal=no || code=$?
    [ $code = 133 ] || break # the server rebooted itself
  done
  [ $code != 0 ] || echo 0 >"$bit" # it switched itself off; anything else is a crash
}

case $operation in
  get)
    for word in "$@"; do
      case $word in
        power) echo "power:$(cat "$bit")" ;;
        boot) echo boot:none ;;
        *) echo "$word:0" ;;
      esac
    done
    ;;
  set)
    while [ $# -gt 1 ]; do
      case "$1 $2" in
        "power 1") [ "$(cat "$bit")" = 1 ] || start ;;
        "power 0" | "shutdown "*)
          stop
          echo 0 >"$bit"
          ;;
        "reset "*) start ;;
      esac
      shift 2
    done
    ;;
  crash) stop ;;
  live) live ;;
esac
