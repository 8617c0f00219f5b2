//! What the network asks about texts that are generated as it runs: which token comes next, and how
//! sure the UE is of it.
//!
//! ```text
//! open ─▶ submit ─▶ join ─▶ settle ─▶ submit ─▶ join ─▶ settle ─▶ … ─▶ close ─▶ finish
//!         the UE's pass     whose token         the next one           the row is due
//!         begins   ends     it is
//! ```
//!
//! Model work begins when the processor that does it begins and its result is asked for when that one
//! ends, so texts of many UEs are computed at once. A text is a pure function of its job and of who
//! settled each of its tokens.

use crate::network::ports::{Crossing, QualityError};

/// Names a text under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextId(pub u64);

/// A text that is asked for.
#[derive(Clone, Debug)]
pub struct TextJob {
    /// UE: entity of its draws.
    pub ue: u32,
    /// The UE's request: index of its draws.
    pub request: u64,
    /// Window of the corpus.
    pub window: Option<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub output_tokens: u32,
    /// What a split text's rows met on their way to the edge.
    pub crossing: Option<Box<Crossing>>,
}

/// Whose token stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The UE's, by itself.
    Ue,
    /// The edge's.
    Edge,
    /// The UE's, because the edge's answer was lost or late.
    Fallback,
}

impl TokenSource {
    /// The word in the column `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ue => "ue",
            Self::Edge => "edge",
            Self::Fallback => "fallback",
        }
    }
}

/// A token of a text that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextToken {
    /// The token.
    pub token: u32,
    /// The large model's own first choice at its place.
    pub llm_token: u32,
    /// ln p_L of the token, given the text before it.
    pub logprob_llm: f64,
}

/// Generates texts.
pub trait TextSource {
    /// A text begins.
    fn open(&mut self, job: TextJob) -> TextId;

    /// The UE begins to compute the next token.
    fn submit(&mut self, text: TextId);

    /// The UE has computed the next token: how sure it is of it.
    ///
    /// # Errors
    /// [`QualityError`] if the model gave no finite result, or the run is to stop.
    fn join(&mut self, text: TextId) -> Result<f64, QualityError>;

    /// Whose token comes next in the text.
    fn settle(&mut self, text: TextId, source: TokenSource);

    /// The text has ended.
    fn close(&mut self, text: TextId);

    /// Its tokens, as the large model sees them; each text is finished once, in the order of ending.
    ///
    /// # Errors
    /// As [`TextSource::join`].
    fn finish(&mut self, text: TextId) -> Result<Vec<TextToken>, QualityError>;
}
