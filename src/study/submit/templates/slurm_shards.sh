#!/bin/bash
# Study @NAME@, @RUNS@: task i of this array job is shard i of @SHARDS@. Made by
#   @COMMAND@
# for you to read and to edit. submit.sh submits it and collect.sh. Any task may run
# again at any time: what is finished lies in attempts/ and is skipped.
@OPTIONS@
set -euo pipefail
# exec and no srun, so that splitwave itself gets the signals: a minute before the time
# limit it writes down what is done, has the task requeued, and goes on in the next one.
exec @PROGRAM@ study run @STUDY@ \
    --out @OUT@ \
    --shard "${SLURM_ARRAY_TASK_ID:?submit this file with sbatch}/@SHARDS@" \
    --threads "${SLURM_CPUS_PER_TASK:-@CPUS@}"
