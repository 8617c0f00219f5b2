//! The scenario file: one struct per table, every key with its default.
//!
//! The doc comments are the users' documentation: `splitwave schema` and
//! `docs/scenario.md` print them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::air::{ChannelTable, RadioTable};
use crate::scenario::nodes::{DeviceTable, EdgeTable, UeTable};
use crate::scenario::values::{Count, OneOrMany, SplitMax};

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the scenario and of its folder of results: letters, digits, `-` and `_`.
    pub name: String,
    /// Seed of all randomness.
    #[serde(default = "one")]
    pub seed: u64,
    /// Arrivals stop after so many seconds.
    #[serde(default = "sixty")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub duration_s: f64,
    /// Requests under way then have so many seconds to finish; what remains is `unfinished`.
    #[serde(default = "sixty")]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub drain_limit_s: f64,
    /// Requests that arrive in the first so many seconds are left out of summary.csv (not of requests.csv).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub warmup_s: f64,
    /// Independent repetitions, each in its own folder.
    #[serde(default = "one_u32")]
    #[schemars(range(min = 1, max = 100_000))]
    pub replications: u32,
    /// Stops arrivals early.
    #[serde(default)]
    pub stop: StopTable,
    /// The language model that runs, and the one that is paid for.
    #[serde(default)]
    pub model: ModelTable,
    /// Where the model runs.
    #[serde(default)]
    pub service: ServiceTable,
    /// Where perplexity comes from.
    #[serde(default)]
    pub quality: QualityTable,
    /// Where the model may be split.
    #[serde(default)]
    pub split: SplitTable,
    /// Who moves the split. One `[controller]` serves all UEs; several `[[controller]]` are named and chosen by `[[ue]]`.
    #[serde(default)]
    pub controller: OneOrMany<ControllerTable>,
    /// What a step of the decision process earns.
    #[serde(default)]
    pub reward: RewardTable,
    /// The radio channel of each UE. One `[channel]` serves all UEs; several `[[channel]]` are named and chosen by `[[ue]]`.
    #[serde(default)]
    pub channel: OneOrMany<ChannelTable>,
    /// The uplink that all UEs share, and the downlink.
    #[serde(default)]
    pub radio: RadioTable,
    /// Groups of user equipments.
    #[serde(default = "one_group")]
    #[schemars(length(min = 1))]
    pub ue: Vec<UeTable>,
    /// The edge server.
    #[serde(default)]
    pub edge: EdgeTable,
    /// Devices of your own, named in `ue.device` and `edge.device` like the presets.
    #[serde(default)]
    pub device: Vec<DeviceTable>,
    /// Which files are written.
    #[serde(default)]
    pub output: OutputTable,
}

impl Scenario {
    /// Whether anything reads `quality.table`.
    pub fn reads_table(&self) -> bool {
        let yardstick = |table: &ControllerTable| matches!(table.kind, ControllerKind::Greedy | ControllerKind::Oracle);
        self.quality.source == QualitySourceName::Table || self.controller.tables().iter().any(yardstick)
    }
}

fn one() -> u64 {
    1
}
fn one_u32() -> u32 {
    1
}
fn sixty() -> f64 {
    60.0
}
fn one_group() -> Vec<UeTable> {
    vec![UeTable::default()]
}

/// Stops arrivals at whichever comes first, `duration_s` included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopTable {
    /// After so many decisions of all controllers together.
    #[schemars(range(min = 1))]
    pub env_steps: Option<u64>,
    /// After so many requests.
    #[schemars(range(min = 1))]
    pub requests: Option<u64>,
}

/// How windows are cut from the corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WindowKind {
    /// Consecutive windows of as many tokens as the workload asks for.
    #[default]
    Tokens,
    /// One sentence each, of its own length; the workload's `prompt_tokens` plays no part.
    Sentence,
}

/// How FLOP are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlopCountName {
    /// Every matrix product of the layers.
    #[default]
    Exact,
    /// Eq. (2) of Chen et al. (arXiv 2406.02616) as printed, for the layers on either side; the head is counted exactly.
    Chen25Eq2,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTable {
    /// The model that runs: "builtin", or the path of a Hugging Face directory (config.json, tokenizer.json, and model.safetensors or its shards with model.safetensors.index.json) or of a .gguf file.
    pub source: String,
    /// The text that prompts are cut from: "builtin", or the path of a UTF-8 text file, or of a .parquet file whose column `text` has its lines (WikiText's release).
    pub corpus: String,
    /// How prompts are cut from the corpus.
    pub window: WindowKind,
    /// The model that FLOP, bytes and payload are counted for: "self", a named geometry such as "llama-2-7b", or the path of a config.json.
    pub cost_as: String,
    /// How FLOP are counted.
    pub flop_count: FlopCountName,
}

