//! `query-router`: one choice per request (SelectLLM, SMART, AdaSwitch's first step): all tokens by the
//! UE's own model, or all by the edge's.

use super::{Collaboration, CollaborationSpec, Standing};

/// The request stays if the score of its prompt reaches the threshold; else the edge has all of it.
#[derive(Clone, Copy, Debug)]
pub struct QueryRouter;

impl Collaboration for QueryRouter {
    fn keeps(&self, spec: &CollaborationSpec, standing: &Standing, score: f64) -> bool {
        standing.position > 0 || score >= spec.threshold
    }

    fn hands_over(&self) -> bool {
        true
    }
}
