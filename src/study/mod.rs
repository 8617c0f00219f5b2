//! Parameter studies: a study file and a base scenario give an ordered list of runs.

pub mod attempt_log;
pub mod attempts;
mod axes;
pub mod beside;
pub mod collect;
mod design;
mod error;
mod file;
pub mod folder;
mod log_scale;
pub mod means;
pub mod outcomes;
pub mod parquet_file;
mod plan;
mod points;
mod probe;
mod range;
mod reference;
pub mod requeue;
pub mod runner;
mod sampling;
pub mod shard;
pub mod status;
pub mod submit;
pub mod tables;
mod value;
mod workers;

pub use error::{BadStudy, StudyError};
pub use plan::{Plan, PlannedRun, RunId, RunIdError};
pub use probe::{Estimate, estimate};
pub use reference::{study_reference_markdown, study_schema};
pub use value::AxisValue;
