//! How busy a server is.

use crate::stats::TimeAverage;
use crate::units::SimTime;

/// Time average of a number of busy servers over an observed span.
#[derive(Clone, Copy, Debug)]
pub struct LoadClock {
    from: SimTime,
    to: SimTime,
    level: u32,
    average: TimeAverage,
}

impl LoadClock {
    /// Observes `from..to`; idle until told otherwise.
    pub fn new(from: SimTime, to: SimTime) -> Self {
        Self { from, to: to.max(from), level: 0, average: TimeAverage::new(from.as_nanos(), 0.0) }
    }

    /// From `now` on, `level` servers are busy.
    #[inline]
    pub fn set(&mut self, now: SimTime, level: u32) {
        if level != self.level {
            self.level = level;
            // Outside the span no time passes.
            self.average.set(now.clamp(self.from, self.to).as_nanos(), f64::from(level));
        }
    }

    /// Ends the observed span early.
    pub fn close(&mut self, now: SimTime) {
        self.to = now.clamp(self.from, self.to);
    }

    /// Mean share of `servers` that was busy; `None` for an empty span.
    pub fn utilisation(&self, servers: u32) -> Option<f64> {
        self.average.mean(self.to.as_nanos()).map(|busy| busy / f64::from(servers))
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
        clock.set(at(300), 0);
        // 20·1 + 10·3 + 10·2 of 100·4
        assert_eq!(clock.utilisation(4), Some(0.175));
        assert_eq!(LoadClock::new(at(5), at(5)).utilisation(1), None);
    }

    #[test]
    fn a_span_can_end_early() {
        let at = SimTime::from_nanos;
        let mut clock = LoadClock::new(at(0), at(200));
        clock.set(at(10), 1);
        clock.close(at(20));
        clock.set(at(90), 0);
        assert_eq!(clock.utilisation(1), Some(0.5));
    }
}
