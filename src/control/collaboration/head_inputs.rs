//! What a reward head sees: of one proposal, or of a whole prompt.

use serde::{Deserialize, Serialize};

use crate::control::collaboration::{Confidence, Proposal};
use crate::llm::{Decoder, DecoderError, Hidden, SoftmaxSums};

/// Rows whose logits are in memory at once.
const ROWS_AT_ONCE: usize = 64;

/// What a head predicts the reward of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadLevel {
    /// One proposed token.
    #[default]
    Token,
    /// All that the device would write after a prompt: the mean reward of its tokens.
    Query,
}

impl HeadLevel {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Query => "query",
        }
    }

    /// The inputs that a head of this level may have, in their order; by default it has all.
    pub fn features(self) -> &'static [HeadFeature] {
        use HeadFeature::{Confidence, Embedding, Hidden, Mean, Product};
        match self {
            Self::Token => &[Hidden, Embedding, Product, Confidence],
            Self::Query => &[Hidden, Mean, Confidence],
        }
    }
}

/// A group of inputs. Of a device of width d they have d values each, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadFeature {
    /// The device's last state, behind its final norm; of a query that of the prompt's last position.
    Hidden,
    /// The proposed token's row of the device's embedding.
    Embedding,
    /// The two multiplied element by element: where head and embedding are tied, the sum is the token's logit.
    Product,
    /// The mean of the states behind the final norm over the prompt's positions.
    Mean,
    /// ln p(x), ln p_(1) and H of a token; of a query the means of H and p_(1) over the prompt's positions.
    Confidence,
}

impl HeadFeature {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hidden, Self::Embedding, Self::Product, Self::Mean, Self::Confidence];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Embedding => "embedding",
            Self::Product => "product",
            Self::Mean => "mean",
            Self::Confidence => "confidence",
        }
    }

    /// The feature of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// Values that it has at this level, for a device of width d.
    pub fn width(self, level: HeadLevel, d: usize) -> usize {
        match (self, level) {
            (Self::Confidence, HeadLevel::Token) => 3,
            (Self::Confidence, HeadLevel::Query) => 2,
            _ => d,
        }
    }
}

/// What a device knows when it has read a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryFeatures {
    /// Its state at the last position, behind the final norm \[d\].
    pub hidden: Vec<f32>,
    /// The mean of these states over all positions \[d\].
    pub mean_hidden: Vec<f32>,
    /// Mean of H over the positions \[nat\].
    pub mean_entropy: f64,
    /// Mean of p_(1) over the positions.
    pub mean_max_softmax: f64,
}

impl QueryFeatures {
    /// From the states \[S × d\] behind the device's last layer, as its prefill leaves them.
    ///
    /// # Errors
    /// [`DecoderError`] if the states aren't of this model, or not finite.
    pub fn of(device: &Decoder, states: &Hidden) -> Result<Self, DecoderError> {
        let (width, vocab, rows) = (device.config().d_model, device.config().vocab, states.rows());
        let normed = device.normed(states)?;
        let mut sums = vec![0.0_f64; width];
        for row in normed.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let (mut entropy, mut largest) = (0.0, 0.0);
        for (part, values) in states.values().chunks(ROWS_AT_ONCE * width).enumerate() {
            let position = part * ROWS_AT_ONCE;
            let wrong = |_| DecoderError::Width { found: values.len(), expected: width };
            let logits = device.logits(&Hidden::from_vec(values.to_vec(), width).map_err(wrong)?)?;
            for logits in logits.chunks_exact(vocab) {
                let SoftmaxSums { total, weighted, .. } = SoftmaxSums::of(logits);
                entropy += total.ln() - weighted / total;
                largest += 1.0 / total;
            }
            if !f64::is_finite(entropy) {
                return Err(DecoderError::NotFinite { position });
            }
        }
        let last = normed.len() - width;
        let count = rows as f64;
        Ok(Self {
            hidden: normed[last..].to_vec(),
            mean_hidden: sums.into_iter().map(|sum| (sum / count) as f32).collect(),
            mean_entropy: entropy / count,
            mean_max_softmax: largest / count,
        })
    }
}

/// Appends the inputs of a proposal; features that are a query's have none.
pub fn token_inputs(features: &[HeadFeature], proposal: &Proposal<'_>, into: &mut Vec<f32>) {
    for feature in features {
        match feature {
            HeadFeature::Hidden => into.extend_from_slice(proposal.hidden),
            HeadFeature::Embedding => into.extend_from_slice(proposal.embedding),
            HeadFeature::Product => into.extend(proposal.hidden.iter().zip(proposal.embedding).map(|(h, e)| h * e)),
            HeadFeature::Mean => {}
            HeadFeature::Confidence => {
                let of = Confidence::of(proposal);
                into.extend([of.token_log_probability, of.max_log_probability, of.entropy].map(|x| x as f32));
            }
        }
    }
}

/// Appends the inputs of a query; features that are a token's have none.
pub fn query_inputs(features: &[HeadFeature], query: &QueryFeatures, into: &mut Vec<f32>) {
    for feature in features {
        match feature {
            HeadFeature::Hidden => into.extend_from_slice(&query.hidden),
            HeadFeature::Mean => into.extend_from_slice(&query.mean_hidden),
            HeadFeature::Confidence => into.extend([query.mean_entropy as f32, query.mean_max_softmax as f32]),
            HeadFeature::Embedding | HeadFeature::Product => {}
        }
    }
}
