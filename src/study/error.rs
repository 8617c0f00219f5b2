//! What is wrong with a study.

use std::path::PathBuf;

use crate::scenario::{BadScenario, Problem, Source};

/// A study file that can't be planned: all problems, with their texts.
#[derive(Debug)]
pub struct BadStudy {
    /// The study file.
    pub path: PathBuf,
    /// Texts of the base scenario and of the study file.
    pub sources: Vec<Source>,
    /// The problems, at least one of them an error.
    pub problems: Vec<Problem>,
}

/// Why a study can't be planned, or one of its runs not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The study file, the base scenario or points of the grid are wrong.
    #[error("{}: {}", .0.path.display(), .0.first())]
    Bad(Box<BadStudy>),
}

impl BadStudy {
    /// The first error, in one line.
    pub fn first(&self) -> String {
        let error = self.problems.iter().find(|problem| problem.is_error());
        error.or_else(|| self.problems.first()).map_or_else(String::new, ToString::to_string)
    }
}

impl From<Box<BadScenario>> for StudyError {
    fn from(bad: Box<BadScenario>) -> Self {
        let BadScenario { path, sources, problems } = *bad;
        Self::Bad(Box::new(BadStudy { path, sources, problems }))
    }
}
