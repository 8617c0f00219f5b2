//! A GGUF file of a tiny model, written field by field, so that tests can damage any of them.

use splitwave::llm::{LoadError, LoadedModel};

/// Types of metadata values, as numbered in the format.
pub const U32: u32 = 4;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;

/// A GGUF file in parts.
#[derive(Clone)]
pub struct GgufTiny {
    pub version: u32,
    /// Key, type, bytes.
    pub pairs: Vec<(String, u32, Vec<u8>)>,
    /// Name, sizes innermost first, type, bytes.
    pub tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    pub alignment: usize,
    /// Added to each tensor's offset, in bytes.
    pub shift: Vec<i64>,
}

pub fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

pub fn array(kind: u32, length: usize, values: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(length as u64).to_le_bytes(), values].concat()
}

pub fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

impl GgufTiny {
    /// One layer, d = 8, two heads of 4 and one key head, d_ff = 12, 300 tokens.
    pub fn new(architecture: &str) -> Self {
        let mut tiny = Self { version: 3, pairs: Vec::new(), tensors: Vec::new(), alignment: 32, shift: vec![0; 32] };
        tiny.text("general.architecture", architecture);
        for (name, value) in [
            ("context_length", 64),
            ("embedding_length", 8),
            ("block_count", 1),
            ("feed_forward_length", 12),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
        ] {
            tiny.number(&format!("{architecture}.{name}"), value);
        }
        let eps = if architecture == "command-r" { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
        tiny.float(&format!("{architecture}.attention.{eps}"), 1e-5);
        tiny.float(&format!("{architecture}.rope.freq_base"), 5e5);
        tiny.number("tokenizer.ggml.bos_token_id", 1);
        tiny.number("tokenizer.ggml.eos_token_id", 2);
        tiny.sentence_piece();
        for (name, sizes) in [
            ("token_embd", [8, 300]),
            ("blk.0.attn_q", [8, 8]),
            ("blk.0.attn_k", [8, 4]),
            ("blk.0.attn_v", [8, 4]),
            ("blk.0.attn_output", [8, 8]),
            ("blk.0.ffn_gate", [8, 12]),
            ("blk.0.ffn_up", [8, 12]),
            ("blk.0.ffn_down", [12, 8]),
        ] {
            tiny.tensor(&format!("{name}.weight"), &sizes);
        }
        tiny.tensor("blk.0.attn_norm.weight", &[8]);
        if architecture == "command-r" {
            tiny.float("command-r.logit_scale", 0.0625);
        } else {
            tiny.tensor("blk.0.ffn_norm.weight", &[8]);
        }
        tiny.tensor("output_norm.weight", &[8]);
        if architecture == "qwen2" {
            for (part, size) in [("q", 8), ("k", 4), ("v", 4)] {
                tiny.tensor(&format!("blk.0.attn_{part}.bias"), &[size]);
            }
        }
        if architecture == "qwen3" {
            tiny.tensor("blk.0.attn_q_norm.weight", &[4]);
            tiny.tensor("blk.0.attn_k_norm.weight", &[4]);
        }
        tiny
    }

    /// 256 byte tokens, three special ones, and some pieces.
    fn sentence_piece(&mut self) {
        let mut tokens: Vec<(String, f32, i32)> =
            vec![("<unk>".into(), 0.0, 2), ("<s>".into(), 0.0, 3), ("</s>".into(), 0.0, 3)];
        tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
        let pieces = ["▁", "a", "b", "c", "ab", "▁a", "abc", "▁ab", "▁abc"];
        tokens.extend(pieces.iter().zip(0u8..).map(|(piece, i)| ((*piece).into(), -f32::from(i), 1)));
        self.text("tokenizer.ggml.model", "llama");
        let list: Vec<u8> = tokens.iter().flat_map(|(token, ..)| text(token)).collect();
        self.set("tokenizer.ggml.tokens", ARRAY, array(TEXT, tokens.len(), &list));
        self.set("tokenizer.ggml.scores", ARRAY, array(6, tokens.len(), &floats(tokens.iter().map(|token| token.1))));
        let kinds: Vec<u8> = tokens.iter().flat_map(|token| token.2.to_le_bytes()).collect();
        self.set("tokenizer.ggml.token_type", ARRAY, array(5, tokens.len(), &kinds));
    }

    /// Sets or replaces a metadata value.
    pub fn set(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        self.remove(key);
        self.pairs.push((key.to_owned(), kind, bytes));
    }

    pub fn remove(&mut self, key: &str) {
        self.pairs.retain(|(known, ..)| known != key);
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.set(key, TEXT, text(value));
    }

    pub fn number(&mut self, key: &str, value: u32) {
        self.set(key, U32, value.to_le_bytes().to_vec());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.set(key, 6, floats([value]));
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.set(key, 7, vec![value.into()]);
    }

    /// Adds a tensor in f32 with small distinct values.
    pub fn tensor(&mut self, name: &str, sizes: &[u64]) {
        let count = sizes.iter().product::<u64>();
        let values = floats((0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.4));
        self.tensors.push((name.to_owned(), sizes.to_vec(), 0, values));
    }

    pub fn tensor_mut(&mut self, name: &str) -> &mut (String, Vec<u64>, u32, Vec<u8>) {
        self.tensors.iter_mut().find(|(known, ..)| known == name).unwrap()
    }

    /// The bytes in front of the data, without padding.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            bytes.extend([&text(key), &kind.to_le_bytes()[..], value].concat());
        }
        let mut offset = 0;
        for ((name, sizes, kind, data), shift) in self.tensors.iter().zip(&self.shift) {
            bytes.extend(text(name));
            bytes.extend((sizes.len() as u32).to_le_bytes());
            bytes.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((offset as u64).wrapping_add_signed(*shift).to_le_bytes());
            offset += data.len().next_multiple_of(self.alignment);
        }
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        let start = bytes.len();
        for (.., data) in &self.tensors {
            bytes.resize(start + (bytes.len() - start).next_multiple_of(self.alignment), 0);
            bytes.extend(data);
        }
        bytes
    }

    pub fn open(&self) -> Result<LoadedModel, LoadError> {
        LoadedModel::from_gguf_bytes("tiny.gguf", &self.bytes())
    }

    /// The message of the error that opening gives.
    pub fn refused(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}
