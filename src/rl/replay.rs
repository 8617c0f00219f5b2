//! The replay memory of DQN: the last transitions, sampled uniformly (Lin, "Self-improving
//! reactive agents", Machine Learning 8, 1992; Mnih et al., Nature 518, 2015).

use crate::kernel::Stream;

/// A ring of transitions (s, a, r, s'): when it is full, the oldest makes room. Memory
/// grows with what it holds, up to `capacity` transitions of `8·width + 9` bytes.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    /// Values per observation.
    width: usize,
    /// Most transitions kept.
    capacity: usize,
    /// Where the next transition goes once the ring is full.
    oldest: usize,
    /// s, one after the other.
    observations: Vec<f32>,
    actions: Vec<u32>,
    rewards: Vec<f32>,
    /// s', one after the other; zeros where the transition is terminal.
    next: Vec<f32>,
    terminal: Vec<bool>,
}

/// Transitions drawn from a [`Replay`], one after the other; buffers to be used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// s: n × width.
    pub observations: Vec<f32>,
    /// a: n.
    pub actions: Vec<u32>,
    /// r: n.
    pub rewards: Vec<f32>,
    /// s': n × width; zeros where terminal.
    pub next: Vec<f32>,
    /// Whether no s' follows: n.
    pub terminal: Vec<bool>,
}

impl Replay {
    /// An empty ring for `capacity` transitions (at least 1) with observations of `width` values.
    pub(super) fn new(width: usize, capacity: usize) -> Self {
        Self {
            width,
            capacity: capacity.max(1),
            oldest: 0,
            observations: Vec::new(),
            actions: Vec::new(),
            rewards: Vec::new(),
            next: Vec::new(),
            terminal: Vec::new(),
        }
    }

    /// Transitions held.
    pub(super) fn len(&self) -> usize {
        self.actions.len()
    }

    /// Takes in a transition; `next` is `None` for a terminal one.
    ///
    /// # Panics
    /// If an observation is of another width: agent and environment then disagree on what is observed.
    pub(super) fn push(&mut self, observation: &[f32], action: u32, reward: f32, next: Option<&[f32]>) {
        assert_eq!(observation.len(), self.width, "an observation has as many values as the agent has inputs");
        if let Some(next) = next {
            assert_eq!(next.len(), self.width, "the next observation has as many values as the agent has inputs");
        }
        if self.len() < self.capacity {
            self.grow();
            self.observations.extend_from_slice(observation);
            self.actions.push(action);
            self.rewards.push(reward);
            match next {
                Some(next) => self.next.extend_from_slice(next),
                None => self.next.resize(self.next.len() + self.width, 0.0),
            }
            self.terminal.push(next.is_none());
            return;
        }
        let slot = self.oldest;
        let values = slot * self.width..(slot + 1) * self.width;
        self.observations[values.clone()].copy_from_slice(observation);
        self.actions[slot] = action;
        self.rewards[slot] = reward;
        match next {
            Some(next) => self.next[values].copy_from_slice(next),
            None => self.next[values].fill(0.0),
        }
        self.terminal[slot] = next.is_none();
        self.oldest = (slot + 1) % self.capacity;
    }

    /// Doubles the memory when it is used up, never beyond the capacity.
    fn grow(&mut self) {
        let (held, room) = (self.len(), self.actions.capacity());
        if held < room {
            return;
        }
        let more = held.max(64).min(self.capacity - held);
        self.observations.reserve_exact(more * self.width);
        self.next.reserve_exact(more * self.width);
        self.actions.reserve_exact(more);
        self.rewards.reserve_exact(more);
        self.terminal.reserve_exact(more);
    }

