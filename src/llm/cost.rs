//! Work of a split: FLOP on either side of it, bytes of weights, values on the air.
//!
//! One multiplication and one addition are two FLOP. Norms, rotations and
//! activation functions (O(S·d), below 0.1 % at d = 4096) are not counted.

use std::ops::Range;

use super::geometry::Geometry;

/// How the FLOP of a prompt are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlopCount {
    /// From the matrices and the causal attention.
    #[default]
    Exact,
    /// By eq. (2) of Chen et al. (arXiv 2406.02616) as printed: for a prompt of 20
    /// tokens and LLaMA-2-7B 78 times too much, and the same for a prompt of any
    /// length but in the first layer. Compare with their curves, not with devices.
    Chen25Eq2,
}

/// The costs of one geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// The sizes.
    pub geometry: Geometry,
    /// How a prompt's layers are counted.
    pub flop_count: FlopCount,
    /// κ of eq. (2), which the paper doesn't explain: the number of attention heads
    /// makes the matrix products per head add up.
    pub kappa: f64,
}

impl CostModel {
    /// Costs of `geometry` with κ = its number of attention heads.
    pub fn new(geometry: Geometry, flop_count: FlopCount) -> Self {
        let kappa = geometry.heads as f64;
        Self { geometry, flop_count, kappa }
    }

    /// FLOP of `layers` (counted from 0) for a prompt of `tokens`, as `flop_count` says.
    /// Layers beyond the last don't exist and cost nothing.
    pub fn layers_flop(&self, layers: Range<usize>, tokens: usize) -> f64 {
        let layers = layers.start..layers.end.min(self.geometry.layers);
        let count = layers.len() as f64;
        let d_model = self.geometry.d_model as f64;
        match self.flop_count {
            FlopCount::Exact => count * prefill_layer_flop(&self.geometry, tokens),
            FlopCount::Chen25Eq2 if layers.contains(&0) => {
                chen25_first_layer_flop(d_model, self.kappa, tokens as f64)
                    + (count - 1.0) * chen25_further_layer_flop(d_model, self.kappa)
            }
            FlopCount::Chen25Eq2 => count * chen25_further_layer_flop(d_model, self.kappa),
        }
    }

    /// `C_UE(p)`: FLOP of layers 1..p for a prompt of `tokens`, before the split.
    pub fn ue_flop(&self, split: usize, tokens: usize) -> f64 {
        self.layers_flop(0..split, tokens)
    }

    /// FLOP of layers p+1..L for a prompt of `tokens`, and of the head for `head_tokens`
    /// of them (all that are scored; 1 when only the next token is wanted). The head
    /// isn't in eq. (2): it always counts exactly.
    pub fn edge_flop(&self, split: usize, tokens: usize, head_tokens: usize) -> f64 {
        self.layers_flop(split..self.geometry.layers, tokens) + head_flop(&self.geometry, head_tokens)
    }

    /// `C_UE(p) / C_UE(L)`, the compute term of eqs. (7) to (9) on a scale that means the
    /// same for every model: 0 at p = 0, 1 at p = L.
    pub fn ue_share(&self, split: usize, tokens: usize) -> f64 {
        let all = self.ue_flop(self.geometry.layers, tokens);
        if all > 0.0 { self.ue_flop(split, tokens) / all } else { 0.0 }
    }

    /// FLOP of layers 1..p for one decoded token that attends to `context` positions,
    /// itself included. Eq. (2) knows no decoding: always exact.
    pub fn ue_decode_flop(&self, split: usize, context: usize) -> f64 {
        split.min(self.geometry.layers) as f64 * decode_layer_flop(&self.geometry, context)
    }

    /// FLOP of layers p+1..L and the head for one decoded token, as
    /// [`CostModel::ue_decode_flop`].
    pub fn edge_decode_flop(&self, split: usize, context: usize) -> f64 {
        let layers = self.geometry.layers.saturating_sub(split) as f64;
        layers * decode_layer_flop(&self.geometry, context) + head_flop(&self.geometry, 1)
    }
}

/// FLOP of one layer for a prompt of S tokens: `2·S·(parameters) + 2·S²·h·d_h`.
/// The second term is scores and weighted values, 4·S²·h·d_h, of which causality
/// needs half. LLaMA-2-7B: 8.1 GFLOP at S = 20, 209 at S = 512.
pub fn prefill_layer_flop(geometry: &Geometry, tokens: usize) -> f64 {
    let s = tokens as f64;
    2.0 * s * geometry.layer_parameters() + 2.0 * s * s * geometry.attention_width()
}

/// FLOP of one layer for one token that attends to `context` positions:
/// `2·(parameters) + 4·context·h·d_h`. LLaMA-2-7B: 0.41 GFLOP at 512 positions.
pub fn decode_layer_flop(geometry: &Geometry, context: usize) -> f64 {
    2.0 * geometry.layer_parameters() + 4.0 * context as f64 * geometry.attention_width()
}

/// FLOP of the head for `tokens` rows: `2·d·V` each.
pub fn head_flop(geometry: &Geometry, tokens: usize) -> f64 {
    2.0 * geometry.head_parameters() * tokens as f64
}

/// Eq. (2) of Chen et al. as printed, first layer: `3Sd²/κ + 2S²d/κ + Sd² + 8d³`.
/// The last term should carry S instead of one d.
pub fn chen25_first_layer_flop(d_model: f64, kappa: f64, tokens: f64) -> f64 {
    let (d, s) = (d_model, tokens);
    3.0 * s * d.powi(2) / kappa + 2.0 * s.powi(2) * d / kappa + s * d.powi(2) + 8.0 * d.powi(3)
}

/// Eq. (2) of Chen et al. as printed, each further layer: `5d³/κ + 9d³`, which is the
/// first layer's with S = d. LLaMA-2-7B: 629 GFLOP for any prompt.
pub fn chen25_further_layer_flop(d_model: f64, kappa: f64) -> f64 {
    5.0 * d_model.powi(3) / kappa + 9.0 * d_model.powi(3)
}

/// Bytes of the weights of one layer. A forward pass reads them once per batch.
pub fn layer_weight_bytes(geometry: &Geometry, bytes_per_parameter: f64) -> f64 {
    geometry.layer_parameters() * bytes_per_parameter
}

/// Bytes of the weights of the head.
pub fn head_weight_bytes(geometry: &Geometry, bytes_per_parameter: f64) -> f64 {
    geometry.head_parameters() * bytes_per_parameter
}

/// Bytes of keys and values that one layer keeps for `context` positions:
/// `2·h_kv·d_h` values each. LLaMA-2-7B in f16: 16 KiB per position.
pub fn layer_kv_bytes(geometry: &Geometry, context: usize, bytes_per_value: f64) -> f64 {
    (2 * geometry.kv_heads * geometry.head_dim * context) as f64 * bytes_per_value
}
