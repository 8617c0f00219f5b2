//! Arrivals with independent gaps of a law that is not exponential: more regular than
//! Poisson arrivals, or burstier.

use crate::kernel::Stream;
use crate::stats::{gamma_inverse, ln_gamma};

/// The law of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapLaw {
    /// Density ∝ x^(a-1)·exp(-x/θ); mean a·θ, squared coefficient of variation 1/a.
    Gamma,
    /// P(X > x) = exp(-(x/θ)^a); mean θ·Γ(1 + 1/a), squared coefficient of variation
    /// Γ(1 + 2/a)/Γ(1 + 1/a)² - 1.
    Weibull,
}

/// Shapes between which [`GapLaw::shape_of_cv`] looks.
const WEIBULL_SHAPES: [f64; 2] = [0.05, 1e4];

impl GapLaw {
    /// The shape a of a coefficient of variation, standard deviation over mean: 1/cv² of a
    /// Gamma law; of a Weibull law by bisection, and the nearest of 0.05 and 10⁴ beyond.
    pub fn shape_of_cv(self, cv: f64) -> f64 {
        match self {
            Self::Gamma => 1.0 / (cv * cv),
            Self::Weibull => {
                let [mut low, mut high] = WEIBULL_SHAPES;
                for _ in 0..200 {
                    let middle = (low * high).sqrt();
                    if self.squared_cv(middle) > cv * cv {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                (low * high).sqrt()
            }
        }
    }

    /// Variance over squared mean, for a shape.
    pub fn squared_cv(self, shape: f64) -> f64 {
        match self {
            Self::Gamma => 1.0 / shape,
            Self::Weibull => (ln_gamma(1.0 + 2.0 / shape) - 2.0 * ln_gamma(1.0 + 1.0 / shape)).exp_m1(),
        }
    }
}

/// A renewal process in its stationary state.
///
/// The first arrival comes after the rest of a gap that is under way at time 0. Whoever
/// looks at a random instant meets gaps in proportion to their length, and stands
/// anywhere in them: the rest is U·Y with U uniform and Y of density ∝ x·f(x), the
/// equilibrium law P(rest ≤ x) = ∫_0^x (1 - F)/mean (Cox, "Renewal theory", 1962,
/// section 5.2). Of a Gamma law of shape a, Y is Gamma of shape a + 1; of a Weibull
/// law, (Y/θ)^a is Gamma of shape 1 + 1/a.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renewal {
    law: GapLaw,
    shape: f64,
    scale_s: f64,
}

impl Renewal {
    /// Gaps of this law and shape a with mean `1/rate_per_s`; both numbers above 0.
    pub fn new(law: GapLaw, shape: f64, rate_per_s: f64) -> Self {
        let mean_of_unit_scale = match law {
            GapLaw::Gamma => shape,
            GapLaw::Weibull => ln_gamma(1.0 + 1.0 / shape).exp(),
        };
        Self { law, shape, scale_s: 1.0 / (rate_per_s * mean_of_unit_scale) }
    }

    /// The time from arrival `k` - 1 (or from time 0) to arrival `k` \[s\]: block `k` of
    /// `stream`, by inversion; two uniforms for the first, one for the others.
    pub fn gap_s(&self, stream: &Stream, k: u64) -> f64 {
        let [u, v] = stream.uniform_pair(k);
        let (a, first) = (self.shape, k == 0);
        let part = if first { v } else { 1.0 };
        let unit = match (self.law, first) {
            (GapLaw::Gamma, false) => gamma_inverse(a, u),
            (GapLaw::Gamma, true) => gamma_inverse(a + 1.0, u),
            (GapLaw::Weibull, false) => (-(-u).ln_1p()).powf(1.0 / a),
            (GapLaw::Weibull, true) => gamma_inverse(1.0 + 1.0 / a, u).powf(1.0 / a),
        };
        self.scale_s * part * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};
    use crate::stats::{Moments, ks_critical_value, ks_statistic, regularised_gamma};

    fn sorted(mut sample: Vec<f64>) -> Vec<f64> {
        sample.sort_unstable_by(f64::total_cmp);
        sample
    }

