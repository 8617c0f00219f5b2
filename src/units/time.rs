//! Simulated time: an integer count of nanoseconds, printed as exact decimals.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// An instant (since the start of the simulation) or a span of simulated time,
/// as an integer count of nanoseconds: sums and differences are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(u64);

/// A number of seconds that is no simulated time.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{seconds} s is not a time between 0 and {:.0} s", SimTime::MAX.as_secs_f64())]
pub struct TimeError {
    /// The value refused \[s\].
    pub seconds: f64,
}

impl SimTime {
    /// The start of the simulation; an empty span.
    pub const ZERO: Self = Self(0);
    /// About 584 years: later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// From a count of nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The count of nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds, rounded to the nearest nanosecond.
    ///
    /// # Errors
    /// [`TimeError`] if `seconds` is negative, not a number, or beyond [`SimTime::MAX`].
    pub fn from_secs_f64(seconds: f64) -> Result<Self, TimeError> {
        let nanos = (seconds * NANOS_PER_SECOND as f64).round();
        if (0.0..u64::MAX as f64).contains(&nanos) { Ok(Self(nanos as u64)) } else { Err(TimeError { seconds }) }
    }

    /// Seconds, rounded to the nearest nanosecond; out-of-range values saturate
    /// and NaN is 0. For results of the simulator's own arithmetic.
    pub fn from_secs_saturating(seconds: f64) -> Self {
        // A float-to-integer `as` saturates, and maps NaN to 0.
        Self((seconds * NANOS_PER_SECOND as f64).round() as u64)
    }

    /// The nearest `f64` number of seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// `self - earlier`, or 0 when `earlier` is later.
    pub const fn saturating_sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// `self + span`, or [`SimTime::MAX`].
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for SimTime {
    type Output = Self;

    /// Saturates at [`SimTime::MAX`], which no event reaches.
    fn add(self, span: Self) -> Self {
        self.saturating_add(span)
    }
}

impl AddAssign for SimTime {
    fn add_assign(&mut self, span: Self) {
        *self = *self + span;
    }
}

impl Sub for SimTime {
    type Output = Self;

    /// Callers subtract an earlier instant; in debug builds a later one panics.
    fn sub(self, earlier: Self) -> Self {
        debug_assert!(earlier <= self, "time runs backwards: {self} - {earlier}");
        self.saturating_sub(earlier)
    }
}

impl std::iter::Sum for SimTime {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for SimTime {
    /// Seconds as an exact decimal without trailing zeros: `0`, `1.5`, `0.000000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; SimTime::DECIMAL_LEN];
        f.write_str(self.write_decimal(&mut buffer))
    }
}

impl SimTime {
    /// Room for the longest [`SimTime::write_decimal`].
    pub const DECIMAL_LEN: usize = 21;

    /// The text of [`Display`](fmt::Display), written into `buffer` without allocation.
    pub fn write_decimal(self, buffer: &mut [u8; Self::DECIMAL_LEN]) -> &str {
        let (mut seconds, mut fraction) = (self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND);
        let mut end = Self::DECIMAL_LEN;
        let mut start = end;
        if fraction > 0 {
            for _ in 0..9 {
                start -= 1;
                buffer[start] = b'0' + (fraction % 10) as u8;
                fraction /= 10;
            }
            while buffer[end - 1] == b'0' {
                end -= 1;
            }
            start -= 1;
            buffer[start] = b'.';
        }
        loop {
            start -= 1;
            buffer[start] = b'0' + (seconds % 10) as u8;
            seconds /= 10;
            if seconds == 0 {
                break;
            }
        }
        std::str::from_utf8(&buffer[start..end]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_exact_decimals() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (12_000_000_000, "12"),
            (100_000_000_010, "100.00000001"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(SimTime::from_nanos(nanos).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for seconds in [-1e-9, f64::NAN, f64::INFINITY, 1e300] {
            assert!(SimTime::from_secs_f64(seconds).is_err(), "{seconds}");
        }
        assert_eq!(SimTime::from_secs_f64(1e-9), Ok(SimTime::from_nanos(1)));
        assert_eq!(SimTime::from_secs_f64(0.3), Ok(SimTime::from_nanos(300_000_000)));
    }

    #[test]
    fn arithmetic_saturates_at_the_ends() {
        assert_eq!(SimTime::MAX + SimTime::from_nanos(1), SimTime::MAX);
        assert_eq!(SimTime::ZERO.saturating_sub(SimTime::MAX), SimTime::ZERO);
    }
}
