//! `config.json` of a decoder of the LLaMA kind, in both of its generations.
//!
//! transformers 5 writes `rope_parameters { rope_theta, rope_type, … }` and `dtype`;
//! older releases write `rope_theta`, `rope_scaling` and `torch_dtype`. A field that
//! is absent has the default of its family's configuration class in transformers
//! (4.56 and 5.23 agree but for Cohere's θ); one that is null is "none" wherever
//! that class says so. Whatever would change the arithmetic and isn't implemented is
//! refused by its name: a checkpoint that runs with the wrong rotary angles looks
//! like a bad model.

use std::path::Path;

use super::bos;
use super::config_fields::{Fields, out_of_range, unsupported};
use super::limited_read::{self, CONFIG_BYTES};

/// Largest size of any one dimension that a config may ask for: far above every
/// published model, small enough that no product of two overflows.
const MAX_DIMENSION: usize = 1 << 24;
/// Longest context that is taken (1,048,576 positions).
const MAX_POSITIONS: usize = 1 << 20;
/// Most layers: eight times the deepest published model. A few bytes of JSON must
/// not ask for a table of millions.
const MAX_LAYERS: usize = 1024;

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
#[derive(Clone, Debug, PartialEq)]
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
    /// Frequency i divided by factor i, head_dim/2 factors: Llama 3.1's scaling in GGUF files.
    Factors(Vec<f64>),
}

impl Family {
    /// The families by their `model_type`.
    pub(super) const NAMES: [(&str, Self); 5] = [
        ("llama", Self::Llama),
        ("mistral", Self::Mistral),
        ("cohere", Self::Cohere),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
    ];

    /// The family's `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Cohere => "cohere",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// The numbers of a decoder, as its `config.json` gives them.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of config.json or a trait of a family")]
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
    /// The token in front of every text, if the model was trained with one: what its
    /// tokenizer puts there, or else that of config.json (Qwen: none).
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
    #[error("field `{0}` is missing; a Hugging Face config.json of this family has it")]
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
    /// range, or the model needs arithmetic that isn't implemented: another
    /// `model_type`, another scaling of the rotary frequencies, another activation.
    pub fn from_json(file: &str, text: &[u8]) -> Result<Self, ConfigError> {
        let error = |problem| ConfigError { file: file.to_owned(), problem };
        Fields::parse(text).and_then(|fields| Self::from_fields(&fields)).map_err(error)
    }

    fn from_fields(fields: &Fields) -> Result<Self, ConfigProblem> {
        let family = family(fields)?;
        let defaults = Defaults::of(family);
        fields.refuse_foreign_arithmetic(family)?;
        let sizes = Sizes::from_fields(fields)?;
        if sizes.head_dim % 2 != 0 {
            return Err(out_of_range("head_dim", &sizes.head_dim, "even, for the pairs of the rotary embedding"));
        }
        let cohere = family == Family::Cohere;
        let eps_field = if cohere { "layer_norm_eps" } else { "rms_norm_eps" };
        let max_positions = fields.size_or("max_position_embeddings", MAX_POSITIONS, defaults.max_positions)?;
        let attention_bias = matches!(family, Family::Llama | Family::Cohere | Family::Qwen3)
            && fields.flag_or("attention_bias", false)?;
        let rope = fields.rope(family)?;
        let bos_token = fields.tokens("bos_token_id", sizes.vocab, defaults.bos)?.first().copied();
        Ok(Self {
            family,
            d_model: sizes.d_model,
            layers: sizes.layers,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            d_ff: sizes.d_ff,
            vocab: sizes.vocab,
            max_positions,
            norm: if cohere { NormKind::Layer } else { NormKind::Rms },
            norm_eps: fields.norm_eps(eps_field, if cohere { 1e-5 } else { 1e-6 })?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            rope_pairing: if cohere { RopePairing::Interleaved } else { RopePairing::Halves },
            windows: windows(fields, family, sizes.layers, max_positions)?,
            qkv_bias: family == Family::Qwen2 || attention_bias,
            output_bias: attention_bias,
            mlp_bias: family == Family::Llama && fields.flag_or("mlp_bias", false)?,
            qk_norm: family == Family::Qwen3,
            parallel_block: cohere,
            logit_scale: if cohere { fields.positive_or("logit_scale", 0.0625)? } else { 1.0 },
            tied_head: sizes.tied_head,
            bos_token: bos_token.filter(|_| !bos::has_no_bos(family)),
            eos_tokens: fields.tokens("eos_token_id", sizes.vocab, defaults.eos)?,
        })
    }
}

/// What the family's configuration class in transformers says of fields that are absent.
struct Defaults {
    max_positions: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    /// `None`: as many as query heads.
    kv_heads: Option<usize>,
    /// `None`: d / heads.
    head_dim: Option<usize>,
    tied_head: bool,
}

