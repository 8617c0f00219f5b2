//! Processors by name: the presets and the scenario's own.

use std::sync::OnceLock;

use crate::network::compute::Processor;
use crate::scenario::document::Document;
use crate::scenario::nodes::DeviceTable;

const PRESETS: &str = include_str!("devices.toml");

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Presets {
    device: Vec<DeviceTable>,
}

/// The presets, in the order of `devices.toml`.
pub fn presets() -> &'static [DeviceTable] {
    static TABLES: OnceLock<Vec<DeviceTable>> = OnceLock::new();
    TABLES.get_or_init(|| {
        // The file is part of the program; a test reads it.
        let presets = Document::parse("devices.toml", PRESETS, &[]).read::<Presets>();
        presets.map(|presets| presets.device).unwrap_or_default()
    })
}

/// The table of that name; the scenario's own come before the presets.
pub fn table<'t>(name: &str, own: &'t [DeviceTable]) -> Option<&'t DeviceTable> {
    own.iter().chain(presets()).find(|table| table.name == name)
}

/// The device of that name; the scenario's own come before the presets.
pub fn find(name: &str, own: &[DeviceTable]) -> Option<Processor> {
    table(name, own).map(|table| Processor {
        flop_per_s: table.peak_tflops * 1e12 * table.compute_efficiency,
        bytes_per_s: table.memory_gb_s * 1e9 * table.memory_efficiency,
        bytes_per_parameter: table.bytes_per_parameter,
        overhead_s: table.overhead_ms * 1e-3,
        power_w: table.power_w,
    })
}

/// The names of all devices that a scenario may use.
pub fn names(own: &[DeviceTable]) -> impl Iterator<Item = &str> {
    own.iter().chain(presets()).map(|table| table.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_reach_their_published_times() {
        assert_eq!(presets().len(), 7);
        // LLaMA-2-7B, 1024 tokens: 32 layers of 2·1024·202.4e6 + 2·1024²·4096 FLOP, and the head.
        let phone = find("snapdragon-8-gen-2", &[]).unwrap();
        let flop = 32.0 * (2.0 * 1024.0 * 202.375_168e6 + 2.0 * 1024.0f64.powi(2) * 4096.0);
        let seconds = flop / phone.flop_per_s;
        assert!((seconds - 1.918).abs() < 0.1, "{seconds}");
        // A decoded token reads 6.74 G parameters at half a byte.
        let decode = 6.74e9 * phone.bytes_per_parameter / phone.bytes_per_s;
        assert!((decode - 0.105).abs() < 0.001, "{decode}");
    }

    #[test]
    fn own_devices_come_first() {
        let own = DeviceTable { peak_tflops: 10.0, ..presets()[4].clone() };
        assert_eq!(find("l4", &[own]).unwrap().flop_per_s, 4.5e12);
        assert_eq!(find("nothing", &[]), None);
    }
}
