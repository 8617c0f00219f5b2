//! What can be wrong with a fit of exit heads.

use std::path::PathBuf;

use crate::llm::{CorpusError, DecoderError, ExitHeadError, LoadError};
use crate::network::ports::RecordError;
use crate::run::wording::counted;

/// Exit heads that can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum ExitFitError {
    /// The model can't be loaded.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// A text can't be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// An option out of range.
    #[error("--{option}: {value} is out of range; allowed: {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Too few windows.
    #[error("{file}: has {} of {}; a fit takes at least {least}", counted(*has, "window"), counted(*tokens, "token"))]
    Windows {
        /// The text.
        file: String,
        /// Windows that it has.
        has: u64,
        /// Tokens of each.
        tokens: u32,
        /// The fewest that a fit takes.
        least: u64,
    },
    /// The model failed.
    #[error("window {window} of {file}: {source}")]
    Decoder {
        /// The text.
        file: String,
        /// Number of the window, from 0.
        window: usize,
        /// Why.
        source: DecoderError,
    },
    /// No map can be computed.
    #[error("layer {layer}: no map can be fitted: the states behind it are not finite, or of extreme size")]
    Singular {
        /// The layer.
        layer: usize,
    },
    /// A head can't be made.
    #[error(transparent)]
    Head(#[from] ExitHeadError),
    /// Something is in the way.
    #[error("{path}: there is something already, and not this fit: {differences}")]
    Exists {
        /// The folder.
        path: PathBuf,
        /// What differs.
        differences: String,
    },
    /// A file can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ExitFitError {
    /// Whether what was given is wrong, rather than the machine.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Record(_) | Self::Head(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Model(_) => "a model is \"builtin\", a directory in Hugging Face's layout, or a .gguf file",
            Self::Corpus(CorpusError::TooShort { .. }) | Self::Windows { .. } => {
                "take a longer text, or shorter windows with --tokens"
            }
            Self::Corpus(_) => "--corpus and --check take a text file in UTF-8, a .parquet file, or \"builtin\"",
            Self::Option { .. } => "`splitwave fit-exit --help` lists the options",
            Self::Decoder { .. } => "choose --tokens that the model has positions for, or a smaller --learning-rate",
            Self::Singular { .. } => "`splitwave model check` says whether the model computes numbers",
            Self::Head(_) => "choose a smaller --learning-rate, or --epochs 0",
            Self::Exists { .. } => "choose another folder with --out, or replace it with --force",
            Self::Record(_) => "is the disk full, or the folder read-only?",
        }
    }
}
