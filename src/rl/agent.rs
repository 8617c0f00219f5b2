//! What every learner does: choose, take in what came of it, and learn now and then.

use super::policy::{Choice, Policy};

/// One step of one trajectory, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Which sequence it belongs to: several actors may learn under one agent, their steps interleaved. Steps of one
    /// trajectory come in order, and the observation of one is what was seen next of the one before; where that isn't so
    /// (an episode that was cut off but not over), another number begins.
    pub trajectory: u32,
    /// What was seen.
    pub observation: Vec<f32>,
    /// What was done, as [`Agent::choose`] gave it.
    pub choice: Choice,
    /// What it earned.
    pub reward: f64,
    /// What was seen next; None where the episode ended, so that nothing more was to be earned.
    pub next: Option<Vec<f32>>,
}

/// What an update did; each number as the mean over its minibatches, None where it doesn't apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Update {
    /// The surrogate objective of the policy, as a loss.
    pub policy_loss: Option<f64>,
    /// Mean squared error of the values (of a DQN: its Huber loss).
    pub value_loss: Option<f64>,
    /// Entropy of the policy \[nat\].
    pub entropy: Option<f64>,
    /// Kullback-Leibler divergence of the new policy from the old one, in the last epoch: mean of ratio - 1 - ln ratio
    /// (Schulman, "Approximating KL Divergence", 2020).
    pub approx_kl: Option<f64>,
    /// Share of samples whose probability ratio was out of the clip range.
    pub clip_fraction: Option<f64>,
    /// 1 - Var(return - value) / Var(return) of the rollout, by the values of the choices.
    pub explained_variance: Option<f64>,
    /// Something became infinite or not a number: the parameters are those before this update, and the agent learns no
    /// more. The other fields are then None.
    pub diverged: bool,
}

/// A learner.
pub trait Agent: Send {
    /// An action, with exploration. Two independent uniforms on (0, 1) decide: PPO and A2C draw the action by the
    /// first; DQN explores if the first is below ε, and then the second says which action.
    fn choose(&mut self, observation: &[f32], uniforms: [f64; 2]) -> Choice;

    /// Takes in a transition, and learns if it was the last one wanted: then Some.
    ///
    /// # Panics
    /// If an observation isn't as long as the policy's inputs, or the action isn't one of the policy's.
    fn observe(&mut self, transition: Transition) -> Option<Update>;

    /// Further transitions until the next update, at least 1; `usize::MAX` for an agent that learns no more.
    fn wanted(&self) -> usize;

    /// What it acts by.
    fn policy(&self) -> &Policy;
}
