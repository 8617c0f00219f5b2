# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=5.0", "safetensors>=0.4", "numpy", "gguf>=0.10"]
# ///
"""Write GGUF files of checkpoints of families.py, and one in block-quantised types.

    python gguf_families.py families -o families

`families` is the folder that families.py has written. Into the output folder go

    llama3.gguf, qwen2.gguf   the checkpoints of these names with matrices in F16 and vectors in F32.
                              Nothing is rounded, so NAME.safetensors holds for them too. Queries and
                              keys of a llama are reordered and its rotary scaling is a tensor of
                              factors, as llama.cpp's converter writes them
    quantised.gguf            a random llama in Q4_K, Q5_K, Q6_K and Q8_0
    quantised.safetensors     what transformers computes from its weights, dequantised, in f32:

        tokens          [S]
        logits          [S, V]

No quantiser is involved: the blocks are drawn, and the package gguf says what they mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedConfig
from transformers.utils import logging as transformers_logging

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
POSITIONS = 20


def gguf_name(name: str) -> str:
    """The name of a tensor of Hugging Face's in a GGUF file."""
    for theirs, ours in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")):
        if name.startswith(theirs):
            return name.replace(theirs, ours)
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from order (0, 1, …) to (0, h/2, 1, h/2 + 1, …): pairs stand side by side."""
    return matrix.reshape(heads, 2, -1, *matrix.shape[1:]).swapaxes(1, 2).reshape(matrix.shape)


def halved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `interleaved`."""
    return matrix.reshape(heads, -1, 2, *matrix.shape[1:]).swapaxes(1, 2).reshape(matrix.shape)


def heads_of(name: str, config: PreTrainedConfig) -> int | None:
    """The number of heads whose rows are reordered in this tensor, if any."""
    if config.model_type != "llama":
        return None
    if "attn_q." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if "attn_k." in name else None


def start(path: Path, config: PreTrainedConfig) -> GGUFWriter:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = GGUFWriter(path, config.model_type)
    writer.add_name(path.stem)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_vocab_size(config.vocab_size)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    return writer


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_factors(config: PreTrainedConfig) -> np.ndarray:
    """What each rotary frequency is divided by: 1 for short waves, `factor` for long ones."""
    rope = config.rope_parameters
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    frequencies = rope["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
    waves_in_context = rope["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    smooth = np.clip((waves_in_context - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def write_f16(checkpoint: Path, path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = model.config
    writer = start(path, config)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        if tensor.dtype != torch.float16:
            raise SystemExit(f"error: {name} of {checkpoint} is not in f16: the GGUF file would hold other numbers")
        name, values = gguf_name(name), tensor.numpy()
        if heads := heads_of(name, config):
            values = interleaved(values, heads)
        writer.add_tensor(name, np.ascontiguousarray(values if values.ndim > 1 else values.astype(np.float32)))
    finish(writer)


def draw_blocks(kind: Type, rows: int, columns: int, scale: float, generator: np.random.RandomState) -> np.ndarray:
    """Random blocks of a matrix [rows, columns] whose weights have a mean of about 0 and a deviation of `scale`."""

    def bytes_of(*shape: int) -> np.ndarray:
        return generator.randint(0, 256, shape).astype(np.uint8)

    def half(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float16)[:, None].view(np.uint8)

    size = 32 if kind == Type.Q8_0 else 256
    count = rows * columns // size
    spread = generator.uniform(0.5, 1.5, count)
    if kind == Type.Q8_0:
        blocks = [half(scale / 74 * spread), bytes_of(count, 32)]
    elif kind == Type.Q6_K:
        # Fields: low bits, high bits, signed scales, d. Scales of 16 to 63 keep d a normal number.
        scales = (generator.randint(16, 64, (count, 16)) * generator.choice([-1, 1], (count, 16))).astype(np.int8)
        blocks = [bytes_of(count, 128), bytes_of(count, 64), scales.view(np.uint8), half(scale / 780 * spread)]
    elif kind == Type.Q5_K:
        d = scale / 515 * spread
        blocks = [half(d), half(15.5 * d), bytes_of(count, 12), bytes_of(count, 32), bytes_of(count, 128)]
    else:
        d = scale / 257 * spread
        blocks = [half(d), half(7.5 * d), bytes_of(count, 12), bytes_of(count, 128)]
    return np.concatenate(blocks, axis=1).reshape(rows, -1)


def write_quantised(output: Path, seed: int) -> None:
    config = LlamaConfig(
        vocab_size=48, hidden_size=256, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1,
        eos_token_id=2, tie_word_embeddings=False, rope_parameters={"rope_theta": 500.0, "rope_type": "default"},
    )  # fmt: skip
    # Only inputs of a multiple of 256 values can be in the K types.
    kinds = {
        "token_embd": Type.Q4_K, "output": Type.Q6_K, "attn_q": Type.Q4_K, "attn_k": Type.Q5_K, "attn_v": Type.Q6_K,
        "attn_output": Type.Q8_0, "ffn_gate": Type.Q4_K, "ffn_up": Type.Q5_K, "ffn_down": Type.Q8_0,
    }  # fmt: skip
    generator = np.random.RandomState(seed)
    model = LlamaForCausalLM(config).float().eval()
    model.set_attn_implementation("eager")
    writer = start(output / "quantised.gguf", config)
    writer.add_quantization_version(2)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            stored = gguf_name(name)
            if parameter.ndim == 1:
                values = generator.uniform(0.5, 1.5, parameter.shape).astype(np.float32)
                writer.add_tensor(stored, values)
            else:
                part = stored.removesuffix(".weight").rsplit(".", 1)[-1]
                kind = kinds[part]
                gain = {"token_embd": 1.0, "output": 2.5, "attn_q": 1.5, "attn_k": 1.5}.get(part, 1.0)
                fan_in = 1 if part == "token_embd" else parameter.shape[1]
                blocks = draw_blocks(kind, *parameter.shape, gain / fan_in**0.5, generator)
                writer.add_tensor(stored, blocks, raw_dtype=kind)
                values = dequantize(blocks, kind)
                if heads := heads_of(stored, config):
                    values = halved(values, heads)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    finish(writer)

    tokens = torch.from_numpy(generator.randint(0, config.vocab_size, POSITIONS))[None]
    with torch.inference_mode():
        logits = model(tokens, use_cache=False).logits[0]
    recorded = {"tokens": tokens[0].int(), "logits": logits}
    recorded = {name: tensor.contiguous().clone() for name, tensor in recorded.items()}
    save_file(recorded, output / "quantised.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", type=Path, metavar="FAMILIES", help="folder that families.py has written")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    for name in ("llama3", "qwen2"):
        write_f16(args.families / name, args.output / f"{name}.gguf")
    write_quantised(args.output, 20_000)


if __name__ == "__main__":
    main()
