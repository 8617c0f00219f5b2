//! Metadata of a GGUF file, and the decoder's configuration in it.
//!
//! Keys as in ggml-org/ggml, docs/gguf.md; what a converter permutes and which pairs
//! the rotary embedding turns, as in `convert_hf_to_gguf.py` and `llama_model_rope_type`
//! of ggml-org/llama.cpp.

use std::collections::BTreeMap;

use super::bos;
use super::checkpoint::TensorEntry;
use super::config::{DecoderConfig, Family, NormKind, RopePairing, RopeScaling};
use super::config_fields::{NORM_EPS, NORM_EPS_ALLOWED};
use super::gguf_error::GgufProblem;
use super::gguf_reader::Value;
use super::gguf_tokenizer;

/// As for a config.json: far above every published model, and no product of two overflows.
const MAX_DIMENSION: usize = 1 << 24;
const MAX_POSITIONS: usize = 1 << 20;

/// The architectures that run.
const ARCHITECTURES: &str = "\"llama\", \"qwen2\", \"qwen3\", \"command-r\"";

/// Keys that change the arithmetic, with the values at which they don't.
const NEUTRAL: [(&str, &[f64]); 14] = [
    ("attention.scale", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.causal", &[1.0]),
    ("attention.temperature_length", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("expert_count", &[0.0]),
    ("rope.scaling.attn_factor", &[0.0, 1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    ("use_parallel_residual", &[0.0]),
];

/// The metadata pairs, and the model's `general.architecture`.
#[derive(Debug)]
pub(super) struct Metadata {
    pairs: BTreeMap<String, Value>,
    architecture: String,
}

impl Metadata {
    /// Takes the pairs; the architecture must be one that runs, and all tensors be in this file.
    pub(super) fn new(pairs: BTreeMap<String, Value>) -> Result<Self, GgufProblem> {
        let mut metadata = Self { pairs, architecture: String::new() };
        if let Some(parts) = metadata.get("split.count").filter(|parts| !matches!(parts.unsigned(), Some(0 | 1))) {
            let supported = "a model in one file (join the parts with `llama-gguf-split --merge`)";
            return Err(unsupported("split.count", parts, supported));
        }
        let key = "general.architecture";
        metadata.architecture = match metadata.required(key)? {
            Value::Text(name) if matches!(name.as_str(), "llama" | "qwen2" | "qwen3" | "command-r") => name.clone(),
            other => return Err(unsupported(key, other, ARCHITECTURES)),
        };
        Ok(metadata)
    }

    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.get(key)
    }

    pub(super) fn required(&self, key: &str) -> Result<&Value, GgufProblem> {
        self.get(key).ok_or_else(|| GgufProblem::Missing(key.to_owned()))
    }

    /// A truth value, if it is there.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, GgufProblem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(out_of_range(key, other, "true or false")),
        }
    }

    /// A token id below `vocab`, if it is there.
    fn token(&self, key: &str, vocab: usize) -> Result<Option<u32>, GgufProblem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.unsigned().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if (n as usize) < vocab => Ok(Some(n)),
            _ => Err(out_of_range(key, value, &format!("a token id below {vocab}"))),
        }
    }

    /// The key of this architecture's `name`.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A size in `1..=max`, if it is there; a list of one per layer must repeat one size.
    fn optional_size(&self, name: &str, max: usize) -> Result<Option<usize>, GgufProblem> {
        let key = self.key(name);
        let Some(value) = self.get(&key) else { return Ok(None) };
        let number = match value {
            Value::Integers(list) => match list.split_first() {
                Some((first, rest)) if rest.iter().all(|n| n == first) => u64::try_from(*first).ok(),
                _ => return Err(unsupported(&key, value, "one size for all layers")),
            },
            single => single.unsigned(),
        };
        match number.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if (1..=max).contains(&n) => Ok(Some(n)),
            _ => Err(out_of_range(&key, value, &format!("an integer from 1 to {max}"))),
        }
    }

    fn size(&self, name: &str, max: usize) -> Result<usize, GgufProblem> {
        self.optional_size(name, max)?.ok_or_else(|| GgufProblem::Missing(self.key(name)))
    }

    /// A number above 0, if it is there.
    fn optional_positive(&self, name: &str) -> Result<Option<f64>, GgufProblem> {
        let key = self.key(name);
        let Some(value) = self.get(&key) else { return Ok(None) };
        match value.real() {
            Some(x) if x > 0.0 && x.is_finite() => Ok(Some(x)),
            _ => Err(out_of_range(&key, value, "a number above 0")),
        }
    }

    fn positive(&self, name: &str) -> Result<f64, GgufProblem> {
        self.optional_positive(name)?.ok_or_else(|| GgufProblem::Missing(self.key(name)))
    }

    fn norm_eps(&self, name: &str) -> Result<f64, GgufProblem> {
        let key = self.key(name);
        let value = self.required(&key)?;
        let eps = value.real().filter(|eps| NORM_EPS.contains(eps));
        eps.ok_or_else(|| out_of_range(&key, value, NORM_EPS_ALLOWED))
    }

    /// The configuration; `tensors` by their Hugging Face names say which optional
    /// parts the model has.
    pub(super) fn config(&self, tensors: &BTreeMap<String, TensorEntry>) -> Result<DecoderConfig, GgufProblem> {
        self.refuse_other_arithmetic()?;
        let family = match self.architecture.as_str() {
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "command-r" => Family::Cohere,
            _ => Family::Llama,
        };
        let has = |name: &str| tensors.contains_key(name);
        let in_first_layer = |name: &str| tensors.contains_key(&format!("model.layers.0.{name}"));
        if family != Family::Qwen3 && in_first_layer("self_attn.q_norm.weight") {
            let name = "blk.0.attn_q_norm.weight".to_owned();
            return Err(GgufProblem::Foreign { name, architecture: self.architecture.clone() });
        }

        // Every layer has tensors: a number of layers without them is no reason to allocate.
        let layer = |i: &usize| has(&format!("model.layers.{i}.input_layernorm.weight"));
        let layers = self.size("block_count", (0..tensors.len()).take_while(layer).count().max(1))?;
        let d_model = self.size("embedding_length", MAX_DIMENSION)?;
        let (heads, kv_heads, head_dim) = self.heads(d_model)?;
        let vocab = self.vocab(tensors)?;
        let window = match self.get(&self.key("attention.sliding_window")).and_then(Value::unsigned) {
            Some(0) => None,
            _ => self.optional_size("attention.sliding_window", usize::MAX)?,
        };
        let cohere = family == Family::Cohere;
        let eps = if cohere { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
        let mut eos_tokens = Vec::new();
        for key in ["eos", "eot", "eom"] {
            let token = self.token(&format!("tokenizer.ggml.{key}_token_id"), vocab)?;
            eos_tokens.extend(token.filter(|token| !eos_tokens.contains(token)));
        }
        Ok(DecoderConfig {
            family,
            d_model,
            layers,
            heads,
            kv_heads,
            head_dim,
            d_ff: self.size("feed_forward_length", MAX_DIMENSION)?,
            vocab,
            max_positions: self.size("context_length", MAX_POSITIONS)?,
            norm: if cohere { NormKind::Layer } else { NormKind::Rms },
            norm_eps: self.norm_eps(eps)?,
            rope_theta: self.optional_positive("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling: self.rope_scaling()?,
            // Converters permute the rows of q and k of llama files, so that neighbours
            // are turned; those of Cohere lie so from the start; Qwen's stay as they are.
            rope_pairing: match family {
                Family::Qwen2 | Family::Qwen3 => RopePairing::Halves,
                Family::Llama | Family::Mistral | Family::Cohere => RopePairing::Interleaved,
            },
            windows: vec![window; layers],
            qkv_bias: family == Family::Qwen2 || in_first_layer("self_attn.q_proj.bias"),
            output_bias: in_first_layer("self_attn.o_proj.bias"),
            mlp_bias: in_first_layer("mlp.up_proj.bias"),
            qk_norm: family == Family::Qwen3,
            parallel_block: cohere,
            logit_scale: if cohere { self.positive("logit_scale")? } else { 1.0 },
            tied_head: !has("lm_head.weight"),
            bos_token: self.bos_token(family, vocab)?,
            eos_tokens,
        })
    }

    /// Query heads, key heads and their width.
    fn heads(&self, d_model: usize) -> Result<(usize, usize, usize), GgufProblem> {
        let heads = self.size("attention.head_count", MAX_DIMENSION)?;
        let kv_heads = self.optional_size("attention.head_count_kv", MAX_DIMENSION)?.unwrap_or(heads);
        let refused = |name: &str, value: usize, allowed: String| {
            Err(GgufProblem::OutOfRange { key: self.key(name), value: value.to_string(), allowed })
        };
        if heads % kv_heads != 0 {
            let allowed = format!("a divisor of `{}` = {heads}", self.key("attention.head_count"));
            return refused("attention.head_count_kv", kv_heads, allowed);
        }
        let head_dim = match self.optional_size("attention.key_length", MAX_DIMENSION)? {
            Some(head_dim) => head_dim,
            None if d_model.is_multiple_of(heads) => d_model / heads,
            None => {
                let allowed = format!("a divisor of `{}` = {d_model}", self.key("embedding_length"));
                return refused("attention.head_count", heads, allowed);
            }
        };
        if head_dim % 2 != 0 || heads * head_dim > MAX_DIMENSION {
            let allowed = format!("even, and at most {MAX_DIMENSION} / `{}`", self.key("attention.head_count"));
            return refused("attention.key_length", head_dim, allowed);
        }
        // The whole head is rotated, and values are as wide as keys.
        for name in ["attention.value_length", "rope.dimension_count"] {
            match self.optional_size(name, MAX_DIMENSION)? {
                Some(n) if n != head_dim => {
                    let key = self.key(name);
                    let supported = format!("{head_dim}, the width of a head");
                    return Err(GgufProblem::Unsupported { key, value: n.to_string(), supported });
                }
                _ => {}
            }
        }
        Ok((heads, kv_heads, head_dim))
    }

    /// The rows of the embedding, which the number of tokens must not exceed.
    fn vocab(&self, tensors: &BTreeMap<String, TensorEntry>) -> Result<usize, GgufProblem> {
        let embedding = tensors.get("model.embed_tokens.weight");
        let rows = embedding.and_then(|entry| entry.shape.first()).copied();
        let rows = rows.ok_or_else(|| GgufProblem::Missing("token_embd.weight".to_owned()))?;
        if !(1..=MAX_DIMENSION).contains(&rows) {
            let (key, allowed) = ("token_embd.weight".to_owned(), format!("from 1 to {MAX_DIMENSION} rows"));
            return Err(GgufProblem::OutOfRange { key, value: rows.to_string(), allowed });
        }
        if let Some(stated) = self.optional_size("vocab_size", MAX_DIMENSION)?
            && stated != rows
        {
            let (key, allowed) = (self.key("vocab_size"), format!("{rows}, the rows of the embedding"));
            return Err(GgufProblem::OutOfRange { key, value: stated.to_string(), allowed });
        }
        Ok(rows)
    }

    fn rope_scaling(&self) -> Result<RopeScaling, GgufProblem> {
        let key = self.key("rope.scaling.type");
        let linear = match self.get(&key) {
            None => true, // as llama.cpp has it: a factor alone is linear
            Some(Value::Text(kind)) if kind == "linear" => true,
            Some(Value::Text(kind)) if kind == "none" => false,
            Some(other) => return Err(unsupported(&key, other, "\"none\", \"linear\", and Llama 3's factors")),
        };
        // Before August 2023 the factor had the other name.
        let factor = match self.optional_positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.optional_positive("rope.scale_linear")?,
        };
        Ok(match factor {
            Some(factor) if linear && factor != 1.0 => RopeScaling::Linear { factor },
            _ => RopeScaling::None,
        })
    }

    fn bos_token(&self, family: Family, vocab: usize) -> Result<Option<u32>, GgufProblem> {
        let key = "tokenizer.ggml.bos_token_id";
        let token = self.token(key, vocab)?;
        match self.flag("tokenizer.ggml.add_bos_token")? {
            Some(true) if token.is_none() => Err(GgufProblem::Missing(key.to_owned())),
            Some(true) => Ok(token),
            Some(false) => Ok(None),
            // A model without its tokenizer is taken as one without in a directory.
            None if self.get("tokenizer.ggml.model").is_none() && bos::has_no_bos(family) => Ok(None),
            None => Ok(token.filter(|_| gguf_tokenizer::starts_with_bos(self))),
        }
    }

    fn refuse_other_arithmetic(&self) -> Result<(), GgufProblem> {
        for (name, neutral) in NEUTRAL {
            let key = self.key(name);
            let Some(value) = self.get(&key) else { continue };
            let number = match value {
                Value::Flag(flag) => Some(f64::from(u8::from(*flag))),
                other => other.real(),
            };
            if !number.is_some_and(|x| neutral.contains(&x)) {
                return Err(unsupported(&key, value, &format!("{:?} or no such key", neutral[0])));
            }
        }
        let pattern = self.key("attention.sliding_window_pattern");
        if let Some(value) = self.get(&pattern) {
            return Err(unsupported(&pattern, value, "one window for all layers"));
        }
        if self.architecture != "command-r"
            && let Some(value) = self.get(&self.key("logit_scale")).filter(|value| value.real() != Some(1.0))
        {
            return Err(unsupported(&self.key("logit_scale"), value, "1, but for architecture \"command-r\""));
        }
        Ok(())
    }
}

pub(super) fn unsupported(key: &str, value: &Value, supported: &str) -> GgufProblem {
    GgufProblem::Unsupported { key: key.to_owned(), value: value.shown(), supported: supported.to_owned() }
}

pub(super) fn out_of_range(key: &str, value: &Value, allowed: &str) -> GgufProblem {
    GgufProblem::OutOfRange { key: key.to_owned(), value: value.shown(), allowed: allowed.to_owned() }
}
