//! Perplexity as a table over split, loss probability and noise, as `splitwave
//! profile` measures it with the real model.

use std::collections::BTreeMap;
use std::path::Path;

/// How a scenario names the table of the built-in model, which is compiled into the program.
pub const BUILTIN_TABLE: &str = "builtin";
/// Tables that are compiled into the program, by the name that a scenario gives them: the
/// profile of the built-in model, and the gains of LLaMA-2-7B that \[Chen25\] published.
const NAMED: [(&str, &[u8]); 2] = [
    (BUILTIN_TABLE, include_bytes!("../../models/builtin/profile.csv")),
    ("llama-2-7b", include_bytes!("../../models/llama-2-7b/relative_ppl_gain.csv")),
];

/// What a table says for one point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TableValue {
    /// PPL.
    pub ppl: Option<f64>,
    /// PPL without a channel.
    pub ppl_clean: Option<f64>,
    /// `(PPL_0 - PPL)/PPL_0`.
    pub relative_gain: Option<f64>,
}

/// A full grid of splits × loss probabilities × noise levels, interpolated in
/// between: ln PPL and the relative gain linearly in both coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct QualityTable {
    splits: Vec<u32>,
    losses: Vec<f64>,
    noises: Vec<f64>,
    /// By split, then loss, then noise.
    cells: Vec<TableValue>,
    has_noise: bool,
    /// What the columns of [`MADE_WITH`] say, where the file has them.
    made_with: BTreeMap<&'static str, String>,
    content_hash: String,
}

/// Columns that say what a table was made with: the same in every row.
const MADE_WITH: [&str; 14] = [
    "reception",
    "loss_unit",
    "tx_normalisation",
    "vocabulary",
    "fading",
    "rayleigh_scale",
    "prompt_tokens",
    "packets",
    "doppler_hz",
    "airtime_s",
    "model",
    "concealment",
    "encoding",
    "window",
];

/// A table that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file can't be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no CSV.
    #[error("{file}: {source}")]
    Csv {
        /// The file.
        file: String,
        /// Why.
        source: csv::Error,
    },
    /// A column is missing.
    #[error(
        "{file}: no column `{column}`; a table has split, loss_probability, maybe noise_std, and ppl with ppl_clean, or relative_ppl_gain"
    )]
    Column {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A cell can't be used.
    #[error("{file}, line {line}: `{column}` is `{value}`; allowed: {allowed}")]
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
    /// The grid has a hole or a double.
    #[error(
        "{file}: {count} rows for split {split}, loss_probability {loss}, noise_std {noise}; a table is a full grid with one row each"
    )]
    Grid {
        /// The file.
        file: String,
        /// Rows found.
        count: usize,
        /// Split.
        split: u32,
        /// Loss probability.
        loss: f64,
        /// Noise.
        noise: f64,
    },
    /// A column that says what the table was made with says two things.
    #[error("{file}, line {line}: `{column}` is `{value}`, but `{first}` above; one table is made with one setting")]
    Mixed {
        /// The file.
        file: String,
        /// Line in the file.
        line: u64,
        /// Column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What stands above.
        first: String,
    },
    /// No rows at all.
    #[error("{file}: no rows")]
    Empty {
        /// The file.
        file: String,
    },
}

impl QualityTable {
    /// Whether it is the name of a table that is compiled in.
    pub fn is_name(source: &str) -> bool {
        NAMED.iter().any(|(name, _)| *name == source)
    }

