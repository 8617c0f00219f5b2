//! `config.json` of a LLaMA-family checkpoint, in both of its generations.
//!
//! transformers 5 writes `rope_parameters { rope_theta, rope_type }` and `dtype`;
//! older releases write `rope_theta`, `rope_scaling` and `torch_dtype`. Whatever
//! would change the arithmetic and isn't implemented is refused by its name:
//! a checkpoint that runs with the wrong rotary angles looks like a bad model.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

/// Largest size of any one dimension that a config may ask for: far above every
/// published model, small enough that no product of two overflows.
const MAX_DIMENSION: usize = 1 << 24;
/// Longest context whose rotary tables are kept (1,048,576 positions).
const MAX_POSITIONS: usize = 1 << 20;

/// The families of decoders that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// LLaMA 1 to 3 (Touvron et al., arXiv 2302.13971).
    Llama,
    /// Mistral (Jiang et al., arXiv 2310.06825): LLaMA with a sliding window.
    Mistral,
    /// Cohere's Command-R and Aya: attention and feed-forward side by side after one layer norm.
    Cohere,
    /// Qwen2 (arXiv 2407.10671): LLaMA with biases on queries, keys and values.
    Qwen2,
    /// Qwen3 (arXiv 2505.09388): LLaMA with a norm on each query and key head.
    Qwen3,
}

/// How a row is normalised in front of a sub-layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x_i · w_i / √(mean(x²) + ε)`.
    Rms,
    /// `(x_i - mean) · w_i / √(variance + ε)`, without bias.
    Layer,
}

/// Which values of a head the rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// i and i + head_dim/2, as Hugging Face stores LLaMA.
    Halves,
    /// 2i and 2i + 1, as Cohere, and LLaMA in GGUF files.
    Interleaved,
}

/// What becomes of the rotary frequencies `f_i = θ^(-2i/head_dim)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Nothing.
    None,
    /// All divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's: long waves divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// The divisor of waves longer than `original_positions / low_freq_factor`.
        factor: f64,
        /// See `factor`.
        low_freq_factor: f64,
        /// Waves shorter than `original_positions / high_freq_factor` stay.
        high_freq_factor: f64,
        /// `original_max_position_embeddings`: the context trained before the scaling.
        original_positions: f64,
    },
}

/// The numbers of a decoder, as its `config.json` gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family.
    pub family: Family,
    /// Width of the residual stream, `hidden_size`.
    pub d_model: usize,
    /// Number of decoder layers L, `num_hidden_layers`.
    pub layers: usize,
    /// Query heads, `num_attention_heads`.
    pub heads: usize,
    /// Key and value heads, `num_key_value_heads`; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head, `head_dim`; even, for the rotary pairs.
    pub head_dim: usize,
    /// Width of the gated feed-forward network, `intermediate_size`.
    pub d_ff: usize,
    /// Vocabulary V, `vocab_size`.
    pub vocab: usize,
    /// Longest context, `max_position_embeddings`.
    pub max_positions: usize,
    /// How rows are normalised.
    pub norm: NormKind,
    /// ε under the root of the norm, `rms_norm_eps` or `layer_norm_eps`.
    pub norm_eps: f64,
    /// Base θ of the rotary frequencies `θ^(-2i/head_dim)`.
    pub rope_theta: f64,
    /// What becomes of them.
    pub rope_scaling: RopeScaling,
    /// Which values are turned together.
    pub rope_pairing: RopePairing,
    /// Of each layer, the number W of positions that a query sees, its own included
    /// (keys k > q - W); `None` for all before it. `layers` entries.
    pub windows: Vec<Option<usize>>,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the projections of the feed-forward network have biases.
    pub mlp_bias: bool,
    /// Whether each query and key head has an RMS norm before the rotary embedding.
    pub qk_norm: bool,
    /// Whether attention and feed-forward read the same normalised input and are added together.
    pub parallel_block: bool,
    /// What logits are multiplied by; 1 but for Cohere.
    pub logit_scale: f64,
    /// Whether the head is the embedding transposed, `tie_word_embeddings`.
    pub tied_head: bool,
    /// The token that starts a document, if the model has one.
    pub bos_token: Option<u32>,
    /// The tokens that end a text (none, one or several).
    pub eos_tokens: Vec<u32>,
}

/// A `config.json` that cannot be used: which file, and what about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// What is wrong.
    pub problem: ConfigProblem,
}

