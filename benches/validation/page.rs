//! The page: checks in tables, and how many are outside.

use std::fmt::Write as _;

use splitwave::stats::StudentInterval;
use statrs::distribution::{Binomial, DiscreteCDF};

/// Confidence of an interval.
pub const LEVEL: f64 = 0.99;

/// A row of a table.
pub struct Check {
    what: String,
    theory: String,
    measured: String,
    interval: String,
    inside: bool,
    /// Whether chance puts one in a hundred outside.
    by_chance: bool,
}

impl Check {
    /// A mean with its interval, which has to hold the theory.
    pub fn mean(what: impl Into<String>, theory: f64, interval: StudentInterval) -> Self {
        Self::biased(what, theory, interval, 0.0)
    }

    /// The same of a quantity of which it is known that it may be off by a part `bias` of the theory.
    pub fn biased(what: impl Into<String>, theory: f64, interval: StudentInterval, bias: f64) -> Self {
        let StudentInterval { mean, half_width } = interval;
        let places = places(half_width);
        let mut text = format!("{} to {}", number(interval.low(), places), number(interval.high(), places));
        if bias > 0.0 {
            let _ = write!(text, ", bias {} %", 100.0 * bias);
        }
        Self {
            what: what.into(),
            theory: number(theory, places + 1),
            measured: number(mean, places),
            interval: text,
            inside: (mean - theory).abs() <= half_width + bias * theory.abs(),
            by_chance: true,
        }
    }

    /// A number without chance, within a tolerance.
    pub fn exact(what: impl Into<String>, theory: f64, measured: f64, tolerance: f64) -> Self {
        let places = places(tolerance);
        Self {
            what: what.into(),
            theory: number(theory, places),
            measured: number(measured, places),
            interval: format!("± {tolerance:e}"),
            inside: (measured - theory).abs() <= tolerance,
            by_chance: false,
        }
    }

    /// A whole number without chance.
    pub fn equal(what: impl Into<String>, theory: u64, measured: u64) -> Self {
        Self {
            what: what.into(),
            theory: theory.to_string(),
            measured: measured.to_string(),
            interval: "equal".to_owned(),
            inside: theory == measured,
            by_chance: false,
        }
    }

    /// A Kolmogorov-Smirnov distance, whose critical value at 1 % it has to stay below.
    pub fn distance(what: impl Into<String>, measured: f64, critical: f64) -> Self {
        Self {
            what: what.into(),
            theory: "0".to_owned(),
            measured: number(measured, 5),
            interval: format!("below {}", number(critical, 5)),
            inside: measured < critical,
            by_chance: true,
        }
    }

    /// How many of `trials` intervals of a confidence cover: within the central 99 % of the binomial law.
    pub fn coverage(what: impl Into<String>, confidence: f64, covered: u64, trials: u64) -> Self {
        let law = Binomial::new(confidence, trials).expect("a probability");
        let tail = 0.5 * (1.0 - LEVEL);
        let (low, high) = (law.inverse_cdf(tail), law.inverse_cdf(1.0 - tail));
        Self {
            what: what.into(),
            theory: number(confidence * trials as f64, 1),
            measured: covered.to_string(),
            interval: format!("{low} to {high}"),
            inside: (low..=high).contains(&covered),
            by_chance: true,
        }
    }

    /// Two ways to compute one thing: the relative difference, whose 95 % interval has to hold 0 or to
    /// lie within `margin`. In percent.
    pub fn agreement(what: impl Into<String>, relative: StudentInterval, margin: f64) -> Self {
        let [mean, low, high] = [relative.mean, relative.low(), relative.high()].map(|part| 100.0 * part);
        Self {
            what: what.into(),
            theory: format!("0 % ± {} %", 100.0 * margin),
            measured: format!("{} %", number(mean, 2)),
            interval: format!("{} to {} %", number(low, 2), number(high, 2)),
            inside: relative.covers(0.0) || relative.low() >= -margin && relative.high() <= margin,
            by_chance: false,
        }
    }
}

/// Decimal places that show two digits of a width.
fn places(width: f64) -> usize {
    if width > 0.0 && width.is_finite() { (1.0 - width.log10().floor()).clamp(0.0, 12.0) as usize } else { 12 }
}

/// A number without a sign that means nothing.
fn number(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|digit| matches!(digit, '0' | '.')) => digits.to_owned(),
        _ => text,
    }
}

/// The page as far as it is written.
#[derive(Default)]
pub struct Page {
    body: String,
    checks: u64,
    by_chance: u64,
    outside: Vec<String>,
}

impl Page {
    /// Begins a topic.
    pub fn topic(&mut self, title: &str) {
        let _ = write!(self.body, "\n## {title}\n");
    }

    /// A table of checks, with where its theory comes from and the test that asserts it.
    pub fn table(&mut self, title: &str, source: &str, test: &str, checks: Vec<Check>) {
        let _ = write!(self.body, "\n### {title}\n\nTheory: {source}\n\nTest: {test}\n\n");
        self.body.push_str("| what | theory | measured | interval | inside? |\n|---|---|---|---|---|\n");
        for check in checks {
            let Check { what, theory, measured, interval, inside, by_chance } = check;
            let mark = if inside { "yes" } else { "**no**" };
            let _ = writeln!(self.body, "| {what} | {theory} | {measured} | {interval} | {mark} |");
            self.checks += 1;
            self.by_chance += u64::from(by_chance);
            if !inside {
                self.outside.push(format!("{title}: {what}: {measured} for {theory}"));
            }
        }
    }

    /// Text behind a table.
    pub fn note(&mut self, text: &str) {
        let _ = write!(self.body, "\n{text}\n");
    }

    /// What is outside.
    pub fn outside(&self) -> &[String] {
        &self.outside
    }

    /// All of it.
    pub fn markdown(&self) -> String {
        let (checks, chance) = (self.checks, self.by_chance);
        let law = Binomial::new(1.0 - LEVEL, chance).expect("a probability");
        let (expected, none) = ((1.0 - LEVEL) * chance as f64, 100.0 * law.cdf(0));
        let found = match self.outside.as_slice() {
            [] => "None is outside.".to_owned(),
            outside => format!("Outside: {}.\n\n- {}", outside.len(), outside.join("\n- ")),
        };
        format!(
            "# Validation

Every check of the simulator against theory, computed anew and printed by

    cargo bench --bench validation > docs/validation.md

With fixed seeds: the same program prints the same page. It takes a minute or two on one core, and ends with exit code 1 if
a check is outside.

**interval** is the 99 % confidence interval of the measured value unless the row says otherwise, by Student's t over
independent links, cells, UEs, batches or replications; **inside?** whether the theory lies in it. A row with a *bias* measures
something that is known to be off by up to so much of the theory, and counts as inside if the theory lies in the interval
widened by that. `±` is the tolerance of a number without chance, `below` the critical value of Kolmogorov and Smirnov at 1 %.

Of {checks} checks {chance} depend on chance. Of so many true statements {expected:.1} are outside of their 99 % intervals in the
mean, and with a probability of {none:.0} % none is: one or two that are outside say nothing, many do, or one by much. Seeds were
fixed beforehand, not chosen by what comes out. After a first look four things were changed: the
fourth moment had one instant per link and was 3.9 standard errors off at N = 64; the coverage of batch means had 5000 customers, too
few; independent attempts had P = 0.1, where combining loses two packets in all; and slots were compared with flows close to
saturation, in a cell of 250 m with shadowing, where small differences become large ones.

{found}
{}",
            self.body
        )
    }
}
