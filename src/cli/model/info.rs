//! `splitwave model info`

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::channel::Encoding;
use crate::cli::failure::Failure;
use crate::cli::model::{bytes, grouped};
use crate::cli::print;
use crate::llm::{BosRule, DecoderConfig, Inspection, LoadError, NormKind, RopePairing, RopeScaling, Tokenizer};
use crate::run::wording::{counted, plural};

#[derive(clap::Args, Debug)]
pub struct InfoArgs {
    /// "builtin", "builtin-small", a directory in Hugging Face's layout, or a .gguf file.
    #[arg(value_name = "PATH")]
    model: String,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// A model as its files describe it; the weights are read for their hash alone.
struct Described<'a> {
    name: &'a str,
    config: &'a DecoderConfig,
    bos_rule: BosRule,
    tied_head: bool,
    parameters: u64,
    /// By element type: tensors, values, bytes.
    storage: BTreeMap<&'static str, [u64; 3]>,
    tokenizer: Result<Tokenizer, LoadError>,
    content_hash: String,
}

pub fn info(args: &InfoArgs) -> Result<(), Failure> {
    let refused = |error: LoadError| Failure::from(&error);
    let inspection = Inspection::open(&args.model).map_err(refused)?;
    let content_hash = inspection.content_hash().map_err(refused)?;
    let model = Described {
        name: &args.model,
        config: inspection.config(),
        bos_rule: inspection.bos_rule(),
        tied_head: inspection.tied_head().map_err(refused)?,
        parameters: inspection.parameters().map_err(refused)?,
        storage: inspection.storage(),
        tokenizer: inspection.tokenizer(&content_hash),
        content_hash,
    };
    if args.json {
        return print(&(serde_json::to_string_pretty(&as_json(&model)).unwrap_or_default() + "\n"));
    }
    print(&as_table(&model))
}

fn as_table(model: &Described) -> String {
    let config = model.config;
    let DecoderConfig { d_model, layers, heads, kv_heads, head_dim, d_ff, vocab, max_positions, .. } = config;
    let tokens = |ids: &[u32]| match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(|&id| token(model.tokenizer.as_ref().ok(), id)).collect::<Vec<_>>().join(", "),
    };
    let types: Vec<String> = model
        .storage
        .iter()
        .map(|(name, [tensors, values, size])| {
            let (tensors, noun) = (counted(*tensors, "tensor"), plural(*values, "value"));
            format!("{name}: {tensors}, {} {noun}, {}", grouped(*values), bytes(*size))
        })
        .collect();
    let tokenizer = match &model.tokenizer {
        Ok(tokenizer) => counted(tokenizer.vocab(), "token"),
        Err(LoadError::NoTokenizer { missing, .. }) => format!("none: {missing} is missing"),
        Err(error) => format!("none: {error}"),
    };
    let row = Encoding::F16.payload_bits(1, *d_model as u64) / 8;
    let mut rows = vec![
        ("model", model.name.to_owned()),
        ("family", config.family.model_type().to_owned()),
        ("parameters", grouped(model.parameters)),
        ("layers L", layers.to_string()),
        ("width d", d_model.to_string()),
        ("heads", format!("{heads} of width {head_dim}, {kv_heads} for keys and values")),
        ("feed-forward", d_ff.to_string()),
        ("vocabulary V", format!("{vocab}{}", if model.tied_head { ", head tied to the embedding" } else { "" })),
        ("positions", max_positions.to_string()),
        ("attention", windows(config)),
        ("norm", norm(config)),
        ("rotary", rotary(config)),
    ];
    let features = features(config);
    if !features.is_empty() {
        rows.push(("besides", features));
    }
    rows.extend([
        ("tokenizer", tokenizer),
        ("BOS", bos(model)),
        ("EOS", tokens(&config.eos_tokens)),
        ("stored as", types.join("\n              ")),
        ("a row in f16", format!("{} {} on the air per token", grouped(row), plural(row, "byte"))),
        ("content hash", model.content_hash.clone()),
    ]);
    let mut text = String::new();
    for (what, value) in rows {
        let _ = writeln!(text, "{what:<12}  {value}");
    }
    text
}

/// The token in front of a text, and what put it there.
fn bos(model: &Described) -> String {
    let rule = model.bos_rule;
    match (model.config.bos_token.map(|id| token(model.tokenizer.as_ref().ok(), id)), rule) {
        (Some(token), BosRule::Config | BosRule::Family) => format!("{token}, by {rule}"),
        (Some(token), _) => format!("{token}, put in front by the tokenizer ({rule})"),
        (None, BosRule::Family) => "none: models of this family are trained without".to_owned(),
        (None, BosRule::Config) => format!("none, by {rule}"),
        (None, _) => format!("none: the tokenizer adds none ({rule})"),
    }
}

