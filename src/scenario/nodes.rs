//! Tables of what computes: UEs with their workloads, the edge, devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::cells::MobilityTable;
use crate::scenario::values::Count;

/// `[[ue]]`: a group of alike user equipments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UeTable {
    /// Name of the group: letters, digits, `-` and `_`.
    pub name: String,
    /// UEs in the group.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u32,
    /// Their processor: a preset or a `[[device]]`.
    pub device: String,
    /// Requests that may wait at a UE, not counting the one in service; a further one is dropped. Default: any number.
    pub queue_capacity: Option<u32>,
    /// Time from arrival to result \[ms\] after which a request is cancelled. Default: none.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub deadline_ms: Option<f64>,
    /// Charge of each UE's battery at the start \[J\]: milliampere-hours times volts times 3.6 (5000 mAh at 3.85 V are 69300 J). It pays for computing, sending, and waiting (`device.idle_power_w`, `radio.sleep_power_units`); a UE without charge is off: what it has under way is an `outage`, what arrives later is `dropped`. Default: no battery.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub battery_j: Option<f64>,
    /// Name of a `[[channel]]`. Default: the only one.
    pub channel: Option<String>,
    /// Name of a `[[controller]]`. Default: the only one.
    pub controller: Option<String>,
    /// Share of a cell's airtime that a flow of theirs gets, relative to others. Only for `radio.sharing = "flow-ps"`.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Where they are, in a cellular channel.
    pub mobility: MobilityTable,
    /// What they ask for.
    pub workload: WorkloadTable,
}

impl Default for UeTable {
    fn default() -> Self {
        Self {
            name: "ue".into(),
            count: 1,
            device: "snapdragon-8-gen-2".into(),
            queue_capacity: None,
            deadline_ms: None,
            battery_j: None,
            channel: None,
            controller: None,
            weight: 1,
            mobility: MobilityTable::default(),
            workload: WorkloadTable::default(),
        }
    }
}

/// When requests arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Independent exponential gaps of mean 1/`rate_per_s`.
    #[default]
    Poisson,
    /// A Poisson process whose rate switches between the two `rates_per_s`, after exponential stays of mean `sojourns_s` (MMPP-2).
    Mmpp,
    /// Poisson arrivals at `rate_per_s` in exponential times of mean `on_s`, none in those of mean `off_s` between.
    OnOff,
    /// Independent gaps of a Gamma law with mean 1/`rate_per_s` and `shape` or `cv`.
    Gamma,
    /// Independent gaps of a Weibull law with mean 1/`rate_per_s` and `shape` or `cv`.
    Weibull,
    /// Equal gaps of 1/`rate_per_s`; the UEs of a group are staggered evenly.
    Deterministic,
    /// The next request an exponential think time after the last one ended.
    ClosedLoop,
    /// Arrivals of a CSV file, dealt to the UEs of the group in turn.
    Trace,
}

