//! Conversations: requests of one UE that answer each other.
//!
//! ```text
//! arrival ─▶ turn 0 ─ answer ─▶ thinks ─▶ turn 1 ─ answer ─▶ thinks ─▶ turn 2 …
//! prompt     S_0                          S_0+T_0+S_1                  S_0+T_0+S_1+T_1+S_2
//! ```
//!
//! A conversation arrives by the workload's process, whatever became of earlier ones.
//! Each of its turns is a request of its own, with the UE's queue, a decision and a row
//! in requests.csv; its prompt holds all that was said before. All draws of a turn are
//! keyed by conversation and turn, so that no delay changes what is said.

use crate::kernel::{Purpose, Streams};
use crate::network::request::Request;
use crate::network::rows::Outcome;
use crate::network::simulation::Simulation;
use crate::units::SimTime;

/// How long the conversations of a workload go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversationSpec {
    /// Fewest turns; the number is drawn for each conversation, uniformly.
    pub least_turns: u32,
    /// Most turns.
    pub most_turns: u32,
    /// Mean of the exponential time from an answer's last token to the next prompt \[s\].
    pub think_time_s: f64,
    /// Longest prompt: of more, what was said first is forgotten.
    pub max_context_tokens: u32,
}

/// A turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Number of the UE's conversation, from 0.
    pub conversation: u32,
    /// Number of the turn, from 0.
    pub number: u32,
    /// Turns of the conversation.
    pub of: u32,
}

impl ConversationSpec {
    /// Turn 0 of a UE's conversation number `k`: its length is the draw `k`·2³² of
    /// [`Purpose::SessionTurn`].
    pub fn first_turn(&self, streams: &Streams, ue: u32, k: u64) -> Turn {
        let span = u64::from(self.most_turns - self.least_turns) + 1;
        let drawn = streams.stream(ue, Purpose::SessionTurn).below(k << 32, span) as u32;
        Turn { conversation: u32::try_from(k).unwrap_or(u32::MAX), number: 0, of: self.least_turns + drawn }
    }

    /// The index of a turn's draws among all turns that the UE could have.
    pub fn request_index(&self, turn: Turn) -> u64 {
        u64::from(turn.conversation) * u64::from(self.most_turns) + u64::from(turn.number)
    }

    /// The time before `turn` in which the user thinks: exponential, the draw
    /// conversation·2³² + turn of [`Purpose::SessionTurn`]; at least a nanosecond.
    pub fn think_time(&self, streams: &Streams, ue: u32, turn: Turn) -> SimTime {
        let index = (u64::from(turn.conversation) << 32) + u64::from(turn.number);
        let think_s = streams.stream(ue, Purpose::SessionTurn).exponential(index) * self.think_time_s;
        SimTime::from_secs_saturating(think_s).max(SimTime::from_nanos(1))
    }

    /// Tokens of a prompt of `said` new tokens behind a context of so many.
    pub fn prompt_tokens(&self, context: u64, said: u32) -> u32 {
        context.saturating_add(u64::from(said)).min(u64::from(self.max_context_tokens)) as u32
    }

    /// The longest prompt of conversations whose turns have at most `turn_tokens` tokens,
    /// S_i + T_i, and of which the last has `said` new ones.
    pub fn longest_prompt(&self, turn_tokens: u64, said: u32) -> u32 {
        self.prompt_tokens(turn_tokens.saturating_mul(u64::from(self.most_turns.saturating_sub(1))), said)
    }
}

/// A turn that somebody still thinks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedTurn {
    /// The UE.
    pub ue: u32,
    /// The turn that comes.
    pub turn: Turn,
    /// Tokens of all earlier prompts and answers.
    pub context: u64,
}

/// The turns that are awaited, each by an event that names its slot.
#[derive(Debug, Default)]
pub struct AwaitedTurns {
    slots: Vec<AwaitedTurn>,
    free: Vec<u32>,
}

impl AwaitedTurns {
    /// Keeps a turn until its event.
    pub fn insert(&mut self, turn: AwaitedTurn) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = turn;
            return slot;
        }
        self.slots.push(turn);
        (self.slots.len() - 1) as u32
    }

    /// Takes out the turn whose event has come.
    pub fn take(&mut self, slot: u32) -> Option<AwaitedTurn> {
        let turn = self.slots.get(slot as usize).copied()?;
        self.free.push(slot);
        Some(turn)
    }
}

impl Simulation<'_> {
    /// After a request has ended: whether its conversation goes on. It does after an
    /// answer; a turn that failed was the last one. The next turn comes as an event,
    /// unless arrivals end before.
    pub(super) fn await_next_turn(&mut self, now: SimTime, request: &Request, outcome: Outcome) -> bool {
        let group = &self.spec.groups[self.world.ues[request.ue as usize].group as usize];
        let (Some(turn), Some(spec)) = (request.turn, &group.workload.conversation) else { return false };
        if outcome != Outcome::Completed || turn.number + 1 >= turn.of {
            return false;
        }
        let turn = Turn { number: turn.number + 1, ..turn };
        let at = now + spec.think_time(&self.streams, request.ue, turn);
        if !self.closed && at < self.spec.duration {
            let context = u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
            let slot = self.world.awaited_turns.insert(AwaitedTurn { ue: request.ue, turn, context });
            self.schedule(at, crate::network::event::Event::NextTurn { slot });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ConversationSpec =
        ConversationSpec { least_turns: 2, most_turns: 5, think_time_s: 3.0, max_context_tokens: 100 };

    #[test]
    fn prompts_grow_by_all_that_was_said_up_to_the_limit() {
        assert_eq!(SPEC.prompt_tokens(0, 10), 10);
        assert_eq!(SPEC.prompt_tokens(10 + 4, 20), 34);
        assert_eq!(SPEC.prompt_tokens(34 + 60, 20), 100);
        assert_eq!(SPEC.longest_prompt(10 + 4, 10), 66);
        assert_eq!(SPEC.longest_prompt(u64::MAX, 10), 100);
    }

    #[test]
    fn lengths_and_thoughts_are_drawn_by_conversation_and_turn() {
        let streams = Streams::new(3, 0);
        let mut counts = [0u32; 6];
        let mut indices = std::collections::BTreeSet::new();
        let mut thought = 0.0;
        for k in 0..4000 {
            let first = SPEC.first_turn(&streams, 1, k);
            counts[first.of as usize] += 1;
            for number in 0..first.of {
                assert!(indices.insert(SPEC.request_index(Turn { number, ..first })), "two turns share their draws");
            }
            thought += SPEC.think_time(&streams, 1, Turn { number: 1, ..first }).as_secs_f64() / 4000.0;
        }
        assert_eq!(counts[..2], [0, 0]);
        // 1000 each, by four standard deviations of √(4000·3/16); a mean of 3 s by four of 3/√4000.
        assert!(counts[2..].iter().all(|&count| count.abs_diff(1000) < 110), "{counts:?}");
        assert!((thought - 3.0).abs() < 4.0 * 3.0 / 4000f64.sqrt(), "{thought}");
    }

    #[test]
    fn slots_are_used_again() {
        let mut awaited = AwaitedTurns::default();
        let turn = |ue| AwaitedTurn { ue, turn: Turn { conversation: 0, number: 1, of: 2 }, context: 7 };
        let (a, b) = (awaited.insert(turn(0)), awaited.insert(turn(1)));
        assert_eq!(awaited.take(a), Some(turn(0)));
        assert_eq!(awaited.insert(turn(2)), a);
        assert_eq!((awaited.take(b), awaited.take(9)), (Some(turn(1)), None));
    }
}
