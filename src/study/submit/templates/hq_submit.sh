#!/bin/bash
# Study @NAME@, @RUNS@: task i of this job is shard i of @SHARDS@. Made by
#   @COMMAND@
# for you to read and to edit. A task whose worker is lost starts again on another one;
# what is finished lies in attempts/ and is skipped. collect.sh makes the tables.
set -euo pipefail
job=$(hq --output-mode=quiet submit \
    @OPTIONS@ \
    -- @PROGRAM@ study run @STUDY@ \
    --out @OUT@ --shards @SHARDS@ --threads @CPUS@)
echo "shards: job $job, @SHARDS_COUNTED@; then: bash" @COLLECT@ "$job"
