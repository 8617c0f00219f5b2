//! When requests arrive at a UE and how long their prompts are.

use std::sync::Arc;

use crate::kernel::{Purpose, Streams};
use crate::network::conversation::ConversationSpec;
use crate::network::modulated::{ChainCursor, Modulated};
use crate::network::renewal::Renewal;
use crate::units::SimTime;

/// One arrival of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceArrival {
    /// Time of arrival.
    pub at: SimTime,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens asked for; `None` for as many as the workload says.
    pub output_tokens: Option<u32>,
}

/// The arrival process of each UE of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent exponential gaps.
    Poisson {
        /// Mean arrivals per second.
        rate_per_s: f64,
    },
    /// Poisson arrivals of a rate that switches.
    Modulated(Modulated),
    /// Independent gaps of another law.
    Renewal(Renewal),
    /// Equal gaps; the UEs of a group are staggered evenly over one gap.
    Deterministic {
        /// The gap.
        interval: SimTime,
    },
    /// The next request arrives an exponential think time after the last one ended.
    ClosedLoop {
        /// Mean think time \[s\].
        think_time_s: f64,
    },
    /// Arrivals of a file, dealt to the UEs of the group in turn.
    Trace(Arc<[TraceArrival]>),
}

/// Tokens of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptTokens {
    /// Always so many.
    Constant(u32),
    /// Drawn per request, uniform on `min..=max`.
    Drawn {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// With the tokens asked for, of a row of a trace, drawn per request with replacement.
    Bootstrap(Arc<[TraceArrival]>),
}

/// What the UEs of a group ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// Tokens of a prompt; a trace brings its own.
    pub prompt_tokens: PromptTokens,
    /// Tokens asked for; a trace may bring its own.
    pub output_tokens: u32,
    /// How requests follow from each other; `None` if none does.
    pub conversation: Option<ConversationSpec>,
}

/// A UE's place in its group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The UE's number in the network: the entity of its draws.
    pub ue: u32,
    /// Its number in the group, from 0.
    pub index: u32,
    /// UEs in the group.
    pub of: u32,
}

impl Workload {
    /// The instant of a UE's request (of a workload with turns: conversation) number `k`,
    /// from 0. `after` is the instant of its last arrival, or in a closed loop the end of
    /// its last request; `chain` is where modulated arrivals stood then.
    /// `None` when there is no further one.
    pub fn arrival(
        &self,
        streams: &Streams,
        member: Member,
        k: u64,
        after: SimTime,
        chain: &mut ChainCursor,
    ) -> Option<SimTime> {
        match &self.arrivals {
            Arrivals::Poisson { rate_per_s } => {
                let gap = streams.stream(member.ue, Purpose::Arrival).exponential(k) / rate_per_s;
                Some(after + SimTime::from_secs_saturating(gap))
            }
            Arrivals::Modulated(process) => process.arrival(streams, member.ue, k, after, chain),
            Arrivals::Renewal(process) => {
                let gap = process.gap_s(&streams.stream(member.ue, Purpose::Arrival), k);
                Some(after + SimTime::from_secs_saturating(gap))
            }
            Arrivals::Deterministic { interval } => {
                let stagger = u128::from(interval.as_nanos()) * u128::from(member.index + 1) / u128::from(member.of);
                Some(if k == 0 { SimTime::from_nanos(stagger as u64) } else { after + *interval })
            }
            Arrivals::ClosedLoop { think_time_s } => {
                let think = streams.stream(member.ue, Purpose::Think).exponential(k) * think_time_s;
                // A request may end at the instant of its arrival (an outage on an ideal radio):
                // without a gap the loop would stop simulated time.
                Some(after + SimTime::from_secs_saturating(think).max(SimTime::from_nanos(1)))
            }
            Arrivals::Trace(trace) => trace_row(trace, member, k).map(|row| row.at),
        }
    }

    /// Whether the next arrival waits for the end of the last request.
    pub fn is_closed_loop(&self) -> bool {
        matches!(self.arrivals, Arrivals::ClosedLoop { .. })
    }

