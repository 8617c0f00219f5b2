//! What keys of channels, radio, cells and UEs say about each other where channels follow from places.

use crate::channel::{LossUnit, Reception, TxNormalisation};
use crate::scenario::air::{ChannelKind, ChannelTable, DeliveryName, RadioTable, SharingKind};
use crate::scenario::cells::{
    AdaptsToName, CellTable, HandoverTable, LayoutName, LinkName, MobilityName, MobilityTable, PacketsName,
};
use crate::scenario::problem::Problem;
use crate::scenario::schema::Scenario;
use crate::scenario::validate::check_name;
use crate::scenario::values::{OneOrMany, Varying};

/// The spacings of 3GPP's numerologies \[kHz\].
const SPACINGS_KHZ: [u32; 4] = [15, 30, 60, 120];

/// Adds the problems of deliveries, links and cells.
pub fn check_cells(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let cellular = scenario.is_cellular();
    let tables = scenario.channel.tables();
    for (index, table) in tables.iter().enumerate() {
        let path = scenario.channel.path("channel", index);
        check_delivery(problems, &path, table);
        if table.kind == ChannelKind::Cellular {
            check_channel(problems, &path, table);
        } else if cellular {
            problems.push(
                Problem::error(format!("{path}.kind"), "channels of a scenario are all cellular or all statistical")
                    .with_value("\"statistical\"")
                    .with_hint("set kind = \"cellular\" for all, or for none"),
            );
        }
    }
    for (index, table) in tables.iter().enumerate().filter(|_| cellular) {
        // All UEs share one band and hear each other, by one rule.
        let first = &tables[0];
        let keys = [
            ("snr_gap_db", table.snr_gap_db != first.snr_gap_db),
            ("carrier_ghz", table.carrier_ghz != first.carrier_ghz),
            ("environment", table.environment != first.environment),
        ];
        for (key, _) in keys.iter().filter(|(_, differs)| *differs) {
            problems.push(
                Problem::error(
                    format!("{}.{key}", scenario.channel.path("channel", index)),
                    "the channels of a network of cells share one band and its base stations",
                )
                .with_hint(format!("give all channels the same {key}")),
            );
        }
    }
    check_weights(problems, scenario);
    check_radio(problems, scenario);
    check_layout(problems, scenario);
    for (index, ue) in scenario.ue.iter().enumerate() {
        check_mobility(problems, &format!("ue[{index}].mobility"), &ue.mobility, cellular);
    }
}

fn check_delivery(problems: &mut Vec<Problem>, path: &str, table: &ChannelTable) {
    let delivery = table.prompt_delivery();
    let needs = delivery == DeliveryName::Deadline;
    let takes = needs || delivery == DeliveryName::Am;
    if needs && table.delivery_deadline_ms.is_none() {
        problems.push(
            Problem::error(format!("{path}.delivery"), "delivery by a deadline needs the deadline")
                .with_hint("add delivery_deadline_ms = …"),
        );
    }
    if !takes && table.delivery_deadline_ms.is_some() {
        problems.push(
            Problem::error(format!("{path}.delivery_deadline_ms"), "only \"am\" and \"deadline\" have a deadline")
                .with_value(table.delivery_deadline_ms.unwrap_or_default())
                .with_hint("set delivery = \"deadline\", or leave it out"),
        );
    }
}

