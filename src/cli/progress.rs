//! Progress: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::tell;
use crate::network::simulation::Progress;
use crate::run::assembly::Assembly;
use crate::run::runner::{Job, RunError, RunOutcome};
use crate::run::wording::counted;

/// Distance of plain lines of one run, so that a log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// More bars than this don't help anyone.
const MOST_BARS: usize = 8;
/// What a whole bar counts.
const STEPS_OF_A_BAR: u64 = 10_000;

/// Shows how runs are doing.
pub struct Display {
    bars: Option<MultiProgress>,
    runs: Vec<Run>,
    quiet: bool,
}

struct Run {
    label: String,
    /// How its scenario's replications stand.
    standing: Option<String>,
    assembly: Arc<Assembly>,
    bar: Option<ProgressBar>,
    begun: Option<Instant>,
    last_line: Option<Instant>,
}

impl Display {
    /// For these jobs; `quiet` shows nothing.
    pub fn new(jobs: &[Job], quiet: bool) -> Self {
        let terminal = !quiet && std::io::stderr().is_terminal();
        let label = |job: &Job| {
            let scenario = &job.assembly.scenario;
            format!("{} #{}", scenario.name, job.replication)
        };
        let runs = jobs
            .iter()
            .map(|job| Run {
                label: label(job),
                standing: None,
                assembly: job.assembly.clone(),
                bar: None,
                begun: None,
                last_line: None,
            })
            .collect();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Self { bars, runs, quiet }
    }

    /// How the replications stand that a run belongs to.
    pub fn stands(&mut self, job: usize, standing: String) {
        if let Some(run) = self.runs.get_mut(job) {
            run.standing = Some(standing);
        }
    }

    /// A run goes on.
    pub fn progress(&mut self, job: usize, progress: &Progress) {
        let shown = self.runs.iter().filter(|run| run.bar.is_some()).count();
        let Some(run) = self.runs.get_mut(job) else { return };
        let now = now();
        let begun = *run.begun.get_or_insert(now);
        let elapsed = now.duration_since(begun).as_secs_f64();
        let share = progress.share(&run.assembly.network);
        let far = run.standing.iter().cloned().chain([far(progress, &run.assembly)]).collect::<Vec<_>>().join("; ");
        if let Some(bars) = &self.bars {
            if run.bar.is_none() && shown < MOST_BARS {
                let bar = ProgressBar::new(STEPS_OF_A_BAR);
                let style = ProgressStyle::with_template("{prefix:24!} [{bar:24}] {msg} ETA {eta}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
                bar.set_prefix(run.label.clone());
                run.bar = Some(bars.add(bar));
            }
            if let Some(bar) = &run.bar {
                bar.set_position((share * STEPS_OF_A_BAR as f64) as u64);
                bar.set_message(if progress.evaluation.is_some() {
                    far
                } else {
                    format!("{far}, {}", rate(progress, elapsed))
                });
            }
            return;
        }
        if self.quiet || now.duration_since(run.last_line.unwrap_or(begun)) < LINE_EVERY {
            return;
        }
        run.last_line = Some(now);
        if progress.evaluation.is_some() {
            tell(&format!("{}: {far}\n", run.label));
            return;
        }
        let (share, rate) = (share.max(1e-6), rate(progress, elapsed));
        let left = elapsed * (1.0 - share) / share;
        tell(&format!("{}: {far}, {rate}, about {left:.0} s left\n", run.label));
    }

    /// A run has ended.
    pub fn ended(&mut self, job: usize, result: Result<&RunOutcome, &RunError>) {
        let Some(run) = self.runs.get_mut(job) else { return };
        if let Some(bar) = run.bar.take() {
            bar.finish_and_clear();
        }
        if self.quiet {
            return;
        }
        let line = match result {
            Ok(RunOutcome::Finished { path, wall_s, remarks, .. }) => {
                let remarks = remarks.iter().map(|remark| format!("\n{}: note: {remark}", run.label));
                format!("{}: done in {wall_s:.1} s: {}{}", run.label, path.display(), remarks.collect::<String>())
            }
            Ok(RunOutcome::Skipped { path }) => {
                format!("{}: already there, skipped (--force runs it again): {}", run.label, path.display())
            }
            Err(_) => return,
        };
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => tell(&format!("{line}\n")),
        }
    }

    /// Removes the bars.
    pub fn close(&mut self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

/// How far a run is: simulated time and requests, or the steps that end it.
fn far(progress: &Progress, assembly: &Assembly) -> String {
    let (network, now) = (&assembly.network, progress.now.as_secs_f64());
    if let Some((number, all)) = progress.evaluation {
        return format!("evaluation {number} of {all}");
    }
    if let Some(most) = network.max_steps {
        return format!("{} of {most} steps, {now:.1} simulated s", progress.steps);
    }
    let requests = counted(progress.arrived, "request");
    format!("{now:.1} of {:.1} simulated s, {requests}", network.duration.as_secs_f64())
}

/// How fast a run is: events, or with the model in the loop, where they are few, requests.
fn rate(progress: &Progress, elapsed_s: f64) -> String {
    let per_s = |count: u64| count as f64 / elapsed_s.max(1e-3);
    match per_s(progress.events) {
        fast @ 1e5.. => format!("{:.2} M events/s", fast / 1e6),
        _ => format!("{:.0} requests/s", per_s(progress.ended)),
    }
}

#[allow(clippy::disallowed_methods)] // the wall clock is for the person who waits; no result reads it
fn now() -> Instant {
    Instant::now()
}
