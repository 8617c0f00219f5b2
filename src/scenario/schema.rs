//! The scenario file: one struct per table, every key with its default.
//!
//! The doc comments are the users' documentation: `splitwave schema` and
//! `docs/scenario.md` print them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::air::{ChannelKind, ChannelTable, RadioTable};
use crate::scenario::cells::{CellTable, HandoverTable, LinkName};
use crate::scenario::collaboration::CollaborationTable;
pub use crate::scenario::control::{
    ActionKind, ControllerKind, ControllerScope, ControllerTable, EvaluationTable, QualitySourceName, QualityTable,
    RewardKind, RewardTable,
};
use crate::scenario::device_table::DeviceTable;
use crate::scenario::nodes::{EdgeTable, UeTable};
use crate::scenario::replications::Replications;
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
    /// Independent repetitions, each in its own folder: so many, or until a mean is known well enough.
    #[serde(default)]
    pub replications: Replications,
    /// Stops arrivals early.
    #[serde(default)]
    pub stop: StopTable,
    /// The language model that runs, and the one that is paid for.
    #[serde(default)]
    pub model: ModelTable,
    /// Where the model runs.
    #[serde(default)]
    pub service: ServiceTable,
    /// Modes in which the UE asks the edge for some of its tokens, and generated text.
    #[serde(default)]
    pub collaboration: CollaborationTable,
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
    /// How policies that learn are evaluated: on fixed starts, with the learning held.
    #[serde(default)]
    pub evaluation: EvaluationTable,
    /// The radio channel of each UE. One `[channel]` serves all UEs; several `[[channel]]` are named and chosen by `[[ue]]`.
    #[serde(default)]
    pub channel: OneOrMany<ChannelTable>,
    /// The uplink that all UEs share, and the downlink.
    #[serde(default)]
    pub radio: RadioTable,
    /// Base stations, where the channel is cellular. One `[cell]` with a layout, or a `[[cell]]` each.
    #[serde(default)]
    pub cell: OneOrMany<CellTable>,
    /// Which cell serves a UE, and when it changes.
    #[serde(default)]
    pub handover: HandoverTable,
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
    /// Files of `[[device]]` tables, looked for beside the scenario file if they aren't in the working directory. Where names meet, the scenario's own devices come first, then the files in order, then the presets.
    #[serde(default)]
    pub device_files: Vec<String>,
    /// What stands in `device_files`; read with the scenario.
    #[serde(skip)]
    #[schemars(skip)]
    pub devices_of_files: Vec<DeviceTable>,
    /// Which files are written.
    #[serde(default)]
    pub output: OutputTable,
}

/// `model.source` of a scenario in which no model runs.
pub const NO_MODEL: &str = "none";

impl Scenario {
    /// Whether anything reads `quality.table`.
    pub fn reads_table(&self) -> bool {
        let yardstick = |table: &ControllerTable| table.kind.reads_table();
        let of_source = |source| matches!(source, QualitySourceName::Table | QualitySourceName::TableThenSurrogate);
        let source = of_source(self.quality.source) || (self.evaluates() && of_source(self.evaluation_source()));
        source || self.controller.tables().iter().any(yardstick) || self.evaluates()
    }

    /// Whether anything reads `quality.surrogate`: as a source, or without a table for what to expect.
    pub fn reads_surrogate(&self) -> bool {
        let asked = self.evaluates().then(|| self.evaluation_source());
        let expects = self.evaluates() || self.controller.tables().iter().any(|table| table.kind.reads_table());
        [Some(self.quality.source), asked].contains(&Some(QualitySourceName::Surrogate))
            || (expects && self.quality.table.is_none())
    }

    /// Whether channels follow from places.
    pub fn is_cellular(&self) -> bool {
        self.channel.tables().iter().any(|table| table.kind == ChannelKind::Cellular)
    }

    /// Whether cellular transmissions choose their rates by the CQI table.
    pub fn rates_by_cqi(&self) -> bool {
        self.radio.link.is_none_or(|link| link == LinkName::Cqi)
    }

