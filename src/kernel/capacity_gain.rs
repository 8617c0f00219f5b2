//! A capacity that depends on the number of jobs present: `G(n)`.

use std::sync::Arc;

/// The capacity `G(n)` of a server with `n` jobs present, relative to that of one
/// with a single job; a table in fixed point, so that every sum over it is exact.
///
/// On a radio it is the multi-user gain of a scheduler that serves whoever's
/// channel is good at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityGain {
    /// G(1), G(2), … in units of 1/[`CapacityGain::ONE`]; never empty.
    table: Arc<[u32]>,
}

/// Why numbers are no [`CapacityGain`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CapacityGainError {
    /// No entry at all.
    #[error("a capacity gain needs at least G(1)")]
    Empty,
    /// An entry out of range, or not a number.
    #[error("the capacity gain G({jobs}) = {gain} is not between 1/{} and {}", CapacityGain::ONE, CapacityGain::MAX)]
    Gain {
        /// n, from 1.
        jobs: usize,
        /// The value refused.
        gain: f64,
    },
    /// A point whose n is 0, not above that of the point before, or too large.
    #[error("the point of a capacity gain at n = {jobs} is not between {allowed_from} and {}", CapacityGain::LONGEST)]
    Point {
        /// The n refused.
        jobs: u32,
        /// The least n that may follow the point before.
        allowed_from: u32,
    },
}

impl CapacityGain {
    /// The unit of the table: a gain of 1.
    pub const ONE: u32 = 1 << 10;

    /// The largest gain.
    pub const MAX: u32 = 1 << 10;

    /// The largest n of a point.
    pub const LONGEST: u32 = 1 << 16;

    /// G(1), G(2), …, rounded to multiples of 1/1024; the last one holds for more jobs too.
    ///
    /// # Errors
    /// [`CapacityGainError`] if there is none, or one is not between 1/1024 and 1024.
    pub fn new(gains: impl IntoIterator<Item = f64>) -> Result<Self, CapacityGainError> {
        let unit = f64::from(Self::ONE);
        let fixed = |(index, gain): (usize, f64)| {
            if (1.0 / unit..=f64::from(Self::MAX)).contains(&gain) {
                Ok((gain * unit).round() as u32)
            } else {
                Err(CapacityGainError::Gain { jobs: index + 1, gain })
            }
        };
        let table: Arc<[u32]> = gains.into_iter().enumerate().map(fixed).collect::<Result<_, _>>()?;
        if table.is_empty() { Err(CapacityGainError::Empty) } else { Ok(Self { table }) }
    }

    /// G(n) through the points `(n, G)` in increasing order of n, linear in log₂ n
    /// between them; constant before the first point and beyond the last.
    ///
    /// # Errors
    /// [`CapacityGainError`] as [`CapacityGain::new`], or unless the n increase from at
    /// least 1 to at most [`CapacityGain::LONGEST`].
    pub fn through(points: &[(u32, f64)]) -> Result<Self, CapacityGainError> {
        let mut allowed_from = 1;
        for &(jobs, _) in points {
            if !(allowed_from..=Self::LONGEST).contains(&jobs) {
                return Err(CapacityGainError::Point { jobs, allowed_from });
            }
            allowed_from = jobs + 1;
        }
        let value = |n: u32| {
            let after = points.partition_point(|point| point.0 < n);
            let (upper, lower) = (points[after], points[after.saturating_sub(1)]);
            if after == 0 || upper.0 == n {
                return upper.1;
            }
            let share = (f64::from(n) / f64::from(lower.0)).log2() / (f64::from(upper.0) / f64::from(lower.0)).log2();
            lower.1 + share * (upper.1 - lower.1)
        };
        Self::new((1..allowed_from).map(value))
    }

    /// G(n) in units of 1/[`CapacityGain::ONE`]; 1 where no job is present.
    pub fn of(&self, jobs: u32) -> u32 {
        match jobs {
            0 => Self::ONE,
            _ => self.table[(jobs as usize).min(self.table.len()) - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_holds_beyond_the_table() {
        let gain = CapacityGain::new([1.0, 1.26, 1.4]).unwrap();
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(|n| gain.of(n)), [1024, 1024, 1290, 1434, 1434, 1434]);
    }

    #[test]
    fn between_points_it_is_linear_in_the_logarithm() {
        let from_two = CapacityGain::through(&[(2, 1.25)]).unwrap();
        assert_eq!([1, 2, 3].map(|n| from_two.of(n)), [1280; 3]);
        let gain = CapacityGain::through(&[(1, 1.0), (4, 1.5), (16, 2.0)]).unwrap();
        // A quarter per doubling; log2 3 = 1.585, so G(3) = 1.39624.
        assert_eq!([1, 2, 3, 4, 8, 16, 99].map(|n| gain.of(n)), [1024, 1280, 1430, 1536, 1792, 2048, 2048]);
    }

    #[test]
    fn refuses_what_is_no_gain() {
        assert_eq!(CapacityGain::new([]), Err(CapacityGainError::Empty));
        assert_eq!(CapacityGain::through(&[]), Err(CapacityGainError::Empty));
        for (points, jobs, allowed_from) in
            [([(0, 1.0), (2, 1.0)], 0, 1), ([(3, 1.0), (3, 1.0)], 3, 4), ([(1, 1.0), (u32::MAX, 2.0)], u32::MAX, 2)]
        {
            assert_eq!(CapacityGain::through(&points), Err(CapacityGainError::Point { jobs, allowed_from }));
        }
        for gain in [0.0, -1.0, f64::INFINITY, 1025.0] {
            assert_eq!(CapacityGain::new([1.0, gain]), Err(CapacityGainError::Gain { jobs: 2, gain }));
        }
        let nan = CapacityGain::new([f64::NAN]).unwrap_err();
        assert_eq!(nan.to_string(), "the capacity gain G(1) = NaN is not between 1/1024 and 1024");
    }
}
