//! `splitwave fit`: a surrogate from records of the real model, or from a table's cells.
//!
//! ```text
//!  records.csv … ── rows, without outages and repetitions (records.rs)
//!       │
//!       ├ K folds by points: K fits, each on the others' rows (folds.rs)
//!       │     └ every row predicted by a fit that didn't see it ── metrics.csv, predictions.csv, calibration.csv
//!       └ one fit to all rows ── surrogate.safetensors; on the records of --check ── metrics.csv
//! ```

mod doubts;
mod drawn;
mod error;
mod folds;
mod metrics;
mod records;
mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::control::{Input, Surrogate, SurrogateRow, SurrogateScratch, points_of};
use crate::kernel::Streams;
use crate::record::FileSeal;
use crate::run::fit_folder::{IDENTITY, Output, finished, table};
use crate::run::manifest::{Manifest, instruction_set};
use crate::run::wording::counted;

use doubts::{averaged_over, no_better_than_constant};
use folds::{Fits, assign, epochs, mean_target, score};
use metrics::{Scored, calibration};
use records::{Records, Wanted};

pub use doubts::Clipped;
pub use error::FitError;
pub use folds::FoldFit;
pub use metrics::{CalibrationRow, Figures, MetricsRow, PredictionRow};
pub use records::SourceFile;
pub use spec::{FitSpec, allowed};

/// The surrogate.
pub const SURROGATE_FILE: &str = "surrogate.safetensors";
/// The other files, but for the manifest.
const TABLES: [&str; 3] = ["metrics.csv", "predictions.csv", "calibration.csv"];

/// Where and how a fit is made.
pub struct FitJob<'a> {
    /// Files of records, or a table.
    pub records: &'a [PathBuf],
    /// Records that the final fit is checked on.
    pub check: Option<&'a Path>,
    /// What is asked for.
    pub spec: &'a FitSpec,
    /// Where its files go.
    pub folder: &'a Path,
    /// The command that makes it again, for the manifest.
    pub command: &'a str,
    /// Whether a fit that is there is replaced.
    pub replace: bool,
    /// Threads: one per fold is of use.
    pub pool: &'a rayon::ThreadPool,
}

/// A finished fit.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Its files.
    pub files: Vec<FileSeal>,
    /// What became of the files of records, those of `--check` last.
    pub sources: Vec<SourceFile>,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// Different points among the rows.
    pub points: usize,
    /// The rows of metrics.csv; none if it was there.
    pub metrics: Vec<MetricsRow>,
    /// What the surrogate covers, in words; empty if it was there.
    pub covers: String,
    /// Targets that are clipped, if they are many.
    pub clipped: Option<Clipped>,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Whether all of it was there already; then nothing was done.
    pub was_there: bool,
}

