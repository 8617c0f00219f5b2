//! Rewards of a step of the decision process.

use crate::network::ports::{Reward, RewardInput};

/// How many times the clean PPL a failed request counts, unless `ppl_cap` says otherwise.
const DEFAULT_CAP: f64 = 10.0;

/// A reward's formula with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RewardFunction {
    /// \[Chen25\] eq. (8): `r = -(PPL + λ·C_UE(p)/C_UE(L))`, PPL clipped at a cap. A
    /// failed request counts the cap and the work really done.
    Chen25Eq8 {
        /// λ.
        lambda: f64,
        /// The cap; `None` for 10 times the clean PPL of the same window.
        ppl_cap: Option<f64>,
    },
    /// What the paper's published code uses:
    /// `r = a·(PPL_0 - PPL)/PPL_0 + b·(p_max - p)/p_max`, the gain clipped at -1.
    RelativeGain {
        /// a.
        a: f64,
        /// b.
        b: f64,
        /// p_max.
        p_max: u32,
        /// Largest PPL that counts, as in eq. (8).
        ppl_cap: Option<f64>,
    },
    /// Quality, latency and energy in one:
    /// `r = a·(PPL_0 - PPL)/PPL_0 - w_T·T - w_E·E`, the gain clipped at -1; T is the time from
    /// arrival to the end \[s\], of a failed request to its failure, and E the energy of the UE's
    /// processor and transmitter \[J\].
    Weighted {
        /// a.
        a: f64,
        /// w_T \[1/s\].
        latency_weight: f64,
        /// w_E \[1/J\].
        energy_weight: f64,
        /// Largest PPL that counts, as in eq. (8).
        ppl_cap: Option<f64>,
    },
}

impl RewardFunction {
    /// Whether the reward follows from the quality and the split alone, so that a table can
    /// say what to expect.
    pub fn is_known_beforehand(&self) -> bool {
        !matches!(self, Self::Weighted { .. })
    }

    /// Whether it needs a PPL, rather than a relative gain.
    pub fn needs_ppl(&self) -> bool {
        matches!(self, Self::Chen25Eq8 { .. })
    }
}

/// `PPL`, at most the cap; the cap itself for a request that failed. `None`
/// where neither is known.
fn capped_ppl(input: &RewardInput, ppl_cap: Option<f64>) -> Option<f64> {
    let quality = input.quality.as_ref()?;
    let cap = ppl_cap.or_else(|| quality.ppl_clean.map(|clean| DEFAULT_CAP * clean));
    if input.failed {
        return cap;
    }
    match (quality.ppl, cap) {
        (Some(ppl), Some(cap)) => Some(ppl.min(cap)),
        (ppl, cap) => ppl.or(cap),
    }
}

/// `(PPL_0 - PPL)/PPL_0`, at least -1; a request that failed counts the cap, or -1
/// where no PPL is known.
fn relative_gain(input: &RewardInput, ppl_cap: Option<f64>) -> Option<f64> {
    let quality = input.quality.as_ref()?;
    let gain = match (quality.relative_gain, quality.ppl_clean) {
        (_, None) if input.failed => -1.0,
        (_, Some(clean)) => (clean - capped_ppl(input, ppl_cap)?) / clean,
        // Sources that know gains only.
        (gain, None) => gain?,
    };
    Some(gain.max(-1.0))
}

impl Reward for RewardFunction {
    fn reward(&self, input: &RewardInput) -> Option<f64> {
        match *self {
            Self::Chen25Eq8 { lambda, ppl_cap } => Some(-(capped_ppl(input, ppl_cap)? + lambda * input.ue_cost_share)),
            Self::RelativeGain { a, b, p_max, ppl_cap } => {
                let p_max = f64::from(p_max);
                Some(a * relative_gain(input, ppl_cap)? + b * (p_max - f64::from(input.split)) / p_max)
            }
            Self::Weighted { a, latency_weight, energy_weight, ppl_cap } => {
                let gain = relative_gain(input, ppl_cap)?;
                Some(a * gain - latency_weight * input.elapsed_s - energy_weight * input.energy_j)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ports::Quality;

    fn input(ppl: Option<f64>, ppl_clean: Option<f64>) -> RewardInput {
        let quality = Quality { ppl_clean, ppl, ..Quality::default() };
        let (elapsed_s, energy_j) = (2.0, 5.0);
        RewardInput { quality: Some(quality), failed: false, split: 4, ue_cost_share: 0.25, elapsed_s, energy_j }
    }

    #[test]
    fn eq8_adds_weighted_work_and_caps_the_ppl() {
        let reward = RewardFunction::Chen25Eq8 { lambda: 20.0, ppl_cap: None };
        assert_eq!(reward.reward(&input(Some(40.0), Some(30.0))), Some(-45.0));
        assert_eq!(reward.reward(&input(Some(2048.0), Some(30.0))), Some(-305.0));
        assert_eq!(reward.reward(&input(None, Some(30.0))), Some(-305.0));
        // An outage at chance, 2048, counts the cap even where chance is better.
        let outage = RewardInput { failed: true, ..input(Some(2048.0), Some(300.0)) };
        assert_eq!(reward.reward(&outage), Some(-3005.0));
        let capped = RewardFunction::Chen25Eq8 { lambda: 20.0, ppl_cap: Some(100.0) };
        assert_eq!(capped.reward(&input(None, None)), Some(-105.0));
        assert_eq!(reward.reward(&RewardInput { quality: None, ..input(None, None) }), None);
    }

    #[test]
    fn weighted_counts_time_and_energy() {
        let reward = RewardFunction::Weighted { a: 10.0, latency_weight: 0.5, energy_weight: 0.2, ppl_cap: None };
        // 10 · (30 - 33)/30 - 0.5 · 2 s - 0.2 · 5 J
        let value = reward.reward(&input(Some(33.0), Some(30.0))).unwrap();
        assert!((value - (-1.0 - 1.0 - 1.0)).abs() < 1e-12);
        let failed = RewardInput { failed: true, ..input(None, Some(30.0)) };
        assert_eq!(reward.reward(&failed), Some(-10.0 - 1.0 - 1.0));
        assert!(!reward.is_known_beforehand());
    }

    #[test]
    fn relative_gain_rewards_quality_and_an_early_split() {
        let reward = RewardFunction::RelativeGain { a: 10.0, b: 1.0, p_max: 10, ppl_cap: None };
        // 10 · (30 - 33)/30 + (10 - 4)/10
        let value = reward.reward(&input(Some(33.0), Some(30.0))).unwrap();
        assert!((value - (-1.0 + 0.6)).abs() < 1e-12);
        assert_eq!(reward.reward(&input(Some(2048.0), Some(30.0))), Some(-10.0 + 0.6));
        assert_eq!(reward.reward(&input(None, Some(30.0))), Some(-10.0 + 0.6));
    }
}
