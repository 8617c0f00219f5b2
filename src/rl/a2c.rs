//! Advantage actor-critic: the synchronous form of Mnih et al., "Asynchronous methods for deep reinforcement learning"
//! (ICML 2016).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor_critic::{ActorCritic, Batch, LossGradient, Surrogate, Weights};
use super::agent::{Agent, Transition, Update};
use super::mlp::{Activation, Mlp, Passes};
use super::optimiser::{RmsProp, clip_norm};
use super::policy::{Choice, Policy};
use super::rollout::{Rollout, explained_variance, normalise};
use crate::kernel::Streams;

/// Settings of A2C; the defaults are those of Stable-Baselines3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct A2cSettings {
    /// RMSprop's step size.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub learning_rate: f64,
    /// Discount γ of rewards to come.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Decay ξ (in most papers λ) of generalised advantage estimation: 0 trusts the critic, 1 the rewards.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
    /// Steps between updates, all of which make one batch.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub n_steps: u32,
    /// Weight of the entropy in the objective: more of it, more exploration.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub entropy_coef: f64,
    /// Weight of the value loss.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub value_coef: f64,
    /// Largest Euclidean norm of the joint gradient of actor and critic; longer ones are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub max_grad_norm: f64,
    /// Whether the advantages of a batch are brought to mean 0 and standard deviation 1.
    pub normalise_advantage: bool,
    /// RMSprop's decay α of the mean square.
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub rms_alpha: f64,
    /// RMSprop's ε.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub rms_eps: f64,
    /// Widths of the hidden layers, of actor and critic alike.
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<u32>,
    /// Non-linearity of the hidden layers.
    pub activation: Activation,
}

impl Default for A2cSettings {
    fn default() -> Self {
        Self {
            learning_rate: 7e-4,
            gamma: 0.99,
            gae_lambda: 1.0,
            n_steps: 5,
            entropy_coef: 0.0,
            value_coef: 0.5,
            max_grad_norm: 0.5,
            normalise_advantage: false,
            rms_alpha: 0.99,
            rms_eps: 1e-5,
            hidden: vec![64, 64],
            activation: Activation::Tanh,
        }
    }
}

/// An A2C learner.
pub struct A2c {
    core: ActorCritic,
    trainer: Trainer,
}

impl A2c {
    /// A learner for observations of this length and so many actions. Its draws are those of `entity` in `streams`.
    pub fn new(observations: usize, actions: usize, settings: A2cSettings, streams: Streams, entity: u32) -> Self {
        let A2cSettings { activation, n_steps, .. } = settings;
        let shape = (observations, actions);
        let core = ActorCritic::new(shape, &settings.hidden, activation, n_steps, streams, entity);
        let optimisers = core.parameters().map(|count| RmsProp::new(count, settings.rms_alpha, settings.rms_eps));
        Self { core, trainer: Trainer { optimisers, settings } }
    }

    /// The same learner, beginning with this policy; None if the policy is of another shape.
    pub fn with_policy(mut self, policy: Policy) -> Option<Self> {
        self.core.set_policy(policy).then_some(self)
    }
}

impl Agent for A2c {
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

/// The policy gradient's loss of one sample: `-A ln π`.
fn surrogate(log_prob: f64, advantage: f64) -> Surrogate {
    Surrogate { loss: -advantage * log_prob, by_log_prob: -advantage, ..Surrogate::default() }
}

/// What changes the networks.
struct Trainer {
    /// Of the actor and of the critic, which step together.
    optimisers: [RmsProp<f32>; 2],
    settings: A2cSettings,
}

impl Trainer {
    /// One step; None if the loss or its gradient isn't finite.
    fn learn(&mut self, actor: &mut Mlp<f32>, critic: &mut Mlp<f32>, rollout: &mut Rollout) -> Option<Update> {
        let Self { optimisers, settings } = self;
        let mut passes = Passes::default();
        let value_of = |next: &[f32]| critic.forward(next, &mut passes).first().map_or(f64::NAN, |&v| f64::from(v));
        let mut targets = rollout.advantages(settings.gamma, settings.gae_lambda, value_of);
        if settings.normalise_advantage {
            normalise(&mut targets.advantages);
        }
        let weights = Weights { entropy: settings.entropy_coef, value: settings.value_coef };
        let batch = Batch {
            observations: &rollout.observations,
            actions: &rollout.actions,
            log_probs: &rollout.log_probs,
            advantages: &targets.advantages,
            returns: &targets.returns,
        };
        let mut gradient = LossGradient::new(actor, critic);
        let terms = gradient
            .compute(actor, critic, batch, weights, |sample, log_prob| surrogate(log_prob, batch.advantages[sample]));
        let norm = clip_norm(&mut [&mut gradient.actor, &mut gradient.critic], settings.max_grad_norm);
        if !(terms.total(weights).is_finite() && norm.is_finite()) {
            return None;
        }
        optimisers[0].step(actor.parameters_mut(), &gradient.actor, settings.learning_rate);
        optimisers[1].step(critic.parameters_mut(), &gradient.critic, settings.learning_rate);
        Some(Update {
            policy_loss: Some(terms.policy),
            value_loss: Some(terms.value),
            entropy: Some(terms.entropy),
            approx_kl: None,
            clip_fraction: None,
            explained_variance: explained_variance(&rollout.values, &targets.returns),
            diverged: false,
        })
    }
}

#[cfg(test)]
mod tests;
