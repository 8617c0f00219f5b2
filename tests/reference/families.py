# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "safetensors>=0.4", "numpy"]
# ///
"""Write small random checkpoints of every family, and what transformers computes from them.

    python families.py -o families

For each family NAME the folder then holds

    NAME/                   config.json and the weights, as transformers saves them
    NAME.safetensors        what it computes from them, in f32 on the CPU

with these tensors (S positions, vocabulary V, L layers, width d; rows and layers counted from 0):

    tokens          [S]         the input ids
    logits          [S, V]      of one forward pass over all of them
    hidden          [L, S, d]   the residual stream behind each layer, the last in front of the final norm
    splits          [2]         the numbers of layers in front of the corruption
    zeroed.rows     [k]         rows of the hidden state that are set to zero there
    zeroed.logits   [2, S-f, C] the logits then, of either split: rows from the first that was changed (f),
                                the first C of the vocabulary
    noisy.rows      [k]         rows that become gain * row + noise instead
    noisy.gain      [k]
    noisy.noise     [k, d]
    noisy.logits    [2, S-f, C]
    decode.logits   [S, C]      (some families) with a KV cache: ten tokens at once, then one after the other

Everything is drawn from seeds. The weights are scaled so that no logits are flat, attention
looks at few positions, and neither norms nor biases are what a fresh model has.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging as transformers_logging

COLUMNS = 8  # of the logits behind a corruption: random directions, so that hardly any error is orthogonal to all
ZEROED = (9, 10, 15)
NOISY = (8, 11, 12, 19)
PROMPT = 10  # tokens that enter the KV cache at once

# No width is a multiple of a vector register, and few lengths are of anything; heads share keys and values.
SIZES = dict(
    vocab_size=72, hidden_size=24, intermediate_size=14, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One checkpoint: its configuration, how it is stored, and what is recorded besides."""

    config: PreTrainedConfig
    dtype: torch.dtype
    positions: int = 26
    decode: bool = False
    max_shard_size: str | None = None
    old_generation: bool = False  # files as releases before 4.31 wrote them


def rope(theta: float, **scaling: object) -> dict[str, object]:
    return {"rope_theta": theta, "rope_type": "default", **scaling}


def families() -> dict[str, Family]:
    llama3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    return {
        # Untied, grouped-query attention, stored in full precision and in several files.
        "llama": Family(
            LlamaConfig(**SIZES, rms_norm_eps=1e-5, rope_parameters=rope(500.0)),
            torch.float32, positions=40, decode=True, max_shard_size="24KB",
        ),
        # Wavelengths of 6 (kept), 18 and 50 (between), 140, 395 and 1,113 positions (stretched); tied.
        "llama3": Family(
            LlamaConfig(
                **SIZES | dict(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512), head_dim=12,
                rms_norm_eps=1e-5, tie_word_embeddings=True,
                rope_parameters=rope(500.0, **llama3) | {"rope_type": "llama3"},
            ),
            torch.float16, positions=40,
        ),
        # As many key heads as query heads, and none of the fields that came later.
        "llama-mha": Family(
            LlamaConfig(**SIZES | dict(num_key_value_heads=4), rms_norm_eps=1e-6, rope_parameters=rope(10_000.0)),
            torch.float16, old_generation=True,
        ),
        # Biases everywhere, positions compressed by a factor that is no power of two.
        "llama-bias": Family(
            LlamaConfig(
                **SIZES, rms_norm_eps=1e-6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                rope_parameters=rope(100.0, factor=2.5) | {"rope_type": "linear"},
            ),
            torch.float16,
        ),
        # A query sees five positions, its own included.
        "mistral": Family(
            MistralConfig(
                **SIZES | dict(max_position_embeddings=128), rms_norm_eps=1e-5, sliding_window=5,
                rope_parameters=rope(1_000.0),
            ),
            torch.bfloat16, positions=70, decode=True,
        ),
        "cohere": Family(
            CohereConfig(
                **SIZES, layer_norm_eps=1e-5, logit_scale=0.3, tie_word_embeddings=True, rope_parameters=rope(300.0),
            ),
            torch.float16,
        ),
        "qwen2": Family(
            Qwen2Config(**SIZES, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(2_000.0)),
            torch.float16,
        ),
        # The first layer sees everything, the others seven positions.
        "qwen2-window": Family(
            Qwen2Config(
                **SIZES, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=True, sliding_window=7,
                max_window_layers=1, rope_parameters=rope(2_000.0),
            ),
            torch.bfloat16, positions=40, decode=True,
        ),
        # Heads of 40, where d / heads is 12.
        "qwen3": Family(
            Qwen3Config(
                **SIZES | dict(num_attention_heads=2, num_key_value_heads=1), head_dim=40, rms_norm_eps=1e-6,
                tie_word_embeddings=True, rope_parameters=rope(700.0),
            ),
            torch.bfloat16,
        ),
    }  # fmt: skip


