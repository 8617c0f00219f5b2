//! How busy a server is.

use crate::units::SimTime;

/// Time-integral of a number of busy servers over an observed span.
#[derive(Clone, Copy, Debug)]
pub struct LoadClock {
    from: SimTime,
    to: SimTime,
    since: SimTime,
    level: u32,
    /// Busy servers times nanoseconds.
    area: u128,
}

impl LoadClock {
    /// Observes `from..to`; idle until told otherwise.
    pub fn new(from: SimTime, to: SimTime) -> Self {
        Self { from, to, since: SimTime::ZERO, level: 0, area: 0 }
    }

    /// From `now` on, `level` servers are busy.
    #[inline]
    pub fn set(&mut self, now: SimTime, level: u32) {
        if level != self.level {
            self.area += self.area_until(now);
            self.since = now;
            self.level = level;
        }
    }

    /// Ends the observed span early.
    pub fn close(&mut self, now: SimTime) {
        self.to = self.to.min(now.max(self.from));
    }

    fn area_until(&self, now: SimTime) -> u128 {
        let (from, to) = (self.since.max(self.from), now.min(self.to));
        u128::from(to.saturating_sub(from).as_nanos()) * u128::from(self.level)
    }

    /// Mean share of `servers` that was busy, up to `now`; `None` for an empty span.
    pub fn utilisation(&self, now: SimTime, servers: u32) -> Option<f64> {
        let span = self.to.saturating_sub(self.from).as_nanos();
        if span == 0 || servers == 0 {
            return None;
        }
        let area = self.area + self.area_until(now.max(self.since));
        Some(area as f64 / (span as f64 * f64::from(servers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_the_observed_span() {
        let at = SimTime::from_nanos;
        let mut clock = LoadClock::new(at(100), at(200));
        clock.set(at(50), 1); // busy from before the span …
        clock.set(at(120), 3);
        clock.set(at(130), 0);
        clock.set(at(190), 2); // … and beyond it
        // 20·1 + 10·3 + 10·2 of 100·4
        assert_eq!(clock.utilisation(at(500), 4), Some(0.175));
        assert_eq!(LoadClock::new(at(5), at(5)).utilisation(at(9), 1), None);
    }
}
