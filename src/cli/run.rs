//! `splitwave run`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::failure::Failure;
use crate::cli::progress::Display;
use crate::cli::{Sets, assemble, parse_threads, print, quoted, table, threads};
use crate::run::assembly::Assembly;
use crate::run::inputs::Library;
use crate::run::runner::{Job, RunError, RunNews, RunOptions, RunOutcome, run_all};
use crate::run::signals::Interrupt;

#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// Scenario files.
    #[arg(required = true, value_name = "SCENARIO.toml")]
    scenarios: Vec<PathBuf>,
    /// Folder of results: each run gets `OUT/<scenario name>/<run id>/`.
    #[arg(long, short, default_value = "results")]
    out: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Seed, instead of the scenario's.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Replications, instead of the scenario's.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    replications: Option<u32>,
    /// Threads for runs and model evaluations. Default: all cores. Does not change any result.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_threads)]
    threads: Option<usize>,
    /// No progress and no table; errors only.
    #[arg(long, short)]
    quiet: bool,
    /// Run again even if the results are there; the old ones are moved aside.
    #[arg(long)]
    force: bool,
}

pub fn run(args: RunArgs) -> Result<(), Failure> {
    let mut library = Library::default();
    let mut failures = Vec::new();
    let mut jobs: Vec<Job> = Vec::new();
    for path in &args.scenarios {
        match assemble(path, &args.sets, &mut library, args.quiet) {
            Ok(assembly) => jobs.extend(replications(&args, path, assembly)),
            Err(failure) => failures.push(failure),
        }
    }
    // Wrong input stops everything before anything has run.
    if !failures.is_empty() {
        return Err(Failure::join(failures));
    }
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let options = RunOptions { out: args.out, force: args.force, threads: threads(args.threads), interrupt };

    // The same run asked for twice is one run.
    let mut seen = BTreeSet::new();
    jobs.retain(|job| seen.insert((job.assembly.scenario.name.clone(), job.run_id())));

    let mut display = Display::new(&jobs, args.quiet);
    let mut errors: Vec<(usize, RunError)> = Vec::new();
    let mut finished: Vec<(usize, RunOutcome)> = Vec::new();
    run_all(&jobs, &options, &mut |news| match news {
        RunNews::Progress { job, progress } => display.progress(job, &progress),
        RunNews::Ended { job, result } => {
            display.ended(job, result.as_ref());
            match result {
                Ok(outcome) => finished.push((job, outcome)),
                Err(error) => errors.push((job, error)),
            }
        }
    })
    .map_err(|error| Failure::from(&error))?;
    display.close();
    finished.sort_by_key(|&(job, _)| job);
    if !args.quiet {
        print(&table::results(&jobs, &finished))?;
    }
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort_by_key(|&(job, _)| job);
    let errors: Vec<RunError> = errors.into_iter().map(|(_, error)| error).collect();
    // After an interrupt, the runs that were never begun need no line each.
    let begun = |error: &&RunError| !matches!(error, RunError::Interrupted { partial: None, .. });
    let told: Vec<Failure> = errors.iter().filter(begun).map(Failure::from).collect();
    Err(if told.is_empty() { Failure::from(&errors[0]) } else { Failure::join(told) })
}

/// The jobs of one scenario.
fn replications(args: &RunArgs, path: &Path, assembly: Assembly) -> Vec<Job> {
    let seed = args.seed.unwrap_or(assembly.scenario.seed);
    let count = args.replications.unwrap_or(assembly.scenario.replications);
    let assembly = Arc::new(assembly);
    let mut command =
        format!("splitwave run {} --seed {seed} --replications {count}", quoted(&path.display().to_string()));
    args.sets.append_to(&mut command);
    (0..count)
        .map(|replication| Job { assembly: assembly.clone(), seed, replication, command: command.clone() })
        .collect()
}
