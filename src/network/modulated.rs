//! Arrivals whose rate switches between two values: the MMPP-2, and with one rate of
//! 0 the on-off source.

use crate::kernel::{Purpose, Streams};
use crate::units::SimTime;

/// A Markov-modulated Poisson process of two states: Poisson arrivals of rate λ_i
/// while a hidden Markov chain is in state i, for an exponential time of mean 1/r_i
/// (Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP)
/// cookbook", Performance Evaluation 18(2), 1993).
///
/// It starts in its stationary state: in state i with probability π_i = r_j/(r_1 + r_2).
/// Mean rate λ̄ = π_1·λ_1 + π_2·λ_2. Counts over t seconds have the index of dispersion
///
/// ```text
/// Var N(t)/E N(t) = 1 + 2·(λ_1 - λ_2)²·π_1·π_2/(λ̄·r)·[1 - (1 - exp(-r·t))/(r·t)],  r = r_1 + r_2
/// ```
///
/// of 1 at short times, where it looks Poisson, and 1 + 2·(λ_1 - λ_2)²·π_1·π_2/(λ̄·r) in the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Modulated {
    /// Arrivals per second in either state, λ_1 and λ_2; not both 0.
    pub rates_per_s: [f64; 2],
    /// Mean time in either state, 1/r_1 and 1/r_2 \[s\].
    pub sojourns_s: [f64; 2],
}

/// Where a UE's chain is at its last arrival: what [`Modulated::arrival`] goes on from.
/// A memory of the walk, not a state of its own: walking anew from time 0 leads here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainCursor {
    /// End of the present stay.
    until: SimTime,
    /// Stays drawn so far; 0 before the first arrival.
    stays: u64,
    /// The present state, 0 or 1.
    state: u8,
}

impl Modulated {
    /// π_i, the share of time in state `i` (0 or 1).
    pub fn share(&self, i: usize) -> f64 {
        self.sojourns_s[i] / (self.sojourns_s[0] + self.sojourns_s[1])
    }

    /// λ̄, the mean rate \[1/s\].
    pub fn mean_rate_per_s(&self) -> f64 {
        self.share(0) * self.rates_per_s[0] + self.share(1) * self.rates_per_s[1]
    }

    /// Changes of state per arrival, in the mean.
    pub fn changes_per_arrival(&self) -> f64 {
        2.0 / (self.sojourns_s[0] + self.sojourns_s[1]) / self.mean_rate_per_s()
    }

    /// Var N(t)/E N(t) of the arrivals in any `t_s` seconds; the limit for infinity.
    pub fn dispersion(&self, t_s: f64) -> f64 {
        let relaxation = 1.0 / self.sojourns_s[0] + 1.0 / self.sojourns_s[1];
        let apart = self.rates_per_s[0] - self.rates_per_s[1];
        let limit = 2.0 * apart * apart * self.share(0) * self.share(1) / (self.mean_rate_per_s() * relaxation);
        let turns = relaxation * t_s;
        let reached = if turns == f64::INFINITY { 1.0 } else { 1.0 + (-turns).exp_m1() / turns };
        1.0 + limit * reached
    }

    /// The instant of the arrival number `k` of `ue`, behind the last one, `after` (0 for
    /// the first), where `cursor` stands. `None` if it comes after all simulated time.
    ///
    /// A Poisson process of varying rate is one of rate 1 in the time ∫λ dt: the arrival
    /// comes where the integral has grown by the exponential number `k` of
    /// [`Purpose::Arrival`]. Stays are drawn from [`Purpose::TrafficState`] (index 0: the
    /// first state, index n: stay n). Both streams are the UE's own, so its arrivals are
    /// a function of its key alone; of equal rates they are those of "poisson".
    pub fn arrival(
        &self,
        streams: &Streams,
        ue: u32,
        k: u64,
        after: SimTime,
        cursor: &mut ChainCursor,
    ) -> Option<SimTime> {
        let chain = streams.stream(ue, Purpose::TrafficState);
        if cursor.stays == 0 {
            let state = u8::from(chain.uniform(0) >= self.share(0));
            *cursor = ChainCursor { until: self.stay(&chain, 1, state), stays: 1, state };
        }
        let mut missing = streams.stream(ue, Purpose::Arrival).exponential(k);
        let mut from = after;
        loop {
            let rate = self.rates_per_s[usize::from(cursor.state)];
            let gained = rate * (cursor.until - from).as_secs_f64();
            if missing < gained {
                let at = from + SimTime::from_secs_saturating(missing / rate);
                return Some(at.min(cursor.until));
            }
            if cursor.until == SimTime::MAX {
                return None;
            }
            missing -= gained;
            from = cursor.until;
            let (stays, state) = (cursor.stays + 1, 1 - cursor.state);
            *cursor = ChainCursor { until: from + self.stay(&chain, stays, state), stays, state };
        }
    }

