//! Prompts: windows of a corpus, or bare lengths.

use std::sync::Arc;

use crate::control::windows::further_tokens;
use crate::llm::Corpus;
use crate::network::ports::{Prompt, Prompts};

/// Prompts are windows of a corpus, drawn uniformly.
pub struct CorpusPrompts {
    corpus: Arc<Corpus>,
    bos_token: Option<u32>,
}

impl CorpusPrompts {
    /// Prompts of `corpus` for a model with this BOS token. The caller has checked that
    /// it has a window of every length that the workload asks for.
    pub fn new(corpus: Arc<Corpus>, bos_token: Option<u32>) -> Self {
        Self { corpus, bos_token }
    }
}

impl Prompts for CorpusPrompts {
    fn pick(&self, uniform: f64, tokens: u32, output_tokens: u32) -> Prompt {
        let further = further_tokens(output_tokens, self.bos_token);
        let windows = self.corpus.continued_count(tokens as usize, further);
        let window = ((uniform * windows as f64) as usize).min(windows.saturating_sub(1));
        // A sentence brings its own length.
        let found = self.corpus.continued(window, tokens as usize, further);
        let tokens = found.map_or(tokens, |ids| (ids.len() - further) as u32);
        Prompt { window: Some(window as u32), tokens }
    }
}

/// Prompts have a length and no text: for runs without a model.
pub struct LengthPrompts;

impl Prompts for LengthPrompts {
    fn pick(&self, _uniform: f64, tokens: u32, _output_tokens: u32) -> Prompt {
        Prompt { window: None, tokens }
    }
}
