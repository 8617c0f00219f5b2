//! Prompts: windows of a corpus, or bare lengths.

use std::sync::Arc;

use crate::llm::Corpus;
use crate::network::ports::{Prompt, Prompts};

/// Prompts are windows of a corpus, drawn uniformly.
pub struct CorpusPrompts {
    corpus: Arc<Corpus>,
}

impl CorpusPrompts {
    /// Prompts of `corpus`. The caller has checked that it has a window of every
    /// length that the workload asks for.
    pub fn new(corpus: Arc<Corpus>) -> Self {
        Self { corpus }
    }
}

impl Prompts for CorpusPrompts {
    fn pick(&self, uniform: f64, tokens: u32) -> Prompt {
        let windows = self.corpus.window_count(tokens as usize);
        let window = ((uniform * windows as f64) as usize).min(windows.saturating_sub(1));
        // A sentence brings its own length.
        let tokens = self.corpus.window(window, tokens as usize).map_or(tokens, |ids| ids.len() as u32);
        Prompt { window: Some(window as u32), tokens }
    }
}

/// Prompts have a length and no text: for runs without a model.
pub struct LengthPrompts;

impl Prompts for LengthPrompts {
    fn pick(&self, _uniform: f64, tokens: u32) -> Prompt {
        Prompt { window: None, tokens }
    }
}
