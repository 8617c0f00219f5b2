//! Tables of cells with places: base stations, handovers, and where UEs are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a transmission chooses its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkName {
    /// `spectral_efficiency_bps_hz`, whatever the SINR.
    Fixed,
    /// Shannon's formula with the gap of `channel.snr_gap_db`, log2(1 + SINR/Γ). Cellular channels only.
    Shannon,
    /// The highest row of 3GPP's CQI table (TS 38.214, table 5.2.2.1-2) that the SINR reaches; packets fail by its block error rate. Cellular channels only.
    Cqi,
}

/// What a rate is chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdaptsToName {
    /// The mean SINR, without fading.
    Mean,
    /// The SINR at the instant at which the transmission begins: for transmissions shorter than the channel's coherence time.
    Instant,
    /// The fading as it goes on: each packet has the rate of the last report, every `csi_period_ms`. The airtime is that of a transmission which shares the air with as many others as at its start.
    #[default]
    Reports,
}

/// How payloads are cut into packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PacketsName {
    /// Into packets of `packet_bytes`.
    #[default]
    Mtu,
    /// Into transport blocks: what a slot carries at the rate of the payload's first transmission, 156·n_PRB·efficiency bits, without pilots and guard bands; at the rate efficiency·bandwidth that takes about 0.8 of a slot. Cellular channels only.
    TransportBlock,
}

/// How base stations are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutName {
    /// One, at `x_m` and `y_m`.
    #[default]
    Single,
    /// `sites` of them on a hexagonal grid around `x_m` and `y_m`, ring by ring: 1, 7, 19, 37, … fill whole rings.
    Hexagonal,
}

/// `[cell]`: base stations of a cellular channel. One table with a layout, or a `[[cell]]` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CellTable {
    /// Name, where there are several: letters, digits, `-` and `_`.
    pub name: Option<String>,
    /// How base stations are laid out; of several `[[cell]]` each is a single one.
    pub layout: LayoutName,
    /// "hexagonal": number of base stations.
    #[schemars(range(min = 1, max = 10_000))]
    pub sites: u32,
    /// "hexagonal": distance of neighbours \[m\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e5))]
    pub inter_site_distance_m: f64,
    /// East \[m\].
    #[schemars(range(min = -1e6, max = 1e6))]
    pub x_m: f64,
    /// North \[m\].
    #[schemars(range(min = -1e6, max = 1e6))]
    pub y_m: f64,
    /// Height of the antenna \[m\]. Default: the environment's: 25 ("uma"), 10 ("umi"), 3 ("inh").
    #[schemars(range(min = 1.0, max = 150.0))]
    pub height_m: Option<f64>,
    /// Gain of the antenna, the same in all directions \[dB\].
    #[schemars(range(min = -60.0, max = 60.0))]
    pub antenna_gain_db: f64,
}

impl Default for CellTable {
    fn default() -> Self {
        Self {
            name: None,
            layout: LayoutName::Single,
            sites: 19,
            inter_site_distance_m: 500.0,
            x_m: 0.0,
            y_m: 0.0,
            height_m: None,
            antenna_gain_db: 8.0,
        }
    }
}

/// What makes a cell a UE's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AssociationName {
    /// It is received best, shadowing included and fading not.
    #[default]
    Strongest,
    /// It is the nearest.
    Nearest,
}

/// What becomes of a request that is on the air when its UE changes the cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InFlightName {
    /// Packets that are through count; the others are sent to the new cell.
    #[default]
    Carried,
    /// The transmission begins anew in the new cell; of a repeat of lost packets slot by slot those that are through count.
    Restarted,
}

