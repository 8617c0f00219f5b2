//! What can be wrong with what is asked of `splitwave fit-reward`.

use crate::control::collaboration::{HeadFeature, HeadLevel, HeadTrainingError, RewardHeadError};
use crate::llm::{CorpusError, DecoderError, LoadError};
use crate::network::ports::RecordError;
use crate::run::fit_folder::Occupied;
use crate::run::wording::counted;

/// A reward head that can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitRewardError {
    /// A model can't be loaded.
    #[error("--{option}: {source}")]
    Model {
        /// Which option names it.
        option: &'static str,
        /// Why; boxed, for it is large.
        source: Box<LoadError>,
    },
    /// A text can't be used.
    #[error("--{option}: {source}")]
    Corpus {
        /// Which option names it.
        option: &'static str,
        /// Why.
        source: CorpusError,
    },
    /// The models' tokens aren't the same.
    #[error(
        "{device} and {edge} have different tokens ({difference}): what the one proposes means something else to the other"
    )]
    Tokenizers {
        /// The small model.
        device: String,
        /// The large model.
        edge: String,
        /// Where they differ.
        difference: String,
    },
    /// Prompt and rollout are longer than a model.
    #[error(
        "--prompt-tokens {prompt_tokens} and --output-tokens {output_tokens} take {rows} positions; {model} has {positions}"
    )]
    Positions {
        /// Rows of the prompt.
        prompt_tokens: u32,
        /// Tokens of the rollout.
        output_tokens: u32,
        /// Positions that they take.
        rows: usize,
        /// The shorter model.
        model: String,
        /// Its positions.
        positions: usize,
    },
    /// More prompts than the text has.
    #[error("--{option}: {corpus} has {}, not {asked}", counted(*has as u64, "prompt"))]
    Prompts {
        /// Which option names the text.
        option: &'static str,
        /// The text.
        corpus: String,
        /// Prompts that it has.
        has: usize,
        /// Prompts asked for.
        asked: u32,
    },
    /// Fewer prompts than folds.
    #[error("{} for {}: tokens of one prompt stay in one fold", counted(*prompts as u64, "prompt"), counted(*folds, "fold"))]
    Folds {
        /// Prompts.
        prompts: usize,
        /// Folds.
        folds: u32,
    },
    /// An input that isn't one.
    #[error("--features: `{name}` is no input of a {} head; allowed: {}", level.name(), names(level.features()))]
    Feature {
        /// What was asked for.
        name: String,
        /// The level of the head.
        level: HeadLevel,
    },
    /// An input that is asked for twice.
    #[error("--features: `{name}` stands there twice; allowed: each input once")]
    FeatureTwice {
        /// The input.
        name: &'static str,
    },
    /// An option out of range.
    #[error("--{option}: {value} is out of range; allowed: {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Something is in the way.
    #[error(transparent)]
    Exists(#[from] Occupied),
    /// A rollout failed.
    #[error("prompt {prompt} (from 0): {source}")]
    Rollout {
        /// Number of the prompt.
        prompt: u32,
        /// Why.
        source: DecoderError,
    },
    /// Training failed.
    #[error("{what}: {source}")]
    Training {
        /// Which fit.
        what: String,
        /// Why.
        source: HeadTrainingError,
    },
    /// The head can't be written.
    #[error(transparent)]
    Head(#[from] RewardHeadError),
    /// A file can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn names(features: &[HeadFeature]) -> String {
    features.iter().map(|feature| feature.name()).collect::<Vec<_>>().join(", ")
}

impl FitRewardError {
    /// Whether what was given is wrong, rather than the machine.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Record(_) | Self::Head(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Model { .. } => {
                "name a directory in Hugging Face's layout, a .gguf file, \"builtin\" or \"builtin-small\""
            }
            Self::Corpus { .. } => "name a text file in UTF-8, a .parquet file, or \"builtin\"",
            Self::Tokenizers { .. } => "take two models of one family, with one tokenizer",
            Self::Positions { .. } => "ask for shorter prompts or rollouts",
            Self::Prompts { .. } => "leave --prompts out to take all, or give a longer text",
            Self::Folds { .. } => "ask for fewer --folds, or for more prompts",
            Self::Feature { .. } => "leave --features out to take all",
            Self::FeatureTwice { .. } => "name it once",
            Self::Option { .. } => "`splitwave fit-reward --help` lists the options",
            Self::Exists(_) => "choose another folder with --out, or replace it with --force",
            Self::Rollout { .. } => "is the model's file whole? `splitwave model check` looks",
            Self::Training { .. } => "take more prompts, a smaller --learning-rate or another --validation-share",
            Self::Head(_) => "please report this",
            Self::Record(_) => "is the disk full, or the folder read-only?",
        };
        text.to_owned()
    }
}
