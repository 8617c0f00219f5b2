#!/usr/bin/env bash
# HOLD on splitwave and on other engines, in interleaved rounds; prints one table
# of medians. Needs cargo and python3 with venv.
#
#   benches/peers/run.sh [ROUNDS]      (default 7)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=${1:-7}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

echo "building" >&2
cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench hold --no-run
cargo build --quiet --release --manifest-path "$here/Cargo.toml"
if [ ! -x "$here/.venv/bin/python" ]; then
    python3 -m venv "$here/.venv"
    "$here/.venv/bin/pip" install --quiet simpy==4.1.1
fi

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench hold -- --once >>"$lines"
    cargo run --quiet --release --manifest-path "$here/Cargo.toml" >>"$lines"
    "$here/.venv/bin/python" "$here/hold.py" >>"$lines"
done
"$here/.venv/bin/python" "$here/table.py" <"$lines"
