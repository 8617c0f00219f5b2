//! Quality by the real model: what the channel left of the tensor goes through
//! the remaining layers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::channel::{self, Received};
use crate::control::clean_states::{CAPACITY_BYTES, CleanPass, CleanStates, Passed};
use crate::control::windows::{Window, WindowText};
use crate::kernel::Streams;
use crate::llm::{Corpus, DecoderError, Hidden, LoadedModel, Nll};
use crate::network::ports::{Delivery, Quality, QualityError, QualityRequest, QualitySource, QualityTicket};

/// Evaluations of one batch per thread: long enough to keep all cores busy to its
/// end, short enough to stop soon.
const REQUESTS_PER_THREAD: usize = 16;

/// Evaluates reception records with the model. Evaluations wait until one is
/// joined; then all that wait run on the pool. Each is a pure function of its
/// request, so neither grouping nor threads can change a result.
pub struct LlmQuality {
    model: Arc<LoadedModel>,
    corpus: Arc<Corpus>,
    pool: Arc<rayon::ThreadPool>,
    streams: Streams,
    stop: Arc<AtomicBool>,
    /// Likelihoods without a channel, once per window.
    clean: BTreeMap<Window, Nll>,
    /// States in front of the channel.
    states: CleanStates,
    pending: Vec<(u64, QualityRequest)>,
    done: BTreeMap<u64, Result<Quality, QualityError>>,
    next: u64,
}

impl LlmQuality {
    /// A source for one run; `streams` are the run's. Once `stop` is raised, joining
    /// fails with [`QualityError::Interrupted`].
    pub fn new(
        model: Arc<LoadedModel>,
        corpus: Arc<Corpus>,
        pool: Arc<rayon::ThreadPool>,
        streams: Streams,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            model,
            corpus,
            pool,
            streams,
            stop,
            clean: BTreeMap::new(),
            states: CleanStates::new(CAPACITY_BYTES),
            pending: Vec::new(),
            done: BTreeMap::new(),
            next: 0,
        }
    }

    /// Evaluates what waits, a few requests per core at a time.
    ///
    /// Stops between them when the run is to stop.
    fn run_pending(&mut self) -> Result<(), QualityError> {
        let mut pending = std::mem::take(&mut self.pending).into_iter().peekable();
        let threads = self.pool.current_num_threads();
        while let Some((_, first)) = pending.peek() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(QualityError::Interrupted);
            }
            // The states of a batch are all in memory: long prompts make short batches.
            let rows = first.prompt_tokens as usize + first.output_tokens as usize;
            let state = rows.saturating_mul(self.model.decoder.config().d_model * size_of::<f32>()).max(1);
            let fit = (CAPACITY_BYTES / state).clamp(threads, threads * REQUESTS_PER_THREAD);
            let requests: Vec<(u64, QualityRequest)> = pending.by_ref().take(fit).collect();
            self.run_batch(&requests);
        }
        Ok(())
    }

    fn run_batch(&mut self, requests: &[(u64, QualityRequest)]) {
        let passes = self.passes(requests);
        let Self { model, corpus, pool, streams, clean, states, .. } = &*self;
        let (passed, finished) = pool.install(|| {
            let passed: BTreeMap<Window, Result<Passed, QualityError>> =
                passes.into_par_iter().map(|pass| (pass.window, pass.run(model, corpus))).collect();
            let finished: Vec<(u64, Result<Quality, QualityError>)> = requests
                .par_iter()
                .map(|(ticket, request)| {
                    let window = Window::of(request);
                    let quality = match passed.get(&window) {
                        Some(Ok(passed)) => {
                            let nll = clean.get(&window).copied().or(passed.nll);
                            let state = split_of(request).and_then(|split| {
                                let fresh = passed.states.iter().find(|(at, _)| *at == split).map(|(_, state)| state);
                                fresh.or_else(|| states.get(window, split)).cloned()
                            });
                            nll.map(|nll| finish(model, *streams, request, &passed.text, nll, state))
                        }
                        _ => None,
                    };
                    // What failed once says so once more, for each request that needs it.
                    (*ticket, quality.unwrap_or_else(|| evaluate_anew(model, corpus, *streams, request)))
                })
                .collect();
            (passed, finished)
        });
        self.done.extend(finished);
        for (window, passed) in passed {
            let Ok(passed) = passed else { continue };
            self.clean.extend(passed.nll.map(|nll| (window, nll)));
            for (split, state) in passed.states {
                self.states.keep(window, split, state);
            }
        }
    }

    /// The clean passes that a batch needs, one per window.
    fn passes(&mut self, requests: &[(u64, QualityRequest)]) -> Vec<CleanPass> {
        let mut wanted: BTreeMap<Window, BTreeSet<u32>> = BTreeMap::new();
        for (_, request) in requests {
            let window = Window::of(request);
            let splits = wanted.entry(window).or_default();
            let Some(split) = split_of(request) else { continue };
            match self.states.get(window, split).cloned() {
                Some(state) => self.states.keep(window, split, state),
                None => _ = splits.insert(split),
            }
        }
        let pass = |(window, splits): (Window, BTreeSet<u32>)| {
            let first = splits.first().copied().unwrap_or(u32::MAX);
            let from = self.states.latest(window, first).map(|(split, state)| (split, state.clone()));
            let score = !self.clean.contains_key(&window);
            CleanPass { window, from, splits: splits.into_iter().collect(), score }
        };
        wanted.into_iter().map(pass).collect()
    }
}

