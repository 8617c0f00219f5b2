//! The finite-horizon optimum: dynamic programming over the quality table.

use crate::control::policies::{ActionSpace, Outlook};
use crate::network::ports::{Controller, Decision, Observation};

/// Steps that it plans ahead at most; longer episodes are planned step by step anew.
const FARTHEST: u32 = 1_000;

/// J*: the policy that maximises the expected sum of rewards from a step to the end of its
/// episode of H steps,
///
/// `V_H(s) = 0, V_t(s) = max_a r(s') + V_{t+1}(s')`, s' = the split after action a,
///
/// with r by the quality table under the present conditions. Exact where conditions and
/// prompt lengths stay for an episode (`draw = "per-episode"` or `"per-ue"`, or constants);
/// otherwise it plans as if they did. Walking towards p* of eq. (7) can earn less than a greedy
/// walk; this bounds them all.
pub struct OptimalPolicy {
    /// The actions.
    pub space: ActionSpace,
    /// What it knows.
    pub outlook: Outlook,
    /// Steps H of an episode.
    pub horizon: u32,
}

impl OptimalPolicy {
    /// V of every split with so many steps to go: the expected reward-to-go of the optimum.
    fn values(&self, rewards: &[f64], steps: u32) -> Vec<f64> {
        let mut values = vec![0.0; rewards.len()];
        for _ in 0..steps.min(FARTHEST) {
            values = (0..rewards.len()).map(|at| self.step(rewards, &values, at).2).collect();
        }
        values
    }

    /// The best action at a split, the split that it leads to, and what that is worth; the first among equals.
    fn step(&self, rewards: &[f64], values: &[f64], at: usize) -> (u32, u32, f64) {
        let split = self.space.min + at as u32;
        let mut best = (0, split, f64::NEG_INFINITY);
        for action in 0..self.space.len() {
            let next = self.space.apply(split, action);
            let to = (next - self.space.min) as usize;
            let worth = rewards[to] + values[to];
            if worth > best.2 {
                best = (action, next, worth);
            }
        }
        best
    }

    fn rewards(&self, observation: &Observation) -> Vec<f64> {
        (self.space.min..=self.space.max).map(|split| self.outlook.expected_reward(split, observation)).collect()
    }

    /// J* from this observation on, its step included.
    pub fn value(&self, observation: &Observation) -> f64 {
        let rewards = self.rewards(observation);
        let left = self.horizon.saturating_sub(observation.step_in_episode + 1);
        let values = self.values(&rewards, left);
        let at = observation.split.clamp(self.space.min, self.space.max) - self.space.min;
        self.step(&rewards, &values, at as usize).2
    }
}

impl Controller for OptimalPolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let rewards = self.rewards(observation);
        let left = self.horizon.saturating_sub(observation.step_in_episode + 1);
        let values = self.values(&rewards, left);
        let at = observation.split.clamp(self.space.min, self.space.max) - self.space.min;
        let (action, split, worth) = self.step(&rewards, &values, at as usize);
        Decision { action, split, log_prob: None, value: Some(worth) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::policies::Expectation;
    use crate::control::rewards::RewardFunction;
    use crate::control::table::QualityTable;
    use crate::llm::{CostModel, FlopCount, Geometry};
    use crate::network::ports::{Conditions, NetworkState};
    use crate::units::SimTime;

    /// Gains of ten splits at no loss: a valley between 1 and 6.
    fn outlook(gains: &[f64]) -> Outlook {
        let mut csv = String::from("split,loss_probability,relative_ppl_gain\n");
        for (split, gain) in (1..).zip(gains) {
            csv = format!("{csv}{split},0,{gain}\n");
        }
        Outlook {
            expectation: Expectation::Table(Arc::new(QualityTable::from_csv("test", csv.as_bytes()).unwrap())),
            reward: RewardFunction::RelativeGain { a: 10.0, b: 0.0, p_max: 10, ppl_cap: None },
            lambda: 0.0,
            cost: CostModel::new(Geometry::named("llama-2-7b").unwrap(), FlopCount::Exact),
            model_layers: 10,
        }
    }

    fn observation(split: u32, step_in_episode: u32) -> Observation {
        let conditions = Conditions { noise_std: 0.0, rayleigh_scale: 0.7, gain_threshold: 0.0, loss_probability: 0.0 };
        let (ue, now, decision, state) = (0, SimTime::ZERO, 0, NetworkState::default());
        Observation { ue, now, decision, step_in_episode, conditions, split, prompt_tokens: 64, state }
    }

    #[test]
    fn it_crosses_a_valley_that_pays_in_the_end() {
        // Staying at 2 earns 0 a step; 4 earns 5 (0.5·10) behind a 3 that costs 2.
        let outlook = outlook(&[0.0, 0.0, -0.2, 0.5]);
        let space = ActionSpace { min: 1, max: 4, moves: Some(vec![-1, 0, 1]) };
        let mut optimal = OptimalPolicy { space, outlook, horizon: 5 };
        let first = optimal.decide(&observation(2, 0));
        assert_eq!((first.split, first.value), (3, Some(-2.0 + 4.0 * 5.0)));
        // With one step left the valley doesn't pay.
        assert_eq!(optimal.decide(&observation(2, 4)).split, 1);
        assert!((optimal.value(&observation(2, 3)) - 3.0).abs() < 1e-12);
    }

    /// Against all 3⁵ sequences of moves.
    #[test]
    fn it_is_the_best_of_all_sequences() {
        let gains = [0.1, -0.4, 0.05, 0.3, -0.9, 0.2, 0.11, -0.2, 0.5, 0.0];
        let space = ActionSpace { min: 1, max: 10, moves: Some(vec![-1, 0, 1]) };
        let optimal = OptimalPolicy { space: space.clone(), outlook: outlook(&gains), horizon: 5 };
        for start in 1..=10 {
            let best = (0..3u32.pow(5))
                .map(|mut code| {
                    let (mut split, mut sum) = (start, 0.0);
                    for _ in 0..5 {
                        split = space.apply(split, code % 3);
                        sum += 10.0 * gains[split as usize - 1];
                        code /= 3;
                    }
                    sum
                })
                .fold(f64::NEG_INFINITY, f64::max);
            assert!((optimal.value(&observation(start, 0)) - best).abs() < 1e-9, "from {start}");
        }
    }
}
