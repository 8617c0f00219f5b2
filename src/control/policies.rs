//! Policies that don't learn: `fixed`, `random`, and the yardsticks `greedy` and
//! `oracle`, which read the quality table.

use std::sync::Arc;

use crate::control::rewards::RewardFunction;
use crate::control::surrogate::{Surrogate, SurrogatePoint, SurrogateScratch};
use crate::control::table::{QualityTable, TableValue};
use crate::kernel::{Purpose, Streams};
use crate::llm::CostModel;
use crate::network::costs::ue_cost_share;
use crate::network::ports::{Conditions, Controller, Decision, Observation, Quality, Reward, RewardInput};

/// The actions of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSpace {
    /// Least split.
    pub min: u32,
    /// Largest split.
    pub max: u32,
    /// Moves in layers; `None` for a direct choice among all splits.
    pub moves: Option<Vec<i32>>,
}

impl ActionSpace {
    /// Number of actions.
    pub fn len(&self) -> u32 {
        self.moves.as_ref().map_or(self.max - self.min + 1, |moves| moves.len() as u32)
    }

    /// Whether there is no action.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The split after an action; moves stop at the bounds.
    pub fn apply(&self, split: u32, action: u32) -> u32 {
        let target = match &self.moves {
            Some(moves) => i64::from(split) + i64::from(moves.get(action as usize).copied().unwrap_or(0)),
            None => i64::from(self.min) + i64::from(action),
        };
        target.clamp(i64::from(self.min), i64::from(self.max)) as u32
    }

    /// The action with the largest score of the split that it leads to; the first among equals.
    fn best(&self, split: u32, score: impl Fn(u32) -> f64) -> (u32, u32) {
        let mut best = (0, self.apply(split, 0));
        let mut best_score = score(best.1);
        for action in 1..self.len() {
            let next = self.apply(split, action);
            let value = score(next);
            if value > best_score {
                best = (action, next);
                best_score = value;
            }
        }
        best
    }

    /// The action that leaves the split where it is, or the nearest to that.
    fn stay(&self, split: u32) -> u32 {
        self.best(split, |next| -f64::from(next.abs_diff(split))).0
    }
}

/// The split stays where it is.
pub struct FixedPolicy {
    /// The actions.
    pub space: ActionSpace,
}

impl Controller for FixedPolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let action = self.space.stay(observation.split);
        Decision { action, split: observation.split, log_prob: None, value: None }
    }
}

/// A uniform choice among the actions, keyed by UE and decision.
pub struct RandomPolicy {
    /// The actions.
    pub space: ActionSpace,
    /// The run's streams.
    pub streams: Streams,
}

impl Controller for RandomPolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let stream = self.streams.stream(observation.ue, Purpose::Action);
        let actions = self.space.len();
        let action = stream.below(observation.decision, u64::from(actions)) as u32;
        let split = self.space.apply(observation.split, action);
        Decision { action, split, log_prob: Some(-f64::from(actions).ln()), value: None }
    }
}

/// Where expectations come from.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// A table.
    Table(Arc<QualityTable>),
    /// A surrogate.
    Surrogate(Arc<Surrogate>),
}

impl Expectation {
    /// The expected quality of a split under long-term conditions.
    fn value(&self, split: u32, conditions: &Conditions) -> TableValue {
        match self {
            Self::Table(table) => table.value(split, conditions.loss_probability, conditions.noise_std),
            Self::Surrogate(surrogate) => {
                surrogate.value(&SurrogatePoint::of(split, conditions), &mut SurrogateScratch::default())
            }
        }
    }
}

/// What the yardsticks know: the expected quality, the reward and the costs.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// Expected quality.
    pub expectation: Expectation,
    /// The reward.
    pub reward: RewardFunction,
    /// λ of eq. (7).
    pub lambda: f64,
    /// Costs.
    pub cost: CostModel,
    /// Layers of the running model.
    pub model_layers: u32,
}

impl Outlook {
    fn cost_share(&self, split: u32, observation: &Observation) -> f64 {
        ue_cost_share(&self.cost, self.model_layers, split, observation.prompt_tokens)
    }

    /// The reward that the table lets expect of a split under the observed conditions.
    pub(super) fn expected_reward(&self, split: u32, observation: &Observation) -> f64 {
        let value = self.expectation.value(split, &observation.conditions);
        let quality = Quality {
            ppl: value.ppl,
            ppl_clean: value.ppl_clean,
            relative_gain: value.relative_gain,
            ..Quality::default()
        };
        let ue_cost_share = self.cost_share(split, observation);
        let (elapsed_s, energy_j) = (0.0, 0.0);
        let input = RewardInput { quality: Some(quality), failed: false, split, ue_cost_share, elapsed_s, energy_j };
        self.reward.reward(&input).unwrap_or(f64::NEG_INFINITY)
    }

    /// Eq. (7), `PPL + λ·C_UE(p)/C_UE(L)`, expected; infinite without a PPL.
    fn objective(&self, split: u32, observation: &Observation) -> f64 {
        let value = self.expectation.value(split, &observation.conditions);
        value.ppl.map_or(f64::INFINITY, |ppl| ppl + self.lambda * self.cost_share(split, observation))
    }
}

