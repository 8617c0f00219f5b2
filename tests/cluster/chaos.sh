#!/usr/bin/env bash
# A study on a Slurm cluster that loses a node, has tasks requeued, and a shard killed
# while it writes: the tables must equal those of one process, byte for byte.
#
#   tests/cluster/chaos.sh [PROGRAM]        default: target/release/splitwave
#
# 240 runs in 8 shards on four nodes of this machine (cluster.sh). Needs root; installs
# Slurm by apt-get where it is missing. Takes about three minutes on two cores. Where it
# fails, the logs stay and it says where.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:-$here/../../target/release/splitwave}")
. "$here/cluster.sh"

say() {
    printf '%4d s  %s\n' "$SECONDS" "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

clean_up() {
    local status=$?
    trap - EXIT
    cluster_down "$place"
    if [ "$status" = 0 ]; then
        rm -rf "$place"
    else
        echo "the cluster is down; studies and logs are left in $place" >&2
    fi
    exit "$status"
}

# Runs that ended, in all attempts files.
entries() {
    cat "$out"/attempts/*.ndjson 2>/dev/null | grep --count '"run_id"'
}

at_least() {
    [ "$(entries)" -ge "$1" ]
}

queue_empty() {
    [ -z "$(squeue --noheader)" ]
}

node_of() {
    squeue --noheader --array --jobs="${job}_$1" --states=running --format=%N
}

restarts_of() {
    scontrol --oneliner show job "${job}_$1" | sed -n 's/.* Restarts=\([0-9]*\).*/\1/p' | head -n 1
}

# The splitwave process of a task, by the variables that Slurm gave it.
process_of() {
    local pid
    for pid in $(cluster_processes "$place"); do
        if [ "$(readlink "/proc/$pid/exe")" = "$program" ] &&
            grep -qzs "^SLURM_ARRAY_TASK_ID=$1$" "/proc/$pid/environ"; then
            echo "$pid"
            return
        fi
    done
    return 1
}

# submit: hands the study to the cluster; sets `job` and `collector`.
submit() {
    local said
    said=$("$program" study submit chaos.toml --out "$out" --engine slurm --shards 8 --cpus 1 --time 20 --mem 100M)
    job=$(sed -n 's/^shards: job \([0-9]*\),.*/\1/p' <<<"$said")
    collector=$(sed -n 's/.*collector: job \([0-9]*\)$/\1/p' <<<"$said")
    [ -n "$job" ] && [ -n "$collector" ] || fail "no job numbers in: $said"
}

[ -x "$program" ] || fail "$program is not there: cargo build --release"
cluster_install
place=$(mktemp -d)
trap clean_up EXIT
trap 'exit 1' INT TERM
# A path that has to be quoted everywhere.
out="$place/it's the study, 50 %"
cp "$here/base.toml" "$here/chaos.toml" "$place"
cd "$place"

say "one process does all runs"
"$program" study run chaos.toml --out "$place/reference" --quiet
"$program" study collect chaos.toml --out "$place/reference" --quiet

say "the cluster starts"
cluster_up "$place"
submit
wait_until 120 at_least 16 || fail "the shards did not get under way"

lost=$(node_of 8)
victims=()
for task in 1 2 3 4 5 6 7; do
    [ "$(node_of "$task")" = "$lost" ] || victims+=("$task")
done
[ -n "$lost" ] && [ ${#victims[@]} -ge 4 ] || fail "the tasks do not run on several nodes: $(squeue --noheader)"

say "node ${lost} is lost, with task 8 on it"
node_crash "$place" "${lost#node}"

say "tasks ${victims[0]} and ${victims[1]} are requeued"
scontrol requeue "${job}_${victims[0]}"
scontrol requeue "${job}_${victims[1]}"

say "task ${victims[2]} is told that its time is up"
scancel --batch --signal=USR1 "${job}_${victims[2]}"

shard=${victims[3]}
pid=$(process_of "$shard") || fail "task $shard is not running"
file=$(grep -l "\"shard\":\"$shard/8\"" "$out"/attempts/*.ndjson | head -n 1)
size=$(stat --format=%s "$file")
while [ "$(stat --format=%s "$file")" = "$size" ] && kill -0 "$pid" 2>/dev/null; do :; done
kill -KILL "$pid"
# What a machine leaves that dies before its disk has it all.
truncate --size=-9 "$file"
say "task $shard is killed as it writes, and the last line of its file is torn"

wait_until 300 queue_empty || fail "the jobs do not end: $(squeue --noheader)"
for task in "${victims[0]}" "${victims[1]}" "${victims[2]}" 8; do
    [ "$(restarts_of "$task")" -ge 1 ] || fail "task $task did not come back"
done
exit_code=$(scontrol --oneliner show job "$collector" | sed -n 's/.* ExitCode=\([0-9]*\):.*/\1/p')
[ "$exit_code" = 3 ] || fail "the collector ended with $exit_code, not with 3 for runs that are missing"
say "the collector found runs missing: $(grep planned "$out/submit/collect.log")"

say "the same command submits what is left"
before=$(entries)
submit
wait_until 300 queue_empty || fail "the jobs do not end: $(squeue --noheader)"
say "$(($(entries) - before)) runs made up for"

for table in runs.csv means.csv runs.parquet; do
    cmp "$place/reference/$table" "$out/$table" || fail "$table differs from that of one process"
done
rows=$(($(wc -l <"$out/runs.csv") - 1))
ids=$(tail -n +2 "$out/runs.csv" | cut -d, -f1 | sort -u | wc -l)
[ "$rows" = 240 ] && [ "$ids" = 240 ] || fail "$rows rows of $ids runs, not of 240"
done_twice=$(sed -n 's/.*"run_id":"\([0-9a-f]*\)".*/\1/p' "$out"/attempts/*.ndjson | sort | uniq -d | wc -l)
say "runs.csv, means.csv and runs.parquet are those of one process: 240 rows, each run once (the cluster did $done_twice twice)"
