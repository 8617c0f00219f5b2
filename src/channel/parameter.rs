//! Long-term channel parameters (σ, σ_h, P, h_th): constant, drawn once per UE,
//! episode or request, or walking in time.

use crate::kernel::Stream;
use crate::units::SimTime;

/// The grid that walks advance on. Fixed, so that no event moves a walk.
pub const WALK_STEP: SimTime = SimTime::from_nanos(1_000_000_000);

/// When a parameter is drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Once for each UE.
    PerUe,
    /// At the first step of each episode.
    PerEpisode,
    /// For each request.
    PerRequest,
}

/// How a parameter behaves over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parameter {
    /// One value.
    Constant(f64),
    /// Uniform on [min, max].
    Drawn {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
        /// When it is drawn anew.
        draw: Draw,
    },
    /// Brownian motion reflected at both bounds, observed on the grid of
    /// [`WALK_STEP`] and constant between its points. Starts from its stationary
    /// law, the uniform one.
    Walk {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
        /// Standard deviation of the unreflected walk after one second.
        per_sqrt_s: f64,
    },
}

/// A parameter that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// A bound or value is infinite or not a number.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    /// The bounds are the wrong way round.
    #[error("min = {min} is above max = {max}")]
    Range {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// A walk that is negative, infinite or not a number.
    #[error("walk_per_sqrt_s = {0} is not finite and at least 0")]
    Walk(f64),
}

/// What indexes a draw: the place in a UE's own sequence, never a global count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occasion {
    /// The UE's episode, from 0.
    pub episode: u64,
    /// The UE's request, from 0.
    pub request: u64,
    /// Now.
    pub time: SimTime,
}

/// How far a walk has been followed. A cache: it saves the sum's repetition
/// and never changes a value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ParameterState {
    /// The last grid point visited and the walk's value there.
    cursor: Option<(u64, f64)>,
}

impl Parameter {
    /// Whether the numbers make a parameter.
    ///
    /// # Errors
    /// [`ParameterError`] for numbers that are not finite, min above max, or a
    /// negative walk.
    pub fn check(&self) -> Result<(), ParameterError> {
        let (min, max) = self.bounds();
        if let Some(&bad) = [min, max].iter().find(|bound| !bound.is_finite()) {
            return Err(ParameterError::NotFinite(bad));
        }
        if min > max {
            return Err(ParameterError::Range { min, max });
        }
        match *self {
            Self::Walk { per_sqrt_s, .. } if !(per_sqrt_s.is_finite() && per_sqrt_s >= 0.0) => {
                Err(ParameterError::Walk(per_sqrt_s))
            }
            _ => Ok(()),
        }
    }

    /// The smallest and the largest value it can take.
    pub fn bounds(&self) -> (f64, f64) {
        match *self {
            Self::Constant(value) => (value, value),
            Self::Drawn { min, max, .. } | Self::Walk { min, max, .. } => (min, max),
        }
    }

    /// The value on an occasion: a function of (`stream`, `occasion`) only.
    ///
    /// `stream` is the UE's stream for this parameter. A drawn value is block 0,
    /// the episode or the request; a walk starts at block 0 and takes its k-th
    /// step from block k. `state` belongs to this parameter and stream. Times
    /// that do not fall cost O(1) amortised; an earlier one walks from the start.
    pub fn value(&self, state: &mut ParameterState, stream: &Stream, occasion: &Occasion) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Drawn { min, max, draw } => {
                let index = match draw {
                    Draw::PerUe => 0,
                    Draw::PerEpisode => occasion.episode,
                    Draw::PerRequest => occasion.request,
                };
                uniform(stream, index, min, max)
            }
            Self::Walk { min, max, per_sqrt_s } => {
                let target = occasion.time.as_nanos() / WALK_STEP.as_nanos();
                let std = per_sqrt_s * WALK_STEP.as_secs_f64().sqrt();
                let (mut k, mut x) = match state.cursor {
                    Some((k, x)) if k <= target => (k, x),
                    _ => (0, uniform(stream, 0, min, max)),
                };
                while k < target {
                    k += 1;
                    x = reflect(x + std * stream.normal_pair(k)[0], min, max);
                }
                state.cursor = Some((k, x));
                x
            }
        }
    }
}

/// Uniform on [min, max], from block `index`.
fn uniform(stream: &Stream, index: u64, min: f64, max: f64) -> f64 {
    // The last rounding may step over a bound by an ulp.
    (min + (max - min) * stream.uniform(index)).min(max)
}