    /// Opens what a scenario's `quality.table` names: a table that is compiled in, or a file.
    ///
    /// # Errors
    /// [`TableError`] if the file is missing, no CSV, or no full grid.
    pub fn open(source: &str, path: &Path) -> Result<Self, TableError> {
        if let Some((name, bytes)) = NAMED.iter().find(|(name, _)| *name == source) {
            return Self::from_csv(name, bytes);
        }
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| TableError::Io { file: file.clone(), source })?;
        Self::from_csv(&file, &bytes)
    }

    /// Reads a table from CSV; lines that start with `#` are remarks. `file` names it in errors.
    ///
    /// # Errors
    /// [`TableError`] if it is no CSV or no full grid.
    pub fn from_csv(file: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let csv_error = |source| TableError::Csv { file: file.to_owned(), source };
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(bytes);
        let headers = reader.headers().map_err(csv_error)?.clone();
        let find = |name: &str| headers.iter().position(|header| header == name);
        let need = |name: &'static str| find(name).ok_or(TableError::Column { file: file.to_owned(), column: name });
        let (split_at, loss_at) = (need("split")?, need("loss_probability")?);
        let noise_at = find("noise_std");
        let (ppl_at, clean_at, gain_at) = (find("ppl"), find("ppl_clean"), find("relative_ppl_gain"));
        if ppl_at.is_none() || clean_at.is_none() {
            need("relative_ppl_gain")?;
        }
        let mut rows: Vec<(u32, f64, f64, TableValue)> = Vec::new();
        let mut made_with: BTreeMap<&'static str, String> = BTreeMap::new();
        let settings: Vec<(&'static str, usize)> =
            MADE_WITH.iter().filter_map(|&column| Some((column, find(column)?))).collect();
        for record in reader.records() {
            let record = record.map_err(csv_error)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |at: usize| record.get(at).unwrap_or_default();
            let refuse = |column: &'static str, at: usize, allowed: &'static str| TableError::Cell {
                file: file.to_owned(),
                line,
                column,
                value: cell(at).to_owned(),
                allowed,
            };
            let real = |column: &'static str, at: usize, allowed: &'static str, ok: fn(f64) -> bool| {
                cell(at).parse::<f64>().ok().filter(|value| ok(*value)).ok_or_else(|| refuse(column, at, allowed))
            };
            for &(column, at) in &settings {
                let first = made_with.entry(column).or_insert_with(|| cell(at).to_owned());
                if first != cell(at) {
                    let (file, value, first) = (file.to_owned(), cell(at).to_owned(), first.clone());
                    return Err(TableError::Mixed { file, line, column, value, first });
                }
            }
            let split = cell(split_at).parse::<u32>().ok().filter(|&split| split > 0);
            let split = split.ok_or_else(|| refuse("split", split_at, "a whole number above 0"))?;
            let loss = real("loss_probability", loss_at, "0 to below 1", |p| (0.0..1.0).contains(&p))?;
            let noise = match noise_at {
                Some(at) => real("noise_std", at, "a finite number of at least 0", |s| s.is_finite() && s >= 0.0)?,
                None => 0.0,
            };
            let perplexity = |column: &'static str, at: Option<usize>| {
                at.map(|at| real(column, at, "a finite number of at least 1", |ppl| ppl.is_finite() && ppl >= 1.0))
                    .transpose()
            };
            let (ppl, ppl_clean) = (perplexity("ppl", ppl_at)?, perplexity("ppl_clean", clean_at)?);
            let given = gain_at
                .map(|at| real("relative_ppl_gain", at, "a finite number of at most 1", |g| g.is_finite() && g <= 1.0))
                .transpose()?;
            let computed = ppl.zip(ppl_clean).map(|(ppl, clean)| (clean - ppl) / clean);
            // -0 is 0: the grid looks points up by their bits.
            let (loss, noise) = (loss + 0.0, noise + 0.0);
            rows.push((split, loss, noise, TableValue { ppl, ppl_clean, relative_gain: given.or(computed) }));
        }
        let hash = blake3::hash(bytes).to_hex().to_string();
        Ok(Self { made_with, ..Self::from_rows(file, &rows, noise_at.is_some(), hash)? })
    }

    fn from_rows(
        file: &str,
        rows: &[(u32, f64, f64, TableValue)],
        has_noise: bool,
        content_hash: String,
    ) -> Result<Self, TableError> {
        let mut splits: Vec<u32> = rows.iter().map(|row| row.0).collect();
        splits.sort_unstable();
        splits.dedup();
        let axis = |of: fn(&(u32, f64, f64, TableValue)) -> f64| {
            let mut values: Vec<f64> = rows.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            values
        };
        let (losses, noises) = (axis(|row| row.1), axis(|row| row.2));
        if splits.is_empty() {
            return Err(TableError::Empty { file: file.to_owned() });
        }
        let mut by_point: BTreeMap<(u32, u64, u64), Vec<TableValue>> = BTreeMap::new();
        for (split, loss, noise, value) in rows {
            by_point.entry((*split, loss.to_bits(), noise.to_bits())).or_default().push(*value);
        }
        let mut cells = Vec::with_capacity(splits.len() * losses.len() * noises.len());
        for &split in &splits {
            for &loss in &losses {
                for &noise in &noises {
                    match by_point.get(&(split, loss.to_bits(), noise.to_bits())).map(Vec::as_slice) {
                        Some([value]) => cells.push(*value),
                        found => {
                            let count = found.map_or(0, <[_]>::len);
                            return Err(TableError::Grid { file: file.to_owned(), count, split, loss, noise });
                        }
                    }
                }
            }
        }
        Ok(Self { splits, losses, noises, cells, has_noise, made_with: BTreeMap::new(), content_hash })
    }

    /// The value at a point. Coordinates beyond the grid count as its border, a split
    /// that the table doesn't have as the next one that it has.
    pub fn value(&self, split: u32, loss_probability: f64, noise_std: f64) -> TableValue {
        let row = match self.splits.binary_search(&split) {
            Ok(row) => row,
            Err(next) => next.min(self.splits.len() - 1),
        };
        let (l0, l1, l) = bracket(&self.losses, loss_probability);
        let (n0, n1, n) = bracket(&self.noises, noise_std);
        let cell = |loss: usize, noise: usize| self.cells[(row * self.losses.len() + loss) * self.noises.len() + noise];
        let corners = [cell(l0, n0), cell(l0, n1), cell(l1, n0), cell(l1, n1)];
        let mix = |of: fn(&TableValue) -> Option<f64>| -> Option<f64> {
            let [a, b, c, d] = [of(&corners[0])?, of(&corners[1])?, of(&corners[2])?, of(&corners[3])?];
            Some(lerp(lerp(a, b, n), lerp(c, d, n), l))
        };
        TableValue {
            ppl: mix(|value| value.ppl.map(f64::ln)).map(f64::exp),
            ppl_clean: mix(|value| value.ppl_clean.map(f64::ln)).map(f64::exp),
            relative_gain: mix(|value| value.relative_gain),
        }
    }

    /// Whether the table knows PPL, or relative gains only.
    pub fn has_ppl(&self) -> bool {
        self.cells.iter().all(|value| value.ppl.is_some() && value.ppl_clean.is_some())
    }

    /// Whether the table has this split.
    pub fn knows(&self, split: u32) -> bool {
        self.splits.binary_search(&split).is_ok()
    }

    /// What the table says it was made with, by the column's name (`reception`, `fading`,
    /// `model` …); `None` if it doesn't say.
    pub fn made_with(&self, setting: &str) -> Option<&str> {
        self.made_with.get(setting).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Vocabulary of the model that was profiled, if the table says so.
    pub fn vocabulary(&self) -> Option<usize> {
        self.made_with("vocabulary")?.parse().ok()
    }

    /// Least and largest split.
    pub fn splits(&self) -> (u32, u32) {
        (self.splits[0], self.splits[self.splits.len() - 1])
    }

    /// Least and largest loss probability.
    pub fn losses(&self) -> (f64, f64) {
        (self.losses[0], self.losses[self.losses.len() - 1])
    }

    /// Least and largest σ; `None` for a table without noise.
    pub fn noises(&self) -> Option<(f64, f64)> {
        self.has_noise.then(|| (self.noises[0], self.noises[self.noises.len() - 1]))
    }

    /// BLAKE3 hash of the file's bytes, in hexadecimal.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }
}

