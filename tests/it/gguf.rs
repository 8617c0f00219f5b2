//! GGUF files against other implementations of the format, of its tokenizers and of its
//! element types: `tests/reference/gguf_files.py` wrote files and expectations.

use serde_json::Value;
use splitwave::llm::*;

use crate::gguf_tiny::{ARRAY, GgufTiny, array, floats};

const SPM: &[u8] = include_bytes!("../reference/gguf/spm.gguf");
const BPE: &[u8] = include_bytes!("../reference/gguf/bpe.gguf");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The file with another text under `key`, nothing else moved: `general.name` takes up the difference.
fn with_text(file: &[u8], key: &str, value: &str) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let mut replace = |key: &str, change: &dyn Fn(usize) -> String| {
        // Length of the key, key, type, length of the text, text.
        let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len() + 4;
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let value = change(length);
        let new = [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat();
        bytes.splice(at..at + 8 + length, new);
        (length, value.len())
    };
    let (before, after) = replace(key, &|_| value.to_owned());
    replace("general.name", &|length| "n".repeat(length + before - after));
    assert_eq!(bytes.len(), file.len());
    bytes
}

#[test]
fn sentence_piece_ids_are_sentencepieces() {
    let model = LoadedModel::from_gguf_bytes("spm.gguf", SPM).unwrap();
    let expected = json(include_str!("../reference/gguf/spm.json"));
    let cases = expected["texts"].as_array().unwrap().iter().zip(expected["ids"].as_array().unwrap());
    let mut tokens = 0;
    for (index, (text, expected_ids)) in cases.enumerate() {
        let text = text.as_str().unwrap();
        let found = model.tokenizer.encode(text).unwrap();
        assert_eq!(found, ids(expected_ids), "{text:?}");
        assert_eq!(model.tokenizer.decode(&found).unwrap(), expected["decoded"][index].as_str().unwrap(), "{text:?}");
        tokens += found.len();
    }
    assert_eq!((model.tokenizer.vocab(), model.decoder.config().vocab), (440, 440));
    assert!(tokens > 800, "{tokens}");
    let corpus = model.tokenizer.encode(include_str!("../../models/builtin/corpus.txt")).unwrap();
    let checksum: u64 = (1..).zip(&corpus).map(|(i, &id)| i * u64::from(id)).sum();
    assert_eq!(
        (Some(corpus.len() as u64), Some(checksum)),
        (expected["corpus_tokens"].as_u64(), expected["corpus_checksum"].as_u64())
    );
    // Special tokens are cut out first, and left out of the text that comes back.
    let user = model.tokenizer.encode("<|user|>").unwrap();
    assert_eq!(user.len(), 1);
    assert_eq!(model.tokenizer.decode(&user).unwrap(), "<|user|>");
    assert_eq!(model.tokenizer.encode("</s>").unwrap(), [2]);
    assert_eq!(model.tokenizer.decode(&[1, 2]).unwrap(), "");
    assert_eq!(model.decoder.config().bos_token, Some(1));
    assert_eq!(model.decoder.config().eos_tokens, [2]);
}

#[test]
fn byte_level_ids_are_those_of_each_familys_tokenizer() {
    let expected = json(include_str!("../reference/gguf/bpe.json"));
    for name in ["default", "gpt-2", "llama-bpe", "qwen2", "command-r", "tekken", "smollm"] {
        let file = with_text(BPE, "tokenizer.ggml.pre", name);
        let model = LoadedModel::from_gguf_bytes("bpe.gguf", &file).unwrap();
        for (index, text) in expected["texts"].as_array().unwrap().iter().enumerate() {
            let text = text.as_str().unwrap();
            let found = model.tokenizer.encode(text).unwrap();
            assert_eq!(found, ids(&expected["ids"][name][index]), "{name}: {text:?}");
            let back = expected["decoded"][name][index].as_str().unwrap_or(text);
            assert_eq!(model.tokenizer.decode(&found).unwrap(), back, "{name}: {text:?}");
        }
    }
    let other = with_text(BPE, "tokenizer.ggml.pre", "falcon");
    let problem = LoadedModel::from_gguf_bytes("bpe.gguf", &other).unwrap_err().to_string();
    let known = "supported: \"default\", \"gpt-2\", \"llama-bpe\", \"qwen2\", \"command-r\", \"tekken\", \"smollm\"";
    assert!(
        problem.starts_with("bpe.gguf: `tokenizer.ggml.pre` = \"falcon\"") && problem.ends_with(known),
        "{problem}"
    );
}

