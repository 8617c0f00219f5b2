//! Processors: how long work takes and what it costs, by the roofline.

use crate::units::SimTime;

/// Work of one part of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Arithmetic \[FLOP\].
    pub flop: f64,
    /// Parameters that are read once per pass.
    pub parameters: f64,
    /// Keys and values of earlier positions that are read \[byte\].
    pub kv_bytes: f64,
}

/// A processor, by what it reaches on transformer layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processor {
    /// Sustained arithmetic, η_c · peak \[FLOP/s\].
    pub flop_per_s: f64,
    /// Sustained memory traffic, η_m · bandwidth \[byte/s\].
    pub bytes_per_s: f64,
    /// Bytes per stored parameter.
    pub bytes_per_parameter: f64,
    /// Fixed time per pass \[s\].
    pub overhead_s: f64,
    /// Power while computing \[W\].
    pub power_w: f64,
}

impl Processor {
    /// `max(FLOP / (η_c·peak), bytes / (η_m·bandwidth)) + overhead`, bytes being those of the
    /// parameters and of the keys and values read; no time for no work.
    pub fn time(&self, work: Work) -> SimTime {
        if work.flop <= 0.0 {
            return SimTime::ZERO;
        }
        let arithmetic = work.flop / self.flop_per_s;
        let memory = (work.parameters * self.bytes_per_parameter + work.kv_bytes) / self.bytes_per_s;
        SimTime::from_secs_saturating(arithmetic.max(memory) + self.overhead_s)
    }

    /// Energy of computing for so long \[J\].
    pub fn energy(&self, time: SimTime) -> f64 {
        self.power_w * time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: Processor =
        Processor { flop_per_s: 7.1e12, bytes_per_s: 34e9, bytes_per_parameter: 0.5, overhead_s: 0.001, power_w: 5.0 };

    #[test]
    fn the_roofline_takes_the_slower_side() {
        // 7.1 GFLOP take 1 ms; 68 M parameters of half a byte take 1 ms as well.
        let compute_bound = PHONE.time(Work { flop: 71e9, parameters: 68e6, kv_bytes: 0.0 });
        assert_eq!(compute_bound, SimTime::from_nanos(11_000_000));
        let memory_bound = PHONE.time(Work { flop: 7.1e9, parameters: 680e6, kv_bytes: 0.0 });
        assert_eq!(memory_bound, SimTime::from_nanos(11_000_000));
        // 34 MB of keys and values take another millisecond.
        let with_cache = PHONE.time(Work { flop: 7.1e9, parameters: 680e6, kv_bytes: 34e6 });
        assert_eq!(with_cache, SimTime::from_nanos(12_000_000));
        assert_eq!(PHONE.time(Work::default()), SimTime::ZERO);
        assert!((PHONE.energy(memory_bound) - 0.055).abs() < 1e-12);
    }
}
