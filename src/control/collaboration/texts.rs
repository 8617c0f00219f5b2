//! The texts of a run: turns are noted as they come and taken when somebody needs what comes of them, those of
//! all texts at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::story::{Story, Tellers, Turn};
use crate::network::ports::QualityError;
use crate::network::text::{TextId, TextJob, TextSource, TextToken, TokenSource};

/// A text, and the turns that nobody has taken yet.
struct Entry {
    story: Option<Story>,
    turns: Vec<Turn>,
    failure: Option<QualityError>,
}

/// Texts by the models themselves.
pub struct ModelTexts {
    tellers: Tellers,
    pool: Arc<rayon::ThreadPool>,
    stop: Arc<AtomicBool>,
    entries: BTreeMap<TextId, Entry>,
    /// Texts with turns to take.
    waiting: Vec<TextId>,
    next: u64,
}

impl ModelTexts {
    /// Texts of one run. Once `stop` is raised, joining fails with [`QualityError::Interrupted`].
    pub fn new(tellers: Tellers, pool: Arc<rayon::ThreadPool>, stop: Arc<AtomicBool>) -> Self {
        Self { tellers, pool, stop, entries: BTreeMap::new(), waiting: Vec::new(), next: 0 }
    }

    fn note(&mut self, text: TextId, turn: Turn) {
        let Some(entry) = self.entries.get_mut(&text) else { return };
        if entry.turns.is_empty() {
            self.waiting.push(text);
        }
        entry.turns.push(turn);
    }

    /// Takes all turns that wait. Each text is a pure function of its own turns, so neither the company nor
    /// the threads change a bit of it.
    fn take_turns(&mut self) -> Result<(), QualityError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(QualityError::Interrupted);
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut work: Vec<(TextId, Story, Vec<Turn>)> = Vec::with_capacity(waiting.len());
        for text in waiting {
            let Some(entry) = self.entries.get_mut(&text) else { continue };
            if let Some(story) = entry.story.take() {
                work.push((text, story, std::mem::take(&mut entry.turns)));
            }
        }
        let tellers = &self.tellers;
        let take = |(text, mut story, turns): (TextId, Story, Vec<Turn>)| {
            let taken = story.take_turns(tellers, &turns);
            (text, story, taken)
        };
        let done: Vec<_> = match work.len() {
            // A pool is not worth its waking for one text.
            0 | 1 => work.into_iter().map(take).collect(),
            _ => self.pool.install(|| work.into_par_iter().map(take).collect()),
        };
        for (text, story, taken) in done {
            if let Some(entry) = self.entries.get_mut(&text) {
                match taken {
                    Ok(()) => entry.story = Some(story),
                    Err(failure) => entry.failure = Some(failure),
                }
            }
        }
        Ok(())
    }

    fn unknown(text: TextId) -> QualityError {
        QualityError::failed(None, None, format!("text {} is unknown", text.0))
    }
}

impl TextSource for ModelTexts {
    fn open(&mut self, job: TextJob) -> TextId {
        let text = TextId(self.next);
        self.next += 1;
        self.entries.insert(text, Entry { story: Some(Story::new(job)), turns: Vec::new(), failure: None });
        text
    }

    fn submit(&mut self, text: TextId) {
        self.note(text, Turn::Propose);
    }

    fn join(&mut self, text: TextId) -> Result<f64, QualityError> {
        if self.entries.get(&text).is_some_and(|entry| !entry.turns.is_empty()) {
            self.take_turns()?;
        }
        let Some(entry) = self.entries.get_mut(&text) else { return Err(Self::unknown(text)) };
        match entry.failure.take() {
            Some(failure) => Err(failure),
            None => entry.story.as_ref().and_then(Story::score).ok_or_else(|| Self::unknown(text)),
        }
    }

    fn settle(&mut self, text: TextId, source: TokenSource) {
        self.note(text, Turn::Settle(source));
    }

    fn close(&mut self, text: TextId) {
        self.note(text, Turn::Close);
    }

    fn finish(&mut self, text: TextId) -> Result<Vec<TextToken>, QualityError> {
        if self.entries.get(&text).is_some_and(|entry| !entry.turns.is_empty()) {
            self.take_turns()?;
        }
        let entry = self.entries.remove(&text).ok_or_else(|| Self::unknown(text))?;
        match (entry.failure, entry.story) {
            (Some(failure), _) => Err(failure),
            (None, Some(story)) => Ok(story.into_tokens()),
            (None, None) => Err(Self::unknown(text)),
        }
    }
}
