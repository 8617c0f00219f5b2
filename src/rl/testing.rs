//! Worlds of the tests, with known optima.

use super::agent::{Agent, Transition};
use crate::kernel::{Purpose, Streams};

/// A world of numbered states and actions.
pub(super) trait World {
    /// What an agent sees of the state.
    fn observe(&self) -> Vec<f32>;
    /// Does the action; the reward, and whether the episode ended.
    fn act(&mut self, action: usize) -> (f64, bool);
    /// Starts an episode.
    fn reset(&mut self);
}

/// A bandit: a constant observation, episodes of one step, one reward for each arm.
pub(super) struct Bandit {
    /// Rewards of the arms.
    pub arms: Vec<f64>,
}

impl World for Bandit {
    fn observe(&self) -> Vec<f32> {
        vec![1.0]
    }

    fn act(&mut self, action: usize) -> (f64, bool) {
        (self.arms[action], true)
    }

    fn reset(&mut self) {}
}

/// States 0 to 9, moves left and right (walls at both ends). Entering state 9 earns 1 and ends the episode; entering
/// state 0 from state 1 earns 0.005, a bait. An episode ends nowhere else.
pub(super) struct Chain {
    /// The present state.
    pub state: usize,
    starts: u64,
    streams: Streams,
}

impl Chain {
    /// The number of states, the last of which ends the episode.
    pub const STATES: usize = 10;

    /// Starts are uniform on states 0 to 8.
    pub fn new(seed: u64) -> Self {
        let mut chain = Self { state: 0, starts: 0, streams: Streams::new(seed, 1) };
        chain.reset();
        chain
    }

    /// Where a move leads and what it earns.
    pub fn step(state: usize, action: usize) -> (usize, f64) {
        let next = if action == 1 { state + 1 } else { state.saturating_sub(1) };
        let reward = if next == Self::STATES - 1 {
            1.0
        } else if next == 0 && state == 1 {
            0.005
        } else {
            0.0
        };
        (next, reward)
    }

    /// One-hot.
    pub fn observation(state: usize) -> Vec<f32> {
        let mut observation = vec![0.0; Self::STATES - 1];
        observation[state] = 1.0;
        observation
    }

    /// Values of states 0 to 8 under the best policy, by value iteration.
    pub fn optimal_values(gamma: f64) -> Vec<f64> {
        Self::values(gamma, |_, left, right| if left > right { left } else { right })
    }

    /// Values of states 0 to 8 under the policy.
    pub fn policy_values(gamma: f64, policy: impl Fn(usize) -> usize) -> Vec<f64> {
        Self::values(gamma, |state, left, right| if policy(state) == 0 { left } else { right })
    }

    fn values(gamma: f64, join: impl Fn(usize, f64, f64) -> f64) -> Vec<f64> {
        let mut values = vec![0.0; Self::STATES];
        for _ in 0..10_000 {
            for state in 0..Self::STATES - 1 {
                let of = |action| {
                    let (next, reward) = Self::step(state, action);
                    reward + gamma * values[next]
                };
                values[state] = join(state, of(0), of(1));
            }
        }
        values.truncate(Self::STATES - 1);
        values
    }
}

impl World for Chain {
    fn observe(&self) -> Vec<f32> {
        Self::observation(self.state)
    }

    fn act(&mut self, action: usize) -> (f64, bool) {
        let (next, reward) = Self::step(self.state, action);
        self.state = next;
        (reward, next == Self::STATES - 1)
    }

    fn reset(&mut self) {
        let stream = self.streams.stream(0, Purpose::Test);
        self.state = stream.below(self.starts, Self::STATES as u64 - 1) as usize;
        self.starts += 1;
    }
}

/// Lets the agent act and learn for so many steps, as trajectory 0; the updates it made.
pub(super) fn learn(agent: &mut dyn Agent, world: &mut dyn World, steps: u64, seed: u64) -> Vec<super::Update> {
    let stream = Streams::new(seed, 0).stream(0, Purpose::Action);
    let mut updates = Vec::new();
    for step in 0..steps {
        let observation = world.observe();
        let choice = agent.choose(&observation, stream.uniform_pair(step));
        let (reward, is_over) = world.act(choice.action as usize);
        let next = (!is_over).then(|| world.observe());
        updates.extend(agent.observe(Transition { trajectory: 0, observation, choice, reward, next }));
        if is_over {
            world.reset();
        }
    }
    updates
}

#[test]
fn the_chain_has_its_known_optimum() {
    // To the right from everywhere: γ^(8 - s). Forth and back between 0 and 1 would earn 0.005 every second step, that is
    // 0.005/(1 - γ²) = 0.25 in state 1, against 0.93.
    for (steps, value) in (0..9).rev().zip(Chain::optimal_values(0.99)) {
        assert!((value - 0.99_f64.powi(steps)).abs() < 1e-12);
    }
    // With a shorter view the bait pays.
    let near = Chain::optimal_values(0.4);
    assert!((near[1] - 0.005 / (1.0 - 0.16)).abs() < 1e-12 && (near[8] - 1.0).abs() < 1e-12);
    assert_eq!(Chain::policy_values(0.99, |_| 1), Chain::optimal_values(0.99));
    assert!((Chain::policy_values(0.99, |_| 0)[5] - 0.005 * 0.99_f64.powi(4)).abs() < 1e-12);
}
