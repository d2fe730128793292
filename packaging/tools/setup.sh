#!/bin/sh
# Makes this checkout ready to run: Debian packages, a virtual environment, etcd. Called by every
# target of the Makefile; does nothing (and needs no network) when all of it is there already.
#
# No service is started: etcd is unpacked into .tools, and a temporary policy-rc.d forbids what
# other packages might start.
#
#   setup.sh [long|guest|data|bench]  long: also what only the long tests need; guest: what tests/guests
#                               needs; data: the database of examples/03-postgres-mirror; bench:
#                               what only the benchmarks need
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=$root/.venv
tools=$root/.tools
stamp=$venv/.ready
wish=${1:-}
updated=

say() { printf '%s\n' "setup: $*" >&2; }

die() {
  say "$1"
  exit "${2:-1}"
}

fingerprint() {
  cat "$root/pyproject.toml" "$0" | sha256sum | cut -d' ' -f1
}

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

update_lists() {
  [ -z "$updated" ] || return 0
  updated=yes
  if [ "$(id -u)" = 0 ]; then apt-get update -q >&2; fi
}

install_packages() {
  command -v apt-get >/dev/null || die "these programs are missing, install them: $*"
  [ "$(id -u)" = 0 ] || die "packages are missing; next: sudo apt-get install -y --no-install-recommends $*" 8
  say "installing $*"
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  else
    policy=
  fi
  update_lists
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
  if [ -n "$policy" ]; then
    rm -f $policy
    trap - EXIT INT TERM
  fi
}

# program:package
missing_packages() {
  for pair in ip:iproute2 nft:nftables nsenter:util-linux ipmi_sim:openipmi ipmitool:ipmitool; do
    have "${pair%%:*}" || printf '%s ' "${pair##*:}"
  done
  if [ "$wish" = bench ]; then
    have fio || printf 'fio '
  fi
  case $wish in long | data | bench) have mkfs.ext4 || printf 'e2fsprogs ' ;; esac
  [ "$wish" = long ] || return 0
  for pair in systemd-nspawn:systemd-container dbus-daemon:dbus; do
    have "${pair%%:*}" || printf '%s ' "${pair##*:}"
  done
}

unpack_etcd() {
  for pair in etcd:etcd-server etcdctl:etcd-client; do
    program=${pair%%:*}
    if have "$program" || [ -x "$tools/usr/bin/$program" ]; then continue; fi
    command -v apt-get >/dev/null || die "$program is missing: put it on PATH"
    say "unpacking ${pair##*:} into .tools"
    directory=$(mktemp -d)
    if ! (cd "$directory" && apt-get download -q "${pair##*:}" >/dev/null 2>&1); then
      update_lists
      (cd "$directory" && apt-get download -q "${pair##*:}" >&2) ||
        die "can not download ${pair##*:}; is the network there? next: apt-get update"
    fi
    mkdir -p "$tools"
    dpkg -x "$directory"/*.deb "$tools"
    rm -rf "$directory"
  done
}

have_postgres() {
  set -- /usr/lib/postgresql/*/bin/initdb
  [ -x "$1" ]
}

# The package would make a database of its own and start it: neither is wanted.
install_postgres() {
  have_postgres && return 0
  common=/etc/postgresql-common
  if [ "$(id -u)" = 0 ] && [ ! -e $common/createcluster.conf ]; then
    mkdir -p $common
    echo "create_main_cluster = false" >$common/createcluster.conf
  fi
  install_packages postgresql
}

usable() {
  "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for name in python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && usable "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

make_venv() {
  if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null; then return 0; fi
  python=$(find_python) || {
    install_packages python3 python3-venv
    python=$(find_python) || die "Python 3.11 or newer is needed"
  }
  say "making .venv with $python"
  rm -rf "$venv"
  "$python" -m venv "$venv"
}

packages=$(missing_packages)
# shellcheck disable=SC2086
[ -z "$packages" ] || install_packages $packages
unpack_etcd
case $wish in long | data) install_postgres ;; esac
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ]; then
  make_venv
  say "installing Python packages"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore \
    -e "$root[dev]" || die "pip could not install the packages named in pyproject.toml"
  "$venv/bin/python" -m compileall -q "$root/specs" "$root/reconciler" "$root/clusterctl" || true
  fingerprint >"$stamp"
fi
[ "$wish" != guest ] || sh "$root/packaging/tools/guest.sh"
