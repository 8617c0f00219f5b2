//! What a LLaMA block does between its matrix products, on plain slices.
//!
//! Row-major throughout. Sums run in [`LANES`] partial sums of fixed assignment:
//! fast, and the same bits on every machine and thread.

use super::exponential::exp_f32;
use super::rotary::Rotary;

/// Partial sums of a reduction; a multiple of every vector width in use.
const LANES: usize = 16;

/// Root-mean-square norm of each row, \[S × d\] → \[S × d\]:
/// `x_i · w_i / √(mean(x²) + ε)` (Zhang & Sennrich, NeurIPS 2019).
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let scale = 1.0 / (sum_of_squares(row) / width as f32 + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * scale * w));
    }
    out
}

/// `x += y`, the residual connection.
pub(super) fn add_assign(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// SwiGLU (Shazeer, arXiv 2002.05202) of rows that hold gate and up side by side:
/// \[S × 2·d_ff\] → \[S × d_ff\], `gate / (1 + e^-gate) · up`.
pub(super) fn swiglu(gate_up: &[f32], d_ff: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(gate_up.len() / 2);
    for row in gate_up.chunks_exact(2 * d_ff) {
        let (gate, up) = row.split_at(d_ff);
        out.extend(gate.iter().zip(up).map(|(g, u)| g / (1.0 + exp_f32(-g)) * u));
    }
    out
}

/// Takes heads `first..first + count` out of rows of `row_width` values and turns
/// them by their positions: \[S × row_width\] → \[count × S × head_dim\].
///
/// Values are multiplied by `scale` as well (1/√head_dim for the queries, so that
/// the scores need no pass of their own).
pub(super) fn rotated_heads(
    rows: &[f32],
    row_width: usize,
    first: usize,
    count: usize,
    rotary: &Rotary,
    scale: f32,
) -> Vec<f32> {
    let half = rotary.half();
    let mut out = Vec::with_capacity(count * 2 * half * (rows.len() / row_width));
    for head in first..first + count {
        for (position, row) in rows.chunks_exact(row_width).enumerate() {
            let (a, b) = row[head * 2 * half..(head + 1) * 2 * half].split_at(half);
            let (cos, sin) = rotary.at(position);
            let turned = a.iter().zip(b).zip(cos.iter().zip(sin));
            // Pairs are (i, i + half), as Hugging Face stores LLaMA's projections.
            out.extend(turned.clone().map(|((a, b), (cos, sin))| (a * cos - b * sin) * scale));
            out.extend(turned.map(|((a, b), (cos, sin))| (b * cos + a * sin) * scale));
        }
    }
    out
}

/// \[heads × S × head_dim\] → \[S × heads·head_dim\], ready for the output projection.
pub(super) fn merged_heads(context: &[f32], rows: usize, head_dim: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(context.len());
    for position in 0..rows {
        for head in context.chunks_exact(rows * head_dim) {
            out.extend_from_slice(&head[position * head_dim..(position + 1) * head_dim]);
        }
    }
    out
}

/// Attention weights of each query: softmax over the keys up to its own position,
/// zero after it. `scores` is \[… × S × S\], row i of each block belongs to position i.
pub(super) fn causal_softmax(scores: &[f32], rows: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(scores.len());
    for (index, row) in scores.chunks_exact(rows).enumerate() {
        let visible = index % rows + 1;
        let start = out.len();
        let max = row[..visible].iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
        out.extend(row[..visible].iter().map(|x| exp_f32(x - max)));
        let scale = 1.0 / sum(&out[start..]);
        for weight in &mut out[start..] {
            *weight *= scale;
        }
        out.resize(start + rows, 0.0);
    }
    out
}

fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

fn sum_of_squares(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x * x;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_norm_of_a_hand_computed_row() {
        // mean(9, 16) = 12.5
        let y = rms_norm(&[3.0, 4.0, 0.0, 0.0], &[1.0, 2.0], 0.0);
        let root = 12.5_f32.sqrt();
        assert!((y[0] - 3.0 / root).abs() < 1e-6 && (y[1] - 8.0 / root).abs() < 1e-6);
        // 0 / 0 without ε; with it a lost row stays zero.
        assert_eq!(rms_norm(&[0.0, 0.0], &[1.0, 2.0], 1e-6), [0.0, 0.0]);
    }

    #[test]
    fn swiglu_of_hand_computed_values() {
        // silu(1) = 1 / (1 + 1/e) = 0.731 058 6; silu(-1) = -0.268 941 4
        let y = swiglu(&[1.0, -1.0, 2.0, 10.0], 2);
        assert!((y[0] - 1.462_117_2).abs() < 1e-6 && (y[1] + 2.689_414_2).abs() < 1e-6);
    }

    #[test]
    fn softmax_sees_the_past_only() {
        let ln3 = 3.0_f32.ln();
        let y = causal_softmax(&[5.0, 99.0, 0.0, ln3], 2);
        assert!((y[0] - 1.0).abs() < 1e-6 && y[1] == 0.0);
        assert!((y[2] - 0.25).abs() < 1e-6 && (y[3] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn rotation_turns_by_the_position_and_keeps_lengths() {
        let rotary = Rotary::new(4, 3, 10_000.0);
        // Two rows of two heads; take the second head.
        let rows = [9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0];
        let y = rotated_heads(&rows, 8, 1, 1, &rotary, 1.0);
        assert_eq!(y[..4], [1.0, 2.0, 3.0, 4.0], "position 0 is not turned");
        let (sin, cos) = 1.0_f32.sin_cos();
        assert!((y[4] - (cos - 3.0 * sin)).abs() < 1e-6 && (y[6] - (3.0 * cos + sin)).abs() < 1e-6);
        let (sin, cos) = 0.01_f32.sin_cos(); // θ^(-2/4) = 1/100
        assert!((y[5] - (2.0 * cos - 4.0 * sin)).abs() < 1e-6 && (y[7] - (4.0 * cos + 2.0 * sin)).abs() < 1e-6);
    }

    #[test]
    fn heads_merge_back_into_rows() {
        let heads = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]; // 2 heads × 2 positions × 2
        assert_eq!(merged_heads(&heads, 2, 2), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
