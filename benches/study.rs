//! What `study run` costs beyond the simulation, and what a second core gives it.
//!
//! - 10,000 tiny runs: simulated in memory in a plain loop, and by `study run` on one thread
//!   (assembling, hashing, writing down), in five interleaved rounds.
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
    let folder = StudyFolder::open(place.path(), plan.name()).expect("a folder of the study");
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
    seconds
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

    let begun = Instant::now();
    let (tiny, library) = plan(place.path(), TINY, 100, 100);
    println!("planning {} runs: {:.2} s", tiny.runs(), begun.elapsed().as_secs_f64());
    let runs = tiny.runs() as f64;
    let rounds: Vec<(f64, f64)> = (0..5).map(|_| (plain_s(&tiny, &library), study_s(&tiny, &library, 1))).collect();
    let plain = median(rounds.iter().map(|round| round.0).collect());
    let overhead = median(rounds.iter().map(|round| (round.1 - round.0) / runs * 1e3).collect());
    println!("{runs} tiny runs, simulations alone:      {:.3} ms per run", plain / runs * 1e3);
    println!("study run beyond them, on one thread:  {overhead:.3} ms per run (median of 5; at most 3 wanted)");

    let (equal, library) = plan(place.path(), EQUAL, 8, 4);
    study_s(&equal, &library, 2); // warm caches
    let gains = (0..pairs).map(|_| study_s(&equal, &library, 1) / study_s(&equal, &library, 2)).collect();
    println!(
        "{} equal runs, two threads against one: {:.2}x (median of {pairs} interleaved pairs; at least 1.8 wanted)",
        equal.runs(),
        median(gains)
    );
}
