//! `splitwave study run`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::failure::Failure;
use crate::cli::render::render_problems;
use crate::cli::study::open_plan;
use crate::cli::study::run_progress::RunProgress;
use crate::cli::{in_colour, parse_threads, print, quoted, tell, threads};
use crate::run::clock::Stopwatch;
use crate::run::inputs::Library;
use crate::run::runner::RunError;
use crate::run::signals::BatchSignals;
use crate::run::wording::{counted, with_causes};
use crate::study::Plan;
use crate::study::folder::{FolderError, StudyFolder};
use crate::study::requeue::{RequeueError, SlurmJob};
use crate::study::runner::{End, Keep, StudyNews, StudyOptions, StudyRunError, StudyTally, run_study};
use crate::study::shard::{Shard, ShardError};

/// How long a job that is queued again waits to be killed: Slurm does so within its KillWait, 30 s by default.
const WAIT_AT_MOST: Duration = Duration::from_secs(300);
/// Distance of the looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Run what is left of a study, or of a shard of it.
///
/// Each process writes down what becomes of its runs in a file of its own, and skips what any
/// process has done before: it may be killed at any moment, and started again with any number of
/// shards and threads. Runs that failed are tried again.
///
/// Exit code: 0 all runs are done, 1 some failed, 2 the input is wrong, 75 interrupted with work left.
/// A job of Slurm that is interrupted is queued again.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// Study file.
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// Folder of the study. Default: `results/studies/<name of the study>`.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Run only part I of N: the runs whose index is I - 1 modulo N.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Run only a part of N: the one that HQ_TASK_ID or SLURM_ARRAY_TASK_ID says, from 1 to N.
    #[arg(long, value_name = "N", conflicts_with = "shard", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    shards: Option<u64>,
    /// Threads for runs and model evaluations. Default: all cores. Does not change any result.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_threads)]
    threads: Option<usize>,
    /// What a run leaves: its figures, or its result folder, too.
    #[arg(long, value_enum, default_value_t = KeepName::Summary)]
    keep: KeepName,
    /// Stop when more than N runs have failed for good in this process.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_failures: Option<u64>,
    /// Wall time of a run after which it counts as failed.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_timeout)]
    timeout_per_run: Option<Duration>,
    /// Further tries, at once, at a run that failed.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    retries: u32,
    /// No progress and no closing line; errors only.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepName {
    /// Its figures.
    Summary,
    /// Its result folder, too: `runs/<scenario name>/<run id>/`.
    All,
}

/// Seconds of wall time.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|&seconds| seconds > 0.0 && seconds <= 1e9);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "allowed: seconds above 0".into())
}

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let signals = BatchSignals::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let shard = shard(args)?;
    let mut library = Library::default();
    let plan = open_plan(&args.study, &mut library, args.quiet)?;
    if !args.quiet {
        tell(&render_problems(plan.warnings(), plan.sources(), in_colour()));
    }
    let out = args.out.clone().unwrap_or_else(|| Path::new("results/studies").join(plan.name()));
    let folder = StudyFolder::open(&out, plan.name()).map_err(|error| refused(&error))?;
    let slurm = SlurmJob::of_environment(|name| std::env::var(name).ok());
    let options = StudyOptions {
        shard,
        threads: threads(args.threads),
        keep: match args.keep {
            KeepName::Summary => Keep::Summary,
            KeepName::All => Keep::All,
        },
        max_failures: args.max_failures,
        timeout: args.timeout_per_run,
        retries: args.retries,
        interrupt: signals.interrupt().clone(),
        job: slurm.as_ref().map(|job| format!("slurm {}", job.id())),
    };
    let mut progress = RunProgress::new(plan.name(), args.quiet);
    let mut requeued = None;
    let ended = run_study(&plan, &library, &folder, &options, &mut |news| match (&news, &slurm) {
        // At once: a run under way may stop later than Slurm waits.
        (StudyNews::Stopping { ended }, Some(job)) if !signals.by_person() => {
            signals.take_terminate();
            requeued = Some(job.requeue(*ended, signals.early_warning()));
        }
        _ => progress.news(&news),
    });
    let told = progress.close();
    let tally = ended.map_err(|error| stopped(&error))?;
    if !args.quiet {
        print(&closing(args, &plan, &folder, shard, &tally))?;
    }
    match tally.end {
        End::Whole if tally.failed == 0 => Ok(()),
        End::Whole => Err(Failure::failed(
            &format!("{} of {} failed\n{told}", tally.failed, counted(tally.runs, "run")),
            "the others are done; the same command tries the failed ones again",
        )),
        End::TooManyFailures => Err(Failure::failed(
            &format!("stopped: {} failed, more than --max-failures allows\n{told}", counted(tally.failed, "run")),
            "what is done stays; the same command tries the failed ones and the rest again",
        )),
        End::Interrupted => Err(interrupted(&signals, slurm.as_ref().zip(requeued), &tally)),
    }
}

