//! Reading what a surrogate is fitted to: records of `splitwave profile --records`, or a
//! table's cells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::control::{DrawnFrom, Input, SurrogatePoint, SurrogateRow, Target};
use crate::run::fit::drawn::drawn_from;
use crate::run::fit::error::FitError;

/// Columns that say what records or a table were made with: one surrogate stands for one of each. Files have some of
/// them.
const SETTINGS: [&str; 9] = [
    "model_hash",
    "reception",
    "loss_unit",
    "tx_normalisation",
    "fading",
    "encoding",
    "concealment",
    "vocabulary",
    "prompt_tokens",
];
/// Those that tables have beside. In records `window` is a number, and `model` a name.
const SETTINGS_OF_TABLES: [&str; 4] = ["packets", "doppler_hz", "airtime_s", "window"];
/// Digits of a model's content hash that records have.
const HASH_DIGITS: usize = 12;
/// What a gain and its PPLs may differ by, in parts of PPL/PPL_0: more than is lost by writing seven digits.
const ROUNDING: f64 = 1e-6;
/// σ_h where a file doesn't say: E h² = 1.
const DEFAULT_SCALE: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// A row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRow {
    /// The point and its quality.
    pub row: SurrogateRow,
    /// Number of its file, from 0.
    pub file: usize,
    /// Its line.
    pub line: u64,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its path, as given.
    pub path: String,
    /// BLAKE3 hash of its bytes.
    pub blake3: String,
    /// Rows that are used.
    pub rows: u64,
    /// Rows left out because nothing arrived.
    pub outages: u64,
    /// Rows left out because they stand there already, to the letter.
    pub duplicates: u64,
}

/// Rows of some files, made with one setting.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The rows, in the order of the files.
    pub rows: Vec<FitRow>,
    /// The files.
    pub files: Vec<SourceFile>,
    /// Columns of inputs that all files have.
    pub columns: Vec<Input>,
    /// Of columns that could be inputs and aren't asked for: their cell where it is the same in all rows, `None` where
    /// it isn't.
    pub beside: BTreeMap<Input, Option<String>>,
    /// What they were made with, by column.
    pub made_with: BTreeMap<String, String>,
    /// What random records were drawn from, where their manifests say: from the least to the largest of all files.
    pub drawn_from: DrawnFrom,
    /// Where each setting was first seen.
    first_seen: BTreeMap<&'static str, (String, usize, u64)>,
    /// Hashes of all rows so far.
    seen: BTreeSet<[u8; 32]>,
}

/// What is asked of the files.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Inputs that must be there; `None` for those that are.
    pub inputs: Option<&'a [Input]>,
    /// What is predicted.
    pub target: Target,
}

impl Records {
    /// Reads files, one after the other. Rows without anything that arrived are left out and counted, and so are
    /// exact repetitions of a row.
    ///
    /// # Errors
    /// [`FitError`] with the file, line and column at fault.
    pub fn read<P: AsRef<Path>>(paths: &[P], wanted: Wanted<'_>) -> Result<Self, FitError> {
        let mut records = Self::default();
        for path in paths {
            records.add(path.as_ref(), wanted)?;
        }
        Ok(records)
    }

