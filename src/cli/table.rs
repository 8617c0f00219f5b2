//! The table at the end of `run`, from the runs' summary.csv.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::run::runner::{Job, RunOutcome};
use crate::run::theory::Mm1;
use crate::run::wording::counted;

/// Most rows shown; summary.csv has all.
const MOST_ROWS: usize = 40;

/// A column of the table: the header, the column of summary.csv, and its form.
type Column = (&'static str, &'static str, Form);

/// Columns in order.
const COLUMNS: [Column; 20] = [
    ("run", "", Form::Word),
    ("group", "name", Form::Word),
    ("requests", "arrivals", Form::Count),
    ("completed", "completed", Form::Count),
    ("outage", "outage", Form::Count),
    ("timeout", "timeout", Form::Count),
    ("dropped", "dropped", Form::Count),
    ("unfinished", "unfinished", Form::Count),
    ("e2e mean", "e2e_mean_s", Form::Milliseconds),
    ("p50", "e2e_median_s", Form::Milliseconds),
    ("p95", "e2e_p95_s", Form::Milliseconds),
    ("p99", "e2e_p99_s", Form::Milliseconds),
    ("TTFT", "ttft_mean_s", Form::Milliseconds),
    ("TPOT", "tpot_mean_s", Form::Milliseconds),
    ("PPL", "corpus_ppl", Form::Decimal),
    ("clean", "corpus_ppl_clean", Form::Decimal),
    ("split", "split_mean", Form::Decimal),
    ("UE", "ue_utilisation", Form::Share),
    ("uplink", "uplink_utilisation", Form::Share),
    ("edge", "edge_utilisation", Form::Share),
];

/// Columns that say something of sessions only.
const OF_SESSIONS: [&str; 2] = ["ttft_mean_s", "tpot_mean_s"];

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Word,
    Count,
    Milliseconds,
    Decimal,
    Share,
}

/// A row of summary.csv by column name.
type Row = BTreeMap<String, String>;

/// The results of the runs that are there: a row for all (and per group, if there
/// are several), and what theory says where a scenario is simple enough.
pub fn results(jobs: &[Job], finished: &[(usize, RunOutcome)]) -> String {
    let mut rows: Vec<(String, Row)> = Vec::new();
    let (mut theory, mut learned) = (String::new(), String::new());
    for (index, outcome) in finished {
        let (Some(job), RunOutcome::Finished { path, .. } | RunOutcome::Skipped { path }) = (jobs.get(*index), outcome)
        else {
            continue;
        };
        let summary = read(path);
        let groups = summary.iter().filter(|row| cell(row, "scope") == "group").count();
        if let (Some(queue), Some(all)) = (Mm1::of(&job.assembly), summary.last()) {
            theory += &beside_theory(queue, all);
        }
        if let Some(all) = summary.last() {
            let _ =
                write!(learned, "{}", evaluation(&format!("{} #{}", job.assembly.scenario.name, job.replication), all));
        }
        for row in summary.into_iter().filter(|row| cell(row, "scope") == "all" || groups > 1) {
            rows.push((format!("{} #{}", job.assembly.scenario.name, job.replication), row));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let hidden = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    let sessions = rows.iter().any(|(_, row)| !cell(row, "tpot_mean_s").is_empty());
    let columns: Vec<Column> =
        COLUMNS.into_iter().filter(|(_, column, _)| sessions || !OF_SESSIONS.contains(column)).collect();
    let cells = |(label, row): &(String, Row)| {
        columns.iter().map(|(_, column, form)| shown(row, column, *form, label)).collect()
    };
    let mut text = align(&columns, &rows.iter().map(cells).collect::<Vec<Vec<String>>>());
    if hidden > 0 {
        let _ = writeln!(text, "… and {} more; each run's summary.csv has its own.", counted(hidden, "row"));
    }
    let _ = writeln!(text, "Times in ms; PPL over all scored tokens; UE, uplink, edge: share of time busy.");
    text + &capped(&learned) + &theory
}

/// What was learned, beside the optimum and chance; empty for a run without evaluations.
fn evaluation(label: &str, all: &Row) -> String {
    let number = |column: &str| cell(all, column).parse::<f64>().ok();
    let Some(learned) = number("eval_reward_mean") else { return String::new() };
    let optimum = number("eval_optimal_mean").map_or_else(
        || "no optimum without quality.table and a reward that follows from it".to_owned(),
        |reward| format!("optimum {reward:.4}"),
    );
    let beside: Vec<String> = [
        Some(optimum),
        number("eval_random_mean").map(|reward| format!("random {reward:.4}")),
        number("normalised_regret").map(|regret| format!("normalised regret {regret:.3}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{label}: evaluated reward of an episode {learned:.4}; {}\n", beside.join(", "))
}

/// At most as many lines as the table has rows.
fn capped(lines: &str) -> String {
    lines.lines().take(MOST_ROWS).fold(String::new(), |text, line| text + line + "\n")
}

/// The rows of groups and of all. A file that can't be read has none: the run is done, and its table no reason to fail.
fn read(folder: &Path) -> Vec<Row> {
    let Ok(mut reader) = csv::Reader::from_path(folder.join("summary.csv")) else { return Vec::new() };
    let rows = reader.deserialize::<Row>().filter_map(Result::ok);
    rows.filter(|row| cell(row, "scope") != "ue").collect()
}

fn cell<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).map_or("", String::as_str)
}

fn shown(row: &Row, column: &str, form: Form, label: &str) -> String {
    let text = cell(row, column);
    let number = text.parse::<f64>().ok();
    match (form, number) {
        (Form::Word, _) if column.is_empty() => label.to_owned(),
        (Form::Word | Form::Count, _) => text.to_owned(),
        (Form::Milliseconds, Some(seconds)) => format!("{:.1}", seconds * 1e3),
        (Form::Decimal, Some(value)) => format!("{value:.2}"),
        (Form::Share, Some(value)) => format!("{:.1} %", value * 100.0),
        (Form::Milliseconds | Form::Decimal | Form::Share, None) => "-".to_owned(),
    }
}

/// Theory's numbers and the run's.
fn beside_theory(queue: Mm1, all: &Row) -> String {
    let number = |column: &str| cell(all, column).parse::<f64>().ok();
    let mut text = format!(
        "\nM/M/1 with λ = {:.4}/s, μ = {:.4}/s:      theory    simulated\n",
        queue.arrival_rate, queue.service_rate
    );
    for line in queue.predictions(number("downlink_mean_s").unwrap_or(0.0)) {
        let simulated = number(line.column).map_or_else(|| "-".to_owned(), |value| format!("{value:.6}"));
        let _ = writeln!(text, "  {:<30} {:>12.6} {simulated:>12}", line.what, line.value);
    }
    text
}

/// Columns of equal width: words to the left, numbers to the right.
fn align(columns: &[Column], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = columns.iter().map(|(header, ..)| (*header).to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&header[..]).chain(rows.iter().map(Vec::as_slice)) {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            let left = columns.get(column).is_some_and(|(.., form)| *form == Form::Word);
            let _ = if left { write!(text, "{gap}{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