#[test]
fn every_element_type_has_the_values_that_gguf_gives_it() {
    let expected = json(include_str!("../reference/gguf/types.json"));
    let bytes_of = |value: &Value| -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        text.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    };
    for (name, case) in expected.as_object().unwrap() {
        // A model of two tokens, 256 wide: its embedding is what is read.
        let mut tiny = GgufTiny::new("llama");
        tiny.number("llama.embedding_length", 256);
        tiny.number("llama.attention.key_length", 4);
        for (.., sizes, _, data) in &mut tiny.tensors {
            for size in sizes.iter_mut().filter(|size| **size == 8) {
                *size = 256;
            }
            *data = floats((0..sizes.iter().product::<u64>()).map(|_| 0.0));
        }
        tiny.tensor_mut("blk.0.attn_q.weight").1 = vec![256, 8];
        tiny.tensor_mut("blk.0.attn_output.weight").1 = vec![8, 256];
        for part in ["blk.0.attn_q.weight", "blk.0.attn_output.weight"] {
            tiny.tensor_mut(part).3.truncate(4 * 8 * 256);
        }
        *tiny.tensor_mut("token_embd.weight") =
            ("token_embd.weight".into(), vec![256, 2], case["id"].as_u64().unwrap() as u32, bytes_of(&case["stored"]));
        tiny.set(
            "tokenizer.ggml.tokens",
            ARRAY,
            array(8, 2, &[crate::gguf_tiny::text("<unk>"), crate::gguf_tiny::text("a")].concat()),
        );
        tiny.set("tokenizer.ggml.scores", ARRAY, array(6, 2, &floats([0.0, 0.0])));
        tiny.set("tokenizer.ggml.token_type", ARRAY, array(5, 2, &[2, 0, 0, 0, 1, 0, 0, 0]));
        tiny.remove("tokenizer.ggml.bos_token_id");
        tiny.remove("tokenizer.ggml.eos_token_id");
        let model = tiny.open().unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = model.decoder.embed(&[0, 1]).unwrap();
        let values = bytes_of(&case["values"]);
        let values: Vec<f32> = values.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        assert_eq!((found.values().len(), values.len()), (512, 512));
        let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (index, (x, y)) in found.values().iter().zip(&values).enumerate() {
            // Products and differences of the same numbers, perhaps in another order.
            assert!((x - y).abs() <= 3e-7 * largest, "{name}, element {index}: {x} instead of {y}");
        }
    }
    assert_eq!(expected.as_object().unwrap().len(), 7);
}

