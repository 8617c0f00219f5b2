//! Block fading: one gain for a coherence time, then another.

use super::{FadingError, Link, Moment};
use crate::kernel::{Purpose, Stream, Streams};

/// Wavelengths travelled in a block unless its duration is given: the coherence time
/// `T_c = 0.423/f_d`, √(9/(16π))/f_d (Rappaport, "Wireless Communications", 2nd edition, eq. 5.40.c).
pub const COHERENCE_TURNS: f64 = 0.423;

/// Block fading of one link: |z|² is exponential of mean 1, drawn anew for each block from
/// the draw of the block's number in the link's [`Purpose::FadingBlock`] stream.
///
/// Block `⌊u/0.423⌋` at u wavelengths travelled, or `⌊t/T⌋` where a duration T is given.
#[derive(Debug, Clone)]
pub struct BlockFading {
    stream: Stream,
    coherence_s: Option<f64>,
}

impl BlockFading {
    /// The fading of `link`, with blocks of `coherence_s` \[s\] or of [`COHERENCE_TURNS`].
    ///
    /// # Errors
    /// [`FadingError::Coherence`] for a duration that is not positive and finite.
    pub fn new(streams: &Streams, link: Link, coherence_s: Option<f64>) -> Result<Self, FadingError> {
        match coherence_s {
            Some(bad) if !(bad.is_finite() && bad > 0.0) => Err(FadingError::Coherence(bad)),
            _ => Ok(Self { stream: link.stream(*streams, Purpose::FadingBlock), coherence_s }),
        }
    }

    /// |z| at a moment.
    pub fn envelope(&self, at: Moment) -> f64 {
        let block = match self.coherence_s {
            Some(coherence_s) => at.time_s / coherence_s,
            None => at.turns / COHERENCE_TURNS,
        };
        // A cast saturates, and makes 0 of what is below.
        self.stream.exponential(block.floor() as u64).sqrt()
    }
}
