# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "tokenizers>=0.20"]
# ///
"""Time transformers on torch, in f32 on one core: what splitwave's decoder is measured against.

    python bench.py [--rounds 7] [--cases builtin-prefill-1x128,…] >transformers.csv

Prints CSV lines `case,seconds`, with the names of benches/decoder.rs. Seconds are the least
of all rounds, and rounds go through all cases in turn, so that a busy moment of the machine
doesn't fall on one of them.

    builtin-prefill-1x128   the built-in model: forward pass over 128 positions and the negative
                            log-likelihood at all of them: start token and 127 tokens in, 128 scored
    builtin-prefill-16x128  16 such windows in one batch
    builtin-decode-token    one token with the KV cache: the mean of 64 behind a prompt of 64
    random-prefill-1x128    as the first, on a random LLaMA: d = 1024, 8 layers, 16 heads,
                            feed-forward 2816, vocabulary 2048, untied, stored in f32
    random-decode-token     on that model, the mean of 32 behind a prompt of 96
    gemm-128x1024x2816      one matrix product (128 x 1024) x (1024 x 2816), 738,197,504 FLOP:
                            the machine's rate

The random model is saved in a folder (428 MB), where benches/decoder.rs can read it. Windows of
the built-in model are the first of models/builtin/corpus.txt; that of the random one is
(37 i + 11) mod 2048. Negative log-likelihoods go to standard error, for comparison.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
WINDOW = 128
WINDOWS = 16
GEMM = (128, 1024, 2816)


def load(folder: Path, attention: str) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()


def save_random_model(folder: Path) -> None:
    """Writes the random model unless it is there."""
    if (folder / "config.json").is_file():
        return
    config = LlamaConfig(
        vocab_size=2048, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=16,
        num_key_value_heads=16, max_position_embeddings=512, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=1,
        tie_word_embeddings=False, dtype="float32",
    )  # fmt: skip
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)


def score(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    """Sum of -ln P over all tokens of `windows` [B, S], each behind a start token [nats]."""
    start = torch.full((len(windows), 1), model.config.bos_token_id)
    logits = model(torch.cat([start, windows[:, :-1]], dim=1), use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows.flatten(), reduction="sum").item()


def decode_token(model: LlamaForCausalLM, window: torch.Tensor, prompt: int) -> float:
    """Seconds per token of `window` [1, S] behind the first `prompt`."""
    out = model(window[:, :prompt], use_cache=True, logits_to_keep=1)
    begun = time.perf_counter()
    for token in window[:, prompt:].split(1, dim=1):
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
    return (time.perf_counter() - begun) / (window.shape[1] - prompt)


def timed(work: Callable[[], object], repeats: int = 1) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - begun) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds over all cases (default 7)")
    parser.add_argument("--cases", metavar="NAME,…", help="only these (default: all)")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa",
                        help="transformers' implementation of attention (default sdpa, the faster one)")
    parser.add_argument("--random-model", type=Path, default=ROOT / "target" / "bench" / "llama-d1024", metavar="DIR",
                        help="folder of the random model (default target/bench/llama-d1024)")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    transformers_logging.disable_progress_bar()

    builtin = load(ROOT / "models" / "builtin", args.attention)
    tokenizer = Tokenizer.from_file(str(ROOT / "models" / "builtin" / "tokenizer.json"))
    text = (ROOT / "models" / "builtin" / "corpus.txt").read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    windows = torch.tensor(ids[: WINDOWS * WINDOW]).reshape(WINDOWS, WINDOW)
    drawn = torch.tensor([[(37 * i + 11) % 2048 for i in range(WINDOW)]])
    a, b = torch.randn(GEMM[0], GEMM[1]), torch.randn(GEMM[1], GEMM[2])
    gemm = "gemm-" + "x".join(map(str, GEMM))
    cases: dict[str, Callable[[], float]] = {
        "builtin-prefill-1x128": lambda: timed(lambda: score(builtin, windows[:1]), 4),
        "builtin-prefill-16x128": lambda: timed(lambda: score(builtin, windows)),
        "builtin-decode-token": lambda: decode_token(builtin, windows[:1], 64),
        "random-prefill-1x128": lambda: timed(lambda: score(random, drawn)),
        "random-decode-token": lambda: decode_token(random, drawn, 96),
        gemm: lambda: timed(lambda: a @ b, 8),
    }
    wanted = [*cases] if args.cases is None else args.cases.split(",")
    if unknown := [name for name in wanted if name not in cases]:
        parser.error(f"no case {', '.join(unknown)}; cases: {', '.join(cases)}")
    if any(name.startswith("random") for name in wanted):
        save_random_model(args.random_model)
        random = load(args.random_model, args.attention)

    least: dict[str, float] = {}
    with torch.inference_mode():
        # The first pass of each also allocates; it isn't counted.
        for name in wanted:
            cases[name]()
        for _ in range(args.rounds):
            for name in wanted:
                seconds = cases[name]()
                least[name] = min(seconds, least.get(name, seconds))
        if "builtin-prefill-16x128" in wanted:
            sums = [score(builtin, windows[:1]), score(builtin, windows)]
            print(f"NLL of the built-in model: {sums[0]:.4f}, in 16 windows {sums[1]:.4f}", file=sys.stderr)
        if "random-prefill-1x128" in wanted:
            print(f"NLL of the random model: {score(random, drawn):.4f}", file=sys.stderr)
    if gemm in least:
        print(f"matrix product: {2 * math.prod(GEMM) / least[gemm] / 1e9:.1f} GFLOP/s", file=sys.stderr)
    print("case,seconds")
    for name, seconds in least.items():
        print(f"{name},{seconds:.6g}")


if __name__ == "__main__":
    main()
