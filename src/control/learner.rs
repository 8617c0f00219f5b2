//! A learning controller: an agent between the network's decisions and its rewards.
//!
//! ```text
//! decide ─ observation ─▶ agent chooses ─▶ waits for its reward and for what came next
//! learn  ─ reward ──────▶ whole transitions, in the order of decisions ─▶ agent learns
//! ```
//!
//! Rewards may come long after later decisions were taken: each step keeps the
//! log-probability and value of the policy that chose it. A transition is whole when its
//! reward is in and either its episode has ended or the same UE has decided again.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};

use crate::control::observation::ObservationSpace;
use crate::control::policies::ActionSpace;
use crate::kernel::{Purpose, Streams};
use crate::network::ports::{Controller, Decision, Observation};
use crate::network::rows::{DecisionRow, UpdateRow};
use crate::rl::{Agent, Choice, Policy, PolicyScratch, Transition, Update};

/// Word in the column `state` of updates.csv.
const LEARNING: &str = "learning";
const DIVERGED: &str = "diverged";

/// A step that the agent has not yet learned from.
struct Step {
    ue: u32,
    decision: u64,
    observation: Vec<f32>,
    choice: Choice,
    reward: Option<f64>,
    next: Next,
}

/// What follows a step.
enum Next {
    /// The UE has not decided again.
    Unknown,
    /// It has, seeing this.
    Observation(Vec<f32>),
    /// The episode ends with the step.
    Terminal,
}

/// A policy as it was after so many steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Steps learned from.
    pub env_steps: u64,
    /// The policy.
    pub policy: Policy,
}

/// How a learner sits in a run.
pub struct LearnerPlace {
    /// The UE whose controller it is; `None` for a shared one.
    pub ue: Option<u32>,
    /// Name of its table, where there are several.
    pub table: Option<String>,
    /// Steps of an episode.
    pub steps_per_episode: u32,
    /// Distance in steps of the snapshots that are kept beside the first and the last; 0 for those
    /// two only, `None` for the last only.
    pub snapshot_every: Option<u64>,
    /// Steps that the policy had learned from before the run.
    pub learned_before: u64,
}

/// A controller that learns.
pub struct Learner {
    agent: Box<dyn Agent>,
    observations: ObservationSpace,
    actions: ActionSpace,
    streams: Streams,
    place: LearnerPlace,
    /// Steps that the agent has not yet had, by UE.
    steps: BTreeMap<u32, VecDeque<Step>>,
    /// How many of them have their reward and wait for what comes next.
    waiting: usize,
    /// Sums of rewards of the episodes under way, by UE.
    episodes: BTreeMap<u32, f64>,
    /// Sum and number of the episodes that ended since the last update.
    ended: (f64, u64),
    learned: u64,
    updates: u64,
    row: Option<UpdateRow>,
    snapshots: Vec<Snapshot>,
}

impl Learner {
    /// A learner that has seen nothing.
    pub fn new(
        agent: Box<dyn Agent>,
        observations: ObservationSpace,
        actions: ActionSpace,
        streams: Streams,
        place: LearnerPlace,
    ) -> Self {
        let first = || Snapshot { env_steps: 0, policy: agent.policy().clone() };
        let snapshots = place.snapshot_every.map(|_| first()).into_iter().collect();
        Self {
            agent,
            observations,
            actions,
            streams,
            place,
            steps: BTreeMap::new(),
            waiting: 0,
            episodes: BTreeMap::new(),
            ended: (0.0, 0),
            learned: 0,
            updates: 0,
            row: None,
            snapshots,
        }
    }

    /// The policy at present.
    pub fn policy(&self) -> &Policy {
        self.agent.policy()
    }

    /// Steps learned from.
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// Updates of the policy.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Whether it has diverged.
    pub fn has_diverged(&self) -> bool {
        self.agent.wanted() == usize::MAX
    }

    /// Steps that the policy had learned from before the run.
    pub fn learned_before(&self) -> u64 {
        self.place.learned_before
    }

