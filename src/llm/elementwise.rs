//! What a decoder does between its matrix products, on plain slices.
//!
//! Row-major throughout. Sums run in [`LANES`] partial sums of fixed assignment:
//! fast, and the same bits on every machine and thread. `dispatch` compiles a loop
//! for the widest vectors of the machine; none of these is fused into multiply-adds,
//! so the width of the vectors doesn't show.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::config::NormKind;
use super::exponential::exp_f32;

/// Partial sums of a reduction; a multiple of every vector width in use.
const LANES: usize = 16;

/// A loop as a type: pulp compiles it for each width of vectors. (A closure may be
/// left as a function of its own, which has the narrowest.)
macro_rules! vectorised {
    ($(#[$doc:meta])* $name:ident<$lifetime:lifetime> { $($field:ident: $type:ty),* } $body:block) => {
        $(#[$doc])*
        pub(super) struct $name<$lifetime> {
            $(pub $field: $type,)*
        }
        impl WithSimd for $name<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Self { $($field),* } = self;
                $body
            }
        }
    };
}
pub(super) use vectorised;

/// A norm of rows with its weights.
#[derive(Debug)]
pub(super) struct Norm {
    /// The kind.
    pub kind: NormKind,
    /// A weight for each element of a row.
    pub weight: Vec<f32>,
    /// ε under the root.
    pub eps: f32,
}

impl Norm {
    /// Norms of `x`, \[S × d\], in `out`, d being the number of weights.
    pub(super) fn forward(&self, arch: Arch, x: &[f32], out: &mut Vec<f32>) {
        out.resize(x.len(), 0.0);
        let Self { weight, eps, .. } = self;
        match self.kind {
            NormKind::Rms => arch.dispatch(RmsNorm { x, weight, eps: *eps, out }),
            NormKind::Layer => arch.dispatch(LayerNorm { x, weight, eps: *eps, out }),
        }
    }
}

vectorised! {
    /// Root-mean-square norm of each row: `x_i · w_i / √(mean(x²) + ε)` (Zhang & Sennrich, NeurIPS 2019).
    RmsNorm<'a> { x: &'a [f32], weight: &'a [f32], eps: f32, out: &'a mut [f32] } {
        let width = weight.len();
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let scale = 1.0 / (sum_of_squares(row, 0.0) / width as f32 + eps).sqrt();
            for i in 0..width {
                out[i] = row[i] * scale * weight[i];
            }
        }
    }
}

vectorised! {
    /// Layer norm of each row, without bias: `(x_i - mean) · w_i / √(variance + ε)`
    /// (Ba et al., arXiv 1607.06450).
    LayerNorm<'a> { x: &'a [f32], weight: &'a [f32], eps: f32, out: &'a mut [f32] } {
        let width = weight.len();
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = sum(row) / width as f32;
            let scale = 1.0 / (sum_of_squares(row, mean) / width as f32 + eps).sqrt();
            for i in 0..width {
                out[i] = (row[i] - mean) * scale * weight[i];
            }
        }
    }
}

vectorised! {
    /// `x += y`, the residual connection.
    Add<'a> { x: &'a mut [f32], y: &'a [f32] } {
        let count = x.len().min(y.len());
        let (x, y) = (&mut x[..count], &y[..count]);
        for i in 0..count {
            x[i] += y[i];
        }
    }
}

vectorised! {
    /// `x += bias` in each row.
    AddToRows<'a> { x: &'a mut [f32], bias: &'a [f32] } {
        for row in x.chunks_exact_mut(bias.len()) {
            for i in 0..bias.len() {
                row[i] += bias[i];
            }
        }
    }
}

vectorised! {
    /// SwiGLU (Shazeer, arXiv 2002.05202) in place of `gate`: `gate / (1 + e^-gate) · up`.
    SwiGlu<'a> { gate: &'a mut [f32], up: &'a [f32] } {
        let count = gate.len().min(up.len());
        let (gate, up) = (&mut gate[..count], &up[..count]);
        for i in 0..count {
            gate[i] = gate[i] / (1.0 + exp_f32(-gate[i])) * up[i];
        }
    }
}

/// Softmax over the `visible` ones of a row of scores; the others become zero. Rows are whole
/// chunks of [`LANES`]: those that stand in a chunk without being visible are masked there, since
/// a few stored one by one would keep the vectors that read them waiting.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], visible: Range<usize>) {
    let (chunks, _) = row.as_chunks_mut::<LANES>();
    let (first, end) = (visible.start / LANES, visible.end.div_ceil(LANES));
    chunks[..first].as_flattened_mut().fill(0.0);
    chunks[end..].as_flattened_mut().fill(0.0);
    let chunks = &mut chunks[first..end];
    // One comparison, which becomes a mask.
    let from = (visible.start - first * LANES) as u32;
    let count = visible.len() as u32;
    let is_seen = |chunk: usize, i: usize| ((chunk * LANES + i) as u32).wrapping_sub(from) < count;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for (index, chunk) in chunks.iter().enumerate() {
        for i in 0..LANES {
            // Added, not chosen: a choice would become a branch around the load of each.
            let x = chunk[i] + if is_seen(index, i) { 0.0 } else { f32::NEG_INFINITY };
            lanes[i] = if x > lanes[i] { x } else { lanes[i] };
        }
    }
    let max = fold(lanes, |a, b| if b > a { b } else { a });
    let mut total = [0.0; LANES];
    for (index, chunk) in chunks.iter_mut().enumerate() {
        for i in 0..LANES {
            let weight = exp_f32(chunk[i] - max);
            chunk[i] = if is_seen(index, i) { weight } else { 0.0 };
            total[i] += chunk[i];
        }
    }
    let scale = 1.0 / fold(total, |a, b| a + b);
    for x in chunks.as_flattened_mut() {
        *x *= scale;
    }
}

