//! What a request with generated text carries with it.

use crate::kernel::Ticket;
use crate::network::collaboration::Standing;
use crate::network::request::{EDGE_COMPUTE, Request, RequestId};
use crate::network::text::{TextId, TokenSource};
use crate::units::SimTime;

/// How a token came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenTrail {
    /// Whose it is.
    pub source: TokenSource,
    /// Score of the UE's own token at its place. `None` where nobody asked for one.
    pub score: Option<f64>,
    /// Bits sent since the token before it stood. `None` without an uplink, or if analog.
    pub uplink_bits: Option<u64>,
    /// Time from the question to the token; `None` if nobody was asked.
    pub wait: Option<SimTime>,
    /// Time that the edge computed for it.
    pub edge: Option<SimTime>,
    /// When the client has it; `None` where only the whole text is known.
    pub at: Option<SimTime>,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was put.
    pub since: SimTime,
    /// The event that ends the waiting.
    pub deadline: Option<Ticket>,
}

/// A text under way.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// Its name at the text source.
    pub text: Option<TextId>,
    /// Tokens that stand.
    pub trail: Vec<TokenTrail>,
    /// Inputs that have reached the edge.
    pub at_edge: u32,
    /// Inputs whose keys and values the edge has.
    pub computed: u32,
    /// Inputs whose states the UE has, to be sent unasked.
    pub rows_ready: u32,
    /// The score of the UE's present proposal.
    pub score: Option<f64>,
    /// The present question.
    pub asked: Option<Asked>,
    /// Questions so far.
    pub asks: u32,
    /// Inputs of its pass in the batch that runs at the edge.
    pub in_batch: Option<u32>,
    /// The edge was to go on by itself, and could not be reached: the UE does.
    pub fell_back: bool,
    /// Rows on their way, as a request of their own.
    pub upload: Option<RequestId>,
    /// Airtime of rows that were sent unasked.
    pub upload_air: SimTime,
    /// The part of it that ended while the request waited for it.
    pub awaited_air: SimTime,
    /// Bits sent when the last token stood.
    pub bits_before: u64,
    /// Time at the edge when the last token stood.
    pub edge_before: SimTime,
    /// Bits of tokens that came back.
    pub downlink_bits: u64,
}

impl Talk {
    /// How many of its tokens are of that source.
    pub fn tokens_of(&self, source: TokenSource) -> u32 {
        self.trail.iter().filter(|token| token.source == source).count() as u32
    }
}

impl TokenTrail {
    /// A token of which nothing but the source is known.
    pub fn bare(source: TokenSource) -> Self {
        Self { source, score: None, uplink_bits: None, wait: None, edge: None, at: None }
    }
}

impl Request {
    /// How far its text is.
    pub fn standing(&self) -> Standing {
        let talk = self.talk.as_deref();
        Standing {
            prompt: self.prompt_tokens,
            position: talk.map_or(0, |talk| talk.trail.len() as u32),
            at_edge: talk.map_or(0, |talk| talk.at_edge),
            computed: talk.map_or(0, |talk| talk.computed),
        }
    }

    /// Whether all tokens stand.
    pub fn is_told(&self) -> bool {
        self.standing().position >= self.output_tokens
    }

    /// Adds a token that the client has at `at`, when so many bits have been sent.
    pub fn add_token(&mut self, source: TokenSource, at: SimTime, asked_since: Option<SimTime>, bits: Option<u64>) {
        let edge = self.spent[EDGE_COMPUTE].unwrap_or(SimTime::ZERO);
        let Some(talk) = self.talk.as_mut() else { return };
        let trail = TokenTrail {
            source,
            score: talk.score.take(),
            uplink_bits: bits.map(|bits| bits - talk.bits_before),
            wait: asked_since.map(|since| at.saturating_sub(since)),
            edge: (edge > talk.edge_before).then(|| edge - talk.edge_before),
            at: Some(at),
        };
        talk.trail.push(trail);
        talk.bits_before = bits.unwrap_or(talk.bits_before);
        talk.edge_before = edge;
        if let Some(session) = self.session.as_mut() {
            session.first_token.get_or_insert(at);
        }
    }
}
