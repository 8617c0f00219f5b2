//! Sums over the requests of a UE, a group, or all.

use crate::network::rows::{Outcome, RequestRow};
use crate::units::SimTime;

/// A sum and the number of its terms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum<T> {
    /// Σ.
    pub total: T,
    /// Number of terms.
    pub n: u64,
}

impl Sum<f64> {
    fn real(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.total += value;
            self.n += 1;
        }
    }

    /// The mean.
    pub fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.total / self.n as f64)
    }

    /// The sum, unless it has no terms.
    pub fn sum(self) -> Option<f64> {
        (self.n > 0).then_some(self.total)
    }
}

impl Sum<u64> {
    fn count(&mut self, value: Option<u32>, of: Option<u32>) {
        if let (Some(value), Some(of)) = (value, of) {
            self.total += u64::from(value);
            self.n += u64::from(of);
        }
    }

    /// The share of the terms, or the mean.
    pub fn ratio(self) -> Option<f64> {
        (self.n > 0).then(|| self.total as f64 / self.n as f64)
    }
}

/// Times of a request that are summed.
const TIMES: usize = 9;
// Their places.
pub(super) const E2E: usize = 0;
pub(super) const TTFT: usize = 1;
pub(super) const UE_WAIT: usize = 2;
pub(super) const UE_COMPUTE: usize = 3;
pub(super) const UPLINK_WAIT: usize = 4;
pub(super) const UPLINK_AIR: usize = 5;
pub(super) const EDGE_WAIT: usize = 6;
pub(super) const EDGE_COMPUTE: usize = 7;
pub(super) const DOWNLINK: usize = 8;

/// What the generated texts of completed requests come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextSums {
    /// Tokens.
    pub tokens: u64,
    /// Those from the edge.
    pub from_edge: u64,
    /// Those of the UE for want of an answer.
    pub fallbacks: u64,
    /// ln p_L \[nat\]; `n` counts tokens.
    pub logprob: Sum<f64>,
    /// Tokens that are the large model's first choice, of those that it has judged.
    pub agreements: Sum<u64>,
    /// Bits sent.
    pub uplink_bits: u64,
    /// Questions to the edge.
    pub asks: u64,
}

impl TextSums {
    fn add(&mut self, row: &RequestRow<'_>) {
        let [ue, edge, fallback] =
            [row.ue_tokens, row.edge_tokens, row.fallback_tokens].map(|tokens| u64::from(tokens.unwrap_or(0)));
        self.tokens += ue + edge + fallback;
        self.from_edge += edge;
        self.fallbacks += fallback;
        if let (Some(nll), Some(tokens)) = (row.nll_sum, row.tokens_scored) {
            self.logprob.total -= nll;
            self.logprob.n += u64::from(tokens);
        }
        self.agreements.count(row.llm_agreements, row.tokens_scored);
        self.uplink_bits += row.uplink_bits.unwrap_or(0);
        self.asks += u64::from(row.edge_asks.unwrap_or(0));
    }

    fn merge(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.from_edge += other.from_edge;
        self.fallbacks += other.fallbacks;
        self.logprob.total += other.logprob.total;
        self.logprob.n += other.logprob.n;
        self.agreements.total += other.agreements.total;
        self.agreements.n += other.agreements.n;
        self.uplink_bits += other.uplink_bits;
        self.asks += other.asks;
    }

    /// `part` per token.
    pub fn per_token(&self, part: u64) -> Option<f64> {
        (self.tokens > 0).then(|| part as f64 / self.tokens as f64)
    }
}

/// What the requests of one UE come to: about 470 bytes. Times and counts are
/// exact integers; the rest are sums in the order of the rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Accumulator {
    /// Requests by outcome, as [`Outcome::ALL`] orders them.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Completed within the measured window, whenever they arrived.
    pub served: u64,
    /// Of these, with the deadline met, or without a deadline.
    pub in_time: u64,
    /// Sums of times \[ns\].
    times: [u128; TIMES],
    /// Numbers of their terms.
    timed: [u64; TIMES],
    /// The longest end-to-end time.
    pub e2e_max: SimTime,
    /// Time in which the processor computed, within the measured window \[ns\].
    pub busy: u128,
    /// Negative log-likelihood \[nat\]; `n` counts tokens.
    pub nll: Sum<f64>,
    /// N ln PPL_0; `n` counts tokens.
    pub nll_clean: Sum<f64>,
    /// Times per further token \[s\].
    pub tpot: Sum<f64>,
    /// Perplexities.
    pub ppl: Sum<f64>,
    /// Rewards.
    pub reward: Sum<f64>,
    /// Layers run on the UE.
    pub split: Sum<u64>,
    /// Packets lost, of packets sent.
    pub packets: Sum<u64>,
    /// Rows lost, of tokens sent.
    pub rows: Sum<u64>,
    /// Energy of the processor \[J\].
    pub ue_energy: Sum<f64>,
    /// Energy of the transmitter \[J\].
    pub tx_energy: Sum<f64>,
    /// Tokens of completed requests.
    pub tokens: u64,
    /// Generated texts, if there are any.
    pub text: Option<Box<TextSums>>,
}

