//! Running a study, or a shard of it: what is left of it, in parallel, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::record::Figures;
use crate::run::clock::utc_now;
use crate::run::inputs::Library;
use crate::run::results::{ResultsError, verify};
use crate::run::runner::{Job, RunError, RunOptions, RunOutcome, evaluation_pool};
use crate::run::signals::Interrupt;
use crate::run::wording::with_causes;
use crate::study::attempt_log::{AttemptLog, LogError};
use crate::study::attempts::{Attempts, AttemptsError, Defect, Entry, Header, Status};
use crate::study::folder::StudyFolder;
use crate::study::plan::{Plan, PlannedRun, RunId};
use crate::study::shard::Shard;
pub use crate::study::workers::End;
use crate::study::workers::{Limits, News, Tried, Work, WorkError, drive};

/// What a run leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Its figures.
    #[default]
    Summary,
    /// Its result folder, too.
    All,
}

/// How a study is run.
#[derive(Clone, Debug)]
pub struct StudyOptions {
    /// Which part of it.
    pub shard: Shard,
    /// Threads for runs and for model evaluations.
    pub threads: usize,
    /// What runs leave.
    pub keep: Keep,
    /// Runs that may fail for good in this process before it stops.
    pub max_failures: Option<u64>,
    /// Wall time of a run.
    pub timeout: Option<Duration>,
    /// Further tries at a run that failed.
    pub retries: u32,
    /// Raised to stop.
    pub interrupt: Interrupt,
    /// Job of the batch system, for the record.
    pub job: Option<String>,
}

/// Why the runs of a study can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StudyRunError {
    /// What was done before can't be read.
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
    /// What is done can't be written down.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Results can't be kept: no run's own failure.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No thread can be started.
    #[error("starting a thread for runs: {0}")]
    Threads(String),
}

