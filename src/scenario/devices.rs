//! Processors by name: the presets, those of files, and the scenario's own.

use std::sync::OnceLock;

use crate::network::compute::{Power, Processor, Speed};
use crate::scenario::device_table::DeviceTable;
use crate::scenario::document::Document;
use crate::scenario::schema::Scenario;

const PRESETS: &str = include_str!("devices.toml");
/// κ where a device with a clock says none \[J·s²\].
const KAPPA: f64 = 1e-28;

/// A file of devices.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceFile {
    /// The devices.
    pub device: Vec<DeviceTable>,
}

/// The presets, in the order of `devices.toml`.
pub fn presets() -> &'static [DeviceTable] {
    static TABLES: OnceLock<Vec<DeviceTable>> = OnceLock::new();
    TABLES.get_or_init(|| {
        // The file is part of the program; a test reads it.
        let presets = Document::parse("devices.toml", PRESETS, &[]).read::<DeviceFile>();
        presets.map(|presets| presets.device).unwrap_or_default()
    })
}

/// All devices that a scenario may use: its own, those of its files in order, the presets. Of
/// two with one name the first counts.
pub fn all(scenario: &Scenario) -> impl Iterator<Item = &DeviceTable> {
    scenario.device.iter().chain(&scenario.devices_of_files).chain(presets())
}

/// The table of that name.
pub fn table<'t>(name: &str, scenario: &'t Scenario) -> Option<&'t DeviceTable> {
    all(scenario).find(|table| table.name == name)
}

/// The device of that name.
pub fn find(name: &str, scenario: &Scenario) -> Option<Processor> {
    table(name, scenario).map(processor)
}

/// A device in SI units. What `validate` refuses gets some value or other.
pub fn processor(table: &DeviceTable) -> Processor {
    let clock = table.clock_ghz.map(|ghz| ghz * 1e9).zip(table.flop_per_cycle);
    let speed = |compute_efficiency: f64, memory_efficiency: f64, overhead_ms: f64| match clock {
        Some((hz, flop_per_cycle)) => Speed::Clock { hz, flop_per_cycle, overhead_s: overhead_ms * 1e-3 },
        None => Speed::Roofline {
            flop_per_s: table.peak_tflops.unwrap_or(f64::INFINITY) * 1e12 * compute_efficiency,
            bytes_per_s: table.memory_gb_s.unwrap_or(f64::INFINITY) * 1e9 * memory_efficiency,
            overhead_s: overhead_ms * 1e-3,
        },
    };
    let per_work = table.energy_per_flop_pj.is_some() || table.energy_per_byte_pj.is_some();
    let joules = |pico: Option<f64>| pico.unwrap_or(0.0) * 1e-12;
    Processor {
        prefill: speed(table.compute_efficiency, table.memory_efficiency, table.overhead_ms),
        decode: speed(
            table.decode_compute_efficiency.unwrap_or(table.compute_efficiency),
            table.decode_memory_efficiency.unwrap_or(table.memory_efficiency),
            table.decode_overhead_ms.unwrap_or(table.overhead_ms),
        ),
        bytes_per_parameter: table.bytes_per_parameter,
        power: match clock {
            Some((hz, flop_per_cycle)) => {
                Power::PerCycle { per_flop_j: table.kappa.unwrap_or(KAPPA) * hz * hz / flop_per_cycle }
            }
            None if per_work => Power::PerWork {
                per_flop_j: joules(table.energy_per_flop_pj),
                per_byte_j: joules(table.energy_per_byte_pj),
            },
            None => Power::Constant { power_w: table.power_w },
        },
        idle_w: table.idle_power_w,
        memory_bytes: table.memory_gb.map(|gb| gb * 1e9),
        load_bytes_per_s: table.load_gb_s.map(|gb| gb * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::compute::Work;

    fn preset(name: &str) -> Processor {
        processor(presets().iter().find(|table| table.name == name).expect(name))
    }

    #[test]
    fn presets_reach_their_published_times() {
        assert_eq!(presets().len(), 8);
        assert!(presets().iter().all(|table| !table.reference.is_empty()));
        // LLaMA-2-7B, 1024 tokens: 32 layers of 2·1024·202.4e6 + 2·1024²·4096 FLOP, and the head.
        let phone = preset("snapdragon-8-gen-2");
        let flop = 32.0 * (2.0 * 1024.0 * 202.375_168e6 + 2.0 * 1024.0f64.powi(2) * 4096.0);
        let seconds = phone.time(Work { flop, ..Work::default() }).as_secs_f64();
        assert!((seconds - 1.918).abs() < 0.1, "{seconds}");
        // A decoded token reads 6.74 G parameters at half a byte, and has 1 ms of overhead.
        let decode = phone.time(Work { flop: 1.0, parameters: 6.74e9, ..Work::default() }).as_secs_f64();
        assert!((decode - 0.106).abs() < 0.001, "{decode}");
    }

    #[test]
    fn a_preset_with_a_memory_has_the_speed_of_the_one_without() {
        let limits = |processor: Processor| Processor { memory_bytes: None, load_bytes_per_s: None, ..processor };
        let phone = preset("snapdragon-8-gen-2-12gb");
        assert!(phone.memory_bytes.is_some() && phone.load_bytes_per_s.is_some());
        assert_eq!(limits(phone), preset("snapdragon-8-gen-2"));
    }

    #[test]
    fn own_devices_come_first_then_those_of_files() {
        let mut scenario: Scenario = serde_json::from_value(serde_json::json!({ "name": "s" })).unwrap();
        let l4 = |peak: f64| {
            let preset = presets().iter().find(|table| table.name == "l4").unwrap();
            DeviceTable { peak_tflops: Some(peak), ..preset.clone() }
        };
        let peak = |scenario: &Scenario| table("l4", scenario).unwrap().peak_tflops;
        assert_eq!((peak(&scenario), find("nothing", &scenario)), (Some(121.0), None));
        scenario.devices_of_files = vec![l4(20.0), l4(30.0)];
        assert_eq!(peak(&scenario), Some(20.0));
        scenario.device = vec![l4(10.0)];
        assert_eq!(peak(&scenario), Some(10.0));
    }
}