/// The larger of each pair; comparisons are false for what is no number.
#[inline(always)]
fn larger(lanes: &mut [f32; LANES], x: &[f32; LANES]) {
    for i in 0..LANES {
        lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
    }
}

/// All lanes into one, by halves; each in an array of its own, or they would pass through memory.
#[inline(always)]
fn fold(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = join(lanes[i], lanes[i + 8]);
    }
    for i in 0..4 {
        four[i] = join(eight[i], eight[i + 4]);
    }
    join(join(four[0], four[2]), join(four[1], four[3]))
}

/// The largest number.
#[inline(always)]
pub(super) fn maximum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        larger(&mut lanes, chunk);
    }
    lanes[..rest.len()].iter_mut().zip(rest).for_each(|(lane, &x)| *lane = if x > *lane { x } else { *lane });
    fold(lanes, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    fold(lanes, |a, b| a + b) + rest.iter().sum::<f32>()
}

/// Σ (x - mean)².
#[inline(always)]
fn sum_of_squares(x: &[f32], mean: f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += (chunk[i] - mean) * (chunk[i] - mean);
        }
    }
    fold(lanes, |a, b| a + b) + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(kind: NormKind, weight: &[f32], eps: f32, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Norm { kind, weight: weight.to_vec(), eps }.forward(Arch::new(), x, &mut out);
        out
    }

    #[test]
    fn rms_norm_of_a_hand_computed_row() {
        // mean(9, 16) = 12.5
        let y = norm(NormKind::Rms, &[1.0, 2.0], 0.0, &[3.0, 4.0]);
        let root = 12.5_f32.sqrt();
        assert!((y[0] - 3.0 / root).abs() < 1e-6 && (y[1] - 8.0 / root).abs() < 1e-6);
        // 0 / 0 without ε; with it a lost row stays zero.
        assert_eq!(norm(NormKind::Rms, &[1.0, 2.0], 1e-6, &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn layer_norm_of_a_hand_computed_row() {
        // mean 3, variance (4 + 0 + 4)/3
        let y = norm(NormKind::Layer, &[1.0, 2.0, 3.0], 0.0, &[1.0, 3.0, 5.0]);
        let root = (8.0_f32 / 3.0).sqrt();
        assert!((y[0] + 2.0 / root).abs() < 1e-6 && y[1] == 0.0 && (y[2] - 6.0 / root).abs() < 1e-6);
        assert_eq!(norm(NormKind::Layer, &[1.0, 2.0], 1e-5, &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn swiglu_of_hand_computed_values() {
        // silu(1) = 1 / (1 + 1/e) = 0.731 058 6; silu(-1) = -0.268 941 4
        let mut y = [1.0, -1.0];
        Arch::new().dispatch(SwiGlu { gate: &mut y, up: &[2.0, 10.0] });
        assert!((y[0] - 1.462_117_2).abs() < 1e-6 && (y[1] + 2.689_414_2).abs() < 1e-6);
    }

    #[test]
    fn softmax_sees_what_is_visible_only() {
        for (start, first) in [(1, 1), (20, 20), (15, 15), (46, 46)] {
            let mut row = [99.0; 4 * LANES];
            (row[first], row[first + 1]) = (0.0, 3.0_f32.ln());
            softmax(&mut row, start..start + 2);
            assert!((row[first] - 0.25).abs() < 1e-6 && (row[first + 1] - 0.75).abs() < 1e-6, "{row:?}");
            assert_eq!(row.iter().filter(|&&x| x == 0.0).count(), 4 * LANES - 2);
        }
        let mut long: Vec<f32> = (0..48).map(|i| if i == 33 { 50.0 } else { 0.0 }).collect();
        softmax(&mut long, 0..40);
        assert!((long[33] - 1.0).abs() < 1e-6, "the maximum may stand anywhere");
    }

    #[test]
    fn biases_are_added_to_each_row() {
        let mut x = [1.0, 2.0, 3.0, 4.0];
        Arch::new().dispatch(AddToRows { x: &mut x, bias: &[10.0, 20.0] });
        Arch::new().dispatch(Add { x: &mut x, y: &[0.5; 4] });
        assert_eq!(x, [11.5, 22.5, 13.5, 24.5]);
    }
}
