//! How far a study is, from its files alone.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::study::Plan;
use crate::study::attempts::AttemptsError;
use crate::study::folder::StudyFolder;
use crate::study::outcomes::Outcomes;

/// A process counts as at work while its file was written to in the last minute, or in so many
/// times what its runs take.
const QUIET: Duration = Duration::from_secs(60);
const QUIET_RUNS: f64 = 3.0;

/// How far a study is.
#[derive(Clone, Debug, Serialize)]
pub struct StudyStatus {
    /// Name of the study.
    pub study: String,
    /// Runs in the plan.
    pub planned: usize,
    /// Runs that are done.
    pub done: usize,
    /// Runs that have only failed.
    pub failed: usize,
    /// Runs of which nothing is known.
    pub missing: usize,
    /// Lines that count for nothing: their runs are run again.
    pub damaged_lines: usize,
    /// Mean wall time of an attempt \[s\].
    pub run_wall_s: Option<f64>,
    /// Time until the missing runs are done \[s\], if those at work go on as before.
    pub eta_s: Option<f64>,
    /// The processes, in the order of their files.
    pub processes: Vec<ProcessStatus>,
}

/// What one process has done.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// Its file.
    pub file: PathBuf,
    /// Name of its machine, if it has one.
    pub host: Option<String>,
    /// Number of the process there.
    pub pid: u32,
    /// Job of the batch system.
    pub job: Option<String>,
    /// Its part of the study.
    pub shard: Option<String>,
    /// Its threads.
    pub threads: usize,
    /// Start by the wall clock.
    pub started_at: String,
    /// Runs done.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Time since its file was last written to \[s\].
    pub quiet_s: Option<f64>,
    /// How it ended, if it said so: a process that was killed didn't.
    pub ended: Option<String>,
    /// Whether it seems to be at work.
    pub at_work: bool,
}

/// Reads the status of a study; `now` is the time by the wall clock.
///
/// # Errors
/// [`AttemptsError`] if the files can't be listed.
pub fn status(plan: &Plan, folder: &StudyFolder, now: SystemTime) -> Result<StudyStatus, AttemptsError> {
    let outcomes = Outcomes::read(plan, &folder.attempts())?;
    let [done, failed, missing] = outcomes.counts();
    let (mut attempts, mut wall_s, mut threads) = (0, 0.0, 0);
    let mut processes = Vec::new();
    for (file, tally) in outcomes.attempts.files.iter().zip(&outcomes.by_file) {
        let count = tally.done + tally.failed;
        attempts += count;
        wall_s += tally.wall_s;
        let quiet = file.modified.map(|modified| now.duration_since(modified).unwrap_or_default());
        let mean_s = if count > 0 { tally.wall_s / count as f64 } else { 0.0 };
        let patience = QUIET.as_secs_f64().max(QUIET_RUNS * mean_s);
        let at_work = missing > 0 && file.footer.is_none() && quiet.is_some_and(|quiet| quiet.as_secs_f64() < patience);
        threads += if at_work { file.header.threads } else { 0 };
        let header = &file.header;
        processes.push(ProcessStatus {
            file: file.path.clone(),
            host: header.host.clone(),
            pid: header.pid,
            job: header.job.clone(),
            shard: header.shard.clone(),
            threads: header.threads,
            started_at: header.started_at.clone(),
            done: tally.done,
            failed: tally.failed,
            quiet_s: quiet.map(|quiet| quiet.as_secs_f64()),
            ended: file.footer.as_ref().map(|footer| footer.ended.clone()),
            at_work,
        });
    }
    let run_wall_s = (attempts > 0).then(|| wall_s / attempts as f64);
    let eta_s = run_wall_s.filter(|_| threads > 0).map(|each| each * missing as f64 / threads as f64);
    Ok(StudyStatus {
        study: plan.name().to_owned(),
        planned: plan.runs(),
        done,
        failed,
        missing,
        damaged_lines: outcomes.defects().len(),
        run_wall_s,
        eta_s,
        processes,
    })
}
