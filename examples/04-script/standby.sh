#!/bin/sh
# On the servers that do not run the worker: here they could fetch what they need to take over.
mkdir -p /run/queue
echo "$CLUSTER_ACTION $CLUSTER_EVENT on $CLUSTER_SERVER, the worker is on ${CLUSTER_OWNER:-no server}" \
    >> /run/queue/standby
