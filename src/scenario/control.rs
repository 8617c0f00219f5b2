//! Quality, controllers and rewards in the scenario file: who moves the split, what for,
//! and how that is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{Choosing, Observed};
use crate::rl::{A2cSettings, Activation, DqnSettings, PpoSettings};

/// Where perplexity comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QualitySourceName {
    /// The real model, run on the tensor that the channel left.
    #[default]
    Llm,
    /// A table over split, loss probability and noise, as `splitwave profile` writes it.
    Table,
    /// A network fitted to the model's answers, as `splitwave fit` writes it.
    Surrogate,
    /// Algorithm 1 of Chen et al.: the real model at first, then a surrogate trained on its answers in the run itself.
    LlmThenSurrogate,
    /// The same with the table in place of the model.
    TableThenSurrogate,
    /// None: latency and energy only.
    None,
}

/// `[quality]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QualityTable {
    /// Where perplexity comes from.
    pub source: QualitySourceName,
    /// CSV of the table, relative to the scenario file or the working directory: read by `source = "table"`, by the controllers "greedy", "oracle" and "optimal", and by the yardsticks of evaluations. "builtin" is the profile of the built-in model under `reception = "equalised"`; "llama-2-7b" is the surface of relative PPL gains that the authors of Chen et al. published.
    pub table: Option<String>,
    /// File of the surrogate of `source = "surrogate"`, as `splitwave fit` writes it; "builtin" and "llama-2-7b" are fitted to the tables' models.
    pub surrogate: Option<String>,
    /// Epochs of true rewards before a "…-then-surrogate" source switches. An epoch is one rollout: `n_steps` rewards of the first learning controller (400 without one), of all UEs together.
    #[schemars(range(min = 1))]
    pub switch_after_epochs: u32,
    /// After the switch, one evaluation in so many is also made by the true source, as a fresh probe of the surrogate; 0 for none.
    pub probe_every: u32,
    /// Latest probes that the surrogate is judged by.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub probes: u32,
    /// The surrogate is fitted anew, to all true rewards so far, when its mean squared error on those probes exceeds so many times its error on held-out rewards at the last fit.
    #[schemars(extend("exclusiveMinimum" = 1))]
    pub refit_above: f64,
}

impl Default for QualityTable {
    fn default() -> Self {
        Self {
            source: QualitySourceName::Llm,
            table: None,
            surrogate: None,
            switch_after_epochs: 25,
            probe_every: 0,
            probes: 100,
            refit_above: 2.0,
        }
    }
}

/// `[evaluation]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationTable {
    /// Episodes of an evaluation, of all UEs together, the same for every policy; 0 for no evaluations. Every UE whose controller can learn has as many, rounded up. The yardsticks "optimal" and "greedy" (with a quality table or surrogate) and "random" meet them, too.
    #[schemars(range(max = 10_000_000))]
    pub episodes: u32,
    /// Steps that a controller learns from between two evaluations; 0 for one evaluation, after the run.
    pub every_steps: u64,
    /// Seed of the evaluations: it doesn't change with the run's, so that all runs meet the same starts.
    pub seed: u64,
    /// How the policies of controllers that learn choose while they are evaluated; those that don't learn choose by `controller.choose` there, too.
    pub choose: Choosing,
    /// Where perplexity comes from in evaluations. Default: `quality.source`; of "…-then-surrogate" the true one.
    pub source: Option<QualitySourceName>,
}

impl Default for EvaluationTable {
    fn default() -> Self {
        Self { episodes: 200, every_steps: 0, seed: 1, choose: Choosing::Best, source: None }
    }
}

/// Who moves the split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerKind {
    /// Nobody: the initial split stays.
    #[default]
    Fixed,
    /// A uniform choice among the actions.
    Random,
    /// The action with the largest expected reward of this step, by the quality table.
    Greedy,
    /// Towards the split that minimises `PPL + λ·C_UE(p)/C_UE(L)` (eq. 7), by the quality table. With `action = "relative"` it walks there, and may earn less than "greedy" on the way: no upper bound.
    Oracle,
    /// The largest expected sum of rewards to the end of the episode, by dynamic programming over the quality table: the bound J* of all others.
    Optimal,
    /// Proximal policy optimisation, learning in the run.
    Ppo,
    /// Advantage actor-critic, learning in the run.
    A2c,
    /// Deep Q-learning, learning in the run.
    Dqn,
}

impl ControllerKind {
    /// Whether it can learn.
    pub fn is_learner(self) -> bool {
        matches!(self, Self::Ppo | Self::A2c | Self::Dqn)
    }

    /// Whether it reads what to expect from the quality table.
    pub fn reads_table(self) -> bool {
        matches!(self, Self::Greedy | Self::Oracle | Self::Optimal)
    }

    /// The word in scenarios and policy files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Random => "random",
            Self::Greedy => "greedy",
            Self::Oracle => "oracle",
            Self::Optimal => "optimal",
            Self::Ppo => "ppo",
            Self::A2c => "a2c",
            Self::Dqn => "dqn",
        }
    }
}

/// Whether UEs share a controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerScope {
    /// One for each UE.
    #[default]
    PerUe,
    /// One for all UEs that name it.
    Shared,
}