    /// Reads a file of rows that none of `self` is among: those count as duplicates. It must be made with the same
    /// setting.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn read_beside(&self, path: &Path, wanted: Wanted<'_>) -> Result<Self, FitError> {
        let mut other = Self { rows: Vec::new(), files: Vec::new(), ..self.clone() };
        other.files.clone_from(&self.files);
        other.add(path, wanted)?;
        other.files.drain(..self.files.len());
        if other.rows.is_empty() {
            return Err(FitError::Seen { file: path.display().to_string() });
        }
        Ok(other)
    }

    /// The rows without their places.
    pub fn surrogate_rows(&self) -> Vec<SurrogateRow> {
        self.rows.iter().map(|row| row.row).collect()
    }

    fn add(&mut self, path: &Path, wanted: Wanted<'_>) -> Result<(), FitError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| FitError::io(path, source))?;
        let csv_error = |source| FitError::Csv { file: name.clone(), source };
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(bytes.as_slice());
        let headers = reader.headers().map_err(csv_error)?.clone();
        if headers.is_empty() {
            return Err(FitError::Empty { file: name, outages: 0 });
        }
        let layout = Layout::of(&name, &headers, wanted)?;
        if self.files.is_empty() {
            self.columns = layout.inputs.iter().map(|&(input, _)| input).collect();
        } else if let Some(&missing) = self.columns.iter().find(|&&input| layout.at(input).is_none()) {
            return Err(FitError::Column { file: name, column: missing.name() });
        } else if let Some((extra, _)) = layout.inputs.iter().find(|(input, _)| !self.columns.contains(input)) {
            return Err(FitError::Column { file: self.files[0].path.clone(), column: extra.name() });
        }
        let file = self.files.len();
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        self.files.push(SourceFile { path: name.clone(), blake3: blake3.clone(), rows: 0, outages: 0, duplicates: 0 });
        let (mut rows, mut outages, mut duplicates) = (0, 0, 0);
        let mut lines = Lines { bytes: &bytes, at: 0, line: 1 };
        for record in reader.records() {
            let record = record.map_err(csv_error)?;
            let line = lines.of_record(record.position().map_or(0, |position| position.byte() as usize));
            let cells = Cells { file: &name, line, record: &record };
            let mut hasher = blake3::Hasher::new();
            for cell in &record {
                hasher.update(cell.as_bytes()).update(b"\n");
            }
            self.check_settings(&layout, &cells, file)?;
            if layout.nothing_arrived(&cells)? {
                outages += 1;
                continue;
            }
            let row = layout.row(&cells)?;
            if !self.seen.insert(*hasher.finalize().as_bytes()) {
                duplicates += 1;
                continue;
            }
            for &(input, at) in &layout.beside {
                let first = self.beside.entry(input).or_insert_with(|| Some(cells.get(at).to_owned()));
                if first.as_deref() != Some(cells.get(at)) {
                    *first = None;
                }
            }
            self.rows.push(FitRow { row, file, line: cells.line });
            rows += 1;
        }
        if rows == 0 && duplicates == 0 {
            return Err(FitError::Empty { file: name, outages });
        }
        if let Some(last) = self.files.last_mut() {
            (last.rows, last.outages, last.duplicates) = (rows, outages, duplicates);
        }
        self.widen(file, &drawn_from(path, &blake3));
        Ok(())
    }

    /// Adds the ranges that the rows of a file were drawn from. Those of a column that doesn't vary play no part: a
    /// digital link has no noise, whatever was asked for.
    fn widen(&mut self, file: usize, drawn_from: &DrawnFrom) {
        for (&input, &(low, high)) in drawn_from.iter().filter(|(input, _)| self.columns.contains(input)) {
            let values = || self.rows.iter().filter(|row| row.file == file).map(|row| row.row.point.get(input));
            let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            if low <= least && least < most && most <= high {
                let known = self.drawn_from.entry(input).or_insert((low, high));
                *known = (known.0.min(low), known.1.max(high));
            }
        }
    }

    /// Compares the settings of a row with those of the first one.
    fn check_settings(&mut self, layout: &Layout, cells: &Cells<'_>, file: usize) -> Result<(), FitError> {
        for &(column, at) in &layout.settings {
            let mut value = cells.get(at);
            if column == "model_hash" {
                value = value.get(..HASH_DIGITS).unwrap_or(value);
            }
            match self.first_seen.get(column) {
                None => {
                    self.first_seen.insert(column, (value.to_owned(), file, cells.line));
                    if !value.is_empty() {
                        self.made_with.insert(column.to_owned(), value.to_owned());
                    }
                }
                // A profile of sentences has windows of many lengths.
                Some((first, ..)) if first != value && matches!(column, "prompt_tokens" | "packets") => {
                    self.made_with.remove(column);
                }
                Some((first, first_file, first_line)) if first != value => {
                    return Err(FitError::Mixed {
                        file: cells.file.to_owned(),
                        line: cells.line,
                        column,
                        value: value.to_owned(),
                        first: first.clone(),
                        place: format!("{}, line {first_line}", self.files[*first_file].path),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Counts the lines of a file: where remarks stand, the reader's own count is off.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Start of line `line`, or a place in it.
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that is the next one from byte `from` on; calls go forwards.
    fn of_record(&mut self, from: usize) -> u64 {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let begins_row = !rest.starts_with(b"#") && !rest.starts_with(b"\n") && !rest.starts_with(b"\r");
            if self.at >= from && (begins_row || rest.is_empty()) {
                return self.line;
            }
            match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) => (self.at, self.line) = (self.at + end + 1, self.line + 1),
                None => self.at = self.bytes.len().max(from),
            }
        }
    }
}

/// The cells of a row.
struct Cells<'a> {
    file: &'a str,
    line: u64,
    record: &'a csv::StringRecord,
}

impl<'a> Cells<'a> {
    fn get(&self, at: usize) -> &'a str {
        self.record.get(at).unwrap_or_default()
    }

    fn refuse(&self, column: &'static str, at: usize, allowed: &'static str) -> FitError {
        let (file, value) = (self.file.to_owned(), self.get(at).to_owned());
        FitError::Cell { file, line: self.line, column, value, allowed }
    }

    fn real(
        &self,
        column: &'static str,
        at: usize,
        allowed: &'static str,
        ok: fn(f64) -> bool,
    ) -> Result<f64, FitError> {
        let value = self.get(at).parse::<f64>().ok().filter(|value| value.is_finite() && ok(*value));
        // -0 is 0: points are told apart by their bits.
        value.map(|value| value + 0.0).ok_or_else(|| self.refuse(column, at, allowed))
    }
}

