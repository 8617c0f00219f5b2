//! Where a UE is at any time.
//!
//! A path is a function of (seed, replication, UE, time). Models that walk do so on legs or
//! a grid of their own; a [`Mover`] remembers how far it has walked, and only saves
//! the repetition: asking more often, or in another order, moves nothing.

use std::sync::Arc;

use super::area::Area;
use super::gauss_markov::{GaussMarkov, Stride};
use super::mobility_trace::MobilityTrace;
use super::random_waypoint::{Leg, RandomWaypoint};
use crate::kernel::{Purpose, Streams};
use crate::units::SimTime;

/// The fastest that a UE moves \[m/s\].
const MOST_SPEED_M_S: f64 = 1000.0;

/// The longest pause \[s\]: a year.
const MOST_PAUSE_S: f64 = 3.2e7;

/// The smallest extent of an area to move in \[m\]: legs of a point would never end.
const LEAST_EXTENT_M: f64 = 1.0;

/// How a group's UEs move.
#[derive(Debug, Clone, PartialEq)]
pub enum Mobility {
    /// Not at all: a uniform place in the area.
    Static,
    /// To a uniform place of the area, a pause, and on to the next; from the stationary
    /// law on. The mean speed of those who move is `(v_max - v_min)/ln(v_max/v_min)`.
    RandomWaypoint {
        /// The lowest speed of a leg \[m/s\], above 0: with 0 the process has no stationary law.
        min_speed_m_s: f64,
        /// The highest speed of a leg \[m/s\].
        max_speed_m_s: f64,
        /// The pause at each waypoint \[s\].
        pause_s: f64,
    },
    /// A velocity with memory, stationary, mirrored at the border: per component, each second,
    /// `v′ = αv + (1 - α)v̄ + √(1 - α²)·σ·w`; v̄ has a direction of its own for each UE.
    GaussMarkov {
        /// |v̄| \[m/s\]. The mean of |v|² is |v̄|² + 2σ².
        mean_speed_m_s: f64,
        /// σ of each component of the velocity \[m/s\].
        speed_std_m_s: f64,
        /// α, the correlation of the velocity over a second, in \[0, 1\].
        alpha: f64,
    },
    /// At constant velocity from a uniform place of the area (from a point, if it is a
    /// disc of radius 0).
    Linear {
        /// Speed \[m/s\].
        speed_m_s: f64,
        /// Direction, counter-clockwise from the x axis \[degrees\].
        heading_deg: f64,
        /// Whether a UE that leaves the area enters it again on the opposite side: the
        /// opposite edge of a rectangle, the other end of the chord in a disc.
        wrap: bool,
    },
    /// Along recorded paths; the area plays no part.
    Trace(Arc<MobilityTrace>),
}

/// A mobility that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum MobilityError {
    /// A number is outside its range.
    #[error("{what} = {value} is not between {min} and {max}")]
    Range {
        /// Which number.
        what: &'static str,
        /// The value refused.
        value: f64,
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// A lowest speed of 0 or less: the process would slow down forever.
    #[error("min_speed_m_s = {0} is not above 0")]
    MinSpeed(f64),
    /// The speeds are the wrong way round.
    #[error("min_speed_m_s = {min} is above max_speed_m_s = {max}")]
    Speeds {
        /// Lowest speed.
        min: f64,
        /// Highest speed.
        max: f64,
    },
    /// The area is too small to move in.
    #[error("an area {extent_m} m across is too small to move in; allowed: at least {LEAST_EXTENT_M} m")]
    Area {
        /// Its smallest extent.
        extent_m: f64,
    },
}

/// A UE at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Whereabouts {
    /// East \[m\].
    pub x_m: f64,
    /// North \[m\].
    pub y_m: f64,
    /// The length of the path since time 0 \[m\]: continuous and never falling.
    pub travelled_m: f64,
    /// Speed \[m/s\].
    pub speed_m_s: f64,
}

