//! `splitwave fit`: a surrogate from records of the real model, or from a table's cells.
//!
//! ```text
//!  records.csv … ── rows, without outages and repetitions (records.rs)
//!       │
//!       ├ K folds by points: K fits, each on the others' rows (folds.rs)
//!       │     └ every row predicted by a fit that didn't see it ── metrics.csv, predictions.csv, calibration.csv
//!       └ one fit to all rows ── surrogate.safetensors; on the records of --check ── metrics.csv
//! ```

mod error;
mod folds;
mod metrics;
mod output;
mod records;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::control::{Input, Surrogate, SurrogateRow, SurrogateScratch, Target, points_of};
use crate::kernel::Streams;
use crate::record::FileSeal;
use crate::rl::RegressionSettings;
use crate::run::manifest::{Manifest, instruction_set};
use crate::run::wording::counted;

use folds::{Fits, assign, epochs, mean_target, score};
use metrics::{Scored, calibration};
use output::{IDENTITY, Output, finished, table};
use records::{Records, Wanted};

pub use error::FitError;
pub use folds::FoldFit;
pub use metrics::{CalibrationRow, Figures, MetricsRow, PredictionRow};
pub use output::SURROGATE_FILE;
pub use records::SourceFile;

/// Most folds.
const MOST_FOLDS: u32 = 1000;

/// A fit to make.
#[derive(Clone, Debug, PartialEq)]
pub struct FitSpec {
    /// Names of the inputs; `None` for the columns that vary.
    pub inputs: Option<Vec<String>>,
    /// What is predicted.
    pub target: Target,
    /// Folds of the cross-validation.
    pub folds: u32,
    /// Seed of first weights, folds and orders.
    pub seed: u64,
    /// How networks are trained.
    pub regression: RegressionSettings,
}

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

impl FitSpec {
    /// The inputs that were asked for.
    fn asked_inputs(&self) -> Result<Option<Vec<Input>>, FitError> {
        let Some(names) = &self.inputs else { return Ok(None) };
        let mut inputs = Vec::with_capacity(names.len());
        for name in names {
            let input = Input::named(name.trim()).ok_or_else(|| FitError::Input { name: name.clone() })?;
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        inputs.sort_unstable();
        Ok(Some(inputs))
    }

    fn check(&self) -> Result<(), FitError> {
        let refuse = |option, value: String, allowed| Err(FitError::Option { option, value, allowed });
        let RegressionSettings {
            hidden,
            learning_rate,
            batch_size,
            epochs,
            patience,
            validation_share,
            weight_decay,
            ..
        } = &self.regression;
        if !(2..=MOST_FOLDS).contains(&self.folds) {
            return refuse("folds", self.folds.to_string(), "2 to 1000");
        }
        if hidden.is_empty() || hidden.len() > 8 || hidden.iter().any(|width| !(1..=4096).contains(width)) {
            return refuse("hidden", format!("{hidden:?}"), "1 to 8 layers of 1 to 4096 neurons");
        }
        if !(*learning_rate > 0.0 && *learning_rate <= 1.0) {
            return refuse("learning-rate", learning_rate.to_string(), "above 0, at most 1");
        }
        if !(1..=1_000_000).contains(batch_size) {
            return refuse("batch-size", batch_size.to_string(), "1 to 1000000");
        }
        for (option, value) in [("epochs", epochs), ("patience", patience)] {
            if !(1..=1_000_000).contains(value) {
                return refuse(option, value.to_string(), "1 to 1000000");
            }
        }
        if !(*validation_share > 0.0 && *validation_share < 1.0) {
            return refuse("validation-share", validation_share.to_string(), "above 0 and below 1");
        }
        if !(0.0..=1.0).contains(weight_decay) {
            return refuse("weight-decay", weight_decay.to_string(), "0 to 1");
        }
        if let Target::Ppl { cap: Some(cap) } = self.target
            && !(cap.is_finite() && cap >= 1.0)
        {
            return refuse("ppl-cap", cap.to_string(), "a finite number of at least 1");
        }
        Ok(())
    }

    /// Everything that the numbers of a fit depend on but the program.
    fn identity(&self, inputs: &[Input], records: &Records, check: Option<&Records>) -> Value {
        let hashes = |records: &Records| records.files.iter().map(|file| file.blake3.clone()).collect::<Vec<_>>();
        let identity = json!({
            "records": hashes(records),
            "check": check.map(hashes),
            "inputs": inputs.iter().map(|input| input.name()).collect::<Vec<_>>(),
            "target": self.target.name(),
            "ppl_cap": if let Target::Ppl { cap } = self.target { cap } else { None },
            "folds": self.folds,
            "seed": self.seed,
            "regression": self.regression,
        });
        // As it is read again: the JSON parser's last digit isn't exact.
        serde_json::from_str(&identity.to_string()).unwrap_or(identity)
    }
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
            && let Some(files) = finished(self.folder, &identity)?
        {
            let (metrics, warnings) = (Vec::new(), Vec::new());
            return Ok(Fit { files, sources, inputs, points, metrics, warnings, was_there: true });
        }
        watch(FitProgress::Read(rows.len(), points, &inputs));

        let streams = Streams::new(spec.seed, 0);
        let (target, settings) = (spec.target, &spec.regression);
        let fits = Fits { rows: &rows, point_of: &point_of, inputs: &inputs, target, settings, streams };
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
        let made_with = made_with(&records, &rows, &inputs);
        let vocabulary = made_with.get("vocabulary").and_then(|count| count.parse().ok());
        let surrogate = whole.described(made_with, vocabulary, named)?;

        let predictions: Vec<PredictionRow> = scored
            .iter()
            .map(|&(index, scored)| prediction_row(&records, index, &inputs, scored, fold_of[index]))
            .collect();
        let bytes = surrogate.to_bytes()?;
        let output =
            Output { surrogate: (&bytes, rows.len() as u64), manifest: self.manifest(identity, &sources, &surrogate) };
        let files = output.write(self.folder, |folder| {
            Ok(vec![table(folder, &metrics)?, table(folder, &predictions)?, table(folder, &calibration(&all))?])
        })?;
        Ok(Fit { files, sources, inputs, points, metrics, warnings, was_there: false })
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

/// Columns that vary and are no input.
fn averaged_over(records: &Records, rows: &[SurrogateRow], inputs: &[Input]) -> Vec<String> {
    let left_out = records.columns.iter().filter(|input| !inputs.contains(input) && varies(rows, **input));
    let beside = records.beside.iter().filter(|(_, value)| value.is_none()).map(|(input, _)| input);
    left_out
        .chain(beside)
        .map(|input| format!("{input} varies, but is no input: predictions are means over it"))
        .collect()
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
