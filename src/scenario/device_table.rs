//! `[[device]]`, in scenarios, in files of devices and among the presets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[device]]`: a processor of your own. Its speed is given by `peak_tflops` and `memory_gb_s` (the roofline), or by `clock_ghz` and `flop_per_cycle` (cycles); its energy by `power_w`, by `energy_per_flop_pj` and `energy_per_byte_pj`, or by `kappa`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceTable {
    /// Name.
    pub name: String,
    /// Peak arithmetic \[TFLOP/s\].
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub peak_tflops: Option<f64>,
    /// η_c: part of the peak that transformer layers reach.
    #[serde(default = "whole")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub compute_efficiency: f64,
    /// Memory bandwidth \[GB/s\].
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub memory_gb_s: Option<f64>,
    /// η_m: part of the bandwidth that is reached.
    #[serde(default = "whole")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub memory_efficiency: f64,
    /// Bytes per stored parameter: 2 for f16, 1 for int8, 0.5 for int4.
    #[serde(default = "two")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 8))]
    pub bytes_per_parameter: f64,
    /// Fixed time per pass \[ms\].
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub overhead_ms: f64,
    /// Power while computing, all that the device draws then \[W\].
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e9))]
    pub power_w: f64,
    /// η_c of decode rounds, which pass one token. Default: `compute_efficiency`.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub decode_compute_efficiency: Option<f64>,
    /// η_m of decode rounds. Default: `memory_efficiency`.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub decode_memory_efficiency: Option<f64>,
    /// Fixed time per decode round \[ms\]. Default: `overhead_ms`.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub decode_overhead_ms: Option<f64>,
    /// Memory for weights, keys and values \[GB, 10⁹ byte\]. Bounds the split of a UE: its layers and the keys and values of its longest request have to fit. Default: as much as it takes. An edge holds all layers in any case.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub memory_gb: Option<f64>,
    /// Rate at which weights come from storage into memory \[GB/s\]: a UE that moves to a split beyond all it has used loads the further layers before it computes. Those of its first split are there from the start, and layers stay once loaded. Default: loading takes no time.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub load_gb_s: Option<f64>,
    /// Power without computing, P_idle \[W\]; with `energy_per_flop_pj`, `energy_per_byte_pj` or the clock also while computing, beside what the work takes. Default: nothing is counted.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub idle_power_w: Option<f64>,
    /// e_F: energy per FLOP \[pJ\]. With this or the next key, computing takes `e_F·FLOP + e_B·bytes + P_idle·time` in place of `power_w·time`.
    #[schemars(range(min = 0.0, max = 1e12))]
    pub energy_per_flop_pj: Option<f64>,
    /// e_B: energy per byte that is read from memory, or loaded \[pJ\].
    #[schemars(range(min = 0.0, max = 1e12))]
    pub energy_per_byte_pj: Option<f64>,
    /// Clock frequency f \[GHz\]. With `flop_per_cycle` in place of the roofline: `time = cycles/f + overhead`, cycles = FLOP/`flop_per_cycle`, and `energy = κ f²·cycles + P_idle·time` (Mao et al., IEEE Communications Surveys & Tutorials 19(4), 2017).
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e6))]
    pub clock_ghz: Option<f64>,
    /// FLOP that a cycle does, over all cores.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e12))]
    pub flop_per_cycle: Option<f64>,
    /// κ: effective switched capacitance \[J·s²\], energy per cycle over the square of the frequency. Belongs to `clock_ghz`. Default: 1e-28.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub kappa: Option<f64>,
    /// Where the numbers come from.
    #[serde(default)]
    pub reference: String,
}

impl Default for DeviceTable {
    fn default() -> Self {
        Self {
            name: String::new(),
            peak_tflops: None,
            compute_efficiency: whole(),
            memory_gb_s: None,
            memory_efficiency: whole(),
            bytes_per_parameter: two(),
            overhead_ms: 0.0,
            power_w: 0.0,
            decode_compute_efficiency: None,
            decode_memory_efficiency: None,
            decode_overhead_ms: None,
            memory_gb: None,
            load_gb_s: None,
            idle_power_w: None,
            energy_per_flop_pj: None,
            energy_per_byte_pj: None,
            clock_ghz: None,
            flop_per_cycle: None,
            kappa: None,
            reference: String::new(),
        }
    }
}

fn whole() -> f64 {
    1.0
}
fn two() -> f64 {
    2.0
}
