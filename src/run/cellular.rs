//! Cells with places, from the scenario's tables.

use std::sync::Arc;

use crate::channel::{Area, Environment, LargeScaleSpec, Mobility, MobilityTrace};
use crate::kernel::CapacityGain;
use crate::network::cells::{AdaptsTo, Association, CellularSpec, HandoverSpec, InFlight, Placement, Site};
use crate::network::spec::{Sharing, SlotSpec};
use crate::radio::{
    PowerControl, RateRule, SlotScheduler, noise_dbm, rayleigh_capacity_gain, resource_blocks, slot_nanos,
};
use crate::scenario::Problem;
use crate::scenario::air::{ChannelTable, SharingKind};
use crate::scenario::cells::{
    AdaptsToName, AssociationName, CellTable, HandoverTable, InFlightName, LayoutName, LinkName, MobilityName,
    MobilityTable, PacketsName,
};
use crate::scenario::nodes::UeTable;
use crate::scenario::schema::Scenario;
use crate::scenario::values::OneOrMany;
use crate::units::{SimTime, ratio_from_db};

/// A disc around `[[cell]]`s reaches at least so far beyond them \[m\].
const LEAST_REACH_M: f64 = 100.0;

/// The cells of a scenario, if it has some.
pub(super) fn cellular(scenario: &Scenario) -> Option<CellularSpec> {
    if !scenario.is_cellular() {
        return None;
    }
    let (radio, channel) = (&scenario.radio, scenario.channel.tables().first()?);
    let bandwidth_hz = radio.bandwidth_mhz * 1e6;
    let gap = ratio_from_db(channel.snr_gap_db);
    let blocks = resource_blocks(bandwidth_hz, radio.subcarrier_spacing_khz).unwrap_or(0);
    Some(CellularSpec {
        sites: sites(scenario, channel.environment),
        rate: match radio.link.unwrap_or(LinkName::Cqi) {
            LinkName::Fixed => RateRule::Fixed { efficiency: radio.spectral_efficiency_bps_hz, gap },
            LinkName::Shannon => RateRule::Shannon { gap },
            LinkName::Cqi => RateRule::Cqi { slope_db: radio.bler_slope_db },
        },
        adapts_to: match radio.link_adapts_to {
            AdaptsToName::Mean => AdaptsTo::Mean,
            AdaptsToName::Instant => AdaptsTo::Instant,
            AdaptsToName::Reports => AdaptsTo::Reports(SimTime::from_secs_saturating(radio.csi_period_ms * 1e-3)),
        },
        margin: ratio_from_db(radio.link_margin_db),
        bandwidth_hz,
        noise_w: 1e-3 * ratio_from_db(noise_dbm(bandwidth_hz, radio.noise_figure_db)),
        power: PowerControl {
            max_dbm: radio.tx_power_dbm,
            p0_dbm: radio.p0_dbm,
            compensation: radio.path_loss_compensation,
            resource_blocks: blocks,
        },
        power_unit_mw: radio.power_unit_mw,
        interference: radio.interference,
        handover: handover(&scenario.handover),
        slot_blocks: (radio.packets == PacketsName::TransportBlock).then_some(blocks),
        memory_s: radio.estimate_memory_s,
    })
}

fn handover(table: &HandoverTable) -> HandoverSpec {
    let time = |ms: f64| SimTime::from_secs_saturating(ms * 1e-3);
    HandoverSpec {
        association: match table.association {
            AssociationName::Nearest => Association::Nearest,
            AssociationName::Strongest => Association::Strongest,
        },
        hysteresis_db: table.hysteresis_db,
        time_to_trigger: time(table.time_to_trigger_ms),
        interval: time(table.measurement_interval_ms),
        in_flight: match table.in_flight {
            InFlightName::Carried => InFlight::Carried,
            InFlightName::Restarted => InFlight::Restarted,
        },
        interruption: time(table.interruption_ms),
    }
}

/// Path loss and shadowing of a channel, if it is cellular.
pub(super) fn large_scale(table: &ChannelTable, scenario: &Scenario) -> Option<LargeScaleSpec> {
    scenario.is_cellular().then(|| LargeScaleSpec {
        environment: table.environment,
        carrier_ghz: table.carrier_ghz,
        // Each site has its own.
        bs_height_m: table.environment.bs_height_m(),
        ut_height_m: table.ut_height_m.unwrap_or(table.environment.ut_height_m()),
        line_of_sight: table.line_of_sight,
        shadowing: table.shadowing,
    })
}