impl Mobility {
    /// Whether the numbers make a mobility in `area` (which [`Area::check`] has passed).
    ///
    /// # Errors
    /// [`MobilityError`] for numbers outside their ranges, a lowest speed of 0 or above
    /// the highest, and areas too small to move in.
    pub fn check(&self, area: &Area) -> Result<(), MobilityError> {
        let range = |what, value: f64, min: f64, max: f64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(MobilityError::Range { what, value, min, max }) }
        };
        let roomy = || {
            let extent_m = area.least_extent_m();
            if extent_m >= LEAST_EXTENT_M { Ok(()) } else { Err(MobilityError::Area { extent_m }) }
        };
        match *self {
            Self::Static | Self::Trace(_) => Ok(()),
            Self::RandomWaypoint { min_speed_m_s, max_speed_m_s, pause_s } => {
                if min_speed_m_s <= 0.0 {
                    return Err(MobilityError::MinSpeed(min_speed_m_s));
                }
                // Slower than a millimetre per second a leg outlasts any run.
                range("min_speed_m_s", min_speed_m_s, 1e-3, MOST_SPEED_M_S)?;
                range("max_speed_m_s", max_speed_m_s, 1e-3, MOST_SPEED_M_S)?;
                range("pause_s", pause_s, 0.0, MOST_PAUSE_S)?;
                if min_speed_m_s > max_speed_m_s {
                    return Err(MobilityError::Speeds { min: min_speed_m_s, max: max_speed_m_s });
                }
                roomy()
            }
            Self::GaussMarkov { mean_speed_m_s, speed_std_m_s, alpha } => {
                range("mean_speed_m_s", mean_speed_m_s, 0.0, MOST_SPEED_M_S)?;
                range("speed_std_m_s", speed_std_m_s, 0.0, MOST_SPEED_M_S)?;
                range("alpha", alpha, 0.0, 1.0)?;
                roomy()
            }
            Self::Linear { speed_m_s, heading_deg, wrap } => {
                range("speed_m_s", speed_m_s, 0.0, MOST_SPEED_M_S)?;
                range("heading_deg", heading_deg, -360.0, 360.0)?;
                if wrap { roomy() } else { Ok(()) }
            }
        }
    }
}

/// How far a UE's path has been followed. A cache, but for the UE's numbers.
#[derive(Debug, Clone, Copy)]
pub struct Mover {
    ue: u32,
    member: u32,
    cursor: Cursor,
}

#[derive(Debug, Clone, Copy)]
enum Cursor {
    Unplaced,
    Placed([f64; 2]),
    Leg(Leg),
    Stride(Stride),
}

impl Mover {
    /// UE `ue` of all, which is number `member` of its group: streams go by the
    /// former, the paths of a trace by the latter.
    pub fn new(ue: u32, member: u32) -> Self {
        Self { ue, member, cursor: Cursor::Unplaced }
    }

    /// Where the UE is at `time`: a function of (`mobility`, `area`, `streams`, UE, `time`) only,
    /// for checked arguments that are the same in every call.
    ///
    /// A place comes from block 0 of [`Purpose::Placement`]; legs and steps come from
    /// [`Purpose::Mobility`]. Times that do not fall cost O(1) amortised; an earlier one
    /// walks again from the start.
    pub fn at(&mut self, mobility: &Mobility, area: &Area, streams: &Streams, time: SimTime) -> Whereabouts {
        let walk = streams.stream(self.ue, Purpose::Mobility);
        match *mobility {
            Mobility::Static => {
                let [x_m, y_m] = self.place(area, *streams);
                Whereabouts { x_m, y_m, ..Whereabouts::default() }
            }
            Mobility::Linear { speed_m_s, heading_deg, wrap } => {
                let from_m = self.place(area, *streams);
                let (sin, cos) = heading_deg.to_radians().sin_cos();
                let travelled_m = speed_m_s * time.as_secs_f64();
                let [x_m, y_m] = if wrap {
                    area.wrap(from_m, [cos, sin], travelled_m)
                } else {
                    [from_m[0] + travelled_m * cos, from_m[1] + travelled_m * sin]
                };
                Whereabouts { x_m, y_m, travelled_m, speed_m_s }
            }
            Mobility::RandomWaypoint { min_speed_m_s, max_speed_m_s, pause_s } => {
                let model = RandomWaypoint { min_speed_m_s, max_speed_m_s, pause_s };
                let time_s = time.as_secs_f64();
                let mut leg = match self.cursor {
                    Cursor::Leg(leg) if leg.start_s() <= time_s => leg,
                    _ => model.first_leg(area, &walk),
                };
                let here = model.at(&mut leg, area, &walk, time_s);
                self.cursor = Cursor::Leg(leg);
                here
            }
            Mobility::GaussMarkov { mean_speed_m_s, speed_std_m_s, alpha } => {
                let model = GaussMarkov { mean_speed_m_s, speed_std_m_s, alpha };
                let mut stride = match self.cursor {
                    Cursor::Stride(stride) if stride.start() <= time => stride,
                    _ => model.first_stride(uniform_place(area, *streams, self.ue), &walk),
                };
                let here = model.at(&mut stride, area, &walk, time);
                self.cursor = Cursor::Stride(stride);
                here
            }
            Mobility::Trace(ref trace) => trace.at(self.member as usize, time),
        }
    }

    /// The UE's place, drawn at the first call.
    fn place(&mut self, area: &Area, streams: Streams) -> [f64; 2] {
        if let Cursor::Placed(place) = self.cursor {
            return place;
        }
        let place = uniform_place(area, streams, self.ue);
        self.cursor = Cursor::Placed(place);
        place
    }
}

fn uniform_place(area: &Area, streams: Streams, ue: u32) -> [f64; 2] {
    area.place(&streams.stream(ue, Purpose::Placement), 0)
}