impl Accumulator {
    /// Takes in a request.
    pub fn add(&mut self, row: &RequestRow<'_>) {
        self.outcomes[row.outcome as usize] += 1;
        let times = [
            row.e2e_s,
            row.ttft_s,
            row.ue_wait_s,
            row.ue_compute_s,
            row.uplink_wait_s,
            row.uplink_air_s,
            row.edge_wait_s,
            row.edge_compute_s,
            row.downlink_s,
        ];
        for ((total, n), time) in self.times.iter_mut().zip(&mut self.timed).zip(times) {
            // Phases that were cut off would pull the means of whole ones down.
            if let Some(time) = time.filter(|_| row.outcome == Outcome::Completed) {
                *total += u128::from(time.as_nanos());
                *n += 1;
            }
        }
        self.e2e_max = self.e2e_max.max(row.e2e_s.unwrap_or_default());
        if let Some(tokens) = row.tokens_scored {
            for (sum, nats) in [
                (&mut self.nll, row.nll_sum),
                (&mut self.nll_clean, row.ppl_clean.map(|ppl| f64::from(tokens) * ppl.ln())),
            ] {
                if let Some(nats) = nats {
                    sum.total += nats;
                    sum.n += u64::from(tokens);
                }
            }
        }
        self.tpot.real(row.tpot_s);
        self.ppl.real(row.ppl);
        self.reward.real(row.reward);
        self.split.count(row.split, Some(1));
        self.packets.count(row.packets_lost, row.packets_sent);
        self.rows.count(row.rows_lost, rows_sent(row));
        self.ue_energy.real(row.ue_energy_j);
        self.tx_energy.real(row.tx_energy_j);
        if row.outcome == Outcome::Completed {
            self.tokens += u64::from(row.output_tokens);
            if row.ue_tokens.is_some() {
                self.text.get_or_insert_default().add(row);
            }
        }
    }

    /// Takes in the requests of another one. Real sums depend on the order of
    /// merges in the last bits, so callers merge in a fixed order.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *ours += theirs;
        }
        self.served += other.served;
        self.in_time += other.in_time;
        for (ours, theirs) in self.times.iter_mut().zip(other.times) {
            *ours += theirs;
        }
        for (ours, theirs) in self.timed.iter_mut().zip(other.timed) {
            *ours += theirs;
        }
        self.e2e_max = self.e2e_max.max(other.e2e_max);
        self.busy += other.busy;
        self.tokens += other.tokens;
        if let Some(text) = &other.text {
            self.text.get_or_insert_default().merge(text);
        }
        for (ours, theirs) in [
            (&mut self.nll, other.nll),
            (&mut self.nll_clean, other.nll_clean),
            (&mut self.tpot, other.tpot),
            (&mut self.ppl, other.ppl),
            (&mut self.reward, other.reward),
            (&mut self.ue_energy, other.ue_energy),
            (&mut self.tx_energy, other.tx_energy),
        ] {
            ours.total += theirs.total;
            ours.n += theirs.n;
        }
        for (ours, theirs) in
            [(&mut self.split, other.split), (&mut self.packets, other.packets), (&mut self.rows, other.rows)]
        {
            ours.total += theirs.total;
            ours.n += theirs.n;
        }
    }

    /// The mean of the `time`-th time \[s\].
    pub fn mean_s(&self, time: usize) -> Option<f64> {
        let n = self.timed[time];
        (n > 0).then(|| self.times[time] as f64 / n as f64 / 1e9)
    }

    /// Requests that ended as `outcome`.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Requests, however they ended.
    pub fn arrivals(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// Rows of the tensor that a request sent: a session that was cut off doesn't say.
fn rows_sent(row: &RequestRow<'_>) -> Option<u32> {
    let decoded = row.output_tokens.saturating_sub(1);
    match row.outcome {
        Outcome::Completed => Some(row.prompt_tokens.saturating_add(decoded)),
        // An empty battery cuts a session off, too.
        Outcome::Outage if decoded > 0 && row.battery_j == Some(0.0) => None,
        // No session goes on after the outage of its prompt.
        Outcome::Outage => Some(row.prompt_tokens),
        Outcome::Timeout | Outcome::Dropped | Outcome::Unfinished => (decoded == 0).then_some(row.prompt_tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ue_costs_little_memory() {
        assert!(size_of::<Accumulator>() <= 480, "{} bytes", size_of::<Accumulator>());
    }

    #[test]
    fn outcomes_are_counted_in_their_own_order() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
