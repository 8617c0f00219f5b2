//! What an agent has lived through since its last update, and generalised advantages of it.

use std::collections::BTreeMap;

use super::agent::Transition;

/// Transitions, each part in a list of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollout {
    /// Observations, one after the other.
    pub observations: Vec<f32>,
    /// What was done.
    pub actions: Vec<u32>,
    /// ln π of it, when it was chosen.
    pub log_probs: Vec<f64>,
    /// V of the observation, when the action was chosen.
    pub values: Vec<f64>,
    rewards: Vec<f64>,
    next: Vec<Next>,
    /// The last step of each trajectory that goes on, and what was seen after it.
    open: BTreeMap<u32, (usize, Vec<f32>)>,
}

/// What came after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing: the end of the episode.
    Terminal,
    /// This step of the rollout, a later one.
    Step(usize),
    /// The rollout ends here, but not the trajectory: the value of what was seen next.
    Value(f64),
}

/// Advantages and returns of a rollout's steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advantages {
    /// A_t.
    pub advantages: Vec<f64>,
    /// A_t + V(s_t), what the critic is to learn.
    pub returns: Vec<f64>,
}

impl Rollout {
    /// Number of transitions.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Adds a transition whose choice had this log probability and value.
    pub fn push(&mut self, transition: Transition, log_prob: f64, value: f64) {
        let step = self.len();
        if let Some((before, _)) = self.open.remove(&transition.trajectory) {
            self.next[before] = Next::Step(step);
        }
        self.observations.extend_from_slice(&transition.observation);
        self.actions.push(transition.choice.action);
        self.log_probs.push(log_prob);
        self.values.push(value);
        self.rewards.push(transition.reward);
        self.next.push(Next::Terminal);
        if let Some(next) = transition.next {
            self.open.insert(transition.trajectory, (step, next));
        }
    }

    /// Ends the rollout: advantages with discount γ and decay ξ, where `value_of` is the present critic.
    pub fn advantages(&mut self, gamma: f64, lambda: f64, mut value_of: impl FnMut(&[f32]) -> f64) -> Advantages {
        for (step, next) in std::mem::take(&mut self.open).into_values() {
            self.next[step] = Next::Value(value_of(&next));
        }
        let advantages = gae(&self.rewards, &self.values, &self.next, gamma, lambda);
        let returns = advantages.iter().zip(&self.values).map(|(a, v)| a + v).collect();
        Advantages { advantages, returns }
    }

    /// Forgets all transitions.
    pub fn clear(&mut self) {
        self.observations.clear();
        self.actions.clear();
        self.log_probs.clear();
        self.values.clear();
        self.rewards.clear();
        self.next.clear();
        self.open.clear();
    }
}

/// Generalised advantage estimation (Schulman et al., ICLR 2016): `A_t = δ_t + γ ξ A_{t+1}` with
/// `δ_t = r_t + γ V(s_{t+1}) - V(s_t)`, along each trajectory up to its terminal step, after which nothing is
/// earned, or to the last step of the rollout. ξ is written λ in most papers.
fn gae(rewards: &[f64], values: &[f64], next: &[Next], gamma: f64, lambda: f64) -> Vec<f64> {
    let mut advantages = vec![0.0; rewards.len()];
    // Backwards: what comes next has a larger index.
    for t in (0..rewards.len()).rev() {
        let (next_value, next_advantage) = match next[t] {
            Next::Terminal => (0.0, 0.0),
            Next::Step(step) => (values[step], advantages[step]),
            Next::Value(value) => (value, 0.0),
        };
        advantages[t] = rewards[t] + gamma * next_value - values[t] + gamma * lambda * next_advantage;
    }
    advantages
}

/// `1 - Var(return - value) / Var(return)`: 1 if the values foresaw the returns, 0 if they did no better than a
/// constant. None where the returns don't vary.
pub(super) fn explained_variance(values: &[f64], returns: &[f64]) -> Option<f64> {
    let variance = |numbers: &dyn Fn(usize) -> f64| {
        let n = returns.len() as f64;
        let mean = (0..returns.len()).map(numbers).sum::<f64>() / n;
        (0..returns.len()).map(|i| (numbers(i) - mean).powi(2)).sum::<f64>() / n
    };
    let total = variance(&|i| returns[i]);
    (total > 0.0).then(|| 1.0 - variance(&|i| returns[i] - values[i]) / total)
}

