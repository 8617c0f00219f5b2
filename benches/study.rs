//! What a study costs beyond its simulations, and what a second core gives it.
//!
//! - Planning 100,000 runs of scenarios/quickstart.toml: as many points, and a tenth of them with ten
//!   replications each; and the most memory until then (Linux).
//! - 10,000 tiny runs: simulated in memory in a plain loop, and by `study run` on one thread
//!   (assembling, hashing, writing down), in five interleaved rounds; and collecting them.
//! - Equal runs with one thread and with two: the median of interleaved pairs.
//!
//! cargo bench --bench study [-- PAIRS]

#![allow(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

use std::path::Path;
use std::time::Instant;

use splitwave::run::inputs::Library;
use splitwave::run::runner::{Job, evaluation_pool};
use splitwave::run::signals::Interrupt;
use splitwave::study::Plan;
use splitwave::study::collect::collect;
use splitwave::study::folder::StudyFolder;
use splitwave::study::runner::{Keep, StudyOptions, run_study};
use splitwave::study::shard::Shard;

/// Nine requests or so: 0.1 ms.
const TINY: &str = r#"name = "tiny"
duration_s = 3.0
[quality]
source = "none"
[controller]
kind = "random"
[channel]
noise_std = { min = 0.3, max = 2.0, draw = "per-episode" }
[[ue]]
count = 3
workload = { rate_per_s = 1.0, prompt_tokens = 16 }
"#;

/// Some 20,000 requests: tens of milliseconds.
const EQUAL: &str = r#"name = "equal"
duration_s = 200.0
[quality]
source = "none"
[controller]
kind = "random"
[radio]
sharing = "ideal"
[[ue]]
count = 100
workload = { rate_per_s = 1.0, prompt_tokens = 8 }
[edge]
service_time = { law = "deterministic", mean_ms = 0.1 }
"#;

/// A study of `points` by `replications` over `scenario`, which any value of its axis leaves as quick as it is.
fn plan(folder: &Path, scenario: &str, points: usize, replications: usize) -> (Plan, Library) {
    std::fs::write(folder.join("base.toml"), scenario).expect("a base scenario");
    let axis: Vec<String> = (0..points).map(|point| format!("{}.0", 5 + point)).collect();
    let study = format!(
        "name = \"bench\"\nbase = \"base.toml\"\nreplications = {replications}\n[axes]\n\"radio.downlink_mbps\" = [{}]\n",
        axis.join(", ")
    );
    let path = folder.join("study.toml");
    std::fs::write(&path, study).expect("a study file");
    let mut library = Library::default();
    let plan = Plan::open(&path, &mut library).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan.runs(), points * replications);
    (plan, library)
}

/// Seconds for all runs of the plan, in a folder of their own.
fn study_s(plan: &Plan, library: &Library, threads: usize) -> f64 {
    let place = tempfile::tempdir().expect("a temporary folder");
    study_in(place.path(), plan, library, threads).0
}

/// Seconds for all runs of the plan in a folder.
fn study_in(place: &Path, plan: &Plan, library: &Library, threads: usize) -> (f64, StudyFolder) {
    let folder = StudyFolder::open(place, plan.name()).expect("a folder of the study");
    let options = StudyOptions {
        shard: Shard::WHOLE,
        threads,
        keep: Keep::Summary,
        max_failures: None,
        timeout: None,
        retries: 0,
        interrupt: Interrupt::new(),
        job: None,
    };
    let begun = Instant::now();
    let tally = run_study(plan, library, &folder, &options, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!((tally.done, tally.failed), (plan.runs(), 0));
    (seconds, folder)
}

/// Most memory of this process so far \[MB\], where the system says.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kb| kb / 1e3)
}

/// Seconds that the simulations alone take, one after the other.
fn plain_s(plan: &Plan, library: &Library) -> f64 {
    let mut library = library.clone();
    let replications = plan.replications();
    let first = (0..plan.points()).map(|point| {
        let job = plan.job(point * replications as usize, &mut library);
        job.unwrap_or_else(|error| panic!("{error}"))
    });
    let jobs: Vec<Job> =
        first.flat_map(|job| (0..replications).map(move |replication| Job { replication, ..job.clone() })).collect();
    let pool = evaluation_pool(1).expect("a thread");
    let begun = Instant::now();
    for job in &jobs {
        job.run_in_memory(&pool, &Interrupt::new(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    }
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

fn main() {
    let pairs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10u32);
    let place = tempfile::tempdir().expect("a temporary folder");

    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/quickstart.toml");
    let quickstart = std::fs::read_to_string(quickstart).expect("the scenario");
    for (points, replications) in [(10_000, 10), (100_000, 1)] {
        let begun = Instant::now();
        plan(place.path(), &quickstart, points, replications);
        let seconds = begun.elapsed().as_secs_f64();
        let peak = peak_mb().map(|peak| format!(", {peak:.0} MB")).unwrap_or_default();
        println!("planning {points} points of {replications}: {seconds:.2} s{peak} (at most 5 s and 300 MB wanted)");
    }

    let (tiny, library) = plan(place.path(), TINY, 1000, 10);
    let runs = tiny.runs() as f64;
    let rounds: Vec<(f64, f64)> = (0..5).map(|_| (plain_s(&tiny, &library), study_s(&tiny, &library, 1))).collect();
    let plain = median(rounds.iter().map(|round| round.0).collect());
    let overhead = median(rounds.iter().map(|round| (round.1 - round.0) / runs * 1e3).collect());
    println!("{runs} tiny runs, simulations alone:      {:.3} ms per run", plain / runs * 1e3);
    println!("study run beyond them, on one thread:  {overhead:.3} ms per run (median of 5; at most 3 wanted)");

    let kept = tempfile::tempdir().expect("a temporary folder");
    let (_, folder) = study_in(kept.path(), &tiny, &library, 1);
    let begun = Instant::now();
    let collected = collect(&tiny, &folder, &[]).unwrap_or_else(|error| panic!("{error}"));
    println!("collecting {} runs: {:.2} s (at most 5 wanted)", collected.done, begun.elapsed().as_secs_f64());

    let (equal, library) = plan(place.path(), EQUAL, 8, 4);
    study_s(&equal, &library, 2); // warm caches
    let gains = (0..pairs).map(|_| study_s(&equal, &library, 1) / study_s(&equal, &library, 2)).collect();
    println!(
        "{} equal runs, two threads against one: {:.2}x (median of {pairs} interleaved pairs; at least 1.8 wanted)",
        equal.runs(),
        median(gains)
    );
}
