//! What queueing theory says of scenarios that are simple enough.

use crate::network::ports::ServiceMode;
use crate::network::spec::{Discipline, OutageSpec, ServiceLaw};
use crate::network::workload::{Arrivals, PromptTokens};
use crate::run::assembly::Assembly;

/// M/M/1: means of a stable queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mm1 {
    /// Arrival rate λ \[1/s\].
    pub arrival_rate: f64,
    /// Service rate μ \[1/s\].
    pub service_rate: f64,
}

impl Mm1 {
    /// The queue that a scenario degenerates to: Poisson arrivals straight to one
    /// exponential server at the edge. `None` if it is anything else, or unstable.
    pub fn of(assembly: &Assembly) -> Option<Self> {
        let network = &assembly.network;
        let fifo = matches!(network.edge.discipline, Discipline::Fifo { servers: 1 });
        let Some(ServiceLaw::Exponential { mean_s }) = network.edge.service else { return None };
        let straight = network.mode == ServiceMode::EdgeOnly
            && network.uplinks.iter().all(|uplink| uplink.ideal)
            && network.channels.iter().all(|channel| never_loses(&channel.outage))
            && network.groups.iter().all(|group| group.deadline.is_none());
        let mut arrival_rate = 0.0;
        for group in &network.groups {
            let Arrivals::Poisson { rate_per_s } = group.workload.arrivals else { return None };
            // Each round of a session comes to the edge anew, and so does each turn of a conversation.
            if matches!(group.workload.prompt_tokens, PromptTokens::Bootstrap(_)) {
                return None;
            }
            if group.workload.output_tokens > 1 || group.workload.conversation.is_some() {
                return None;
            }
            arrival_rate += rate_per_s * f64::from(group.count);
        }
        let queue = Self { arrival_rate, service_rate: 1.0 / mean_s };
        (fifo && straight && queue.load() < 1.0).then_some(queue)
    }

    /// ρ = λ/μ.
    pub fn load(self) -> f64 {
        self.arrival_rate / self.service_rate
    }

    /// Mean wait, ρ/(μ - λ) \[s\].
    pub fn mean_wait_s(self) -> f64 {
        self.load() / (self.service_rate - self.arrival_rate)
    }

    /// Mean sojourn, 1/(μ - λ) \[s\].
    pub fn mean_sojourn_s(self) -> f64 {
        1.0 / (self.service_rate - self.arrival_rate)
    }

    /// Quantile of the sojourn, -ln(1 - q)/(μ - λ) \[s\].
    pub fn sojourn_quantile_s(self, q: f64) -> f64 {
        -(-q).ln_1p() * self.mean_sojourn_s()
    }
}

fn never_loses(outage: &OutageSpec) -> bool {
    match outage {
        OutageSpec::ScaleAndLoss { loss_probability, .. } | OutageSpec::ThresholdAndLoss { loss_probability, .. } => {
            loss_probability.bounds().1 == 0.0
        }
        OutageSpec::ScaleAndThreshold { gain_threshold, .. } => gain_threshold.bounds().1 == 0.0,
    }
}

/// What theory says of one column of `summary.csv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// What it is, with its unit.
    pub what: &'static str,
    /// Theory's value.
    pub value: f64,
    /// Column of the row `all` that has the run's.
    pub column: &'static str,
}

impl Mm1 {
    /// Theory's values for a run; `back_s`, the way back, is a constant on top of the sojourn \[s\].
    pub fn predictions(self, back_s: f64) -> Vec<Prediction> {
        let quantile = |q| self.sojourn_quantile_s(q) + back_s;
        [
            ("utilisation of the edge", self.load(), "edge_utilisation"),
            ("mean wait at the edge [s]", self.mean_wait_s(), "edge_wait_mean_s"),
            ("mean e2e [s]", self.mean_sojourn_s() + back_s, "e2e_mean_s"),
            ("median e2e [s]", quantile(0.5), "e2e_median_s"),
            ("95th percentile e2e [s]", quantile(0.95), "e2e_p95_s"),
            ("99th percentile e2e [s]", quantile(0.99), "e2e_p99_s"),
        ]
        .map(|(what, value, column)| Prediction { what, value, column })
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_of_a_queue_at_half_load() {
        let queue = Mm1 { arrival_rate: 5.0, service_rate: 10.0 };
        assert_eq!((queue.load(), queue.mean_wait_s(), queue.mean_sojourn_s()), (0.5, 0.1, 0.2));
        assert!((queue.sojourn_quantile_s(0.95) - 0.2 * 20f64.ln()).abs() < 1e-12);
    }
}
