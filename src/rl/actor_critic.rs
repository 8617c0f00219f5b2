//! What PPO and A2C have in common: an actor and a critic, the gradient of their joint loss, and a rollout that
//! grows until they learn from it.

use super::agent::{Transition, Update};
use super::categorical::Categorical;
use super::init::Init;
use super::mlp::{Activation, Mlp, Passes};
use super::policy::{Choice, Policy, PolicyScratch};
use super::real::Real;
use super::rollout::Rollout;
use crate::kernel::{Purpose, Streams};

/// Samples to learn from.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a, R> {
    /// Observations, one after the other.
    pub observations: &'a [R],
    /// What was done.
    pub actions: &'a [u32],
    /// ln π of it, when it was chosen.
    pub log_probs: &'a [f64],
    /// How much better than expected it was.
    pub advantages: &'a [f64],
    /// What the critic should have said.
    pub returns: &'a [f64],
}

/// The policy's part of the loss from one sample, as a function of ln π of the action taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Surrogate {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to ln π.
    pub by_log_prob: f64,
    /// The sample's contribution to the divergence from the old policy.
    pub kl: f64,
    /// Whether the probability ratio is out of the clip range.
    pub is_clipped: bool,
}

/// Weights of the loss's parts: `L = L_policy - entropy · H + value · L_value`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    /// Of the entropy.
    pub entropy: f64,
    /// Of the value loss.
    pub value: f64,
}

/// Means over the samples of a batch, or over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Terms {
    /// Mean of the surrogate losses.
    pub policy: f64,
    /// Mean of (V - return)².
    pub value: f64,
    /// Mean entropy.
    pub entropy: f64,
    /// Mean contribution to the divergence.
    pub kl: f64,
    /// Share of clipped samples.
    pub clipped: f64,
}

impl Terms {
    /// The loss.
    pub fn total(&self, weights: Weights) -> f64 {
        self.policy - weights.entropy * self.entropy + weights.value * self.value
    }

    /// Adds another's terms, each times `factor`.
    pub fn add(&mut self, other: &Self, factor: f64) {
        self.policy += factor * other.policy;
        self.value += factor * other.value;
        self.entropy += factor * other.entropy;
        self.kl += factor * other.kl;
        self.clipped += factor * other.clipped;
    }
}

/// The joint loss's gradient, and what its computation needs.
pub(super) struct LossGradient<R> {
    /// With respect to the actor's parameters.
    pub actor: Vec<R>,
    /// With respect to the critic's parameters.
    pub critic: Vec<R>,
    passes: Passes<R>,
    outputs: Vec<R>,
    distribution: Categorical,
}

impl<R: Real> LossGradient<R> {
    /// For these networks.
    pub fn new(actor: &Mlp<R>, critic: &Mlp<R>) -> Self {
        Self {
            actor: vec![R::zero(); actor.parameters().len()],
            critic: vec![R::zero(); critic.parameters().len()],
            passes: Passes::default(),
            outputs: Vec::new(),
            distribution: Categorical::default(),
        }
    }

    /// Computes the gradient of the mean loss of a batch; `surrogate` is told the number of the sample and ln π of its
    /// action under the actor.
    pub fn compute(
        &mut self,
        actor: &Mlp<R>,
        critic: &Mlp<R>,
        batch: Batch<R>,
        weights: Weights,
        surrogate: impl Fn(usize, f64) -> Surrogate,
    ) -> Terms {
        let Self { actor: actor_gradient, critic: critic_gradient, passes, outputs, distribution } = self;
        actor_gradient.fill(R::zero());
        critic_gradient.fill(R::zero());
        let share = 1.0 / batch.actions.len() as f64;
        let mut terms = Terms::default();

        let logits = actor.forward(batch.observations, passes);
        let actions = logits.len() / batch.actions.len();
        outputs.clear();
        outputs.resize(logits.len(), R::zero());
        let samples = logits.chunks_exact(actions).zip(outputs.chunks_exact_mut(actions)).zip(batch.actions);
        for (sample, ((logits, gradient), &action)) in samples.enumerate() {
            let action = action as usize;
            distribution.set(logits);
            let entropy = distribution.entropy();
            let loss = surrogate(sample, distribution.log_probs()[action]);
            let clipped = if loss.is_clipped { 1.0 } else { 0.0 };
            terms.add(&Terms { policy: loss.loss, value: 0.0, entropy, kl: loss.kl, clipped }, share);
            distribution.logit_gradient(action, entropy, share * loss.by_log_prob, -share * weights.entropy, gradient);
        }
        actor.backward(passes, outputs, actor_gradient);

        let values = critic.forward(batch.observations, passes);
        outputs.clear();
        for (value, target) in values.iter().zip(batch.returns) {
            let error = value.get() - target;
            terms.value += share * error * error;
            outputs.push(R::of(share * weights.value * 2.0 * error));
        }
        critic.backward(passes, outputs, critic_gradient);
        terms
    }
}

/// An actor, a critic, and what they have seen since they last learned.
pub(super) struct ActorCritic {
    policy: Policy,
    scratch: PolicyScratch,
    rollout: Rollout,
    n_steps: usize,
    has_diverged: bool,
}

