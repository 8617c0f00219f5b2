//! Quality by the real model: what the channel left of the tensor goes through
//! the remaining layers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::channel::{self, Received};
use crate::kernel::Streams;
use crate::llm::{Corpus, DecoderError, LoadedModel, Nll};
use crate::network::ports::{Delivery, Quality, QualityError, QualityRequest, QualitySource, QualityTicket};

/// A window: its index and the length that the workload asked for.
type Window = (u32, u32);

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
    /// Without a channel, once per window.
    clean: BTreeMap<Window, Nll>,
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
            pending: Vec::new(),
            done: BTreeMap::new(),
            next: 0,
        }
    }

    /// Evaluates what waits, a few requests per core at a time.
    ///
    /// Stops between them when the run is to stop.
    fn run_pending(&mut self) -> Result<(), QualityError> {
        let batch = self.pool.current_num_threads() * REQUESTS_PER_THREAD;
        let mut pending = std::mem::take(&mut self.pending).into_iter().peekable();
        while pending.peek().is_some() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(QualityError::Interrupted);
            }
            let requests: Vec<(u64, QualityRequest)> = pending.by_ref().take(batch).collect();
            self.run_batch(&requests);
        }
        Ok(())
    }

    fn run_batch(&mut self, requests: &[(u64, QualityRequest)]) {
        let mut windows: Vec<Window> = requests.iter().map(|(_, request)| key(request)).collect();
        windows.sort_unstable();
        windows.dedup();
        windows.retain(|window| !self.clean.contains_key(window));
        let Self { model, corpus, pool, streams, clean, .. } = &*self;
        let (fresh, finished) = pool.install(|| {
            let fresh: BTreeMap<Window, Result<Nll, QualityError>> =
                windows.into_par_iter().map(|window| (window, clean_nll(model, corpus, window))).collect();
            let finished: Vec<(u64, Result<Quality, QualityError>)> = requests
                .par_iter()
                .map(|(ticket, request)| {
                    let window = key(request);
                    let clean = match (clean.get(&window), fresh.get(&window)) {
                        (Some(&nll), _) | (None, Some(&Ok(nll))) => Ok(nll),
                        _ => clean_nll(model, corpus, window),
                    };
                    (*ticket, clean.and_then(|clean| evaluate(model, corpus, streams, request, clean)))
                })
                .collect();
            (fresh, finished)
        });
        self.clean.extend(fresh.into_iter().filter_map(|(window, nll)| Some((window, nll.ok()?))));
        self.done.extend(finished);
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

fn key(request: &QualityRequest) -> Window {
    (request.window.unwrap_or(0), request.prompt_tokens)
}

/// Negative log-likelihood of a window (its index, and the length asked for) without a channel.
///
/// # Errors
/// [`QualityError`] if the corpus has no such window, or the model can't read it.
pub fn clean_nll(model: &LoadedModel, corpus: &Corpus, (window, tokens): Window) -> Result<Nll, QualityError> {
    let ids = corpus
        .window(window as usize, tokens as usize)
        .map_err(|error| QualityError::failed(Some(window), None, error))?;
    model.decoder.window_nll(ids).map_err(|error| QualityError::failed(Some(window), None, error))
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
    let mut received: Option<Received> = None;
    let nll = match &request.delivery {
        Delivery::Direct => Some(clean),
        Delivery::Late => None,
        Delivery::Nothing => Some(Nll::chance(model.decoder.config().vocab, clean.tokens)),
        Delivery::Tensor(crossing) => {
            let failed = |reason| QualityError::failed(request.window, Some(crossing.split), reason);
            let (window, tokens) = key(request);
            let ids = corpus.window(window as usize, tokens as usize).map_err(|error| failed(error.to_string()))?;
            let width = model.decoder.config().d_model;
            let evaluated = model.decoder.split_nll(ids, crossing.split as usize, |hidden| {
                received = Some(channel::apply(&crossing.reception, streams, hidden.values_mut(), width));
            });
            match evaluated {
                // Every single element lost: whatever the layers make of zeros is no answer.
                _ if received.is_some_and(|received| !received.anything_arrived) => {
                    Some(Nll::chance(model.decoder.config().vocab, clean.tokens))
                }
                Ok(nll) => Some(nll),
                // A gain or noise beyond single precision leaves nothing to decode.
                Err(DecoderError::NotFinite { .. }) => Some(Nll::chance(model.decoder.config().vocab, clean.tokens)),
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
    })
}
