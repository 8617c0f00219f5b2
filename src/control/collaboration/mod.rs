//! Collaborative generation: a device that proposes tokens by itself, and an edge that is asked now and then.

mod exit_ridge;
mod exit_training;

pub use exit_ridge::{Affine, ExitRidge, identity};
pub use exit_training::{ExitTraining, WindowGradient, translated, window_gradient};

/// A token that a device proposes, and what it knows when it does.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The device's state that the head multiplied: behind its last layer and final norm \[d\].
    pub hidden: &'a [f32],
    /// The proposed token's row of the device's embedding \[d\].
    pub embedding: &'a [f32],
    /// The device's logits \[V\].
    pub logits: &'a [f32],
    /// The proposed token.
    pub token: u32,
}
