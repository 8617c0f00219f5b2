//! What a second core gives: quickstart (the model in the loop) with one thread
//! and with two, and two scenarios one after the other and side by side. Medians
//! of interleaved pairs.
//!
//! cargo bench --bench parallel [-- PAIRS]

#![allow(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::run::runner::{Job, RunNews, RunOptions, run_all};
use splitwave::run::signals::Interrupt;
use splitwave::scenario::LoadedScenario;

/// Seconds for the jobs with so many threads.
fn seconds(jobs: &[Job], threads: usize) -> f64 {
    let out = tempfile::tempdir().expect("a temporary folder");
    let options = RunOptions { out: out.path().to_owned(), force: false, threads, interrupt: Interrupt::new() };
    let begun = Instant::now();
    run_all(jobs, &options, &mut |news| {
        if let RunNews::Ended { result, .. } = news {
            result.map(|_| ()).expect("a run that finishes");
        }
    })
    .expect("threads");
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

fn main() {
    let pairs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10u32);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/quickstart.toml");
    let loaded = LoadedScenario::open(&path, &[]).unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    let assembly = assemble(loaded, &mut Library::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let assembly = Arc::new(assembly);
    let job = |seed: u64| Job { assembly: assembly.clone(), seed, replication: 0, command: String::new() };
    let one = [job(1)];
    let two = [job(1), job(2)];
    seconds(&one, 1); // warm caches
    let (mut in_one, mut side_by_side) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        in_one.push(seconds(&one, 1) / seconds(&one, 2));
        side_by_side.push(seconds(&two, 1) / seconds(&two, 2));
    }
    println!("medians of {pairs} interleaved pairs, two threads against one");
    println!("quickstart, requests/s:                  {:.2}x", median(in_one));
    println!("two scenarios side by side, requests/s:  {:.2}x", median(side_by_side));
}
