//! Time-weighted mean of a level.

/// The time-weighted mean of a piecewise constant level, such as a queue length:
/// `1/(t - t₀) · ∫ level dt` from the last reset to `t`.
///
/// Time is an integer count of any one unit; it must not decrease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeAverage {
    since: u64,
    changed: u64,
    level: f64,
    /// ∫ level dt from `since` to `changed`.
    area: f64,
    max: f64,
}

impl TimeAverage {
    /// A level that begins at `now`.
    pub const fn new(now: u64, level: f64) -> Self {
        Self { since: now, changed: now, level, area: 0.0, max: level }
    }

    /// The level changes to `level` at `now`.
    #[inline]
    pub fn set(&mut self, now: u64, level: f64) {
        self.area = self.area(now);
        self.changed = self.changed.max(now);
        self.level = level;
        self.max = self.max.max(level);
    }

    /// The level rises by `step`, or falls by `-step`, at `now`.
    #[inline]
    pub fn add(&mut self, now: u64, step: f64) {
        self.set(now, self.level + step);
    }

    /// Forgets the past at the end of a warm-up: the level stays, and the mean and maximum begin anew.
    pub fn reset(&mut self, now: u64) {
        *self = Self::new(now, self.level);
    }

    /// The present level.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// The highest level since the last reset, however short.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// `∫ level dt` from the last reset to `now`. Exact for integer levels while below 2⁵³.
    #[inline]
    pub fn area(&self, now: u64) -> f64 {
        self.area + self.level * now.saturating_sub(self.changed) as f64
    }

    /// The mean from the last reset to `now`; `None` over an empty span.
    pub fn mean(&self, now: u64) -> Option<f64> {
        (now > self.since).then(|| self.area(now) / (now - self.since) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighs_levels_by_their_time() {
        let mut queue = TimeAverage::new(10, 0.0);
        queue.add(20, 2.0);
        queue.add(25, -1.0);
        queue.set(25, 3.0);
        // 0 for 10, 2 for 5, 3 for 15.
        assert_eq!((queue.area(40), queue.mean(40)), (55.0, Some(55.0 / 30.0)));
        assert_eq!((queue.level(), queue.max()), (3.0, 3.0));
    }

    #[test]
    fn a_reset_keeps_the_level_and_forgets_the_rest() {
        let mut queue = TimeAverage::new(0, 9.0);
        queue.set(5, 4.0);
        queue.reset(10);
        assert_eq!((queue.mean(10), queue.max()), (None, 4.0));
        queue.set(12, 0.0);
        assert_eq!(queue.mean(18), Some(1.0));
    }
}
