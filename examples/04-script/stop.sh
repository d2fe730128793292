#!/bin/sh
# Ends the worker, and waits until it is gone.
mkdir -p /run/queue
echo "$CLUSTER_ACTION because of $CLUSTER_FACTOR on $CLUSTER_SERVER" >> /run/queue/history
[ -f /run/queue/pid ] || exit 0
pid=$(cat /run/queue/pid)
kill "$pid" 2>/dev/null
kill -CONT "$pid" 2>/dev/null
while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
rm -f /run/queue/pid
