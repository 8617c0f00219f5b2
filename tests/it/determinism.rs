//! One scenario and seed give the same bytes at any number of threads, with any
//! company, in any order of jobs; and no policy or neighbour moves what it meets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use splitwave::channel::{Fading, FadingModel, Link, Moment};
use splitwave::kernel::Streams;
use splitwave::network::rows::Outcome;
use splitwave::run::assembly::Assembly;
use splitwave::run::runner::{Job, RunNews, RunOptions, RunOutcome, run_all};
use splitwave::run::signals::Interrupt;

use crate::network_support::{DEVICES, Finished, Row, assembly, check, lottery, simulate};

/// Prompts of 16 tokens through the real model, with deadlines and losses.
fn scenario(name: &str, edge: &str) -> Arc<Assembly> {
    Arc::new(assembly(&format!(
        "name = \"{name}\"
duration_s = 60.0
stop = {{ requests = 24 }}
[split]
initial = {{ min = 1, max = 6, draw = \"per-episode\" }}
[controller]
kind = \"random\"
[channel]
noise_std = {{ min = 0.3, max = 2.0, draw = \"per-episode\" }}
loss_probability = {{ min = 0.0, max = 0.3, walk_per_sqrt_s = 0.05 }}
[[ue]]
name = \"phone\"
device = \"phone\"
count = 4
deadline_ms = 150.0
queue_capacity = 1
workload = {{ rate_per_s = 3.0, prompt_tokens = 16 }}
[edge]
device = \"server\"
{edge}
[output]
sample_interval_s = 0.5
{DEVICES}"
    )))
}

/// Two scenarios, one with a further replication, one with a further seed.
fn jobs() -> Vec<Job> {
    let (ps, batch) = (scenario("ps", "discipline = \"ps\""), scenario("batch", "discipline = \"batch\""));
    let job = |assembly: &Arc<Assembly>, seed, replication| Job {
        assembly: Arc::clone(assembly),
        seed,
        replication,
        command: String::new(),
    };
    vec![job(&ps, 1, 0), job(&ps, 1, 1), job(&batch, 1, 0), job(&batch, 2, 0)]
}

/// CSV files of each run, by its id.
type Results = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

fn results(jobs: &[Job], threads: usize) -> Results {
    let out = tempfile::tempdir().expect("a folder");
    let options = RunOptions { out: out.path().to_owned(), force: false, threads, interrupt: Interrupt::new() };
    let mut results = Results::new();
    run_all(jobs, &options, &mut |news| {
        if let RunNews::Ended { job, result } = news {
            let RunOutcome::Finished { path: folder, .. } = result.expect("a run") else {
                panic!("an empty folder has no results")
            };
            let mut files = BTreeMap::new();
            for entry in std::fs::read_dir(&folder).expect("the run's folder") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "csv") {
                    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                    files.insert(name, std::fs::read(&path).expect("a file"));
                }
            }
            results.insert(jobs[job].run_id(), files);
        }
    })
    .expect("threads");
    results
}

#[test]
fn neither_threads_nor_order_change_a_byte() {
    let jobs = jobs();
    let alone = results(&jobs, 1);
    assert_eq!(alone.len(), jobs.len());
    for files in alone.values() {
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["decisions.csv", "requests.csv", "series.csv", "summary.csv"]);
        let requests = String::from_utf8_lossy(&files["requests.csv"]);
        assert_eq!(requests.lines().count(), 25);
        assert!(requests.contains(",completed") && requests.contains(",llm,"));
    }
    for threads in [2, 7] {
        assert!(results(&jobs, threads) == alone, "{threads} threads");
    }
    let reversed: Vec<Job> = jobs.iter().rev().cloned().collect();
    assert!(results(&reversed, 2) == alone, "reversed");
    assert!(results(&jobs[3..4], 7).iter().all(|(id, files)| alone[id] == *files), "alone");
    // Replications and seeds differ.
    let requests: BTreeSet<&Vec<u8>> = alone.values().map(|files| &files["requests.csv"]).collect();
    assert_eq!(requests.len(), jobs.len());
}

/// What no policy and no other group may move: by phone, in order of arrival.
fn fate(finished: &Finished) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let mut rows = finished.by_arrival();
    rows.retain(|row| row.ue_id < 3);
    rows.sort_by_key(|row| row.ue_id);
    let fate = |row: &Row| {
        (
            (row.ue_id, row.arrival_s, row.window, row.prompt_tokens),
            (row.noise_std, row.loss_probability, row.edge_compute_s.filter(|_| row.outcome == Outcome::Completed)),
        )
    };
    rows.iter().map(fate).collect()
}

#[test]
fn policies_and_neighbours_meet_the_same_fate() {
    let seeded = |text: &str, seed, replication| {
        let assembly = assembly(text);
        let finished = simulate(&assembly, seed, replication);
        check(&assembly, &finished);
        finished
    };
    // Nothing is lost here, so every request gets to the edge.
    let calm = |text: String| text.replace("max = 0.2", "max = 0.0");
    let fixed = seeded(&calm(lottery("fixed", "")), 1, 0);
    let random = seeded(&calm(lottery("random", "")), 1, 0);
    assert!(fixed.rows.len() > 15);
    assert_eq!(fate(&fixed), fate(&random));
    let splits = |finished: &Finished| finished.by_arrival().iter().map(|row| row.split).collect::<Vec<_>>();
    assert_ne!(splits(&fixed), splits(&random));
    let neighbours = "[[ue]]\nname = \"tablet\"\ncount = 2\nworkload = { rate_per_s = 2.0, prompt_tokens = 9 }";
    let crowd = seeded(&calm(lottery("fixed", neighbours)), 1, 0);
    assert!(crowd.rows.len() > fixed.rows.len());
    assert_eq!(fate(&fixed), fate(&crowd));
    for (seed, replication) in [(2, 0), (1, 1)] {
        let other = seeded(&calm(lottery("fixed", "")), seed, replication);
        assert_ne!(fate(&fixed), fate(&other));
        assert_ne!(fixed.rows[0].arrival_s, other.rows[0].arrival_s);
    }
    // On an ideal radio all packets cross at the end of the UE's part.
    for policy in ["fixed", "random"] {
        for row in &seeded(&lottery(policy, ""), 1, 0).rows {
            let at = row.arrival_s + row.ue_wait_s.unwrap() + row.ue_compute_s.unwrap();
            let fading =
                Fading::new(&FadingModel::Rayleigh { sinusoids: 32 }, &Streams::new(1, 0), Link::of_ue(row.ue_id))
                    .expect("32");
            let gain = fading.envelope(Moment::at(at.as_secs_f64(), 10.0));
            assert!((row.mean_gain.unwrap() - gain).abs() < 1e-6, "{row:#?}");
        }
    }
}
