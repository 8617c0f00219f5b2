//! What can go wrong while a model is loaded, and while it runs.

use std::ops::Range;

use super::config::ConfigError;
use super::gguf_error::GgufError;
use super::tokenizer::TokenizerError;
use super::weights::WeightsError;

/// A model that cannot be loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// A file of the model's directory cannot be read.
    #[error("{file}: cannot be read: {reason}; a model is a directory with {needed}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
        /// What a model directory must hold.
        needed: &'static str,
    },
    /// The model has no tokenizer. As a [`super::Decoder`] it runs all the same.
    #[error("{place}: there is no tokenizer ({missing} is missing)")]
    NoTokenizer {
        /// The model's directory or file.
        place: String,
        /// What would be its tokenizer.
        missing: String,
    },
    /// The checkpoint is in a form that isn't read.
    #[error("{file}: {form} is not supported; supported: {supported}")]
    Form {
        /// The file.
        file: String,
        /// What it is.
        form: &'static str,
        /// What is read.
        supported: &'static str,
    },
    /// The tokenizer makes tokens that the model has no embedding for.
    #[error(
        "{file}: the tokenizer has {tokens} tokens, but the model's vocabulary (`vocab_size`) only {vocab}; \
         take the tokenizer of the same model"
    )]
    Vocabulary {
        /// The tokenizer's file.
        file: String,
        /// Its number of tokens.
        tokens: usize,
        /// The model's vocabulary V.
        vocab: usize,
    },
    /// `config.json` is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The GGUF file is unusable.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The checkpoint is unusable.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// `tokenizer.json` is unusable.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A call that the decoder cannot serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecoderError {
    /// A token id that the model has no embedding for.
    #[error(
        "token {id} at position {position} is beyond the vocabulary of {vocab}; was the text tokenised for this model?"
    )]
    TokenBeyondVocabulary {
        /// Index in the window.
        position: usize,
        /// The token id.
        id: u32,
        /// The model's vocabulary V.
        vocab: usize,
    },
    /// A window of no tokens, or of more than the model has positions.
    #[error("a window of {rows} tokens is not allowed; this model takes 1 to {max}")]
    WindowLength {
        /// Its length.
        rows: usize,
        /// The model's `max_position_embeddings`.
        max: usize,
    },
    /// Layers outside the model.
    #[error("layers {}..{} are not part of this model; allowed: start ≤ end ≤ {layers}", range.start, range.end)]
    Layers {
        /// The range asked for.
        range: Range<usize>,
        /// The number of layers L.
        layers: usize,
    },
    /// Hidden states of another model.
    #[error("hidden states are {found} wide, but this model's are {expected}")]
    Width {
        /// Their width.
        found: usize,
        /// The model's `hidden_size`.
        expected: usize,
    },
    /// More tokens to score than rows that predict them.
    #[error("{targets} tokens cannot be scored on {rows} rows; a row predicts one token")]
    Targets {
        /// Number of targets.
        targets: usize,
        /// Number of rows.
        rows: usize,
    },
    /// The hidden states drove the logits beyond the range of numbers.
    #[error(
        "the logits at position {position} are not finite; the tensor that entered the last layers \
         held numbers beyond f32 (a noise or gain of extreme size)"
    )]
    NotFinite {
        /// The first such row.
        position: usize,
    },
}
