//! Attention of whole windows, and what it passes back.
//!
//! For each head, with Q, K, V \[S × d_h\] of one window and `P = softmax(Q·Kᵀ/√d_h)` over the keys that a row sees:
//!
//! ```text
//!  C = P·V        dV = Pᵀ·dC     dP = dC·Vᵀ     dZ = P ⊙ (dP - rowsum(P ⊙ dP))
//!                 dQ = dZ·K/√d_h                dK = dZᵀ·Q/√d_h
//! ```
//!
//! A key head collects dK and dV from all query heads that share it.

use std::ops::Range;

use crate::llm::config::DecoderConfig;
use crate::llm::exponential::exp_f64;

use super::product::{Onto, View, multiply};

/// Sizes of the attention of one layer, on windows of one length.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Positions that a query sees, its own included; all before it without.
    sliding: Option<usize>,
    /// Rows S of a window.
    rows: usize,
}

/// Gradients of the turned queries and keys, and of the values.
pub(super) struct Gradients {
    pub query: Vec<f64>,
    pub key: Vec<f64>,
    pub value: Vec<f64>,
}

impl Shape {
    pub(super) fn new(config: &DecoderConfig, layer: usize, rows: usize) -> Self {
        let &DecoderConfig { heads, kv_heads, head_dim, .. } = config;
        Self { heads, kv_heads, head_dim, sliding: config.windows.get(layer).copied().flatten(), rows }
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    /// The positions that row `row` of a window sees.
    fn visible(&self, row: usize) -> Range<usize> {
        self.sliding.map_or(0, |sliding| (row + 1).saturating_sub(sliding))..row + 1
    }

    /// Head `head` of `of` in one window's rows.
    fn head<'a>(&self, rows: &'a [f64], head: usize, of: usize) -> View<'a> {
        View::part(rows, of * self.head_dim, self.rows, head * self.head_dim, self.head_dim)
    }

    /// `scale · a·b` to head `head` of `of` in one window's rows.
    fn write_head(&self, [a, b]: [View; 2], scale: f64, rows: &mut [f64], (head, of): (usize, usize), onto: Onto) {
        multiply(scale, a, b, &mut rows[head * self.head_dim..], of * self.head_dim, onto);
    }

    /// P of one head, \[S × S\].
    fn weights(&self, query: View, key: View) -> Vec<f64> {
        let mut weights = vec![0.0; self.rows * self.rows];
        multiply(self.scale(), query, key.transposed(), &mut weights, self.rows, Onto::Replace);
        for (row, scores) in weights.chunks_exact_mut(self.rows).enumerate() {
            let visible = self.visible(row);
            let max = scores[visible.clone()].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut total = 0.0;
            for (position, score) in scores.iter_mut().enumerate() {
                *score = if visible.contains(&position) { exp_f64(*score - max) } else { 0.0 };
                total += *score;
            }
            for score in scores {
                *score /= total;
            }
        }
        weights
    }

    /// The context \[rows × heads·d_h\] of turned queries and keys, and values, of consecutive windows.
    pub(super) fn forward(&self, query: &[f64], key: &[f64], value: &[f64]) -> Vec<f64> {
        let mut context = vec![0.0; query.len()];
        let (wide, narrow) = (self.rows * self.heads * self.head_dim, self.rows * self.kv_heads * self.head_dim);
        let inputs = query.chunks_exact(wide).zip(key.chunks_exact(narrow)).zip(value.chunks_exact(narrow));
        for (((query, key), value), context) in inputs.zip(context.chunks_exact_mut(wide)) {
            for head in 0..self.heads {
                let shared = head / (self.heads / self.kv_heads);
                let [key, value] = [key, value].map(|rows| self.head(rows, shared, self.kv_heads));
                let weights = self.weights(self.head(query, head, self.heads), key);
                let factors = [View::new(&weights, self.rows), value];
                self.write_head(factors, 1.0, context, (head, self.heads), Onto::Replace);
            }
        }
        context
    }

    /// What the gradient `d_context` of [`Shape::forward`]'s result says about its inputs.
    pub(super) fn backward(&self, query: &[f64], key: &[f64], value: &[f64], d_context: &[f64]) -> Gradients {
        let (mut d_query, mut d_key, mut d_value) =
            (vec![0.0; query.len()], vec![0.0; key.len()], vec![0.0; value.len()]);
        let (wide, narrow) = (self.rows * self.heads * self.head_dim, self.rows * self.kv_heads * self.head_dim);
        let mut d_scores = vec![0.0; self.rows * self.rows];
        for window in 0..query.len() / wide {
            let (wide, narrow) = (window * wide..(window + 1) * wide, window * narrow..(window + 1) * narrow);
            let [query, d_context] = [query, d_context].map(|all| &all[wide.clone()]);
            let [key, value] = [key, value].map(|all| &all[narrow.clone()]);
            let d_query = &mut d_query[wide];
            let (d_key, d_value) = (&mut d_key[narrow.clone()], &mut d_value[narrow]);
            for head in 0..self.heads {
                let shared = head / (self.heads / self.kv_heads);
                let [query, d_context] = [query, d_context].map(|rows| self.head(rows, head, self.heads));
                let [key, value] = [key, value].map(|rows| self.head(rows, shared, self.kv_heads));
                let weights = self.weights(query, key);
                let collects = (shared, self.kv_heads);
                let factors = [View::new(&weights, self.rows).transposed(), d_context];
                self.write_head(factors, 1.0, d_value, collects, Onto::Add);
                multiply(1.0, d_context, value.transposed(), &mut d_scores, self.rows, Onto::Replace);
                softmax_back(&weights, &mut d_scores, self.rows);
                let d_scores = View::new(&d_scores, self.rows);
                self.write_head([d_scores, key], self.scale(), d_query, (head, self.heads), Onto::Replace);
                self.write_head([d_scores.transposed(), query], self.scale(), d_key, collects, Onto::Add);
            }
        }
        Gradients { query: d_query, key: d_key, value: d_value }
    }
}

/// The gradient of softmaxes `weights`, row by row, becomes that of what they were taken of.
fn softmax_back(weights: &[f64], gradient: &mut [f64], width: usize) {
    for (weights, gradient) in weights.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
        let mean: f64 = weights.iter().zip(&*gradient).map(|(p, d)| p * d).sum();
        gradient.iter_mut().zip(weights).for_each(|(d, p)| *d = p * (*d - mean));
    }
}
