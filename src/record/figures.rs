//! The figures of a whole run: the rows of `summary.csv` behind those of the UEs, as text.

use std::path::Path;

use crate::network::ports::RecordError;
use crate::network::rows::{Column, Record as _};
use crate::record::csv_file::cells;
use crate::record::summary::{Overall, Summary};
use crate::record::summary_row::SummaryRow;

/// The column that the figures begin with; what stands in front of it says what the row is about.
const FIRST: &str = "arrivals";

/// What a run came to: the cells of `summary.csv`, with the very text that stands there, in
/// the order of [`Figures::columns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of all UEs: the row `all`.
    pub all: Vec<String>,
    /// Of each group by name, in the order of the scenario; none if there is one group only,
    /// which is all.
    pub groups: Vec<(String, Vec<String>)>,
}

impl Figures {
    /// The columns of `summary.csv` that hold figures.
    pub fn columns() -> &'static [Column] {
        let columns = SummaryRow::COLUMNS;
        &columns[columns.iter().position(|column| column.name == FIRST).unwrap_or(columns.len())..]
    }

    /// Of a run that has ended.
    pub fn of(summary: &Summary, overall: &Overall) -> Self {
        let before = SummaryRow::COLUMNS.len() - Self::columns().len();
        let several = summary.groups() > 1;
        let mut figures = Self::default();
        for row in summary.aggregates(overall) {
            let texts = cells(&row).split_off(before);
            match row.group {
                None => figures.all = texts,
                Some(group) if several => figures.groups.push((group.to_owned(), texts)),
                Some(_) => {}
            }
        }
        figures
    }

    /// Of a run that is kept, from the `summary.csv` in its folder.
    ///
    /// # Errors
    /// [`RecordError`] if the file can't be read, or isn't one of this program.
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(SummaryRow::FILE);
        Self::read_file(&path).map_err(|error| RecordError { path, source: std::io::Error::other(error) })
    }

    fn read_file(path: &Path) -> Result<Self, csv::Error> {
        let mut reader = csv::Reader::from_path(path)?;
        let before = SummaryRow::COLUMNS.len() - Self::columns().len();
        let headers = reader.headers()?;
        let names = SummaryRow::COLUMNS.iter().map(|column| column.name);
        let same = headers.iter().eq(names);
        let refuse = |what: &str| csv::Error::from(std::io::Error::other(what.to_owned()));
        if !same {
            return Err(refuse("its columns are not those that this program writes"));
        }
        let mut figures = Self::default();
        for record in reader.records() {
            let record = record?;
            let texts = || record.iter().skip(before).map(str::to_owned).collect();
            match record.get(0) {
                Some("all") => figures.all = texts(),
                Some("group") => figures.groups.push((record.get(1).unwrap_or_default().to_owned(), texts())),
                _ => {}
            }
        }
        if figures.all.is_empty() {
            return Err(refuse("it has no row of all UEs"));
        }
        if figures.groups.len() == 1 {
            figures.groups.clear();
        }
        Ok(figures)
    }
}
