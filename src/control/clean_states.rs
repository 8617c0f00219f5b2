//! Clean hidden states, computed once: without a channel they depend on the window
//! and the split alone, so what a request adds is the edge's part of the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::windows::{Window, WindowText};
use crate::llm::{Corpus, Hidden, LoadedModel, Nll};
use crate::network::ports::QualityError;

/// Memory for states of one run: at the built-in model's width 8,192 prompts of 64
/// tokens, about all that its corpus has, and at LLaMA-2-7B's 256 of them. Small beside
/// the weights of whatever model makes larger states.
pub const CAPACITY_BYTES: usize = 256 << 20;

/// The states in front of the channel of some windows at some splits, as many as fit.
/// The least recently used go first; what is kept never changes a result, for the
/// same state is computed again.
#[derive(Debug)]
pub struct CleanStates {
    capacity: usize,
    bytes: usize,
    clock: u64,
    states: BTreeMap<(Window, u32), (Arc<Hidden>, u64)>,
    /// By time of last use.
    used: BTreeMap<u64, (Window, u32)>,
}

impl CleanStates {
    /// Room for states of so many bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, bytes: 0, clock: 0, states: BTreeMap::new(), used: BTreeMap::new() }
    }

    /// The state in front of the layer behind `split`, if it is kept.
    pub fn get(&self, window: Window, split: u32) -> Option<&Arc<Hidden>> {
        self.states.get(&(window, split)).map(|(state, _)| state)
    }

    /// The kept state of the window at the latest split up to `split`: what lies between
    /// the two is all that remains to be computed.
    pub fn latest(&self, window: Window, split: u32) -> Option<(u32, &Arc<Hidden>)> {
        let ((_, found), (state, _)) = self.states.range((window, 0)..=(window, split)).next_back()?;
        Some((*found, state))
    }

    /// Keeps a state that was used now, at the price of those not used for longest.
    pub fn keep(&mut self, window: Window, split: u32, state: Arc<Hidden>) {
        let size = bytes(&state);
        if size > self.capacity {
            return;
        }
        self.clock += 1;
        match self.states.insert((window, split), (state, self.clock)) {
            Some((_, before)) => {
                self.used.remove(&before);
            }
            None => self.bytes += size,
        }
        self.used.insert(self.clock, (window, split));
        while self.bytes > self.capacity
            && let Some((_, oldest)) = self.used.pop_first()
            && let Some((state, _)) = self.states.remove(&oldest)
        {
            self.bytes -= bytes(&state);
        }
    }

    /// Bytes of the states kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Size of a state.
fn bytes(state: &Hidden) -> usize {
    size_of_val(state.values())
}

/// A clean pass of one window through the layers: what it starts from and what is
/// wanted of it.
#[derive(Clone, Debug)]
pub struct CleanPass {
    /// The window.
    pub window: Window,
    /// A split and the state there, if one is known; it is no later than any in `splits`.
    pub from: Option<(u32, Arc<Hidden>)>,
    /// Splits whose states are wanted, in order.
    pub splits: Vec<u32>,
    /// Whether the likelihood is wanted.
    pub score: bool,
}

/// What a clean pass gave.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The window's text.
    pub text: WindowText,
    /// The states at the splits asked for.
    pub states: Vec<(u32, Arc<Hidden>)>,
    /// Negative log-likelihood without a channel, if it was asked for.
    pub nll: Option<Nll>,
}

impl CleanPass {
    /// Runs the layers once, no further than what is wanted.
    ///
    /// # Errors
    /// [`QualityError`] if the corpus has no such window, or the model can't read it.
    pub fn run(self, model: &LoadedModel, corpus: &Corpus) -> Result<Passed, QualityError> {
        let decoder = &model.decoder;
        let failed = |error| QualityError::failed(Some(self.window.index), None, error);
        let text = self.window.text(corpus, decoder.config().bos_token)?;
        let mut states = Vec::with_capacity(self.splits.len());
        if self.splits.is_empty() && !self.score {
            return Ok(Passed { text, states, nll: None });
        }
        let (mut layer, mut hidden) = match self.from {
            Some((split, state)) => (split as usize, Hidden::clone(&state)),
            None => (0, decoder.embed(&text.inputs).map_err(failed)?),
        };
        for split in self.splits {
            hidden = decoder.run(hidden, layer..split as usize).map_err(failed)?;
            layer = split as usize;
            states.push((split, Arc::new(hidden.clone())));
        }
        let nll = if self.score {
            hidden = decoder.run(hidden, layer..decoder.layers()).map_err(failed)?;
            Some(text.score(decoder, &hidden).map_err(failed)?)
        } else {
            None
        };
        Ok(Passed { text, states, nll })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn window(index: u32) -> Window {
        Window { index, prompt_tokens: 4, output_tokens: 1 }
    }

    fn state(value: f32) -> Arc<Hidden> {
        Arc::new(Hidden::from_vec(vec![value; 8], 2).unwrap())
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut states = CleanStates::new(3 * 32);
        for split in 1..=3 {
            states.keep(window(0), split, state(split as f32));
        }
        states.keep(window(0), 1, state(1.0));
        states.keep(window(1), 1, state(4.0));
        assert_eq!(states.bytes(), 96);
        assert_eq!(states.get(window(0), 2), None);
        assert_eq!(states.get(window(0), 1), Some(&state(1.0)));
        assert_eq!(states.latest(window(0), 2).map(|(split, _)| split), Some(1));
        assert_eq!(states.latest(window(0), 9).map(|(split, _)| split), Some(3));
        assert_eq!(states.latest(window(2), 9), None);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut states = CleanStates::new(31);
        states.keep(window(0), 1, state(1.0));
        assert_eq!((states.bytes(), states.get(window(0), 1)), (0, None));
    }

    /// Whatever it starts from, a pass gives the same bits.
    #[test]
    fn a_pass_may_begin_anywhere() {
        let model = LoadedModel::open("builtin").unwrap();
        let vocab = model.decoder.config().vocab;
        let corpus = Corpus::open("builtin", &model.tokenizer, vocab, crate::llm::Segmentation::Tokens).unwrap();
        let window = Window { index: 7, prompt_tokens: 12, output_tokens: 5 };
        let pass = |from, splits: &[u32], score| {
            CleanPass { window, from, splits: splits.to_vec(), score }.run(&model, &corpus).unwrap()
        };
        let whole = pass(None, &[2, 5, 16], true);
        let (split, state) = whole.states[0].clone();
        let later = pass(Some((split, state)), &[5], true);
        assert_eq!(later.states[0].1, whole.states[1].1);
        assert_eq!(later.nll, whole.nll);
        assert_eq!(whole.nll.unwrap().tokens, 5);
        let text = &whole.text;
        let hidden = model.decoder.run(model.decoder.embed(&text.inputs).unwrap(), 0..16).unwrap();
        assert_eq!(*whole.states[2].1, hidden);
        assert_eq!(whole.nll.unwrap(), text.score(&model.decoder, &hidden).unwrap());
    }
}
