//! Mean, variance and extremes in one pass.

/// Count, mean, variance, minimum and maximum of the values seen, in one pass
/// and without cancellation: Welford, "Note on a method for calculating
/// corrected sums of squares and products", Technometrics 4(3), 1962; merged as
/// in Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for
/// computing sample variances", 1979.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    n: u64,
    mean: f64,
    /// Σ (xᵢ - mean)².
    squares: f64,
    min: f64,
    max: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self::new()
    }
}

impl Moments {
    /// Of no values.
    pub const fn new() -> Self {
        Self { n: 0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    /// Takes in one value.
    #[inline]
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let deviation = value - self.mean;
        self.mean += deviation / self.n as f64;
        self.squares += deviation * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Takes in all the values of `other`. The result depends on the order of
    /// merges in the last bits, so callers merge in a fixed order.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (n, m) = (self.n as f64, other.n as f64);
        let difference = other.mean - self.mean;
        self.n += other.n;
        self.mean += difference * m / (n + m);
        self.squares += other.squares + difference * difference * n * m / (n + m);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// `Σ xᵢ / n`; `None` of no values.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// The unbiased variance `Σ (xᵢ - mean)² / (n - 1)`; `None` of fewer than two values.
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.squares / (self.n - 1) as f64)
    }

    /// The square root of [`Moments::variance`].
    pub fn std_dev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The least value.
    pub fn min(&self) -> Option<f64> {
        (self.n > 0).then_some(self.min)
    }

    /// The greatest value.
    pub fn max(&self) -> Option<f64> {
        (self.n > 0).then_some(self.max)
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        for value in values {
            self.push(value);
        }
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::new();
        moments.extend(values);
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let moments: Moments = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter().collect();
        assert_eq!((moments.n(), moments.mean()), (8, Some(5.0)));
        assert!((moments.variance().unwrap() - 32.0 / 7.0).abs() < 1e-14);
        assert_eq!((moments.min(), moments.max()), (Some(2.0), Some(9.0)));
    }

    #[test]
    fn nothing_and_one_value() {
        let mut moments = Moments::new();
        assert_eq!((moments.mean(), moments.variance(), moments.min(), moments.max()), (None, None, None, None));
        moments.push(3.0);
        assert_eq!((moments.mean(), moments.variance(), moments.min()), (Some(3.0), None, Some(3.0)));
    }

    #[test]
    fn a_large_offset_costs_no_precision() {
        let moments: Moments = [4.0, 7.0, 13.0, 16.0].into_iter().map(|x| x + 1e9).collect();
        assert_eq!(moments.variance(), Some(30.0));
    }

    #[test]
    fn merging_equals_pushing() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i * i % 37)).collect();
        let all: Moments = values.iter().copied().collect();
        for cut in [0, 1, 40, 100] {
            let (left, right) = values.split_at(cut);
            let mut merged: Moments = left.iter().copied().collect();
            merged.merge(&right.iter().copied().collect());
            assert_eq!((merged.n(), merged.min(), merged.max()), (all.n(), all.min(), all.max()));
            assert!((merged.mean().unwrap() - all.mean().unwrap()).abs() < 1e-12);
            assert!((merged.variance().unwrap() - all.variance().unwrap()).abs() < 1e-10);
        }
    }
}
