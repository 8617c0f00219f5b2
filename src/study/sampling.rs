//! Points drawn over ranges: a draw is addressed by (seed, axis, point), never by the order of drawing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Purpose, Stream, Streams};

/// How points are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Independent uniform draws. Point i depends on the seed, the key and i alone: a larger `count` keeps the points that are there.
    #[default]
    Random,
    /// One point in each of `count` equally likely slices of every range, the slices of different ranges matched at random. Another `count` gives other points.
    LatinHypercube,
}

/// `count` numbers on (0, 1) for an axis.
pub(super) fn quantiles(method: Method, seed: u64, key: &str, count: u64) -> Vec<f64> {
    match method {
        Method::Random => {
            let stream = stream(seed, key, Purpose::StudySample);
            (0..count).map(|point| stream.uniform(point)).collect()
        }
        Method::LatinHypercube => {
            let stream = stream(seed, key, Purpose::StudyHypercube);
            // The order of random words is a uniform permutation; the other half of each block places the point in its slice.
            let mut order: Vec<(u64, u64)> = (0..count)
                .map(|point| {
                    let [a, b, ..] = stream.block(point);
                    (u64::from(a) << 32 | u64::from(b), point)
                })
                .collect();
            order.sort_unstable();
            let mut quantiles = vec![0.0; order.len()];
            for (slice, &(_, point)) in order.iter().enumerate() {
                let [_, within] = stream.uniform_pair(point);
                quantiles[point as usize] = (slice as f64 + within) / count as f64;
            }
            quantiles
        }
    }
}

/// The stream of an axis: 64 bits of its key's hash, so that two axes never share one.
fn stream(seed: u64, key: &str, purpose: Purpose) -> Stream {
    let hash = blake3::hash(key.as_bytes());
    let word = |at: usize| hash.as_bytes()[at..at + 4].iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
    Streams::new(seed, word(0)).stream(word(4), purpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ks_statistic;

    const KEYS: [&str; 3] = ["channel.noise_std", "ue.phone.count", "radio.bandwidth_mhz"];

    /// The 1 - α quantile of Kolmogorov's statistic for α = 0.001 is 1.949/√n.
    #[test]
    fn random_points_are_uniform() {
        for key in KEYS {
            let mut sample = quantiles(Method::Random, 7, key, 10_000);
            sample.sort_by(f64::total_cmp);
            let distance = ks_statistic(&sample, |x| x);
            assert!(distance < 1.949 / 100.0, "{key}: {distance}");
        }
    }

    #[test]
    fn a_larger_count_keeps_random_points() {
        let few = quantiles(Method::Random, 7, KEYS[0], 10);
        assert_eq!(quantiles(Method::Random, 7, KEYS[0], 1000)[..10], few);
        assert_ne!(quantiles(Method::Random, 8, KEYS[0], 10), few);
        assert_ne!(quantiles(Method::Random, 7, KEYS[1], 10), few);
    }

    /// Pins the addressing: a change here changes the points of every published study.
    #[test]
    fn points_are_pinned() {
        assert_eq!(quantiles(Method::Random, 7, KEYS[0], 2), PINNED_RANDOM);
        assert_eq!(quantiles(Method::LatinHypercube, 7, KEYS[0], 2), PINNED_HYPERCUBE);
    }

    const PINNED_RANDOM: [f64; 2] = [0.534_608_954_823_989_3, 0.185_897_214_864_348_63];
    const PINNED_HYPERCUBE: [f64; 2] = [0.356_802_175_070_968_73, 0.560_435_824_610_369_6];

    #[test]
    fn a_latin_hypercube_meets_every_slice_once() {
        let n = 1000;
        for key in KEYS {
            let mut slices: Vec<usize> = quantiles(Method::LatinHypercube, 7, key, n as u64)
                .into_iter()
                .map(|u| (u * n as f64) as usize)
                .collect();
            slices.sort_unstable();
            assert_eq!(slices, (0..n).collect::<Vec<_>>(), "{key}");
        }
    }

    /// Slices of two axes are matched at random: the rank correlation of 1000 points has a standard deviation of
    /// 1/√999; 3.3 of them are exceeded with probability 0.001.
    #[test]
    fn axes_of_a_hypercube_are_uncorrelated() {
        let [a, b] = [KEYS[0], KEYS[1]].map(|key| quantiles(Method::LatinHypercube, 7, key, 1000));
        let covariance: f64 = a.iter().zip(&b).map(|(a, b)| (a - 0.5) * (b - 0.5)).sum::<f64>() / 1000.0;
        assert!((covariance * 12.0).abs() < 3.3 / 999f64.sqrt(), "{}", covariance * 12.0);
    }
}
