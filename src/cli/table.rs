//! The table at the end of `run`.

use std::fmt::Write;

use crate::record::SummaryRow;
use crate::run::runner::{FinishedRun, Job, RunOutcome};
use crate::run::theory;
use crate::units::SimTime;

/// Most rows shown; summary.csv has all.
const MOST_ROWS: usize = 40;

/// The results of the finished runs: a row per group (or for all, if there is one
/// group), and what theory says where a scenario is simple enough.
pub fn results(jobs: &[Job], finished: &[(usize, RunOutcome)]) -> String {
    let runs: Vec<(&Job, &FinishedRun)> = finished
        .iter()
        .filter_map(|(job, outcome)| match outcome {
            RunOutcome::Finished(done) => Some((jobs.get(*job)?, done.as_ref())),
            RunOutcome::Skipped { .. } => None,
        })
        .collect();
    if runs.is_empty() {
        return String::new();
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (job, done) in &runs {
        for row in done.summary.aggregates(&done.utilisation) {
            let label = format!("{} #{}", job.assembly.scenario.name, job.replication);
            if row.scope == "all" || done.summary.groups() > 1 {
                rows.push(cells(label, &row));
            }
        }
    }
    let hidden = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    let header = [
        "run",
        "group",
        "requests",
        "completed",
        "outage",
        "timeout",
        "dropped",
        "e2e mean",
        "p50",
        "p95",
        "p99",
        "PPL",
        "clean",
        "split",
        "UE",
        "uplink",
        "edge",
    ];
    let mut text = align(&header.map(str::to_owned), &rows);
    if hidden > 0 {
        let _ = writeln!(text, "… and {hidden} more rows; each run's summary.csv has its own.");
    }
    let _ = writeln!(text, "Times in ms; PPL over all scored tokens; UE, uplink, edge: share of time busy.");
    for (job, done) in &runs {
        if let Some(lines) = theory::compare(&job.assembly, &done.summary, &done.utilisation) {
            text += &lines;
        }
    }
    text
}

fn cells(label: String, row: &SummaryRow<'_>) -> Vec<String> {
    let milliseconds = |seconds: Option<f64>| seconds.map_or_else(dash, |s| format!("{:.1}", s * 1e3));
    let quantile = |time: Option<SimTime>| milliseconds(time.map(SimTime::as_secs_f64));
    let decimal = |value: Option<f64>, digits: usize| value.map_or_else(dash, |v| format!("{v:.digits$}"));
    let share = |value: Option<f64>| value.map_or_else(dash, |v| format!("{:.1} %", v * 100.0));
    vec![
        label,
        if row.scope == "all" { "all".into() } else { row.name.clone() },
        row.arrivals.to_string(),
        row.completed.to_string(),
        row.outage.to_string(),
        row.timeout.to_string(),
        row.dropped.to_string(),
        milliseconds(row.e2e_mean_s),
        quantile(row.e2e_median_s),
        quantile(row.e2e_p95_s),
        quantile(row.e2e_p99_s),
        decimal(row.corpus_ppl, 2),
        decimal(row.corpus_ppl_clean, 2),
        decimal(row.split_mean, 2),
        share(row.ue_utilisation),
        share(row.uplink_utilisation),
        share(row.edge_utilisation),
    ]
}

fn dash() -> String {
    "-".into()
}

/// Columns of equal width: words to the left, numbers to the right.
fn align(header: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            let _ = if column < 2 { write!(text, "{gap}{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
