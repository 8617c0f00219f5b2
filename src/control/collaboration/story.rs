//! A text that is told by a device and an edge, token by token.
//!
//! ```text
//! front   the UE's own model; or the large model's first layers, with an exit behind them or with a channel
//!   │
//!   ├─ proposal ── score
//!   ▼
//! back    the large model; or its other layers, on states as they reach the edge
//! ```
//!
//! Each side keeps keys and values of the inputs that it has computed, and computes the others when it is
//! asked next: that is what makes the bits independent of when that is. The draw of a token is addressed by
//! (UE, request, position, token), so models that nearly agree nearly always choose the same token, and
//! texts of all modes can be compared token by token.

use std::sync::Arc;

use super::Proposal;
use super::acceptance::{judge, sent, softmax};
use super::sureness::Sureness;
use crate::channel;
use crate::control::windows::Window;
use crate::kernel::{Purpose, Stream, Streams};
use crate::llm::{
    Corpus, Decoder, DecoderError, ExitHead, Hidden, KvCache, LoadedModel, Sampling, negative_log_likelihood,
};
use crate::network::ports::{Crossing, QualityError};
use crate::network::text::{TextJob, TextToken, TokenSource};

/// Rows whose logits are held at once.
const ROWS_AT_ONCE: usize = 16;

/// What the UE proposes tokens with.
#[derive(Clone)]
pub enum Device {
    /// A model of its own.
    Small(Arc<LoadedModel>),
    /// The first layers of the large one, and an exit.
    Exit(Arc<ExitHead>),
    /// The first layers of the large one: it proposes nothing.
    Front,
}

/// What the edge does about a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// It has a token of its own.
    Own,
    /// It judges the UE's, of whose distribution it has seen so many entries of so many bits.
    Judged {
        /// k; `None` for all V.
        entries: Option<usize>,
        /// b.
        bits: u32,
    },
}

/// What all texts of a run have in common.
pub struct Tellers {
    /// On the UE.
    pub device: Device,
    /// The large model.
    pub llm: Arc<LoadedModel>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What the UE says of its proposals.
    pub sureness: Sureness,
    /// What the edge does about them.
    pub answer: Answer,
    /// Where prompts are.
    pub corpus: Arc<Corpus>,
    /// The run's.
    pub streams: Streams,
}

/// What is to be done next for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The UE proposes a token.
    Propose,
    /// A token stands.
    Settle(TokenSource),
    /// No more tokens come: the large model reads the text.
    Close,
}

/// A token that the UE proposes.
#[derive(Clone, Debug)]
struct Proposed {
    token: u32,
    score: Option<f64>,
    logits: Vec<f32>,
}

/// A text.
pub struct Story {
    job: TextJob,
    /// Prompt and tokens so far; empty before the first turn.
    inputs: Vec<u32>,
    prompt: usize,
    front: Option<KvCache>,
    /// Clean states between front and back, of all inputs that the front has computed. Only of one model in two parts.
    states: Vec<f32>,
    back: Option<KvCache>,
    proposed: Option<Proposed>,
    tokens: Vec<Option<TextToken>>,
}

fn failed(job: &TextJob, error: impl std::fmt::Display) -> QualityError {
    QualityError::failed(job.window, None, format!("generated text: {error}"))
}

/// The token of the largest logit, of equals the first.
fn first_choice(logits: &[f32]) -> u32 {
    let larger = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    logits.iter().copied().enumerate().reduce(larger).map_or(0, |(token, _)| token as u32)
}

impl Story {
    /// A text of which nothing is known yet.
    pub fn new(job: TextJob) -> Self {
        Self {
            job,
            inputs: Vec::new(),
            prompt: 0,
            front: None,
            states: Vec::new(),
            back: None,
            proposed: None,
            tokens: Vec::new(),
        }
    }

    /// The score of the present proposal.
    pub fn score(&self) -> Option<f64> {
        self.proposed.as_ref()?.score
    }

    /// Takes turns, in order.
    ///
    /// # Errors
    /// [`QualityError`] if the corpus has no such prompt, a model can't read the text, or logits are not finite.
    pub fn take_turns(&mut self, tellers: &Tellers, turns: &[Turn]) -> Result<(), QualityError> {
        if self.inputs.is_empty() {
            self.begin(tellers)?;
        }
        for turn in turns {
            let done = match turn {
                Turn::Propose => self.propose(tellers, true),
                Turn::Settle(source) => self.settle(tellers, *source),
                Turn::Close => self.close(tellers),
            };
            done.map_err(|error| failed(&self.job, error))?;
        }
        Ok(())
    }

    /// The tokens, once it is closed.
    pub fn into_tokens(self) -> Vec<TextToken> {
        self.tokens.into_iter().flatten().collect()
    }

    fn begin(&mut self, tellers: &Tellers) -> Result<(), QualityError> {
        let TextJob { window, prompt_tokens, output_tokens, .. } = self.job;
        let window = Window { index: window.unwrap_or(0), prompt_tokens, output_tokens };
        let text = window.text(&tellers.corpus, tellers.llm.decoder.config().bos_token)?;
        self.inputs = text.inputs;
        self.inputs.truncate(prompt_tokens as usize);
        self.prompt = self.inputs.len();
        Ok(())
    }

