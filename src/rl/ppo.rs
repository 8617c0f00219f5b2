//! Proximal policy optimisation with a clipped surrogate (Schulman et al., arXiv 1707.06347).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor_critic::{ActorCritic, Batch, LossGradient, Surrogate, Terms, Weights};
use super::agent::{Agent, Transition, Update};
use super::mlp::{Activation, Mlp, Passes};
use super::optimiser::{Adam, clip_norm};
use super::policy::{Choice, Policy};
use super::rollout::{Advantages, Rollout, explained_variance, normalise};
use crate::kernel::{Purpose, Stream, Streams};

/// Settings of PPO. Defaults are those of Chen et al. (arXiv 2406.02616, Table III) where they say, else those of
/// Stable-Baselines3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PpoSettings {
    /// Adam's step size.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub learning_rate: f64,
    /// Discount γ of rewards to come.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Decay ξ (in most papers λ) of generalised advantage estimation: 0 trusts the critic, 1 the rewards.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
    /// How far the probability ratio may move from 1 before its gradient is cut.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub clip_range: f64,
    /// Steps between updates.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub n_steps: u32,
    /// Samples of a minibatch. Where it doesn't divide `n_steps`, the last minibatch of an epoch is smaller.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub batch_size: u32,
    /// Passes over the steps of an update.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u32,
    /// Weight of the entropy in the objective: more of it, more exploration.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub entropy_coef: f64,
    /// Weight of the value loss.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub value_coef: f64,
    /// Largest Euclidean norm of the joint gradient of actor and critic; longer ones are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub max_grad_norm: f64,
    /// Whether the advantages of a minibatch are brought to mean 0 and standard deviation 1.
    pub normalise_advantage: bool,
    /// Adam's ε.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub adam_eps: f64,
    /// Widths of the hidden layers, of actor and critic alike.
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<u32>,
    /// Non-linearity of the hidden layers.
    pub activation: Activation,
}

impl Default for PpoSettings {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            gamma: 0.99,
            gae_lambda: 0.95,
            clip_range: 0.2,
            n_steps: 400,
            batch_size: 100,
            epochs: 10,
            entropy_coef: 0.0,
            value_coef: 0.5,
            max_grad_norm: 0.5,
            normalise_advantage: true,
            adam_eps: 1e-5,
            hidden: vec![64, 64],
            activation: Activation::Tanh,
        }
    }
}

/// A PPO learner.
pub struct Ppo {
    core: ActorCritic,
    trainer: Trainer,
}

impl Ppo {
    /// A learner for observations of this length and so many actions. Its draws are those of `entity` in `streams`.
    pub fn new(observations: usize, actions: usize, settings: PpoSettings, streams: Streams, entity: u32) -> Self {
        let PpoSettings { activation, n_steps, .. } = settings;
        let shape = (observations, actions);
        let core = ActorCritic::new(shape, &settings.hidden, activation, n_steps, streams, entity);
        let optimisers = core.parameters().map(|count| Adam::new(count, settings.adam_eps));
        let order = streams.stream(entity, Purpose::LearnerOrder);
        Self { core, trainer: Trainer { optimisers, order, drawn: 0, settings } }
    }

    /// The same learner, beginning with this policy; None if the policy is of another shape.
    pub fn with_policy(mut self, policy: Policy) -> Option<Self> {
        self.core.set_policy(policy).then_some(self)
    }
}

impl Agent for Ppo {
    fn choose(&mut self, observation: &[f32], uniforms: [f64; 2]) -> Choice {
        self.core.choose(observation, uniforms[0])
    }

    fn observe(&mut self, transition: Transition) -> Option<Update> {
        let Self { core, trainer } = self;
        core.observe(transition, |actor, critic, rollout| trainer.learn(actor, critic, rollout))
    }

    fn wanted(&self) -> usize {
        self.core.wanted()
    }

    fn policy(&self) -> &Policy {
        self.core.policy()
    }
}

/// The clipped surrogate of one sample: `-min(ρ A, clip(ρ, 1 - ε, 1 + ε) A)` with `ρ = π/π_old`, whose derivative with
/// respect to ln π is `-ρ A` where the first is the lesser, else 0.
fn clipped_surrogate(log_prob: f64, old_log_prob: f64, advantage: f64, clip_range: f64) -> Surrogate {
    let log_ratio = log_prob - old_log_prob;
    let ratio = super::exp(log_ratio);
    let free = ratio * advantage;
    let bound = ratio.max(1.0 - clip_range).min(1.0 + clip_range) * advantage;
    let (loss, by_log_prob) = if bound < free { (-bound, 0.0) } else { (-free, -free) };
    Surrogate { loss, by_log_prob, kl: (ratio - 1.0) - log_ratio, is_clipped: (ratio - 1.0).abs() > clip_range }
}

