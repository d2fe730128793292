#!/bin/sh
# A worker that stands still may only need a push.
echo "$CLP_ACTION $CLP_RECOVERYCOUNT for $CLP_MONITORNAME: $CLUSTER_REASON" >> /run/queue/history
kill -CONT "$(cat /run/queue/pid)"
