//! Quantiles of many values in constant memory.

use hdrhistogram::Histogram;

/// Significant decimal digits kept of each value.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Quantiles of non-negative integers, such as times in nanoseconds, within
/// 0.1 % of the value, exact below 2048; minimum and maximum are exact.
///
/// A high dynamic range histogram (Tene, HdrHistogram) with buckets that widen
/// in proportion to the value. Its size grows with the range of the values and
/// not with their number: 16 KiB for values below 2048, and 8 KiB more for each
/// doubling of the largest one (about 250 KiB for nanoseconds up to 1000 s).
#[derive(Clone, Debug)]
pub struct Quantiles {
    /// Absent until the first value: most of the many groups of a large run stay empty.
    histogram: Option<Histogram<u64>>,
    min: u64,
    max: u64,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Quantiles {
    /// Of no values.
    pub const fn new() -> Self {
        Self { histogram: None, min: u64::MAX, max: 0 }
    }

    /// Takes in one value.
    pub fn push(&mut self, value: u64) {
        if self.histogram.is_none() {
            // Three digits are within the histogram's limits, so this is always Ok.
            self.histogram = Histogram::new(SIGNIFICANT_DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // A histogram that resizes itself takes every u64.
            let recorded = histogram.record(value);
            debug_assert!(recorded.is_ok(), "{value} was not recorded");
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    /// Takes in all the values of `other`.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.histogram, &other.histogram) {
            (Some(ours), Some(theirs)) => {
                let added = ours.add(theirs);
                debug_assert!(added.is_ok(), "a histogram was not added");
            }
            (ours @ None, Some(theirs)) => *ours = Some(theirs.clone()),
            (_, None) => {}
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn n(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The least value; `None` of no values.
    pub fn min(&self) -> Option<u64> {
        self.histogram.as_ref().map(|_| self.min)
    }

    /// The greatest value; `None` of no values.
    pub fn max(&self) -> Option<u64> {
        self.histogram.as_ref().map(|_| self.max)
    }

    /// The least value that at least the share `p` of all values does not exceed,
    /// within 0.1 %; `None` of no values. `p` is clamped to 0..=1.
    pub fn quantile(&self, p: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref()?;
        if p >= 1.0 {
            return Some(self.max);
        }
        let bucket = histogram.value_at_quantile(p.max(0.0));
        // The middle of the bucket, but never beyond what was seen, so that a lone value is itself.
        Some(histogram.median_equivalent(bucket).clamp(self.min, self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_thousandth_over_twelve_decades() {
        let mut values: Vec<u64> = (0..60_000).map(|i| 1.0005f64.powi(i).min(1e12) as u64).collect();
        let mut quantiles = Quantiles::new();
        for &value in values.iter().rev() {
            quantiles.push(value);
        }
        values.sort_unstable();
        for p in [0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let exact = values[((p * values.len() as f64).ceil() as usize).max(1) - 1] as f64;
            let found = quantiles.quantile(p).unwrap() as f64;
            assert!((found - exact).abs() <= 1e-3 * exact, "p = {p}: {found} for {exact}");
        }
    }

    #[test]
    fn extremes_are_exact_and_every_integer_is_taken() {
        let mut quantiles = Quantiles::new();
        assert_eq!((quantiles.n(), quantiles.min(), quantiles.max(), quantiles.quantile(0.5)), (0, None, None, None));
        quantiles.push(5_000_000_001);
        assert_eq!(quantiles.quantile(0.5), Some(5_000_000_001));
        quantiles.push(0);
        quantiles.push(u64::MAX);
        assert_eq!((quantiles.min(), quantiles.max(), quantiles.n()), (Some(0), Some(u64::MAX), 3));
        assert_eq!((quantiles.quantile(0.0), quantiles.quantile(1.0)), (Some(0), Some(u64::MAX)));
        assert_eq!(quantiles.quantile(f64::NAN), Some(0));
    }

    #[test]
    fn merging_equals_pushing() {
        let (mut left, mut right, mut all) = (Quantiles::new(), Quantiles::new(), Quantiles::new());
        for value in 0..10_000u64 {
            let half = if value % 3 == 0 { &mut left } else { &mut right };
            half.push(value * value);
            all.push(value * value);
        }
        let mut merged = Quantiles::new();
        merged.merge(&left);
        merged.merge(&right);
        merged.merge(&Quantiles::new());
        assert_eq!((merged.n(), merged.min(), merged.max()), (all.n(), all.min(), all.max()));
        for p in [0.01, 0.5, 0.95, 0.99] {
            assert_eq!(merged.quantile(p), all.quantile(p));
        }
    }

    #[test]
    fn memory_depends_on_the_range_only() {
        let mut quantiles = Quantiles::new();
        for value in 0..200_000u64 {
            quantiles.push(value * 5_000_000);
        }
        let counters = quantiles.histogram.as_ref().map_or(0, Histogram::distinct_values);
        assert!(8 * counters <= 256 * 1024, "{counters} counters");
    }
}
