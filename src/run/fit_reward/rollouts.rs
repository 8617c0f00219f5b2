//! What the device writes by itself after a prompt, and what the edge's model thinks of each token.
//!
//! ```text
//!  prompt (BOS + S - 1 tokens of the text) ── device, token by token ── x_1 … x_T        states, logits
//!                                           └ edge, one pass over prompt and x ── r_t = z(x_t) - max_v z(v)
//! ```
//!
//! ln p_L is z less the same sum for each v, so the sum plays no part in r.

use crate::control::collaboration::{
    Confidence, HeadFeature, HeadLevel, Perturbation, Proposal, QueryFeatures, query_inputs, token_inputs,
};
use crate::kernel::{Purpose, Streams};
use crate::llm::{Decoder, DecoderError, Hidden, Sampling};

/// What rollouts are made with.
#[derive(Clone, Copy)]
pub struct Roller<'a> {
    /// The small model.
    pub device: &'a Decoder,
    /// The large model.
    pub edge: &'a Decoder,
    /// Most tokens of a rollout, T.
    pub output_tokens: usize,
    /// Sampling temperature; 0 for the largest logit.
    pub temperature: f64,
    /// Whether rows are tokens or whole rollouts.
    pub level: HeadLevel,
    /// The inputs of a row.
    pub features: &'a [HeadFeature],
    /// Draws.
    pub streams: Streams,
}

/// A proposed token as the edge's model sees it, and what the device knew of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub token: u32,
    /// r ≤ 0 \[nat\].
    pub reward: f64,
    /// Figures of the device's logits.
    pub confidence: Confidence,
    /// u of U-HLM.
    pub uncertainty: f64,
    /// A uniform draw.
    pub random: f64,
}

/// One prompt's rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Its tokens; one that ends a text is the last.
    pub tokens: Vec<ScoredToken>,
    /// Inputs of its rows: one row per token, or one in all.
    pub inputs: Vec<f32>,
    /// What the device knew behind the prompt.
    pub query: QueryFeatures,
}

impl Rollout {
    /// The mean r over its tokens.
    pub fn mean_reward(&self) -> f64 {
        self.tokens.iter().map(|token| token.reward).sum::<f64>() / self.tokens.len().max(1) as f64
    }
}

/// The tokens that a model of this BOS reads for `text`.
fn with_bos(bos_token: Option<u32>, text: &[u32]) -> Vec<u32> {
    bos_token.into_iter().chain(text.iter().copied()).collect()
}

impl Roller<'_> {
    /// Rolls out the prompt of that number, whose text has no BOS. Draws are keyed by the number alone.
    ///
    /// # Errors
    /// [`DecoderError`] if the prompt or the rollout doesn't fit one of the models.
    pub fn roll(&self, prompt: u32, text: &[u32]) -> Result<Rollout, DecoderError> {
        let Self { device, output_tokens, temperature, streams, .. } = *self;
        let sampling = Sampling { temperature, ..Sampling::default() };
        let child = |purpose| streams.stream(0, purpose).child(u64::from(prompt));
        let [choices, perturbations, uniforms] =
            [Purpose::Rollout, Purpose::Perturbation, Purpose::RandomScore].map(child);
        let mut cache = device.kv_cache(0..device.layers())?;
        let rows = with_bos(device.config().bos_token, text);
        let mut states = device.run_cached(device.embed(&rows)?, &mut cache)?;
        let query = QueryFeatures::of(device, &states)?;
        let (mut tokens, mut known, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..output_tokens {
            let position = rows.len() - 1 + step;
            let last = last_row(&states)?;
            let (hidden, logits) = (device.normed(&last)?, device.logits(&last)?);
            let token = sampling.choose(&logits, &choices, position).ok_or(DecoderError::NotFinite { position })?;
            let embedded = device.embed(&[token])?;
            let proposal = Proposal { hidden: &hidden, embedding: embedded.values(), logits: &logits, token };
            if self.level == HeadLevel::Token {
                token_inputs(self.features, &proposal, &mut inputs);
            }
            let uncertainty = Perturbation::default().uncertainty(&proposal, &perturbations, position);
            known.push((Confidence::of(&proposal), uncertainty, uniforms.uniform(position as u64)));
            tokens.push(token);
            if device.config().eos_tokens.contains(&token) || step + 1 == output_tokens {
                break;
            }
            states = device.run_cached(embedded, &mut cache)?;
        }
        if self.level == HeadLevel::Query {
            query_inputs(self.features, &query, &mut inputs);
        }
        let rewards = rewards(self.edge, text, &tokens)?;
        let scored = tokens.into_iter().zip(rewards).zip(known);
        let of = |((token, reward), (confidence, uncertainty, random))| ScoredToken {
            token,
            reward,
            confidence,
            uncertainty,
            random,
        };
        Ok(Rollout { tokens: scored.map(of).collect(), inputs, query })
    }
}

/// r of each of `tokens`, which follow on `text`: one pass of the edge's model over all of them.
///
/// # Errors
/// [`DecoderError`] if they don't fit the model, or logits aren't finite.
pub fn rewards(edge: &Decoder, text: &[u32], tokens: &[u32]) -> Result<Vec<f64>, DecoderError> {
    let Some((_, given)) = tokens.split_last() else { return Ok(Vec::new()) };
    let mut rows = with_bos(edge.config().bos_token, text);
    let first = rows.len() - 1;
    rows.extend(given);
    let states = edge.run(edge.embed(&rows)?, 0..edge.layers())?;
    let width = states.width();
    let scored = states.values()[first * width..].to_vec();
    let found = scored.len();
    let scored = Hidden::from_vec(scored, width).map_err(|_| DecoderError::Width { found, expected: width })?;
    let logits = edge.logits(&scored)?;
    let vocab = edge.config().vocab;
    let of = |(step, (logits, &token)): (usize, (&[f32], &u32))| {
        let position = first + step;
        let beyond = DecoderError::TokenBeyondVocabulary { position, id: token, vocab };
        let own = logits.get(token as usize).copied().ok_or(beyond)?;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let reward = f64::from(own) - f64::from(largest);
        if reward.is_finite() { Ok(reward) } else { Err(DecoderError::NotFinite { position }) }
    };
    logits.chunks_exact(vocab).zip(tokens).enumerate().map(of).collect()
}

/// The last row of states.
fn last_row(states: &Hidden) -> Result<Hidden, DecoderError> {
    let width = states.width();
    let last = states.iter_rows().next_back().unwrap_or_default().to_vec();
    Hidden::from_vec(last, width).map_err(|_| DecoderError::Width { found: 0, expected: width })
}

#[cfg(test)]
mod tests;
