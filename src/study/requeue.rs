//! Coming back after a batch system takes the machine away.
//!
//! Slurm counts a job that ends by itself as over: with exit code 0 as completed, which sets
//! off the jobs that wait for it, otherwise as failed, and neither comes back. So a job with work left
//! asks to be queued again while it is still running, and then waits to be killed.

use std::process::{Command, Stdio};

/// Restarts of a job in which not one run ended: then its time limit is below what a run takes.
const FUTILE_RESTARTS: u32 = 3;
/// States in which Slurm has a job that somebody cancelled, or that it is ending.
const ENDING: [&str; 2] = ["CANCELLED", "COMPLETING"];

/// The job of Slurm that this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmJob {
    id: String,
    restarts: u32,
}

/// Why a job doesn't come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequeueError {
    /// Slurm is ending it already: it was preempted or requeued, and comes back, or cancelled.
    #[error("job {job} is {state}: {}", fate(state))]
    Ending {
        /// The job.
        job: String,
        /// What Slurm says.
        state: String,
    },
    /// It would never end.
    #[error(
        "job {job} was started {} times, and the last time not one run ended: it isn't queued again",
        restarts + 1
    )]
    Futile {
        /// The job.
        job: String,
        /// How often it came back.
        restarts: u32,
    },
    /// Slurm doesn't.
    #[error("`scontrol requeue {job}` failed: {reason}")]
    Refused {
        /// The job.
        job: String,
        /// What Slurm or the system says.
        reason: String,
    },
}

/// What becomes of a job in one of the states [`ENDING`].
fn fate(state: &str) -> &'static str {
    if state == ENDING[0] {
        "it was cancelled, so it isn't queued again"
    } else {
        "Slurm is ending it, and brings it back unless it was cancelled"
    }
}

impl SlurmJob {
    /// By the variables that Slurm sets. A task of HyperQueue is none, wherever its worker runs.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let digits = |name: &str| {
            variable(name).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let job = digits("SLURM_JOB_ID")?;
        if variable("HQ_TASK_ID").is_some() {
            return None;
        }
        let id = match (digits("SLURM_ARRAY_JOB_ID"), digits("SLURM_ARRAY_TASK_ID")) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => job,
        };
        let restarts = digits("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0);
        Some(Self { id, restarts })
    }

    /// Its number, as `scontrol` takes it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Asks Slurm to queue the job again. `ended` says how many runs ended in it; `warned` whether the
    /// signal was SIGUSR1, which nobody sends who wants to cancel a job.
    ///
    /// # Errors
    /// [`RequeueError`]; the job is then over when this process is.
    pub fn requeue(&self, ended: u64, warned: bool) -> Result<(), RequeueError> {
        let job = self.id.clone();
        if ended == 0 && self.restarts >= FUTILE_RESTARTS {
            return Err(RequeueError::Futile { job, restarts: self.restarts });
        }
        if !warned && let Some(state) = self.cancelled() {
            return Err(RequeueError::Ending { job, state });
        }
        let output = Command::new("scontrol").args(["requeue", &self.id]).stdin(Stdio::null()).output();
        let output = output.map_err(|error| RequeueError::Refused { job: job.clone(), reason: error.to_string() })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).find(|line| !line.is_empty());
        let reason = said.map_or_else(|| output.status.to_string(), str::to_owned);
        Err(RequeueError::Refused { job, reason })
    }

    /// The state of a job that Slurm is ending for another reason than its time limit:
    /// `scancel` sends the same signal as a preemption.
    fn cancelled(&self) -> Option<String> {
        let shown =
            Command::new("scontrol").args(["--oneliner", "show", "job", &self.id]).stdin(Stdio::null()).output();
        let text = String::from_utf8_lossy(&shown.ok()?.stdout).into_owned();
        let value = |key: &str| text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let state = value("JobState")?;
        (ENDING.contains(&state) && value("Reason") != Some("TimeLimit")).then(|| state.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<SlurmJob> {
        SlurmJob::of_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn jobs_by_their_variables() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("SLURM_JOB_ID", "")]), None);
        let job = |id: &str, restarts| Some(SlurmJob { id: id.to_owned(), restarts });
        assert_eq!(of(&[("SLURM_JOB_ID", "17")]), job("17", 0));
        let array = [("SLURM_JOB_ID", "19"), ("SLURM_ARRAY_JOB_ID", "17"), ("SLURM_ARRAY_TASK_ID", "3")];
        assert_eq!(of(&array), job("17_3", 0));
        assert_eq!(of(&[&array[..], &[("SLURM_RESTART_COUNT", "2")]].concat()), job("17_3", 2));
        assert_eq!(of(&[&array[..], &[("HQ_TASK_ID", "2")]].concat()), None);
    }

    #[test]
    fn a_job_that_gets_nowhere_stays_away() {
        let error = SlurmJob { id: "17_3".to_owned(), restarts: 3 }.requeue(0, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "job 17_3 was started 4 times, and the last time not one run ended: it isn't queued again"
        );
    }
}