impl ActorCritic {
    /// Networks of these hidden widths with orthogonal first weights: gain √2 in hidden layers, 0.01 in the actor's last
    /// layer and 1 in the critic's, as has become custom (Andrychowicz et al., "What matters in on-policy
    /// reinforcement learning?", ICLR 2021, compare others).
    pub fn new(
        shape: (usize, usize),
        hidden: &[u32],
        activation: Activation,
        n_steps: u32,
        streams: Streams,
        entity: u32,
    ) -> Self {
        let stream = streams.stream(entity, Purpose::LearnerWeights);
        let network = |outputs: usize, output_gain: f64, number: u64| {
            let hidden = hidden.iter().map(|&width| width as usize);
            let sizes: Vec<usize> = std::iter::once(shape.0).chain(hidden).chain([outputs]).collect();
            let init = Init::Orthogonal { hidden_gain: std::f64::consts::SQRT_2, output_gain };
            Mlp::new(&sizes, activation, init, &stream.starting_at(number << 32))
        };
        Self {
            policy: Policy::ActorCritic { actor: network(shape.1, 0.01, 0), critic: network(1, 1.0, 1) },
            scratch: PolicyScratch::default(),
            rollout: Rollout::default(),
            n_steps: n_steps.max(1) as usize,
            has_diverged: false,
        }
    }

    /// Lengths of the actor's and the critic's parameters.
    pub fn parameters(&self) -> [usize; 2] {
        let networks = self.policy.networks();
        [0, 1].map(|i| networks.get(i).map_or(0, |(_, network)| network.parameters().len()))
    }

    /// Takes over a policy of the same shape; false for another.
    pub fn set_policy(&mut self, policy: Policy) -> bool {
        let fits = policy.has_shape_of(&self.policy);
        if fits {
            self.policy = policy;
        }
        fits
    }

    /// What it acts by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// An action drawn by its probability.
    pub fn choose(&mut self, observation: &[f32], uniform: f64) -> Choice {
        self.policy.sample(observation, uniform, &mut self.scratch)
    }

    /// Further transitions until it learns.
    pub fn wanted(&self) -> usize {
        if self.has_diverged { usize::MAX } else { self.n_steps - self.rollout.len() }
    }

    /// Takes in a transition; when it is the last one wanted, `learn` changes the networks, given the rollout and the
    /// buffers, or says by None that something was no finite number. The networks are then as before.
    pub fn observe(
        &mut self,
        transition: Transition,
        learn: impl FnOnce(&mut Mlp<f32>, &mut Mlp<f32>, &mut Rollout) -> Option<Update>,
    ) -> Option<Update> {
        if self.has_diverged {
            return None;
        }
        let Choice { action, log_prob, value } = transition.choice;
        let (inputs, actions) = (self.policy.inputs(), self.policy.actions());
        assert!((action as usize) < actions, "action {action} of {actions}");
        for seen in std::iter::once(&transition.observation).chain(&transition.next) {
            assert_eq!(seen.len(), inputs, "an observation of another length");
        }
        let (log_prob, value) = match (log_prob, value) {
            (Some(log_prob), Some(value)) => (log_prob, value),
            // Chosen by another: what the present policy says of it.
            _ => self.judge(&transition.observation, action),
        };
        self.rollout.push(transition, log_prob, value);
        if self.rollout.len() < self.n_steps {
            return None;
        }
        let Policy::ActorCritic { actor, critic } = &mut self.policy else { return None };
        let before = [actor.parameters().to_vec(), critic.parameters().to_vec()];
        let update = learn(actor, critic, &mut self.rollout);
        let update = update.filter(|_| self.is_sound());
        if update.is_none() {
            self.has_diverged = true;
            if let Policy::ActorCritic { actor, critic } = &mut self.policy {
                actor.parameters_mut().copy_from_slice(&before[0]);
                critic.parameters_mut().copy_from_slice(&before[1]);
            }
            self.rollout = Rollout::default();
        }
        self.rollout.clear();
        Some(update.unwrap_or(Update { diverged: true, ..Update::default() }))
    }

    /// Whether parameters are finite, and so are the outputs for the last observation: finite parameters may be so
    /// large that outputs overflow.
    fn is_sound(&mut self) -> bool {
        let Self { policy, scratch, rollout, .. } = self;
        let last = &rollout.observations[rollout.observations.len() - policy.inputs()..];
        let choice = policy.best(last, scratch);
        policy.is_finite() && choice.log_prob.is_some_and(f64::is_finite) && choice.value.is_some_and(f64::is_finite)
    }

    /// ln π of an action, and the value.
    fn judge(&self, observation: &[f32], action: u32) -> (f64, f64) {
        let Policy::ActorCritic { actor, critic } = &self.policy else { return (f64::NAN, f64::NAN) };
        let mut passes = Passes::default();
        let distribution = Categorical::of(actor.forward(observation, &mut passes));
        let value = critic.forward(observation, &mut passes).first().map_or(f64::NAN, |&value| f64::from(value));
        (distribution.log_probs().get(action as usize).copied().unwrap_or(f64::NAN), value)
    }
}
