# /// script
# requires-python = ">=3.10"
# dependencies = ["gguf>=0.10", "numpy", "sentencepiece>=0.2", "tokenizers>=0.20"]
# ///
"""Write small GGUF files, and what other implementations make of them.

    python gguf_files.py -o gguf

Into the output folder go

    spm.gguf, spm.json      a SentencePiece tokenizer (BPE with byte fallback), trained on the built-in
                            corpus, and the ids that sentencepiece gives to texts and to the corpus
    bpe.gguf, bpe.json      a byte-level BPE tokenizer, and the ids that the package tokenizers gives to
                            the same texts behind the normalizer and pre-tokenizer of each model family,
                            as they stand in those models' tokenizer.json
    types.json              two rows of 256 values in each element type, as stored and as the package gguf
                            reads them (f32); both little-endian in hexadecimal

The models around the tokenizers have one layer and random weights. Everything is drawn from seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, TokenType
from gguf.quants import dequantize
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = Path(__file__).resolve().parents[2] / "models" / "builtin" / "corpus.txt"

TEXTS = [
    "",
    " ",
    "Hello world",
    " leading and trailing ",
    "two  spaces,   three,    four,          ten",
    "a b c d e f g",
    "line one\nline two\n\nline four\r\n\ttabbed\t\tagain \n  ",
    "It's what they'd've said: we'll, I'M, YOU'RE, don't, 'tis, O'Neil's 'S 's",
    "1 22 333 4444 55555 1234567890 3.14159 1,000,000 2026-11-20 ²³ ½ ٣٤٥ Ⅷ",
    "HelloWorld XMLHttpRequest iPhone fooBAR ABCdefGHI ÀÉÎõü ǅ",
    "naïve café: composed é, decomposed e\u0301, a\u0308o\u0308u\u0308, \u1e9b\u0323, \ufb01ne, \u212b",
    "Привет, мир! Γειά σου Κόσμε. 你好，世界。こんにちは 안녕하세요 สวัสดี नमस्ते שלום مرحبا",
    "emoji 🙂🙃 👩‍👩‍👧‍👦 🇩🇪 ❤️ 🏳️‍🌈 end",
    "\u200bzero\u200bwidth \u00a0nbsp\u00a0 \u2003em\u2003 \u3000ideographic \ufeffbom \u0000nul \u007f",
    "!!! ... --- ??? :-) <tag attr=\"v\"> {x: [1, 2]} $5.00 50% a/b\\c #tag @me ^_^ ~~ `code` |pipe|",
    "path/to/file.txt\n// comment /* block */\n/\n//\n",
    "▁▁ ▁a▁b",
    "aaaaaaaaaaaaaaaaaaaaaaa bbbbbbb          . . . . ======== --------",
    "The ferry did not run on Sundays, and so Marta had the whole of the landing stage to herself.",
]  # fmt: skip


def start(path: Path, name: str, architecture: str, width: int, head_dim: int, feed_forward: int, vocab: int) -> GGUFWriter:
    writer = GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_vocab_size(vocab)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    return writer


def matrices(width: int, head_dim: int, feed_forward: int, vocab: int) -> dict[str, tuple[int, int]]:
    return {
        "token_embd.weight": (vocab, width),
        "blk.0.attn_q.weight": (head_dim, width),
        "blk.0.attn_k.weight": (head_dim, width),
        "blk.0.attn_v.weight": (head_dim, width),
        "blk.0.attn_output.weight": (width, head_dim),
        "blk.0.ffn_gate.weight": (feed_forward, width),
        "blk.0.ffn_up.weight": (feed_forward, width),
        "blk.0.ffn_down.weight": (width, feed_forward),
    }


def add_norms(writer: GGUFWriter, width: int) -> None:
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_small_model(writer: GGUFWriter, vocab: int, biases: bool) -> None:
    generator = np.random.RandomState(1)
    for name, shape in matrices(8, 8, 8, vocab).items():
        writer.add_tensor(name, generator.normal(0, 0.3, shape).astype(np.float16))
    for part in ("q", "k", "v") if biases else ():
        writer.add_tensor(f"blk.0.attn_{part}.bias", generator.normal(0, 0.3, 8).astype(np.float32))
    add_norms(writer, 8)


def write_spm(output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        lines = [*CORPUS.read_text(encoding="utf-8").splitlines(), *(line for text in TEXTS for line in text.splitlines())]
        text.write_text("\n".join(lines), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=f"{folder}/spm", model_type="bpe", vocab_size=440, byte_fallback=True,
            character_coverage=0.995, normalization_rule_name="identity", remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, split_digits=True, user_defined_symbols=["<|user|>"],
            control_symbols=["<|system|>"], minloglevel=2, num_threads=1,
        )  # fmt: skip
        processor = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/spm.model")
    vocab = processor.get_piece_size()
    writer = start(output / "spm.gguf", "spm", "llama", 8, 8, 8, vocab)
    kinds = []
    for token in range(vocab):
        kind = TokenType.NORMAL
        if processor.is_unknown(token):
            kind = TokenType.UNKNOWN
        elif processor.is_control(token):
            kind = TokenType.CONTROL
        elif processor.is_byte(token):
            kind = TokenType.BYTE
        elif processor.id_to_piece(token) == "<|user|>":
            kind = TokenType.USER_DEFINED
        kinds.append(kind)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([processor.id_to_piece(token) for token in range(vocab)])
    writer.add_token_scores([processor.get_score(token) for token in range(vocab)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages }}" * 1000)
    add_small_model(writer, vocab, biases=False)
    finish(writer)
    ids = [processor.encode(text) for text in TEXTS]
    decoded = [processor.decode(one) for one in ids]
    corpus = processor.encode(CORPUS.read_text(encoding="utf-8"))
    # All tokens of the corpus in one number, in which their order counts.
    checksum = sum((i + 1) * token for i, token in enumerate(corpus))
    dump(
        output / "spm.json",
        {"texts": TEXTS, "ids": ids, "decoded": decoded, "corpus_tokens": len(corpus), "corpus_checksum": checksum},
    )


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA_3 = (
    CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's own, for files without a name: these after one another.
DEFAULT = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
]


def behind(*patterns: str) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def single_digits() -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)])


def families() -> dict[str, tuple[normalizers.Normalizer | None, pre_tokenizers.PreTokenizer, bool]]:
    """Normalizer, pre-tokenizer and `ignore_merges` by the name in `tokenizer.ggml.pre`."""
    return {
        "default": (None, behind(*DEFAULT), False),
        "gpt-2": (None, pre_tokenizers.ByteLevel(add_prefix_space=False), False),
        "llama-bpe": (None, behind(LLAMA_3), True),
        "qwen2": (normalizers.NFC(), behind(QWEN_2), False),
        "command-r": (normalizers.NFC(), single_digits(), False),
        "tekken": (None, behind(TEKKEN), True),
        "smollm": (None, single_digits(), False),
    }


def write_bpe(output: Path) -> None:
    # Trained on whole lines: there are merges across every border that a pattern can draw.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    special = ["<|begin|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=6, show_progress=False,
    )  # fmt: skip
    corpus = CORPUS.read_text(encoding="utf-8")[:8000]
    tokenizer.train_from_iterator([corpus, *TEXTS * 20], trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(trained["vocab"], key=trained["vocab"].get)
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in trained["merges"]]
    # A token that the merges don't reach, for those families that take a word whole if it is one.
    whole = "Ġferry"
    assert whole not in tokens
    tokens += ["<tool>", whole]

    texts = [*TEXTS, "call<tool>it <tool> <|end|>now<|begin|>"]
    recorded: dict[str, object] = {"texts": texts, "ids": {}, "decoded": {}}
    for name, (normalizer, pre_tokenizer, ignore_merges) in families().items():
        vocab = {token: i for i, token in enumerate(tokens)}
        pairs = [tuple(merge.split(" ")) for merge in merges]
        other = Tokenizer(models.BPE(vocab, pairs, ignore_merges=ignore_merges))
        if normalizer is not None:
            other.normalizer = normalizer
        other.pre_tokenizer = pre_tokenizer
        other.decoder = decoders.ByteLevel()
        other.add_special_tokens(special)
        other.add_tokens([AddedToken("<tool>", normalized=False)])
        ids = [other.encode(text, add_special_tokens=False).ids for text in texts]
        recorded["ids"][name] = ids
        # Only canonical composition and special tokens keep a text from coming back whole.
        recorded["decoded"][name] = [
            None if back == text else back for text, back in zip(texts, (other.decode(one) for one in ids))
        ]

    writer = start(output / "bpe.gguf", "a name that a test can cut", "qwen2", 8, 8, 8, len(tokens))
    kinds = [TokenType.NORMAL] * len(tokens)
    for i, token in enumerate(tokens):
        kinds[i] = {"<tool>": TokenType.USER_DEFINED}.get(token, kinds[i])
        kinds[i] = TokenType.CONTROL if token in special else kinds[i]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    add_small_model(writer, len(tokens), biases=True)
    finish(writer)
    dump(output / "bpe.json", recorded)


def blocks(kind: Type, rows: int, columns: int, generator: np.random.RandomState) -> np.ndarray:
    """Random bytes in the layout of `kind`, but for scales that are small numbers."""

    def scales(count: int) -> np.ndarray:
        return generator.uniform(-0.02, 0.02, count).astype(np.float16)[:, None].view(np.uint8)

    # Bytes of a block in front of its f16 scales, those scales, and bytes behind.
    size, front, halves, behind = {
        Type.Q8_0: (32, 0, 1, 32),
        Type.Q4_K: (256, 0, 2, 140),
        Type.Q5_K: (256, 0, 2, 172),
        Type.Q6_K: (256, 208, 1, 0),
    }[kind]
    count = rows * columns // size
    parts = [generator.randint(0, 256, (count, front)).astype(np.uint8)]
    parts += [scales(count) for _ in range(halves)]
    parts += [generator.randint(0, 256, (count, behind)).astype(np.uint8)]
    return np.concatenate(parts, axis=1).reshape(rows, -1)


def write_types(output: Path) -> None:
    generator = np.random.RandomState(2)
    shape = (2, 256)
    recorded = {}
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K):
        drawn = generator.normal(0, 0.3, shape).astype(np.float32)
        if kind == Type.F32:
            stored = drawn.view(np.uint8)
        elif kind == Type.F16:
            stored = drawn.astype(np.float16).view(np.uint8)
        elif kind == Type.BF16:
            stored = (drawn.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        else:
            stored = blocks(kind, *shape, generator)
        plain = {Type.F32: np.float32, Type.F16: np.float16}.get(kind)
        values = stored.view(plain) if plain else dequantize(stored, kind)
        values = values.astype(np.float32)
        assert values.shape == shape, (kind, values.shape)
        recorded[kind.name] = {"id": int(kind), "stored": stored.tobytes().hex(), "values": values.tobytes().hex()}
    dump(output / "types.json", recorded)


def dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    write_spm(args.output)
    write_bpe(args.output)
    write_types(args.output)


if __name__ == "__main__":
    main()
