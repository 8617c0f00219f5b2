//! Recorded or computed paths: positions at given times, straight lines between them.

use super::area::MOST_COORDINATE_M;
use super::mobility::Whereabouts;
use crate::units::SimTime;

/// Where a UE is at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TracePoint {
    /// When.
    pub time: SimTime,
    /// East \[m\].
    pub x_m: f64,
    /// North \[m\].
    pub y_m: f64,
}

/// The paths of a group's UEs.
#[derive(Debug, Clone, PartialEq)]
pub struct MobilityTrace {
    /// Each UE's points, in increasing order of time.
    paths: Vec<Vec<TracePoint>>,
    /// The length of the path up to each point \[m\].
    travelled_m: Vec<Vec<f64>>,
}

/// Paths that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// No UE.
    #[error("no rows")]
    Empty,
    /// A UE without any point.
    #[error("UE {ue} has no rows; UEs count from 0 without gaps")]
    NoPoints {
        /// Which UE.
        ue: usize,
    },
    /// A coordinate is not a number or too large.
    #[error("UE {ue}, point {point}: {value} m is not between -{MOST_COORDINATE_M} and {MOST_COORDINATE_M} m")]
    Coordinate {
        /// Which UE.
        ue: usize,
        /// Which of its points, from 0.
        point: usize,
        /// The value refused.
        value: f64,
    },
    /// A point's time is not after the one before it.
    #[error("UE {ue}, point {point}: time {time} s is not after the point before it")]
    Order {
        /// Which UE.
        ue: usize,
        /// Which of its points, from 0.
        point: usize,
        /// The time refused.
        time: SimTime,
    },
}

impl MobilityTrace {
    /// Paths of UE 0, 1, …, each with its points in increasing order of time.
    ///
    /// # Errors
    /// [`TraceError`] for no UE, a UE without points, coordinates that are not finite
    /// or beyond 10⁶ m, and times that do not increase.
    pub fn new(paths: Vec<Vec<TracePoint>>) -> Result<Self, TraceError> {
        if paths.is_empty() {
            return Err(TraceError::Empty);
        }
        for (ue, path) in paths.iter().enumerate() {
            if path.is_empty() {
                return Err(TraceError::NoPoints { ue });
            }
            for (point, row) in path.iter().enumerate() {
                if let Some(&value) =
                    [row.x_m, row.y_m].iter().find(|value| value.is_nan() || value.abs() > MOST_COORDINATE_M)
                {
                    return Err(TraceError::Coordinate { ue, point, value });
                }
                if point > 0 && row.time <= path[point - 1].time {
                    return Err(TraceError::Order { ue, point, time: row.time });
                }
            }
        }
        let travelled_m = paths.iter().map(|path| lengths(path)).collect();
        Ok(Self { paths, travelled_m })
    }

    /// How many UEs it has; they count from 0.
    pub fn ues(&self) -> usize {
        self.paths.len()
    }

    /// The points of UE `ue`; empty where the trace has no such UE.
    pub fn points(&self, ue: usize) -> &[TracePoint] {
        self.paths.get(ue).map_or(&[], Vec::as_slice)
    }

    /// Where UE `ue` of the trace is at `time`: on the line between the points before and
    /// after, at the first point before it, at the last point after it. The origin
    /// where the trace has no such UE.
    pub fn at(&self, ue: usize, time: SimTime) -> Whereabouts {
        let (Some(path), Some(travelled_m)) = (self.paths.get(ue), self.travelled_m.get(ue)) else {
            return Whereabouts::default();
        };
        let after = path.partition_point(|point| point.time <= time);
        let standing = |at: usize| Whereabouts {
            x_m: path[at].x_m,
            y_m: path[at].y_m,
            travelled_m: travelled_m[at],
            speed_m_s: 0.0,
        };
        if after == 0 {
            return standing(0);
        }
        if after == path.len() {
            return standing(after - 1);
        }
        let (from, to) = (&path[after - 1], &path[after]);
        let span_s = (to.time - from.time).as_secs_f64();
        let share = (time - from.time).as_secs_f64() / span_s;
        let length_m = travelled_m[after] - travelled_m[after - 1];
        Whereabouts {
            x_m: from.x_m + share * (to.x_m - from.x_m),
            y_m: from.y_m + share * (to.y_m - from.y_m),
            travelled_m: (travelled_m[after - 1] + share * length_m).min(travelled_m[after]),
            speed_m_s: length_m / span_s,
        }
    }
}

/// The length of a path up to each of its points \[m\].
fn lengths(path: &[TracePoint]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut lengths = vec![0.0];
    for pair in path.windows(2) {
        sum += (pair[1].x_m - pair[0].x_m).hypot(pair[1].y_m - pair[0].y_m);
        lengths.push(sum);
    }
    lengths
}
