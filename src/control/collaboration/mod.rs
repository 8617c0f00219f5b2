//! Collaborative generation: a device that proposes tokens by itself, and an edge that is asked now and then.
//!
//! `story.rs` tells one text, `texts.rs` those of a run. `sureness.rs` says how sure the UE is of a token, by
//! `confidence.rs` or a reward model (`reward_head.rs` and its file, training and inputs); `acceptance.rs` says what
//! the edge makes of it.

pub mod acceptance;
mod confidence;
mod head_inputs;
mod reward_head;
mod reward_head_file;
mod reward_training;
mod scorer;
mod story;
mod sureness;
mod texts;

pub use confidence::{Confidence, Perturbation, entropy, margin, max_softmax, token_log_probability};
pub use head_inputs::{HeadFeature, HeadLevel, QueryFeatures, query_inputs, token_inputs};
pub use reward_head::{HeadPair, OtherPair, RewardHead, Standard};
pub use reward_head_file::{BUILTIN_HEAD, RewardHeadError};
pub use reward_training::{HeadOrigin, HeadRows, HeadTrainingError, shuffled_prompts};
pub use scorer::Scorer;
pub use story::{Answer, Device, Tellers};
pub use sureness::Sureness;
pub use texts::ModelTexts;

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

#[cfg(test)]
mod tests;