/// What an action is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// A move by one of `moves`, stopped at `split.min` and `split.max`.
    #[default]
    Relative,
    /// A choice among all splits.
    Direct,
}

/// `[controller]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerTable {
    /// Name, where there are several.
    pub name: Option<String>,
    /// Who moves the split.
    pub kind: ControllerKind,
    /// Whether UEs share it.
    pub scope: ControllerScope,
    /// What an action is.
    pub action: ActionKind,
    /// The moves of `action = "relative"`, in layers.
    #[schemars(length(min = 1, max = 64))]
    pub moves: Vec<i32>,
    /// What a learning controller sees, each quantity as a number of order 1.
    #[schemars(length(min = 1, max = 11))]
    pub observe: Vec<Observed>,
    /// Decisions per episode; the last one is terminal.
    #[schemars(range(min = 1))]
    pub steps_per_episode: u32,
    /// Whether a controller that can learn does; if not, its policy stays as it is: from `policy_in`, or with its first weights.
    pub learn: bool,
    /// How a policy that doesn't learn (`learn = false`) chooses, in evaluations as well. One that learns explores in its own way.
    pub choose: Choosing,
    /// File of the policy to begin with, as `policy_out` leaves it: of one policy, for all, or of one for each UE.
    pub policy_in: Option<String>,
    /// Name of a file in the run's folder that the policies are saved to at the end: letters, digits, `-`, `_` and `.`, ending in `.safetensors`.
    pub policy_out: Option<String>,
    /// Settings of kind "ppo".
    pub ppo: PpoSettings,
    /// Settings of kind "a2c".
    pub a2c: A2cSettings,
    /// Settings of kind "dqn".
    pub dqn: DqnSettings,
}

impl ControllerTable {
    /// Whether its policy changes in a run.
    pub fn learns(&self) -> bool {
        self.kind.is_learner() && self.learn
    }
}

impl ControllerTable {
    /// Widths of the hidden layers, and what they apply.
    pub fn hidden(&self) -> (&[u32], Activation) {
        match self.kind {
            ControllerKind::A2c => (&self.a2c.hidden, self.a2c.activation),
            ControllerKind::Dqn => (&self.dqn.hidden, self.dqn.activation),
            _ => (&self.ppo.hidden, self.ppo.activation),
        }
    }

    /// Rewards between two updates of the policy; of "dqn", between two rows of updates.csv.
    pub fn rollout(&self) -> u64 {
        match self.kind {
            ControllerKind::A2c => u64::from(self.a2c.n_steps),
            ControllerKind::Dqn => u64::from(self.dqn.updates_every),
            _ => u64::from(self.ppo.n_steps),
        }
    }
}

impl Default for ControllerTable {
    fn default() -> Self {
        Self {
            name: None,
            kind: ControllerKind::Fixed,
            scope: ControllerScope::PerUe,
            action: ActionKind::Relative,
            moves: vec![-1, 0, 1],
            observe: vec![
                Observed::NoiseStd,
                Observed::RayleighScale,
                Observed::LossProbability,
                Observed::Split,
                Observed::StepInEpisode,
            ],
            steps_per_episode: 5,
            learn: true,
            choose: Choosing::Sample,
            policy_in: None,
            policy_out: None,
            ppo: PpoSettings::default(),
            a2c: A2cSettings::default(),
            dqn: DqnSettings::default(),
        }
    }
}

/// The reward's formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RewardKind {
    /// `-(PPL + λ·C_UE(p)/C_UE(L))`, eq. (8), with PPL clipped at `ppl_cap`.
    #[default]
    #[serde(rename = "chen25-eq8")]
    Chen25Eq8,
    /// `a·(PPL_0 - PPL)/PPL_0 + b·(p_max - p)/p_max`, the gain clipped at -1.
    RelativeGain,
    /// `a·(PPL_0 - PPL)/PPL_0 - latency_weight·T - energy_weight·E`, the gain clipped at -1: T the time from arrival to the end in s, E the energy of the UE's processor and transmitter in J.
    Weighted,
}

/// `[reward]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardTable {
    /// The formula.
    pub kind: RewardKind,
    /// λ, the weight of the UE's work; also of the oracle.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// Largest PPL that counts, and the PPL of a request that fails. Default: 10 times the clean PPL.
    #[schemars(extend("exclusiveMinimum" = 1))]
    pub ppl_cap: Option<f64>,
    /// a of "relative-gain" and "weighted".
    pub a: f64,
    /// b of "relative-gain".
    pub b: f64,
    /// p_max of "relative-gain".
    #[schemars(range(min = 1))]
    pub p_max: u32,
    /// Weight of "weighted" per second \[1/s\].
    #[schemars(range(min = 0.0))]
    pub latency_weight: f64,
    /// Weight of "weighted" per joule \[1/J\].
    #[schemars(range(min = 0.0))]
    pub energy_weight: f64,
}

impl Default for RewardTable {
    fn default() -> Self {
        Self {
            kind: RewardKind::Chen25Eq8,
            lambda: 20.0,
            ppl_cap: None,
            a: 10.0,
            b: 1.0,
            p_max: 10,
            latency_weight: 1.0,
            energy_weight: 1.0,
        }
    }
}