/// How far a fit is.
pub enum FitProgress<'a> {
    /// The records are read: rows, different points, and inputs.
    Read(usize, usize, &'a [Input]),
    /// A fold is done.
    Fold(&'a FoldFit),
}

impl FitJob<'_> {
    /// Makes the fit and its files. The bytes of all of them are a function of the records, the settings and the
    /// machine's instruction set. One that is there, whole, isn't made again.
    ///
    /// `watch` is told how far it is, from several threads.
    ///
    /// # Errors
    /// [`FitError`] with the file and line at fault.
    pub fn make(&self, watch: &(dyn Fn(FitProgress<'_>) + Sync)) -> Result<Fit, FitError> {
        let spec = self.spec;
        spec.check()?;
        let asked = spec.asked_inputs()?;
        let wanted = Wanted { inputs: asked.as_deref(), target: spec.target };
        let records = Records::read(self.records, wanted)?;
        let check = self.check.map(|path| records.read_beside(path, wanted)).transpose()?;
        let rows = records.surrogate_rows();
        let inputs = inputs(&records, &rows, asked)?;
        let point_of = points_of(&rows, &inputs);
        let points = point_of.iter().max().map_or(0, |&last| last as usize + 1);
        if (points as u64) < u64::from(spec.folds) {
            return Err(FitError::Folds { points: points as u64, folds: spec.folds });
        }
        let sources: Vec<SourceFile> =
            records.files.iter().chain(check.iter().flat_map(|check| &check.files)).cloned().collect();
        let identity = spec.identity(&inputs, &records, check.as_ref());
        if !self.replace
            && let Some(files) = finished(self.folder, &[&[SURROGATE_FILE], &TABLES[..]].concat(), &identity)?
        {
            let (metrics, warnings, covers) = (Vec::new(), Vec::new(), String::new());
            let clipped = None;
            return Ok(Fit { files, sources, inputs, points, metrics, covers, clipped, warnings, was_there: true });
        }
        watch(FitProgress::Read(rows.len(), points, &inputs));

        let streams = Streams::new(spec.seed, 0);
        let (target, settings) = (spec.target, &spec.regression);
        let drawn_from = &records.drawn_from;
        let fits = Fits { rows: &rows, point_of: &point_of, inputs: &inputs, target, drawn_from, settings, streams };
        let fold_of = assign(&point_of, points, spec.folds, streams);
        let tell = |fold: &FoldFit| watch(FitProgress::Fold(fold));
        let (folds, whole) =
            self.pool.install(|| rayon::join(|| fits.cross_validate(&fold_of, spec.folds, &tell), || fits.whole()));
        let folds = folds.map_err(|(fold, source)| FitError::Training { what: format!("fold {fold}"), source })?;
        let whole = whole.map_err(|source| FitError::Training { what: "the final fit".to_owned(), source })?;

        let mut scored: Vec<(usize, Scored)> = folds.iter().flat_map(|fold| fold.scored.iter().copied()).collect();
        scored.sort_by_key(|(index, _)| *index);
        let all: Vec<Scored> = scored.iter().map(|(_, scored)| *scored).collect();
        let mut metrics: Vec<MetricsRow> =
            folds.iter().map(|fold| fold.figures.row(fold.fold.to_string(), fold.epochs)).collect();
        let mut named = whole.metrics().clone();
        if let Some(figures) = Figures::of(&all) {
            let epochs = folds.iter().map(|fold| fold.epochs).sum::<f64>() / f64::from(spec.folds);
            metrics.push(figures.row("mean".to_owned(), epochs));
            named.extend(figures.named());
        }
        named.insert("folds".to_owned(), f64::from(spec.folds));
        let mut warnings = averaged_over(&records, &rows, &inputs);
        if let Some(check) = &check {
            let figures = self.checked(&whole, check, &rows, &mut warnings);
            if let Some(figures) = figures {
                metrics.push(figures.row("check".to_owned(), epochs(&whole)));
                named.extend(figures.named().into_iter().map(|(name, value)| (format!("check_{name}"), value)));
            }
        }
        warnings.extend(no_better_than_constant(&metrics));
        let made_with = made_with(&records, &rows, &inputs);
        let vocabulary = made_with.get("vocabulary").and_then(|count| count.parse().ok());
        let surrogate = whole.described(made_with, vocabulary, named)?;

        let predictions: Vec<PredictionRow> = scored
            .iter()
            .map(|&(index, scored)| prediction_row(&records, index, &inputs, scored, fold_of[index]))
            .collect();
        let bytes = surrogate.to_bytes()?;
        let manifest = self.manifest(identity, &sources, &surrogate);
        let output = Output { name: SURROGATE_FILE, network: (&bytes, rows.len() as u64), manifest };
        let files = output.write(self.folder, |folder| {
            Ok(vec![table(folder, &metrics)?, table(folder, &predictions)?, table(folder, &calibration(&all))?])
        })?;
        let (covers, clipped) = (ranges(&surrogate), Clipped::of(&rows, target));
        Ok(Fit { files, sources, inputs, points, metrics, covers, clipped, warnings, was_there: false })
    }

    /// The figures of the final fit on records that it didn't see.
    fn checked(
        &self,
        surrogate: &Surrogate,
        check: &Records,
        training: &[SurrogateRow],
        warnings: &mut Vec<String>,
    ) -> Option<Figures> {
        let inputs: Vec<Input> = surrogate.inputs().iter().map(|column| column.input).collect();
        let rows = check.surrogate_rows();
        let constant = mean_target(training, self.spec.target);
        let beyond = |row: &SurrogateRow| {
            let value = |input| row.point.get(input);
            surrogate.inputs().iter().any(|column| {
                let (least, most) = column.range;
                !(least..=most).contains(&value(column.input))
            })
        };
        let outside = rows.iter().filter(|row| beyond(row)).count();
        if outside > 0 {
            let (all, ranges) = (counted(rows.len() as u64, "row"), ranges(surrogate));
            warnings.push(format!(
                "{outside} of {all} of --check lie beyond what was fitted ({ranges}); predictions there are those of \
                 the border"
            ));
        }
        let mut scratch = SurrogateScratch::default();
        let scored: Vec<Scored> = points_of(&rows, &inputs)
            .into_iter()
            .zip(&rows)
            .filter_map(|(point, row)| score(surrogate, row, point, constant, &mut scratch))
            .collect();
        Figures::of(&scored)
    }

    fn manifest(&self, identity: Value, sources: &[SourceFile], surrogate: &Surrogate) -> Value {
        let build = Manifest::start(Value::Null, String::new(), self.spec.seed, 0, String::new());
        let (records, check) = sources.split_at(self.records.len().min(sources.len()));
        let mut manifest = json!({
            "command": self.command,
            "version": build.version,
            "commit": build.commit,
            "dirty": build.dirty,
            "instruction_set": instruction_set(),
            "records": records,
            "check": check.first(),
            "made_with": surrogate.settings(),
        });
        manifest[IDENTITY] = identity;
        manifest
    }
}

/// The ranges of a surrogate's inputs in words.
fn ranges(surrogate: &Surrogate) -> String {
    let of = |column: &crate::control::InputColumn| {
        let (least, most) = column.range;
        format!("{} {least} to {most}", column.input)
    };
    surrogate.inputs().iter().map(of).collect::<Vec<_>>().join(", ")
}

/// Whether an input has more than one value.
fn varies(rows: &[SurrogateRow], input: Input) -> bool {
    let first = rows.first().map(|row| row.point.get(input));
    rows.iter().any(|row| Some(row.point.get(input)) != first)
}

/// The inputs: those asked for, else the columns that vary.
fn inputs(records: &Records, rows: &[SurrogateRow], asked: Option<Vec<Input>>) -> Result<Vec<Input>, FitError> {
    let all = asked.clone().unwrap_or_else(|| records.columns.clone());
    let varying: Vec<Input> = all.iter().copied().filter(|&input| varies(rows, input)).collect();
    if varying.is_empty() {
        let value = |input: &Input| {
            let value = rows.first().map_or(f64::NAN, |row| row.point.get(*input));
            format!("{input} {value}")
        };
        let condition = all.iter().map(value).collect::<Vec<_>>().join(", ");
        return Err(FitError::OneCondition { rows: rows.len() as u64, condition });
    }
    Ok(asked.unwrap_or(varying))
}

/// What records were made with: their settings, and the value of columns that are the same throughout and no input.
fn made_with(records: &Records, rows: &[SurrogateRow], inputs: &[Input]) -> BTreeMap<String, String> {
    let mut made_with = records.made_with.clone();
    for &input in records.columns.iter().filter(|input| !inputs.contains(input)) {
        if let Some(row) = rows.first().filter(|_| !varies(rows, input)) {
            made_with.insert(input.name().to_owned(), row.point.get(input).to_string());
        }
    }
    for (input, value) in &records.beside {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            made_with.insert(input.name().to_owned(), value.clone());
        }
    }
    made_with
}

fn prediction_row(records: &Records, index: usize, inputs: &[Input], scored: Scored, fold: u32) -> PredictionRow {
    let found = &records.rows[index];
    let point = &found.row.point;
    let real = |input: Input| inputs.contains(&input).then(|| point.get(input));
    PredictionRow {
        split: inputs.contains(&Input::Split).then_some(point.split),
        noise_std: real(Input::NoiseStd),
        rayleigh_scale: real(Input::RayleighScale),
        loss_probability: real(Input::LossProbability),
        target: scored.target,
        prediction: scored.prediction,
        fold,
        file: found.file as u64,
        line: found.line,
    }
}
