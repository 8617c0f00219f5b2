//! Replications until a mean is known well enough.

use std::path::Path;

use crate::network::ports::RecordError;
use crate::record::Figures;
use crate::run::wording::three_digits;
use crate::scenario::problem::Problem;
use crate::scenario::replications::{Goal, Precision, UntilTable};
use crate::stats::{Moments, StudentInterval};

/// A sequential procedure over replications (Law and Kelton, "Simulation modeling and analysis",
/// 3rd ed., 2000, section 9.4.1): the interval of a figure's
/// mean by Student's t over replications is judged after `min` of them, and then each time after half
/// as many again, until its half width is small enough.
///
/// The sizes depend on nothing but `min` and `max`, so neither the number of threads nor runs that
/// were there already change which replications there are in the end.
///
/// A procedure that stops at its first success stops more often where the sample's variance
/// happens to be small: intervals cover a little less often than their confidence says, and
/// as often in the limit of small widths only (Chow and Robbins, "On the asymptotic theory of
/// fixed-width sequential confidence intervals for the mean", Annals of Mathematical Statistics
/// 36(2), 1965). Looking seldom and a larger `min` make it less: the
/// tests have numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    /// What is to be known, and how well.
    pub goal: Goal,
    /// Replications before the first look.
    pub min: u32,
    /// Most replications.
    pub max: u32,
    /// Confidence of the interval.
    pub confidence: f64,
}

/// What is known after some replications.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Replications that have the figure.
    pub n: u64,
    /// Its mean over them.
    pub mean: f64,
    /// Half width of its interval; infinite for fewer than two.
    pub half_width: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, to so many replications in all.
    More(u32),
    /// The goal is met.
    Reached,
    /// It isn't, and there are no more.
    Exhausted,
    /// No replication has the figure.
    NoFigure,
}

impl Sequential {
    /// As the scenario says.
    ///
    /// # Errors
    /// As [`Goal::parse`].
    pub fn new(table: &UntilTable) -> Result<Self, Box<Problem>> {
        let UntilTable { until, max, min, confidence } = table;
        Ok(Self { goal: Goal::parse(until)?, min: *min, max: *max, confidence: *confidence })
    }

    /// The figure of a finished run, from its `summary.csv`; `None` where that is empty.
    ///
    /// # Errors
    /// As [`Figures::read`].
    pub fn figure(&self, folder: &Path) -> Result<Option<f64>, RecordError> {
        let figures = Figures::read(folder)?;
        let number = figures.all.get(self.goal.figure).and_then(|cell| cell.parse::<f64>().ok());
        Ok(number.filter(|number| number.is_finite()))
    }

    /// Judges the figures of the first replications, in their order. Those without one don't count.
    pub fn judge(&self, figures: &[Option<f64>]) -> (Standing, Verdict) {
        let moments: Moments = figures.iter().copied().flatten().collect();
        let standing = Standing {
            n: moments.n(),
            mean: moments.mean().unwrap_or(0.0),
            half_width: StudentInterval::from_moments(&moments, self.confidence)
                .map_or(f64::INFINITY, |interval| interval.half_width),
        };
        let done = figures.len() as u32;
        let verdict = if standing.n == 0 && done >= self.min {
            Verdict::NoFigure
        } else if standing.n >= u64::from(self.min) && standing.half_width <= self.width(standing.mean) {
            Verdict::Reached
        } else if done >= self.max {
            Verdict::Exhausted
        } else {
            Verdict::More(done.saturating_add(done.div_ceil(2)).clamp(self.min, self.max))
        };
        (standing, verdict)
    }

    /// The largest half width that the goal allows around a mean.
    fn width(&self, mean: f64) -> f64 {
        match self.goal.precision {
            Precision::Relative(share) => share * mean.abs(),
            Precision::Absolute(width) => width,
        }
    }

    /// The half width as the goal counts it: `±6.1 %`, or `±0.0123`.
    pub fn precision(&self, standing: &Standing) -> String {
        match self.goal.precision {
            _ if standing.half_width.is_infinite() => "unknown".to_owned(),
            Precision::Relative(_) if standing.mean != 0.0 => {
                format!("±{} %", three_digits(standing.half_width / standing.mean.abs() * 100.0))
            }
            _ => format!("±{}", three_digits(standing.half_width)),
        }
    }