/// What is wrong with a `config.json`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigProblem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The text is no JSON object.
    #[error("is not a JSON object: {0}")]
    NotJson(String),
    /// A field that the decoder needs is absent.
    #[error("field `{0}` is missing; a Hugging Face config.json of a LLaMA model has it")]
    Missing(&'static str),
    /// A field has a value outside its range or of the wrong type.
    #[error("`{field}` = {value} is not allowed; it must be {allowed}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// Its value, as written.
        value: String,
        /// The allowed values, in words.
        allowed: String,
    },
    /// A field asks for arithmetic that this decoder doesn't have.
    #[error("`{field}` = {value} is not supported; supported: {supported}")]
    Unsupported {
        /// The field's name.
        field: &'static str,
        /// Its value, as written.
        value: String,
        /// What this release can run.
        supported: &'static str,
    },
}

impl DecoderConfig {
    /// Reads and validates the text of a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    /// [`ConfigError`] if the text is no JSON object, a field is missing or out of
    /// range, or the model needs arithmetic other than plain LLaMA with the
    /// default rotary embedding.
    pub fn from_json(file: &str, text: &[u8]) -> Result<Self, ConfigError> {
        let fields = Fields::parse(text).map_err(|problem| ConfigError { file: file.to_owned(), problem })?;
        Self::from_fields(&fields).map_err(|problem| ConfigError { file: file.to_owned(), problem })
    }

    fn from_fields(fields: &Fields) -> Result<Self, ConfigProblem> {
        fields.refuse_other_architectures()?;
        let sizes = Sizes::from_fields(fields)?;
        if sizes.head_dim % 2 != 0 {
            return Err(out_of_range("head_dim", &sizes.head_dim, "even, for the pairs of the rotary embedding"));
        }
        let max_positions = fields.size("max_position_embeddings", MAX_POSITIONS)?;
        let rms_norm_eps = positive_real("rms_norm_eps", fields.required("rms_norm_eps")?)?;
        Ok(Self {
            family: Family::Llama,
            d_model: sizes.d_model,
            layers: sizes.layers,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            d_ff: sizes.d_ff,
            vocab: sizes.vocab,
            max_positions,
            norm: NormKind::Rms,
            norm_eps: rms_norm_eps,
            rope_theta: fields.rope_theta()?,
            rope_scaling: RopeScaling::None,
            rope_pairing: RopePairing::Halves,
            windows: vec![None; sizes.layers],
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            parallel_block: false,
            logit_scale: 1.0,
            tied_head: sizes.tied_head,
            bos_token: fields.tokens("bos_token_id", sizes.vocab)?.first().copied(),
            eos_tokens: fields.tokens("eos_token_id", sizes.vocab)?,
        })
    }
}

/// The sizes that every decoder of the LLaMA shape has: all that a cost needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub d_model: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub d_ff: usize,
    pub vocab: usize,
    pub tied_head: bool,
}

impl Sizes {
    /// The sizes in the file at `path`, whatever its `model_type`.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let error = |problem| ConfigError { file: path.display().to_string(), problem };
        let text = std::fs::read(path).map_err(|e| error(ConfigProblem::Unreadable(e.to_string())))?;
        Fields::parse(&text).and_then(|fields| Self::from_fields(&fields)).map_err(error)
    }

    fn from_fields(fields: &Fields) -> Result<Self, ConfigProblem> {
        let d_model = fields.size("hidden_size", MAX_DIMENSION)?;
        let heads = fields.size("num_attention_heads", MAX_DIMENSION)?;
        let kv_heads = match fields.get("num_key_value_heads") {
            Some(_) => fields.size("num_key_value_heads", MAX_DIMENSION)?,
            None => heads, // before grouped-query attention there was one kind of head
        };
        if heads % kv_heads != 0 {
            let allowed = format!("a divisor of `num_attention_heads` = {heads}");
            return Err(out_of_range("num_key_value_heads", &kv_heads, &allowed));
        }
        let head_dim = match fields.get("head_dim") {
            Some(_) => fields.size("head_dim", MAX_DIMENSION)?,
            None if d_model % heads == 0 => d_model / heads,
            None => {
                let allowed = format!("a divisor of `hidden_size` = {d_model} when `head_dim` is absent");
                return Err(out_of_range("num_attention_heads", &heads, &allowed));
            }
        };
        if heads * head_dim > MAX_DIMENSION {
            let allowed = format!("at most {MAX_DIMENSION} / `num_attention_heads`");
            return Err(out_of_range("head_dim", &head_dim, &allowed));
        }
        Ok(Self {
            d_model,
            layers: fields.size("num_hidden_layers", MAX_DIMENSION)?,
            heads,
            kv_heads,
            head_dim,
            d_ff: fields.size("intermediate_size", MAX_DIMENSION)?,
            vocab: fields.size("vocab_size", MAX_DIMENSION)?,
            tied_head: fields.flag("tie_word_embeddings")?,
        })
    }
}