#[test]
fn metadata_become_the_configuration() {
    let config = |tiny: &GgufTiny| tiny.open().unwrap().decoder.config().clone();
    let llama = DecoderConfig {
        family: Family::Llama,
        d_model: 8,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        d_ff: 12,
        vocab: 300,
        max_positions: 64,
        norm: NormKind::Rms,
        norm_eps: 1e-5,
        rope_theta: 5e5,
        rope_scaling: RopeScaling::None,
        rope_pairing: RopePairing::Interleaved,
        windows: vec![None],
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        parallel_block: false,
        logit_scale: 1.0,
        tied_head: true,
        bos_token: Some(1),
        eos_tokens: vec![2],
    };
    assert_eq!(config(&GgufTiny::new("llama")), llama);
    let halves = RopePairing::Halves;
    let qwen2 = DecoderConfig { family: Family::Qwen2, rope_pairing: halves, qkv_bias: true, ..llama.clone() };
    assert_eq!(config(&GgufTiny::new("qwen2")), qwen2);
    let qwen3 = DecoderConfig { family: Family::Qwen3, rope_pairing: halves, qk_norm: true, ..llama.clone() };
    assert_eq!(config(&GgufTiny::new("qwen3")), qwen3);
    let cohere = DecoderConfig {
        family: Family::Cohere,
        norm: NormKind::Layer,
        parallel_block: true,
        logit_scale: 0.0625,
        ..llama.clone()
    };
    assert_eq!(config(&GgufTiny::new("command-r")), cohere);

    let mut tiny = GgufTiny::new("llama");
    tiny.version = 2;
    tiny.number("llama.attention.sliding_window", 16);
    tiny.text("llama.rope.scaling.type", "linear");
    tiny.float("llama.rope.scaling.factor", 2.5);
    tiny.remove("llama.rope.freq_base");
    tiny.remove("llama.attention.head_count_kv");
    tiny.tensor_mut("blk.0.attn_k.weight").1 = vec![8, 8];
    tiny.tensor_mut("blk.0.attn_v.weight").1 = vec![8, 8];
    for part in ["k", "v"] {
        tiny.tensor_mut(&format!("blk.0.attn_{part}.weight")).3.resize(256, 0);
    }
    tiny.tensor("output.weight", &[8, 300]);
    tiny.flag("tokenizer.ggml.add_bos_token", false);
    tiny.number("tokenizer.ggml.eot_token_id", 5);
    tiny.number("tokenizer.ggml.eom_token_id", 2);
    let expected = DecoderConfig {
        kv_heads: 2,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Linear { factor: 2.5 },
        windows: vec![Some(16)],
        tied_head: false,
        bos_token: None,
        eos_tokens: vec![2, 5],
        ..llama.clone()
    };
    assert_eq!(config(&tiny), expected);
    tiny.text("llama.rope.scaling.type", "none");
    assert_eq!(config(&tiny), DecoderConfig { rope_scaling: RopeScaling::None, ..expected });

    // Llama 3's scaling is a tensor of divisors.
    let mut tiny = GgufTiny::new("llama");
    tiny.tensors.push(("rope_freqs.weight".into(), vec![2], 0, floats([1.0, 8.0])));
    let expected = DecoderConfig { rope_scaling: RopeScaling::Factors(vec![1.0, 8.0]), ..llama };
    assert_eq!(config(&tiny), expected);
    tiny.float("llama.rope.scaling.factor", 2.0);
    assert!(tiny.refused().contains("1 when there is a tensor `rope_freqs.weight`"), "{}", tiny.refused());
    tiny.remove("llama.rope.scaling.factor");
    tiny.tensor_mut("rope_freqs.weight").3 = floats([1.0, 0.0]);
    assert!(tiny.refused().contains("`rope_freqs.weight` = 0 is not allowed"), "{}", tiny.refused());
    tiny.tensor_mut("rope_freqs.weight").1 = vec![1];
    assert!(tiny.refused().contains("rope_freqs.weight"), "{}", tiny.refused());
}

#[test]
fn files_on_disk_are_the_bytes_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, SPM).unwrap();
    let on_disk = LoadedModel::open(path.to_str().unwrap()).unwrap();
    let in_memory = LoadedModel::from_gguf_bytes("spm.gguf", SPM).unwrap();
    assert_eq!(on_disk.content_hash(), blake3::hash(SPM).to_hex().as_str());
    assert_eq!(on_disk.content_hash(), in_memory.content_hash());
    let window = on_disk.tokenizer.encode("The ferry did not run on Sundays.").unwrap();
    let nll = |model: &LoadedModel| model.decoder.window_nll(&window).unwrap();
    assert_eq!(nll(&on_disk), nll(&in_memory));
    assert!(nll(&on_disk).perplexity().is_finite());

    let missing = dir.path().join("absent.gguf").display().to_string();
    let problem = LoadedModel::open(&missing).unwrap_err().to_string();
    assert!(problem.starts_with(&format!("{missing}: cannot be read: ")), "{problem}");
}