    /// Gaps of one UE, and first arrivals of many, against their whole laws, α = 0.001 each.
    #[test]
    fn gaps_and_first_arrivals_follow_their_laws() {
        let (n, rate) = (20_000, 4.0);
        let streams = Streams::new(11, 0);
        let own = streams.stream(7, Purpose::Arrival);
        for (law, a) in [(GapLaw::Gamma, 0.2), (GapLaw::Gamma, 3.0), (GapLaw::Weibull, 0.5), (GapLaw::Weibull, 2.0)] {
            let renewal = Renewal::new(law, a, rate);
            let scale = renewal.scale_s;
            let gaps = sorted((1..=n).map(|k| renewal.gap_s(&own, k)).collect());
            let distance = ks_statistic(&gaps, |x| match law {
                GapLaw::Gamma => regularised_gamma(a, x / scale).0,
                GapLaw::Weibull => -(-(x / scale).powf(a)).exp_m1(),
            });
            assert!(distance < ks_critical_value(gaps.len(), 0.001), "{law:?} {a}: gaps {distance}");

            let rests = (0..n as u32).map(|ue| renewal.gap_s(&streams.stream(ue, Purpose::Arrival), 0));
            let rests = sorted(rests.collect());
            // ∫_0^x (1 - F)/mean in closed form, by parts: another way than the draw's.
            let distance = ks_statistic(&rests, |x| {
                let y = x / scale;
                match law {
                    GapLaw::Gamma => regularised_gamma(a + 1.0, y).0 + y / a * regularised_gamma(a, y).1,
                    GapLaw::Weibull => regularised_gamma(1.0 / a, y.powf(a)).0,
                }
            });
            assert!(distance < ks_critical_value(rests.len(), 0.001), "{law:?} {a}: first arrivals {distance}");
        }
    }

    #[test]
    fn means_and_variations_are_as_asked() {
        let own = Streams::new(12, 0).stream(0, Purpose::Arrival);
        for (law, cv) in [(GapLaw::Gamma, 0.5), (GapLaw::Gamma, 2.0), (GapLaw::Weibull, 0.5), (GapLaw::Weibull, 1.6)] {
            let shape = law.shape_of_cv(cv);
            assert!((law.squared_cv(shape).sqrt() / cv - 1.0).abs() < 1e-9, "{law:?} {cv}");
            let renewal = Renewal::new(law, shape, 4.0);
            let mut moments = Moments::new();
            for k in 1..=200_000 {
                moments.push(renewal.gap_s(&own, k));
            }
            let (mean, deviation) = (moments.mean().unwrap(), moments.std_dev().unwrap());
            let found = deviation / mean;
            // Five standard errors of the mean; the variance's are wider for long tails.
            assert!((mean / 0.25 - 1.0).abs() < 5.0 * cv / 200_000f64.sqrt(), "{law:?} {cv}: {mean}");
            assert!((found / cv - 1.0).abs() < 0.03, "{law:?} {cv}: {found}");
        }
    }

    /// Γ(1 + 2/a)/Γ(1 + 1/a)² by hand: 2/1 for a = 1, 24/4 for a = 1/2, 1/(π/4) for a = 2.
    #[test]
    fn weibull_shapes_by_hand() {
        for (shape, ratio) in [(1.0, 2.0), (0.5, 6.0), (2.0, 4.0 / std::f64::consts::PI)] {
            let cv = f64::sqrt(ratio - 1.0);
            assert!((GapLaw::Weibull.shape_of_cv(cv) / shape - 1.0).abs() < 1e-9, "{shape}");
        }
    }

    #[test]
    fn the_first_gaps_are_pinned() {
        let own = Streams::new(1, 0).stream(0, Purpose::Arrival);
        let gaps = |law, shape| [0, 1, 2].map(|k| (Renewal::new(law, shape, 1.0).gap_s(&own, k) * 1e9).round() as u64);
        // Another implementation (quantiles by integration, in Python) gives the same.
        assert_eq!(gaps(GapLaw::Gamma, 0.5), [1_033_020_932, 2_148_631_511, 60_177_765]);
        assert_eq!(gaps(GapLaw::Weibull, 0.5), [1_461_756_905, 1_895_465_964, 23_199_566]);
        // Shape 1 is the exponential law, but for the first.
        assert_eq!(gaps(GapLaw::Gamma, 1.0)[1], (own.exponential(1) * 1e9).round() as u64);
        assert_eq!(gaps(GapLaw::Weibull, 1.0)[2], (own.exponential(2) * 1e9).round() as u64);
    }
}
