#!/bin/bash
# Study @NAME@: the tables, when the shards have ended, however they ended:
#   bash collect.sh [JOB]
# Without JOB: of what there is now.
set -euo pipefail
cd @DIRECTORY@
# A job with a failed task must not keep the collector from saying what is missing.
[ $# = 0 ] || hq job wait "$1" || true
exec @PROGRAM@ study collect @STUDY@ \
    --out @OUT@