/// The action with the largest expected reward of this step.
pub struct GreedyPolicy {
    /// The actions.
    pub space: ActionSpace,
    /// What it knows.
    pub outlook: Outlook,
}

impl Controller for GreedyPolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let score = |split| self.outlook.expected_reward(split, observation);
        let (action, split) = self.space.best(observation.split, score);
        Decision { action, split, log_prob: None, value: None }
    }
}

/// \[Chen25\] eq. (7): towards `p* = argmin PPL + λ·C_UE(p)/C_UE(L)`, as far as an
/// action reaches.
pub struct OraclePolicy {
    /// The actions.
    pub space: ActionSpace,
    /// What it knows.
    pub outlook: Outlook,
}

impl OraclePolicy {
    /// p* under the observed conditions; the earliest among equals.
    pub fn optimum(&self, observation: &Observation) -> u32 {
        let mut best = (self.space.min, f64::INFINITY);
        for split in self.space.min..=self.space.max {
            let objective = self.outlook.objective(split, observation);
            if objective < best.1 {
                best = (split, objective);
            }
        }
        best.0
    }
}

impl Controller for OraclePolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let optimum = self.optimum(observation);
        let score = |split: u32| -f64::from(split.abs_diff(optimum));
        let (action, split) = self.space.best(observation.split, score);
        Decision { action, split, log_prob: None, value: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{FlopCount, Geometry};
    use crate::network::ports::NetworkState;
    use crate::units::SimTime;

    /// PPL falls by 8 per layer at σ = 1 and not at all at σ = 0; eight layers.
    fn outlook(lambda: f64) -> Outlook {
        let mut csv = String::from("split,loss_probability,noise_std,ppl,ppl_clean\n");
        for split in 1..=8 {
            let ppl = 20 + 8 * (8 - split);
            csv = format!("{csv}{split},0,0,20,20\n{split},0,1,{ppl},20\n");
        }
        Outlook {
            expectation: Expectation::Table(Arc::new(QualityTable::from_csv("test", csv.as_bytes()).unwrap())),
            reward: RewardFunction::Chen25Eq8 { lambda, ppl_cap: None },
            lambda,
            cost: CostModel::new(Geometry::named("llama-2-7b").unwrap(), FlopCount::Exact),
            model_layers: 8,
        }
    }

    fn observation(split: u32, noise_std: f64) -> Observation {
        let conditions = Conditions { noise_std, rayleigh_scale: 0.7, gain_threshold: 0.0, loss_probability: 0.0 };
        let (ue, now, decision, step_in_episode) = (0, SimTime::ZERO, 0, 0);
        let state = NetworkState::default();
        Observation { ue, now, decision, step_in_episode, conditions, split, prompt_tokens: 64, state }
    }

    fn space(moves: Option<Vec<i32>>) -> ActionSpace {
        ActionSpace { min: 1, max: 8, moves }
    }

    #[test]
    fn moves_stop_at_the_bounds() {
        let space = space(Some(vec![-3, 0, 3]));
        assert_eq!((space.apply(2, 0), space.apply(7, 2), space.apply(4, 1)), (1, 8, 4));
    }

    #[test]
    fn the_oracle_minimises_eq7() {
        // One layer costs λ/8: with λ = 40 that is 5 < 8, so every layer pays at σ = 1.
        let mut direct = OraclePolicy { space: space(None), outlook: outlook(40.0) };
        assert_eq!(direct.decide(&observation(3, 1.0)).split, 8);
        assert_eq!(direct.decide(&observation(3, 0.0)).split, 1);
        let dear = OraclePolicy { space: space(None), outlook: outlook(80.0) };
        assert_eq!(dear.optimum(&observation(3, 1.0)), 1);
        let mut walking = OraclePolicy { space: space(Some(vec![-1, 0, 1])), outlook: outlook(40.0) };
        assert_eq!(walking.decide(&observation(3, 1.0)), Decision { action: 2, split: 4, log_prob: None, value: None });
    }

    #[test]
    fn greedy_takes_the_best_step() {
        let mut greedy = GreedyPolicy { space: space(Some(vec![-1, 0, 1])), outlook: outlook(40.0) };
        assert_eq!(greedy.decide(&observation(3, 1.0)).split, 4);
        assert_eq!(greedy.decide(&observation(3, 0.0)).split, 2);
    }

    #[test]
    fn random_actions_are_uniform_and_repeatable() {
        let mut random = RandomPolicy { space: space(Some(vec![-1, 0, 1])), streams: Streams::new(1, 0) };
        let mut counts = [0u32; 3];
        for decision in 0..30_000 {
            let seen = Observation { decision, ..observation(4, 0.0) };
            let chosen = random.decide(&seen);
            assert_eq!(chosen, random.decide(&seen));
            counts[chosen.action as usize] += 1;
        }
        let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 13.8, "chi2 = {chi2}; 99.9 % point of 2 degrees of freedom");
    }
}
