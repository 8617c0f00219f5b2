#!/usr/bin/env python3
"""Write the seeds of the fuzz targets: small valid files of each kind.

    python seeds.py -o corpus

Needs nothing but Python. The files are committed; a seed that a run has found is added by hand.
"""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

U32, F32, TEXT, ARRAY = 4, 6, 8, 9


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def texts(values: list[str]) -> bytes:
    return struct.pack("<IQ", TEXT, len(values)) + b"".join(map(text, values))


def numbers(kind: int, code: str, values: list[float]) -> bytes:
    return struct.pack(f"<IQ{len(values)}{code}", kind, len(values), *values)


def values_of(count: int) -> bytes:
    return b"".join(struct.pack("<f", (i * 37 + 11) % 101 / 101 - 0.4) for i in range(count))


def gguf(architecture: str, tokenizer: str, embedding_type: int = 0) -> bytes:
    """One layer; d = 4, or 32 where the embedding comes in blocks of Q8_0."""
    width = 4 if embedding_type == 0 else 32
    sentence_piece = ["<unk>", "<s>", "</s>", "▁", "a", "b", "c", "ab", "▁ab", "<t>"]
    byte_level = ["<s>", "</s>", "a", "b", "c", "Ġ", "1", "2", "ab", "<t>"]
    tokens = sentence_piece if tokenizer == "llama" else byte_level
    pairs: list[tuple[str, int, bytes]] = [("general.architecture", TEXT, text(architecture))]
    sizes = {
        "context_length": 16, "embedding_length": width, "block_count": 1, "feed_forward_length": 6,
        "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 2,
    }  # fmt: skip
    pairs += [(f"{architecture}.{key}", U32, struct.pack("<I", size)) for key, size in sizes.items()]
    eps = "layer_norm_epsilon" if architecture == "command-r" else "layer_norm_rms_epsilon"
    pairs.append((f"{architecture}.attention.{eps}", F32, struct.pack("<f", 1e-5)))
    if architecture == "command-r":
        pairs.append(("command-r.logit_scale", F32, struct.pack("<f", 0.0625)))
    pairs.append(("tokenizer.ggml.tokens", ARRAY, texts(tokens)))
    if tokenizer == "llama":
        kinds = [2, 3, 3, 1, 1, 1, 1, 1, 1, 4]
        pairs.append(("tokenizer.ggml.model", TEXT, text("llama")))
        pairs.append(("tokenizer.ggml.scores", ARRAY, numbers(6, "f", [-float(i) for i in range(len(tokens))])))
    else:
        kinds = [3, 3, 1, 1, 1, 1, 1, 1, 1, 4]
        pairs.append(("tokenizer.ggml.model", TEXT, text("gpt2")))
        pairs.append(("tokenizer.ggml.pre", TEXT, text(tokenizer)))
        pairs.append(("tokenizer.ggml.merges", ARRAY, texts(["a b"])))
    pairs.append(("tokenizer.ggml.token_type", ARRAY, numbers(5, "i", kinds)))
    pairs.append(("tokenizer.ggml.bos_token_id", U32, struct.pack("<I", 1)))

    shapes: dict[str, list[int]] = {
        "token_embd.weight": [width, len(tokens)], "output_norm.weight": [width], "blk.0.attn_norm.weight": [width],
        "blk.0.attn_q.weight": [width, 4], "blk.0.attn_k.weight": [width, 2], "blk.0.attn_v.weight": [width, 2],
        "blk.0.attn_output.weight": [4, width], "blk.0.ffn_gate.weight": [width, 6], "blk.0.ffn_up.weight": [width, 6],
        "blk.0.ffn_down.weight": [6, width],
    }  # fmt: skip
    if architecture != "command-r":
        shapes["blk.0.ffn_norm.weight"] = [width]
    if architecture == "qwen2":
        shapes |= {"blk.0.attn_q.bias": [4], "blk.0.attn_k.bias": [2], "blk.0.attn_v.bias": [2]}
    if architecture == "qwen3":
        shapes |= {"blk.0.attn_q_norm.weight": [2], "blk.0.attn_k_norm.weight": [2]}
    records, data = b"", b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        kind = embedding_type if name == "token_embd.weight" else 0
        records += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += (struct.pack("<e", 0.01) + bytes(range(32))) * (count // 32) if kind == 8 else values_of(count)
        data += bytes(-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs))
    header += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs) + records
    return header + bytes(-len(header) % 32) + data


