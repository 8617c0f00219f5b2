//! Rotary positions in double precision.

use crate::llm::config::DecoderConfig;
use crate::llm::rotary::frequencies;

/// Cosines and sines of the positions of a window, d_h/2 each.
pub(super) struct Rotation {
    cos: Vec<f64>,
    sin: Vec<f64>,
    /// d_h/2.
    half: usize,
}

/// Forth in the forward pass; the transpose, back, for gradients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Forth,
    Back,
}

impl Rotation {
    /// The angles of positions `0..rows`.
    pub(super) fn new(config: &DecoderConfig, rows: usize) -> Self {
        let frequencies = frequencies(config);
        let angles = (0..rows).flat_map(|position| frequencies.iter().map(move |f| (position as f64 * f).sin_cos()));
        let (sin, cos) = angles.unzip();
        Self { cos, sin, half: frequencies.len() }
    }

    /// Turns elements i and i + d_h/2 of each head of each row together, windows one after the other.
    pub(super) fn turn(&self, rows: &mut [f64], width: usize, turn: Turn) {
        let sign = if turn == Turn::Forth { 1.0 } else { -1.0 };
        let angles = self.cos.chunks_exact(self.half).zip(self.sin.chunks_exact(self.half)).cycle();
        for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * self.half) {
                let (a, b) = head.split_at_mut(self.half);
                for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - sign * *b * sin, *b * cos + sign * *a * sin);
                }
            }
        }
    }
}
