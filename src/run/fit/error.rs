//! What can be wrong with records, and with what is asked of a fit.

use std::io;
use std::path::Path;

use crate::control::{Input, SurrogateError, TrainingError};
use crate::network::ports::RecordError;
use crate::run::fit_folder::Occupied;
use crate::run::wording::counted;

/// A surrogate that can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A file can't be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A table that no profile makes.
    #[error("{file}: there is no table; `splitwave profile --records N` makes none")]
    NoTable {
        /// The file.
        file: String,
        /// The records beside it.
        records: String,
    },
    /// A file is no CSV.
    #[error("{file}: {source}")]
    Csv {
        /// The file.
        file: String,
        /// Why.
        source: csv::Error,
    },
    /// A file without rows, or whose rows are all left out.
    #[error("{file}: no rows to fit ({})", counted(*outages, "outage"))]
    Empty {
        /// The file.
        file: String,
        /// Rows in which nothing arrived.
        outages: u64,
    },
    /// Records to check on that were all fitted to.
    #[error("{file}: every row is among those that are fitted: --check takes records that a surrogate never saw")]
    Seen {
        /// The file.
        file: String,
    },
    /// A column is missing.
    #[error("{file}: no column `{column}`")]
    Column {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// The target isn't in the file.
    #[error("{file}: no column `{column}`, which the target {target} takes; the file has {has}")]
    Target {
        /// The file.
        file: String,
        /// The target.
        target: &'static str,
        /// The missing column.
        column: &'static str,
        /// The columns of quality that it has.
        has: String,
    },
    /// A cell can't be used.
    #[error("{file}, line {line}: `{column}` is {}; allowed: {allowed}", shown(value))]
    Cell {
        /// The file.
        file: String,
        /// Line in the file.
        line: u64,
        /// Column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What may.
        allowed: &'static str,
    },
    /// A gain that isn't that of its row's perplexities.
    #[error(
        "{file}, line {line}: `relative_ppl_gain` is {gain}, but (ppl_clean - ppl)/ppl_clean = ({clean} - {ppl})/{clean} \
         = {computed}"
    )]
    Contradiction {
        /// The file.
        file: String,
        /// Line in the file.
        line: u64,
        /// What stands there.
        gain: f64,
        /// PPL of the row.
        ppl: f64,
        /// PPL without a channel.
        clean: f64,
        /// The gain by these.
        computed: f64,
    },
    /// Rows were made with different settings.
    #[error("{file}, line {line}: `{column}` is `{value}`, but `{first}` in {place}")]
    Mixed {
        /// The file.
        file: String,
        /// Line in the file.
        line: u64,
        /// Column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What stands in the first row.
        first: String,
        /// Where that is.
        place: String,
    },
    /// No input varies.
    #[error("{} of one condition only ({condition}): no input varies, and there is nothing to learn", counted(*rows, "row"))]
    OneCondition {
        /// Rows.
        rows: u64,
        /// The inputs and their values.
        condition: String,
    },
    /// Fewer points than folds.
    #[error("{} for {}: repeats of a point stay in one fold", counted(*points, "different point"), counted(*folds, "fold"))]
    Folds {
        /// Points.
        points: u64,
        /// Folds.
        folds: u32,
    },
    /// An input that isn't one.
    #[error("--inputs: `{name}` is no input; allowed: {}", Input::ALL.map(Input::name).join(", "))]
    Input {
        /// What was asked for.
        name: String,
    },
    /// An input that is asked for twice.
    #[error("--inputs: `{name}` stands there twice; allowed: each input once")]
    InputTwice {
        /// The input.
        name: String,
    },
    /// An option out of range.
    #[error("--{option}: {value} is out of range; allowed: {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Something is in the way.
    #[error(transparent)]
    Exists(#[from] Occupied),
    /// Training failed.
    #[error("{what}: {source}")]
    Training {
        /// Which fit.
        what: String,
        /// Why.
        source: TrainingError,
    },
    /// The surrogate can't be written.
    #[error(transparent)]
    Surrogate(#[from] SurrogateError),
    /// A file can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn shown(value: &str) -> String {
    if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") }
}

impl FitError {
    /// A file that can't be read.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let (file, records) = (path.display().to_string(), path.with_file_name("records.csv"));
        let is_table = path.file_name().is_some_and(|name| name == "table.csv");
        if is_table && source.kind() == io::ErrorKind::NotFound && records.exists() {
            return Self::NoTable { file, records: records.display().to_string() };
        }
        Self::Io { file, source }
    }

    /// Whether what was given is wrong, rather than the machine.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Record(_) | Self::Surrogate(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        const PROFILE: &str = "`splitwave profile SCENARIO.toml --records N -o DIR` makes records";
        match self {
            Self::Io { .. } => format!("check the path; {PROFILE}"),
            Self::NoTable { records, .. } => format!("fit the records: {records}"),
            Self::Csv { .. } => format!("check the file; {PROFILE}"),
            Self::Empty { outages: 0, .. } | Self::Target { target: "relative-gain", .. } => PROFILE.to_owned(),
            Self::Empty { .. } => "nothing arrived in any of them: profile smaller losses".to_owned(),
            Self::Seen { .. } => "profile others with another --seed, or a grid of several --draws".to_owned(),
            Self::Column { .. } => {
                "records have the columns that `splitwave profile --records N` writes; a table has split, \
                 loss_probability, maybe noise_std, and ppl with ppl_clean, or relative_ppl_gain; --inputs chooses others"
                    .to_owned()
            }
            Self::Target { .. } => "ask for --target relative-gain, or for records with PPL".to_owned(),
            Self::Cell { value, .. } if value.is_empty() => {
                "take the row out, or choose --inputs that all rows have".to_owned()
            }
            Self::Cell { .. } => "correct the cell or take the row out".to_owned(),
            Self::Contradiction { .. } => {
                "correct the row; without a column `relative_ppl_gain` it is computed from the two others".to_owned()
            }
            Self::Mixed { column: "model_hash", .. } => {
                "these are records of different models; fit a surrogate to each".to_owned()
            }
            Self::Mixed { .. } => "a surrogate stands for one setting; fit one to each".to_owned(),
            Self::OneCondition { .. } => {
                "profile a range: --loss-range MIN,MAX and --noise-range MIN,MAX, and several --splits".to_owned()
            }
            Self::Folds { .. } => "ask for fewer --folds, or make more records".to_owned(),
            Self::Input { name } => {
                let nearest = Input::ALL.into_iter().max_by(|a, b| {
                    let likeness = |input: &Input| strsim::jaro_winkler(name, input.name());
                    likeness(a).total_cmp(&likeness(b))
                });
                match nearest {
                    _ if name.contains("snr") => {
                        "an activation SNR differs from window to window and isn't known before the model has run; \
                         use noise_std"
                            .to_owned()
                    }
                    Some(near) if strsim::jaro_winkler(name, near.name()) > 0.7 => format!("did you mean `{near}`?"),
                    _ => "inputs are what is frozen at a decision".to_owned(),
                }
            }
            Self::InputTwice { .. } => "name it once".to_owned(),
            Self::Option { .. } => "`splitwave fit --help` lists the options".to_owned(),
            Self::Exists(_) => "choose another folder with --out, or replace it with --force".to_owned(),
            Self::Training { .. } => {
                "give more records, a smaller --learning-rate or another --validation-share".to_owned()
            }
            Self::Surrogate(_) => "please report this".to_owned(),
            Self::Record(_) => "is the disk full, or the folder read-only?".to_owned(),
        }
    }
}
