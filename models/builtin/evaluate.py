# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "tokenizers>=0.20"]
# ///
"""Perplexity of a LLaMA checkpoint on a text file, in windows of N tokens.

The text is tokenised as a whole and cut into consecutive windows of N tokens; a
remainder shorter than N is left out. Each window is scored on its own, with BOS
prepended, so that all N tokens are predicted, the first one from BOS alone:

    PPL = exp(-1/N * sum_k ln P(w_k | BOS, w_1 .. w_{k-1}))

Printed are the corpus perplexity (one mean over all tokens) and the mean of the
windows' perplexities. The weights are read in f32 and the run uses the CPU.

    python evaluate.py . corpus.txt --window 128
    python evaluate.py . corpus.txt --windows 32 --noise-std 1 --split 4

With --noise-std, white Gaussian noise is added to the residual stream after layer
--split, as if the tensor had crossed an uncoded channel there.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging


class UsageError(Exception):
    """The input is wrong; the message says what, where and what to do instead."""


def load_checkpoint(folder: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder / name} does not exist: name a folder that holds config.json, "
                "model.safetensors and tokenizer.json"
            )
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() > model.config.vocab_size:
        raise UsageError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} tokens and the model only "
            f"{model.config.vocab_size}: they belong to different models"
        )
    return model, tokenizer


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"cannot read {path}: {cause}; name a UTF-8 text file") from cause


def read_windows(text_file: Path, tokenizer: Tokenizer, window: int, count: int | None) -> torch.Tensor:
    """Token ids of the first `count` windows (all of them for None), shape (windows, window)."""
    ids = tokenizer.encode(read_text(text_file), add_special_tokens=False).ids
    available = len(ids) // window
    if available == 0:
        raise UsageError(
            f"{text_file} has {len(ids)} tokens, fewer than one window of {window}: "
            "give a longer text or a smaller --window"
        )
    if count is not None and count > available:
        raise UsageError(
            f"--windows {count} is more than the {available} whole windows of {window} tokens in {text_file}"
        )
    used = available if count is None else count
    return torch.tensor(ids[: used * window]).view(used, window)


@torch.inference_mode()
def window_losses(model: LlamaForCausalLM, windows: torch.Tensor, batch: int) -> list[float]:
    """-sum ln P of each window [nats]; `windows` has shape (windows, tokens)."""
    bos = model.config.bos_token_id
    if bos is None:
        raise UsageError("the model's config.json names no bos_token_id, which predicts the first token")
    losses: list[float] = []
    for targets in windows.split(batch):
        # The last token predicts nothing that is scored: inputs are BOS and all others.
        inputs = torch.cat([torch.full((len(targets), 1), bos), targets[:, :-1]], dim=1)
        logits = model(inputs, use_cache=False).logits.float()
        nll = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        losses.extend(nll.double().sum(dim=1).tolist())
    return losses


def add_noise_after(model: LlamaForCausalLM, layer: int, noise_std: float, seed: int) -> None:
    """From now on, every pass adds N(0, noise_std^2) to each output value of `layer`, counted from 1."""
    if layer > model.config.num_hidden_layers:
        raise UsageError(f"--split {layer} lies beyond the {model.config.num_hidden_layers} layers of the model")
    draws = torch.Generator().manual_seed(seed)

    def impair(_layer: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + noise_std * torch.randn(output.shape, generator=draws)

    model.model.layers[layer - 1].register_forward_hook(impair)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder with config.json, model.safetensors, tokenizer.json")
    parser.add_argument("text", type=Path, help="UTF-8 text file to score")
    parser.add_argument("--window", type=positive, default=128, metavar="N", help="tokens per window (default: 128)")
    parser.add_argument("--windows", type=positive, metavar="K", help="score the first K windows only (default: all)")
    parser.add_argument("--batch", type=positive, default=8, help="windows per forward pass (default: 8)")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads of torch (default: 1)")
    parser.add_argument("--noise-std", type=float, metavar="STD", help="add noise of this standard deviation")
    parser.add_argument("--split", type=positive, default=1, metavar="P", help="layer it is added after (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise (default: 1)")
    args = parser.parse_args()
    if args.noise_std is not None and not 0 <= args.noise_std < math.inf:
        parser.error(f"--noise-std {args.noise_std} is not a finite number of at least 0")
    torch.set_num_threads(args.threads)
    transformers_logging.disable_progress_bar()

    try:
        model, tokenizer = load_checkpoint(args.checkpoint)
        if args.noise_std is not None:
            add_noise_after(model, args.split, args.noise_std, args.seed)
        windows = read_windows(args.text, tokenizer, args.window, args.windows)
        losses = window_losses(model, windows, args.batch)
    except UsageError as error:
        sys.exit(f"error: {error}")

    tokens = windows.numel()
    corpus_ppl = math.exp(sum(losses) / tokens)
    mean_ppl = statistics.fmean(math.exp(loss / args.window) for loss in losses)
    print(f"{args.text}: {len(losses)} windows of {args.window} tokens, {sum(losses):.4f} nats over {tokens} tokens")
    print(f"corpus PPL {corpus_ppl:.4f}   mean window PPL {mean_ppl:.4f}")


if __name__ == "__main__":
    main()
