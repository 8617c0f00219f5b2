//! Deep Q-learning: a network Q(s, ·) learns what each action is worth from its own
//! bootstrapped targets (Mnih et al., "Human-level control through deep reinforcement
//! learning", Nature 518, 2015), with the details of stable-baselines3 2.9, whose
//! defaults are ours where nothing else is said.
//!
//! `L = (1/n) Σ huber(Q(s_i, a_i) - y_i)`, `y = r + γ·max_a Q⁻(s', a)`, terminal
//! `y = r`, over n transitions drawn from the [replay memory](super::replay). Q⁻ is
//! the target network, a copy of Q that lags behind. The Huber loss (δ = 1, also called smooth L1) is
//! `e²/2` for |e| < 1, else `|e| - 1/2`. No double Q-learning, no duelling heads, no
//! priorities, no n-step returns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::{Agent, Transition, Update};
use super::init::Init;
use super::mlp::{Activation, Mlp, Passes};
use super::optimiser::{Adam, clip_norm};
use super::policy::{Choice, Policy, PolicyScratch};
use super::real::Real;
use super::replay::{Batch, Replay};
use crate::kernel::{Purpose, Stream, Streams};

/// How DQN learns. Defaults are those of stable-baselines3, but for `buffer_size`,
/// `exploration_steps` and `updates_every`, which it has no equal of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DqnSettings {
    /// Adam's learning rate.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub learning_rate: f64,
    /// γ, the discount per step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// Transitions that the replay memory keeps. It grows as the learner goes, so a larger one costs nothing before
    /// it is used; 50,000 holds every transition of a run of 24,000 steps and keeps a long one from growing
    /// (stable-baselines3 has 1,000,000, made for images of games).
    #[schemars(range(min = 1, max = 100_000_000))]
    pub buffer_size: u32,
    /// Nothing is learned from the first so many transitions, and the first so many decisions are random.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub learning_starts: u32,
    /// Transitions per gradient step.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: u32,
    /// Transitions between trainings.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub train_freq: u32,
    /// Gradient steps per training.
    #[schemars(range(min = 1, max = 100_000))]
    pub gradient_steps: u32,
    /// Transitions between updates of the target network.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub target_update_interval: u32,
    /// How much of the network goes into the target network then: θ⁻ ← τ·θ + (1 - τ)·θ⁻; 1 copies it.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub tau: f64,
    /// ε at first, the probability of a random action (after the `learning_starts` decisions that are random anyway, ε
    /// is already that far down its line).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub exploration_initial: f64,
    /// ε after `exploration_steps`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub exploration_final: f64,
    /// Decisions over which ε goes from the one to the other, on a straight line. 2,400 is a tenth of a run of 24,000
    /// steps, stable-baselines3's share.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub exploration_steps: u32,
    /// Largest l2 norm of a gradient; longer ones are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub max_grad_norm: f64,
    /// ε of Adam.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub adam_eps: f64,
    /// Widths of the hidden layers, from the observation on.
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<u32>,
    /// What the hidden layers apply.
    pub activation: Activation,
    /// Transitions per row of updates.csv, which has the mean loss since the row before.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub updates_every: u32,
}

impl Default for DqnSettings {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            gamma: 0.99,
            buffer_size: 50_000,
            learning_starts: 100,
            batch_size: 32,
            train_freq: 4,
            gradient_steps: 1,
            target_update_interval: 10_000,
            tau: 1.0,
            exploration_initial: 1.0,
            exploration_final: 0.05,
            exploration_steps: 2_400,
            max_grad_norm: 10.0,
            adam_eps: 1e-8,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            updates_every: 400,
        }
    }
}

impl DqnSettings {
    /// ε of the decision that has `decisions` before it: 1 for the first
    /// `learning_starts`, else on the line from `exploration_initial` to
    /// `exploration_final`, which it reaches after `exploration_steps`.
    pub fn exploration(&self, decisions: u64) -> f64 {
        if decisions < u64::from(self.learning_starts) {
            1.0
        } else if decisions >= u64::from(self.exploration_steps) {
            self.exploration_final
        } else {
            let share = decisions as f64 / f64::from(self.exploration_steps);
            self.exploration_initial + share * (self.exploration_final - self.exploration_initial)
        }
    }

    /// Transitions in all when the first training after transition `steps` begins:
    /// the next multiple of `train_freq` beyond `learning_starts`.
    fn next_training(&self, steps: u64) -> u64 {
        let every = u64::from(self.train_freq.max(1));
        (steps.max(u64::from(self.learning_starts)) / every + 1).saturating_mul(every)
    }
}