/// What changes the networks.
struct Trainer {
    /// Of the actor and of the critic, which step together.
    optimisers: [Adam<f32>; 2],
    order: Stream,
    /// Draws of `order` used so far.
    drawn: u64,
    settings: PpoSettings,
}

/// A minibatch's samples, gathered.
#[derive(Default)]
struct Minibatch {
    observations: Vec<f32>,
    actions: Vec<u32>,
    log_probs: Vec<f64>,
    advantages: Vec<f64>,
    returns: Vec<f64>,
}

impl Trainer {
    /// All epochs of one update; None as soon as a loss or a gradient isn't finite.
    fn learn(&mut self, actor: &mut Mlp<f32>, critic: &mut Mlp<f32>, rollout: &mut Rollout) -> Option<Update> {
        let Self { optimisers, settings, .. } = self;
        let mut passes = Passes::default();
        let value_of = |next: &[f32]| critic.forward(next, &mut passes).first().map_or(f64::NAN, |&v| f64::from(v));
        let targets = rollout.advantages(settings.gamma, settings.gae_lambda, value_of);
        let weights = Weights { entropy: settings.entropy_coef, value: settings.value_coef };
        let clip_range = settings.clip_range;

        let mut gradient = LossGradient::new(actor, critic);
        let mut minibatch = Minibatch::default();
        let mut order: Vec<u32> = (0..rollout.len() as u32).collect();
        let size = settings.batch_size.max(1) as usize;
        let share = 1.0 / order.len().div_ceil(size) as f64;
        let mut means = Terms::default();
        let mut last_kl = 0.0;
        for _ in 0..settings.epochs {
            shuffle(&mut order, &self.order, &mut self.drawn);
            last_kl = 0.0;
            for chosen in order.chunks(size) {
                minibatch.gather(chosen, rollout, &targets, actor.sizes()[0]);
                if settings.normalise_advantage {
                    normalise(&mut minibatch.advantages);
                }
                let batch = minibatch.view();
                let terms = gradient.compute(actor, critic, batch, weights, |sample, log_prob| {
                    clipped_surrogate(log_prob, batch.log_probs[sample], batch.advantages[sample], clip_range)
                });
                let norm = clip_norm(&mut [&mut gradient.actor, &mut gradient.critic], settings.max_grad_norm);
                if !(terms.total(weights).is_finite() && norm.is_finite()) {
                    return None;
                }
                optimisers[0].step(actor.parameters_mut(), &gradient.actor, settings.learning_rate);
                optimisers[1].step(critic.parameters_mut(), &gradient.critic, settings.learning_rate);
                means.add(&terms, share / f64::from(settings.epochs));
                last_kl += share * terms.kl;
            }
        }
        Some(Update {
            policy_loss: Some(means.policy),
            value_loss: Some(means.value),
            entropy: Some(means.entropy),
            approx_kl: Some(last_kl),
            clip_fraction: Some(means.clipped),
            explained_variance: explained_variance(&rollout.values, &targets.returns),
            diverged: false,
        })
    }
}

impl Minibatch {
    fn gather(&mut self, chosen: &[u32], rollout: &Rollout, targets: &Advantages, width: usize) {
        self.observations.clear();
        self.actions.clear();
        self.log_probs.clear();
        self.advantages.clear();
        self.returns.clear();
        for &step in chosen {
            let step = step as usize;
            self.observations.extend_from_slice(&rollout.observations[step * width..][..width]);
            self.actions.push(rollout.actions[step]);
            self.log_probs.push(rollout.log_probs[step]);
            self.advantages.push(targets.advantages[step]);
            self.returns.push(targets.returns[step]);
        }
    }

    fn view(&self) -> Batch<'_, f32> {
        let Self { observations, actions, log_probs, advantages, returns } = self;
        Batch { observations, actions, log_probs, advantages, returns }
    }
}

/// A random order of all (Fisher and Yates), by the stream's blocks from `drawn` on.
fn shuffle(order: &mut [u32], stream: &Stream, drawn: &mut u64) {
    for last in (1..order.len()).rev() {
        order.swap(last, stream.below(*drawn, last as u64 + 1) as usize);
        *drawn += 1;
    }
}

#[cfg(test)]
mod tests;
