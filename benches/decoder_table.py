"""Least times of the decoder's cases, ratios to splitwave's, and the share of the machine's rate.

Reads lines `engine case seconds`, any number per case, from standard input. The rate is that
of torch's product of (128 x 1024) and (1024 x 2816) in single precision on the same thread.
"""

import sys

OURS = "splitwave"
RATE_CASE, RATE_FLOP = "gemm-128x1024x2816", 2 * 128 * 1024 * 2816


def llama_flop(rows, layers, d, heads, kv_heads, head_dim, d_ff, vocab):
    """Multiplications and additions of a prompt of `rows` tokens with all logits."""
    weights = layers * (2 * d * heads * head_dim + 2 * d * kv_heads * head_dim + 3 * d * d_ff) + d * vocab
    return 2 * rows * weights + layers * 2 * rows * rows * heads * head_dim


FLOP = {
    "builtin-prefill-1x128": llama_flop(128, 16, 128, 4, 2, 32, 352, 2048),
    "builtin-prefill-16x128": 16 * llama_flop(128, 16, 128, 4, 2, 32, 352, 2048),
    "random-prefill-1x128": llama_flop(128, 8, 1024, 16, 16, 64, 2816, 2048),
}


def main():
    least = {}
    for line in sys.stdin:
        engine, case, seconds = line.split()
        times = least.setdefault(case, {})
        times[engine] = min(times.get(engine, float("inf")), float(seconds))
    rate = RATE_FLOP / least[RATE_CASE]["transformers"] if RATE_CASE in least else None
    if rate:
        print(f"the machine's rate: {rate / 1e9:.0f} GFLOP/s\n")
    print(f"{'case':<26}{'engine':<14}{'ms':>9}{'of ours':>9}{'of the rate':>13}")
    for case, times in least.items():
        for engine, seconds in sorted(times.items(), key=lambda item: item[1]):
            ratio = f"{seconds / times[OURS]:.2f}" if OURS in times else "-"
            share = f"{FLOP[case] / seconds / rate:.2f}" if rate and case in FLOP else "-"
            print(f"{case:<26}{engine:<14}{seconds * 1e3:>9.3f}{ratio:>9}{share:>13}")


if __name__ == "__main__":
    main()
