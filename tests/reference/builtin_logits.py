# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "tokenizers>=0.20"]
# ///
"""Write reference numbers of the built-in model, computed by transformers in f32 on the CPU.

    python builtin_logits.py -o builtin_logits.json

The input is BOS followed by the first tokens of the corpus, 24 ids in all, seen in one
forward pass. The output holds

    tokens              the 24 input ids
    logits_last         logits of the last position, all of the vocabulary
    logits_row5_first16 logits of position 5 (counted from 0), the first 16 of the vocabulary
    nll_sum             -sum ln P(token k | all tokens before it) over the 23 corpus tokens [nats]
    hidden_after_layer  the residual stream after layers 1, 8 and 16 (counted from 1), at the last
                        position, its first 8 values; after 16 means before the final norm

Numbers are rounded to 7 significant digits, about the resolution of an f32.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

MODEL = Path(__file__).resolve().parents[2] / "models" / "builtin"
INPUT_TOKENS = 24
LAYERS = (1, 8, 16)


def rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]


def reference(folder: Path) -> dict[str, object]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    text = (folder / "corpus.txt").read_text(encoding="utf-8")
    corpus = tokenizer.encode(text, add_special_tokens=False).ids
    tokens = [model.config.bos_token_id, *corpus[: INPUT_TOKENS - 1]]

    # Hooks see the output of the layer itself; the model's own list of hidden states
    # ends with the last one after the final norm.
    residual: dict[int, torch.Tensor] = {}
    for number in LAYERS:

        def keep(_layer: object, _inputs: object, output: object, number: int = number) -> None:
            residual[number] = output[0] if isinstance(output, tuple) else output

        model.model.layers[number - 1].register_forward_hook(keep)
    with torch.inference_mode():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
        log_probability = logits.double().log_softmax(dim=-1)
    scored = log_probability[range(INPUT_TOKENS - 1), tokens[1:]]
    return {
        "tokens": tokens,
        "logits_last": rounded(logits[-1]),
        "logits_row5_first16": rounded(logits[5, :16]),
        "nll_sum": float(f"{-scored.sum().item():.7g}"),
        "hidden_after_layer": {str(number): rounded(residual[number][0, -1, :8]) for number in LAYERS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--model", type=Path, default=MODEL, metavar="DIR",
                        help="folder with the checkpoint and corpus.txt (default: models/builtin of this checkout)")
    args = parser.parse_args()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "corpus.txt"):
        if not (args.model / name).is_file():
            sys.exit(f"error: {args.model / name} does not exist: name the folder of the built-in model with --model")
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    args.output.write_text(json.dumps(reference(args.model)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
