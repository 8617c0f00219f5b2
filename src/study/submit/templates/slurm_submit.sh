#!/bin/bash
# Study @NAME@: submits the shards, and the collector to follow them.
set -euo pipefail
cd @FOLDER@
shards=$(sbatch --parsable shards.sh)
# afterany: after a task that failed, afterok would wait for ever.
collector=$(sbatch --parsable --dependency="afterany:${shards%%;*}" collect.sh)
echo "shards: job ${shards%%;*}, @SHARDS_COUNTED@; collector: job ${collector%%;*}"