/// Where the columns of a file are.
struct Layout {
    inputs: Vec<(Input, usize)>,
    /// Columns that could be inputs, and aren't asked for.
    beside: Vec<(Input, usize)>,
    settings: Vec<(&'static str, usize)>,
    ppl: Option<usize>,
    ppl_clean: Option<usize>,
    gain: Option<usize>,
    outage: Option<usize>,
    evaluations: Option<usize>,
}

impl Layout {
    fn of(file: &str, headers: &csv::StringRecord, wanted: Wanted<'_>) -> Result<Self, FitError> {
        let find = |name: &str| headers.iter().position(|header| header == name);
        let [ppl, ppl_clean, gain] = ["ppl", "ppl_clean", "relative_ppl_gain"].map(find);
        let lacks = |column: &'static str| {
            let has: Vec<&str> = ["ppl", "ppl_clean", "relative_ppl_gain"]
                .into_iter()
                .filter(|name| headers.iter().any(|header| header == *name))
                .collect();
            let has = if has.is_empty() { "no quality at all".to_owned() } else { has.join(", ") };
            FitError::Target { file: file.to_owned(), target: wanted.target.name(), column, has }
        };
        match wanted.target {
            Target::RelativeGain if gain.is_none() && (ppl.is_none() || ppl_clean.is_none()) => {
                return Err(lacks("relative_ppl_gain"));
            }
            Target::Ppl { .. } | Target::LnPpl if ppl.is_none() => return Err(lacks("ppl")),
            Target::Ppl { .. } | Target::LnPpl if ppl_clean.is_none() => return Err(lacks("ppl_clean")),
            Target::RelativeGain | Target::Ppl { .. } | Target::LnPpl => {}
        }
        let (mut inputs, mut beside) = (Vec::new(), Vec::new());
        for input in Input::ALL {
            let needed = match wanted.inputs {
                Some(asked) => asked.contains(&input),
                None => matches!(input, Input::Split | Input::LossProbability),
            };
            match find(input.name()) {
                Some(at) if needed || wanted.inputs.is_none() => inputs.push((input, at)),
                Some(at) => beside.push((input, at)),
                None if needed => return Err(FitError::Column { file: file.to_owned(), column: input.name() }),
                None => {}
            }
        }
        // Records number their draws; tables don't.
        let is_table = find("draw").is_none();
        let of_tables = SETTINGS_OF_TABLES.iter().filter(|_| is_table);
        let mut settings: Vec<(&'static str, usize)> =
            SETTINGS.iter().chain(of_tables).filter_map(|&column| Some((column, find(column)?))).collect();
        if let Some(at) = find("model").filter(|_| is_table) {
            settings.push(("model_hash", at));
        }
        if let Some(at) = find("packets_sent").filter(|_| !is_table) {
            settings.push(("packets", at));
        }
        let [outage, evaluations] = ["outage", "evaluations"].map(find);
        Ok(Self { inputs, beside, settings, ppl, ppl_clean, gain, outage, evaluations })
    }

