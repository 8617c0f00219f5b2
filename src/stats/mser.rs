//! Where the transient of a series ends.

/// Observations in a batch at first.
const BATCH: u64 = 5;
/// Batches that are held; one more, and neighbours are merged.
const MOST_BATCHES: usize = 4096;
/// Batches below which there is no advice: a minimum over so few is chance.
const FEWEST_BATCHES: usize = 10;

/// MSER-5: how many of the first observations of a series to leave out, so that its mean
/// is least disturbed by the state that it began in.
///
/// With the means `x_1 … x_n` of batches of five observations, the truncation `d` minimises
/// the marginal standard error of what is left,
///
/// ```text
/// MSER(d) = Σ_{i>d} (x_i - mean of x_{d+1} … x_n)² / (n - d)²        0 <= d <= n/2
/// ```
///
/// White, "An effective truncation heuristic for bias reduction in simulation output",
/// Simulation 69(6), 1997; White, Cobb, Spratt, "A comparison of five steady-state truncation
/// heuristics for simulation", WSC 2000 (batches of five); Franklin and White, "Stationarity
/// tests and MSER-5: exploring the intuition behind mean-squared-error-reduction in detecting
/// and correcting initialization bias", WSC 2008 (a minimum beyond the first half is no advice).
///
/// Memory doesn't grow with the series: up to 20,480 observations each batch has five; beyond,
/// whenever 4096 batches are held, neighbours are merged, and the truncation is a multiple
/// of 10, then of 20, 40, … observations, at most 1/2048 of the series.
#[derive(Clone, Debug, Default)]
pub struct Mser5 {
    /// Observations per batch: 5·2^k; 0 before the first one.
    size: u64,
    batches: Vec<Batch>,
    sum: f64,
    /// Observations in `sum`.
    pending: u64,
    /// Position of the first one in `sum`.
    begun: u64,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    mean: f64,
    /// Position of its first observation.
    position: u64,
}

/// What MSER-5 advises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truncation {
    /// How many of the first observations to leave out.
    pub observations: u64,
    /// Position of the first one that stays; 0 if all do.
    pub position: u64,
    /// Mean of those that stay, as far as they fill batches.
    pub mean: f64,
    /// The marginal standard error there, in the square of the observations' unit.
    pub statistic: f64,
}

impl Mser5 {
    /// Of no observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next observation; `position` says where it stands, its time for example,
    /// and plays no part in the choice.
    pub fn push(&mut self, value: f64, position: u64) {
        if self.pending == 0 {
            self.begun = position;
        }
        self.size = self.size.max(BATCH);
        self.sum += value;
        self.pending += 1;
        if self.pending < self.size {
            return;
        }
        self.batches.push(Batch { mean: self.sum / self.size as f64, position: self.begun });
        (self.sum, self.pending) = (0.0, 0);
        if self.batches.len() == MOST_BATCHES {
            let merged = |pair: &[Batch]| Batch { mean: 0.5 * (pair[0].mean + pair[1].mean), ..pair[0] };
            self.batches = self.batches.chunks_exact(2).map(merged).collect();
            self.size *= 2;
        }
    }

    /// Observations so far.
    pub fn observations(&self) -> u64 {
        self.batches.len() as u64 * self.size + self.pending
    }

    /// Observations per batch: what the truncation is a multiple of.
    pub fn batch_size(&self) -> u64 {
        self.size.max(BATCH)
    }