/// Tells a watcher how the study is doing.
pub enum StudyNews<'n> {
    /// A line of an earlier process counts for nothing; its run is run again.
    Defect(&'n Defect),
    /// The runs begin.
    Begin {
        /// Runs of the shard.
        runs: usize,
        /// Those done before.
        before: usize,
        /// Those that failed before, and are tried again.
        failed: usize,
    },
    /// A result folder is damaged; it is moved aside, and its run is run again.
    Damaged(String),
    /// A run is done.
    Done {
        /// The run.
        run: PlannedRun,
        /// Wall time \[s\].
        wall_s: f64,
        /// Whether its result folder was there, whole, so that nothing had to be run.
        was_there: bool,
    },
    /// A try at a run failed.
    Failed {
        /// The run.
        run: PlannedRun,
        /// Why.
        error: &'n str,
        /// Whether it is tried again.
        again: bool,
    },
    /// A signal has come: the runs under way are asked to stop. Told before they have.
    Stopping {
        /// Runs that have ended in this process, those included that were found whole.
        ended: u64,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyTally {
    /// Runs of the shard.
    pub runs: usize,
    /// Those done before.
    pub before: usize,
    /// Those done now.
    pub done: usize,
    /// Those that failed for good now.
    pub failed: usize,
    /// The file of attempts of this process, if it tried any.
    pub log: Option<PathBuf>,
    /// How it ended.
    pub end: End,
}

impl StudyTally {
    /// Runs that are neither done nor failed.
    pub fn left(&self) -> usize {
        self.runs.saturating_sub(self.before + self.done + self.failed)
    }
}

/// A run of the shard.
#[derive(Clone, Copy)]
struct Item {
    run: PlannedRun,
    index: usize,
    before: Before,
}

/// What earlier processes say of a run.
#[derive(Clone, Copy, Default)]
struct Before {
    done: bool,
    attempts: u32,
    /// How often it was under way when its process ended.
    cut_off: u32,
}

/// What a run gave.
struct Finished {
    /// To be written down; `None` if an earlier process did so.
    figures: Option<Figures>,
    /// Whether its folder was there.
    was_there: bool,
}

/// The runs that are left, as work.
struct Runs<'s> {
    plan: &'s Plan,
    library: &'s Library,
    folder: &'s StudyFolder,
    options: &'s StudyOptions,
    pool: Arc<rayon::ThreadPool>,
    items: Vec<Item>,
    /// Made when there is something to write.
    log: OnceLock<AttemptLog>,
}

/// Runs what is left of a study's shard, and writes down what becomes of each run before the next
/// one begins. `library` is the one that the plan was made with. Runs that an earlier process has done
/// are left out; with [`Keep::All`] only if their folders are whole.
///
/// # Errors
/// [`StudyRunError`]; what was written down stays, and the same call goes on from there.
pub fn run_study(
    plan: &Plan,
    library: &Library,
    folder: &StudyFolder,
    options: &StudyOptions,
    news: &mut dyn FnMut(StudyNews<'_>),
) -> Result<StudyTally, StudyRunError> {
    let mut known: BTreeMap<RunId, Before> = BTreeMap::new();
    let attempts = Attempts::visit(&folder.attempts(), &mut |_, entry| {
        let Ok(id) = entry.run_id.parse() else { return };
        let before = known.entry(id).or_default();
        before.done |= entry.status == Status::Done;
        before.attempts = before.attempts.max(entry.attempt);
    })?;
    // What was under way when its process was killed may have been why.
    for (_, id) in &attempts.begun {
        if let Ok(id) = id.parse() {
            known.entry(id).or_default().cut_off += 1;
        }
    }
    attempts.defects.iter().for_each(|defect| news(StudyNews::Defect(defect)));

    // A run that the plan has twice is one run: the first.
    let mut seen = BTreeSet::new();
    let first = (0..plan.runs()).map(|index| (index, plan.run(index))).filter(|(_, run)| seen.insert(run.id));
    let mine = first.filter(|(index, _)| options.shard.has(*index));
    let items = mine.map(|(index, run)| Item { run, index, before: known.get(&run.id).copied().unwrap_or_default() });
    let (mut done_before, mut left): (Vec<Item>, Vec<Item>) = items.partition(|item| item.before.done);
    let runs = done_before.len() + left.len();
    let failed = left.iter().filter(|item| item.before.attempts > 0).count();
    let something_to_write = !left.is_empty();
    if options.keep == Keep::All {
        left.append(&mut done_before);
    }
    // What failed before may fail again, and slowly, or end the process again: it comes behind what is new, and what was
    // cut off most often comes last. Looking at what is done comes behind all.
    left.sort_by_key(|Item { before, index, .. }| (before.done, before.cut_off, before.attempts > 0, *index));
    let mut tally = StudyTally { runs, before: done_before.len(), done: 0, failed: 0, log: None, end: End::Whole };
    news(StudyNews::Begin { runs, before: tally.before, failed });

    let pool = evaluation_pool(if left.is_empty() { 1 } else { options.threads })?;
    let work = Runs { plan, library, folder, options, pool, items: left, log: OnceLock::new() };
    if something_to_write {
        // A folder that can't be written to is told before anything has run.
        work.log()?;
    }
    let limits = Limits {
        threads: options.threads,
        timeout: options.timeout,
        retries: options.retries,
        max_failures: options.max_failures,
    };
    let mut ended = 0;
    let end = drive(&work, work.items.len(), &limits, &options.interrupt, &mut |item_news| match item_news {
        News::Remark(remark) => news(StudyNews::Damaged(remark)),
        News::Stopping => news(StudyNews::Stopping { ended }),
        News::Ended { item, wall_s, result, again } => {
            let Some(Item { run, .. }) = work.items.get(item).copied() else { return };
            ended += u64::from(!again);
            match &result {
                Ok(Finished { figures: None, .. }) => tally.before += 1,
                Ok(_) => tally.done += 1,
                Err(_) => tally.failed += usize::from(!again),
            }
            news(match &result {
                Ok(finished) => StudyNews::Done { run, wall_s, was_there: finished.was_there },
                Err(error) => StudyNews::Failed { run, error, again },
            });
        }
    });
    if let (Ok(end), Some(log)) = (&end, work.log.get()) {
        log.end(match end {
            End::Whole => "whole",
            End::Interrupted => "interrupted",
            End::TooManyFailures => "too many failures",
        })?;
        log.sync()?;
    }
    tally.log = work.log.get().map(|log| log.path().to_owned());
    tally.end = end.map_err(|error| match error {
        WorkError::Threads(reason) => StudyRunError::Threads(reason),
        WorkError::Fatal(error) => error,
    })?;
    Ok(tally)
}

impl Runs<'_> {
    fn log(&self) -> Result<&AttemptLog, LogError> {
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        let shard = (self.options.shard != Shard::WHOLE).then(|| self.options.shard.to_string());
        let header = Header::of_this_process(self.plan.name(), shard, self.options.job.clone(), self.options.threads);
        let log = AttemptLog::create(&self.folder.attempts(), &header)?;
        // Another worker may have been faster; its file holds as well, and this one stays empty.
        Ok(self.log.get_or_init(|| log))
    }

    /// What is wrong with the result folder of a run, if it is there.
    fn damage(&self, run: &PlannedRun) -> Option<ResultsError> {
        let path = self.folder.runs().join(self.plan.scenario_name()).join(run.id.to_string());
        if path.symlink_metadata().is_err() {
            return None;
        }
        verify(&path).err()
    }

    /// The run itself: what is written down under an id must be the run of that id.
    fn job(&self, item: &Item) -> Result<Job, Trouble> {
        let job = self.plan.job(item.index, &mut self.library.clone()).map_err(|error| Trouble::of(&error))?;
        if job.run_id() == item.run.id.to_string() {
            Ok(job)
        } else {
            Err(Trouble::Failed("files that the scenario names have changed since the study was planned".to_owned()))
        }
    }

    /// A run whose result folder stays, unless it is there and whole.
    fn run_into_folder(&self, item: &Item, interrupt: &Interrupt, tell: &dyn Fn(String)) -> Result<Finished, Trouble> {
        let damage = self.damage(&item.run);
        if let Some(damage) = &damage {
            tell(format!("{}; it is moved aside, and the run is run again", with_causes(damage)));
        }
        let job = self.job(item)?;
        let options = RunOptions {
            out: self.folder.runs(),
            force: damage.is_some(),
            threads: self.options.threads,
            interrupt: interrupt.clone(),
        };
        match job.run(&options, &self.pool, &mut |_| {})? {
            RunOutcome::Finished { figures, .. } => Ok(Finished { figures: Some(figures), was_there: false }),
            RunOutcome::Skipped { .. } if item.before.done => Ok(Finished { figures: None, was_there: true }),
            RunOutcome::Skipped { path } => Ok(Finished { figures: Some(figures_in(&path)?), was_there: true }),
        }
    }

    fn run_in_memory(&self, item: &Item, interrupt: &Interrupt) -> Result<Finished, Trouble> {
        let job = self.job(item)?;
        let measured = job.run_in_memory(&self.pool, interrupt, &mut |_| {})?;
        Ok(Finished { figures: Some(measured.figures), was_there: false })
    }
}

/// Why a run gave nothing.
enum Trouble {
    Failed(String),
    Run(RunError),
}

impl Trouble {
    fn of(error: &dyn Error) -> Self {
        Self::Failed(with_causes(error))
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

fn figures_in(path: &Path) -> Result<Figures, Trouble> {
    Figures::read(path).map_err(|error| Trouble::Run(RunError::Record(error)))
}

impl Work for Runs<'_> {
    type Done = Finished;
    type Error = StudyRunError;

    fn attempt(&self, item: usize, interrupt: &Interrupt, tell: &dyn Fn(String)) -> Tried<Finished, StudyRunError> {
        let Some(item) = self.items.get(item) else { return Tried::Failed("there is no such run".to_owned()) };
        let finished = match self.options.keep {
            Keep::Summary => self.run_in_memory(item, interrupt),
            Keep::All => self.run_into_folder(item, interrupt, tell),
        };
        match finished {
            Ok(finished) => Tried::Done(finished),
            Err(Trouble::Run(RunError::Interrupted { at, .. })) => Tried::Stopped(at),
            Err(Trouble::Run(error)) if is_full(&error) => Tried::Fatal(StudyRunError::Run(error)),
            Err(Trouble::Run(error)) => Tried::Failed(with_causes(&error)),
            Err(Trouble::Failed(reason)) => Tried::Failed(reason),
        }
    }

    fn keep(
        &self,
        item: usize,
        tries: u32,
        wall_s: f64,
        ended: &Result<Finished, String>,
    ) -> Result<(), StudyRunError> {
        let Some(item) = self.items.get(item) else { return Ok(()) };
        let (status, error, figures) = match ended {
            Ok(Finished { figures: None, .. }) => return Ok(()),
            Ok(Finished { figures: Some(figures), .. }) => (Status::Done, None, figures.clone()),
            Err(error) => (Status::Failed, Some(error.clone()), Figures::default()),
        };
        let entry = Entry {
            run_id: item.run.id.to_string(),
            replication: item.run.replication,
            attempt: item.before.attempts.saturating_add(tries),
            status,
            error,
            wall_s,
            ended_at: utc_now(),
            figures: figures.all,
            groups: figures.groups,
        };
        Ok(self.log()?.push(&entry)?)
    }

    fn note(&self, item: usize) -> Result<(), StudyRunError> {
        match self.items.get(item) {
            Some(item) if !item.before.done => Ok(self.log()?.begun(&item.run.id.to_string())?),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), StudyRunError> {
        self.log.get().map_or(Ok(()), |log| Ok(log.sync()?))
    }
}

/// Whether there is no room for results: no run's own failure, and the next one's as well.
fn is_full(error: &RunError) -> bool {
    let kind = match error {
        RunError::Results(ResultsError::Io { source, .. }) => source.kind(),
        RunError::Record(error) => error.source.kind(),
        _ => return false,
    };
    matches!(
        kind,
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied
    )
}
