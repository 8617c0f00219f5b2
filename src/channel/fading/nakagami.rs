//! Nakagami-m fading.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::gamma::{gamma_density_times_x, incomplete_gamma, invert, ln_upper_gamma};
use super::{FadingError, Link, SumOfSinusoids};
use crate::kernel::{Purpose, Streams};
use crate::stats::ln_gamma;

/// The least m of Nakagami's law.
pub const MIN_NAKAGAMI_M: f64 = 0.5;
/// The largest m; beyond, the gain hardly varies.
pub const MAX_NAKAGAMI_M: f64 = 100.0;
/// The largest whole m that is made of that many branches.
const MOST_BRANCHES: f64 = 8.0;
/// Blocks of a stream that belong to one branch: more than sinusoids.
const BLOCKS_PER_BRANCH: u64 = 1 << 16;

/// Nakagami-m fading of all links of a channel: the power g = |z|² has the gamma law of
/// shape m and mean 1, `P(g < ρ²) = P(m, mρ²)` with the regularised incomplete gamma
/// function.
///
/// - Whole m up to 8: g is the mean of m independent |hᵢ|², hᵢ sums of sinusoids: m
///   antennas combined. The power's autocovariance is J₀²(2πΔu)/m.
/// - Any other m: `g = F⁻¹(1 - e^{-|h|²})` with one sum of sinusoids h and F the gamma
///   law: the Rayleigh power at the same quantile, so it fades at the same instants.
///
/// The transform reads a table that all links share.
#[derive(Debug, Clone)]
pub struct NakagamiModel {
    m: f64,
    transform: Option<Arc<PowerTransform>>,
}

impl NakagamiModel {
    /// Fading of shape m.
    ///
    /// # Errors
    /// [`FadingError::NakagamiM`] unless m is between [`MIN_NAKAGAMI_M`] and [`MAX_NAKAGAMI_M`].
    pub fn new(m: f64) -> Result<Self, FadingError> {
        if !(MIN_NAKAGAMI_M..=MAX_NAKAGAMI_M).contains(&m) {
            return Err(FadingError::NakagamiM(m));
        }
        Ok(Self { m, transform: (!has_branches(m)).then(|| Arc::new(PowerTransform::new(m))) })
    }

    /// m.
    pub fn m(&self) -> f64 {
        self.m
    }
}

fn has_branches(m: f64) -> bool {
    m <= MOST_BRANCHES && m.fract() == 0.0
}

/// Nakagami-m fading of one link. Branch b of a whole m draws from its own 2¹⁶ blocks of the
/// link's [`Purpose::FadingBranch`] stream; the transform's h is the link's Rayleigh fading.
#[derive(Debug, Clone)]
pub enum Nakagami {
    /// Whole m: the mean power of these.
    Branches(Box<[SumOfSinusoids]>),
    /// Other m: this at the same quantile.
    Transformed(SumOfSinusoids, Arc<PowerTransform>),
}

impl Nakagami {
    /// The fading of `link`.
    ///
    /// # Errors
    /// As [`SumOfSinusoids::new`].
    pub fn new(streams: &Streams, link: Link, model: &NakagamiModel, sinusoids: usize) -> Result<Self, FadingError> {
        if let Some(transform) = &model.transform {
            return Ok(Self::Transformed(SumOfSinusoids::new(streams, link, sinusoids)?, transform.clone()));
        }
        let stream = link.stream(*streams, Purpose::FadingBranch);
        let branch = |b| SumOfSinusoids::from_stream(&stream.starting_at(b * BLOCKS_PER_BRANCH), sinusoids);
        Ok(Self::Branches((0..model.m as u64).map(branch).collect::<Result<_, _>>()?))
    }

    /// |z| after a distance of `turns` wavelengths; E|z|² = 1.
    pub fn envelope(&self, turns: f64) -> f64 {
        match self {
            Self::Branches(branches) => {
                let power: f64 = branches.iter().map(|branch| branch.power(turns)).sum();
                (power / branches.len() as f64).sqrt()
            }
            Self::Transformed(waves, transform) => transform.power(waves.power(turns)).sqrt(),
        }
    }
}

/// Nodes per unit of ln t.
const NODES_PER_UNIT: f64 = 64.0;
/// ln t of the first node: below lies a share of 10⁻²⁰ of all instants.
const FIRST: f64 = -46.0;
/// ln t of the last node: above lies no |h|² of up to 1024 sinusoids.
const LAST: f64 = 7.0;

/// `g(t) = F⁻¹(1 - e^{-t})` for the gamma law of shape m and mean 1, as ln g over ln t: cubic
/// polynomials between nodes at which value and slope are exact. ln g is nearly straight
/// there, with slope 1/m at small t and 1 at large: the error is below 10⁻⁹ of g.
#[derive(Debug)]
pub struct PowerTransform {
    /// [ln g, d ln g/d ln t / nodes per unit] at each node.
    nodes: Box<[[f64; 2]]>,
}

