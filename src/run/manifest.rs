//! What a run was: the page that comes last into its folder.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::record::FileSeal;
use crate::run::clock::{Stopwatch, utc_now};
use crate::run::identity::RESULTS_VERSION;

/// Version of the manifest's own layout. Keys are only added; a key that changes
/// its meaning raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// `manifest.json`: everything that varies from run to run of the same results
/// lives here, and here only.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// [`RESULTS_VERSION`].
    pub results_version: u32,
    /// Name of the scenario.
    pub name: String,
    /// Run id.
    pub run_id: String,
    /// Seed.
    pub seed: u64,
    /// Number of the replication.
    pub replication: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Commit that the program was built from; null where the build didn't know.
    pub commit: Option<&'static str>,
    /// Whether the sources differed from that commit; null where the build didn't know.
    pub dirty: Option<bool>,
    /// The command that runs it again.
    pub command: String,
    /// Start by the wall clock, UTC, as RFC 3339 has it.
    pub started_at: String,
    /// Wall time that the run took \[s\].
    pub wall_s: f64,
    /// Name of the machine, if it has one.
    pub host: Option<String>,
    /// Threads given to the run.
    pub threads: usize,
    /// Instruction-set level of the machine: floating-point kernels may differ
    /// between levels in the last bits.
    pub instruction_set: &'static str,
    /// Counts of what happened: events, requests, and so on.
    pub counts: BTreeMap<String, u64>,
    /// What its user should know of it, in sentences.
    pub remarks: Vec<String>,
    /// Content hashes of the inputs.
    pub inputs: BTreeMap<String, String>,
    /// The resolved scenario.
    pub scenario: Value,
    /// The numbers behind the names of devices and of the cost geometry.
    pub resolved: Value,
    /// The files of the run.
    pub files: Vec<FileSeal>,
    #[serde(skip)]
    clock: Stopwatch,
}

impl Manifest {
    /// Of a run that starts now; the program and the machine are filled in.
    /// `scenario` is the resolved one, `command` the one that runs it again.
    pub fn start(scenario: Value, run_id: String, seed: u64, replication: u32, command: String) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            results_version: RESULTS_VERSION,
            name: scenario.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            run_id,
            seed,
            replication,
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            dirty: dirty(),
            command,
            started_at: utc_now(),
            wall_s: 0.0,
            host: host_name(),
            threads: 1,
            instruction_set: instruction_set(),
            counts: BTreeMap::new(),
            remarks: Vec::new(),
            inputs: BTreeMap::new(),
            scenario,
            resolved: Value::Null,
            files: Vec::new(),
            clock: Stopwatch::start(),
        }
    }

    /// Of a run that ends now with `files`.
    pub fn complete(mut self, files: Vec<FileSeal>) -> Self {
        self.wall_s = self.clock.seconds();
        self.files = files;
        self
    }
}

/// The commit that the program was built from; `None` where the build didn't know.
pub fn commit() -> Option<&'static str> {
    option_env!("SPLITWAVE_COMMIT").filter(|commit| !commit.is_empty())
}

/// Whether the sources differed from that commit; `None` where the build didn't know.
pub fn dirty() -> Option<bool> {
    option_env!("SPLITWAVE_DIRTY").and_then(|dirty| dirty.parse().ok())
}

/// The level of the machine's instruction set: `x86-64-v1` to `x86-64-v4` by the
/// x86-64 psABI's micro-architecture levels, elsewhere the name of the architecture.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let v2 = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt");
        let v2 = v2 && has!("cmpxchg16b");
        let v3 = v2 && has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c");
        let v3 = v3 && has!("fma") && has!("lzcnt") && has!("movbe");
        let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq");
        let v4 = v4 && has!("avx512vl");
        match (v2, v3, v4) {
            (_, _, true) => "x86-64-v4",
            (_, true, _) => "x86-64-v3",
            (true, ..) => "x86-64-v2",
            _ => "x86-64-v1",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}

/// Name of the machine, if it has one.
pub fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter();
    files
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .chain(["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| std::env::var(name).ok()))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
}