    /// The policies kept, in the order of their steps; the last is the present one.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all = self.snapshots.clone();
        if all.last().is_none_or(|last| last.env_steps < self.learned) {
            all.push(Snapshot { env_steps: self.learned, policy: self.agent.policy().clone() });
        }
        all
    }

    /// Hands a whole transition to the agent. Those of one UE come in the order of its decisions.
    fn feed(&mut self, step: Step, reward: f64) {
        let next = match step.next {
            Next::Observation(next) => Some(next),
            Next::Unknown | Next::Terminal => None,
        };
        let sum = self.episodes.entry(step.ue).or_default();
        *sum += reward;
        if next.is_none() {
            self.ended = (self.ended.0 + *sum, self.ended.1 + 1);
            *sum = 0.0;
        }
        let (trajectory, observation, choice) = (step.ue, step.observation, step.choice);
        if self.agent.wanted() == usize::MAX {
            // It has diverged and learns no more.
            return;
        }
        let update = self.agent.observe(Transition { trajectory, observation, choice, reward, next });
        self.learned += 1;
        if self.place.snapshot_every.is_some_and(|every| every > 0 && self.learned.is_multiple_of(every)) {
            self.snapshots.push(Snapshot { env_steps: self.learned, policy: self.agent.policy().clone() });
        }
        if let Some(update) = update {
            self.note(&update);
        }
    }

    /// The row of an update.
    fn note(&mut self, update: &Update) {
        self.updates += 1;
        let (sum, episodes) = std::mem::take(&mut self.ended);
        self.row = Some(UpdateRow {
            ue_id: self.place.ue,
            update: self.updates,
            env_steps: self.learned,
            episode_reward_mean: (episodes > 0).then(|| sum / episodes as f64),
            policy_loss: update.policy_loss,
            value_loss: update.value_loss,
            entropy: update.entropy,
            approx_kl: update.approx_kl,
            clip_fraction: update.clip_fraction,
            explained_variance: update.explained_variance,
            controller: self.place.table.clone(),
            state: if update.diverged { DIVERGED } else { LEARNING },
        });
    }
}

impl Controller for Learner {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let vector = self.observations.vector(observation);
        let ue = observation.ue;
        // What the UE's last step led to: with it that step may be whole, and the agent learn.
        if let Some(steps) = self.steps.get_mut(&ue)
            && let Some(before) = steps.back_mut().filter(|step| matches!(step.next, Next::Unknown))
        {
            before.next = Next::Observation(vector.clone());
            // With its reward in, it is the only one left.
            if let Some(reward) = before.reward
                && let Some(step) = steps.pop_back()
            {
                self.waiting = self.waiting.saturating_sub(1);
                self.feed(step, reward);
            }
        }
        let uniforms = self.streams.stream(ue, Purpose::Action).uniform_pair(observation.decision);
        let choice = self.agent.choose(&vector, uniforms);
        let last = observation.step_in_episode + 1 >= self.place.steps_per_episode;
        let next = if last { Next::Terminal } else { Next::Unknown };
        let (decision, reward) = (observation.decision, None);
        let step = Step { ue, decision, observation: vector, choice, reward, next };
        self.steps.entry(ue).or_default().push_back(step);
        let split = self.actions.apply(observation.split, choice.action);
        Decision { action: choice.action, split, log_prob: choice.log_prob, value: choice.value }
    }

    fn learn(&mut self, step: &DecisionRow<'_>) {
        let Some(reward) = step.reward else { return };
        let decision =
            u64::from(step.episode) * u64::from(self.place.steps_per_episode) + u64::from(step.step_in_episode);
        let Some(steps) = self.steps.get_mut(&step.ue_id) else { return };
        // Steps in front of it have no reward and never will: their requests did not finish.
        while steps.front().is_some_and(|kept| kept.decision < decision) {
            steps.pop_front();
        }
        let Some(kept) = steps.front_mut().filter(|kept| kept.decision == decision) else { return };
        if matches!(kept.next, Next::Unknown) {
            kept.reward = Some(reward);
            self.waiting += 1;
        } else if let Some(kept) = steps.pop_front() {
            self.feed(kept, reward);
        }
    }

    fn lessons_wanted(&self) -> Option<usize> {
        // One that has diverged waits for nothing. Steps that have their reward and wait for what
        // comes next are as good as learned from.
        (!self.has_diverged()).then(|| self.agent.wanted().saturating_sub(self.waiting).max(1))
    }

    fn take_update(&mut self) -> Option<UpdateRow> {
        self.row.take()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// How a policy that doesn't learn chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Choosing {
    /// By the policy's probabilities; of "dqn", which has none, its best action.
    #[default]
    Sample,
    /// The most probable action.
    Best,
}

/// A policy that doesn't learn: one from a file, an untrained one, or a snapshot under evaluation.
pub struct FrozenPolicy {
    /// The policy.
    pub policy: Policy,
    /// What it sees.
    pub observations: ObservationSpace,
    /// What it can do.
    pub actions: ActionSpace,
    /// The run's streams.
    pub streams: Streams,
    /// How it chooses.
    pub choosing: Choosing,
    /// Steps that it has learned from, elsewhere.
    pub env_steps: u64,
    /// Buffers.
    pub scratch: PolicyScratch,
}

impl Controller for FrozenPolicy {
    fn decide(&mut self, observation: &Observation) -> Decision {
        let vector = self.observations.vector(observation);
        let choice = match self.choosing {
            Choosing::Sample => {
                let uniform = self.streams.stream(observation.ue, Purpose::Action).uniform(observation.decision);
                self.policy.sample(&vector, uniform, &mut self.scratch)
            }
            Choosing::Best => self.policy.best(&vector, &mut self.scratch),
        };
        let split = self.actions.apply(observation.split, choice.action);
        Decision { action: choice.action, split, log_prob: choice.log_prob, value: choice.value }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