    /// Prompt and output tokens of a UE's request number `k`.
    pub fn tokens(&self, streams: &Streams, member: Member, k: u64) -> (u32, u32) {
        if let Arrivals::Trace(trace) = &self.arrivals
            && let Some(row) = trace_row(trace, member, k)
        {
            return (row.prompt_tokens, row.output_tokens.unwrap_or(self.output_tokens));
        }
        let drawn = |span: u64| streams.stream(member.ue, Purpose::PromptLength).below(k, span);
        let prompt = match &self.prompt_tokens {
            PromptTokens::Constant(tokens) => *tokens,
            PromptTokens::Drawn { min, max } => min + drawn(u64::from(max - min) + 1) as u32,
            PromptTokens::Bootstrap(rows) => match rows.get(drawn(rows.len() as u64) as usize) {
                Some(row) => return (row.prompt_tokens, row.output_tokens.unwrap_or(self.output_tokens)),
                None => 1,
            },
        };
        (prompt, self.output_tokens)
    }
}

fn trace_row(trace: &[TraceArrival], member: Member, k: u64) -> Option<&TraceArrival> {
    let row = k.checked_mul(u64::from(member.of))?.checked_add(u64::from(member.index))?;
    trace.get(usize::try_from(row).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: Member = Member { ue: 3, index: 1, of: 4 };

    fn workload(arrivals: Arrivals) -> Workload {
        Workload {
            arrivals,
            prompt_tokens: PromptTokens::Drawn { min: 5, max: 7 },
            output_tokens: 1,
            conversation: None,
        }
    }

    fn arrival(workload: &Workload, k: u64, after: SimTime) -> Option<SimTime> {
        workload.arrival(&Streams::new(1, 0), MEMBER, k, after, &mut ChainCursor::default())
    }

    #[test]
    fn poisson_gaps_have_their_mean() {
        let poisson = workload(Arrivals::Poisson { rate_per_s: 4.0 });
        let mut at = SimTime::ZERO;
        for k in 0..100_000 {
            at = arrival(&poisson, k, at).unwrap();
        }
        let mean = at.as_secs_f64() / 1e5;
        assert!((mean - 0.25).abs() < 5.0 * 0.25 / 1e5f64.sqrt(), "{mean}");
    }

    #[test]
    fn deterministic_arrivals_are_staggered() {
        let fixed = workload(Arrivals::Deterministic { interval: SimTime::from_nanos(1000) });
        let first = arrival(&fixed, 0, SimTime::ZERO).unwrap();
        assert_eq!(first, SimTime::from_nanos(500)); // second of four
        assert_eq!(arrival(&fixed, 1, first), Some(SimTime::from_nanos(1500)));
    }

    #[test]
    fn a_trace_is_dealt_in_turn_and_ends() {
        let streams = Streams::new(1, 0);
        let rows: Vec<TraceArrival> = (0u32..6)
            .map(|i| (i, (i > 1).then_some(i)))
            .map(|(i, output_tokens)| TraceArrival {
                at: SimTime::from_nanos(u64::from(i)),
                prompt_tokens: 10 + i,
                output_tokens,
            })
            .collect();
        let trace = workload(Arrivals::Trace(rows.into()));
        assert_eq!(arrival(&trace, 1, SimTime::ZERO), Some(SimTime::from_nanos(5)));
        assert_eq!(trace.tokens(&streams, MEMBER, 1), (15, 5));
        assert_eq!(trace.tokens(&streams, MEMBER, 0), (11, 1)); // the workload's
        assert_eq!(arrival(&trace, 2, SimTime::ZERO), None);
    }

    #[test]
    fn drawn_lengths_stay_in_their_range() {
        let streams = Streams::new(1, 0);
        let drawn = workload(Arrivals::ClosedLoop { think_time_s: 1.0 });
        let mut seen = [false; 3];
        for k in 0..100 {
            seen[(drawn.tokens(&streams, MEMBER, k).0 - 5) as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