impl Default for ModelTable {
    fn default() -> Self {
        Self {
            source: "builtin".into(),
            corpus: "builtin".into(),
            window: WindowKind::Tokens,
            cost_as: "llama-2-7b".into(),
            flop_count: FlopCountName::Exact,
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["hybrid-reward", "hybrid-uncertainty", "early-exit", "query-router"]))]
pub enum ServiceModeName {
    /// Layers 1..p on the UE, the rest on the edge.
    #[default]
    Split,
    /// All layers on the UE; nothing is sent.
    DeviceOnly,
    /// All layers on the edge; the prompt's token ids are sent, and sent again until they arrive.
    EdgeOnly,
}

/// `[service]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTable {
    /// Where the model runs.
    pub mode: ServiceModeName,
}

/// Where perplexity comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["surrogate", "llm-then-surrogate"]))]
pub enum QualitySourceName {
    /// The real model, run on the tensor that the channel left.
    #[default]
    Llm,
    /// A table over split, loss probability and noise, as `splitwave profile` writes it.
    Table,
    /// None: latency and energy only.
    None,
}

/// `[quality]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QualityTable {
    /// Where perplexity comes from.
    pub source: QualitySourceName,
    /// CSV of the table, relative to the scenario file or the working directory: read by `source = "table"` and by the controllers "greedy" and "oracle". "builtin" is the profile of the built-in model under `reception = "equalised"`.
    pub table: Option<String>,
}

/// `[split]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SplitTable {
    /// Least split: layers that always run on the UE.
    #[schemars(range(min = 1))]
    pub min: u32,
    /// Largest split: a layer of the running model, or "all".
    pub max: SplitMax,
    /// The split before the first decision of an episode: a layer, or `{ min, max, draw }`. Default: `min`.
    pub initial: Option<Count>,
}

impl Default for SplitTable {
    fn default() -> Self {
        Self { min: 1, max: SplitMax::All, initial: None }
    }
}

/// Who moves the split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["ppo", "a2c", "dqn"]))]
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

/// What a learning controller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// σ.
    NoiseStd,
    /// σ_h.
    RayleighScale,
    /// P.
    LossProbability,
    /// The present split.
    Split,
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
    /// What a learning controller sees. None of the present kinds learns, so it plays no part yet, and a warning says so.
    pub observe: Option<Vec<Observed>>,
    /// Decisions per episode.
    #[schemars(range(min = 1))]
    pub steps_per_episode: u32,
}

impl Default for ControllerTable {
    fn default() -> Self {
        Self {
            name: None,
            kind: ControllerKind::Fixed,
            scope: ControllerScope::PerUe,
            action: ActionKind::Relative,
            moves: vec![-1, 0, 1],
            observe: None,
            steps_per_episode: 5,
        }
    }
}

/// The reward's formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(extend("x-planned" = ["weighted"]))]
pub enum RewardKind {
    /// `-(PPL + λ·C_UE(p)/C_UE(L))`, eq. (8), with PPL clipped at `ppl_cap`.
    #[default]
    #[serde(rename = "chen25-eq8")]
    Chen25Eq8,
    /// `a·(PPL_0 - PPL)/PPL_0 + b·(p_max - p)/p_max`, the gain clipped at -1.
    RelativeGain,
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
    /// a of "relative-gain".
    pub a: f64,
    /// b of "relative-gain".
    pub b: f64,
    /// p_max of "relative-gain".
    #[schemars(range(min = 1))]
    pub p_max: u32,
}

impl Default for RewardTable {
    fn default() -> Self {
        Self { kind: RewardKind::Chen25Eq8, lambda: 20.0, ppl_cap: None, a: 10.0, b: 1.0, p_max: 10 }
    }
}

/// `[output]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputTable {
    /// Whether requests.csv is written.
    pub requests: bool,
    /// Whether decisions.csv is written (split mode only).
    pub decisions: bool,
    /// Distance of the rows of series.csv \[s\]; 0 for no such file.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub sample_interval_s: f64,
}

impl Default for OutputTable {
    fn default() -> Self {
        Self { requests: true, decisions: true, sample_interval_s: 1.0 }
    }
}
