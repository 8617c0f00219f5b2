//! A row of `evaluations.csv`.

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};

record! {
    /// One row per episode of an evaluation: the simulator runs on fixed starts with a policy that doesn't learn. Every judged UE has as many episodes, the same for every policy.
    "evaluations.csv" => pub struct EvaluationRow {
        /// Steps of this run that the policy had learned from: 0 before learning (of a policy that doesn't learn, those of its file). UEs of one round may have learned from different numbers. Empty for the yardsticks.
        env_steps: Option<u64>,
        /// `learned`, or a yardstick: `optimal`, `greedy` (both need a quality table, and a reward that follows from it) or `random`.
        policy: &'static str,
        /// UE whose episode it is.
        ue_id: u32,
        /// Episode of the UE, from 0.
        episode: u32,
        /// σ of its first step. Empty if digital.
        noise_std: Option<f64>,
        /// σ_h of its first step.
        rayleigh_scale: Option<f64>,
        /// Loss probability of its first step.
        loss_probability: Option<f64>,
        /// Split before the first action.
        first_split: u32,
        /// Split after the last action.
        last_split: u32,
        /// Sum of the rewards, undiscounted.
        reward: f64,
        /// Steps.
        steps: u32,
        /// Number of the evaluation, from 0; the largest is the last. A controller that kept fewer policies than others is there with its last. Empty for the yardsticks.
        round: Option<u32>,
    }
}
