//! How sure the UE is of a token that it proposes.

use super::Proposal;
use crate::kernel::Stream;
use crate::llm::{Decoder, DecoderError, Hidden};

/// What a router looks at beside a proposal: all of the prompt.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// The UE's model.
    pub decoder: &'a Decoder,
    /// States behind its last layer, of all rows of the prompt; `None` behind the first token.
    pub states: Option<&'a Hidden>,
}

/// A score of proposals.
#[derive(Clone, Debug)]
pub enum Scorer {
    /// Largest probability.
    MaxSoftmax,
}

impl Scorer {
    /// The score of a proposal at `position`; `draws` are the request's.
    ///
    /// # Errors
    /// [`DecoderError`] if the states don't fit the model.
    pub fn score(
        &self,
        proposal: &Proposal<'_>,
        prompt: &Prompt<'_>,
        draws: &Stream,
        position: usize,
    ) -> Result<f64, DecoderError> {
        let _ = (prompt, draws, position);
        Ok(match self {
            Self::MaxSoftmax => super::acceptance::softmax(proposal.logits, 1.0).into_iter().fold(0.0, f64::max),
        })
    }
}
