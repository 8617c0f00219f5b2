//! The tables of a study: `runs.csv`, `groups.csv` and `runs.parquet`, a row per run.

use std::io;
use std::path::Path;

use crate::record::Figures;
use crate::study::beside::{Beside, WriteError};
use crate::study::outcomes::{Cells, Outcome, Outcomes};
use crate::study::parquet_file::{ColumnKind, ParquetColumn, write_parquet};
use crate::study::{AxisValue, Plan};

/// Columns in front of the axes.
pub const LEADING: [&str; 6] = ["run_id", "point", "replication", "seed", "status", "error"];
/// Figures that count requests; the others are real numbers.
const COUNTS: [&str; 6] = ["arrivals", "completed", "outage", "timeout", "dropped", "unfinished"];

/// `runs.csv`: every run that is done or has failed, in the order of the plan: its id, its axes, and
/// the figures of `summary.csv` for all UEs.
///
/// # Errors
/// [`WriteError`] if it can't be written.
pub fn write_runs(path: &Path, plan: &Plan, outcomes: &Outcomes) -> Result<Beside, WriteError> {
    write_csv(path, |csv| {
        let axes = plan.axes().iter().map(String::as_str);
        let figures = Figures::columns().iter().map(|column| column.name);
        csv.write_record(LEADING.into_iter().chain(axes).chain(figures))?;
        for index in 0..plan.runs() {
            let Some(leading) = leading(plan, outcomes, index) else { continue };
            let axes: Vec<String> = axis_cells(plan, plan.run(index).point).collect();
            for cell in leading.iter().chain(&axes) {
                csv.write_field(cell)?;
            }
            match &outcomes.runs[index] {
                Outcome::Done(done) => csv.write_record(done.all.iter())?,
                _ => csv.write_record(Figures::columns().iter().map(|_| ""))?,
            }
        }
        Ok(())
    })
}

/// `groups.csv`: the same with a row per run and `[[ue]]` group. Nothing where scenarios have one group.
///
/// # Errors
/// [`WriteError`] if it can't be written.
pub fn write_groups(path: &Path, plan: &Plan, outcomes: &Outcomes) -> Result<Option<Beside>, WriteError> {
    let groups_of = |outcome: &Outcome| match outcome {
        Outcome::Done(done) => done.groups.clone(),
        _ => Vec::new(),
    };
    if outcomes.runs.iter().all(|run| groups_of(run).is_empty()) {
        return Ok(None);
    }
    write_csv(path, |csv| {
        let axes = plan.axes().iter().map(String::as_str);
        let figures = Figures::columns().iter().map(|column| column.name);
        csv.write_record(LEADING[..4].iter().copied().chain(axes).chain(["group"]).chain(figures))?;
        for index in 0..plan.runs() {
            for (group, cells) in groups_of(&outcomes.runs[index]) {
                let Some(leading) = leading(plan, outcomes, index) else { continue };
                let axes: Vec<String> = axis_cells(plan, plan.run(index).point).collect();
                for cell in leading[..4].iter().chain(&axes) {
                    csv.write_field(cell)?;
                }
                csv.write_field(&*group)?;
                csv.write_record(cells.iter())?;
            }
        }
        Ok(())
    })
    .map(Some)
}

/// `runs.parquet`: the rows of `runs.csv` with types: counts, points and seeds are 64-bit integers (seeds without a sign), axes of
/// numbers integers or doubles, figures doubles, the rest texts. Empty is null.
///
/// # Errors
/// [`WriteError`] if it can't be written.
pub fn write_runs_parquet(path: &Path, plan: &Plan, outcomes: &Outcomes) -> Result<Beside, WriteError> {
    let rows: Vec<usize> = (0..plan.runs()).filter(|&run| !matches!(outcomes.runs[run], Outcome::Missing)).collect();
    let mut columns = Vec::new();
    for (place, name) in LEADING.into_iter().enumerate() {
        let kind = match name {
            "point" | "replication" => ColumnKind::Integer,
            "seed" => ColumnKind::Unsigned,
            _ => ColumnKind::Text,
        };
        let cell = move |row: usize| {
            let cells = leading(plan, outcomes, row);
            cells.map(|mut cells| std::mem::take(&mut cells[place])).filter(|cell| !cell.is_empty())
        };
        columns.push(ParquetColumn { name: name.to_owned(), kind, cell: Box::new(cell) });
    }
    for (axis, name) in plan.axes().iter().enumerate() {
        let cell = move |row: usize| plan.value(plan.run(row).point, axis).map(ToString::to_string);
        columns.push(ParquetColumn { name: name.clone(), kind: axis_kind(plan, axis), cell: Box::new(cell) });
    }
    for (place, column) in Figures::columns().iter().enumerate() {
        let kind = if COUNTS.contains(&column.name) { ColumnKind::Integer } else { ColumnKind::Real };
        let cell = move |row: usize| match &outcomes.runs[row] {
            Outcome::Done(done) => figure(&done.all, place).map(str::to_owned),
            _ => None,
        };
        columns.push(ParquetColumn { name: column.name.to_owned(), kind, cell: Box::new(cell) });
    }
    Beside::write(path, |file| write_parquet(file, &rows, &columns))
}

/// The text of a figure, unless it is empty.
pub fn figure(cells: &Cells, place: usize) -> Option<&str> {
    cells.iter().nth(place).filter(|cell| !cell.is_empty())
}

/// The cells of a point's axes; empty where [`Plan::value`] has none.
pub fn axis_cells(plan: &Plan, point: usize) -> impl Iterator<Item = String> {
    (0..plan.axes().len()).map(move |axis| plan.value(point, axis).map(ToString::to_string).unwrap_or_default())
}

/// Writes a CSV file that is there whole or not at all.
pub(super) fn write_csv(
    path: &Path,
    rows: impl FnOnce(&mut csv::Writer<&mut io::BufWriter<std::fs::File>>) -> Result<(), csv::Error>,
) -> Result<Beside, WriteError> {
    Beside::write(path, |file| {
        let mut csv = csv::WriterBuilder::new().from_writer(file);
        rows(&mut csv).map_err(io::Error::from)?;
        csv.flush()
    })
}

/// The cells under [`LEADING`] of a run that is done or has failed.
fn leading(plan: &Plan, outcomes: &Outcomes, index: usize) -> Option<[String; 6]> {
    let run = plan.run(index);
    let (status, error) = match &outcomes.runs[index] {
        Outcome::Done(_) => ("done", String::new()),
        Outcome::Failed { error, .. } => ("failed", error.to_string()),
        Outcome::Missing => return None,
    };
    let [point, replication, seed] = [run.point.to_string(), run.replication.to_string(), run.seed.to_string()];
    Some([run.id.to_string(), point, replication, seed, status.to_owned(), error])
}

/// The type that holds all values of an axis.
fn axis_kind(plan: &Plan, axis: usize) -> ColumnKind {
    let mut kind = ColumnKind::Integer;
    for point in 0..plan.points() {
        match plan.value(point, axis) {
            None | Some(AxisValue::Integer(_)) => {}
            Some(AxisValue::Float(_)) => kind = ColumnKind::Real,
            Some(_) => return ColumnKind::Text,
        }
    }
    kind
}
