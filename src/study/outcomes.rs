//! What has become of every run of a plan, from the files of attempts alone.

use std::path::{Path, PathBuf};

use crate::record::Figures;
use crate::study::attempts::{Attempts, AttemptsError, Defect, Entry, Status};
use crate::study::{Plan, PlannedRun, RunId};

/// Between the cells of a row in memory; no number has it.
const SEPARATOR: char = '\u{1f}';

/// The cells of one row, in the order of [`Figures::columns`]: one text, for there may be many rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells(Box<str>);

impl Cells {
    fn new(cells: &[String]) -> Self {
        Self(cells.join(&SEPARATOR.to_string()).into())
    }

    /// The cells.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATOR)
    }
}

/// A run that is done.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it came to.
    pub all: Cells,
    /// The same by group, if there are several.
    pub groups: Vec<(Box<str>, Cells)>,
    /// Index of the file that it was first found in.
    file: usize,
}

/// What has become of a run.
#[derive(Clone, Debug, Default)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    Missing,
    /// It is done.
    Done(Box<Done>),
    /// It has only failed so far.
    Failed {
        /// Why, the last time.
        error: Box<str>,
        /// How often.
        attempts: u32,
    },
}

/// Two attempts at one run came to different figures.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The run.
    pub run: PlannedRun,
    /// The first column that differs.
    pub column: String,
    /// The file, the instruction-set level of its machine, and the cell: of either.
    pub sides: [(PathBuf, String, String); 2],
}

/// Every run of a plan, and what else is in the files.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// By index of the run.
    pub runs: Vec<Outcome>,
    /// The files and their headers, and the lines that count for nothing.
    pub attempts: Attempts,
    /// Entries of runs that are not in the plan (any more).
    pub extra: u64,
    /// Further entries of runs that are done, with the same figures.
    pub duplicates: u64,
    /// Further entries of runs that are done, with other figures.
    pub conflicts: Vec<Conflict>,
    /// By file: runs done, attempts that failed, and their wall time \[s\].
    pub by_file: Vec<FileTally>,
}

/// What one process has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FileTally {
    /// Runs done.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Wall time of both \[s\].
    pub wall_s: f64,
}

impl Outcomes {
    /// Reads the files of attempts in `folder`.
    ///
    /// # Errors
    /// [`AttemptsError`] if the folder can't be listed.
    pub fn read(plan: &Plan, folder: &Path) -> Result<Self, AttemptsError> {
        let mut outcomes = Self { runs: vec![Outcome::Missing; plan.runs()], ..Self::default() };
        let mut conflicts: Vec<(usize, usize, [usize; 2], [String; 2])> = Vec::new();
        let attempts = Attempts::visit(folder, &mut |file, entry| {
            if outcomes.by_file.len() <= file {
                outcomes.by_file.resize(file + 1, FileTally::default());
            }
            let tally = &mut outcomes.by_file[file];
            tally.wall_s += entry.wall_s;
            match entry.status {
                Status::Done => tally.done += 1,
                Status::Failed => tally.failed += 1,
            }
            let index = entry.run_id.parse::<RunId>().ok().and_then(|id| plan.find(&id));
            let Some(index) = index else {
                outcomes.extra += 1;
                return;
            };
            if let Some((column, files, cells)) = outcomes.take(index, file, entry) {
                conflicts.push((index, column, files, cells));
            }
        })?;
        let side = |file: usize, cell: String| {
            let file = &attempts.files[file];
            (file.path.clone(), file.header.instruction_set.clone(), cell)
        };
        let named = |(index, column, [a, b], [x, y]): (usize, usize, [usize; 2], [String; 2])| Conflict {
            run: plan.run(index),
            column: Figures::columns().get(column).map_or("a group's figures", |column| column.name).to_owned(),
            sides: [side(a, x), side(b, y)],
        };
        outcomes.conflicts = conflicts.into_iter().map(named).collect();
        outcomes.by_file.resize(attempts.files.len(), FileTally::default());
        outcomes.attempts = attempts;
        Ok(outcomes)
    }

    /// Takes in an entry. Gives the column, the two files and the two cells if its figures are
    /// not those that are known.
    fn take(&mut self, index: usize, file: usize, entry: Entry) -> Option<(usize, [usize; 2], [String; 2])> {
        if entry.status == Status::Failed {
            let attempts = match &self.runs[index] {
                Outcome::Done(_) => return None,
                Outcome::Failed { attempts, .. } => *attempts,
                Outcome::Missing => 0,
            };
            let error = entry.error.unwrap_or_default().into();
            self.runs[index] = Outcome::Failed { error, attempts: attempts.saturating_add(1) };
            return None;
        }
        let all = Cells::new(&entry.figures);
        let groups: Vec<(Box<str>, Cells)> =
            entry.groups.iter().map(|(name, cells)| (name.as_str().into(), Cells::new(cells))).collect();
        let Outcome::Done(known) = &self.runs[index] else {
            self.runs[index] = Outcome::Done(Box::new(Done { all, groups, file }));
            return None;
        };
        let files = [known.file, file];
        if let Some((column, (a, b))) = known.all.iter().zip(all.iter()).enumerate().find(|(_, (a, b))| a != b) {
            return Some((column, files, [a.to_owned(), b.to_owned()]));
        }
        if known.groups != groups {
            return Some((usize::MAX, files, [String::new(), String::new()]));
        }
        self.duplicates += 1;
        None
    }

    /// How many runs are done, failed and missing.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for run in &self.runs {
            counts[match run {
                Outcome::Done(_) => 0,
                Outcome::Failed { .. } => 1,
                Outcome::Missing => 2,
            }] += 1;
        }
        counts
    }

    /// Lines that count for nothing.
    pub fn defects(&self) -> &[Defect] {
        &self.attempts.defects
    }

    /// The instruction-set levels of the machines that runs were done on, in alphabetical order.
    pub fn instruction_sets(&self) -> Vec<&str> {
        let files = self.attempts.files.iter().zip(&self.by_file).filter(|(_, tally)| tally.done > 0);
        let mut levels: Vec<&str> = files.map(|(file, _)| file.header.instruction_set.as_str()).collect();
        levels.sort_unstable();
        levels.dedup();
        levels
    }
}
