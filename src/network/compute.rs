//! Processors: how long work takes, and what it costs.
//!
//! Time follows the roofline (prefill and decode apart), or the clock's cycles as in the
//! literature on mobile edge computing. Energy follows power and time, the work done, or the
//! cycles.

use crate::units::SimTime;

/// What a pass through the layers does; a device may reach different speeds at either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pass {
    /// All tokens of a prompt at once.
    #[default]
    Prefill,
    /// One token, with the keys and values of those before.
    Decode,
}

/// Work of one part of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Arithmetic \[FLOP\].
    pub flop: f64,
    /// Parameters that are read once per pass.
    pub parameters: f64,
    /// Keys and values of earlier positions that are read \[byte\].
    pub kv_bytes: f64,
    /// What it is part of.
    pub pass: Pass,
}

impl Work {
    /// Bytes read: those of the parameters, and keys and values.
    pub fn bytes(&self, bytes_per_parameter: f64) -> f64 {
        self.parameters * bytes_per_parameter + self.kv_bytes
    }
}

/// How fast a processor is at one kind of pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// By the roofline: `max(FLOP / (η_c·peak), bytes / (η_m·bandwidth)) + overhead`.
    Roofline {
        /// Sustained arithmetic, η_c · peak \[FLOP/s\].
        flop_per_s: f64,
        /// Sustained memory traffic, η_m · bandwidth \[byte/s\].
        bytes_per_s: f64,
        /// Fixed time per pass \[s\].
        overhead_s: f64,
    },
    /// By the clock: `cycles / f + overhead`, cycles = FLOP / (FLOP per cycle); memory plays no part.
    Clock {
        /// Clock frequency f \[Hz\].
        hz: f64,
        /// FLOP that one cycle does.
        flop_per_cycle: f64,
        /// Fixed time per pass \[s\].
        overhead_s: f64,
    },
}

impl Speed {
    /// Time of a pass \[s\].
    fn seconds(&self, flop: f64, bytes: f64) -> f64 {
        match *self {
            Self::Roofline { flop_per_s, bytes_per_s, overhead_s } => {
                (flop / flop_per_s).max(bytes / bytes_per_s) + overhead_s
            }
            Self::Clock { hz, flop_per_cycle, overhead_s } => flop / flop_per_cycle / hz + overhead_s,
        }
    }
}

/// What a processor draws while it computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Power {
    /// `power · time`: all that it draws.
    Constant {
        /// Power \[W\].
        power_w: f64,
    },
    /// `e_F·FLOP + e_B·bytes + P_idle·time`.
    PerWork {
        /// e_F \[J/FLOP\].
        per_flop_j: f64,
        /// e_B \[J/byte\].
        per_byte_j: f64,
    },
    /// `κ f²·cycles + P_idle·time`, the dynamic power of a processor at clock frequency f (Mao, You,
    /// Zhang, Huang, Letaief, IEEE Communications Surveys & Tutorials 19(4), 2017, section II).
    PerCycle {
        /// κ f² / (FLOP per cycle) \[J/FLOP\].
        per_flop_j: f64,
    },
}

/// A processor, by what it reaches on transformer layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processor {
    /// Speed at prompts.
    pub prefill: Speed,
    /// Speed at further tokens.
    pub decode: Speed,
    /// Bytes per stored parameter.
    pub bytes_per_parameter: f64,
    /// What it draws while computing.
    pub power: Power,
    /// P_idle: what it draws without computing \[W\]; `None` if nothing is said of it, which counts as 0.
    pub idle_w: Option<f64>,
    /// Memory for weights, keys and values \[byte\]; `None` for as much as it takes.
    pub memory_bytes: Option<f64>,
    /// Rate at which weights come into memory \[byte/s\]; `None` if that takes no time.
    pub load_bytes_per_s: Option<f64>,
}

impl Processor {
    /// Time of a pass, bytes being those of the parameters and of the keys and values read; no
    /// time for no work.
    pub fn time(&self, work: Work) -> SimTime {
        if work.flop <= 0.0 {
            return SimTime::ZERO;
        }
        let speed = match work.pass {
            Pass::Prefill => &self.prefill,
            Pass::Decode => &self.decode,
        };
        SimTime::from_secs_saturating(speed.seconds(work.flop, work.bytes(self.bytes_per_parameter)))
    }

    /// Time in which so many parameters come from storage into memory, `bytes / load rate`.
    pub fn load_time(&self, parameters: f64) -> SimTime {
        match self.load_bytes_per_s {
            Some(rate) if parameters > 0.0 => {
                SimTime::from_secs_saturating(parameters * self.bytes_per_parameter / rate)
            }
            _ => SimTime::ZERO,
        }
    }

