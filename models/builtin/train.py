# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "tokenizers>=0.20"]
# ///
"""Train a small LLaMA language model on text files, on the CPU.

    python train.py TEXT... -o OUT_DIR                     # the built-in model's geometry and recipe
    python train.py TEXT... -o OUT_DIR --minutes 60        # as many steps as fit into an hour
    python train.py TEXT... -o OUT_DIR --resume            # go on after an interruption

OUT_DIR receives config.json, model.safetensors (f16) and tokenizer.json, which is all
that a user of the model needs, and checkpoint.pt (f32 weights, optimiser, random
state), which only --resume reads. All of them are replaced at every checkpoint, each
by renaming a finished file, so that OUT_DIR holds a usable model at any time. Ctrl-C
finishes the current step, saves, and exits with status 130.

The recipe, and why it is so:
  - AdamW with betas 0.9 and 0.95; weight decay 0.1 on matrices, none on norm gains.
  - Linear warm-up, then a cosine down to 3 % of the peak rate; gradient norm clipped to 1.
  - Weights start with a standard deviation of 0.02. Those that write into the residual
    stream (o_proj, down_proj) are divided by sqrt(2 * layers): its power then grows with
    depth, as in large models, and noise of a fixed power hurts more at an early split.
  - Every document begins with BOS. Rows of the batch start anywhere in the stream.

The same seed, texts, settings, torch build and number of threads give the same weights,
interrupted or not. One exception: under --minutes the learning rate follows the clock.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from evaluate import UsageError, positive, read_text, window_losses

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 0, 1
FINAL_LR_FRACTION = 0.03
HELD_OUT_SHARE = 0.01  # of each file, at its end; never trained on
HELD_OUT_WINDOW = 128  # tokens
HELD_OUT_WINDOWS = 64  # at most; spread evenly over the held-out text
# A resumed run must share these settings with the run that it continues, and the tokens.
FIXED_SETTINGS = "layers hidden heads kv_heads ffn context steps minutes batch lr warmup seed".split()


def read_documents(path: Path, unit: str) -> list[str]:
    """The documents of one file; `unit` is what --document says."""
    text = read_text(path)
    parts = {"line": text.split("\n"), "paragraph": text.split("\n\n"), "file": [text]}[unit]
    documents = [part.strip() for part in parts if part.strip()]
    if not documents:
        raise UsageError(f"{path} holds no text: leave it out")
    return documents


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: any byte string has tokens, so there is no unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    learned = tokenizer.get_vocab_size()
    if learned != vocabulary:
        raise UsageError(
            f"--vocab {vocabulary} does not fit this text, which yields {learned} tokens "
            f"(256 bytes and 2 marks are the least): give more text or --vocab {learned}"
        )
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as cause:  # tokenizers raises bare Exception
        raise UsageError(f"cannot read --tokenizer {path}: {cause}; name a tokenizer.json") from cause
    if (tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)) != (BOS_ID, EOS_ID):
        raise UsageError(f"--tokenizer {path}: {BOS} must have id {BOS_ID} and {EOS} id {EOS_ID}")
    return tokenizer


def token_streams(files: list[list[str]], tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Training and held-out token ids, each in one row; `files` are lists of documents."""
    training: list[int] = []
    kept_back: list[int] = []
    for documents in files:
        stream: list[int] = []
        for encoding in tokenizer.encode_batch(documents, add_special_tokens=False):
            stream.append(BOS_ID)
            stream.extend(encoding.ids)
        cut = len(stream) - int(HELD_OUT_SHARE * len(stream))
        training.extend(stream[:cut])
        # BOS is prepended to each held-out window and predicted in none.
        kept_back.extend(token for token in stream[cut:] if token != BOS_ID)
    return torch.tensor(training), torch.tensor(kept_back)