/// Advantages less their mean, over their standard deviation (of n - 1 degrees of freedom) + 1e-8; one alone stays
/// as it is.
pub(super) fn normalise(advantages: &mut [f64]) {
    if advantages.len() < 2 {
        return;
    }
    let n = advantages.len() as f64;
    let mean = advantages.iter().sum::<f64>() / n;
    let variance = advantages.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let scale = variance.sqrt() + 1e-8;
    for advantage in advantages {
        *advantage = (*advantage - mean) / scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};
    use crate::rl::Choice;

    fn transition(trajectory: u32, seen: f32, reward: f64, next: Option<f32>) -> Transition {
        let choice = Choice { action: 0, log_prob: Some(-1.0), value: None };
        Transition { trajectory, observation: vec![seen], choice, reward, next: next.map(|x| vec![x]) }
    }

    /// Three trajectories take turns at random and end at random; the value of an observation x is sin x.
    #[test]
    fn advantages_are_sums_of_discounted_errors() {
        let value_of = |x: f32| f64::from(x).sin();
        let stream = Streams::new(1, 0).stream(0, Purpose::Test);
        for (gamma, lambda) in [(0.99, 0.95), (0.9, 1.0), (1.0, 0.0), (0.5, 0.5)] {
            let mut rollout = Rollout::default();
            // Steps of each trajectory: (index in the rollout, observation, reward, next observation).
            let mut lives = vec![Vec::<(usize, f32, f64, Option<f32>)>::new(); 3];
            let mut seen = [0.5_f32, 1.5, 2.5];
            for t in 0..200 {
                let [a, b] = stream.uniform_pair(t);
                let who = (a * 3.0) as usize;
                let after = seen[who] + 0.7;
                let next = (b > 0.15).then_some(after);
                let reward = b - 0.3;
                rollout.push(transition(who as u32, seen[who], reward, next), -1.0, value_of(seen[who]));
                lives[who].push((t as usize, seen[who], reward, next));
                seen[who] = after;
            }
            let Advantages { advantages, returns } = rollout.advantages(gamma, lambda, |x| value_of(x[0]));
            for life in &lives {
                assert!(life.len() > 40);
                for (from, &(index, x, ..)) in life.iter().enumerate() {
                    let (mut sum, mut weight) = (0.0, 1.0);
                    for &(_, x, reward, next) in &life[from..] {
                        let delta = reward + gamma * next.map_or(0.0, value_of) - value_of(x);
                        sum += weight * delta;
                        weight *= gamma * lambda;
                        if next.is_none() {
                            break;
                        }
                    }
                    assert!((advantages[index] - sum).abs() < 1e-12);
                    assert!((returns[index] - sum - value_of(x)).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn values_of_the_choices_go_before_the_present_critic() {
        let mut rollout = Rollout::default();
        rollout.push(transition(7, 0.0, 1.0, Some(1.0)), -1.0, 10.0);
        rollout.push(transition(7, 1.0, 2.0, Some(2.0)), -1.0, 20.0);
        let mut asked = Vec::new();
        let got = rollout.advantages(0.5, 0.0, |x| {
            asked.push(x[0]);
            100.0
        });
        // δ: 1 + 0.5·20 - 10 and 2 + 0.5·100 - 20.
        assert_eq!((got.advantages, asked), (vec![1.0, 32.0], vec![2.0]));
        rollout.clear();
        assert_eq!(rollout.len(), 0);
    }

    #[test]
    fn normalised_advantages_have_mean_0_and_deviation_1() {
        let mut a = [1.0, 2.0, 3.0, 6.0];
        normalise(&mut a);
        // Mean 3, squares 4 + 1 + 0 + 9 = 14, over 3.
        let s = (14.0_f64 / 3.0).sqrt() + 1e-8;
        for (got, centred) in a.iter().zip([-2.0, -1.0, 0.0, 3.0]) {
            assert!((got - centred / s).abs() < 1e-15);
        }
        let mut one = [5.0];
        normalise(&mut one);
        assert_eq!(one, [5.0]);
        let mut same = [5.0, 5.0];
        normalise(&mut same);
        assert_eq!(same, [0.0, 0.0]);
    }

    #[test]
    fn explained_variance_of_hand_computed_values() {
        assert_eq!(explained_variance(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0]), Some(1.0));
        assert_eq!(explained_variance(&[7.0; 3], &[2.0, 3.0, 4.0]), Some(0.0));
        // Returns 0 and 2: variance 1. Errors 0 and 1: variance 1/4.
        assert_eq!(explained_variance(&[0.0, 1.0], &[0.0, 2.0]), Some(0.75));
        assert_eq!(explained_variance(&[0.0, 1.0], &[3.0, 3.0]), None);
    }
}
