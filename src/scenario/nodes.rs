//! Tables of what computes: UEs with their workloads, the edge, devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// "poisson", "deterministic": requests per second of each UE. Default: 0.1.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub rate_per_s: Option<f64>,
    /// "closed-loop": mean think time \[s\]. Default: 1.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub think_time_s: Option<f64>,
    /// "trace": CSV with the columns `arrival_s, prompt_tokens` and maybe `output_tokens`, sorted by time.
    pub path: Option<String>,
    /// Tokens of a prompt: a number, or `{ min, max, draw = "per-request" }`.
    pub prompt_tokens: Count,
    /// Tokens asked for; with more than one a request is a session that sends a row for each further token. A trace with this column brings its own.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub output_tokens: u32,
}

impl WorkloadTable {
    /// Requests per second of each UE where the scenario says none.
    pub const RATE_PER_S: f64 = 0.1;
    /// Most tokens of a session.
    pub const MOST_OUTPUT_TOKENS: u32 = 1_000_000;
    /// Mean think time where the scenario says none \[s\].
    pub const THINK_TIME_S: f64 = 1.0;
}

impl Default for WorkloadTable {
    fn default() -> Self {
        Self {
            kind: WorkloadKind::Poisson,
            rate_per_s: None,
            think_time_s: None,
            path: None,
            prompt_tokens: Count::Number(64),
            output_tokens: 1,
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
