//! Why there is no gradient.

use crate::llm::error::{DecoderError, LoadError};

/// A gradient that can't be had.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GradientError {
    /// The model can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model has what no gradient is implemented for.
    #[error(
        "{name}: a {family} model with {feature} has no gradient here; supported: RMS norms, no biases, no norms on queries \
         and keys, attention in front of feed-forward, rotary pairs by halves (llama, mistral)"
    )]
    Unsupported {
        /// The model, as the user named it.
        name: String,
        /// Its family.
        family: &'static str,
        /// What it has.
        feature: &'static str,
    },
    /// A window doesn't fit the model, or makes its logits overflow.
    #[error(transparent)]
    Window(#[from] DecoderError),
    /// There are no windows, or they differ in length, or nothing is scored.
    #[error(
        "{windows} windows of {lengths} tokens: one window or more of one length is needed, with something to score"
    )]
    Windows {
        /// Number of windows.
        windows: usize,
        /// Their lengths, in words.
        lengths: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}
