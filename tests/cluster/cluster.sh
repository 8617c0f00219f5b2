# A Slurm cluster of four nodes on this machine, for tests; to be sourced. Needs root.
#
#   cluster_install     packages slurm-wlm and munge, if they are missing
#   cluster_up DIR      starts it; everything it writes lies in DIR, an absolute path
#   cluster_down DIR    stops it, and what its jobs left running
#   node_crash DIR N    ends the slurmd of node N at once: its tasks run on, unseen

cluster_install() {
    command -v slurmctld slurmd sbatch munged >/dev/null && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: Slurm is not installed" >&2
        echo "hint: install slurmctld, slurmd, their client commands and munge (Debian: slurm-wlm munge)" >&2
        return 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
}

cluster_up() {
    local dir=$1 here node
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    mkdir -p "$dir"/{state,log,munge} "$dir"/spool-node{0,1,2,3}
    sed -e "s#@DIR@#$dir#g" -e "s#@HOST@#$(hostname -s)#g" "$here/slurm.conf.in" >"$dir/slurm.conf"
    export SLURM_CONF=$dir/slurm.conf
    # munged wants a key and folders that are nobody else's.
    chmod 700 "$dir/munge"
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
    chmod 711 "$dir/munge"
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    slurmctld -i
    for node in 0 1 2 3; do slurmd -N "node$node"; done
    wait_until 30 nodes_idle 4 || {
        echo "error: the four nodes did not come up; logs are in $dir/log" >&2
        return 1
    }
}

nodes_idle() {
    [ "$(sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | sort -u | wc -l)" = "$1" ]
}

node_crash() {
    kill -KILL "$(cat "$1/slurmd-node$2.pid")"
}

cluster_down() {
    local dir=$1 file pid daemons=()
    for file in "$dir"/slurmctld.pid "$dir"/slurmd-node{0,1,2,3}.pid "$dir"/munge/pid; do
        if [ -s "$file" ]; then daemons+=("$(cat "$file")"); fi
    done
    # A node that crashed left the number of a process that is gone.
    for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
    # Tasks, and what supervises them, carry this cluster's configuration in their environment.
    for pid in $(cluster_processes "$dir"); do kill -KILL "$pid" 2>/dev/null || true; done
    wait_until 10 all_gone "${daemons[@]}" || echo "warning: still running: ${daemons[*]}" >&2
}

# Whether none of these processes runs; one that waits to be reaped doesn't.
all_gone() {
    local pid
    for pid in "$@"; do
        if grep -qs '^State:[[:space:]][^Z]' "/proc/$pid/status"; then return 1; fi
    done
}

# Processes of this cluster's jobs, but for this shell and what it started itself.
cluster_processes() {
    local environment pid
    for environment in /proc/[0-9]*/environ; do
        pid=${environment//[!0-9]/}
        if grep -qzs "^SLURM_CONF=$1/slurm.conf$" "$environment" && grep -qzs '^SLURM_JOB_ID=' "$environment"; then
            echo "$pid"
        fi
    done
}

# wait_until SECONDS COMMAND…: whether the command succeeds within that time.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}