    /// Draws for the next token.
    fn draws(&self, tellers: &Tellers, purpose: Purpose) -> Stream {
        tellers.streams.stream(self.job.ue, purpose).child(self.job.request)
    }

    /// Layers of the large model in front of the back.
    fn split(&self, tellers: &Tellers) -> usize {
        match (&tellers.device, &self.job.crossing) {
            (Device::Exit(head), _) => head.layer(),
            (Device::Front, Some(crossing)) => crossing.split as usize,
            (Device::Front | Device::Small(_), _) => 0,
        }
    }

    /// The inputs before `until` that the front has not computed yet, through the front: their states behind it.
    fn run_front(&mut self, tellers: &Tellers, until: usize) -> Result<Option<Hidden>, DecoderError> {
        let (decoder, layers) = match &tellers.device {
            Device::Small(model) => (&model.decoder, 0..model.decoder.layers()),
            Device::Exit(_) | Device::Front => (&tellers.llm.decoder, 0..self.split(tellers)),
        };
        if self.front.is_none() {
            self.front = Some(decoder.kv_cache(layers)?);
        }
        let Some(cache) = self.front.as_mut() else { return Ok(None) };
        let fresh = self.inputs.get(front_length(cache, &self.states, decoder)..until).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(None);
        }
        let hidden = decoder.run_cached(decoder.embed(fresh)?, cache)?;
        if !matches!(tellers.device, Device::Small(_)) {
            self.states.extend_from_slice(hidden.values());
        }
        Ok(Some(hidden))
    }

    fn propose(&mut self, tellers: &Tellers, scored: bool) -> Result<(), DecoderError> {
        if self.proposed.is_some() {
            return Ok(());
        }
        let Some(hidden) = self.run_front(tellers, self.inputs.len())? else { return Ok(()) };
        let (decoder, last) = match &tellers.device {
            Device::Small(model) => (&model.decoder, last_row(&hidden)?),
            Device::Exit(head) => (&tellers.llm.decoder, head.translate(&last_row(&hidden)?)?),
            Device::Front => return Ok(()),
        };
        let logits = decoder.logits(&last)?;
        let position = self.inputs.len() - self.prompt;
        let draws = self.draws(tellers, Purpose::SessionToken);
        let token = tellers
            .sampling
            .choose(&logits, &draws, position)
            .ok_or(DecoderError::NotFinite { position: self.inputs.len() - 1 })?;
        let score = if scored {
            let (normed, embedding) = (decoder.normed(&last)?, decoder.embed(&[token])?);
            let proposal = Proposal { hidden: &normed, embedding: embedding.values(), logits: &logits, token };
            let prompt = (decoder, (position == 0).then_some(&hidden));
            let draws = self.draws(tellers, Purpose::Perturbation);
            Some(tellers.sureness.score(&proposal, prompt, &draws, position)?)
        } else {
            None
        };
        self.proposed = Some(Proposed { token, score, logits });
        Ok(())
    }

    fn settle(&mut self, tellers: &Tellers, source: TokenSource) -> Result<(), DecoderError> {
        let (token, known) = match source {
            TokenSource::Ue | TokenSource::Fallback => {
                self.propose(tellers, false)?;
                (self.proposed.as_ref().map_or(0, |proposed| proposed.token), None)
            }
            TokenSource::Edge => self.edge_token(tellers)?,
        };
        self.proposed = None;
        self.inputs.push(token);
        self.tokens.push(known);
        Ok(())
    }

    /// The edge's token at the next position, and what the large model says of it.
    fn edge_token(&mut self, tellers: &Tellers) -> Result<(u32, Option<TextToken>), DecoderError> {
        let position = self.inputs.len() - self.prompt;
        let Some(logits) = self.run_back(tellers, self.inputs.len())? else { return Ok((0, None)) };
        let not_finite = DecoderError::NotFinite { position: self.inputs.len() - 1 };
        let token = if let (Answer::Judged { entries, bits }, Some(proposed)) = (tellers.answer, &self.proposed) {
            let temperature = tellers.sampling.temperature;
            let x = sent(&softmax(&proposed.logits, temperature), proposed.token, entries, bits);
            let y = softmax(&logits, temperature);
            let of = |purpose| self.draws(tellers, purpose).uniform(position as u64);
            judge(&x, &y, proposed.token, [of(Purpose::TokenAcceptance), of(Purpose::TokenResample)])
        } else {
            let draws = self.draws(tellers, Purpose::SessionToken);
            tellers.sampling.choose(&logits, &draws, position).ok_or(not_finite.clone())?
        };
        if self.split(tellers) > 0 {
            // The states that the edge computed with are not those of the large model alone.
            return Ok((token, None));
        }
        Ok((token, Some(said(&logits, token).ok_or(not_finite)?)))
    }

    /// Runs the back over the first `until` inputs, as far as it has not. Gives the logits behind the last of
    /// them, and notes what the large model says of the tokens between.
    fn run_back(&mut self, tellers: &Tellers, until: usize) -> Result<Option<Vec<f32>>, DecoderError> {
        let (decoder, split) = (&tellers.llm.decoder, self.split(tellers));
        if split > 0 {
            self.run_front(tellers, until)?;
        }
        if self.back.is_none() {
            self.back = Some(decoder.kv_cache(split..decoder.layers())?);
        }
        let Some(cache) = self.back.as_mut() else { return Ok(None) };
        let from = cache.len();
        if from >= until {
            return Ok(None);
        }
        let rows = if split == 0 {
            decoder.embed(&self.inputs[from..until])?
        } else {
            received(&self.job, tellers, &self.states, from..until, decoder.config().d_model, self.prompt)?
        };
        let behind = decoder.run_cached(rows, cache)?;
        if split > 0 {
            return Ok(Some(decoder.logits(&last_row(&behind)?)?));
        }
        self.note(decoder, &behind, from)
    }

    /// Notes what the large model says of the tokens that follow the rows `behind` its last layer, the first of
    /// which is input `from`. Gives the logits of the last row.
    fn note(&mut self, decoder: &Decoder, behind: &Hidden, from: usize) -> Result<Option<Vec<f32>>, DecoderError> {
        let width = behind.width();
        let first = (self.prompt - 1).max(from);
        let mut last = None;
        let rows = behind.values().get((first - from) * width..).unwrap_or_default();
        for (part, rows) in rows.chunks(ROWS_AT_ONCE * width).enumerate() {
            let logits = decoder.logits(&states(rows.to_vec(), width)?)?;
            for (row, logits) in logits.chunks_exact(decoder.config().vocab).enumerate() {
                let input = first + part * ROWS_AT_ONCE + row;
                if let Some(&token) = self.inputs.get(input + 1) {
                    let said = said(logits, token).ok_or(DecoderError::NotFinite { position: input })?;
                    if let Some(place) = self.tokens.get_mut(input + 1 - self.prompt) {
                        *place = Some(said);
                    }
                } else {
                    last = Some(logits.to_vec());
                }
            }
        }
        Ok(last)
    }

    fn close(&mut self, tellers: &Tellers) -> Result<(), DecoderError> {
        self.proposed = None;
        if !self.tokens.is_empty() && self.tokens.iter().any(Option::is_none) {
            let (decoder, split, until) = (&tellers.llm.decoder, self.split(tellers), self.inputs.len() - 1);
            if split == 0 {
                self.run_back(tellers, until)?;
            } else {
                // The large model by itself, on the states that the UE has not sent.
                self.run_front(tellers, until)?;
                let width = decoder.config().d_model;
                let clean = self.states.get(..until * width).unwrap_or_default().to_vec();
                let behind = decoder.run(states(clean, width)?, split..decoder.layers())?;
                self.note(decoder, &behind, 0)?;
            }
        }
        (self.front, self.back, self.states) = (None, None, Vec::new());
        Ok(())
    }
}

