//! `hybrid-reward`: a score of the UE's own token, by a reward model or by the UE's confidence, decides whether
//! it stays (MS et al., arXiv 2409.13757).

use super::{Collaboration, CollaborationSpec, Standing};

/// The token stays if its score reaches the threshold; else the UE sends the ids that the edge has not
/// seen, and the edge returns a token of its own.
#[derive(Clone, Copy, Debug)]
pub struct HybridReward;

impl Collaboration for HybridReward {
    fn keeps(&self, spec: &CollaborationSpec, _: &Standing, score: f64) -> bool {
        score >= spec.threshold
    }
}
