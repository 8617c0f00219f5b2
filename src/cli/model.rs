//! `splitwave model`: a command per question about one model.

mod check;
mod generate;
mod hints;
mod info;
mod logits;
mod prune;
mod prune_report;

use std::path::Path;

use clap::Subcommand;

use crate::cli::failure::Failure;
use crate::llm::{
    BUILTIN, BUILTIN_SMALL, Decoder, DecoderError, Inspection, LoadError, LoadedModel, Tokenizer, TokenizerError,
};
use crate::run::wording::counted;

/// `splitwave model …`
#[derive(clap::Args, Debug)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
}

#[derive(Subcommand, Debug)]
pub enum ModelCommand {
    /// Print family, sizes, storage and tokenizer of a model.
    Info(info::InfoArgs),
    /// Check every tensor, and that the split model is the model.
    Check(check::CheckArgs),
    /// Write all logits, or the hidden states at a split, as CSV.
    Logits(logits::LogitsArgs),
    /// Generate text with the model split over a channel, beside the text without it.
    Generate(generate::GenerateArgs),
    Prune(Box<prune::PruneArgs>),
}

pub fn model(command: &ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Info(args) => info::info(args),
        ModelCommand::Check(args) => check::check(args),
        ModelCommand::Logits(args) => logits::logits(args),
        ModelCommand::Generate(args) => generate::generate(args),
        ModelCommand::Prune(args) => prune::prune(args),
    }
}

/// Where the limits of options come from.
const SIZES: &str = "`splitwave model info` prints the sizes of the model";

impl From<&DecoderError> for Failure {
    fn from(error: &DecoderError) -> Self {
        match error {
            DecoderError::NotFinite { .. } => Self::failed(&error.to_string(), "less noise, or another model"),
            _ => Self::input(&error.to_string(), SIZES),
        }
    }
}

impl From<&TokenizerError> for Failure {
    fn from(error: &TokenizerError) -> Self {
        Self::input(&error.to_string(), "give token ids with --tokens")
    }
}

/// A prompt: token ids, or text.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// Token ids, comma-separated, taken as they are.
    #[arg(long, value_delimiter = ',', value_name = "IDS", value_parser = parse_token, allow_hyphen_values = true)]
    tokens: Option<Vec<u32>>,
    /// Text. The model's BOS token, if it has one, goes in front of its tokens; no other special token does.
    #[arg(long, visible_alias = "text", value_name = "TEXT")]
    prompt: Option<String>,
}

impl PromptArgs {
    /// The token ids; text goes through `tokenizer`.
    fn ids(&self, bos: Option<u32>, tokenizer: &Tokenizer) -> Result<Vec<u32>, Failure> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.clone());
        }
        let text = self.prompt.as_deref().unwrap_or_default();
        let ids = tokenizer.encode(text).map_err(|error| Failure::from(&error))?;
        let ids: Vec<u32> = bos.into_iter().chain(ids).collect();
        if ids.is_empty() {
            let message = "the prompt has no tokens, and this model has no BOS token to begin with";
            return Err(Failure::input(message, "give --prompt a text, or token ids with --tokens"));
        }
        Ok(ids)
    }

    /// The token ids; the model's tokenizer is opened only for text.
    fn ids_for(&self, source: &str) -> Result<Vec<u32>, Failure> {
        if let Some(tokens) = &self.tokens {
            return Ok(tokens.clone());
        }
        let refused = |error: LoadError| Failure::from(&error);
        let inspection = Inspection::open(source).map_err(refused)?;
        self.ids(inspection.config().bos_token, &inspection.tokenizer("").map_err(refused)?)
    }
}

/// The value of `--tokens`, one by one.
fn parse_token(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| "allowed: token ids, whole numbers from 0".to_owned())
}

/// `--split p`, which must be one of the model's `layers`.
fn check_split(split: i64, layers: usize) -> Result<usize, Failure> {
    let found = usize::try_from(split).ok().filter(|split| (1..=layers).contains(split));
    let message = || format!("--split: {split} is no split of this model; allowed: 1 to {layers}");
    found.ok_or_else(|| Failure::input(&message(), SIZES))
}

/// Opens a model as an option names it, without its tokenizer.
fn open_decoder(source: &str) -> Result<Decoder, LoadError> {
    let is_inside = [BUILTIN, BUILTIN_SMALL].contains(&source);
    if is_inside { Ok(LoadedModel::open(source)?.decoder) } else { Decoder::open(Path::new(source)) }
}

/// A whole number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit that they fill.
fn bytes(number: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| number >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", number as f64 / f64::from(1_u32 << shift)),
        None => counted(number, "byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!([0, 999, 1000, 3_215_488].map(grouped), ["0", "999", "1,000", "3,215,488"]);
        assert_eq!(
            [1023, 1024, 6_430_976, 13_476_839_424].map(bytes),
            ["1023 bytes", "1.0 KiB", "6.1 MiB", "12.6 GiB"]
        );
    }
}
