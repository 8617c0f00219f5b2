//! Causal attention of further rows over all positions so far.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::elementwise::{softmax, vectorised};
use super::gemm::{PANEL, Product};
use super::kv_cache::KvLayer;

/// Queries whose scores are held at once: a few tiles of the kernel. More would compute more
/// scores that no query sees.
const ROWS: usize = 48;

/// Sizes of a layer's attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that a query sees, its own included; `None` for all before it.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// The positions that the query at `position` sees: keys k with position - W < k ≤ position.
    fn visible(&self, position: usize) -> Range<usize> {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
    }
}

vectorised! {
    /// Softmax of the scores of queries from position `first` on, over the keys from `seen` on.
    SoftmaxRows<'a> { scores: &'a mut [f32], stride: usize, shape: &'a AttentionShape, first: usize, seen: usize } {
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            let visible = shape.visible(first + row);
            softmax(scores, visible.start - seen..visible.end - seen);
        }
    }
}

/// `softmax(q·Kᵀ)·V` for the last rows that `kv` holds: queries \[S × heads·head_dim\],
/// turned and scaled, to `out` of the same shape. Query heads share key heads in
/// groups (Ainslie et al., arXiv 2305.13245).
pub(super) fn attention(arch: Arch, shape: AttentionShape, queries: &[f32], kv: &KvLayer, out: &mut Vec<f32>) {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let width = heads * head_dim;
    let start = kv.len() - queries.len() / width;
    out.resize(queries.len(), 0.0);
    let mut weights = Vec::new();
    for (block, (queries, out)) in queries.chunks(ROWS * width).zip(out.chunks_mut(ROWS * width)).enumerate() {
        let first = start + block * ROWS;
        let rows = queries.len() / width;
        // From whole panels of keys; what a row doesn't see weighs nothing.
        let seen = shape.visible(first).start / PANEL * PANEL..first + rows;
        let stride = seen.len().next_multiple_of(PANEL);
        weights.resize(rows * stride, 0.0);
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            for (panel, column) in (0..stride).step_by(PANEL).enumerate() {
                let product = Product {
                    a: &queries[head * head_dim..],
                    stride: width,
                    rows,
                    panel: kv.keys(kv_head, seen.start / PANEL + panel),
                    out: &mut weights[column..],
                    out_stride: stride,
                    columns: PANEL,
                    next: &[],
                    add: false,
                };
                product.run(arch);
            }
            arch.dispatch(SoftmaxRows { scores: &mut weights, stride, shape: &shape, first, seen: seen.start });
            for (part, column) in (0..head_dim).step_by(PANEL).enumerate() {
                let product = Product {
                    a: &weights,
                    stride,
                    rows,
                    panel: kv.values(kv_head, part, seen.clone()),
                    out: &mut out[head * head_dim + column..],
                    out_stride: width,
                    columns: PANEL.min(head_dim - column),
                    next: &[],
                    add: false,
                };
                product.run(arch);
            }
        }
    }
}
