//! The reward model \[MS24\]: a small network on the device that foresees what the edge's model would say of a token.
//!
//! ```text
//!  r = ln p_L(x | ctx) - max_v ln p_L(v | ctx) ≤ 0      0: the large model's own first choice
//!  r̂ = min(0, MLP(state, embedding of x, …))            decode: keep x if r̂ ≥ τ, else ask the edge
//! ```
//!
//! At the level of queries it foresees the mean r of all that the device would write after a prompt.

use std::collections::BTreeMap;

use crate::control::collaboration::Proposal;
use crate::control::collaboration::head_inputs::{HeadFeature, HeadLevel, QueryFeatures, query_inputs, token_inputs};
use crate::llm::LoadedModel;
use crate::rl::{Mlp, Passes};

/// Digits of a hash that are shown.
const SHORT_HASH: usize = 12;

/// The models that a head was fitted for: BLAKE3 hashes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadPair {
    /// Of the device's model.
    pub device: String,
    /// Of the edge's model.
    pub edge: String,
    /// Of the device's tokenizer.
    pub tokenizer: String,
}

impl HeadPair {
    /// The pair of these models.
    pub fn of(device: &LoadedModel, edge: &LoadedModel) -> Self {
        Self {
            device: device.content_hash().to_owned(),
            edge: edge.content_hash().to_owned(),
            tokenizer: device.tokenizer.content_hash().to_owned(),
        }
    }
}

/// A head of other models than those at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {level} reward head was fitted for the {part} {fitted}…, but the one here is {here}…: take the head of this \
     pair, or fit one with `splitwave fit-reward --device … --edge … --level {level}`"
)]
pub struct OtherPair {
    /// "token" or "query".
    pub level: &'static str,
    /// "device's model", "edge's model" or "device's tokenizer".
    pub part: &'static str,
    /// First digits of the hash that the head knows.
    pub fitted: String,
    /// First digits of the hash at hand.
    pub here: String,
}

/// A column of values by its mean and its deviation: `(x - mean)/scale` is what a network sees or says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standard {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation, above 0.
    pub scale: f64,
}

/// A fitted reward model.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardHead {
    pub(super) level: HeadLevel,
    /// In their order, each once.
    pub(super) features: Vec<HeadFeature>,
    /// d of the device.
    pub(super) width: usize,
    /// One input per column, one output.
    pub(super) network: Mlp<f32>,
    pub(super) columns: Vec<Standard>,
    pub(super) label: Standard,
    pub(super) pair: HeadPair,
    pub(super) temperature: f64,
    pub(super) range: (f64, f64),
    pub(super) made_with: BTreeMap<String, String>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) content_hash: String,
}

impl RewardHead {
    /// r̂ of a proposed token, at most 0 \[nat\]; minus infinity if the proposal isn't of this head's device or holds what
    /// is no number, so that it is not kept. Only heads of level [`HeadLevel::Token`] know any.
    pub fn predict(&self, proposal: &Proposal<'_>) -> f64 {
        let mut inputs = Vec::with_capacity(self.columns.len());
        if self.level == HeadLevel::Token {
            token_inputs(&self.features, proposal, &mut inputs);
        }
        self.predict_row(inputs)
    }

    /// The mean r̂ of what the device would write after a prompt, as [`RewardHead::predict`]; of heads of level
    /// [`HeadLevel::Query`].
    pub fn predict_query(&self, query: &QueryFeatures) -> f64 {
        let mut inputs = Vec::with_capacity(self.columns.len());
        if self.level == HeadLevel::Query {
            query_inputs(&self.features, query, &mut inputs);
        }
        self.predict_row(inputs)
    }

    fn predict_row(&self, inputs: Vec<f32>) -> f64 {
        if inputs.len() != self.columns.len() {
            return f64::NEG_INFINITY;
        }
        self.predict_rows(inputs, &mut Passes::default()).first().copied().unwrap_or(f64::NEG_INFINITY)
    }

    /// r̂ of rows of inputs, \[n × columns\].
    pub(super) fn predict_rows(&self, mut inputs: Vec<f32>, passes: &mut Passes<f32>) -> Vec<f64> {
        standardise(&self.columns, &mut inputs);
        let of = |&output: &f32| {
            let value = self.label.mean + f64::from(output) * self.label.scale;
            if value.is_finite() { value.min(0.0) } else { f64::NEG_INFINITY }
        };
        self.network.forward(&inputs, passes).iter().map(of).collect()
    }

    /// Refuses models that it wasn't fitted for.
    ///
    /// # Errors
    /// [`OtherPair`] names the first that is another: the tokenizer, the device's model, or the edge's.
    pub fn check_pair(&self, device: &LoadedModel, edge: &LoadedModel) -> Result<(), OtherPair> {
        let here = HeadPair::of(device, edge);
        let short = |hash: &str| hash.chars().take(SHORT_HASH).collect();
        for (part, fitted, here) in [
            ("device's tokenizer", &self.pair.tokenizer, &here.tokenizer),
            ("device's model", &self.pair.device, &here.device),
            ("edge's model", &self.pair.edge, &here.edge),
        ] {
            if fitted != here {
                let level = self.level.name();
                return Err(OtherPair { level, part, fitted: short(fitted), here: short(here) });
            }
        }
        Ok(())
    }

    /// What it predicts the reward of.
    pub fn level(&self) -> HeadLevel {
        self.level
    }

    /// The groups of its inputs, in their order.
    pub fn features(&self) -> &[HeadFeature] {
        &self.features
    }

    /// d of the device that it is for.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Neurons per layer, the inputs first.
    pub fn sizes(&self) -> &[usize] {
        self.network.sizes()
    }

    /// The models that it was fitted for.
    pub fn pair(&self) -> &HeadPair {
        &self.pair
    }

    /// The sampling temperature of the device's tokens that it was fitted to; 0 for greedy ones.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// The smallest and the largest of its predictions over the rows that it was fitted to: thresholds beyond keep
    /// every token, or none.
    pub fn range(&self) -> (f64, f64) {
        self.range
    }

    /// How it was made: text, prompts, settings.
    pub fn made_with(&self) -> &BTreeMap<String, String> {
        &self.made_with
    }

    /// How good it was found to be, by name.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// BLAKE3 hash of its file, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Work of one prediction \[FLOP\]: `Σ 2·n_in·n_out` over the layers.
    pub fn flop(&self) -> f64 {
        self.sizes().windows(2).map(|pair| 2.0 * pair[0] as f64 * pair[1] as f64).sum()
    }
}

/// `(x - mean)/scale` of each value of rows.
pub(super) fn standardise(columns: &[Standard], rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(columns.len().max(1)) {
        for (x, column) in row.iter_mut().zip(columns) {
            *x = ((f64::from(*x) - column.mean) / column.scale) as f32;
        }
    }
}
