//! What a run was: the page that comes last into its folder.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::record::FileSeal;
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
    /// Content hashes of the inputs.
    pub inputs: BTreeMap<String, String>,
    /// The resolved scenario.
    pub scenario: Value,
    /// The numbers behind the names of devices and of the cost geometry.
    pub resolved: Value,
    /// The files of the run.
    pub files: Vec<FileSeal>,
    #[serde(skip)]
    clock: Instant,
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
            commit: option_env!("SPLITWAVE_COMMIT").filter(|commit| !commit.is_empty()),
            dirty: option_env!("SPLITWAVE_DIRTY").and_then(|dirty| dirty.parse().ok()),
            command,
            started_at: utc(wall_clock()),
            wall_s: 0.0,
            host: host_name(),
            threads: 1,
            instruction_set: instruction_set(),
            counts: BTreeMap::new(),
            inputs: BTreeMap::new(),
            scenario,
            resolved: Value::Null,
            files: Vec::new(),
            clock: stopwatch(),
        }
    }

    /// Of a run that ends now with `files`.
    pub fn complete(mut self, files: Vec<FileSeal>) -> Self {
        self.wall_s = self.clock.elapsed().as_secs_f64();
        self.files = files;
        self
    }
}

#[expect(clippy::disallowed_methods, reason = "the manifest says when a run was made; no result reads it")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "the manifest says how long a run took; no result reads it")]
fn stopwatch() -> Instant {
    Instant::now()
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

fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter();
    files
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .chain(["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| std::env::var(name).ok()))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
}

/// A wall-clock time as RFC 3339 in UTC, to the second.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the proleptic Gregorian calendar, from days since
/// 1970-01-01: Hinnant, "chrono-compatible low-level date algorithms", with years
/// that begin in March, so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_0000_03_01_TO_EPOCH: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let days = days + DAYS_0000_03_01_TO_EPOCH;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_instants() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
