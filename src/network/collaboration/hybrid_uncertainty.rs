//! `hybrid-uncertainty`: the edge judges the proposals that the UE is unsure of (U-HLM, arXiv 2412.12687;
//! with a cut distribution CU-HLM, arXiv 2505.11788).

use super::{Collaboration, CollaborationSpec, Standing, unsynced_ids_bits};
use crate::network::costs::token_bits;
use crate::network::spec::NetworkSpec;

/// The token stays if its uncertainty u is not above the threshold; else its distribution goes to the edge,
/// which accepts the token or puts another in its place.
#[derive(Clone, Copy, Debug)]
pub struct HybridUncertainty;

impl Collaboration for HybridUncertainty {
    fn keeps(&self, spec: &CollaborationSpec, _: &Standing, score: f64) -> bool {
        score <= spec.threshold
    }

    /// `k·(b + ι)` for k entries of b bits each with their ids, k = V for the whole distribution, and the ids of
    /// tokens that the edge has not seen.
    fn ask_bits(&self, network: &NetworkSpec, spec: &CollaborationSpec, standing: &Standing) -> u64 {
        let vocabulary = network.cost.geometry.vocab as u64;
        let entries = spec.upload_entries.map_or(vocabulary, |k| u64::from(k).min(vocabulary));
        let entry = u64::from(spec.probability_bits) + token_bits(network);
        entries * entry + unsynced_ids_bits(network, standing)
    }
}
