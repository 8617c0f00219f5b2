//! Record files: rows as CSV on disk, and what a run's rows come to.
//!
//! - [`CsvFile`] streams the rows of any [`Record`](crate::network::rows::Record)
//!   to disk, seals the file with its length and hash, and leaves whole rows
//!   behind if the disk is full.
//! - [`Summary`] takes in every request and gives one [`SummaryRow`] per UE, per
//!   group and for all, in memory that doesn't grow with the number of requests.
//! - [`RunRecorder`] is the network's [`Recorder`](crate::network::ports::Recorder):
//!   the files that a run keeps, and its summary.
//! - [`Figures`] are the last rows of the summary as text, for who compares many runs.
//! - [`column_reference`] prints what every column means.
//!
//! ```text
//!              ┌─▶ CsvFile  requests.csv ─┐
//! Simulation ──┼─▶ CsvFile decisions.csv ─┼─▶ FileSeal {rows, bytes, blake3} ─▶ manifest
//!  (rows)      ├─▶ CsvFile    series.csv ─┤
//!              └─▶ Summary ▶ summary.csv ─┘
//! ```

mod accumulator;
mod columns;
mod csv_file;
mod evaluation_row;
mod figures;
mod recorder;
mod summary;
mod summary_row;
mod ue_energy;

pub use columns::{column_reference, section as column_section};
pub use csv_file::{CsvFile, FileSeal, Sink};
pub use evaluation_row::EvaluationRow;
pub use figures::Figures;
pub use recorder::{Recorded, RunRecorder, Wanted};
pub use summary::{EvaluationMeans, LearningCounts, Overall, Summary};
pub use summary_row::SummaryRow;
