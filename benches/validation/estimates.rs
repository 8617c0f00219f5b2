//! Means with intervals.

use splitwave::stats::{StudentInterval, mean_interval, student_t_quantile};

use crate::page::LEVEL;

/// The mean of independent values.
pub fn mean(values: &[f64]) -> StudentInterval {
    mean_interval(values, LEVEL).expect("several values")
}

/// `Σ parts / Σ wholes` over independent pairs, by the linearised variance of a ratio.
pub fn ratio(parts: &[f64], wholes: &[f64]) -> StudentInterval {
    let whole: f64 = wholes.iter().sum();
    let ratio = parts.iter().sum::<f64>() / whole;
    let n = parts.len() as f64;
    let residuals: f64 = parts.iter().zip(wholes).map(|(part, whole)| (part - ratio * whole).powi(2)).sum();
    let t = student_t_quantile(parts.len() as u64 - 1, LEVEL).expect("several pairs");
    StudentInterval { mean: ratio, half_width: t * (n / (n - 1.0) * residuals).sqrt() / whole }
}

/// A share of so many independent trials.
pub fn share(count: u32, trials: u32) -> StudentInterval {
    let (n, share) = (f64::from(trials), f64::from(count) / f64::from(trials));
    let t = student_t_quantile(u64::from(trials) - 1, LEVEL).expect("several trials");
    StudentInterval { mean: share, half_width: t * (share * (1.0 - share) / n).sqrt() }
}

/// The root of a mean, with the interval's ends likewise, about the middle.
pub fn root(interval: StudentInterval) -> StudentInterval {
    let mean = interval.mean.sqrt();
    StudentInterval { mean, half_width: interval.half_width / (2.0 * mean) }
}

/// `(interval - shift) / scale`.
pub fn scaled(interval: StudentInterval, shift: f64, scale: f64) -> StudentInterval {
    StudentInterval { mean: (interval.mean - shift) / scale, half_width: interval.half_width / scale.abs() }
}
