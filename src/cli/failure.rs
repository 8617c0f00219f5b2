//! Errors as the user sees them: what, why, what to do, and an exit code.

use std::process::ExitCode;

use crate::cli::render::render_problems;
use crate::cli::{in_colour, tell};
use crate::run::profile::ProfileError;
use crate::run::results::ResultsError;
use crate::run::runner::RunError;
use crate::run::wording::with_causes;
use crate::scenario::BadScenario;
use crate::study::StudyError;

/// The run failed.
const FAILED: u8 = 1;
/// The input is wrong.
const WRONG_INPUT: u8 = 2;
/// Not all of it is there.
const INCOMPLETE: u8 = 3;
/// Interrupted with work left (EX_TEMPFAIL of sysexits.h).
const INTERRUPTED: u8 = 75;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// Ready to print, with its line end.
    text: String,
    code: u8,
}

impl Failure {
    /// A scenario with problems.
    pub fn scenario(bad: &BadScenario) -> Self {
        Self { text: render_problems(&bad.problems, &bad.sources, in_colour()), code: WRONG_INPUT }
    }

    /// A study that can't be planned.
    pub fn study(error: &StudyError) -> Self {
        match error {
            StudyError::Bad(bad) => {
                Self { text: render_problems(&bad.problems, &bad.sources, in_colour()), code: WRONG_INPUT }
            }
        }
    }

    /// Input that is wrong elsewhere.
    pub fn input(message: &str, hint: &str) -> Self {
        Self { text: message_and_hint(message, hint), code: WRONG_INPUT }
    }

    /// Something that failed while running.
    pub fn failed(message: &str, hint: &str) -> Self {
        Self { text: message_and_hint(message, hint), code: FAILED }
    }

    /// Done as far as it goes, but something is missing.
    pub fn incomplete(message: &str, hint: &str) -> Self {
        Self { text: message_and_hint(message, hint), code: INCOMPLETE }
    }

    /// Stopped by a signal, with work left.
    pub fn interrupted(message: &str, hint: &str) -> Self {
        Self { text: message_and_hint(message, hint), code: INTERRUPTED }
    }

    /// Several failures: their texts one after the other, the gravest code.
    pub fn join(failures: Vec<Self>) -> Self {
        let rank = |code: u8| [INCOMPLETE, INTERRUPTED, FAILED, WRONG_INPUT].iter().position(|&known| known == code);
        let code = failures.iter().map(|failure| failure.code).max_by_key(|&code| rank(code)).unwrap_or(FAILED);
        Self { text: failures.into_iter().map(|failure| failure.text).collect(), code }
    }

    /// Prints itself and gives the exit code.
    pub fn report(&self) -> ExitCode {
        tell(&self.text);
        ExitCode::from(self.code)
    }
}

impl From<&RunError> for Failure {
    fn from(error: &RunError) -> Self {
        let chain = with_causes(error);
        match error {
            RunError::Interrupted { partial, .. } => {
                let hint = match partial {
                    Some(path) => format!(
                        "finished runs stay; the rows so far are in {}, marked interrupted; the same command runs it again",
                        path.display()
                    ),
                    None => "finished runs stay; the same command runs the rest".to_owned(),
                };
                Self { text: message_and_hint(&chain, &hint), code: INTERRUPTED }
            }
            RunError::Results(error) => Self::failed(&chain, error.hint()),
            RunError::Record(_) => {
                Self::failed(&chain, "is the disk full? rows written so far stay in the hidden .partial folder")
            }
            RunError::Simulation(_) => Self::failed(&chain, "rows written so far stay in the hidden .partial folder"),
            RunError::Threads { .. } => Self::failed(&chain, "ask for fewer with --threads"),
        }
    }
}

impl From<&ProfileError> for Failure {
    fn from(error: &ProfileError) -> Self {
        let chain = with_causes(error);
        match error {
            ProfileError::Spec(_) => Self::input(&chain, "`splitwave profile --help` lists the options"),
            ProfileError::Interrupted { .. } => {
                Self { text: message_and_hint(&chain, "the same command goes on where it stopped"), code: INTERRUPTED }
            }
            ProfileError::Exists { .. } => {
                Self::input(&chain, "choose another folder with --out, or replace it with --force")
            }
            ProfileError::Differs { .. } => Self::input(
                &chain,
                "finish it with its own command, choose another folder with --out, or throw it away with --force",
            ),
            ProfileError::Busy { .. } => Self::input(&chain, "wait for it, or choose another folder with --out"),
            ProfileError::Damaged { .. } => {
                Self::input(&chain, "begin anew with --force, or choose another folder with --out")
            }
            ProfileError::Quality(_) | ProfileError::Record(_) => {
                Self::failed(&chain, "what was done is kept: the same command goes on where it stopped")
            }
        }
    }
}

impl From<&ResultsError> for Failure {
    fn from(error: &ResultsError) -> Self {
        Self::failed(&with_causes(error), error.hint())
    }
}

fn message_and_hint(message: &str, hint: &str) -> String {
    format!("error: {message}\nhint: {hint}\n")
}