/// `[handover]`: which cell serves a UE, and when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HandoverTable {
    /// What makes a cell a UE's own.
    pub association: AssociationName,
    /// A neighbour takes over when it is better by so much \[dB\] (event A3 of 3GPP TS 38.331) …
    #[schemars(range(min = 0.0, max = 30.0))]
    pub hysteresis_db: f64,
    /// … for so long \[ms\].
    #[schemars(range(min = 0.0, max = 60_000.0))]
    pub time_to_trigger_ms: f64,
    /// Distance of measurements \[ms\]: the grid of time on which places, path losses and shadowing of moving UEs advance.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    pub measurement_interval_ms: f64,
    /// What becomes of a request that is on the air.
    pub in_flight: InFlightName,
    /// Time without a link after a handover, for a request that is on the air \[ms\].
    #[schemars(range(min = 0.0, max = 60_000.0))]
    pub interruption_ms: f64,
}

impl Default for HandoverTable {
    fn default() -> Self {
        Self {
            association: AssociationName::Strongest,
            hysteresis_db: 3.0,
            time_to_trigger_ms: 160.0,
            measurement_interval_ms: 80.0,
            in_flight: InFlightName::Carried,
            interruption_ms: 30.0,
        }
    }
}

/// How UEs move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MobilityName {
    /// Not at all: a uniform place in the area.
    #[default]
    Static,
    /// To a uniform place of the area, a pause, and on to the next; from the stationary law on.
    RandomWaypoint,
    /// A velocity with memory, mirrored at the border of the area.
    GaussMarkov,
    /// At constant velocity from a uniform place of the area.
    Linear,
    /// Along the paths of a CSV file.
    Trace,
}

/// `[ue.mobility]`: where the UEs of a group are, in a cellular channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MobilityTable {
    /// How they move.
    pub kind: MobilityName,
    /// Centre of the area, east \[m\]. Default: the centre of the cells.
    #[schemars(range(min = -1e6, max = 1e6))]
    pub x_m: Option<f64>,
    /// Centre of the area, north \[m\].
    #[schemars(range(min = -1e6, max = 1e6))]
    pub y_m: Option<f64>,
    /// Radius of the area, a disc \[m\]. Default: as large as the cells together: a hexagon of the inter-site distance each, or of several `[[cell]]` a disc around all with half the distance of neighbours, at least 100 m, on top.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub radius_m: Option<f64>,
    /// "random-waypoint": least speed of a leg \[m/s\]. Default: 0.5.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1000))]
    pub min_speed_m_s: Option<f64>,
    /// "random-waypoint": largest speed of a leg \[m/s\]. Default: 1.5.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1000))]
    pub max_speed_m_s: Option<f64>,
    /// "random-waypoint": pause at each waypoint \[s\]. Default: 0.
    #[schemars(range(min = 0.0, max = 3e7))]
    pub pause_s: Option<f64>,
    /// "gauss-markov": mean speed \[m/s\], in a direction of its own for each UE. Default: 1.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub mean_speed_m_s: Option<f64>,
    /// "gauss-markov": standard deviation of each component of the velocity \[m/s\]. Default: 0.5.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub speed_std_m_s: Option<f64>,
    /// "gauss-markov": correlation of the velocity over a second. Default: 0.9.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: Option<f64>,
    /// "linear": speed \[m/s\]. Default: 1.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub speed_m_s: Option<f64>,
    /// "linear": direction, counter-clockwise from east \[degrees\]. Default: 0.
    #[schemars(range(min = -360.0, max = 360.0))]
    pub heading_deg: Option<f64>,
    /// "linear": whether a UE that leaves the area enters it again at the opposite side. Default: false.
    pub wrap: Option<bool>,
    /// "trace": CSV with the columns `time_s, ue, x_m, y_m`, `ue` counted within the group from 0; linear in between.
    pub path: Option<String>,
}

impl MobilityTable {
    /// Least and largest speed of a leg \[m/s\], of "random-waypoint".
    pub fn waypoint_speeds_m_s(&self) -> (f64, f64) {
        (self.min_speed_m_s.unwrap_or(0.5), self.max_speed_m_s.unwrap_or(1.5))
    }
}