impl PowerTransform {
    fn new(m: f64) -> Self {
        let count = ((LAST - FIRST) * NODES_PER_UNIT) as usize + 1;
        let mut nodes = Vec::with_capacity(count);
        let mut guess = ((FIRST + ln_gamma(m + 1.0)) / m).exp();
        for node in 0..count {
            let t = (FIRST + node as f64 / NODES_PER_UNIT).exp();
            let x = gamma_power(m, t, guess);
            // P(m, x) = 1 - e^{-t}: d ln x/d ln t = t·e^{-t}/(x·density).
            let slope = (t.ln() - t - (m * x.ln() - x - ln_gamma(m))).exp();
            nodes.push([(x / m).ln(), slope / NODES_PER_UNIT]);
            guess = x * (slope / NODES_PER_UNIT).exp();
        }
        Self { nodes: nodes.into() }
    }

    /// g at t = |h|² ≥ 0.
    pub fn power(&self, t: f64) -> f64 {
        let at = (t.ln() - FIRST) * NODES_PER_UNIT;
        if at < 0.0 {
            // The power law of small t, t^{1/m}; 0 at 0.
            let [value, slope] = self.nodes[0];
            return (value + slope * at).exp();
        }
        let node = (at as usize).min(self.nodes.len() - 2);
        let s = (at - node as f64).min(1.0);
        let ([y0, d0], [y1, d1]) = (self.nodes[node], self.nodes[node + 1]);
        let rise = y1 - y0;
        (y0 + s * (d0 + s * ((3.0 * rise - 2.0 * d0 - d1) + s * (d0 + d1 - 2.0 * rise)))).exp()
    }
}

/// x with P(m, x) = 1 - e^{-t}, by Newton's method on whichever tail is the smaller.
fn gamma_power(m: f64, t: f64, guess: f64) -> f64 {
    if t < std::f64::consts::LN_2 {
        return nakagami_inverse(m, -(-t).exp_m1(), guess);
    }
    let mut at = guess.ln();
    for _ in 0..50 {
        let x = at.exp();
        let upper = ln_upper_gamma(m, x);
        // d ln Q/d ln x = -x·density/Q.
        let slope = (m * at - x - ln_gamma(m) - upper).exp();
        let step = (upper + t) / slope;
        at += step;
        if step.abs() < 1e-15 * (1.0 + at.abs()) {
            break;
        }
    }
    at.exp()
}

fn nakagami_inverse(m: f64, probability: f64, guess: f64) -> f64 {
    invert(probability, guess, |x| [incomplete_gamma(m, x)[0], gamma_density_times_x(m, x)])
}

/// The share of instants with a power below ρ²: `P(m, mρ²)`.
pub(super) fn nakagami_outage(m: f64, rho2: f64) -> f64 {
    incomplete_gamma(m, m * rho2)[0]
}

/// ρ² below which a share `probability` in (0, 1) of all instants lies.
pub(super) fn nakagami_quantile(m: f64, probability: f64) -> f64 {
    nakagami_inverse(m, probability, m) / m
}

/// Fades per wavelength at ρ: for branches `√(2π)·m^{m-½}/Γ(m)·ρ^{2m-1}·e^{-mρ²}` (Yacoub,
/// Bautista and Guedes, "On higher order statistics of the Nakagami-m distribution", IEEE
/// Trans. Veh. Technol. 48(3), 1999); for the transform Rayleigh's at the same quantile,
/// `√(2πt)·e^{-t}` with e^{-t} = Q(m, mρ²).
pub(super) fn nakagami_crossings(m: f64, rho: f64) -> f64 {
    if rho <= 0.0 {
        return 0.0;
    }
    let x = m * rho * rho;
    if has_branches(m) {
        // m^{m-½}·ρ^{2m-1}/Γ(m)·e^{-mρ²} = x^m e^{-x}/Γ(m)/√x.
        return (TAU / x).sqrt() * gamma_density_times_x(m, x);
    }
    let [lower, upper] = incomplete_gamma(m, x);
    let t = if lower < 0.5 { -(-lower).ln_1p() } else { -ln_upper_gamma(m, x) };
    (TAU * t).sqrt() * upper
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_inverse() {
        for m in [0.5, 0.7, 1.5, 3.3, 20.0, 100.0] {
            let transform = PowerTransform::new(m);
            for i in 0..4000 {
                let t = (-30.0 + f64::from(i) * 0.00911).exp();
                let g = transform.power(t);
                if t < 0.5 {
                    let reached = nakagami_outage(m, g);
                    assert!((reached / -(-t).exp_m1() - 1.0).abs() < 1e-9 * m.max(1.0), "m = {m}, t = {t}: {g}");
                }
                let exact = gamma_power(m, t, m * g * 1.1) / m;
                assert!((g / exact - 1.0).abs() < 1e-9, "m = {m}, t = {t}: {g} for {exact}");
            }
            assert_eq!(transform.power(0.0), 0.0);
            assert!(transform.power(1e-25) > 0.0 && transform.power(1e-25) < transform.power(1e-20));
        }
    }
}