    /// A stay lasts at least a nanosecond: an empty one would be no stay.
    fn stay(&self, chain: &crate::kernel::Stream, number: u64, state: u8) -> SimTime {
        let mean = self.sojourns_s[usize::from(state)];
        SimTime::from_secs_saturating(chain.exponential(number) * mean).max(SimTime::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURSTY: Modulated = Modulated { rates_per_s: [9.0, 0.5], sojourns_s: [2.0, 6.0] };

    fn first(process: &Modulated, streams: Streams, ue: u32, count: u64) -> Vec<SimTime> {
        let (mut at, mut cursor) = (SimTime::ZERO, ChainCursor::default());
        (0..count)
            .map(|k| {
                at = process.arrival(&streams, ue, k, at, &mut cursor).unwrap();
                at
            })
            .collect()
    }

    #[test]
    fn means_by_hand() {
        // A quarter of the time at 9, the rest at 0.5.
        assert_eq!(BURSTY.mean_rate_per_s(), 2.625);
        // Two changes in 8 s, 21 arrivals.
        assert!((BURSTY.changes_per_arrival() - 2.0 / 21.0).abs() < 1e-15);
        // 2·8.5²·(3/16)/(2.625·(1/2 + 1/6)) = 27.09375/1.75.
        assert!((BURSTY.dispersion(f64::INFINITY) - (1.0 + 27.09375 / 1.75)).abs() < 1e-12);
        assert!((BURSTY.dispersion(1e-9) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn equal_rates_are_a_poisson_process() {
        let streams = Streams::new(5, 0);
        let even = Modulated { rates_per_s: [4.0, 4.0], sojourns_s: [0.3, 0.1] };
        let mut exact = 0.0;
        for (k, at) in (0..).zip(first(&even, streams, 2, 2000)) {
            exact += streams.stream(2, Purpose::Arrival).exponential(k) / 4.0;
            // A nanosecond's rounding per stay and arrival.
            assert!((at.as_secs_f64() - exact).abs() < 1e-5, "{k}: {at} for {exact}");
        }
    }

    #[test]
    fn the_cursor_is_only_a_memory() {
        let streams = Streams::new(5, 0);
        let walked = first(&BURSTY, streams, 2, 40);
        for k in 1..40usize {
            assert_eq!(first(&BURSTY, streams, 2, k as u64), walked[..k]);
        }
        assert!(size_of::<ChainCursor>() <= 32);
    }

    #[test]
    fn the_first_arrivals_are_pinned() {
        let found: Vec<u64> = first(&BURSTY, Streams::new(1, 0), 0, 3).iter().map(|at| at.as_nanos()).collect();
        // The same walk in other arithmetic (float seconds, in Python) gives these, but for rounding.
        assert_eq!(found, [59_830_533, 276_167_374, 300_101_216]);
    }

    #[test]
    fn silence_for_all_time_ends() {
        let silent = Modulated { rates_per_s: [0.0, 1e-300], sojourns_s: [1e9, 1e-6] };
        let none = silent.arrival(&Streams::new(1, 0), 0, 0, SimTime::ZERO, &mut ChainCursor::default());
        assert_eq!(none, None);
    }
}
