//! A row of `evaluations.csv`.

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};

record! {
    /// One row per episode of an evaluation: the simulator runs on fixed starts with a policy that doesn't learn. The episodes of a UE are the same for every policy.
    "evaluations.csv" => pub struct EvaluationRow {
        /// Steps that the policy had learned from: 0 before learning. Empty for the yardsticks.
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
    }
}