/// A cellular channel: what follows from places is not given.
fn check_channel(problems: &mut Vec<Problem>, path: &str, table: &ChannelTable) {
    let given = [
        ("noise_std", table.noise_std != Varying::Number(0.0)),
        ("loss_probability", table.loss_probability.is_some()),
        ("rayleigh_scale", table.rayleigh_scale.is_some()),
        ("gain_threshold", table.gain_threshold.is_some()),
        ("snr_db", table.snr_db.is_some()),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        problems.push(
            Problem::error(
                format!("{path}.{key}"),
                "in a cellular channel this follows from places, power and interference",
            )
            .with_hint("leave it out, or set kind = \"statistical\""),
        );
    }
    if table.loss_unit == LossUnit::ElementIid {
        problems.push(
            Problem::error(
                format!("{path}.loss_unit"),
                "single elements are lost with a given probability; in cells packets are lost, by their SINR",
            )
            .with_value("\"element-iid\"")
            .with_allowed("\"token-row\", \"chunk\" or \"interleaved\""),
        );
    }
    if table.reception != Reception::Digital && table.tx_normalisation == TxNormalisation::None {
        problems.push(
            Problem::error(
                format!("{path}.tx_normalisation"),
                "an analog transmission has the power that power control asks for: the tensor is scaled to it",
            )
            .with_value("\"none\"")
            .with_allowed("\"per-row\" or \"per-request\"")
            .with_hint("set it, or reception = \"digital\""),
        );
    }
}

/// Weights are for flows whose share of the airtime stays below 1.
fn check_weights(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let sharing = scenario.radio.sharing;
    let message = match sharing {
        SharingKind::FlowPs | SharingKind::Ideal => return,
        SharingKind::FlowPf => "with a multi-user gain a heavy flow would be faster than alone",
        SharingKind::SlotRoundRobin | SharingKind::SlotMaxCi | SharingKind::SlotPf => {
            "schedulers of slots know no weights"
        }
    };
    for (index, ue) in scenario.ue.iter().enumerate().filter(|(_, ue)| ue.weight != 1) {
        problems.push(
            Problem::error(format!("ue[{index}].weight"), message)
                .with_value(ue.weight)
                .with_allowed("1")
                .with_hint("set radio.sharing = \"flow-ps\", or leave weight out"),
        );
    }
}

fn check_radio(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let (radio, cellular) = (&scenario.radio, scenario.is_cellular());
    if radio.sharing == SharingKind::Ideal && radio.retransmission_delay_ms == 0.0 {
        problems.push(
            Problem::error(
                "radio.retransmission_delay_ms",
                "on an ideal radio a packet that is sent again without delay would stop the time",
            )
            .with_value(0)
            .with_allowed("above 0"),
        );
    }
    check_measurements(problems, scenario);
    if !SPACINGS_KHZ.contains(&radio.subcarrier_spacing_khz) {
        problems.push(
            Problem::error("radio.subcarrier_spacing_khz", "no spacing of 3GPP's numerologies")
                .with_value(radio.subcarrier_spacing_khz)
                .with_allowed("15, 30, 60 or 120"),
        );
    }
    check_slots(problems, scenario);
    if cellular {
        return;
    }
    if let Some(link @ (LinkName::Shannon | LinkName::Cqi)) = radio.link {
        let name = if link == LinkName::Shannon { "\"shannon\"" } else { "\"cqi\"" };
        problems.push(
            Problem::error("radio.link", "a statistical channel has no SINR that a rate could be chosen for")
                .with_value(name)
                .with_allowed("\"fixed\"")
                .with_hint("set channel.kind = \"cellular\""),
        );
    }
    if radio.packets == PacketsName::TransportBlock {
        problems.push(
            Problem::error("radio.packets", "transport blocks have the size of their rate, which is chosen in cells")
                .with_value("\"transport-block\"")
                .with_allowed("\"mtu\"")
                .with_hint("set channel.kind = \"cellular\", or radio.packet_bytes"),
        );
    }
}

/// Measurements of moving UEs, times cells, above which a run hears of it: a quarter of an hour.
const MANY_MEASUREMENTS: f64 = 2e9;

/// Slots that a run may have, times UEs: each of these looks takes some nanoseconds if the UE has something to send.
const MOST_SLOT_WORK: f64 = 1e10;

