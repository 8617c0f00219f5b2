//! The recorder of one run.

use std::path::{Path, PathBuf};

use crate::network::energy::UeEnergy;
use crate::network::ports::{RecordError, Recorder};
use crate::network::rows::{DecisionRow, RequestRow, SeriesRow, TokenRow, UpdateRow};
use crate::record::csv_file::{CsvFile, FileSeal};
use crate::record::figures::Figures;
use crate::record::summary::{Overall, Summary};
use crate::record::summary_row::SummaryRow;
use crate::units::SimTime;

/// Which files a run keeps; `summary.csv` always comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each file")]
pub struct Wanted {
    /// `requests.csv`.
    pub requests: bool,
    /// `decisions.csv`.
    pub decisions: bool,
    /// `series.csv`.
    pub series: bool,
    /// `updates.csv`.
    pub updates: bool,
    /// `tokens.csv`.
    pub tokens: bool,
}

/// What a run recorded.
pub struct Recorded {
    /// The files, in the order requests, decisions, series, updates, tokens, summary; none without a folder.
    pub seals: Vec<FileSeal>,
    /// The last rows of `summary.csv`, as they stand there.
    pub figures: Figures,
    /// The summary, for whoever wants to show it.
    pub summary: Summary,
}

/// Keeps the rows of a run: those of the files wanted on disk, if it has a folder, those of
/// requests in the summary.
pub struct RunRecorder {
    folder: Option<PathBuf>,
    requests: Option<CsvFile>,
    decisions: Option<CsvFile>,
    series: Option<CsvFile>,
    updates: Option<CsvFile>,
    tokens: Option<CsvFile>,
    summary: Summary,
}

impl RunRecorder {
    /// Creates the files wanted in `folder`.
    ///
    /// # Errors
    /// [`RecordError`] with the path of the file that can't be created.
    pub fn create(folder: &Path, wanted: Wanted, summary: Summary) -> Result<Self, RecordError> {
        Ok(Self {
            folder: Some(folder.to_owned()),
            requests: wanted.requests.then(|| CsvFile::create::<RequestRow<'_>>(folder)).transpose()?,
            decisions: wanted.decisions.then(|| CsvFile::create::<DecisionRow<'_>>(folder)).transpose()?,
            series: wanted.series.then(|| CsvFile::create::<SeriesRow>(folder)).transpose()?,
            updates: wanted.updates.then(|| CsvFile::create::<UpdateRow>(folder)).transpose()?,
            tokens: wanted.tokens.then(|| CsvFile::create::<TokenRow>(folder)).transpose()?,
            summary,
        })
    }

    /// Keeps the summary only, and no file of it.
    pub fn in_memory(summary: Summary) -> Self {
        Self { folder: None, requests: None, decisions: None, series: None, updates: None, tokens: None, summary }
    }

    /// The summary so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The summary, to tell it when arrivals really stopped.
    pub fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// Completes the files and writes `summary.csv`, if there is a folder.
    ///
    /// # Errors
    /// [`RecordError`] with the path of the file that can't be completed.
    pub fn finish(self, overall: &Overall) -> Result<Recorded, RecordError> {
        let Self { folder, requests, decisions, series, updates, tokens, summary } = self;
        let mut seals = Vec::new();
        for file in [requests, decisions, series, updates, tokens].into_iter().flatten() {
            seals.push(file.finish()?);
        }
        if let Some(folder) = folder {
            let mut file = CsvFile::create::<SummaryRow<'_>>(&folder)?;
            for row in summary.rows(overall) {
                file.push(&row)?;
            }
            seals.push(file.finish()?);
        }
        Ok(Recorded { seals, figures: Figures::of(&summary, overall), summary })
    }
}

impl Recorder for RunRecorder {
    fn request(&mut self, row: &RequestRow<'_>) -> Result<(), RecordError> {
        self.summary.add(row);
        self.requests.as_mut().map_or(Ok(()), |file| file.push(row))
    }

    fn decision(&mut self, row: &DecisionRow<'_>) -> Result<(), RecordError> {
        self.decisions.as_mut().map_or(Ok(()), |file| file.push(row))
    }

    fn update(&mut self, row: &UpdateRow) -> Result<(), RecordError> {
        self.updates.as_mut().map_or(Ok(()), |file| file.push(row))
    }

    fn token(&mut self, row: &TokenRow) -> Result<(), RecordError> {
        self.tokens.as_mut().map_or(Ok(()), |file| file.push(row))
    }

    fn ue_computed(&mut self, ue: u32, from: SimTime, to: SimTime) {
        self.summary.computed(ue, from, to);
    }

    fn ue_energy(&mut self, ue: u32, energy: &UeEnergy) {
        self.summary.ue_energy(ue, energy);
    }

    fn arrivals_ended(&mut self, at: SimTime) {
        self.summary.arrivals_ended(at);
    }

    fn sample(&mut self, row: &SeriesRow) -> Result<(), RecordError> {
        self.series.as_mut().map_or(Ok(()), |file| file.push(row))
    }
}
