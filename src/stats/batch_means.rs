//! A confidence interval for the mean of one long, correlated series.

use super::{Moments, StudentInterval};

/// Batches at which neighbours are merged.
const MOST_BATCHES: usize = 40;
/// Batches below which there is no interval.
const FEWEST_BATCHES: usize = MOST_BATCHES / 2;
/// The 95th percentile of the standard normal distribution.
const NORMAL_95: f64 = 1.644_853_626_951_472_2;

/// Batch means: the observations of a series cut into 20 to 39 consecutive batches of equal
/// size, whose means are nearly independent and normal where the batches are much longer than the
/// series' memory (Conway, "Some tactical problems in digital simulation", Management Science
/// 10(1), 1963; Schmeiser, "Batch size effects in the analysis of simulation output",
/// Operations Research 30(3), 1982, on why 10 to 30 batches are enough).
///
/// Memory doesn't grow with the series: when 40 batches are full, neighbours are merged to 20 of
/// twice the size. Observations behind the last full batch don't count.
#[derive(Clone, Debug)]
pub struct BatchMeans {
    size: u64,
    means: Vec<f64>,
    sum: f64,
    /// Observations in `sum`.
    pending: u64,
}

impl Default for BatchMeans {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchMeans {
    /// Of no observations.
    pub const fn new() -> Self {
        Self { size: 1, means: Vec::new(), sum: 0.0, pending: 0 }
    }

    /// Takes in the next observation.
    pub fn push(&mut self, value: f64) {
        self.sum += value;
        self.pending += 1;
        if self.pending < self.size {
            return;
        }
        self.means.push(self.sum / self.size as f64);
        (self.sum, self.pending) = (0.0, 0);
        if self.means.len() == MOST_BATCHES {
            self.means = self.means.chunks_exact(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
            self.size *= 2;
        }
    }

    /// Full batches.
    pub fn batches(&self) -> usize {
        self.means.len()
    }

    /// Observations per batch.
    pub fn batch_size(&self) -> u64 {
        self.size
    }

    /// The interval for the series' mean at confidence `level`, by Student's distribution over
    /// the batches; `None` of fewer than 20.
    pub fn interval(&self, level: f64) -> Option<StudentInterval> {
        if self.means.len() < FEWEST_BATCHES {
            return None;
        }
        StudentInterval::from_moments(&self.moments(), level)
    }

    /// How much each batch mean is like the next one, by von Neumann's ratio:
    ///
    /// ```text
    /// C = 1 - Σ (x_i - x_{i+1})² / (2 Σ (x_i - x̄)²)
    /// ```
    ///
    /// their autocorrelation of lag 1 but for the ends of the series (Fishman, "Grouping
    /// observations in digital simulation", Management Science 24(5), 1978). `None` of fewer than
    /// 20 batches, or if all are equal.
    pub fn correlation(&self) -> Option<f64> {
        if self.means.len() < FEWEST_BATCHES {
            return None;
        }
        let moments = self.moments();
        let around = moments.variance()? * (moments.n() - 1) as f64;
        let steps: f64 = self.means.windows(2).map(|pair| (pair[0] - pair[1]).powi(2)).sum();
        (around > 0.0).then(|| 1.0 - steps / (2.0 * around))
    }

    /// What [`correlation`](Self::correlation) of independent normal means exceeds with a
    /// probability of 5 %: its variance is `(k - 2)/(k² - 1)` for `k` batches (von Neumann,
    /// "Distribution of the ratio of the mean square successive difference to the variance",
    /// Annals of Mathematical Statistics 12(4), 1941), and it is close to normal from 8 batches on.
    pub fn critical_correlation(&self) -> f64 {
        let k = self.means.len().max(3) as f64;
        NORMAL_95 * ((k - 2.0) / (k * k - 1.0)).sqrt()
    }

    /// Whether the batches are too short: their means are correlated, by von Neumann's test at 5 %,
    /// and the interval is too narrow.
    pub fn is_correlated(&self) -> bool {
        self.correlation().is_some_and(|correlation| correlation > self.critical_correlation())
    }

    fn moments(&self) -> Moments {
        self.means.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_those_of_the_definition() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * i % 97)).collect();
        let mut batches = BatchMeans::new();
        for (index, &value) in values.iter().enumerate() {
            assert_eq!(batches.interval(0.95).is_some(), index >= 20);
            batches.push(value);
        }
        // 40, 80, 160, 320, 640: doubled five times.
        assert_eq!((batches.batch_size(), batches.batches()), (32, 31));
        let means: Vec<f64> = values.chunks_exact(32).map(|batch| batch.iter().sum::<f64>() / 32.0).collect();
        let direct = crate::stats::mean_interval(&means, 0.95).unwrap();
        let found = batches.interval(0.95).unwrap();
        assert!((found.mean - direct.mean).abs() < 1e-12 && (found.half_width - direct.half_width).abs() < 1e-12);
    }

    /// By hand: steps of 1 and a sum of squares of n(n² - 1)/12 make C = 1 - 6/(n(n + 1)); what
    /// alternates between ±1 has 1 - 4(n - 1)/(2n).
    #[test]
    fn correlations_by_hand() {
        let correlation = |values: &[f64]| {
            let mut batches = BatchMeans::new();
            for &value in values {
                batches.push(value);
            }
            (batches.correlation(), batches.is_correlated())
        };
        let ramp: Vec<f64> = (0..30).map(f64::from).collect();
        let (found, correlated) = correlation(&ramp);
        assert!((found.unwrap() - (1.0 - 6.0 / (30.0 * 31.0))).abs() < 1e-12 && correlated);
        let zigzag: Vec<f64> = (0..30).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let (found, correlated) = correlation(&zigzag);
        assert!((found.unwrap() - (1.0 - 4.0 * 29.0 / 60.0)).abs() < 1e-12 && !correlated);
        assert_eq!(correlation(&[3.0; 25]), (None, false));
        assert_eq!(correlation(&ramp[..19]), (None, false));
    }
}
