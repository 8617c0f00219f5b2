//! How sure a device is of the token that it proposes, from its own logits.
//!
//! At sampling temperature 1, whatever temperature the token was drawn at: `p = softmax(z)`, p_(1) ≥ p_(2) its two
//! largest probabilities, x the proposed token.

use crate::control::collaboration::Proposal;
use crate::kernel::Stream;
use crate::llm::{SoftmaxSums, tempered_total};

/// What a proposal's logits say about it; natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    /// p_(1), the largest probability.
    pub max_softmax: f64,
    /// p_(1) - p_(2).
    pub margin: f64,
    /// H = -Σ p ln p \[nat\]: 0 of a device that is certain, ln V of one that knows nothing.
    pub entropy: f64,
    /// ln p_(1) \[nat\].
    pub max_log_probability: f64,
    /// ln p(x) \[nat\] of the proposed token; minus infinity of one beyond the vocabulary.
    pub token_log_probability: f64,
}

impl Confidence {
    /// Of a proposal, whose logits are finite. Of others some figures are no numbers.
    pub fn of(proposal: &Proposal<'_>) -> Self {
        let SoftmaxSums { max, second, total, weighted } = SoftmaxSums::of(proposal.logits);
        let ln_total = total.ln();
        let logit = proposal.logits.get(proposal.token as usize).map_or(f64::NEG_INFINITY, |&z| f64::from(z));
        Self {
            max_softmax: 1.0 / total,
            margin: (1.0 - (second - max).exp()) / total,
            // -Σ p (z - m - ln Σ) = ln Σ - Σ p (z - m); rounding may leave it below 0.
            entropy: (ln_total - weighted / total).max(0.0),
            max_log_probability: -ln_total,
            token_log_probability: logit - max - ln_total,
        }
    }
}

/// p_(1) of a proposal.
pub fn max_softmax(proposal: &Proposal<'_>) -> f64 {
    Confidence::of(proposal).max_softmax
}

/// p_(1) - p_(2) of a proposal.
pub fn margin(proposal: &Proposal<'_>) -> f64 {
    Confidence::of(proposal).margin
}

/// -Σ p ln p of a proposal \[nat\]: lower is surer.
pub fn entropy(proposal: &Proposal<'_>) -> f64 {
    Confidence::of(proposal).entropy
}

/// ln p(x) of a proposal \[nat\].
pub fn token_log_probability(proposal: &Proposal<'_>) -> f64 {
    Confidence::of(proposal).token_log_probability
}

/// Smallest temperature that is told from 0, where the largest logit is drawn for certain: at it a difference of 1e-9
/// between two logits makes a factor of e¹⁰⁰⁰.
const LEAST_TEMPERATURE: f64 = 1e-12;

/// Uncertainty by perturbed temperatures (U-HLM; Oh et al., arXiv 2412.12687):
///
/// ```text
///  u = (1/M) Σ_m 1[x̃_m ≠ x],   x̃_m ~ softmax(z/θ_m),   θ_m ~ U(0, θ_max)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// M, the samples.
    pub samples: u32,
    /// θ_max, finite and above 0.
    pub max_temperature: f64,
}

impl Default for Perturbation {
    /// As published: M = 20, θ_max = 2.
    fn default() -> Self {
        Self { samples: 20, max_temperature: 2.0 }
    }
}

