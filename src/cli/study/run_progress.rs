//! How the runs of a study are doing: one bar on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::tell;
use crate::run::clock::Stopwatch;
use crate::run::wording::counted;
use crate::study::runner::StudyNews;

/// Distance of plain lines, so that a log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Remarks of one kind that are told one by one.
const MOST_TOLD: usize = 10;

/// Shows how the runs of a study are doing.
pub struct RunProgress {
    name: String,
    quiet: bool,
    bar: Option<ProgressBar>,
    runs: usize,
    /// Runs that count as done when it began.
    before: usize,
    done: usize,
    failed: usize,
    remarks: usize,
    errors: Vec<String>,
    begun: Stopwatch,
    last_line: Stopwatch,
}

impl RunProgress {
    /// For the study of that name; `quiet` shows nothing.
    pub fn new(name: &str, quiet: bool) -> Self {
        Self {
            name: name.to_owned(),
            quiet,
            bar: None,
            runs: 0,
            before: 0,
            done: 0,
            failed: 0,
            remarks: 0,
            errors: Vec::new(),
            begun: Stopwatch::start(),
            last_line: Stopwatch::start(),
        }
    }

    /// Something happens.
    pub fn news(&mut self, news: &StudyNews<'_>) {
        match news {
            StudyNews::Defect(defect) => self.remark(&format!("warning: {defect}: what it says counts for nothing")),
            StudyNews::Stopping { .. } => {}
            StudyNews::Damaged(what) => self.remark(&format!("warning: {what}")),
            StudyNews::Begin { runs, before, failed } => self.begin(*runs, *before, *failed),
            StudyNews::Done { .. } => {
                self.done += 1;
                self.show();
            }
            StudyNews::Failed { run, error, again } => {
                self.failed += usize::from(!again);
                let what = format!("run {} (point {}, replication {}): {error}", run.id, run.point, run.replication);
                self.remark(&format!("{what}{}", if *again { "; tried again" } else { "" }));
                if !again && self.errors.len() < MOST_TOLD {
                    self.errors.push(what);
                }
                self.show();
            }
        }
    }

    /// Removes the bar; gives the first failures, a line each.
    pub fn close(self) -> String {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mut text: Vec<String> = self.errors.iter().map(|error| format!("  {error}")).collect();
        if self.failed > text.len() {
            text.push(format!("  and {} more", self.failed - text.len()));
        }
        text.join("\n")
    }

    fn begin(&mut self, runs: usize, before: usize, failed: usize) {
        (self.runs, self.before) = (runs, before);
        self.begun = Stopwatch::start();
        self.last_line = Stopwatch::start();
        self.remarks = 0;
        if self.quiet {
            return;
        }
        if runs == 0 {
            tell(&format!("warning: this part of {} has no runs: there are more parts than runs\n", self.name));
            return;
        }
        let mut line = format!("{}: {}", self.name, counted(runs, "run"));
        if before > 0 {
            let _ = write!(line, ", {before} done before");
        }
        if failed > 0 {
            let _ = write!(line, ", {failed} failed before and tried again");
        }
        tell(&format!("{line}\n"));
        if before < runs && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(runs as u64), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{prefix:24!} [{bar:24}] {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(self.name.clone());
            self.bar = Some(bar);
            self.show();
        }
    }

    /// Where it stands: on the bar, or in a line now and then.
    fn show(&mut self) {
        let ended = self.done + self.failed;
        if let Some(bar) = &self.bar {
            bar.set_position((self.before + ended) as u64);
            bar.set_message(self.standing());
        } else if !self.quiet && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Stopwatch::start();
            tell(&format!("{}: {}\n", self.name, self.standing()));
        }
    }

    fn standing(&self) -> String {
        let ended = self.done + self.failed;
        let mut text = format!("{} of {}", self.before + self.done, counted(self.runs, "run"));
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        let left = self.runs.saturating_sub(self.before + ended);
        if ended > 0 && left > 0 {
            let seconds = self.begun.seconds() * left as f64 / ended as f64;
            let _ = write!(text, ", about {} left", span(seconds));
        }
        text
    }

    /// Tells the first ones of many.
    fn remark(&mut self, text: &str) {
        self.remarks += 1;
        if self.quiet || self.remarks > MOST_TOLD {
            return;
        }
        let more = if self.remarks == MOST_TOLD { "\n(further ones are not shown)" } else { "" };
        match &self.bar {
            Some(bar) => bar.println(format!("{text}{more}")),
            None => tell(&format!("{text}{more}\n")),
        }
    }
}

/// A span of time as one says it.
fn span(seconds: f64) -> String {
    match seconds {
        short if short < 90.0 => format!("{short:.0} s"),
        middle if middle < 5400.0 => format!("{:.0} min", middle / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_words() {
        assert_eq!([0.4, 89.0, 91.0, 5399.0, 9000.0].map(span), ["0 s", "89 s", "2 min", "90 min", "2.5 h"]);
    }
}