    /// `count` transitions, each any of those held with equal probability, independently
    /// of the others (so one may come twice); transition i by block i of `stream`.
    /// Nothing from an empty ring.
    pub(super) fn sample(&self, count: usize, stream: &Stream, batch: &mut Batch) {
        batch.observations.clear();
        batch.actions.clear();
        batch.rewards.clear();
        batch.next.clear();
        batch.terminal.clear();
        if self.actions.is_empty() {
            return;
        }
        for i in 0..count as u64 {
            let slot = stream.below(i, self.len() as u64) as usize;
            let values = slot * self.width..(slot + 1) * self.width;
            batch.observations.extend_from_slice(&self.observations[values.clone()]);
            batch.actions.push(self.actions[slot]);
            batch.rewards.push(self.rewards[slot]);
            batch.next.extend_from_slice(&self.next[values]);
            batch.terminal.push(self.terminal[slot]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    /// Transition k: observation (k, -k), action k mod 3, reward k/2, next (k + 1, -k - 1), every fifth terminal.
    fn push(replay: &mut Replay, k: u32) {
        let at = |k: u32| [k as f32, -(k as f32)];
        let next = at(k + 1);
        replay.push(&at(k), k % 3, k as f32 / 2.0, (k % 5 != 4).then_some(&next[..]));
    }

    fn stream(entity: u32) -> Stream {
        Streams::new(3, 0).stream(entity, Purpose::Test)
    }

    #[test]
    fn a_full_ring_holds_the_last_transitions() {
        let mut replay = Replay::new(2, 7);
        for k in 0..17 {
            push(&mut replay, k);
            assert_eq!(replay.len(), (k as usize + 1).min(7));
        }
        let mut batch = Batch::default();
        replay.sample(500, &stream(0), &mut batch);
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..500 {
            let k = batch.observations[2 * i] as u32;
            assert!((10..17).contains(&k), "transition {k} is older than the last 7");
            let terminal = k % 5 == 4;
            let next = if terminal { [0.0, 0.0] } else { [(k + 1) as f32, -((k + 1) as f32)] };
            assert_eq!(batch.observations[2 * i..2 * i + 2], [k as f32, -(k as f32)]);
            assert_eq!(batch.next[2 * i..2 * i + 2], next);
            assert_eq!((batch.actions[i], batch.rewards[i], batch.terminal[i]), (k % 3, k as f32 / 2.0, terminal));
            seen.insert(k);
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(batch.actions.len(), 500);
    }

    #[test]
    fn memory_grows_with_what_is_held_and_not_beyond_the_capacity() {
        let mut replay = Replay::new(2, 1000);
        assert_eq!(replay.observations.capacity(), 0);
        for k in 0..100 {
            push(&mut replay, k);
        }
        assert_eq!(replay.actions.capacity(), 128);
        for k in 100..3000 {
            push(&mut replay, k);
        }
        assert_eq!(
            (replay.actions.capacity(), replay.observations.capacity(), replay.next.capacity()),
            (1000, 2000, 2000)
        );
    }

    /// χ² of 40,000 draws over 20 slots against uniform: below the 99.9 % point of 19 degrees of freedom, 43.82; and
    /// the same for pairs of neighbouring draws over 5 × 5 groups of slots (24 degrees: 51.18), so that draws of
    /// one batch are independent too.
    #[test]
    fn transitions_are_drawn_uniformly_and_independently() {
        let mut replay = Replay::new(2, 20);
        for k in 0..20 {
            push(&mut replay, k);
        }
        let mut batch = Batch::default();
        let (mut single, mut pairs) = ([0u32; 20], [0u32; 25]);
        for draw in 0..1250 {
            replay.sample(32, &stream(1).starting_at(draw << 32), &mut batch);
            let slots: Vec<usize> = (0..32).map(|i| batch.observations[2 * i] as usize).collect();
            for &slot in &slots {
                single[slot] += 1;
            }
            for pair in slots.chunks_exact(2) {
                pairs[pair[0] / 4 * 5 + pair[1] / 4] += 1;
            }
        }
        let chi2 =
            |counts: &[u32], mean: f64| counts.iter().map(|&c| (f64::from(c) - mean).powi(2) / mean).sum::<f64>();
        let (single, pairs) = (chi2(&single, 2000.0), chi2(&pairs, 800.0));
        assert!(single < 43.82, "chi2 = {single}");
        assert!(pairs < 51.18, "chi2 = {pairs}");
    }

    #[test]
    fn nothing_comes_from_an_empty_ring() {
        let mut batch = Batch::default();
        Replay::new(2, 20).sample(32, &stream(2), &mut batch);
        assert!(batch.actions.is_empty());
    }
}
