#!/bin/sh
# Starts the worker, unless it runs already. The cluster may run this again at any time.
set -eu
mkdir -p /run/queue
echo "$CLUSTER_ACTION $CLP_EVENT on $CLUSTER_SERVER ($CLP_SERVER), before on" \
    "${CLUSTER_PREVIOUS_OWNER:-no server}, epoch $CLUSTER_EPOCH" | tee -a /run/queue/history
if [ -f /run/queue/pid ] && kill -0 "$(cat /run/queue/pid)" 2>/dev/null; then
    exit 0
fi
date +%s > /run/queue/beat
# What is left running here belongs to the resource, and ends with it at the latest.
setsid sh -c 'while sleep 1; do date +%s > /run/queue/beat; done' &
echo $! > /run/queue/pid
