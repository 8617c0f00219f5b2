//! `splitwave study plan`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::render::render_problems;
use crate::cli::study::open_plan;
use crate::cli::{in_colour, parse_threads, print, tell, threads};
use crate::run::inputs::Library;
use crate::run::signals::Interrupt;
use crate::run::wording::counted;
use crate::scenario::problem::clip;
use crate::study::{AxisValue, Plan, estimate};

/// Runs shown; `--json` has all.
const MOST_SHOWN: usize = 12;
/// Values of an axis shown.
const MOST_VALUES: usize = 8;
/// Time for the probe.
const PROBE: Duration = Duration::from_secs(2);
/// Characters of JSON written at once.
const BLOCK: usize = 1 << 16;

#[derive(clap::Args, Debug)]
pub struct PlanArgs {
    /// Study file.
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// Print all runs in order as one JSON document: their count, the estimated time of one in seconds, and
    /// of each run id, point, replication, seed and the value of every axis.
    #[arg(long)]
    json: bool,
    /// Don't begin a few runs to estimate the time.
    #[arg(long)]
    no_probe: bool,
    /// Threads that the estimate is for. Default: all cores.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_threads)]
    threads: Option<usize>,
}

pub fn plan(args: &PlanArgs) -> Result<(), Failure> {
    let mut library = Library::default();
    let plan = open_plan(&args.study, &mut library, false)?;
    tell(&render_problems(plan.warnings(), plan.sources(), in_colour()));
    let mut probe = || estimate(&plan, &mut library, PROBE, &Interrupt::new()).map_err(|error| Failure::study(&error));
    if args.json {
        let estimate = if args.no_probe { None } else { probe()? };
        return print_json(&plan, estimate.map(|estimate| estimate.run_s));
    }
    print(&format!("{}\n{}", axes(&plan), runs(&plan)))?;
    if args.no_probe {
        return Ok(());
    }
    let threads = threads(args.threads);
    let estimate = probe()?;
    print(&match estimate {
        Some(estimate) => {
            let at_once = threads.min(plan.runs());
            let total_s = (estimate.total_s / at_once as f64).max(estimate.run_s);
            format!(
                "\nabout {} on {} ({} a run, from the begin of {})\n",
                time(total_s),
                counted(threads as u64, "thread"),
                time(estimate.run_s),
                counted(estimate.probed as u64, "run"),
            )
        }
        None => "\nno estimate: no run got anywhere within the time of the probe\n".to_owned(),
    })
}

/// The axes with their values.
fn axes(plan: &Plan) -> String {
    let mut text = format!("study {}: {}\n", plan.name(), plan.size());
    let mut rows = Vec::new();
    for (axis, name) in plan.axes().iter().enumerate() {
        let levels = plan.levels(axis);
        let partners: Vec<_> = plan.paired(axis).into_iter().filter(|&other| other != axis).collect();
        let with: Vec<_> = partners.into_iter().map(|other| plan.axes()[other].as_str()).collect();
        let mut values = if levels.len() <= MOST_VALUES {
            levels.iter().map(shown).collect::<Vec<_>>().join(", ")
        } else {
            let first: Vec<_> = levels[..MOST_VALUES - 1].iter().map(shown).collect();
            let last = levels.last().map(shown).unwrap_or_default();
            format!("{}, … {last}", first.join(", "))
        };
        if levels.is_empty() {
            "in [[include]] only".clone_into(&mut values);
        }
        if !with.is_empty() {
            let _ = write!(values, "  (with {})", with.join(", "));
        }
        rows.push(vec![name.clone(), levels.len().to_string(), values]);
    }
    if !rows.is_empty() {
        text.push('\n');
        text += &table(&["axis", "values", ""], &rows, &[1]);
    }
    text
}

/// The first runs, in order.
fn runs(plan: &Plan) -> String {
    let mut header = vec!["run", "id", "point", "replication", "seed"];
    header.extend(plan.axes().iter().map(String::as_str));
    let row = |index: usize| {
        let run = plan.run(index);
        let mut row = vec![
            index.to_string(),
            run.id.to_string(),
            run.point.to_string(),
            run.replication.to_string(),
            run.seed.to_string(),
        ];
        row.extend(
            (0..plan.axes().len()).map(|axis| plan.value(run.point, axis).map_or_else(|| "-".to_owned(), shown)),
        );
        row
    };
    let rows: Vec<_> = (0..plan.runs().min(MOST_SHOWN)).map(row).collect();
    let mut text = table(&header, &rows, &[0, 2, 3, 4]);
    if plan.runs() > MOST_SHOWN {
        let _ = writeln!(text, "… and {} more; --json lists all", plan.runs() - MOST_SHOWN);
    }
    text
}

fn shown(value: &AxisValue) -> String {
    clip(&value.to_string())
}

/// Columns of equal width, those of `right` to the right.
fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            let _ = if right.contains(&column) {
                write!(text, "{gap}{cell:>width$}")
            } else {
                write!(text, "{gap}{cell:<width$}")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A time in words, to two digits or so.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", (s * 1e3).max(1.0)),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// All runs as one document, written in blocks: it may be larger than memory.
fn print_json(plan: &Plan, run_s: Option<f64>) -> Result<(), Failure> {
    let mut text = format!(
        "{{\"study\":{},\"scenario\":{},\"points\":{},\"replications\":{},\"count\":{},\"estimated_run_s\":{},\"axes\":{},\"runs\":[",
        json!(plan.name()),
        json!(plan.scenario_name()),
        plan.points(),
        plan.replications(),
        plan.runs(),
        json!(run_s),
        json!(plan.axes())
    );
    for index in 0..plan.runs() {
        let run = plan.run(index);
        let values =
            plan.axes().iter().enumerate().map(|(axis, name)| (name.clone(), cell(plan.value(run.point, axis))));
        let values: serde_json::Map<String, Value> = values.collect();
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            text,
            "{comma}\n{{\"id\":\"{}\",\"point\":{},\"replication\":{},\"seed\":{},\"values\":{}}}",
            run.id,
            run.point,
            run.replication,
            run.seed,
            Value::Object(values)
        );
        if text.len() >= BLOCK {
            print(&text)?;
            text.clear();
        }
    }
    text.push_str("\n]}\n");
    print(&text)
}

/// A value in JSON; null where a point leaves out what the base has no plain value for. Arrays and tables are texts, as TOML writes them.
fn cell(value: Option<&AxisValue>) -> Value {
    match value {
        None => Value::Null,
        Some(AxisValue::Integer(number)) => json!(number),
        Some(AxisValue::Float(number)) => json!(number),
        Some(AxisValue::Boolean(flag)) => json!(flag),
        Some(AxisValue::Text(text) | AxisValue::Toml(text)) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let words = [0.0001, 0.0314, 3.456, 75.0, 600.0, 9000.0, 259_200.0].map(time);
        assert_eq!(words, ["1 ms", "31 ms", "3.5 s", "75 s", "10 min", "2.5 h", "3.0 days"]);
    }
}
