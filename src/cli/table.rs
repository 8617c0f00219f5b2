//! The table at the end of `run`, from the runs' summary.csv.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use crate::run::assembly::Assembly;
use crate::run::runner::{Job, RunOutcome};
use crate::run::theory::Mm1;
use crate::run::wording::counted;
use crate::stats::{Moments, StudentInterval};

/// Most rows shown; summary.csv has all.
const MOST_ROWS: usize = 40;
/// Confidence of the intervals.
const LEVEL: f64 = 0.95;

/// A column of the table: the header, the column of summary.csv, and its form.
type Column = (&'static str, &'static str, Form);

/// Columns in order.
const COLUMNS: [Column; 23] = [
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
    ("from edge", "edge_token_share", Form::Share),
    ("fallback", "fallback_token_share", Form::Share),
    ("ln p_L", "llm_logprob_mean", Form::Decimal),
    ("split", "split_mean", Form::Decimal),
    ("UE", "ue_utilisation", Form::Share),
    ("uplink", "uplink_utilisation", Form::Share),
    ("edge", "edge_utilisation", Form::Share),
];

/// Columns that say something of sessions only.
const OF_SESSIONS: [&str; 2] = ["ttft_mean_s", "tpot_mean_s"];

/// Columns that say something of generated texts only, and those that say nothing of them.
const OF_TEXTS: [&str; 3] = ["edge_token_share", "fallback_token_share", "llm_logprob_mean"];
const OF_CORPUS: [&str; 1] = ["corpus_ppl_clean"];

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
pub fn results(runs: &[(Job, RunOutcome)]) -> String {
    let mut rows: Vec<(String, Row)> = Vec::new();
    // The rows of all, by scenario.
    let mut repeated: Vec<(&Arc<Assembly>, Vec<Row>)> = Vec::new();
    let (mut theory, mut learned) = (String::new(), String::new());
    for (job, outcome) in runs {
        let (RunOutcome::Finished { path, .. } | RunOutcome::Skipped { path }) = outcome;
        let summary = read(path);
        if let Some(all) = summary.last() {
            match repeated.last_mut().filter(|(assembly, _)| Arc::ptr_eq(assembly, &job.assembly)) {
                Some((_, rows)) => rows.push(all.clone()),
                None => repeated.push((&job.assembly, vec![all.clone()])),
            }
        }
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
    let has = |column: &str| rows.iter().any(|(_, row)| !cell(row, column).is_empty());
    let (texts, corpus) = (has(OF_TEXTS[0]), rows.iter().any(|(_, row)| cell(row, OF_TEXTS[0]).is_empty()));
    let says = |column: &str| {
        (sessions || !OF_SESSIONS.contains(&column))
            && (texts || !OF_TEXTS.contains(&column))
            && (corpus || !OF_CORPUS.contains(&column))
    };
    let columns: Vec<Column> = COLUMNS.into_iter().filter(|(_, column, _)| says(column)).collect();
    let cells = |(label, row): &(String, Row)| {
        columns.iter().map(|(_, column, form)| shown(row, column, *form, label)).collect()
    };
    let mut cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    repeated.retain(|(_, rows)| rows.len() > 1);
    for (assembly, rows) in repeated.iter().take(MOST_ROWS) {
        cells.extend(means(&columns, &assembly.scenario.name, rows));
    }
    let mut text = align(&columns, &cells);
    if hidden > 0 {
        let _ = writeln!(text, "… and {} more; each run's summary.csv has its own.", counted(hidden, "row"));
    }
    let told = if texts {
        " From edge, fallback: share of tokens; PPL and ln p_L: of the text, by the large model."
    } else {
        ""
    };
    let _ = writeln!(text, "Times in ms; PPL over all scored tokens; UE, uplink, edge: share of time busy.{told}");
    if !repeated.is_empty() {
        let _ = writeln!(text, "mean of N: mean of N replications, ± 95 % by Student's t.");
    }
    text + &capped(&learned) + &theory
}

/// Two rows below those of a scenario's replications: the mean over them, and the half width of its interval.
fn means(columns: &[Column], name: &str, rows: &[Row]) -> [Vec<String>; 2] {
    let estimate = |(_, column, form): &Column| {
        let numbers = rows.iter().filter_map(|row| cell(row, column).parse::<f64>().ok());
        let moments: Moments = numbers.collect();
        let interval = StudentInterval::from_moments(&moments, LEVEL);
        let form = if *form == Form::Count { Form::Decimal } else { *form };
        [moments.mean(), interval.map(|interval| interval.half_width)].map(|number| number_shown(number, form))
    };
    let labels = [format!("{name} mean of {}", rows.len()), "± 95 %".to_owned()];
    let words = |column: &Column, row: usize| match (column.1, row) {
        ("", row) => labels[row].clone(),
        (_, 0) => "all".to_owned(),
        _ => String::new(),
    };
    [0, 1].map(|row| {
        let cell =
            |column: &Column| if column.2 == Form::Word { words(column, row) } else { estimate(column)[row].clone() };
        columns.iter().map(cell).collect()
    })
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
    match form {
        Form::Word if column.is_empty() => label.to_owned(),
        Form::Word | Form::Count => text.to_owned(),
        form => number_shown(text.parse::<f64>().ok(), form),
    }
}

fn number_shown(number: Option<f64>, form: Form) -> String {
    match (form, number) {
        (Form::Milliseconds, Some(seconds)) => format!("{:.1}", seconds * 1e3),
        (Form::Share, Some(value)) => format!("{:.1} %", value * 100.0),
        (_, Some(value)) => format!("{value:.2}"),
        (_, None) => "-".to_owned(),
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
