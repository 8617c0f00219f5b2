//! A Gaussian random field over the plane with random access: shadowing, and the
//! state of the line of sight, at any place, in any order, without state.
//!
//! An autoregressive recursion along a path (Gudmundson's) knows one path: two UEs
//! at one place would have two shadowings, and a UE that comes back would find
//! another one. A sum of plane waves is a closed form of the place.

use super::turns::sin_cos_turns;
use crate::kernel::Stream;

/// Waves per field unless the caller says otherwise.
pub const DEFAULT_WAVES: usize = 64;

/// Accumulators of the sum: see `fading.rs`.
const LANES: usize = 8;

/// The largest wavenumber, in units of 1/a: it keeps phases where [`sin_cos_turns`]
/// is right, and touches one wave in 10⁶/M.
const MOST_WAVENUMBER: f64 = 1e6;

/// The farthest coordinate \[m\]: with it, too, phases stay where [`sin_cos_turns`] is right.
const FARTHEST_M: f64 = 1e7;

/// The golden ratio's fraction: its multiples fill the circle evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A field of mean 0, variance 1 and autocorrelation `e^(-Δ/a)` over a distance Δ,
/// with the decorrelation distance a (Gudmundson, "Correlation model for shadow
/// fading in mobile radio systems", Electronics Letters 27(23), 1991):
///
/// `g(x) = √(2/M)·Σₘ cos(kₘ·x + φₘ)`, φₘ ~ U(0, 2π)
///
/// Over realisations `E g(x)g(x + Δ) = M⁻¹Σₘ E cos(kₘ·Δ)`, so the law of the
/// wavevectors must be the spectral density of `e^(-r/a)` in the plane,
/// `S(k) = (a²/2π)·(1 + k²a²)^(-3/2)`: any direction, and a magnitude of distribution
/// function `∫₀ᵏ 2πκS(κ)dκ = 1 - (1 + k²a²)^(-1/2)`. Its inverse is
/// `k = a⁻¹·√((1 - u)⁻² - 1)`.
///
/// Wave m takes u uniform on [m/M, (m + 1)/M), and its direction from the m-th multiple
/// of the golden ratio behind one common random angle: each wave keeps the law, so
/// the autocorrelation is right at any M, and each single realisation has waves of
/// all lengths in all directions. At one place the law over realisations is that of a
/// sum of M independent cosines: kurtosis 3 - 3/(2M).
///
/// Memory: 24 M + 16 bytes.
#[derive(Debug, Clone)]
pub struct GaussianField {
    /// kₘ·x̂/2π, then kₘ·ŷ/2π \[turns/m\], then φₘ/2π \[turns\], M of each.
    waves: Box<[f64]>,
}

impl GaussianField {
    /// The field that `stream` draws, with M = `waves` (at least 1; [`DEFAULT_WAVES`] is
    /// good) and the decorrelation distance `decorrelation_m` \[m\], finite and at least 1.
    /// Block 0 gives the common angle, block m + 1 gives wave m.
    pub fn new(stream: &Stream, decorrelation_m: f64, waves: usize) -> Self {
        let count = waves.max(1);
        let turn = stream.uniform(0);
        let mut waves = vec![0.0; 3 * count];
        let (xs, rest) = waves.split_at_mut(count);
        let (ys, phases) = rest.split_at_mut(count);
        for (m, ((x, y), phase)) in xs.iter_mut().zip(ys).zip(phases).enumerate() {
            let [within, phi] = stream.uniform_pair(m as u64 + 1);
            let tail = 1.0 - (m as f64 + within) / count as f64;
            let wavenumber = (1.0 / (tail * tail) - 1.0).sqrt().min(MOST_WAVENUMBER) / decorrelation_m;
            // A wave and its opposite are one: half a turn holds all directions.
            let direction = turn + m as f64 * GOLDEN;
            let [sin, cos] = sin_cos_turns(0.5 * (direction - direction.floor()));
            *x = wavenumber * cos / std::f64::consts::TAU;
            *y = wavenumber * sin / std::f64::consts::TAU;
            *phase = phi - 0.5;
        }
        Self { waves: waves.into_boxed_slice() }
    }

    /// The field's value at (`x_m`, `y_m`) \[m\]; coordinates beyond ±10⁷ m count as that.
    /// The same bits on every target.
    pub fn value(&self, x_m: f64, y_m: f64) -> f64 {
        let [x_m, y_m] = [x_m, y_m].map(|coordinate| coordinate.clamp(-FARTHEST_M, FARTHEST_M));
        let count = self.waves.len() / 3;
        let (xs, rest) = self.waves.split_at(count);
        let (ys, phases) = rest.split_at(count);
        let ((x_groups, x_rest), (y_groups, y_rest)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
        let (phase_groups, phase_rest) = phases.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for ((x, y), phase) in x_groups.iter().zip(y_groups).zip(phase_groups) {
            for lane in 0..LANES {
                sums[lane] += sin_cos_turns(x_m * x[lane] + y_m * y[lane] + phase[lane])[1];
            }
        }
        for (lane, ((x, y), phase)) in x_rest.iter().zip(y_rest).zip(phase_rest).enumerate() {
            sums[lane] += sin_cos_turns(x_m * x + y_m * y + phase)[1];
        }
        let [a, b, c, d, e, f, g, h] = sums;
        (2.0 / count as f64).sqrt() * (((a + b) + (c + d)) + ((e + f) + (g + h)))
    }
}