/// A learner by deep Q-learning. It chooses the action of the largest Q, but with
/// probability ε ([`DqnSettings::exploration`]) any, all alike.
///
/// Every `target_update_interval` transitions the target network is updated, before a
/// training that falls on the same transition; every `train_freq` transitions beyond
/// `learning_starts` it trains. A row of means is reported every `updates_every`
/// transitions, if it has trained since the last one.
///
/// If loss, gradient or parameters stop being finite, the parameters go back to those
/// before the gradient step, a row says so, and it learns no more; it chooses on.
pub struct Dqn {
    settings: DqnSettings,
    policy: Policy,
    target: Mlp<f32>,
    adam: Adam<f32>,
    replay: Replay,
    samples: Stream,
    /// Decisions made.
    decisions: u64,
    /// Transitions taken in.
    steps: u64,
    /// Gradient steps made.
    trained: u64,
    /// Of the losses since the last row.
    loss_sum: f64,
    loss_count: u64,
    diverged: bool,
    scratch: PolicyScratch,
    buffers: Buffers,
}

/// What a gradient step works in.
#[derive(Default)]
struct Buffers {
    batch: Batch,
    passes: Passes<f32>,
    targets: Vec<f32>,
    output_gradient: Vec<f32>,
    gradient: Vec<f32>,
    before: Vec<f32>,
}

impl Dqn {
    /// A learner with fresh weights (U(±1/√fan_in), as torch's linear layers) for
    /// `observations` inputs and `actions` actions. Weights come from the stream
    /// ([`Purpose::LearnerWeights`], `entity`), samples of gradient step g from blocks g·2³² on of ([`Purpose::LearnerOrder`], `entity`).
    pub fn new(observations: usize, actions: usize, settings: DqnSettings, streams: Streams, entity: u32) -> Self {
        let sizes: Vec<usize> = [observations]
            .into_iter()
            .chain(settings.hidden.iter().map(|&width| width as usize))
            .chain([actions])
            .collect();
        let weights = streams.stream(entity, Purpose::LearnerWeights);
        let network = Mlp::new(&sizes, settings.activation, Init::FanIn, &weights);
        Self {
            target: network.clone(),
            adam: Adam::new(network.parameters().len(), settings.adam_eps),
            policy: Policy::Q { network },
            replay: Replay::new(observations, settings.buffer_size as usize),
            samples: streams.stream(entity, Purpose::LearnerOrder),
            settings,
            decisions: 0,
            steps: 0,
            trained: 0,
            loss_sum: 0.0,
            loss_count: 0,
            diverged: false,
            scratch: PolicyScratch::default(),
            buffers: Buffers::default(),
        }
    }

    /// The learner with another policy's network to begin from, in both networks; `None` if it
    /// is none of Q values, or of another shape or activation. Exploration begins anew all the same.
    pub fn with_policy(mut self, policy: Policy) -> Option<Self> {
        let Policy::Q { network } = &policy else { return None };
        if !policy.has_shape_of(&self.policy) {
            return None;
        }
        self.target = network.clone();
        self.policy = policy;
        Some(self)
    }

    /// One gradient step on a fresh sample: its loss, or `None` if something was no longer
    /// finite; the parameters are then as before.
    fn learn(&mut self) -> Option<f64> {
        let Policy::Q { network } = &mut self.policy else { return None };
        let Buffers { batch, passes, targets, output_gradient, gradient, before } = &mut self.buffers;
        self.replay.sample(self.settings.batch_size as usize, &self.samples.starting_at(self.trained << 32), batch);
        self.trained += 1;

        let next_values = self.target.forward(&batch.next, passes);
        td_targets(&batch.rewards, next_values, &batch.terminal, self.settings.gamma, targets);
        let values = network.forward(&batch.observations, passes);
        let loss = td_loss(values, &batch.actions, targets, output_gradient);
        if !loss.is_finite() {
            return None;
        }
        gradient.clear();
        gradient.resize(network.parameters().len(), 0.0);
        network.backward(passes, output_gradient, gradient);
        if !clip_norm(&mut [gradient], self.settings.max_grad_norm).is_finite() {
            return None;
        }
        before.clear();
        before.extend_from_slice(network.parameters());
        self.adam.step(network.parameters_mut(), gradient, self.settings.learning_rate);
        if network.parameters().iter().all(|parameter| parameter.is_finite()) {
            return Some(loss);
        }
        network.parameters_mut().copy_from_slice(before);
        None
    }