/// Slot by slot: what the scheduler needs to know, and what it takes.
fn check_slots(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let sharing = scenario.radio.sharing;
    let by_rate = matches!(sharing, SharingKind::SlotMaxCi | SharingKind::SlotPf);
    if !by_rate && sharing != SharingKind::SlotRoundRobin {
        let reports = scenario.is_cellular() && scenario.radio.link_adapts_to == AdaptsToName::Reports;
        if !reports && scenario.radio.csi_period_ms != RadioTable::default().csi_period_ms {
            problems.push(
                Problem::warning(
                    "radio.csi_period_ms",
                    "this plays no part: radio.sharing is not slot by slot, and no rate follows reports",
                )
                .with_hint("leave it out, or set link_adapts_to = \"reports\" in cells"),
            );
        }
        return;
    }
    if by_rate && (!scenario.is_cellular() || scenario.radio.link == Some(LinkName::Fixed)) {
        problems.push(
            Problem::error("radio.sharing", "all links have one rate: there is none to choose by").with_hint(
                "set channel.kind = \"cellular\" with radio.link = \"cqi\", or sharing = \"slot-round-robin\"",
            ),
        );
    }
    for (index, table) in scenario.channel.tables().iter().enumerate() {
        if table.reception != Reception::Digital {
            problems.push(
                Problem::error(
                    scenario.channel.path("channel", index) + ".reception",
                    "slots carry bits, not analog values",
                )
                .with_hint("set reception = \"digital\", or radio.sharing = \"flow-ps\""),
            );
        }
    }
    let slot_s = 15e-3 / f64::from(scenario.radio.subcarrier_spacing_khz.max(1));
    let ues: f64 = scenario.ue.iter().map(|ue| f64::from(ue.count)).sum();
    let work = ues * (scenario.duration_s + scenario.drain_limit_s) / slot_s;
    if work > MOST_SLOT_WORK {
        let message = format!(
            "slot by slot this takes up to {work:.0e} looks at a flow ({ues} UEs, slots of {} ms), more than the machine has \
             time for",
            slot_s * 1e3
        );
        problems.push(
            Problem::error("radio.sharing", message)
                .with_allowed(format!("up to {MOST_SLOT_WORK:.0e}"))
                .with_hint("set sharing = \"flow-ps\" or \"flow-pf\", or take fewer UEs or a shorter time"),
        );
    }
}

/// Moving UEs measure all cells, whether they send or not.
fn check_measurements(problems: &mut Vec<Problem>, scenario: &Scenario) {
    if !scenario.is_cellular() {
        return;
    }
    let moving = scenario.ue.iter().filter(|ue| ue.mobility.kind != MobilityName::Static);
    let moving: f64 = moving.map(|ue| f64::from(ue.count)).sum();
    let cells: f64 = scenario.cell.tables().iter().map(|cell| f64::from(cell_count(cell))).sum();
    let measurements = moving * cells * scenario.duration_s / (1e-3 * scenario.handover.measurement_interval_ms);
    if measurements > MANY_MEASUREMENTS {
        let message = format!("{moving} moving UEs look at a cell up to {measurements:.0e} times, which takes a while");
        problems.push(
            Problem::warning("handover.measurement_interval_ms", message)
                .with_value(scenario.handover.measurement_interval_ms)
                .with_hint("measure less often: raise it"),
        );
    }
}

fn cell_count(cell: &CellTable) -> u32 {
    if cell.layout == LayoutName::Hexagonal { cell.sites } else { 1 }
}