/// The neighbours of `x` on an axis and its place between them.
fn bracket(axis: &[f64], x: f64) -> (usize, usize, f64) {
    let last = axis.len() - 1;
    let next = axis.partition_point(|&value| value <= x);
    match next {
        0 => (0, 0, 0.0),
        next if next > last => (last, last, 0.0),
        next => (next - 1, next, (x - axis[next - 1]) / (axis[next] - axis[next - 1])),
    }
}

fn lerp(a: f64, b: f64, t: f64) -> f64 {
    // Exact at both ends, and for equal ends whatever t is.
    if t == 0.0 || a == b { a } else { a + (b - a) * t }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: &str = "# a remark\nsplit,loss_probability,noise_std,ppl,ppl_clean\n\
        1,0,0,20,20\n1,0,1,40,20\n1,0.5,0,80,20\n1,0.5,1,160,20\n\
        2,0,0,20,20\n2,0,1,30,20\n2,0.5,0,60,20\n2,0.5,1,90,20\n";

    #[test]
    fn interpolates_the_logarithm_of_ppl() {
        let table = QualityTable::from_csv("grid", GRID.as_bytes()).unwrap();
        assert_eq!(table.value(1, 0.0, 1.0).ppl.map(f64::round), Some(40.0));
        // The middle of the cell is the geometric mean of its corners.
        let middle = table.value(1, 0.25, 0.5).ppl.unwrap();
        assert!((middle - (20.0f64 * 40.0 * 80.0 * 160.0).powf(0.25)).abs() < 1e-9);
        // Gains are interpolated themselves: (0 - 1 - 3 - 7)/4.
        assert!((table.value(1, 0.25, 0.5).relative_gain.unwrap() + 2.75).abs() < 1e-12);
        assert_eq!(table.value(2, 9.0, 9.0), table.value(2, 0.5, 1.0));
        assert_eq!((table.splits(), table.losses(), table.noises()), ((1, 2), (0.0, 0.5), Some((0.0, 1.0))));
    }

    #[test]
    fn a_table_of_gains_knows_no_ppl() {
        let table =
            QualityTable::from_csv("gains", b"loss_probability,split,relative_ppl_gain\n0,1,-0.03\n0.1,1,-0.5\n")
                .unwrap();
        assert!(!table.has_ppl());
        assert_eq!(table.noises(), None);
        let value = table.value(1, 0.05, 3.0);
        assert_eq!((value.ppl, value.ppl_clean), (None, None));
        assert!((value.relative_gain.unwrap() + 0.265).abs() < 1e-12);
    }

    /// Cells as the published network gives them; the clean split 7 gains a little.
    #[test]
    fn the_published_surface_is_compiled_in() {
        assert!(QualityTable::is_name("builtin") && QualityTable::is_name("llama-2-7b") && !QualityTable::is_name("x"));
        let table = QualityTable::open("llama-2-7b", Path::new("")).unwrap();
        assert_eq!((table.splits(), table.losses(), table.noises()), ((1, 10), (0.0, 0.3), None));
        assert!(!table.has_ppl());
        assert_eq!(table.value(7, 0.0, 0.0).relative_gain, Some(0.008_498));
        assert_eq!(table.value(1, 0.005, 9.0).relative_gain, Some(-0.029_995));
    }

    #[test]
    fn refuses_what_is_no_grid() {
        let message = |text: &str| QualityTable::from_csv("t.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(message("split,ppl\n1,20\n").contains("no column `loss_probability`"));
        assert!(message("split,loss_probability,ppl\n1,0,20\n").contains("`relative_ppl_gain`"));
        assert!(message("split,loss_probability,relative_ppl_gain\n").contains("no rows"));
        let hole = "split,loss_probability,relative_ppl_gain\n1,0,0\n1,0.1,0\n2,0,0\n";
        assert!(message(hole).contains("0 rows for split 2, loss_probability 0.1"));
        let double = "split,loss_probability,relative_ppl_gain\n1,0,0\n1,0,0\n";
        assert!(message(double).contains("2 rows for split 1"));
        for bad in ["0,0,0", "1,1,0", "1,NaN,0", "1,0,inf", "1,0,2", "x,0,0"] {
            let text = format!("split,loss_probability,relative_ppl_gain\n{bad}\n");
            assert!(message(&text).contains("line 2"), "{bad}");
        }
    }
}
