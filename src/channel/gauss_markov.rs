//! Gauss-Markov mobility: a velocity with memory, on a fixed grid of time.
//!
//! The velocity vector is the autoregressive process, as in Liang, Haas, "Predictive
//! distance-based mobility management for PCS networks", INFOCOM 1999. (Camp, Boleng and
//! Davies' survey of 2002 gives speed and direction a process each: there speeds become
//! negative, and the mean direction must be bent by hand near borders.)

use super::area::Area;
use super::mobility::Whereabouts;
use crate::kernel::Stream;
use crate::units::SimTime;

/// The grid that velocities change on. Fixed, so that no event moves a path.
pub const GAUSS_MARKOV_STEP: SimTime = SimTime::from_nanos(1_000_000_000);

/// Mean, spread and memory of the velocity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GaussMarkov {
    pub mean_speed_m_s: f64,
    pub speed_std_m_s: f64,
    pub alpha: f64,
}

/// The state at a point of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stride {
    number: u64,
    position_m: [f64; 2],
    velocity_m_s: [f64; 2],
    /// v̄, the vector that the velocity returns to.
    mean_m_s: [f64; 2],
    /// The path's length up to this point \[m\].
    travelled_m: f64,
}

impl Stride {
    /// When it starts.
    pub fn start(&self) -> SimTime {
        SimTime::from_nanos(self.number.saturating_mul(GAUSS_MARKOV_STEP.as_nanos()))
    }
}

impl GaussMarkov {
    /// The state at time 0, in its stationary law: a mean velocity of uniform direction
    /// (block 0), and a velocity `v̄ + σ·w` (block 1).
    pub fn first_stride(&self, position_m: [f64; 2], stream: &Stream) -> Stride {
        let (sin, cos) = (std::f64::consts::TAU * stream.uniform(0)).sin_cos();
        let mean_m_s = [self.mean_speed_m_s * cos, self.mean_speed_m_s * sin];
        let [a, b] = stream.normal_pair(1);
        let velocity_m_s = [mean_m_s[0] + self.speed_std_m_s * a, mean_m_s[1] + self.speed_std_m_s * b];
        Stride { number: 0, position_m, velocity_m_s, mean_m_s, travelled_m: 0.0 }
    }

    /// Where the UE is at `time`, which is not before `stride`; walks on to the step of that time.
    ///
    /// Per component `v′ = αv + (1 - α)v̄ + √(1 - α²)·σ·w`, w from block n + 1 for step n. In a step the UE
    /// moves straight on; a border mirrors its way, its velocity and v̄. That keeps the law of the
    /// velocity, and a uniform place stays uniform (mirrors preserve the measure of places and directions).
    pub fn at(&self, stride: &mut Stride, area: &Area, stream: &Stream, time: SimTime) -> Whereabouts {
        let target = time.as_nanos() / GAUSS_MARKOV_STEP.as_nanos();
        let step_s = GAUSS_MARKOV_STEP.as_secs_f64();
        let noise = (1.0 - self.alpha * self.alpha).sqrt() * self.speed_std_m_s;
        while stride.number < target {
            let end = area.reflect(stride.position_m, stride.velocity_m_s.map(|v| v * step_s));
            let number = stride.number + 1;
            let (velocity, mean_m_s) = (end.mirror.apply(stride.velocity_m_s), end.mirror.apply(stride.mean_m_s));
            let w = stream.normal_pair(number + 1);
            let next =
                |axis: usize| self.alpha * velocity[axis] + (1.0 - self.alpha) * mean_m_s[axis] + noise * w[axis];
            *stride = Stride {
                number,
                position_m: end.position_m,
                velocity_m_s: [next(0), next(1)],
                mean_m_s,
                travelled_m: stride.travelled_m + speed(stride) * step_s,
            };
        }
        let since_s = (time - stride.start()).as_secs_f64();
        let [x_m, y_m] = area.reflect(stride.position_m, stride.velocity_m_s.map(|v| v * since_s)).position_m;
        let speed_m_s = speed(stride);
        Whereabouts { x_m, y_m, travelled_m: stride.travelled_m + speed_m_s * since_s, speed_m_s }
    }
}

fn speed(stride: &Stride) -> f64 {
    stride.velocity_m_s[0].hypot(stride.velocity_m_s[1])
}
