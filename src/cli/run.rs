//! `splitwave run`

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::failure::Failure;
use crate::cli::progress::Display;
use crate::cli::{Sets, assemble, parse_threads, print, quoted, table, tell, threads};
use crate::run::assembly::Assembly;
use crate::run::inputs::Library;
use crate::run::runner::{Job, RunError, RunNews, RunOptions, RunOutcome, run_all};
use crate::run::sequential::{Sequential, Standing, Verdict};
use crate::run::signals::Interrupt;
use crate::run::wording::{counted, three_digits, with_causes};
use crate::scenario::replications::Replications;

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
    /// Replications, instead of the scenario's number or goal.
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

/// The replications of one scenario: those that were dealt, and what says whether there are more.
struct Series {
    /// Any of them; they differ in their numbers.
    job: Job,
    /// Absent for a number that is fixed.
    rule: Option<Sequential>,
    dealt: u32,
    /// How many there shall be, as far as is known.
    wanted: u32,
    /// The figures that the rule judges, in the order of replications.
    figures: Vec<Option<f64>>,
    standing: Option<Standing>,
}

/// A run by the folder that it has.
type Key = (String, String);

pub fn run(args: RunArgs) -> Result<(), Failure> {
    let mut library = Library::default();
    let mut failures = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    for path in &args.scenarios {
        match assemble(path, &args.sets, &mut library, args.quiet).and_then(|made| Series::new(&args, path, made)) {
            Ok(made) => series.push(made),
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

    // By series and replication, and by the folder: the same run asked for twice is one run.
    let mut errors: Vec<((usize, u32), RunError)> = Vec::new();
    let mut finished: Vec<((usize, u32), (Job, RunOutcome))> = Vec::new();
    let mut seen: BTreeMap<Key, Option<PathBuf>> = BTreeMap::new();
    while series.iter().any(|series| series.dealt < series.wanted) {
        let (mut places, mut jobs) = (Vec::new(), Vec::new());
        for (index, series) in series.iter_mut().enumerate() {
            for job in series.deal() {
                if let Entry::Vacant(new) = seen.entry(key(&job)) {
                    new.insert(None);
                    places.push((index, job.replication));
                    jobs.push(job);
                }
            }
        }
        let mut display = Display::new(&jobs, args.quiet);
        for (job, &(index, replication)) in places.iter().enumerate() {
            if let Some(standing) = series[index].progress(replication) {
                display.stands(job, standing);
            }
        }
        run_all(&jobs, &options, &mut |news| match news {
            RunNews::Progress { job, progress } => display.progress(job, &progress),
            RunNews::Ended { job, result } => {
                display.ended(job, result.as_ref());
                match result {
                    Ok(outcome) => {
                        let (RunOutcome::Finished { path, .. } | RunOutcome::Skipped { path }) = &outcome;
                        seen.insert(key(&jobs[job]), Some(path.clone()));
                        finished.push((places[job], (jobs[job].clone(), outcome)));
                    }
                    Err(error) => errors.push((places[job], error)),
                }
            }
        })
        .map_err(|error| Failure::from(&error))?;
        display.close();
        for series in series.iter_mut().filter(|series| series.rule.is_some()) {
            // One that lacks a run stops where it is: its error is told at the end.
            if let Some(said) = series.judge(&seen)?.filter(|_| !args.quiet) {
                tell(&said);
            }
        }
    }
    finished.sort_by_key(|&(place, _)| place);
    if !args.quiet {
        let runs: Vec<(Job, RunOutcome)> = finished.into_iter().map(|(_, run)| run).collect();
        print(&table::results(&runs))?;
    }
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort_by_key(|&(place, _)| place);
    let errors: Vec<RunError> = errors.into_iter().map(|(_, error)| error).collect();
    // After an interrupt, the runs that were never begun need no line each.
    let begun = |error: &&RunError| !matches!(error, RunError::Interrupted { partial: None, .. });
    let told: Vec<Failure> = errors.iter().filter(begun).map(Failure::from).collect();
    Err(if told.is_empty() { Failure::from(&errors[0]) } else { Failure::join(told) })
}

fn key(job: &Job) -> Key {
    (job.assembly.scenario.name.clone(), job.run_id())
}

impl Series {
    /// Of one scenario.
    fn new(args: &RunArgs, path: &Path, assembly: Assembly) -> Result<Self, Failure> {
        let seed = args.seed.unwrap_or(assembly.scenario.seed);
        let mut command = format!("splitwave run {} --seed {seed}", quoted(&path.display().to_string()));
        let (rule, wanted) = match (args.replications, &assembly.scenario.replications) {
            (Some(count), _) | (None, &Replications::Number(count)) => (None, count),
            (None, Replications::Until(table)) => {
                // The scenario was checked, so this says nothing new.
                let rule = Sequential::new(table)
                    .map_err(|problem| Failure::input(&problem.to_string(), "correct replications.until"))?;
                let first = rule.min;
                (Some(rule), first)
            }
        };
        if rule.is_none() {
            let _ = write!(command, " --replications {wanted}");
        }
        args.sets.append_to(&mut command);
        let job = Job { assembly: Arc::new(assembly), seed, replication: 0, command };
        Ok(Self { job, rule, dealt: 0, wanted, figures: Vec::new(), standing: None })
    }

    /// The runs that are wanted and were not dealt yet.
    fn deal(&mut self) -> Vec<Job> {
        let numbers = self.dealt..self.wanted;
        self.dealt = self.wanted;
        numbers.map(|replication| Job { replication, ..self.job.clone() }).collect()
    }

    /// How it stands while one of its runs goes on.
    fn progress(&self, replication: u32) -> Option<String> {
        let rule = self.rule.as_ref()?;
        let number = format!("replication {} of at most {}", replication + 1, rule.max);
        Some(match &self.standing {
            Some(standing) => format!("{number}, {} so far", rule.precision(standing)),
            None => number,
        })
    }

    /// Judges what has run and says how it stands, if there is something new.
    fn judge(&mut self, seen: &BTreeMap<Key, Option<PathBuf>>) -> Result<Option<String>, Failure> {
        let Some(rule) = &self.rule else { return Ok(None) };
        let name = &self.job.assembly.scenario.name;
        for id in self.job.run_ids(self.dealt).into_iter().skip(self.figures.len()) {
            let Some(Some(folder)) = seen.get(&(name.clone(), id)) else { return Ok(None) };
            let figure = rule.figure(folder).map_err(|error| {
                Failure::failed(
                    &with_causes(&error),
                    "run it again with --force, or give a fixed number of --replications",
                )
            })?;
            self.figures.push(figure);
        }
        let (standing, verdict) = rule.judge(&self.figures);
        let column = rule.goal.column();
        let known = format!(
            "{column} {} (mean {}, {} %) after {}",
            rule.precision(&standing),
            three_digits(standing.mean),
            three_digits(rule.confidence * 100.0),
            counted(self.dealt, "replication"),
        );
        let said = match verdict {
            Verdict::More(wanted) => {
                self.wanted = wanted;
                format!("{name}: {known}; {} more of at most {}\n", wanted - self.dealt, rule.max)
            }
            Verdict::Reached => format!("{name}: {known}: {}\n", rule.wanted()),
            Verdict::Exhausted => format!("{name}: note: {known}: not {}\n", rule.wanted()),
            Verdict::NoFigure => {
                format!("{name}: note: no {column} in {}: nothing to wait for\n", counted(self.dealt, "replication"))
            }
        };
        if verdict != Verdict::More(self.wanted) {
            self.rule = None;
        }
        self.standing = Some(standing);
        Ok(Some(said))
    }
}