/// The split at which a request's tensor crossed the channel.
fn split_of(request: &QualityRequest) -> Option<u32> {
    match &request.delivery {
        Delivery::Tensor(crossing) => Some(crossing.split),
        Delivery::Direct | Delivery::Nothing | Delivery::Late => None,
    }
}

impl QualitySource for LlmQuality {
    fn name(&self) -> Option<&'static str> {
        Some("llm")
    }

    fn submit(&mut self, request: QualityRequest) -> QualityTicket {
        let ticket = self.next;
        self.next += 1;
        self.pending.push((ticket, request));
        QualityTicket(ticket)
    }

    fn join(&mut self, ticket: QualityTicket) -> Result<Quality, QualityError> {
        if !self.done.contains_key(&ticket.0) {
            self.run_pending()?;
        }
        self.done
            .remove(&ticket.0)
            .unwrap_or_else(|| Err(QualityError::failed(None, None, format!("ticket {} is unknown", ticket.0))))
    }
}

/// Negative log-likelihood of a prompt (its window, and the length asked for) without a channel.
///
/// # Errors
/// [`QualityError`] if the corpus has no such window, or the model can't read it.
pub fn clean_nll(model: &LoadedModel, corpus: &Corpus, (index, tokens): (u32, u32)) -> Result<Nll, QualityError> {
    let window = Window { index, prompt_tokens: tokens, output_tokens: 1 };
    Ok(clean_pass(model, corpus, window, Vec::new())?.1)
}

/// A clean pass of all layers: the states at `splits`, in order, and the likelihood.
fn clean_pass(
    model: &LoadedModel,
    corpus: &Corpus,
    window: Window,
    splits: Vec<u32>,
) -> Result<(Passed, Nll), QualityError> {
    let passed = CleanPass { window, from: None, splits, score: true }.run(model, corpus)?;
    let nll = passed.nll.ok_or_else(|| QualityError::failed(Some(window.index), None, "nothing was scored"))?;
    Ok((passed, nll))
}

/// The quality of one request with nothing known beforehand.
fn evaluate_anew(
    model: &LoadedModel,
    corpus: &Corpus,
    streams: Streams,
    request: &QualityRequest,
) -> Result<Quality, QualityError> {
    let splits = split_of(request).into_iter().collect();
    let (passed, nll) = clean_pass(model, corpus, Window::of(request), splits)?;
    finish(model, streams, request, &passed.text, nll, passed.states.into_iter().next().map(|(_, state)| state))
}

/// The quality of one request, given the clean negative log-likelihood of its
/// window: eq. (1), (3), (5) and (6) in one.
///
/// # Errors
/// [`QualityError`] if the model can't read the window or gives no finite result.
pub fn evaluate(
    model: &LoadedModel,
    corpus: &Corpus,
    streams: &Streams,
    request: &QualityRequest,
    clean: Nll,
) -> Result<Quality, QualityError> {
    let pass = CleanPass {
        window: Window::of(request),
        from: None,
        splits: split_of(request).into_iter().collect(),
        score: false,
    };
    let passed = pass.run(model, corpus)?;
    finish(model, *streams, request, &passed.text, clean, passed.states.into_iter().next().map(|(_, state)| state))
}

/// The edge's part: the state in front of the channel (of a tensor that crossed it), what
/// the channel leaves of that, and the layers behind. As attention is causal, the rows of
/// all rounds at once are what the rounds give one by one with a cache of keys and values.
fn finish(
    model: &LoadedModel,
    streams: Streams,
    request: &QualityRequest,
    text: &WindowText,
    clean: Nll,
    state: Option<Arc<Hidden>>,
) -> Result<Quality, QualityError> {
    let decoder = &model.decoder;
    let mut received: Option<Received> = None;
    let chance = Nll::chance(decoder.config().vocab, clean.tokens);
    let nll = match &request.delivery {
        Delivery::Direct => Some(clean),
        Delivery::Late => None,
        Delivery::Nothing => Some(chance),
        Delivery::Tensor(crossing) => {
            let failed = |reason: String| QualityError::failed(request.window, Some(crossing.split), reason);
            let state = state.ok_or_else(|| failed("the state in front of the channel is missing".into()))?;
            let mut hidden = Arc::unwrap_or_clone(state);
            let width = hidden.width();
            let what = channel::apply(&crossing.reception, &streams, hidden.values_mut(), width);
            received = Some(what);
            let behind = decoder.run(hidden, crossing.split as usize..decoder.layers());
            match behind.and_then(|hidden| text.score(decoder, &hidden)) {
                // Every single element lost: whatever the layers make of zeros is no answer.
                _ if !what.anything_arrived => Some(chance),
                Ok(nll) => Some(nll),
                // A gain or noise beyond single precision leaves nothing to decode.
                Err(DecoderError::NotFinite { .. }) => Some(chance),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    };
    let ppl_clean = clean.perplexity();
    let ppl = nll.map(|nll| nll.perplexity());
    Ok(Quality {
        nll_sum: nll.map(|nll| nll.sum),
        tokens_scored: nll.map(|nll| nll.tokens as u32),
        ppl_clean: Some(ppl_clean),
        ppl,
        relative_gain: ppl.map(|ppl| (ppl_clean - ppl) / ppl_clean),
        activation_snr_db: received.and_then(|received| received.activation_snr_db),
        rows_lost: received.map(|received| received.rows_lost as u32),
        source: None,
    })
}