    /// θ⁻ ← τ·θ + (1 - τ)·θ⁻.
    fn update_target(&mut self) {
        let Policy::Q { network } = &self.policy else { return };
        let tau = self.settings.tau;
        for (target, &parameter) in self.target.parameters_mut().iter_mut().zip(network.parameters()) {
            *target = (tau * f64::from(parameter) + (1.0 - tau) * f64::from(*target)) as f32;
        }
    }

    /// The row of means since the last one.
    fn row(&mut self) -> Update {
        let mean = self.loss_sum / self.loss_count as f64;
        (self.loss_sum, self.loss_count) = (0.0, 0);
        Update { value_loss: Some(mean), ..Update::default() }
    }
}

impl Agent for Dqn {
    /// The first uniform decides whether this decision explores, the second which action it
    /// then takes. `value` is `max_a Q(s, a)` either way; there is no log-probability.
    fn choose(&mut self, observation: &[f32], uniforms: [f64; 2]) -> Choice {
        let explores = uniforms[0] < self.settings.exploration(self.decisions);
        self.decisions += 1;
        let best = self.policy.best(observation, &mut self.scratch);
        if !explores {
            return best;
        }
        let actions = self.policy.actions() as u32;
        let action = ((uniforms[1] * f64::from(actions)) as u32).min(actions.saturating_sub(1));
        Choice { action, ..best }
    }

    fn observe(&mut self, transition: Transition) -> Option<Update> {
        if self.diverged {
            return None;
        }
        let Transition { observation, choice, reward, next, .. } = transition;
        assert!((choice.action as usize) < self.policy.actions(), "an action that the agent doesn't have");
        self.replay.push(&observation, choice.action, reward as f32, next.as_deref());
        let trains = self.settings.next_training(self.steps) == self.steps + 1;
        self.steps += 1;
        if self.steps.is_multiple_of(u64::from(self.settings.target_update_interval.max(1))) {
            self.update_target();
        }
        if trains {
            for _ in 0..self.settings.gradient_steps {
                let Some(loss) = self.learn() else {
                    self.diverged = true;
                    return Some(Update { diverged: true, ..Update::default() });
                };
                self.loss_sum += loss;
                self.loss_count += 1;
            }
        }
        let due = self.steps.is_multiple_of(u64::from(self.settings.updates_every.max(1))) && self.loss_count > 0;
        due.then(|| self.row())
    }

    /// Transitions until the next training: its weights serve later decisions, whether
    /// or not it reports a row.
    fn wanted(&self) -> usize {
        if self.diverged {
            return usize::MAX;
        }
        usize::try_from(self.settings.next_training(self.steps) - self.steps).unwrap_or(usize::MAX)
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// `y_i = r_i + γ·max_a Q⁻(s'_i, a)`, and `y_i = r_i` where no s' follows. `next_values`
/// is n × actions, one transition after the other.
fn td_targets<R: Real>(rewards: &[R], next_values: &[R], terminal: &[bool], gamma: f64, targets: &mut Vec<R>) {
    let gamma = R::of(gamma);
    let actions = next_values.len() / rewards.len().max(1);
    let best = |values: &[R]| values.iter().copied().reduce(|best, value| if value > best { value } else { best });
    targets.clear();
    for ((&reward, &terminal), values) in rewards.iter().zip(terminal).zip(next_values.chunks_exact(actions.max(1))) {
        let follows = if terminal { None } else { best(values) };
        targets.push(follows.map_or(reward, |value| reward + gamma * value));
    }
}

/// `L = (1/n) Σ huber(Q(s_i, a_i) - y_i)`, and `∂L/∂Q` in `gradient`: for the chosen action
/// the error cut to [-1, 1] over n, for the others 0. `values` and `gradient` are
/// n × actions.
fn td_loss<R: Real>(values: &[R], actions: &[u32], targets: &[R], gradient: &mut Vec<R>) -> f64 {
    let count = targets.len().max(1);
    let width = values.len() / count;
    gradient.clear();
    gradient.resize(values.len(), R::of(0.0));
    let mut sum = 0.0;
    for (i, (&action, &target)) in actions.iter().zip(targets).enumerate() {
        let chosen = i * width + action as usize;
        let error = (values[chosen] - target).get();
        sum += if error.abs() < 1.0 { 0.5 * error * error } else { error.abs() - 0.5 };
        gradient[chosen] = R::of(error.clamp(-1.0, 1.0) / count as f64);
    }
    sum / count as f64
}

#[cfg(test)]
mod tests;