    /// The advice, the least of equally good ones. `None` for fewer than ten batches, and where the
    /// minimum lies at the end of the first half: the series has no visible steady state.
    pub fn truncation(&self) -> Option<Truncation> {
        let n = self.batches.len();
        if n < FEWEST_BATCHES {
            return None;
        }
        let last = n / 2;
        // Backwards and by Welford's update, so each d costs one step and nothing cancels.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        let (mut best, mut least, mut rest) = (last, f64::INFINITY, 0.0);
        for (d, batch) in self.batches.iter().enumerate().rev() {
            count += 1.0;
            let deviation = batch.mean - mean;
            mean += deviation / count;
            squares += deviation * (batch.mean - mean);
            let statistic: f64 = squares / (count * count);
            if d <= last && statistic <= least {
                (best, least, rest) = (d, statistic, mean);
            }
        }
        let position = if best == 0 { 0 } else { self.batches[best].position };
        let observations = best as u64 * self.size;
        (best < last).then_some(Truncation { observations, position, mean: rest, statistic: least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Moments;

    /// Standard normal values from a fixed linear congruence (Knuth's MMIX constants) by the
    /// sum of twelve uniform ones.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        move || (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    /// `x_t = 0.7 x_{t-1} + noise`, from `start` on.
    fn ar1(seed: u64, start: f64, length: usize) -> Vec<f64> {
        let (mut noise, mut x) = (noise(seed), start);
        (0..length)
            .map(|_| {
                x = 0.7 * x + noise();
                x
            })
            .collect()
    }

    fn of(values: &[f64]) -> Mser5 {
        let mut mser = Mser5::new();
        for (index, &value) in values.iter().enumerate() {
            mser.push(value, 1000 + index as u64);
        }
        mser
    }

    /// By the definition, in O(n²), from batch means of so many observations.
    fn direct(values: &[f64], size: usize) -> Option<(usize, f64)> {
        let means: Vec<f64> = values.chunks_exact(size).map(|batch| batch.iter().sum::<f64>() / size as f64).collect();
        let n = means.len();
        let statistic = |d: usize| {
            let kept: Moments = means[d..].iter().copied().collect();
            kept.variance().unwrap() * (kept.n() - 1) as f64 / (kept.n() as f64).powi(2)
        };
        let all: Vec<f64> = (0..=n / 2).map(statistic).collect();
        let best = (0..all.len()).min_by(|&a, &b| all[a].total_cmp(&all[b])).unwrap();
        (best < n / 2).then(|| (best * size, all[best]))
    }

    #[test]
    fn the_truncation_is_the_minimum_by_definition() {
        for (seed, start, length) in
            [(1, 0.0, 500), (2, 40.0, 500), (3, -15.0, 1003), (4, 200.0, 150), (5, 3.0, 20_479)]
        {
            let values = ar1(seed, start, length);
            let (found, wanted) = (of(&values).truncation(), direct(&values, 5));
            assert_eq!(found.map(|found| found.observations as usize), wanted.map(|(d, _)| d), "seed {seed}");
            let (found, (_, statistic)) = (found.unwrap(), wanted.unwrap());
            assert!((found.statistic / statistic - 1.0).abs() < 1e-9, "{found:?} {statistic}");
            let position = if found.observations == 0 { 0 } else { 1000 + found.observations };
            assert_eq!(found.position, position);
            let kept = &values[found.observations as usize..values.len() / 5 * 5];
            assert!((found.mean - kept.iter().sum::<f64>() / kept.len() as f64).abs() < 1e-9);
        }
    }

    /// A start at 100 decays below the noise's standard deviation, 1/√0.51 = 1.4, after
    /// ln(100/1.4)/ln(1/0.7) = 12 observations. Chance adds a few batches, here never 5 % of the series.
    #[test]
    fn a_known_transient_is_left_out() {
        for seed in 0..20 {
            let found = of(&ar1(seed, 100.0, 2000)).truncation().unwrap();
            assert!((10..=100).contains(&found.observations), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn what_is_constant_stays_whole_and_what_drifts_has_no_advice() {
        let constant = of(&[2.5; 100]).truncation();
        assert_eq!(constant, Some(Truncation { observations: 0, position: 0, mean: 2.5, statistic: 0.0 }));
        let drift: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(of(&drift).truncation(), None);
        assert_eq!(of(&[1.0; 49]).truncation(), None, "nine batches");
        assert!(of(&[1.0; 50]).truncation().is_some());
        assert_eq!(Mser5::new().truncation(), None);
    }

    #[test]
    fn memory_is_bounded_and_the_resolution_known() {
        let values = ar1(6, 5000.0, 100_000);
        let mser = of(&values);
        // 20,480 observations fill 4096 batches, 40,960 do again, and 81,920.
        assert_eq!(mser.batch_size(), 40);
        assert!(mser.batches.len() < MOST_BATCHES && mser.batches.capacity() <= 2 * MOST_BATCHES);
        let found = mser.truncation().unwrap();
        assert_eq!(Some(found.observations as usize), direct(&values, 40).map(|(d, _)| d));
        assert_eq!(found.position, 1000 + found.observations);
    }
}