impl Defaults {
    fn of(family: Family) -> Self {
        let rest =
            Self { max_positions: 32_768, bos: None, eos: None, kv_heads: Some(32), head_dim: None, tied_head: false };
        match family {
            Family::Llama => Self { max_positions: 2048, bos: Some(1), eos: Some(2), kv_heads: None, ..rest },
            Family::Mistral => Self { max_positions: 131_072, bos: Some(1), eos: Some(2), kv_heads: Some(8), ..rest },
            Family::Cohere => {
                let (bos, eos) = (Some(5), Some(255_001));
                Self { max_positions: 8192, bos, eos, kv_heads: None, tied_head: true, ..rest }
            }
            Family::Qwen2 => rest,
            Family::Qwen3 => Self { head_dim: Some(128), ..rest },
        }
    }
}

/// The family that `model_type` names.
fn family(fields: &Fields) -> Result<Family, ConfigProblem> {
    let model_type = fields.required("model_type")?;
    match Family::NAMES.iter().find(|(name, _)| model_type == name) {
        Some(&(_, family)) => Ok(family),
        None => Err(unsupported("model_type", model_type, SUPPORTED_FAMILIES)),
    }
}

const SUPPORTED_FAMILIES: &str = "\"llama\", \"mistral\", \"cohere\", \"qwen2\", \"qwen3\"";

/// The window W of each layer. Mistral has one for all; Qwen has one for the layers
/// that `layer_types` calls sliding, or else for those from `max_window_layers` on,
/// and only if `use_sliding_window` says so.
fn windows(
    fields: &Fields,
    family: Family,
    layers: usize,
    max_positions: usize,
) -> Result<Vec<Option<usize>>, ConfigProblem> {
    let window = || fields.nullable_size_or("sliding_window", MAX_DIMENSION, 4096);
    let types = fields.sliding_layers(layers)?;
    let refuse_types = |supported| match fields.get("layer_types") {
        Some(value) => Err(unsupported("layer_types", value, supported)),
        None => Ok(()),
    };
    match family {
        Family::Llama | Family::Cohere => {
            // Their classes don't know the field: decoding with it and without differ,
            // unless the file itself says that it is idle.
            if fields.flag_or("use_sliding_window", true)?
                && let Some(value) = fields.get("sliding_window")
                && fields.size("sliding_window", MAX_DIMENSION)? < max_positions
            {
                let supported = "null in this family, or `use_sliding_window` = false";
                return Err(unsupported("sliding_window", value, supported));
            }
            if types.is_some_and(|types| types.contains(&true)) {
                refuse_types("only \"full_attention\" in this family")?;
            }
            Ok(vec![None; layers])
        }
        Family::Mistral => {
            let window = window()?;
            if types.is_some_and(|types| types.contains(&window.is_none())) {
                refuse_types("one kind for all layers in this family, sliding if `sliding_window` is set")?;
            }
            Ok(vec![window; layers])
        }
        Family::Qwen2 | Family::Qwen3 => {
            let window = if fields.flag_or("use_sliding_window", false)? { window()? } else { None };
            let Some(types) = types else {
                let first = fields.count_or("max_window_layers", MAX_DIMENSION, 28)?;
                return Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect());
            };
            if window.is_none() && types.contains(&true) {
                refuse_types("\"sliding_attention\" only with `use_sliding_window` = true and `sliding_window`")?;
            }
            Ok(types.into_iter().map(|sliding| window.filter(|_| sliding)).collect())
        }
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
        let text =
            limited_read::read(path, CONFIG_BYTES).map_err(|e| error(ConfigProblem::Unreadable(e.to_string())))?;
        Fields::parse(&text).and_then(|fields| Self::from_fields(&fields)).map_err(error)
    }

    fn from_fields(fields: &Fields) -> Result<Self, ConfigProblem> {
        let defaults = family(fields).ok().map(Defaults::of);
        let d_model = fields.size("hidden_size", MAX_DIMENSION)?;
        let heads = fields.size("num_attention_heads", MAX_DIMENSION)?;
        // null, and before grouped-query attention absence: one kind of head.
        let default = defaults.as_ref().and_then(|defaults| defaults.kv_heads);
        let kv_heads =
            fields.nullable_size_or("num_key_value_heads", MAX_DIMENSION, default.unwrap_or(heads))?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            let allowed = format!("a divisor of `num_attention_heads` = {heads}");
            return Err(out_of_range("num_key_value_heads", &kv_heads, &allowed));
        }
        let default = defaults.as_ref().and_then(|defaults| defaults.head_dim);
        let head_dim = match (fields.get("head_dim"), default) {
            (Some(_), _) => fields.size("head_dim", MAX_DIMENSION)?,
            (None, Some(head_dim)) => head_dim,
            (None, None) if d_model % heads == 0 => d_model / heads,
            (None, None) => {
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
            layers: fields.size("num_hidden_layers", MAX_LAYERS)?,
            heads,
            kv_heads,
            head_dim,
            d_ff: fields.size("intermediate_size", MAX_DIMENSION)?,
            vocab: fields.size("vocab_size", MAX_DIMENSION)?,
            tied_head: fields.flag_or("tie_word_embeddings", defaults.is_some_and(|defaults| defaults.tied_head))?,
        })
    }
}
