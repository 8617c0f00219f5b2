//! What a learning controller sees, as a vector of numbers of order 1.

use serde::{Deserialize, Serialize};

use crate::network::ports::Observation;
use crate::units::SimTime;

/// What a learning controller may observe. Never among it: gains and losses of the request
/// that is decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// σ, scaled by its bounds in the scenario.
    NoiseStd,
    /// σ_h, scaled by its bounds.
    RayleighScale,
    /// P of eq. (4), scaled by its bounds.
    LossProbability,
    /// The present split, scaled by split.min and split.max.
    Split,
    /// The step in the episode, 0 to steps_per_episode - 1 scaled to -1 to 1. An episode that ends is no Markov process without it: what a state is worth depends on the steps left.
    StepInEpisode,
    /// Mean SNR of the link in dB, -20 to 40 scaled to -1 to 1: analog 10 lg(2σ_h²/σ²), per unit of activation power; digital 10 lg(SNR₁·2σ_h²).
    SnrDb,
    /// Mean gain over the packets of the UE's last transmission, 0 to 2 scaled to -1 to 1; before the first one the mean of the Rayleigh law, σ_h·√(π/2).
    GainEstimate,
    /// Age of that estimate: (a - 1 s)/(a + 1 s); 1 before the first transmission.
    GainAge,
    /// Requests that wait at the UE: (n - 1)/(n + 1).
    UeQueue,
    /// Jobs that wait at the edge: (n - 1)/(n + 1).
    EdgeQueue,
    /// Jobs in service at the edge: (n - 1)/(n + 1).
    EdgeBusy,
    /// Share of the UE's battery that is left, 0 to 1 scaled to -1 to 1. Only for UEs with a battery.
    Battery,
}

impl Observed {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoiseStd,
        Self::RayleighScale,
        Self::LossProbability,
        Self::Split,
        Self::StepInEpisode,
        Self::SnrDb,
        Self::GainEstimate,
        Self::GainAge,
        Self::UeQueue,
        Self::EdgeQueue,
        Self::EdgeBusy,
        Self::Battery,
    ];

    /// The word in scenarios and policy files.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoiseStd => "noise_std",
            Self::RayleighScale => "rayleigh_scale",
            Self::LossProbability => "loss_probability",
            Self::Split => "split",
            Self::StepInEpisode => "step_in_episode",
            Self::SnrDb => "snr_db",
            Self::GainEstimate => "gain_estimate",
            Self::GainAge => "gain_age",
            Self::UeQueue => "ue_queue",
            Self::EdgeQueue => "edge_queue",
            Self::EdgeBusy => "edge_busy",
            Self::Battery => "battery",
        }
    }

    /// The quantity itself, in its own unit.
    fn value(self, seen: &Observation) -> f64 {
        let (conditions, state) = (&seen.conditions, &seen.state);
        match self {
            Self::NoiseStd => conditions.noise_std,
            Self::RayleighScale => conditions.rayleigh_scale,
            Self::LossProbability => conditions.loss_probability,
            Self::Split => f64::from(seen.split),
            Self::StepInEpisode => f64::from(seen.step_in_episode),
            Self::SnrDb => state.snr_db,
            Self::GainEstimate => {
                let mean = conditions.rayleigh_scale * std::f64::consts::FRAC_PI_2.sqrt();
                state.gain_estimate.unwrap_or(mean)
            }
            Self::GainAge => state.gain_age.map_or(f64::INFINITY, SimTime::as_secs_f64),
            Self::UeQueue => f64::from(state.ue_queue),
            Self::EdgeQueue => f64::from(state.edge_queue),
            Self::EdgeBusy => f64::from(state.edge_busy),
            // The scenario has refused UEs without one.
            Self::Battery => state.battery.unwrap_or(1.0),
        }
    }
}

/// How a quantity becomes a number of order 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scaling {
    /// `2(x - min)/(max - min) - 1`; 0 where min = max.
    Bounds {
        /// Becomes -1.
        min: f64,
        /// Becomes 1.
        max: f64,
    },
    /// `(x - half)/(x + half)`, from -1 at 0 towards 1.
    Saturating {
        /// Becomes 0.
        half: f64,
    },
}

