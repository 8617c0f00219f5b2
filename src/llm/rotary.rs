//! Rotary position embedding (Su et al., arXiv 2104.09864): angles, and the turning.

use pulp::{Arch, Simd, WithSimd};

use super::config::{DecoderConfig, RopePairing, RopeScaling};
use super::elementwise::vectorised;

/// Angles that are kept, 8 MiB of cosines and sines: 16,384 positions of heads of 128. Those
/// beyond are computed when they come.
const KEPT: usize = 1 << 20;

/// Pairs turned at once.
const LANES: usize = 16;

/// Cosines and sines of `position · f_i`, i < head_dim/2.
#[derive(Debug)]
pub(super) struct Rotary {
    pairing: RopePairing,
    frequencies: Vec<f64>,
    kept: Angles,
}

/// Cosines and sines of consecutive positions, head_dim/2 each.
#[derive(Clone, Debug, Default)]
pub(super) struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// The embedding of a model.
    pub(super) fn new(config: &DecoderConfig) -> Self {
        let frequencies = frequencies(config);
        let kept = Angles::new(&frequencies, 0..(KEPT / frequencies.len().max(1)).min(config.max_positions));
        Self { pairing: config.rope_pairing, frequencies, kept }
    }

    /// The angles of `count` positions from `start` on.
    pub(super) fn angles(&self, start: usize, count: usize) -> Angles {
        let half = self.frequencies.len();
        let range = start * half..(start + count) * half;
        match (self.kept.cos.get(range.clone()), self.kept.sin.get(range)) {
            (Some(cos), Some(sin)) => Angles { cos: cos.to_vec(), sin: sin.to_vec() },
            _ => Angles::new(&self.frequencies, start..start + count),
        }
    }

    /// Turns every head of every row, \[S × heads·head_dim\], by its row's position,
    /// and multiplies it by `scale`.
    pub(super) fn turn(&self, arch: Arch, rows: &mut [f32], width: usize, angles: &Angles, scale: f32) {
        let half = self.frequencies.len();
        match self.pairing {
            RopePairing::Halves => arch.dispatch(TurnHalves { rows, width, half, angles, scale }),
            RopePairing::Interleaved => arch.dispatch(TurnNeighbours { rows, width, half, angles, scale }),
        }
    }
}

/// A pair turned by its angle and scaled.
#[inline(always)]
fn turned(a: f32, b: f32, cos: f32, sin: f32, scale: f32) -> (f32, f32) {
    ((a * cos - b * sin) * scale, (b * cos + a * sin) * scale)
}

vectorised! {
    /// Turns elements i and i + head_dim/2 of each head together.
    TurnHalves<'a> { rows: &'a mut [f32], width: usize, half: usize, angles: &'a Angles, scale: f32 } {
        let angles = angles.cos.chunks_exact(half).zip(angles.sin.chunks_exact(half));
        for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * half) {
                let (a, b) = head.split_at_mut(half);
                let (a, b) = (a.as_chunks_mut::<LANES>(), b.as_chunks_mut::<LANES>());
                let (cos, sin) = (cos.as_chunks::<LANES>(), sin.as_chunks::<LANES>());
                for chunk in 0..half / LANES {
                    let (a, b, cos, sin) = (&mut a.0[chunk], &mut b.0[chunk], &cos.0[chunk], &sin.0[chunk]);
                    for i in 0..LANES {
                        (a[i], b[i]) = turned(a[i], b[i], cos[i], sin[i], scale);
                    }
                }
                for i in 0..half % LANES {
                    (a.1[i], b.1[i]) = turned(a.1[i], b.1[i], cos.1[i], sin.1[i], scale);
                }
            }
        }
    }
}

vectorised! {
    /// Turns elements 2i and 2i + 1 of each head together.
    TurnNeighbours<'a> { rows: &'a mut [f32], width: usize, half: usize, angles: &'a Angles, scale: f32 } {
        let angles = angles.cos.chunks_exact(half).zip(angles.sin.chunks_exact(half));
        for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * half) {
                for ([a, b], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(cos.iter().zip(sin)) {
                    (*a, *b) = turned(*a, *b, *cos, *sin, scale);
                }
            }
        }
    }
}

impl Angles {
    /// Computed in double precision: single loses digits at long contexts.
    fn new(frequencies: &[f64], positions: std::ops::Range<usize>) -> Self {
        let mut angles = Self::default();
        for position in positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                angles.cos.push(cos as f32);
                angles.sin.push(sin as f32);
            }
        }
        angles
    }
}

/// `θ^(-2i/head_dim)`, i < head_dim/2, after the model's scaling.
pub(super) fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let plain = |i: usize| config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64);
    (0..config.head_dim / 2)
        .map(|i| match &config.rope_scaling {
            RopeScaling::None => plain(i),
            RopeScaling::Linear { factor } => plain(i) / factor,
            RopeScaling::Factors(factors) => plain(i) / factors.get(i).copied().unwrap_or(1.0),
            &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
                let wavelength = 2.0 * std::f64::consts::PI / plain(i);
                if wavelength < original_positions / high_freq_factor {
                    plain(i)
                } else if wavelength > original_positions / low_freq_factor {
                    plain(i) / factor
                } else {
                    let smooth =
                        (original_positions / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * plain(i) / factor + smooth * plain(i)
                }
            }
        })
        .collect()
}
