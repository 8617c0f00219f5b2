//! Hybrid ARQ: a packet that fails is sent again one round trip later, and what was
//! received before may be added to what is received then.

use crate::kernel::Stream;
use crate::units::SimTime;

/// The most transmissions of a packet that a cell may be set to.
pub const MAX_HARQ_TRANSMISSIONS: u32 = 16;

/// What the receiver does with transmissions that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Combining {
    /// Drops them: each transmission stands for itself.
    None,
    /// Chase combining: repeats of the same bits, weighted by their gains, whose SNRs
    /// (linear) add up (Chase, IEEE Trans. Commun. 33(5), 1985).
    #[default]
    Chase,
}

/// Hybrid ARQ of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harq {
    /// Transmissions of a packet at most, the first one included; 0 counts as 1.
    pub max_transmissions: u32,
    /// From one transmission of a packet to the next.
    pub round_trip: SimTime,
    /// What becomes of transmissions that failed.
    pub combining: Combining,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HarqOutcome {
    /// Transmissions used, at least 1.
    pub attempts: u32,
    /// Whether the last one succeeded.
    pub delivered: bool,
}

impl Harq {
    /// When transmission `attempt` (from 0) of a packet begins whose first one is at `first`:
    /// `first + attempt · round_trip`.
    pub fn instant(&self, first: SimTime, attempt: u32) -> SimTime {
        let delay = self.round_trip.as_nanos().saturating_mul(u64::from(attempt));
        first + SimTime::from_nanos(delay)
    }

    /// Sends one packet until it succeeds or has been sent `max_transmissions` times.
    ///
    /// `quality(attempt)` is what transmission `attempt` (from 0) meets, linear: its SINR, or its
    /// SINR divided by the one that the rate needs. `succeeds(attempt, combined)` says
    /// whether the receiver decodes with the combined quality: of this transmission alone,
    /// or with [`Combining::Chase`] the sum so far. Both are called once per transmission, in order.
    ///
    /// ```
    /// use splitwave::radio::{Combining, Harq, HarqOutcome};
    /// use splitwave::units::SimTime;
    ///
    /// let round_trip = SimTime::from_nanos(4_000_000);
    /// let harq = Harq { max_transmissions: 4, round_trip, combining: Combining::Chase };
    /// // A fade at 0.4 of the SNR that the rate needs: three copies are enough.
    /// let outcome = harq.transmit(|_| 0.4, |_, combined| combined >= 1.0);
    /// assert_eq!(outcome, HarqOutcome { attempts: 3, delivered: true });
    /// ```
    pub fn transmit(
        &self,
        mut quality: impl FnMut(u32) -> f64,
        mut succeeds: impl FnMut(u32, f64) -> bool,
    ) -> HarqOutcome {
        let attempts = self.max_transmissions.max(1);
        let mut combined = 0.0;
        for attempt in 0..attempts {
            let now = quality(attempt);
            combined = match self.combining {
                Combining::None => now,
                Combining::Chase => combined + now,
            };
            if succeeds(attempt, combined) {
                return HarqOutcome { attempts: attempt + 1, delivered: true };
            }
        }
        HarqOutcome { attempts, delivered: false }
    }
}

/// The uniform number that decides whether transmission `attempt` (below
/// [`MAX_HARQ_TRANSMISSIONS`]) of `packet` (below 2²⁸) fails: it does if this is below the
/// block error rate. `request` is the [`HarqBlockError`](crate::kernel::Purpose::HarqBlockError)
/// stream of the UE, counted from the request's block 2³² · request.
pub fn block_error_draw(request: &Stream, packet: u32, attempt: u32) -> f64 {
    request.uniform(u64::from(packet) * u64::from(MAX_HARQ_TRANSMISSIONS) + u64::from(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn harq(max_transmissions: u32, combining: Combining) -> Harq {
        Harq { max_transmissions, round_trip: SimTime::from_nanos(4_000_000), combining }
    }

    #[test]
    fn without_combining_each_transmission_stands_for_itself() {
        let qualities = [0.9, 0.9, 1.0, 5.0];
        let alone = harq(4, Combining::None);
        let threshold = |_, combined| combined >= 1.0;
        let outcome = alone.transmit(|attempt| qualities[attempt as usize], threshold);
        assert_eq!(outcome, HarqOutcome { attempts: 3, delivered: true });
        assert_eq!(alone.transmit(|_| 0.9, threshold), HarqOutcome { attempts: 4, delivered: false });
        let chase = harq(4, Combining::Chase);
        assert_eq!(chase.transmit(|_| 0.9, threshold), HarqOutcome { attempts: 2, delivered: true });
        assert_eq!(harq(0, Combining::Chase).transmit(|_| 0.9, threshold).attempts, 1);
    }

    #[test]
    fn transmissions_are_a_round_trip_apart() {
        let start = SimTime::from_nanos(7);
        assert_eq!(
            [0, 1, 3].map(|j| harq(4, Combining::None).instant(start, j).as_nanos()),
            [7, 4_000_007, 12_000_007]
        );
        let slow = Harq { round_trip: SimTime::MAX, ..harq(4, Combining::None) };
        assert_eq!(slow.instant(start, 3), SimTime::MAX);
    }

    #[test]
    fn each_transmission_has_a_draw_of_its_own() {
        let request = Streams::new(1, 0).stream(3, Purpose::HarqBlockError).starting_at(5 << 32);
        let mut seen = std::collections::BTreeSet::new();
        for packet in [0, 1, 2, (1 << 28) - 1] {
            for attempt in 0..MAX_HARQ_TRANSMISSIONS {
                assert!(seen.insert(block_error_draw(&request, packet, attempt).to_bits()));
            }
        }
        let next_request = Streams::new(1, 0).stream(3, Purpose::HarqBlockError).starting_at(6 << 32);
        assert!(seen.insert(block_error_draw(&next_request, 0, 0).to_bits()));
    }
}