impl Scaling {
    /// The scaled value; what is infinite becomes the nearer end, what is no number the middle.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Bounds { min, max } if max > min && !x.is_nan() => {
                let x = if x.is_finite() { x } else { x.clamp(min, max) };
                2.0 * (x - min) / (max - min) - 1.0
            }
            Self::Bounds { .. } => 0.0,
            Self::Saturating { .. } if x.is_nan() => 0.0,
            Self::Saturating { half } if x.is_finite() => (x - half) / (x + half),
            Self::Saturating { .. } => 1.0,
        }
    }

    /// Whether its numbers make sense.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Bounds { min, max } => min <= max && (max - min).is_finite(),
            Self::Saturating { half } => half.is_finite() && half > 0.0,
        }
    }
}

/// One entry of the vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The quantity.
    pub observed: Observed,
    /// Its scaling.
    pub scaling: Scaling,
}

/// Bounds of the quantities that a scenario bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservationBounds {
    /// Of σ.
    pub noise_std: (f64, f64),
    /// Of σ_h.
    pub rayleigh_scale: (f64, f64),
    /// Of P.
    pub loss_probability: (f64, f64),
    /// Of the split.
    pub split: (u32, u32),
    /// Steps of an episode.
    pub steps_per_episode: u32,
}

/// The observation space: entries in the order of the vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservationSpace(pub Vec<Entry>);

impl ObservationSpace {
    /// `observed`, scaled by `bounds`.
    pub fn new(observed: &[Observed], bounds: &ObservationBounds) -> Self {
        let entry = |&observed: &Observed| {
            let within = |(min, max): (f64, f64)| Scaling::Bounds { min, max };
            let scaling = match observed {
                Observed::NoiseStd => within(bounds.noise_std),
                Observed::RayleighScale => within(bounds.rayleigh_scale),
                Observed::LossProbability => within(bounds.loss_probability),
                Observed::Split => within((f64::from(bounds.split.0), f64::from(bounds.split.1))),
                Observed::StepInEpisode => within((0.0, f64::from(bounds.steps_per_episode.saturating_sub(1)))),
                Observed::SnrDb => within((-20.0, 40.0)),
                Observed::GainEstimate => within((0.0, 2.0)),
                Observed::Battery => within((0.0, 1.0)),
                Observed::GainAge | Observed::UeQueue | Observed::EdgeQueue | Observed::EdgeBusy => {
                    Scaling::Saturating { half: 1.0 }
                }
            };
            Entry { observed, scaling }
        };
        Self(observed.iter().map(entry).collect())
    }

    /// Length of the vector.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is observed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|entry| entry.observed.name()).collect()
    }

    /// The vector.
    pub fn vector(&self, seen: &Observation) -> Vec<f32> {
        self.0.iter().map(|entry| entry.scaling.apply(entry.observed.value(seen)) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ports::{Conditions, NetworkState};

    #[test]
    fn quantities_are_scaled_by_their_bounds() {
        let bounds = ObservationBounds {
            noise_std: (0.0, 0.0),
            rayleigh_scale: (0.5, 1.0),
            loss_probability: (0.0, 0.3),
            split: (1, 10),
            steps_per_episode: 5,
        };
        let space = ObservationSpace::new(&Observed::ALL, &bounds);
        let conditions =
            Conditions { noise_std: 0.0, rayleigh_scale: 0.75, gain_threshold: 0.1, loss_probability: 0.3 };
        let state = NetworkState {
            snr_db: f64::INFINITY,
            gain_estimate: None,
            gain_age: Some(SimTime::from_secs_saturating(3.0)),
            ue_queue: 0,
            edge_queue: 1,
            edge_busy: 9,
            battery: Some(0.25),
        };
        let (ue, now, decision, step_in_episode) = (0, SimTime::ZERO, 0, 3);
        let mut seen =
            Observation { ue, now, decision, step_in_episode, conditions, split: 1, prompt_tokens: 64, state };
        let mean_gain = 0.75 * std::f64::consts::FRAC_PI_2.sqrt() - 1.0;
        let expected = [0.0, 0.0, 1.0, -1.0, 0.5, 1.0, mean_gain as f32, 0.5, -1.0, 0.0, 0.8, -0.5];
        for (name, (value, expected)) in space.names().iter().zip(space.vector(&seen).iter().zip(expected)) {
            assert!((value - expected).abs() < 1e-6, "{name}: {value}, not {expected}");
        }
        seen.state = NetworkState { snr_db: 10.0, gain_estimate: Some(1.5), gain_age: None, ..state };
        let vector = space.vector(&seen);
        assert_eq!((vector[5], vector[6], vector[7]), (0.0, 0.5, 1.0));
    }

    #[test]
    fn names_are_those_of_scenarios() {
        for observed in Observed::ALL {
            assert_eq!(serde_json::to_value(observed).unwrap(), observed.name());
        }
    }
}
