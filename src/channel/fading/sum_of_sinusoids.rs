//! Rayleigh fading as a sum of plane waves, the ground of the other models.

use super::{FadingError, Link};
use crate::channel::turns::sin_cos_turns;
use crate::kernel::{Purpose, Stream, Streams};

/// Sinusoids per link unless the scenario says otherwise.
pub const DEFAULT_SINUSOIDS: usize = 32;

/// The most sinusoids a link may have.
pub const MAX_SINUSOIDS: usize = 1024;

/// Accumulators of the sum. Fixed, so that the order of summation is the same
/// on every target, and a multiple of every vector width in use.
const LANES: usize = 8;

/// Rayleigh fading of one link as a sum of N plane waves, after Xiao, Zheng and
/// Beaulieu, "Novel sum-of-sinusoids simulation models for Rayleigh and Rician
/// fading channels", IEEE Trans. Wireless Commun. 5(12), 2006:
///
/// `z(u) = N^-½ Σₙ exp j(2πu·cos αₙ + φₙ)`, `αₙ = (2πn + θₙ)/N`, θₙ, φₙ ~ U[-π, π)
///
/// where u is the distance travelled in wavelengths: `f_d·t` at constant speed,
/// f_d = v·f_c/c. (Distance, not the current speed times the time: a change of
/// speed must not jump the phase.)
///
/// Over links, E|z|² = 1, E|z|⁴ = 2 - 1/N (2 for Rayleigh), and the
/// autocorrelation is J₀(2πΔu) at any N. The envelope's law differs from
/// Rayleigh's by a Kolmogorov distance of 0.005 at N = 32.
///
/// Memory: 16 N + 16 bytes, 528 at N = 32.
#[derive(Debug, Clone)]
pub struct SumOfSinusoids {
    /// cos α₀ … cos αₙ₋₁, then φ₀/2π … φₙ₋₁/2π \[turns\].
    waves: Box<[f64]>,
}

impl SumOfSinusoids {
    /// The fading of `link`: θₙ and φₙ from block n of its [`Purpose::Fading`] stream.
    ///
    /// # Errors
    /// [`FadingError::Sinusoids`] unless `sinusoids` is between 1 and [`MAX_SINUSOIDS`].
    pub fn new(streams: &Streams, link: Link, sinusoids: usize) -> Result<Self, FadingError> {
        Self::from_stream(&link.stream(*streams, Purpose::Fading), sinusoids)
    }

    /// A sum whose θₙ and φₙ come from block n of `stream`.
    ///
    /// # Errors
    /// As [`SumOfSinusoids::new`].
    pub(super) fn from_stream(stream: &Stream, sinusoids: usize) -> Result<Self, FadingError> {
        if !(1..=MAX_SINUSOIDS).contains(&sinusoids) {
            return Err(FadingError::Sinusoids(sinusoids));
        }
        let mut waves = vec![0.0; 2 * sinusoids];
        let (cosines, phases) = waves.split_at_mut(sinusoids);
        for (n, (cosine, phase)) in cosines.iter_mut().zip(phases).enumerate() {
            let [theta, phi] = stream.uniform_pair(n as u64);
            // αₙ/2π = (n + θₙ/2π)/N with θₙ/2π uniform on (-½, ½).
            let [_, cos] = sin_cos_turns((n as f64 + (theta - 0.5)) / sinusoids as f64);
            *cosine = cos;
            *phase = phi - 0.5;
        }
        Ok(Self { waves: waves.into_boxed_slice() })
    }

    /// N, the number of plane waves.
    pub fn sinusoids(&self) -> usize {
        self.waves.len() / 2
    }

    /// The complex gain `[Re z, Im z]` after a distance of `turns` wavelengths
    /// (finite, below 2⁵⁰ in magnitude); E|z|² = 1.
    ///
    /// Absolute error of each part against exact trigonometry of the link's waves:
    /// below 3·10⁻⁹·√N, and π·|turns|·2⁻⁵²·√N from the rounding of the phase (4·10⁻⁹
    /// after a million wavelengths, at N = 32). The same bits on every target.
    pub fn complex_gain(&self, turns: f64) -> [f64; 2] {
        let (cosines, phases) = self.waves.split_at(self.sinusoids());
        let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
        let (cosine_groups, cosine_rest) = cosines.as_chunks::<LANES>();
        let (phase_groups, phase_rest) = phases.as_chunks::<LANES>();
        for (cosine, phase) in cosine_groups.iter().zip(phase_groups) {
            for lane in 0..LANES {
                let [sin, cos] = sin_cos_turns(turns * cosine[lane] + phase[lane]);
                re[lane] += cos;
                im[lane] += sin;
            }
        }
        for (lane, (cosine, phase)) in cosine_rest.iter().zip(phase_rest).enumerate() {
            let [sin, cos] = sin_cos_turns(turns * cosine + phase);
            re[lane] += cos;
            im[lane] += sin;
        }
        let scale = 1.0 / (self.sinusoids() as f64).sqrt();
        [scale * pairwise_sum(re), scale * pairwise_sum(im)]
    }

    /// The envelope |z| after a distance of `turns` wavelengths (see
    /// [`complex_gain`](Self::complex_gain)); Rayleigh with E|z|² = 1.
    pub fn envelope(&self, turns: f64) -> f64 {
        self.power(turns).sqrt()
    }

    /// |z|² after a distance of `turns` wavelengths.
    pub(super) fn power(&self, turns: f64) -> f64 {
        let [re, im] = self.complex_gain(turns);
        re * re + im * im
    }
}

/// The lanes' sum in one fixed order.
#[inline]
fn pairwise_sum(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