    fn at(&self, input: Input) -> Option<usize> {
        self.inputs.iter().find(|(known, _)| *known == input).map(|&(_, at)| at)
    }

    /// Whether the row is an outage, or a cell of a table whose evaluations all were.
    fn nothing_arrived(&self, cells: &Cells<'_>) -> Result<bool, FitError> {
        if let Some(at) = self.outage {
            // Python writes them with a capital.
            return match cells.get(at) {
                cell if cell.eq_ignore_ascii_case("true") => Ok(true),
                cell if cell.eq_ignore_ascii_case("false") => Ok(false),
                _ => Err(cells.refuse("outage", at, "true or false")),
            };
        }
        Ok(self.evaluations.is_some_and(|at| cells.get(at) == "0"))
    }

    fn row(&self, cells: &Cells<'_>) -> Result<SurrogateRow, FitError> {
        let mut point =
            SurrogatePoint { split: 1, noise_std: 0.0, rayleigh_scale: DEFAULT_SCALE, loss_probability: 0.0 };
        for &(input, at) in &self.inputs {
            let column = input.name();
            match input {
                Input::Split => {
                    let split = cells.get(at).parse::<u32>().ok().filter(|&split| split > 0);
                    point.split = split.ok_or_else(|| cells.refuse(column, at, "a whole number above 0"))?;
                }
                Input::NoiseStd => {
                    point.noise_std = cells.real(column, at, "a finite number of at least 0", |x| x >= 0.0)?;
                }
                Input::RayleighScale => {
                    point.rayleigh_scale = cells.real(column, at, "a finite number above 0", |x| x > 0.0)?;
                }
                Input::LossProbability => {
                    point.loss_probability = cells.real(column, at, "0 to below 1", |x| (0.0..1.0).contains(&x))?;
                }
            }
        }
        let ppl = |column: &'static str, at: Option<usize>| {
            at.map(|at| cells.real(column, at, "a finite number of at least 1", |x| x >= 1.0)).transpose()
        };
        let gain = |at| cells.real("relative_ppl_gain", at, "a finite number of at most 1", |x| x <= 1.0);
        let (ppl, ppl_clean) = (ppl("ppl", self.ppl)?, ppl("ppl_clean", self.ppl_clean)?);
        let relative_gain = self.gain.map(gain).transpose()?;
        if let (Some(ppl), Some(clean), Some(gain)) = (ppl, ppl_clean, relative_gain) {
            let computed = (clean - ppl) / clean;
            if (gain - computed).abs() > ROUNDING * (ppl / clean).max(1.0) {
                let file = cells.file.to_owned();
                return Err(FitError::Contradiction { file, line: cells.line, gain, ppl, clean, computed });
            }
        }
        Ok(SurrogateRow { point, ppl, ppl_clean, relative_gain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_editor() {
        let text = b"# one\n# two\nheader\n1\n\n# remark\r\n2\r\n3";
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_slice());
        assert_eq!(reader.headers().unwrap().get(0), Some("header"));
        let mut lines = Lines { bytes: text, at: 0, line: 1 };
        let found: Vec<(String, u64)> = reader
            .records()
            .map(|record| {
                let record = record.unwrap();
                (record[0].to_owned(), lines.of_record(record.position().unwrap().byte() as usize))
            })
            .collect();
        assert_eq!(found, [("1".to_owned(), 4), ("2".to_owned(), 7), ("3".to_owned(), 8)]);
    }
}