def held_out_windows(stream: torch.Tensor) -> torch.Tensor:
    """Up to HELD_OUT_WINDOWS windows spread evenly over `stream`, shape (windows, HELD_OUT_WINDOW)."""
    available = len(stream) // HELD_OUT_WINDOW
    if available == 0:
        raise UsageError(
            f"{len(stream)} tokens ({HELD_OUT_SHARE:.0%} of the text) are held out, fewer than one window "
            f"of {HELD_OUT_WINDOW}: give more text"
        )
    windows = stream[: available * HELD_OUT_WINDOW].view(available, HELD_OUT_WINDOW)
    count = min(available, HELD_OUT_WINDOWS)
    return windows[[index * available // count for index in range(count)]]


def draw_batch(
    stream: torch.Tensor, batch: int, context: int, draws: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and their successors, both of shape (batch, context)."""
    starts = torch.randint(len(stream) - context, (batch, 1), generator=draws)
    rows = stream[starts + torch.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]


def build_model(args: argparse.Namespace, vocabulary: int) -> LlamaForCausalLM:
    if args.hidden % args.heads or (args.hidden // args.heads) % 2:
        raise UsageError(f"--hidden {args.hidden} must be an even multiple of --heads {args.heads}")
    if args.heads % args.kv_heads:
        raise UsageError(f"--heads {args.heads} must be a multiple of --kv-heads {args.kv_heads}")
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=args.hidden,
        intermediate_size=args.ffn,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        max_position_embeddings=2 * args.context,  # declared, not trained: RoPE has no table to fill
        rms_norm_eps=1e-6,
        initializer_range=0.02,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                projection.weight /= math.sqrt(2 * args.layers)
    return model


def build_optimiser(model: LlamaForCausalLM) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    gains = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def learning_rate(peak: float, step: int, warmup: int, progress: float) -> float:
    """Rate of the 0-based `step`; `progress` is the share of the whole run that lies behind, 0 to 1."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * min(1.0, (step + 1) / warmup) * (FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * cosine)


def save(out: Path, model: LlamaForCausalLM, tokenizer: Tokenizer, state: dict[str, Any]) -> None:
    """Replace the model in `out` and the state that --resume reads, file by file, never half."""
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=out) as folder:
        partial = Path(folder)
        copy.deepcopy(model).half().save_pretrained(partial)
        tokenizer.save(str(partial / "tokenizer.json"))
        torch.save(state, partial / "checkpoint.pt")
        for name in ("tokenizer.json", "config.json", "model.safetensors", "checkpoint.pt"):
            (partial / name).chmod(0o644)  # safetensors writes 0600
            os.replace(partial / name, out / name)


def load_state(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"--resume: {path} does not exist; leave --resume out to start anew")
    state = torch.load(path, weights_only=True)
    differing = [name for name, value in settings.items() if state["settings"].get(name) != value]
    if differing:
        was_and_is = ", ".join(f"{name} {state['settings'].get(name)} -> {settings[name]}" for name in differing)
        raise UsageError(
            f"--resume: {path} comes from other texts or settings ({was_and_is}); repeat the first "
            "command and add --resume, or name another folder with -o"
        )
    return state


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a flag, read between steps; a second one acts at once."""

    def __init__(self) -> None:
        self.made = False
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.made = True
        signal.signal(number, signal.SIG_DFL)


def perplexity(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    model.eval()
    losses = window_losses(model, windows, batch=8)
    model.train()
    return math.exp(sum(losses) / windows.numel())


def train(args: argparse.Namespace) -> int:
    files = [read_documents(path, args.document) for path in args.texts]
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)  # the tokenizer's threads
    if args.tokenizer:
        tokenizer = load_tokenizer(args.tokenizer)
    else:
        tokenizer = train_tokenizer([text for documents in files for text in documents], args.vocab)
    stream, kept_back = token_streams(files, tokenizer)
    if len(stream) <= args.context:
        raise UsageError(f"the text has {len(stream)} tokens: give more than --context {args.context}")
    windows = held_out_windows(kept_back)

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = build_model(args, tokenizer.get_vocab_size())
    optimiser = build_optimiser(model)
    draws = torch.Generator().manual_seed(args.seed)
    settings = {name: getattr(args, name) for name in FIXED_SETTINGS}
    settings["tokens_sha256"] = hashlib.sha256(stream.numpy().tobytes()).hexdigest()
    step, elapsed_before_s = 0, 0.0
    if args.resume:
        state = load_state(args.output / "checkpoint.pt", settings)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        draws.set_state(state["draws"])
        step, elapsed_before_s = state["step"], state["elapsed_s"]
    elif (args.output / "checkpoint.pt").exists():
        raise UsageError(f"{args.output} already holds a checkpoint: add --resume or name another folder with -o")
    args.output.mkdir(parents=True, exist_ok=True)

    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{weights:,} parameters, {len(stream):,} training tokens, {len(kept_back):,} held out; from step {step}")

    started = time.monotonic() - elapsed_before_s

    def share_done() -> float:
        return (time.monotonic() - started) / (60 * args.minutes) if args.minutes else step / args.steps

    def checkpoint() -> None:
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "draws": draws.get_state()}
        state |= {"step": step, "elapsed_s": time.monotonic() - started, "settings": settings}
        save(args.output, model, tokenizer, state)
        print(f"step {step}: held-out PPL {perplexity(model, windows):.2f}, saved in {args.output}", flush=True)

    stop = StopRequest()
    recent_losses: list[float] = []
    model.train()
    while (progress := share_done()) < 1 and not stop.made:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args.lr, step, args.warmup, progress)
        inputs, targets = draw_batch(stream, args.batch, args.context, draws)
        logits = model(inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if not torch.isfinite(loss):
            raise UsageError(f"the loss is {loss.item()} at step {step}: lower --lr {args.lr} or raise --warmup")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1

        recent_losses.append(loss.item())
        if step % args.report_every == 0:
            mean_loss, rate = statistics.fmean(recent_losses), optimiser.param_groups[0]["lr"]
            seconds = time.monotonic() - started
            print(f"step {step}  loss {mean_loss:.4f} nats  lr {rate:.2e}  {seconds:.0f} s", flush=True)
            recent_losses.clear()
        if step % args.checkpoint_every == 0 and share_done() < 1:
            checkpoint()
    checkpoint()
    if stop.made:
        print("interrupted: repeat the command with --resume to go on", flush=True)
        return 130
    return 0


def positive_number(text: str) -> float:
    value = float(text)  # argparse reports a ValueError itself
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("texts", nargs="+", type=Path, metavar="TEXT", help="UTF-8 text files to train on")
    add("-o", "--output", type=Path, required=True, metavar="OUT_DIR", help="folder for the model and the checkpoint")
    add("--tokenizer", type=Path, metavar="FILE", help="use this tokenizer.json (default: train one on the texts)")
    add("--document", choices=("line", "paragraph", "file"), default="line",
        help="what BOS opens: a line, a block between blank lines, or a file (default: %(default)s)")
    for name, value, meaning in (
        ("vocab", 2048, "tokens of a newly trained tokenizer"), ("layers", 16, "transformer layers"),
        ("hidden", 128, "width of the residual stream"), ("heads", 4, "attention heads"),
        ("kv-heads", 2, "key and value heads"), ("ffn", 352, "width of the feed-forward layer"),
        ("context", 256, "tokens per row of a batch"), ("batch", 8, "rows per step"),
        ("warmup", 200, "steps of linear warm-up"), ("threads", 1, "CPU threads"),
        ("report-every", 50, "steps between printed losses"),
        ("checkpoint-every", 500, "steps between checkpoints with a held-out PPL"),
    ):
        add(f"--{name}", type=positive, default=value, metavar="N", help=f"{meaning} (default: %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=positive, metavar="N", help="optimiser steps (default: 9000)")
    length.add_argument("--minutes", type=positive_number, metavar="M", help="stop after M minutes instead")
    add("--lr", type=positive_number, default=2.5e-3, metavar="RATE", help="peak learning rate (default: %(default)s)")
    add("--seed", type=int, default=1, metavar="N", help="seed of weights and batches (default: %(default)s)")
    add("--resume", action="store_true", help="go on from OUT_DIR/checkpoint.pt, with the same texts and settings")
    args = parser.parse_args()
    if args.steps is None and args.minutes is None:
        args.steps = 9000
    return args


if __name__ == "__main__":
    transformers_logging.disable_progress_bar()
    try:
        sys.exit(train(parse_arguments()))
    except UsageError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # before the first step: nothing to save
        sys.exit(130)