    /// Energy of computing for so long \[J\], in which so much work was done and so many bytes
    /// were read or loaded.
    pub fn energy(&self, flop: f64, bytes: f64, time: SimTime) -> f64 {
        match self.power {
            Power::Constant { power_w } => power_w * time.as_secs_f64(),
            Power::PerWork { per_flop_j, per_byte_j } => {
                per_flop_j * flop + per_byte_j * bytes + self.idle_power() * time.as_secs_f64()
            }
            Power::PerCycle { per_flop_j } => per_flop_j * flop + self.idle_power() * time.as_secs_f64(),
        }
    }

    /// P_idle, 0 where nothing is said of it \[W\].
    pub fn idle_power(&self) -> f64 {
        self.idle_w.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFILL: Speed = Speed::Roofline { flop_per_s: 7.1e12, bytes_per_s: 34e9, overhead_s: 0.001 };
    const PHONE: Processor = Processor {
        prefill: PREFILL,
        decode: PREFILL,
        bytes_per_parameter: 0.5,
        power: Power::Constant { power_w: 5.0 },
        idle_w: None,
        memory_bytes: None,
        load_bytes_per_s: None,
    };

    fn prefill(flop: f64, parameters: f64, kv_bytes: f64) -> Work {
        Work { flop, parameters, kv_bytes, pass: Pass::Prefill }
    }

    #[test]
    fn the_roofline_takes_the_slower_side() {
        // 7.1 GFLOP take 1 ms; 68 M parameters of half a byte take 1 ms as well.
        let compute_bound = PHONE.time(prefill(71e9, 68e6, 0.0));
        assert_eq!(compute_bound, SimTime::from_nanos(11_000_000));
        let memory_bound = PHONE.time(prefill(7.1e9, 680e6, 0.0));
        assert_eq!(memory_bound, SimTime::from_nanos(11_000_000));
        // 34 MB of keys and values take another millisecond.
        let with_cache = PHONE.time(prefill(7.1e9, 680e6, 34e6));
        assert_eq!(with_cache, SimTime::from_nanos(12_000_000));
        assert_eq!(PHONE.time(Work::default()), SimTime::ZERO);
        assert!((PHONE.energy(7.1e9, 340e6, memory_bound) - 0.055).abs() < 1e-12);
    }

    #[test]
    fn decode_has_a_speed_of_its_own() {
        let decode = Speed::Roofline { flop_per_s: 7.1e12, bytes_per_s: 17e9, overhead_s: 0.0 };
        let phone = Processor { decode, ..PHONE };
        let work = Work { pass: Pass::Decode, ..prefill(7.1e9, 680e6, 0.0) };
        // 340 MB at 17 GB/s, and no overhead.
        assert_eq!(phone.time(work), SimTime::from_nanos(20_000_000));
        assert_eq!(phone.time(prefill(7.1e9, 680e6, 0.0)), PHONE.time(prefill(7.1e9, 680e6, 0.0)));
    }

    #[test]
    fn energy_follows_work_or_cycles() {
        let second = SimTime::from_nanos(1_000_000_000);
        // 1 pJ per FLOP and 100 pJ per byte: 1 J for a TFLOP, 0.1 J for a GB; and 0.5 W.
        let per_work = Power::PerWork { per_flop_j: 1e-12, per_byte_j: 100e-12 };
        let counted = Processor { power: per_work, idle_w: Some(0.5), ..PHONE };
        assert!((counted.energy(1e12, 1e9, second) - 1.6).abs() < 1e-12);
        // 1e-28·(2e9)² J per cycle of 8 FLOP: 4e-10 J, and 125 Gcycles of 1 TFLOP: 50 J.
        let clock = Speed::Clock { hz: 2e9, flop_per_cycle: 8.0, overhead_s: 0.0 };
        let power = Power::PerCycle { per_flop_j: 1e-28 * 2e9 * 2e9 / 8.0 };
        let cpu = Processor { prefill: clock, decode: clock, power, ..PHONE };
        assert!((cpu.energy(1e12, 1e9, second) - 50.0).abs() < 1e-9);
        assert_eq!(cpu.time(prefill(1e12, 1e9, 0.0)), SimTime::from_nanos(62_500_000_000));
    }

    #[test]
    fn layers_come_at_the_storages_rate() {
        // 680 M parameters of half a byte at 3.4 GB/s.
        let phone = Processor { load_bytes_per_s: Some(3.4e9), ..PHONE };
        assert_eq!(phone.load_time(680e6), SimTime::from_nanos(100_000_000));
        assert_eq!((phone.load_time(0.0), PHONE.load_time(680e6)), (SimTime::ZERO, SimTime::ZERO));
    }
}
