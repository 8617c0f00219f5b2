//! What learning costs: runs of Case A on the LLaMA-2-7B surface, on one thread.
//!
//! - 24,000 steps of PPO, A2C and DQN, the simulation around them included; the same with nobody
//!   learning; and the peak memory of the process after the PPO run (Linux).
//! - 1,000 UEs with a learner each against one UE, by steps per second, in interleaved rounds:
//!   400 steps and so one update of each of the 1,000 against 400,000 steps of the one.
//! - With `-- real`: 24,000 steps with real rewards of the built-in model (minutes) against the same with
//!   the surrogate of Algorithm 1 from the first epoch on.
//!
//! cargo bench --bench learning [-- ROUNDS | real]
//!
//! Against stable-baselines3 on the same environment: `.ci/full sb3`.

#![allow(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::run::runner::{Job, evaluation_pool};
use splitwave::run::signals::Interrupt;
use splitwave::scenario::{LoadedScenario, SetArg};

fn job(file: &str, sets: &[&str]) -> Job {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/chen25").join(file);
    let sets: Vec<SetArg> = sets.iter().map(|set| set.parse().expect("a key and a value")).collect();
    let loaded = LoadedScenario::salvage(&path, &sets).unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    let assembly = assemble(loaded, &mut Library::default()).unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    Job { assembly: Arc::new(assembly), seed: 1, replication: 0, command: String::new() }
}

/// Wall time of a run, and its decisions.
fn run(job: &Job, threads: usize) -> (f64, u64) {
    let pool = evaluation_pool(threads).expect("threads");
    let begun = Instant::now();
    let measured = job.run_in_memory(&pool, &Interrupt::default(), &mut |_| {}).expect("a run");
    (begun.elapsed().as_secs_f64(), measured.totals.progress.steps)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The process's largest resident size \[MB\].
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if argument.as_deref() == Some("real") {
        return real();
    }
    let rounds: usize = argument.and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let off = "evaluation.episodes=0";
    let ppo = job("case_a_ppo.toml", &[off]);
    let (_, steps) = run(&ppo, 1);
    println!("peak memory after {steps} steps of PPO: {:.1} MB", peak_mb().unwrap_or(f64::NAN));
    let kinds = [
        ("ppo", ppo),
        ("a2c", job("case_a_a2c.toml", &[off])),
        ("dqn", job("case_a_dqn.toml", &[off])),
        ("random", job("case_a_random.toml", &[])),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for ((_, job), times) in kinds.iter().zip(&mut times) {
            times.push(run(job, 1).0);
        }
    }
    println!("24,000 steps, one thread, least of {rounds} interleaved rounds:");
    for ((kind, _), times) in kinds.iter().zip(&times) {
        println!("  {kind:8} {:.3} s", least(times));
    }

    let one = job("case_a_ppo.toml", &[off, "stop.env_steps=400000"]);
    let many = job("case_a_ppo.toml", &[off, "stop.env_steps=400000", "ue.phone.count=1000"]);
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let ((alone, steps), (together, same)) = (run(&one, 1), run(&many, 1));
        ratios.push((same as f64 / together) / (steps as f64 / alone));
        println!("  {:.0} steps/s alone, {:.0} with 1,000 learners", steps as f64 / alone, same as f64 / together);
    }
    ratios.sort_by(f64::total_cmp);
    println!("1,000 learners against one, steps per second: median {:.2}", ratios[ratios.len() / 2]);
    println!("peak memory in the end: {:.1} MB", peak_mb().unwrap_or(f64::NAN));
}

/// Real rewards beside the surrogate's.
fn real() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let off = "evaluation.episodes=0";
    let truth = run(&job("builtin_a_ppo.toml", &[off]), threads).0;
    println!("24,000 steps with the built-in model's rewards: {truth:.1} s on {threads} threads");
    let file = "builtin_a_ppo_surrogate.toml";
    let algorithm = run(&job(file, &[off]), threads).0;
    println!("the same by Algorithm 1, 10,000 of them with the model: {algorithm:.1} s");
    let surrogate = run(&job("case_a_ppo_surrogate.toml", &[off]), 1).0;
    println!("24,000 steps with a surrogate's rewards only (case_a_ppo_surrogate): {surrogate:.2} s on one thread");
    println!("real over surrogate: {:.0}x", truth / surrogate);
}
