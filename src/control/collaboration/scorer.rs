//! What a device may decide by whether its own token stays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::collaboration::Confidence;

/// A score of a proposed token. Higher speaks for keeping it: at or above a threshold it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scorer {
    /// r̂ of a reward head, at most 0 \[MS24\].
    #[default]
    Reward,
    /// p_(1), 0 to 1.
    MaxSoftmax,
    /// p_(1) - p_(2), 0 to 1.
    Margin,
    /// -H \[nat\], -ln V to 0.
    Entropy,
    /// p(x), 0 to 1.
    TokenProbability,
    /// 1 - u of U-HLM, 0 to 1 in steps of 1/M.
    Perturbation,
    /// A uniform draw, 0 to 1: what a score is worth that knows nothing.
    Random,
}

impl Scorer {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Reward,
        Self::MaxSoftmax,
        Self::Margin,
        Self::Entropy,
        Self::TokenProbability,
        Self::Perturbation,
        Self::Random,
    ];

    /// Its name in scenarios and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reward => "reward",
            Self::MaxSoftmax => "max-softmax",
            Self::Margin => "margin",
            Self::Entropy => "entropy",
            Self::TokenProbability => "token-probability",
            Self::Perturbation => "perturbation",
            Self::Random => "random",
        }
    }

    /// The score if it follows from the logits alone.
    pub fn by_confidence(self, confidence: &Confidence) -> Option<f64> {
        match self {
            Self::MaxSoftmax => Some(confidence.max_softmax),
            Self::Margin => Some(confidence.margin),
            Self::Entropy => Some(-confidence.entropy),
            Self::TokenProbability => Some(confidence.token_log_probability.exp()),
            Self::Reward | Self::Perturbation | Self::Random => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::collaboration::Proposal;

    /// p = 1/2, 1/4, 1/4.
    #[test]
    fn higher_speaks_for_keeping() {
        let logits = [0.5_f32, 0.25, 0.25].map(f32::ln);
        let confidence = Confidence::of(&Proposal { hidden: &[], embedding: &[], logits: &logits, token: 1 });
        let expected = [None, Some(0.5), Some(0.25), Some(-1.5 * 2_f64.ln()), Some(0.25), None, None];
        for (scorer, expected) in Scorer::ALL.into_iter().zip(expected) {
            let score = scorer.by_confidence(&confidence);
            assert!(
                score.is_some() == expected.is_some() && score.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-6)
            );
            assert_eq!(serde_json::to_value(scorer).unwrap(), scorer.name());
        }
    }
}