/// Who gets the airtime of a cell.
pub(super) fn sharing(scenario: &Scenario) -> Sharing {
    match scenario.radio.sharing {
        SharingKind::FlowPs | SharingKind::Ideal => Sharing::Flows,
        SharingKind::SlotRoundRobin => slots(scenario, SlotScheduler::RoundRobin),
        SharingKind::SlotMaxCi => slots(scenario, SlotScheduler::MaxCi),
        SharingKind::SlotPf => slots(scenario, SlotScheduler::PROPORTIONAL_FAIR),
        SharingKind::FlowPf => Sharing::FlowsWithGain(multi_user_gain(scenario.radio.multi_user_snr_db)),
    }
}

fn slots(scenario: &Scenario, scheduler: SlotScheduler) -> Sharing {
    let radio = &scenario.radio;
    Sharing::Slots(SlotSpec {
        scheduler,
        // `validate` has refused other spacings than those of the table.
        slot: SimTime::from_nanos(slot_nanos(radio.subcarrier_spacing_khz).unwrap_or(1_000_000)),
        csi_period: SimTime::from_secs_saturating(radio.csi_period_ms * 1e-3),
    })
}

fn multi_user_gain(mean_snr_db: f64) -> CapacityGain {
    rayleigh_capacity_gain(ratio_from_db(mean_snr_db))
}

/// The base stations: of a layout, or one by one.
pub(super) fn sites(scenario: &Scenario, environment: Environment) -> Vec<Site> {
    let site = |table: &CellTable, name: String, [x_m, y_m]: [f64; 2]| Site {
        name,
        x_m,
        y_m,
        height_m: table.height_m.unwrap_or(environment.bs_height_m()),
        antenna_gain_db: table.antenna_gain_db,
    };
    match &scenario.cell {
        OneOrMany::One(table) if table.layout == LayoutName::Hexagonal => {
            let places = hexagonal(table.sites, table.inter_site_distance_m, [table.x_m, table.y_m]);
            places.into_iter().enumerate().map(|(index, place)| site(table, index.to_string(), place)).collect()
        }
        cells => {
            let of = |(index, table): (usize, &CellTable)| {
                site(table, table.name.clone().unwrap_or_else(|| index.to_string()), [table.x_m, table.y_m])
            };
            cells.tables().iter().enumerate().map(of).collect()
        }
    }
}

/// `count` points of a hexagonal grid \[m\], ring by ring around `centre`, each ring from its
/// easternmost point on counter-clockwise.
fn hexagonal(count: u32, distance_m: f64, [x_m, y_m]: [f64; 2]) -> Vec<[f64; 2]> {
    // Axial coordinates: q to the east, r to the north-east by 60 degrees.
    const SIDES: [(i64, i64); 6] = [(-1, 1), (-1, 0), (0, -1), (1, -1), (1, 0), (0, 1)];
    let mut places = vec![(0i64, 0i64)];
    let mut ring = 1;
    while places.len() < count as usize {
        let (mut q, mut r) = (ring, 0);
        for (dq, dr) in SIDES {
            for _ in 0..ring {
                places.push((q, r));
                (q, r) = (q + dq, r + dr);
            }
        }
        ring += 1;
    }
    places.truncate(count as usize);
    let height = 0.75f64.sqrt();
    let place =
        |(q, r): (i64, i64)| [x_m + distance_m * (q as f64 + 0.5 * r as f64), y_m + distance_m * height * r as f64];
    places.into_iter().map(place).collect()
}

/// Where the UEs of a group are.
pub(super) fn placement(ue: &UeTable, scenario: &Scenario, trace: Option<Arc<MobilityTrace>>) -> Placement {
    let table = &ue.mobility;
    Placement { mobility: mobility(table, trace), area: area(table, scenario) }
}

