//! The categorical distribution over actions, given by logits z: π_i = e^(z_i) / Σ_k e^(z_k).

use super::real::{Real, exp};

/// A distribution over actions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Categorical {
    log_probs: Vec<f64>,
    probs: Vec<f64>,
}

impl Categorical {
    /// The distribution of these logits: ln π_i = z_i - max z - ln Σ_k e^(z_k - max z).
    pub fn of<R: Real>(logits: &[R]) -> Self {
        let mut distribution = Self::default();
        distribution.set(logits);
        distribution
    }

    /// [`Categorical::of`] without allocation.
    pub fn set<R: Real>(&mut self, logits: &[R]) {
        let Self { log_probs, probs } = self;
        log_probs.clear();
        probs.clear();
        let most = logits.iter().fold(f64::NEG_INFINITY, |most, z| if z.get() > most { z.get() } else { most });
        let mut sum = 0.0;
        for z in logits {
            let shifted = z.get() - most;
            let weight = exp(shifted);
            sum += weight;
            log_probs.push(shifted);
            probs.push(weight);
        }
        let log_sum = sum.ln();
        for (log_prob, prob) in log_probs.iter_mut().zip(probs) {
            *log_prob -= log_sum;
            *prob /= sum;
        }
    }

    /// ln π of each action.
    pub fn log_probs(&self) -> &[f64] {
        &self.log_probs
    }

    /// π of each action.
    pub fn probs(&self) -> &[f64] {
        &self.probs
    }

    /// H = -Σ π_i ln π_i, in nats.
    pub fn entropy(&self) -> f64 {
        -self.probs.iter().zip(&self.log_probs).map(|(prob, log_prob)| prob * log_prob).sum::<f64>()
    }

    /// The action whose share of (0, 1) holds `uniform`: inversion of the distribution function. The last possible one
    /// where rounding leaves none; the first one if probabilities are no numbers.
    pub fn sample(&self, uniform: f64) -> usize {
        let mut below = 0.0;
        let mut last = 0;
        for (action, &prob) in self.probs.iter().enumerate() {
            if prob > 0.0 {
                last = action;
            }
            below += prob;
            if uniform < below {
                return action;
            }
        }
        last
    }

    /// The gradient with respect to the logits, in `out`, of a loss with these derivatives with respect to ln π of
    /// the action taken and to H, which is `entropy`: ∂ ln π_a/∂z_i = 1\[i = a\] - π_i and
    /// ∂H/∂z_i = -π_i (ln π_i + H).
    pub fn logit_gradient<R: Real>(
        &self,
        action: usize,
        entropy: f64,
        by_log_prob: f64,
        by_entropy: f64,
        out: &mut [R],
    ) {
        for (i, ((&prob, &log_prob), slot)) in self.probs.iter().zip(&self.log_probs).zip(out).enumerate() {
            let taken = if i == action { 1.0 } else { 0.0 };
            *slot = R::of(by_log_prob * (taken - prob) - by_entropy * prob * (log_prob + entropy));
        }
    }
}

/// The index of the largest number, the first among equals; 0 where there is none.
pub fn arg_max<R: Real>(values: &[R]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn log_probs(logits: &[f64]) -> Vec<f64> {
        Categorical::of(logits).log_probs
    }

    fn entropy(logits: &[f64]) -> f64 {
        Categorical::of(logits).entropy()
    }

    #[test]
    fn log_softmax_of_known_odds() {
        // Odds 1 : 2 : 5, whatever is added to all.
        for shift in [0.0, 700.0, -1e6] {
            let got = Categorical::of(&[shift, shift + 2.0_f64.ln(), shift + 5.0_f64.ln()]);
            for (i, p) in [0.125_f64, 0.25, 0.625].into_iter().enumerate() {
                assert!((got.log_probs()[i] - p.ln()).abs() < 1e-9 && (got.probs()[i] - p).abs() < 1e-9);
            }
        }
        assert_eq!(log_probs(&[0.0, -5000.0]), [0.0, -5000.0]);
        assert_eq!(log_probs(&[3.0]), [0.0]);
    }

    #[test]
    fn entropy_of_known_distributions() {
        assert!((entropy(&[1.0; 5]) - 5.0_f64.ln()).abs() < 1e-15);
        // 1/2, 1/4, 1/4: 1.5 bits.
        assert!((entropy(&[2.0_f64.ln(), 0.0, 0.0]) - 1.5 * std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(entropy(&[0.0, -5000.0]), 0.0);
    }

    /// χ² at the 99.9 % point of 3 degrees of freedom, 16.27.
    #[test]
    fn samples_have_their_probabilities() {
        let probs = [0.1, 0.2, 0.3, 0.4];
        let distribution = Categorical::of(&probs.map(f64::ln));
        let stream = Streams::new(3, 0).stream(0, Purpose::Test);
        let n = 100_000;
        let mut counts = [0.0; 4];
        for i in 0..n {
            counts[distribution.sample(stream.uniform(i))] += 1.0;
        }
        let chi2: f64 = counts.iter().zip(probs).map(|(c, p)| (c - n as f64 * p).powi(2) / (n as f64 * p)).sum();
        assert!(chi2 < 16.27, "{chi2}");
    }

    #[test]
    fn the_ends_of_sampling() {
        let distribution = Categorical::of(&[0.25_f64.ln(), 0.75_f64.ln(), -1e9]);
        assert_eq!(distribution.sample(1e-16), 0);
        assert_eq!(distribution.sample(0.26), 1);
        assert_eq!(distribution.sample(1.0), 1, "never an action without probability");
        assert_eq!(Categorical::of(&[f64::NAN; 3]).sample(0.5), 0);
        assert_eq!(arg_max(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(arg_max(&[f32::NAN, 3.0]), 0);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let z = [0.3, -1.2, 0.9, 0.1];
        let (a, b) = (1.7, -0.6);
        let loss = |z: &[f64]| a * log_probs(z)[2] + b * entropy(z);
        let mut gradient = [0.0; 4];
        Categorical::of(&z).logit_gradient(2, entropy(&z), a, b, &mut gradient);
        for i in 0..4 {
            let h = 1e-5;
            let moved = |by: f64| {
                let mut z = z;
                z[i] += by;
                loss(&z)
            };
            assert!(((moved(h) - moved(-h)) / (2.0 * h) - gradient[i]).abs() < 1e-9);
        }
    }
}
