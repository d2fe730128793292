#!/bin/sh
# Makes the database at the first start ever, and says where this server's PostgreSQL is.
set -eu
umask 022
bin=$(find /usr/lib/postgresql -name initdb -exec dirname {} \; | sort -V | tail -n 1)
[ -n "$bin" ] || { echo "no PostgreSQL below /usr/lib/postgresql" >&2; exit 1; }
mkdir -p /run/db
ln -sfn "$bin" /run/db/bin

data=/var/lib/db/data
if [ ! -s $data/PG_VERSION ]; then
    # Under another name until it is whole: a server may lose its power right here.
    rm -rf $data.new
    install -d -o postgres -g postgres -m 0700 $data.new
    setpriv --reuid=postgres --regid=postgres --init-groups \
        "$bin/initdb" -D $data.new --auth=trust --encoding=UTF8 --locale=C >/dev/null
    # For the lab's clients; on real servers passwords and TLS belong here.
    echo 'host all all 10.77.2.0/24 trust' >>$data.new/pg_hba.conf
    mv $data.new $data
    sync
fi
# Of a server that lost power. Nobody else runs on this disk: the cluster sees to that.
rm -f $data/postmaster.pid
