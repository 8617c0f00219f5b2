//! Why a pruned model can't be written.

use std::io;

use crate::llm::weights::WeightsError;

/// A pruned checkpoint that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum PruneWriteError {
    /// A tensor of the original can't be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}