impl Perturbation {
    /// u of a proposal for `position`, from 0 (no sample differs) to 1. Sample m is addressed by (position, m) in
    /// `draws` alone.
    ///
    /// Whether a sample differs is a draw of probability 1 - p_θ(x), so it is drawn as such: the same law without M
    /// walks through M distributions.
    pub fn uncertainty(&self, proposal: &Proposal<'_>, draws: &Stream, position: usize) -> f64 {
        let Proposal { logits, token, .. } = *proposal;
        let Some(&logit) = logits.get(token as usize) else { return 1.0 };
        let SoftmaxSums { max, second, .. } = SoftmaxSums::of(logits);
        let (below, others) = (f64::from(logit) - max, logits.len().saturating_sub(1) as f64);
        let differs = |&sample: &u32| {
            let [temperature, mark] = draws.uniform_pair(((position as u64) << 32) + u64::from(sample));
            let inverse = 1.0 / (temperature * self.max_temperature).max(LEAST_TEMPERATURE);
            let weight = (below * inverse).exp();
            // p = weight/Σ with 1 ≤ Σ ≤ 1 + (V - 1)·e^((z_(2) - m)/θ): most marks are decided without the sum.
            if mark >= weight {
                return true;
            }
            if mark * (1.0 + others * ((second - max) * inverse).exp()) < weight {
                return false;
            }
            mark * f64::from(tempered_total(logits, max as f32, inverse as f32)) >= weight
        };
        let different = (0..self.samples).filter(differs).count();
        different as f64 / f64::from(self.samples.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn proposal(logits: &[f32], token: u32) -> Proposal<'_> {
        Proposal { hidden: &[], embedding: &[], logits, token }
    }

    /// p = 1/2, 1/4, 1/8, 1/8: H = 1/2 ln 2 + 1/4 ln 4 + 1/4 ln 8 = 1.75 ln 2.
    #[test]
    fn figures_of_a_hand_computed_distribution() {
        let logits = [0.25_f32, 0.5, 0.125, 0.125].map(|p| p.ln() + 3.0);
        let of = Confidence::of(&proposal(&logits, 2));
        for (found, expected) in [
            (of.max_softmax, 0.5),
            (of.margin, 0.25),
            (of.entropy, 1.75 * 2_f64.ln()),
            (of.max_log_probability, 0.5_f64.ln()),
            (of.token_log_probability, 0.125_f64.ln()),
        ] {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        let proposal = proposal(&logits, 2);
        let single = [max_softmax, margin, entropy, token_log_probability].map(|figure| figure(&proposal));
        assert_eq!(single, [of.max_softmax, of.margin, of.entropy, of.token_log_probability]);
    }

    #[test]
    fn the_ends_of_certainty() {
        let flat = Confidence::of(&proposal(&[1.5; 40], 3));
        assert!((flat.entropy - 40_f64.ln()).abs() < 1e-9 && flat.margin == 0.0, "{flat:?}");
        let sure = Confidence::of(&proposal(&[-900.0, 0.0, -900.0], 1));
        assert_eq!((sure.max_softmax, sure.margin, sure.token_log_probability), (1.0, 1.0, 0.0));
        assert!(sure.entropy < 1e-300);
        let alone = Confidence::of(&proposal(&[2.0], 0));
        assert_eq!((alone.max_softmax, alone.margin, alone.entropy), (1.0, 1.0, 0.0));
        assert_eq!(Confidence::of(&proposal(&[0.0, 1.0], 2)).token_log_probability, f64::NEG_INFINITY);
    }

    /// E u = 1 - ∫ p_θ(x) dθ/θ_max, by the midpoint rule; n·M samples whose marks are independent: 5 standard errors.
    #[test]
    fn perturbation_has_its_expectation() {
        let logits = [1.0_f32, 0.4, -0.5, 0.9, -2.0];
        let perturbation = Perturbation::default();
        let stream = Streams::new(3, 0).stream(0, Purpose::Perturbation).child(7);
        let steps = 20_000;
        for token in 0..5 {
            let kept = |step: u32| {
                let theta = 2.0 * (f64::from(step) + 0.5) / f64::from(steps);
                // Largest first: at θ near 0 the exponentials themselves overflow.
                let weight = |z: f32| ((f64::from(z) - 1.0) / theta).exp();
                weight(logits[token as usize]) / logits.iter().map(|&z| weight(z)).sum::<f64>()
            };
            let expected = 1.0 - (0..steps).map(kept).sum::<f64>() / f64::from(steps);
            let n = 4_000;
            let of = |position| perturbation.uncertainty(&proposal(&logits, token), &stream, position);
            let mean = (0..n).map(of).sum::<f64>() / n as f64;
            let error = (expected * (1.0 - expected) / (20.0 * n as f64)).sqrt();
            assert!((mean - expected).abs() < 5.0 * error, "token {token}: {mean} for {expected}");
        }
    }

    /// The bounds decide as the sum would.
    #[test]
    fn perturbation_is_the_sample_mean_of_its_marks() {
        let logits: Vec<f32> = (0..100).map(|k| ((k * 37) % 41) as f32 / 8.0).collect();
        let stream = Streams::new(3, 0).stream(0, Purpose::Perturbation).child(1);
        let perturbation = Perturbation { samples: 7, max_temperature: 1.5 };
        for position in 0..200 {
            let token = (position * 13 % 100) as u32;
            let differs = |m: u64| {
                let [u, v] = stream.uniform_pair(((position as u64) << 32) + m);
                let weight = |z: f32| ((f64::from(z) - 5.0) / (1.5 * u)).exp();
                let total: f64 = logits.iter().map(|&z| weight(z)).sum();
                v >= weight(logits[token as usize]) / total
            };
            let by_hand = (0..7).filter(|&m| differs(m)).count() as f64 / 7.0;
            assert_eq!(perturbation.uncertainty(&proposal(&logits, token), &stream, position), by_hand);
        }
    }

    #[test]
    fn perturbation_of_a_certain_device_is_zero() {
        let stream = Streams::new(3, 0).stream(0, Purpose::Perturbation).child(0);
        let of = |token| Perturbation::default().uncertainty(&proposal(&[90.0, 0.0, 0.0], token), &stream, 5);
        assert_eq!((of(0), of(1), of(3)), (0.0, 1.0, 1.0));
    }
}
