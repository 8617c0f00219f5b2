#!/usr/bin/env bash
# The decoder against candle's operators and against transformers on torch, all on one
# thread, in interleaved rounds; prints one table of the least times and their ratios.
# Needs cargo and a python3 with torch and transformers (.ci/full makes one).
#
#   benches/decoder.sh [ROUNDS] [PYTHON] [RANDOM_MODEL]
#                      (5, target/ci/torch/bin/python, target/bench/llama-d1024)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
rounds=${1:-5}
python=${2:-$root/target/ci/torch/bin/python}
random=${3:-$root/target/bench/llama-d1024}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

# candle reads these once; unset, every product re-reads the list of processors.
export RAYON_NUM_THREADS=1 CANDLE_NUM_THREADS=1

echo "building" >&2
cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench decoder --no-run
cargo build --quiet --release --manifest-path "$here/candle/Cargo.toml"

# Lines `case,seconds` of an engine.
note() {
    awk -F, -v engine="$1" 'NF == 2 && $2 + 0 > 0 { print engine, $1, $2 }' >>"$lines"
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    "$python" "$here/transformers/bench.py" --rounds 1 --random-model "$random" 2>/dev/null | note transformers
    cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench decoder -- "$random" 2>/dev/null | note splitwave
    cargo run --quiet --release --manifest-path "$here/candle/Cargo.toml" -- "$root/models/builtin" "$random" 2>/dev/null | note candle
done
"$python" "$here/decoder_table.py" <"$lines"