/// Inputs that the front has computed.
fn front_length(cache: &KvCache, states: &[f32], decoder: &Decoder) -> usize {
    // A front without layers has no cache, but states.
    if cache.layers().is_empty() { states.len() / decoder.config().d_model } else { cache.len() }
}

/// What a large model's logits say of a token.
fn said(logits: &[f32], token: u32) -> Option<TextToken> {
    let nll = negative_log_likelihood(logits, token)?;
    Some(TextToken { token, llm_token: first_choice(logits), logprob_llm: -nll })
}

fn last_row(hidden: &Hidden) -> Result<Hidden, DecoderError> {
    states(hidden.iter_rows().next_back().unwrap_or_default().to_vec(), hidden.width())
}

/// Rows of `width` values, at least one of them.
fn states(values: Vec<f32>, width: usize) -> Result<Hidden, DecoderError> {
    let found = values.len();
    Hidden::from_vec(values, width).map_err(|_| DecoderError::Width { found, expected: width })
}

/// Rows of states as they reach the edge: through the channel of a split, or as f16.
fn received(
    job: &TextJob,
    tellers: &Tellers,
    clean: &[f32],
    rows: std::ops::Range<usize>,
    width: usize,
    prompt: usize,
) -> Result<Hidden, DecoderError> {
    let Some(crossing) = &job.crossing else {
        let of = clean.get(rows.start * width..rows.end * width).unwrap_or_default();
        return states(of.iter().map(|&value| half::f16::from_f32(value).to_f32()).collect(), width);
    };
    // A row meets what its own packets met, whatever follows it; what stands in its place may be an earlier one.
    let Crossing { reception, .. } = crossing.as_ref();
    let mut reception = reception.clone();
    reception.rounds.truncate(rows.end.saturating_sub(prompt));
    let mut tensor = clean.get(..rows.end * width).unwrap_or_default().to_vec();
    channel::apply(&reception, &tellers.streams, &mut tensor, width);
    states(tensor.split_off(rows.start * width), width)
}
