//! Rotary position embedding (Su et al., arXiv 2104.09864): tables of angles.

/// Cosines and sines of `position · θ^(-2i/head_dim)`, i < head_dim/2, for every
/// position a model may be asked for.
#[derive(Debug)]
pub(super) struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// Tables for heads of `head_dim` (even) and positions `0..positions`. The
    /// angles are computed in double precision: single loses digits at long contexts.
    pub(super) fn new(head_dim: usize, positions: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { half, cos, sin }
    }

    /// Number of angles per position, head_dim / 2.
    pub(super) fn half(&self) -> usize {
        self.half
    }

    /// Cosines and sines at `position`, `half` values each.
    pub(super) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}