fn area(table: &MobilityTable, scenario: &Scenario) -> Area {
    let environment = scenario.channel.tables().first().map_or(Environment::Uma, |channel| channel.environment);
    let sites = sites(scenario, environment);
    let count = sites.len().max(1) as f64;
    let centre = match &scenario.cell {
        OneOrMany::One(cell) => [cell.x_m, cell.y_m],
        OneOrMany::Many(_) => [
            sites.iter().map(|site| site.x_m).sum::<f64>() / count,
            sites.iter().map(|site| site.y_m).sum::<f64>() / count,
        ],
    };
    let radius_m = match &scenario.cell {
        // As many hexagons of area √3/2·ISD² as there are sites.
        OneOrMany::One(cell) => cell.inter_site_distance_m * (0.75f64.sqrt() * count / std::f64::consts::PI).sqrt(),
        OneOrMany::Many(_) => {
            let reach = sites.iter().map(|site| (site.x_m - centre[0]).hypot(site.y_m - centre[1])).fold(0.0, f64::max);
            let near = |a: &Site, b: &Site| (a.x_m - b.x_m).hypot(a.y_m - b.y_m);
            let pairs = sites.iter().enumerate().flat_map(|(i, a)| sites[i + 1..].iter().map(move |b| near(a, b)));
            let nearest = pairs.fold(f64::INFINITY, f64::min);
            let beyond = if nearest.is_finite() { (0.5 * nearest).max(LEAST_REACH_M) } else { LEAST_REACH_M };
            reach + beyond
        }
    };
    Area::Disc {
        x_m: table.x_m.unwrap_or(centre[0]),
        y_m: table.y_m.unwrap_or(centre[1]),
        radius_m: table.radius_m.unwrap_or(radius_m),
    }
}

fn mobility(table: &MobilityTable, trace: Option<Arc<MobilityTrace>>) -> Mobility {
    match (table.kind, trace) {
        (MobilityName::Trace, Some(trace)) => Mobility::Trace(trace),
        (MobilityName::Static | MobilityName::Trace, _) => Mobility::Static,
        (MobilityName::RandomWaypoint, _) => Mobility::RandomWaypoint {
            min_speed_m_s: table.waypoint_speeds_m_s().0,
            max_speed_m_s: table.waypoint_speeds_m_s().1,
            pause_s: table.pause_s.unwrap_or(0.0),
        },
        (MobilityName::GaussMarkov, _) => Mobility::GaussMarkov {
            mean_speed_m_s: table.mean_speed_m_s.unwrap_or(1.0),
            speed_std_m_s: table.speed_std_m_s.unwrap_or(0.5),
            alpha: table.alpha.unwrap_or(0.9),
        },
        (MobilityName::Linear, _) => Mobility::Linear {
            speed_m_s: table.speed_m_s.unwrap_or(1.0),
            heading_deg: table.heading_deg.unwrap_or(0.0),
            wrap: table.wrap.unwrap_or(false),
        },
    }
}

/// What only the built cells can tell: places that coincide, areas that are too small to move in.
pub(super) fn check(scenario: &Scenario, placements: &[Placement], problems: &mut Vec<Problem>) {
    let Some(cells) = cellular(scenario) else { return };
    for (index, site) in cells.sites.iter().enumerate() {
        let same = |other: &&Site| other.x_m == site.x_m && other.y_m == site.y_m;
        if let Some(other) = cells.sites[..index].iter().find(same) {
            let message = format!("cells {} and {} stand at one place", other.name, site.name);
            problems.push(
                Problem::error(scenario.cell.path("cell", index), message)
                    .with_value(format!("({}, {}) m", site.x_m, site.y_m))
                    .with_hint("give each cell an x_m and y_m of its own, or one [cell] a layout"),
            );
        }
    }
    let spacing_known = slot_nanos(scenario.radio.subcarrier_spacing_khz).is_some();
    if cells.power.resource_blocks == 0 && spacing_known {
        problems.push(
            Problem::error("radio.bandwidth_mhz", "the band is too narrow for a single resource block")
                .with_value(scenario.radio.bandwidth_mhz)
                .with_hint("widen it, or lower radio.subcarrier_spacing_khz"),
        );
    }
    for (index, placement) in placements.iter().enumerate() {
        let path = format!("ue[{index}].mobility");
        let refuse = |message: String| {
            Problem::error(&path, message).with_hint("see `splitwave schema --markdown`, [ue.mobility], for the ranges")
        };
        if let Err(error) = placement.area.check() {
            problems.push(refuse(error.to_string()));
        } else if let Err(error) = placement.mobility.check(&placement.area) {
            problems.push(refuse(error.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hexagonal_grid_has_six_neighbours_at_its_distance() {
        let places = hexagonal(19, 500.0, [100.0, -50.0]);
        assert_eq!(places.len(), 19);
        let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (i, &a) in places.iter().enumerate() {
            assert!(places[..i].iter().all(|&b| distance(a, b) > 499.999), "{i}");
        }
        let at = |ring: f64| places.iter().filter(|&&place| (distance(place, places[0]) - ring).abs() < 1e-6).count();
        assert_eq!((at(500.0), at(500.0 * 3f64.sqrt()), at(1000.0)), (6, 6, 6));
        assert_eq!(places[0], [100.0, -50.0]);
        assert_eq!(hexagonal(4, 1.0, [0.0; 2])[1], [1.0, 0.0]);
    }
}
