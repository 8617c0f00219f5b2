//! `splitwave study status`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::cli::failure::Failure;
use crate::cli::print;
use crate::cli::study::collect::find;
use crate::run::signals::Interrupt;
use crate::run::wording::{counted, with_causes};
use crate::study::status::{StudyStatus, status as study_status};

/// Distance of the looks at the signals while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most processes that are listed.
const LISTED: usize = 40;

/// Show how far a study is, from its files alone.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// Study file.
    #[arg(value_name = "STUDY.toml")]
    study: PathBuf,
    /// Folder of the study. Default: `results/studies/<name of the study>`.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Show it again every so many seconds, until nothing is missing.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", allow_negative_numbers = true,
          value_parser = parse_seconds)]
    watch: Option<Duration>,
    /// As JSON, one document a look.
    #[arg(long)]
    json: bool,
}

/// Seconds between two looks.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|&seconds| (0.1..=86_400.0).contains(&seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "allowed: 0.1 to 86400 seconds".into())
}

pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let (plan, folder) = find(&args.study, args.out.as_deref(), false)?;
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    loop {
        let status = study_status(&plan, &folder, wall_clock())
            .map_err(|error| Failure::failed(&with_causes(&error), "may you read the folder?"))?;
        let text = if args.json {
            let json = serde_json::to_string(&status);
            json.map_err(|error| Failure::failed(&error.to_string(), "please report this"))? + "\n"
        } else {
            report(&status)
        };
        print(&text)?;
        let Some(distance) = args.watch.filter(|_| status.missing > 0) else { return Ok(()) };
        let mut waited = Duration::ZERO;
        while waited < distance {
            if interrupt.is_set() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long ago a file was written to; no result reads it")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn report(status: &StudyStatus) -> String {
    let StudyStatus { study, planned, done, failed, missing, .. } = status;
    let percent = if *planned > 0 { 100.0 * *done as f64 / *planned as f64 } else { 100.0 };
    let mut text = format!(
        "{study}: {done} of {} done ({percent:.1} %), {failed} failed, {missing} missing",
        counted(*planned, "run")
    );
    let at_work = status.processes.iter().filter(|process| process.at_work);
    let threads: usize = at_work.clone().map(|process| process.threads).sum();
    if *missing > 0 {
        match status.eta_s {
            Some(eta) => drop(write!(text, "; {} left on {}", span(eta), counted(threads, "thread"))),
            None if threads == 0 => text.push_str("; no process was heard of lately"),
            None => {}
        }
    }
    text.push('\n');
    if status.damaged_lines > 0 {
        let are = if status.damaged_lines == 1 { "is" } else { "are" };
        let _ = writeln!(text, "{} {are} damaged and count for nothing", counted(status.damaged_lines, "line"));
    }
    // The latest ones: of a study that was often interrupted the others say little.
    let hidden = status.processes.len().saturating_sub(LISTED);
    if hidden > 0 {
        let _ = writeln!(text, "  ({hidden} earlier ones)");
    }
    for process in &status.processes[hidden..] {
        let shard = process.shard.as_ref().map(|shard| format!("shard {shard} ")).unwrap_or_default();
        let job = process.job.as_ref().map(|job| format!(" ({job})")).unwrap_or_default();
        let host = process.host.as_deref().unwrap_or("unknown machine");
        let quiet = process.quiet_s.map(|quiet| format!(", last heard of {} ago", span(quiet))).unwrap_or_default();
        let state = match (&process.ended, process.at_work) {
            (Some(how), _) if how == "whole" => "ended".to_owned(),
            (Some(how), _) => format!("ended ({how})"),
            (None, true) => "at work".to_owned(),
            (None, false) => "not heard of lately".to_owned(),
        };
        let failed = if process.failed > 0 { format!(", {} failed", process.failed) } else { String::new() };
        let _ = writeln!(
            text,
            "  {shard}on {host}, process {}{job}: {state}, {} done{failed}{quiet}",
            process.pid,
            counted(process.done, "run")
        );
    }
    text
}

/// A time in words: "45 s", "12 min", "3.5 h", "2.1 d".
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 360_000.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}