/// `[ue.workload]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkloadTable {
    /// When requests arrive.
    pub kind: WorkloadKind,
    /// "poisson", "deterministic", "gamma", "weibull": requests per second of each UE; "on-off": while it is on. With `turns`: conversations. Default: 0.1.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub rate_per_s: Option<f64>,
    /// "mmpp": requests per second of each UE in the first and in the second state, such as `[2.0, 0.1]`; one may be 0.
    pub rates_per_s: Option<[f64; 2]>,
    /// "mmpp": mean time in the first and in the second state \[s\].
    pub sojourns_s: Option<[f64; 2]>,
    /// "on-off": mean time that a UE is on \[s\].
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub on_s: Option<f64>,
    /// "on-off": mean time that a UE is off \[s\].
    #[schemars(range(min = 1e-6, max = 1e9))]
    pub off_s: Option<f64>,
    /// "gamma", "weibull": shape of the law of gaps; 1 is exponential, below 1 is burstier.
    #[schemars(range(min = 0.001, max = 10_000))]
    pub shape: Option<f64>,
    /// "gamma", "weibull": instead of `shape` the coefficient of variation of gaps, standard deviation over mean; 1 is exponential, above 1 is burstier.
    #[schemars(range(min = 0.01, max = 30))]
    pub cv: Option<f64>,
    /// "closed-loop": mean think time \[s\]; with `turns`: mean time from an answer to the next prompt of a conversation. Default: 1.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub think_time_s: Option<f64>,
    /// "trace": CSV file sorted by time with the columns `arrival_s, prompt_tokens` and maybe `output_tokens`; or as the Azure LLM inference traces (`TIMESTAMP, ContextTokens, GeneratedTokens`), BurstGPT (`Timestamp, Request tokens, Response tokens`) or Vidur (`arrived_at, num_prefill_tokens, num_decode_tokens`) have them. Times of Azure and BurstGPT count from the file's first row; rows without an answer are left out.
    pub path: Option<String>,
    /// "trace": first second of the trace that is replayed, as time 0. Default: 0.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub trace_from_s: Option<f64>,
    /// "trace": the replay ends before this second of the trace. Default: its end.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub trace_to_s: Option<f64>,
    /// "trace": factor of all gaps; 2 halves the load. Default: 1.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub trace_scale: Option<f64>,
    /// Tokens of a prompt: a number, or `{ min, max, draw = "per-request" }`.
    pub prompt_tokens: Count,
    /// Instead of `prompt_tokens` and `output_tokens`: a trace, of any kind that `path` reads, from whose rows each request draws its pair of numbers, with replacement.
    pub tokens_from: Option<String>,
    /// "trace", or with `tokens_from`: longer prompts are cut to so many tokens. Default: none is.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_prompt_tokens: Option<u32>,
    /// "trace", or with `tokens_from`: of more tokens asked for, only so many are. Default: all.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_output_tokens: Option<u32>,
    /// Tokens asked for; with more than one a request is a session that sends a row for each further token. A trace with this column brings its own.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub output_tokens: u32,
    /// Requests come in conversations of so many turns: a number, or `{ min, max, draw = "per-request" }`, drawn for each conversation. A turn's prompt holds all earlier prompts and answers, and its own `prompt_tokens`; a turn that fails is the last. Default: requests are alone.
    pub turns: Option<Count>,
    /// With `turns`: longest prompt; of more, what was said first is forgotten. Default: 16777216, the longest that there is.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_context_tokens: Option<u32>,
}

impl WorkloadTable {
    /// Requests per second of each UE where the scenario says none.
    pub const RATE_PER_S: f64 = 0.1;
    /// Most tokens of a session.
    pub const MOST_OUTPUT_TOKENS: u32 = 1_000_000;
    /// Most tokens of a prompt.
    pub const MOST_PROMPT_TOKENS: u32 = 1 << 24;
    /// Most turns of a conversation.
    pub const MOST_TURNS: u32 = 100_000;
    /// Mean think time where the scenario says none \[s\].
    pub const THINK_TIME_S: f64 = 1.0;
}

impl Default for WorkloadTable {
    fn default() -> Self {
        Self {
            kind: WorkloadKind::Poisson,
            rate_per_s: None,
            rates_per_s: None,
            sojourns_s: None,
            on_s: None,
            off_s: None,
            shape: None,
            cv: None,
            think_time_s: None,
            path: None,
            trace_from_s: None,
            trace_to_s: None,
            trace_scale: None,
            prompt_tokens: Count::Number(64),
            tokens_from: None,
            max_prompt_tokens: None,
            max_output_tokens: None,
            output_tokens: 1,
            turns: None,
            max_context_tokens: None,
        }
    }
}

/// How the edge serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisciplineName {
    /// First come, first served.
    #[default]
    Fifo,
    /// Processor sharing: all requests at once, each at an equal part of the speed.
    Ps,
    /// Batches of up to `max_batch`; weights are read once per batch.
    Batch,
}

/// The law of a synthetic service time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceLawName {
    /// Always the mean.
    Deterministic,
    /// Exponential.
    #[default]
    Exponential,
}

/// `[edge.service_time]`: replaces the device's times, for studies of the queues alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTimeTable {
    /// Its law.
    #[serde(default)]
    pub law: ServiceLawName,
    /// Its mean \[ms\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub mean_ms: f64,
}

/// `[edge]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeTable {
    /// Its processor: a preset or a `[[device]]`.
    pub device: String,
    /// How it serves.
    pub discipline: DisciplineName,
    /// "fifo": servers, each with the device's speed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub servers: u32,
    /// "batch": most requests in a batch.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_batch: u32,
    /// "batch": longest time that a request waits for company while the server is idle \[ms\].
    #[schemars(range(min = 0.0, max = 1e12))]
    pub max_wait_ms: f64,
    /// Synthetic service times instead of the device's.
    pub service_time: Option<ServiceTimeTable>,
}

impl Default for EdgeTable {
    fn default() -> Self {
        Self {
            device: "l4".into(),
            discipline: DisciplineName::Fifo,
            servers: 1,
            max_batch: 8,
            max_wait_ms: 5.0,
            service_time: None,
        }
    }
}
