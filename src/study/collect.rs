//! From the files of attempts to one table.

use std::path::PathBuf;

use crate::study::attempts::{AttemptsError, Defect};
use crate::study::beside::{Beside, WriteError};
use crate::study::folder::StudyFolder;
use crate::study::means::{Pairing, PairingError, write_differences, write_means};
use crate::study::outcomes::{Conflict, Outcome, Outcomes};
use crate::study::tables::{write_groups, write_runs, write_runs_parquet};
use crate::study::{Plan, PlannedRun};

/// A study that can't be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The files of attempts can't be listed.
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
    /// Levels that can't be compared.
    #[error("--paired: {0}")]
    Pairing(#[from] PairingError),
    /// A table can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// One run came to different figures.
    #[error("{}", differs(.0))]
    Differs(Vec<Conflict>),
}

impl CollectError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Attempts(_) => "may you read the folder?",
            Self::Pairing(_) => "for example --paired controller.kind=oracle,random",
            Self::Write(_) => "is the disk full? tables of an earlier collect stay as they were",
            Self::Differs(conflicts) if conflicts.iter().any(|conflict| !one_level(conflict)) => {
                "numbers of a model may differ in their last digits between instruction-set levels: keep the files of \
                 attempts of one kind of machine in attempts/, and run the rest there"
            }
            Self::Differs(_) => {
                "equal machines and programs give equal bytes: compare the programs that wrote the two files, and \
                 report it if they are the same; the file that you move out of attempts/ no longer counts"
            }
        }
    }

    /// Whether the arguments are wrong, rather than that something failed.
    pub fn is_wrong_input(&self) -> bool {
        matches!(self, Self::Pairing(_))
    }
}

/// Whether both attempts ran on machines of one instruction-set level.
fn one_level(conflict: &Conflict) -> bool {
    conflict.sides[0].1 == conflict.sides[1].1
}

fn differs(conflicts: &[Conflict]) -> String {
    let Some(first) = conflicts.first() else { return String::new() };
    let [(a, level_a, x), (b, level_b, y)] = &first.sides;
    let (id, column) = (first.run.id, &first.column);
    let values = if x == y { String::new() } else { format!(", {x} and {y}") };
    let levels = if one_level(first) {
        format!("both on {level_a}: the run is not deterministic")
    } else {
        format!("on machines of different instruction sets, {level_a} and {level_b}")
    };
    let more = match conflicts.len() {
        1 => String::new(),
        more => format!("; {} more like this", more - 1),
    };
    format!(
        "run {id} has two results: `{column}` differs{values}, in {} and {}, {levels}{more}",
        a.display(),
        b.display()
    )
}

/// A run that has only failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRun {
    /// The run.
    pub run: PlannedRun,
    /// Why, the last time.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// What was collected.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Runs in the plan.
    pub planned: usize,
    /// Runs that are done.
    pub done: usize,
    /// Runs that have only failed.
    pub failed: Vec<FailedRun>,
    /// Runs of which nothing is known.
    pub missing: Vec<PlannedRun>,
    /// Entries of runs that are not in the plan (any more).
    pub extra: u64,
    /// Runs that were done again, with the same figures.
    pub duplicates: u64,
    /// Lines that count for nothing.
    pub defects: Vec<Defect>,
    /// Instruction-set levels of the machines.
    pub instruction_sets: Vec<String>,
    /// Points at a level of `--paired` without a partner at the other one.
    pub unpaired: usize,
    /// Tables of an earlier collect that this one doesn't make.
    pub removed: Vec<PathBuf>,
    /// The tables written.
    pub files: Vec<PathBuf>,
}

/// Writes `runs.csv`, `runs.parquet`, `means.csv`, of several groups `groups.csv`, and of pairings
/// `differences.csv`. The bytes depend on the plan and the runs' figures alone: not on
/// shards, attempts or their order.
///
/// # Errors
/// [`CollectError`] if one run has two results, or a table can't be written.
pub fn collect(plan: &Plan, folder: &StudyFolder, pairings: &[Pairing]) -> Result<Collected, CollectError> {
    let axes = pairings.iter().map(|pairing| pairing.axis_in(plan)).collect::<Result<Vec<_>, _>>()?;
    let outcomes = Outcomes::read(plan, &folder.attempts())?;
    if !outcomes.conflicts.is_empty() {
        return Err(CollectError::Differs(outcomes.conflicts));
    }
    let mut unpaired = 0;
    let mut tables = vec![
        write_runs(&folder.file("runs.csv"), plan, &outcomes)?,
        write_runs_parquet(&folder.file("runs.parquet"), plan, &outcomes)?,
        write_means(&folder.file("means.csv"), plan, &outcomes)?,
    ];
    let groups = write_groups(&folder.file("groups.csv"), plan, &outcomes)?;
    // A table of an earlier collect that this one doesn't have would not go with the others.
    let mut old = Vec::new();
    old.extend(groups.is_none().then(|| folder.file("groups.csv")));
    tables.extend(groups);
    if pairings.is_empty() {
        old.push(folder.file("differences.csv"));
    } else {
        let pairings: Vec<(Pairing, usize)> = pairings.iter().cloned().zip(axes).collect();
        let (table, alone) = write_differences(&folder.file("differences.csv"), plan, &outcomes, &pairings)?;
        unpaired = alone;
        tables.push(table);
    }
    // All are whole: now they take their places, together.
    let files = tables.into_iter().map(Beside::publish).collect::<Result<Vec<_>, _>>()?;
    let removed = old.into_iter().filter(|file| std::fs::remove_file(file).is_ok()).collect();
    let [done, ..] = outcomes.counts();
    let mut collected = Collected {
        planned: plan.runs(),
        done,
        failed: Vec::new(),
        missing: Vec::new(),
        extra: outcomes.extra,
        unpaired,
        removed,
        duplicates: outcomes.duplicates,
        instruction_sets: outcomes.instruction_sets().into_iter().map(str::to_owned).collect(),
        defects: outcomes.attempts.defects,
        files,
    };
    for (index, outcome) in outcomes.runs.into_iter().enumerate() {
        let run = plan.run(index);
        match outcome {
            Outcome::Done(_) => {}
            Outcome::Missing => collected.missing.push(run),
            Outcome::Failed { error, attempts } => {
                collected.failed.push(FailedRun { run, error: error.into(), attempts });
            }
        }
    }
    Ok(collected)
}