/// The part of the study that is this process'.
fn shard(args: &RunArgs) -> Result<Shard, Failure> {
    let Some(of) = args.shards else {
        let array = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID"].into_iter().find(|name| std::env::var_os(name).is_some());
        if let (None, Some(variable)) = (args.shard, array) {
            tell(&format!(
                "warning: {variable} is set, but neither --shard nor --shards: every task of this array runs the whole study\n"
            ));
        }
        return Ok(args.shard.unwrap_or(Shard::WHOLE));
    };
    match Shard::from_environment(of, |name| std::env::var(name).ok()) {
        Ok((shard, variable)) => {
            if !args.quiet {
                tell(&format!("shard {shard}, as {variable} says\n"));
            }
            Ok(shard)
        }
        Err(error) => {
            let hint = match error {
                ShardError::Number { .. } => format!("submit the array with the numbers 1-{of}"),
                _ => "name the part yourself with --shard I/N".to_owned(),
            };
            Err(Failure::input(&error.to_string(), &hint))
        }
    }
}

/// What was done, where it is, and what to do next.
fn closing(args: &RunArgs, plan: &Plan, folder: &StudyFolder, shard: Shard, tally: &StudyTally) -> String {
    let (part, whole) = if shard == Shard::WHOLE {
        (String::new(), "")
    } else {
        (format!(", shard {shard}"), " when all shards are done")
    };
    let mut text = format!(
        "{}{part}: {}, {} done before, {} done now, {} failed, {} left\n",
        plan.name(),
        counted(tally.runs, "run"),
        tally.before,
        tally.done,
        tally.failed,
        tally.left()
    );
    if let Some(log) = &tally.log {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "written to {}", log.display());
    }
    if tally.failed == 0 && tally.left() == 0 {
        let out = match &args.out {
            Some(_) => format!(" --out {}", quoted(&folder.path().display().to_string())),
            None => String::new(),
        };
        let study = quoted(&args.study.display().to_string());
        let _ = writeln!(text, "next{whole}: splitwave study collect {study}{out}");
    }
    text
}

/// Stopped by a signal. A job of Slurm is queued again, unless a person stopped it, and then waits to
/// be killed: one that ends by itself is over for Slurm, whatever its exit code.
fn interrupted(
    signals: &BatchSignals,
    requeued: Option<(&SlurmJob, Result<(), RequeueError>)>,
    tally: &StudyTally,
) -> Failure {
    let left = format!("interrupted with {} of {} left", tally.left(), counted(tally.runs, "run"));
    let mut hint = "what is done stays; the same command runs the rest".to_owned();
    if let Some((job, result)) = requeued {
        match result {
            Ok(()) => {
                tell(&format!("{left}; job {} is queued again, waiting for Slurm to end this one\n", job.id()));
                let waited = Stopwatch::start();
                while waited.elapsed() < WAIT_AT_MOST && !signals.take_terminate() {
                    std::thread::sleep(LOOK_EVERY);
                }
                hint = format!("job {} is queued again and runs the rest", job.id());
            }
            Err(error) => return Failure::interrupted(&format!("{left}; {error}"), &hint),
        }
    }
    Failure::interrupted(&left, &hint)
}

/// The folder isn't this study's.
fn refused(error: &FolderError) -> Failure {
    let text = with_causes(error);
    if error.is_wrong_input() { Failure::input(&text, error.hint()) } else { Failure::failed(&text, error.hint()) }
}

/// The study can't go on.
fn stopped(error: &StudyRunError) -> Failure {
    let text = with_causes(error);
    match error {
        StudyRunError::Run(error @ (RunError::Results(_) | RunError::Threads { .. })) => Failure::from(error),
        StudyRunError::Log(_) | StudyRunError::Run(_) => Failure::failed(
            &text,
            "is the disk full, or the quota used up? nothing that was written before is lost: the same command goes on",
        ),
        StudyRunError::Attempts(_) => Failure::failed(&text, "choose a folder that you may read and write with --out"),
        StudyRunError::Threads(_) => Failure::failed(&text, "ask for fewer with --threads"),
    }
}