/// `x` folded into [min, max] by mirrors at both bounds.
fn reflect(x: f64, min: f64, max: f64) -> f64 {
    let width = max - min;
    if width == 0.0 {
        return min;
    }
    let y = (x - min).rem_euclid(2.0 * width);
    // The last rounding may step over a bound by an ulp.
    (min + if y > width { 2.0 * width - y } else { y }).max(min).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn stream(ue: u32) -> Stream {
        Streams::new(3, 0).stream(ue, Purpose::NoiseStd)
    }

    fn at(seconds: f64) -> Occasion {
        Occasion { time: SimTime::from_secs_saturating(seconds), ..Occasion::default() }
    }

    #[test]
    fn a_draw_changes_with_its_own_index_only() {
        let value = |draw, episode, request, seconds| {
            let parameter = Parameter::Drawn { min: 0.3, max: 2.0, draw };
            parameter.value(&mut ParameterState::default(), &stream(0), &Occasion { episode, request, ..at(seconds) })
        };
        for draw in [Draw::PerUe, Draw::PerEpisode, Draw::PerRequest] {
            let base = value(draw, 4, 22, 1.0);
            assert_eq!(value(draw, 4, 22, 9.0), base, "{draw:?}: time");
            assert_eq!(value(draw, 5, 22, 1.0) == base, draw != Draw::PerEpisode, "{draw:?}: episode");
            assert_eq!(value(draw, 4, 23, 1.0) == base, draw != Draw::PerRequest, "{draw:?}: request");
        }
    }

    #[test]
    fn draws_are_uniform() {
        let parameter = Parameter::Drawn { min: 0.3, max: 2.0, draw: Draw::PerRequest };
        let mut tenths = [0u32; 10];
        for request in 0..100_000 {
            let occasion = Occasion { request, ..Occasion::default() };
            let x = parameter.value(&mut ParameterState::default(), &stream(0), &occasion);
            tenths[((x - 0.3) / 0.17) as usize] += 1;
        }
        let chi2: f64 = tenths.iter().map(|&n| (f64::from(n) - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 27.9, "chi2 = {chi2}; the 99.9 % point of 9 degrees of freedom is 27.88");
    }

    const WALK: Parameter = Parameter::Walk { min: 0.0, max: 0.3, per_sqrt_s: 0.05 };

    #[test]
    fn inserted_queries_do_not_move_a_walk() {
        let (mut sparse, mut dense) = (ParameterState::default(), ParameterState::default());
        for second in [5, 17, 18, 400] {
            for tenth in 0..=10 * second {
                WALK.value(&mut dense, &stream(0), &at(f64::from(tenth) / 10.0));
            }
            let now = at(f64::from(second));
            assert_eq!(WALK.value(&mut sparse, &stream(0), &now), WALK.value(&mut dense, &stream(0), &now));
        }
        // Backwards in time, too.
        let fresh = WALK.value(&mut ParameterState::default(), &stream(0), &at(17.0));
        assert_eq!(WALK.value(&mut dense, &stream(0), &at(17.9)), fresh);
    }

    #[test]
    fn a_walk_keeps_its_uniform_law_and_its_step() {
        let n = 20_000;
        for seconds in [0.0, 7.0, 60.0] {
            let (mut mean, mut square) = (0.0, 0.0);
            for ue in 0..n {
                let x = WALK.value(&mut ParameterState::default(), &stream(ue), &at(seconds));
                assert!((0.0..=0.3).contains(&x));
                mean += x / 0.3 / f64::from(n);
                square += (x / 0.3).powi(2) / f64::from(n);
            }
            // Five standard errors of U and U²: variances 1/12 and 4/45.
            assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / f64::from(n)).sqrt(), "{seconds} s: mean {mean}");
            assert!((square - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / f64::from(n)).sqrt(), "{seconds} s: {square}");
        }
        // Far from the bounds the walk spreads as per_sqrt_s·√t.
        let wide = Parameter::Walk { min: -1e6, max: 1e6, per_sqrt_s: 0.05 };
        let spread: f64 = (0..n)
            .map(|ue| {
                let mut state = ParameterState::default();
                let start = wide.value(&mut state, &stream(ue), &at(0.0));
                (wide.value(&mut state, &stream(ue), &at(9.5)) - start).powi(2)
            })
            .sum::<f64>()
            / f64::from(n);
        let expected = 0.05 * 0.05 * 9.0;
        assert!((spread / expected - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt(), "{spread} for {expected}");
    }

    #[test]
    fn mirrors_fold() {
        for (x, folded) in [(0.25, 0.25), (1.25, 0.75), (-0.25, 0.25), (2.25, 0.25), (-1.75, 0.25), (7.5, 0.5)] {
            assert_eq!(reflect(x, 0.0, 1.0), folded, "{x}");
        }
        assert_eq!(reflect(9.0, 2.0, 2.0), 2.0);
    }

    #[test]
    fn nonsense_is_refused() {
        let drawn = |min, max| Parameter::Drawn { min, max, draw: Draw::PerUe }.check();
        let walk = |per_sqrt_s| Parameter::Walk { min: 0.0, max: 1.0, per_sqrt_s }.check();
        assert_eq!(drawn(0.0, 0.0), Ok(()));
        assert_eq!(walk(0.0), Ok(()));
        assert_eq!(drawn(1.0, 0.5), Err(ParameterError::Range { min: 1.0, max: 0.5 }));
        assert_eq!(walk(-1.0), Err(ParameterError::Walk(-1.0)));
        assert_eq!(Parameter::Constant(f64::INFINITY).check(), Err(ParameterError::NotFinite(f64::INFINITY)));
        assert!(matches!(drawn(0.0, f64::NAN), Err(ParameterError::NotFinite(bad)) if bad.is_nan()));
    }
}