/// A token's id, and what it looks like.
fn token(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    match tokenizer.and_then(|tokenizer| tokenizer.name(id)) {
        Some(name) => format!("{id} {name:?}"),
        None => id.to_string(),
    }
}

fn windows(config: &DecoderConfig) -> String {
    let mut sliding = config.windows.iter().filter_map(|window| *window).peekable();
    match (sliding.peek().copied(), config.windows.iter().filter(|window| window.is_some()).count()) {
        (None, _) => "all positions before".to_owned(),
        (Some(width), count) if count == config.layers => format!("sliding window of {}", counted(width, "position")),
        (Some(width), count) => format!(
            "sliding window of {} in {}, all before in others",
            counted(width, "position"),
            counted(count, "layer")
        ),
    }
}

fn norm(config: &DecoderConfig) -> String {
    let kind = match config.norm {
        NormKind::Rms => "RMS",
        NormKind::Layer => "layer norm",
    };
    format!("{kind}, ε = {:e}", config.norm_eps)
}

fn rotary(config: &DecoderConfig) -> String {
    let pairs = match config.rope_pairing {
        RopePairing::Halves => "halves",
        RopePairing::Interleaved => "neighbours",
    };
    let scaling = match &config.rope_scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", frequencies divided by {factor}"),
        RopeScaling::Llama3 { factor, original_positions, .. } => {
            format!(", Llama 3's scaling by {factor} beyond {original_positions} positions")
        }
        RopeScaling::Factors(factors) => {
            let (least, most) = factors.iter().fold((f64::INFINITY, 0.0), |(a, b), &x| (x.min(a), x.max(b)));
            format!(", frequencies divided one by one by {least} to {most}")
        }
    };
    format!("θ = {}, {pairs} paired{scaling}", config.rope_theta)
}

/// What not every family has.
fn features(config: &DecoderConfig) -> String {
    let logits = format!("logits times {}", config.logit_scale);
    let all = [
        (config.qkv_bias, "biases on queries, keys and values"),
        (config.output_bias, "bias on the attention's output"),
        (config.mlp_bias, "biases in the feed-forward network"),
        (config.qk_norm, "norms on queries and keys"),
        (config.parallel_block, "attention beside feed-forward"),
        (config.logit_scale != 1.0, logits.as_str()),
    ];
    all.iter().filter(|(has, _)| *has).map(|(_, what)| *what).collect::<Vec<_>>().join(", ")
}

fn as_json(model: &Described) -> Value {
    let config = model.config;
    let types = model.storage.iter().map(|(name, [tensors, values, bytes])| {
        ((*name).to_owned(), json!({ "tensors": tensors, "values": values, "bytes": bytes }))
    });
    let types: serde_json::Map<String, Value> = types.collect();
    let tokenizer = model.tokenizer.as_ref().ok();
    let scaling = match &config.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => json!({
            "type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_positions": original_positions,
        }),
        RopeScaling::Factors(factors) => json!({ "type": "factors", "factors": factors }),
    };
    json!({
        "model": model.name,
        "family": config.family.model_type(),
        "parameters": model.parameters,
        "layers": config.layers,
        "d_model": config.d_model,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "d_ff": config.d_ff,
        "vocabulary": config.vocab,
        "tied_head": model.tied_head,
        "positions": config.max_positions,
        "sliding_windows": config.windows,
        "norm": match config.norm { NormKind::Rms => "rms", NormKind::Layer => "layer" },
        "norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_pairing": match config.rope_pairing {
            RopePairing::Halves => "halves",
            RopePairing::Interleaved => "interleaved",
        },
        "rope_scaling": scaling,
        "qkv_bias": config.qkv_bias,
        "output_bias": config.output_bias,
        "mlp_bias": config.mlp_bias,
        "qk_norm": config.qk_norm,
        "parallel_block": config.parallel_block,
        "logit_scale": config.logit_scale,
        "tokenizer_tokens": tokenizer.map(Tokenizer::vocab),
        "bos_token": config.bos_token,
        "bos_rule": model.bos_rule.to_string(),
        "eos_tokens": config.eos_tokens,
        "stored": types,
        "row_bytes_f16": Encoding::F16.payload_bits(1, config.d_model as u64) / 8,
        "content_hash": model.content_hash,
        "tokenizer_hash": tokenizer.map(Tokenizer::content_hash),
    })
}
