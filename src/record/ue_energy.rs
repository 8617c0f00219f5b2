//! What UEs drew between their requests, added up.

use crate::network::energy::UeEnergy;
use crate::units::SimTime;

/// Sums over UEs; each is empty until somebody has something to say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct EnergySums {
    /// Of processors \[J\].
    pub idle_j: Option<f64>,
    /// Of radios \[J\].
    pub sleep_j: Option<f64>,
    /// Left in batteries \[J\].
    pub left_j: Option<f64>,
    /// The first empty battery.
    pub empty_at: Option<SimTime>,
    /// Empty batteries.
    pub empty: Option<u64>,
}

impl EnergySums {
    /// Takes in a UE.
    pub fn add(&mut self, ue: &UeEnergy) {
        let add = |sum: &mut Option<f64>, joules: Option<f64>| {
            if let Some(joules) = joules {
                *sum = Some(sum.unwrap_or(0.0) + joules);
            }
        };
        add(&mut self.idle_j, ue.idle_j);
        add(&mut self.sleep_j, ue.sleep_j);
        add(&mut self.left_j, ue.battery_left_j);
        if ue.battery_left_j.is_some() {
            self.empty = Some(self.empty.unwrap_or(0) + u64::from(ue.battery_empty_at.is_some()));
        }
        self.empty_at = match (self.empty_at, ue.battery_empty_at) {
            (Some(first), Some(other)) => Some(first.min(other)),
            (first, other) => first.or(other),
        };
    }
}
