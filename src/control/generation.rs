//! Text from a split model: the first layers and their cache on the device, the others
//! and theirs on the edge, a channel between them.
//!
//! ```text
//!  device            layers 1..p, KV cache of clean rows
//!    │  ▲
//!    │  └─ token id ───────────────┐
//!    ▼ prompt: S·d values; then d per token
//!  channel (row_channel.rs)        │
//!    ▼                             │
//!  edge              layers p+1..L, KV cache of rows as received ── head ── choice
//! ```

use std::ops::ControlFlow;

use super::row_channel::{Crossing, RowChannel, RowChannelError, Traffic};
use crate::kernel::{Purpose, Streams};
use crate::llm::{Decoder, DecoderError, Hidden, Sampling};

/// What is to be generated.
#[derive(Clone, Copy, Debug)]
pub struct Generation<'a> {
    /// Tokens of the prompt, S of them, a token that starts a document included.
    pub prompt: &'a [u32],
    /// Layers on the device, 1 to L.
    pub split: usize,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Randomness of channel and choice: the same streams give the same packets, noise
    /// and uniforms with any channel, split and sampling.
    pub streams: Streams,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationEnd {
    /// The model chose a token that ends a text.
    EndOfText,
    /// As many tokens as asked for.
    MaxTokens,
    /// The model has no position for another token.
    Positions,
    /// Nothing of the prompt arrived: an outage.
    Outage,
    /// The caller asked to stop.
    Stopped,
}

/// What was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, without the prompt; a token that ends a text is the last.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub end: GenerationEnd,
    /// What crossed the channel; `None` without one.
    pub traffic: Option<Traffic>,
}

/// A generation that can't be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerationError {
    /// No such split.
    #[error("a split behind layer {split} is not possible; this model has layers 1 to {layers}")]
    Split {
        /// The split asked for.
        split: usize,
        /// L.
        layers: usize,
    },
    /// The channel is out of range.
    #[error(transparent)]
    Channel(#[from] RowChannelError),
    /// The model can't serve it.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
}

/// Generates token by token, with a cache on either side of the split. Rows cross
/// `channel`, or without one arrive as they are. `each` gets every token as it is chosen.
///
/// The device computes on its own clean rows; the edge's keys and values are those of
/// the rows as it received them, lost ones included, for the rest of the generation.
///
/// # Errors
/// [`GenerationError`] if the prompt, the split or the channel doesn't fit the model, or the rows
/// drive the logits beyond the range of numbers.
pub fn generate(
    decoder: &Decoder,
    generation: &Generation,
    channel: Option<&RowChannel>,
    each: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generated, GenerationError> {
    let &Generation { prompt, split, max_tokens, sampling, streams } = generation;
    let (layers, config) = (decoder.layers(), decoder.config());
    if !(1..=layers).contains(&split) {
        return Err(GenerationError::Split { split, layers });
    }
    let width = config.d_model;
    channel.map_or(Ok(()), |channel| channel.check(width))?;
    let mut crossing = channel.map(|&channel| Crossing::new(channel, streams, width));
    let mut device = decoder.kv_cache(0..split)?;
    let mut edge = decoder.kv_cache(split..layers)?;
    let draws = streams.stream(0, Purpose::TokenChoice);

    let mut tokens: Vec<u32> = Vec::new();
    let mut rows = decoder.run_cached(decoder.embed(prompt)?, &mut device)?;
    let end = loop {
        if let Some(crossing) = &mut crossing {
            let (received, anything_arrived) = crossing.send(rows);
            if !anything_arrived {
                break GenerationEnd::Outage;
            }
            rows = states(received, width)?;
        }
        if tokens.len() == max_tokens {
            break GenerationEnd::MaxTokens;
        }
        let states_behind = decoder.run_cached(rows, &mut edge)?;
        let last = states_behind.iter_rows().next_back().unwrap_or_default().to_vec();
        let logits = decoder.logits(&states(last, width)?)?;
        let position = prompt.len() + tokens.len() - 1;
        let chosen = sampling.choose(&logits, &draws, position).ok_or(DecoderError::NotFinite { position })?;
        tokens.push(chosen);
        if each(chosen).is_break() {
            break GenerationEnd::Stopped;
        }
        if config.eos_tokens.contains(&chosen) {
            break GenerationEnd::EndOfText;
        }
        if tokens.len() == max_tokens {
            break GenerationEnd::MaxTokens;
        }
        if device.len() == config.max_positions {
            break GenerationEnd::Positions;
        }
        rows = decoder.run_cached(decoder.embed(&[chosen])?, &mut device)?;
    };
    Ok(Generated { tokens, end, traffic: crossing.map(|crossing| crossing.traffic()) })
}

/// Rows of `width` values, at least one of them.
fn states(values: Vec<f32>, width: usize) -> Result<Hidden, DecoderError> {
    let found = values.len();
    Hidden::from_vec(values, width).map_err(|_| DecoderError::Width { found, expected: width })
}

#[cfg(test)]
mod tests;