def draw_weights(model: PreTrainedModel, generator: np.random.RandomState) -> None:
    """Fills all parameters in alphabetical order, so that a name has the same numbers in every release."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            shape = tuple(parameter.shape)
            if name.endswith("bias"):
                values = 0.4 * generator.standard_normal(shape)
            elif len(shape) == 1:
                values = generator.uniform(0.5, 1.5, shape)
            elif "embed_tokens" in name:
                values = generator.standard_normal(shape)
            elif "q_proj" in name or "k_proj" in name:
                values = 1.5 / shape[1] ** 0.5 * generator.standard_normal(shape)
            elif "lm_head" in name:
                values = 3.0 / shape[1] ** 0.5 * generator.standard_normal(shape)
            else:
                values = 1.0 / shape[1] ** 0.5 * generator.standard_normal(shape)
            parameter.copy_(torch.from_numpy(np.asarray(values)))


def write_old_generation(model: PreTrainedModel, folder: Path) -> None:
    """The files of a first-generation LLaMA: no key heads or θ in the configuration, the angles among the weights."""
    config = model.config
    fields = {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "pad_token_id": 0,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.28.1",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    frequencies = model.model.rotary_emb.inv_freq.clone()
    for layer in range(config.num_hidden_layers):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = frequencies.clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_checkpoint(family: Family, seed: int, folder: Path) -> None:
    model = AutoModelForCausalLM.from_config(family.config)
    draw_weights(model, np.random.RandomState(seed))
    model = model.to(family.dtype)
    model.config.dtype = family.dtype
    folder.mkdir(parents=True)
    if family.old_generation:
        write_old_generation(model, folder)
        return
    sharding = {} if family.max_shard_size is None else {"max_shard_size": family.max_shard_size}
    model.save_pretrained(folder, **sharding)
    (folder / "generation_config.json").unlink(missing_ok=True)


@contextmanager
def hooks(layers: dict[int, object], model: PreTrainedModel) -> Iterator[None]:
    """Forward hooks: a function of the layer's output, which may return another in its place."""

    def hook(change: object) -> object:
        def on_output(_layer: object, _inputs: object, output: object) -> object:
            # Older releases give (hidden, ...).
            hidden = output[0] if isinstance(output, tuple) else output
            changed = change(hidden)
            if changed is None:
                return None
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return on_output

    handles = [model.model.layers[layer].register_forward_hook(hook(change)) for layer, change in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def record(family: Family, seed: int, folder: Path) -> dict[str, torch.Tensor]:
    """What transformers computes from the files in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    config = model.config
    generator = np.random.RandomState(seed + 1)
    ids = generator.randint(0, config.vocab_size, family.positions)
    tokens = torch.from_numpy(ids)[None]
    layers, width = config.num_hidden_layers, config.hidden_size

    def real(shape: object) -> torch.Tensor:
        return torch.from_numpy(generator.standard_normal(shape)).float()

    hidden: list[torch.Tensor] = [torch.empty(0)] * layers

    def keep(layer: int) -> object:
        def change(output: torch.Tensor) -> None:
            hidden[layer] = output[0].clone()

        return change

    gain = torch.from_numpy(generator.uniform(0.3, 1.4, len(NOISY))).float()
    noise = real((len(NOISY), width))

    def zero(output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[0, list(ZEROED)] = 0.0
        return output

    def disturb(output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[0, list(NOISY)] = gain[:, None] * output[0, list(NOISY)] + noise
        return output

    def corrupted(change: object, first: int) -> torch.Tensor:
        found = []
        for split in splits:
            with hooks({split - 1: change}, model):
                found.append(model(tokens, use_cache=False).logits[0, first:, :COLUMNS])
        return torch.stack(found)

    splits = [1, layers - 1]
    with torch.inference_mode():
        with hooks({layer: keep(layer) for layer in range(layers)}, model):
            logits = model(tokens, use_cache=False).logits[0]
        recorded = {
            "tokens": tokens[0].int(),
            "logits": logits,
            "hidden": torch.stack(hidden),
            "splits": torch.tensor(splits).int(),
            "zeroed.rows": torch.tensor(ZEROED).int(),
            "zeroed.logits": corrupted(zero, min(ZEROED)),
            "noisy.rows": torch.tensor(NOISY).int(),
            "noisy.gain": gain,
            "noisy.noise": noise,
            "noisy.logits": corrupted(disturb, min(NOISY)),
        }
        if family.decode:
            recorded["decode.logits"] = decode(model, tokens)
    return {name: tensor.contiguous().clone() for name, tensor in recorded.items()}


def decode(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    out = model(tokens[:, :PROMPT], use_cache=True)
    rows = [out.logits[0]]
    for position in range(PROMPT, tokens.shape[1]):
        out = model(tokens[:, position : position + 1], past_key_values=out.past_key_values, use_cache=True)
        rows.append(out.logits[0])
    return torch.cat(rows)[:, :COLUMNS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    for number, (name, family) in enumerate(families().items()):
        folder = args.output / name
        if folder.exists():
            shutil.rmtree(folder)
        seed = 1000 * (number + 1)
        write_checkpoint(family, seed, folder)
        save_file(record(family, seed, folder), args.output / f"{name}.safetensors")


if __name__ == "__main__":
    main()