    /// Whether anything runs the model.
    pub fn runs_model(&self) -> bool {
        let of = |source| matches!(source, QualitySourceName::Llm | QualitySourceName::LlmThenSurrogate);
        of(self.quality.source) || (self.evaluates() && of(self.evaluation_source()))
    }

    /// Whether the run ends with evaluations: somebody could learn, and episodes are asked for.
    pub fn evaluates(&self) -> bool {
        let learners = self.controller.tables().iter().any(|table| table.kind.is_learner());
        learners
            && self.evaluation.episodes > 0
            && self.service.mode == ServiceModeName::Split
            && !self.generates_text()
    }

    /// Whether anybody learns during the run.
    pub fn learns(&self) -> bool {
        self.service.mode == ServiceModeName::Split && self.controller.tables().iter().any(ControllerTable::learns)
    }

    /// Where perplexity comes from in evaluations.
    pub fn evaluation_source(&self) -> QualitySourceName {
        self.evaluation.source.unwrap_or(match self.quality.source {
            QualitySourceName::LlmThenSurrogate => QualitySourceName::Llm,
            QualitySourceName::TableThenSurrogate => QualitySourceName::Table,
            source => source,
        })
    }
}

fn one() -> u64 {
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
    /// The model that runs: "builtin", "none" (quality comes from elsewhere, and splits count the layers of `cost_as`), or the path of a Hugging Face directory (config.json, tokenizer.json, and model.safetensors or its shards with model.safetensors.index.json) or of a .gguf file.
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
pub enum ServiceModeName {
    /// Layers 1..p on the UE, the rest on the edge.
    #[default]
    Split,
    /// All layers on the UE; nothing is sent.
    DeviceOnly,
    /// All layers on the edge; the prompt's token ids are sent, and sent again until they arrive.
    EdgeOnly,
    /// A small model on the UE proposes each token; if its score is below a threshold, the edge is asked for the token instead (MS et al., arXiv 2409.13757).
    HybridReward,
    /// A small model on the UE proposes each token; if it is unsure, its distribution goes to the edge, which accepts the token or puts another in its place (U-HLM, arXiv 2412.12687; with `top_k` CU-HLM, arXiv 2505.11788).
    HybridUncertainty,
    /// The first layers and an exit behind them on the UE, whose states go to the edge as they come; if the exit is unsure, the edge runs the other layers (CE-CoLLM, arXiv 2411.02829).
    EarlyExit,
    /// Each request as a whole: on the UE by its small model, or on the edge, by a score of its prompt (SelectLLM, SMART).
    QueryRouter,
}

/// Where the tokens behind a prompt come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextName {
    /// They are those of the corpus, and the model is scored on them.
    Corpus,
    /// The model chooses them, and the large model scores what was chosen.
    Generated,
}

/// `[service]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTable {
    /// Where the model runs.
    pub mode: ServiceModeName,
    /// Where the tokens behind a prompt come from. Default: "generated" in the modes in which tokens decide what happens next ("hybrid-reward", "hybrid-uncertainty", "early-exit", "query-router"), otherwise "corpus". With "generated" the model of mode "device-only" is `collaboration.device_model`, so that the modes can be compared.
    pub text: Option<TextName>,
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

/// `[output]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "one for each file")]
pub struct OutputTable {
    /// Whether requests.csv is written.
    pub requests: bool,
    /// Whether decisions.csv is written (split mode only).
    pub decisions: bool,
    /// Whether updates.csv is written (where a controller learns).
    pub updates: bool,
    /// Whether tokens.csv is written (where text is generated): one row per token.
    pub tokens: bool,
    /// Distance of the rows of series.csv \[s\]; 0 for no such file.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub sample_interval_s: f64,
}

impl Default for OutputTable {
    fn default() -> Self {
        Self { requests: true, decisions: true, updates: true, tokens: false, sample_interval_s: 1.0 }
    }
}