def safetensors(dtype: str) -> bytes:
    """The model of targets/safetensors.rs."""
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": [10, 4], "model.norm.weight": [4], layer + "input_layernorm.weight": [4],
        layer + "post_attention_layernorm.weight": [4], layer + "self_attn.q_proj.weight": [4, 4],
        layer + "self_attn.k_proj.weight": [2, 4], layer + "self_attn.v_proj.weight": [2, 4],
        layer + "self_attn.o_proj.weight": [4, 4], layer + "mlp.gate_proj.weight": [6, 4],
        layer + "mlp.up_proj.weight": [6, 4], layer + "mlp.down_proj.weight": [4, 6],
    }  # fmt: skip
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = values_of(count)
        if dtype == "F16":
            values = b"".join(struct.pack("<e", value) for (value,) in struct.iter_unpack("<f", values))
        if dtype == "BF16":
            values = b"".join(values[i + 2 : i + 4] for i in range(0, len(values), 4))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def configs() -> dict[str, dict[str, object]]:
    llama = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 256,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": [2, 3], "rope_theta": 10000.0, "torch_dtype": "bfloat16",
    }  # fmt: skip
    new = {key: value for key, value in llama.items() if key not in ("rope_theta", "torch_dtype")}
    scaled = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }  # fmt: skip
    cohere = {key: value for key, value in llama.items() if key != "rms_norm_eps"}
    cohere |= {"architectures": ["CohereForCausalLM"], "model_type": "cohere", "layer_norm_eps": 1e-5, "logit_scale": 0.0625}
    qwen2 = llama | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8,
        "max_window_layers": 2,
    }  # fmt: skip
    return {
        "llama": llama,
        "llama3": new | {"dtype": "float16", "rope_parameters": scaled},
        "linear": llama | {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "mistral": llama | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16},
        "cohere": cohere,
        "qwen2": qwen2,
        "qwen3": llama | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32},
    }


def tokenizers() -> dict[str, dict[str, object]]:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    common = {"version": "1.0", "truncation": None, "padding": None}
    bpe = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
    }  # fmt: skip
    pattern = {"Regex": r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+"}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "byte_level": common | {
            "added_tokens": [special | {"id": 0, "content": "<s>"}],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "post_processor": None,
            "decoder": byte_level | {"use_regex": True},
            "model": bpe | {
                "vocab": {"<s>": 0, "a": 1, "b": 2, "Ġ": 3, "ab": 4, "1": 5, "2": 6},
                "merges": [["a", "b"]],
            },
        },
        "sentence_piece": common | {
            "added_tokens": [special | {"id": 0, "content": "<unk>"}, special | {"id": 1, "content": "<s>"}],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": bpe | {
                "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "b": 4, "▁a": 5, "<0x0A>": 6},
                "merges": ["▁ a"],
            },
        },
    }  # fmt: skip


SCENARIO = """\
name = "seed"
seed = 1
duration_s = 2.0

[channel]
kind = "statistical"
noise_std = { min = 0.3, max = 2.0, draw = "per-episode" }
loss_probability = 0.1
reception = "equalised"

[controller]
kind = "fixed"

[[ue]]
name = "phone"
count = 2
workload = { kind = "poisson", rate_per_s = 1.0, prompt_tokens = 16, output_tokens = 1 }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    args = parser.parse_args()
    files: dict[str, bytes] = {"scenario/seed.toml": SCENARIO.encode()}
    for architecture in ("llama", "qwen2", "qwen3", "command-r"):
        files[f"gguf/{architecture}.gguf"] = gguf(architecture, "llama")
    for pre in ("llama-bpe", "qwen2", "tekken", "default"):
        files[f"gguf/bpe-{pre}.gguf"] = gguf("llama", pre)
    files["gguf/q8_0.gguf"] = gguf("llama", "llama", embedding_type=8)
    files |= {f"safetensors/{dtype.lower()}.safetensors": safetensors(dtype) for dtype in ("F32", "F16", "BF16")}
    for folder, found in (("config_json", configs()), ("tokenizer_json", tokenizers())):
        files |= {f"{folder}/{name}.json": json.dumps(value, ensure_ascii=False).encode() for name, value in found.items()}
    for name, content in files.items():
        path = args.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