/// The object of a config.json, with the readers of single fields.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(text: &[u8]) -> Result<Self, ConfigProblem> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(ConfigProblem::NotJson(format!("the file holds {}", shown(&other)))),
            Err(error) => Err(ConfigProblem::NotJson(error.to_string())),
        }
    }

    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn required(&self, field: &'static str) -> Result<&Value, ConfigProblem> {
        self.get(field).ok_or(ConfigProblem::Missing(field))
    }

    /// A required integer in `1..=max`.
    fn size(&self, field: &'static str, max: usize) -> Result<usize, ConfigProblem> {
        let value = self.required(field)?;
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(out_of_range(field, &shown(value), &format!("an integer from 1 to {max}"))),
        }
    }

    /// A boolean, false when absent.
    fn flag(&self, field: &'static str) -> Result<bool, ConfigProblem> {
        match self.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(out_of_range(field, &shown(value), "true or false")),
        }
    }

    /// Token ids: null, one, or a list; each below `vocab`.
    fn tokens(&self, field: &'static str, vocab: usize) -> Result<Vec<u32>, ConfigProblem> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter()
            .map(|id| match id.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) if (n as usize) < vocab => Ok(n),
                _ => {
                    let allowed = format!("null, or token ids below `vocab_size` = {vocab}");
                    Err(out_of_range(field, &shown(value), &allowed))
                }
            })
            .collect()
    }

    fn refuse_other_architectures(&self) -> Result<(), ConfigProblem> {
        let unsupported =
            |field, value: &Value, supported| Err(ConfigProblem::Unsupported { field, value: shown(value), supported });
        let model_type = self.required("model_type")?;
        if model_type != "llama" {
            return unsupported("model_type", model_type, "\"llama\"");
        }
        if let Some(act) = self.get("hidden_act").filter(|act| *act != "silu") {
            return unsupported("hidden_act", act, "\"silu\"");
        }
        for field in ["attention_bias", "mlp_bias"] {
            if self.flag(field)? {
                return unsupported(field, &Value::Bool(true), "false (projections without bias)");
            }
        }
        if let Some(value) = self.get("quantization_config") {
            return unsupported("quantization_config", value, "checkpoints in f32, f16 or bf16");
        }
        Ok(())
    }

    /// θ of the default rotary embedding, from either generation's fields.
    fn rope_theta(&self) -> Result<f64, ConfigProblem> {
        const ONLY_DEFAULT: &str = "\"default\" (no scaling of the rotary frequencies)";
        // `rope_parameters` is the new name of `rope_scaling` with θ moved in.
        for field in ["rope_parameters", "rope_scaling"] {
            let Some(value) = self.get(field) else { continue };
            let Some(rope) = value.as_object() else {
                return Err(out_of_range(field, &shown(value), "an object or null"));
            };
            let kind = rope.get("rope_type").or_else(|| rope.get("type"));
            if let Some(kind) = kind.filter(|kind| *kind != "default") {
                return Err(ConfigProblem::Unsupported {
                    field: "rope_type",
                    value: shown(kind),
                    supported: ONLY_DEFAULT,
                });
            }
        }
        let rope = self.get("rope_parameters");
        let inner = |name: &str| rope.and_then(|rope| rope.get(name)).filter(|value| !value.is_null());
        if let Some(part) = inner("partial_rotary_factor").or_else(|| self.get("partial_rotary_factor"))
            && part.as_f64() != Some(1.0)
        {
            return Err(ConfigProblem::Unsupported {
                field: "partial_rotary_factor",
                value: shown(part),
                supported: "1 (the whole head is rotated)",
            });
        }
        match inner("rope_theta").or_else(|| self.get("rope_theta")) {
            Some(theta) => positive_real("rope_theta", theta),
            // Files of the first LLaMA releases leave θ out: 10,000 was the only value.
            // A file of the new generation states it.
            None if rope.is_none() && self.0.contains_key("torch_dtype") => Ok(10_000.0),
            None => Err(ConfigProblem::Missing("rope_theta")),
        }
    }
}

fn positive_real(field: &'static str, value: &Value) -> Result<f64, ConfigProblem> {
    match value.as_f64() {
        Some(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err(out_of_range(field, &shown(value), "a number above 0")),
    }
}

fn out_of_range(field: &'static str, value: &dyn Display, allowed: &str) -> ConfigProblem {
    ConfigProblem::OutOfRange { field, value: value.to_string(), allowed: allowed.to_owned() }
}

/// A JSON value in an error message, cut to a readable length.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
