//! How sure the UE is of a token that it proposes, by any scorer.

use std::sync::Arc;

use super::{Confidence, Perturbation, Proposal, QueryFeatures, RewardHead, Scorer};
use crate::kernel::Stream;
use crate::llm::{Decoder, DecoderError, Hidden};

/// What a score is computed with.
#[derive(Clone, Debug)]
pub enum Sureness {
    /// A reward model of tokens.
    Head(Arc<RewardHead>),
    /// A reward model of prompts, for a choice once per request.
    PromptHead(Arc<RewardHead>),
    /// U-HLM's u itself: the more, the less sure.
    Uncertainty(Perturbation),
    /// `1 - u`.
    Perturbation(Perturbation),
    /// A figure of the UE's distribution.
    Confidence(Scorer),
}

impl Sureness {
    /// The score of a proposal at `position`. `prompt` are the states of all rows of the prompt behind the UE's last layer,
    /// where the proposal follows it at once; `draws` are the request's of [`crate::kernel::Purpose::Perturbation`].
    ///
    /// # Errors
    /// [`DecoderError`] if the states don't fit the model.
    pub fn score(
        &self,
        proposal: &Proposal<'_>,
        (decoder, prompt): (&Decoder, Option<&Hidden>),
        draws: &Stream,
        position: usize,
    ) -> Result<f64, DecoderError> {
        Ok(match self {
            Self::Head(head) => head.predict(proposal),
            Self::PromptHead(head) => match prompt {
                Some(states) => head.predict_query(&QueryFeatures::of(decoder, states)?),
                None => f64::NEG_INFINITY,
            },
            Self::Uncertainty(perturbation) => perturbation.uncertainty(proposal, draws, position),
            Self::Perturbation(perturbation) => 1.0 - perturbation.uncertainty(proposal, draws, position),
            Self::Confidence(scorer) => scorer.by_confidence(&Confidence::of(proposal)).unwrap_or(f64::NEG_INFINITY),
        })
    }

    /// Least and largest score that it can give, over a vocabulary of so many tokens; of a reward model those
    /// that it gave on the rows that it was fitted to, and 0.
    pub fn range(&self, vocabulary: usize) -> (f64, f64) {
        match self {
            Self::Head(head) | Self::PromptHead(head) => (head.range().0, 0.0),
            Self::Confidence(Scorer::Entropy) => (-(vocabulary as f64).ln(), 0.0),
            Self::Uncertainty(_) | Self::Perturbation(_) | Self::Confidence(_) => (0.0, 1.0),
        }
    }
}
