#!/bin/sh
# A plain command, for `protocol = "none"`: it knows nothing of Frontdesk. Everything that it prints is its log, and
# its exit status is the session's outcome: 0 is completed, anything else is failed.

echo "working for session $FRONTDESK_SESSION"
sleep "${WORK_SECONDS:-5}"
echo "done"