fn check_layout(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let default = CellTable::default();
    if !scenario.is_cellular() {
        let set = scenario.cell != OneOrMany::One(default);
        for (key, set) in [("cell", set), ("handover", scenario.handover != HandoverTable::default())] {
            if set {
                let message = format!("this plays no part: no channel is cellular, so [{key}] has nothing to say");
                problems.push(Problem::warning(key, message).with_hint("set channel.kind = \"cellular\""));
            }
        }
        return;
    }
    for (index, table) in scenario.cell.tables().iter().enumerate() {
        let path = scenario.cell.path("cell", index);
        if let Some(name) = &table.name {
            check_name(problems, &format!("{path}.name"), name);
        }
        let several = matches!(scenario.cell, OneOrMany::Many(_));
        if several && table.layout == LayoutName::Hexagonal {
            problems.push(
                Problem::error(format!("{path}.layout"), "contradictory layouts: a grid, and cells one by one")
                    .with_value("\"hexagonal\"")
                    .with_hint("give one [cell] with the layout, or a place to each [[cell]]"),
            );
        }
        if table.layout == LayoutName::Single {
            let keys = [
                ("sites", table.sites != default.sites),
                ("inter_site_distance_m", several && table.inter_site_distance_m != default.inter_site_distance_m),
            ];
            for (key, _) in keys.iter().filter(|(_, set)| *set) {
                problems.push(
                    Problem::error(format!("{path}.{key}"), "contradictory layouts: a single cell has no grid")
                        .with_hint("set layout = \"hexagonal\", or leave it out"),
                );
            }
        }
    }
    let names: Vec<&str> = scenario.cell.tables().iter().filter_map(|table| table.name.as_deref()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            problems.push(Problem::error("cell", "two [[cell]] have one name").with_value(format!("{name:?}")));
        }
    }
}

fn check_mobility(problems: &mut Vec<Problem>, path: &str, table: &MobilityTable, cellular: bool) {
    if !cellular {
        if *table != MobilityTable::default() {
            problems.push(
                Problem::warning(path, "this plays no part: the channel is statistical, UEs have no place")
                    .with_hint("set channel.kind = \"cellular\", or leave it out"),
            );
        }
        return;
    }
    let keys = [
        ("min_speed_m_s", table.min_speed_m_s.is_some(), MobilityName::RandomWaypoint, "\"random-waypoint\""),
        ("max_speed_m_s", table.max_speed_m_s.is_some(), MobilityName::RandomWaypoint, "\"random-waypoint\""),
        ("pause_s", table.pause_s.is_some(), MobilityName::RandomWaypoint, "\"random-waypoint\""),
        ("mean_speed_m_s", table.mean_speed_m_s.is_some(), MobilityName::GaussMarkov, "\"gauss-markov\""),
        ("speed_std_m_s", table.speed_std_m_s.is_some(), MobilityName::GaussMarkov, "\"gauss-markov\""),
        ("alpha", table.alpha.is_some(), MobilityName::GaussMarkov, "\"gauss-markov\""),
        ("speed_m_s", table.speed_m_s.is_some(), MobilityName::Linear, "\"linear\""),
        ("heading_deg", table.heading_deg.is_some(), MobilityName::Linear, "\"linear\""),
        ("wrap", table.wrap.is_some(), MobilityName::Linear, "\"linear\""),
        ("path", table.path.is_some(), MobilityName::Trace, "\"trace\""),
    ];
    for (key, given, kind, name) in keys {
        if given && table.kind != kind {
            problems.push(
                Problem::error(format!("{path}.{key}"), format!("{key} belongs to kind = {name}"))
                    .with_hint("leave it out, or change the kind"),
            );
        }
    }
    if table.kind == MobilityName::Trace && table.path.is_none() {
        problems.push(
            Problem::error(format!("{path}.kind"), "a trace needs its file")
                .with_hint("add path = \"….csv\" with the columns time_s, ue, x_m and y_m"),
        );
    }
    let (min, max) = table.waypoint_speeds_m_s();
    if min > max {
        let given = |speed: Option<f64>| if speed.is_some() { "" } else { ", its default" };
        problems.push(
            Problem::error(
                path,
                format!(
                    "min_speed_m_s = {min}{} is above max_speed_m_s = {max}{}",
                    given(table.min_speed_m_s),
                    given(table.max_speed_m_s)
                ),
            )
            .with_hint("give both"),
        );
    }
}