    /// The goal: `within 5 %`.
    pub fn wanted(&self) -> String {
        match self.goal.precision {
            Precision::Relative(share) => format!("within {} %", three_digits(share * 100.0)),
            Precision::Absolute(width) => format!("within {width}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn sequential(until: &str, min: u32, max: u32) -> Sequential {
        Sequential::new(&UntilTable { until: until.to_owned(), max, min, confidence: 0.95 }).unwrap()
    }

    /// A worked interval: 1, 2, 3, 4 have the mean 2.5 ± 2.054 at 95 %.
    #[test]
    fn the_interval_is_students() {
        let figures = [1.0, 2.0, 3.0, 4.0].map(Some);
        let (standing, verdict) = sequential("e2e_mean within 82%", 3, 50).judge(&figures);
        assert!((standing.half_width - 2.054_260_255).abs() < 1e-8 && standing.mean == 2.5, "{standing:?}");
        assert_eq!(verdict, Verdict::More(6), "82 % of 2.5 is 2.05");
        assert_eq!(sequential("e2e_mean within 82.2%", 3, 50).judge(&figures).1, Verdict::Reached);
        assert_eq!(sequential("e2e_mean within 2.055", 3, 50).judge(&figures).1, Verdict::Reached);
        assert_eq!(sequential("e2e_mean within 2.054", 3, 4).judge(&figures).1, Verdict::Exhausted);
        assert_eq!(sequential("e2e_mean within 82.2%", 5, 50).judge(&figures).1, Verdict::More(6), "not before min");
        let wider = Sequential { confidence: 0.99, ..sequential("e2e_mean within 2.055", 3, 50) };
        assert_eq!(wider.judge(&figures).1, Verdict::More(6));
    }

    #[test]
    fn looks_come_after_half_as_many_again() {
        let rule = sequential("e2e_mean within 1%", 3, 50);
        let mut sizes = vec![rule.min];
        let noisy = |n: u32| (0..n).map(|i| Some(f64::from(1 + i % 2))).collect::<Vec<_>>();
        while let Verdict::More(next) = rule.judge(&noisy(*sizes.last().unwrap())).1 {
            sizes.push(next);
        }
        assert_eq!(sizes, [3, 5, 8, 12, 18, 27, 41, 50]);
    }

    #[test]
    fn what_has_no_figure_does_not_count() {
        let rule = sequential("corpus_ppl within 5%", 3, 10);
        assert_eq!(rule.judge(&[None; 3]).1, Verdict::NoFigure);
        let (standing, verdict) = rule.judge(&[Some(2.0), None, Some(2.0)]);
        assert_eq!((standing.n, standing.half_width, verdict), (2, 0.0, Verdict::More(5)));
        assert_eq!(rule.judge(&[Some(2.0), None, Some(2.0), Some(2.0), None]).1, Verdict::Reached);
        // A mean of 0 is known to any share of itself only if it is 0 always.
        assert_eq!(rule.judge(&[Some(0.0); 3]).1, Verdict::Reached);
        assert_eq!(rule.judge(&[Some(-1.0), Some(0.0), Some(1.0)]).1, Verdict::More(5));
    }

    /// The price of stopping at the first success, for normal figures that vary by 10 % of their mean and a
    /// goal of 5 %: 95 % intervals cover the mean in 90.6 % of the cases with `min` = 3, and in 93.7 % with
    /// 10 (20,000 repetitions of an independent program; here 4000, and three standard errors).
    #[test]
    fn stopping_early_costs_some_coverage() {
        let coverage = |min: u32| {
            let rule = sequential("e2e_mean within 5%", min, 50);
            let mut covered = 0_u32;
            for repetition in 0..4000 {
                let stream = Streams::new(2034, repetition).stream(0, Purpose::Service);
                let normal = |index: u32| {
                    let [u, v] = stream.uniform_pair(u64::from(index));
                    Some(1.0 + 0.1 * (-2.0 * (-u).ln_1p()).sqrt() * (std::f64::consts::TAU * v).cos())
                };
                let mut figures: Vec<Option<f64>> = (0..min).map(normal).collect();
                let standing = loop {
                    match rule.judge(&figures) {
                        (_, Verdict::More(next)) => figures.extend((figures.len() as u32..next).map(normal)),
                        (standing, _) => break standing,
                    }
                };
                covered += u32::from((standing.mean - 1.0).abs() <= standing.half_width);
            }
            f64::from(covered) / 4000.0
        };
        let [few, many] = [3, 10].map(coverage);
        assert!((few - 0.906).abs() < 0.014 && (many - 0.937).abs() < 0.0116, "{few} {many}");
    }

    #[test]
    fn half_widths_in_words() {
        let rule = sequential("e2e_mean within 5%", 3, 10);
        assert_eq!(rule.precision(&Standing { n: 3, mean: -2.0, half_width: 0.122 }), "±6.1 %");
        assert_eq!(rule.precision(&Standing { n: 1, mean: 2.0, half_width: f64::INFINITY }), "unknown");
        assert_eq!(rule.wanted(), "within 5 %");
    }
}
