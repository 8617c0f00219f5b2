//! What devices, batteries and those who observe them say about each other.

use crate::control::Observed;
use crate::scenario::device_table::DeviceTable;
use crate::scenario::problem::Problem;
use crate::scenario::schema::Scenario;

/// Devices of the scenario's own, and batteries that are observed.
pub(super) fn check_energy(problems: &mut Vec<Problem>, scenario: &Scenario) {
    for (index, table) in scenario.device.iter().enumerate() {
        check_device_table(problems, &format!("device[{index}]"), table);
    }
    let controllers = scenario.controller.tables();
    for (index, table) in controllers.iter().enumerate() {
        if !table.kind.is_learner() || !table.observe.contains(&Observed::Battery) {
            continue;
        }
        let names = |ue: &Option<String>| controllers.len() == 1 || (ue.is_some() && *ue == table.name);
        if let Some(without) = scenario.ue.iter().find(|ue| names(&ue.controller) && ue.battery_j.is_none()) {
            let path = format!("{}.observe", scenario.controller.path("controller", index));
            problems.push(
                Problem::error(path, format!("the UEs of group {:?} have no battery to observe", without.name))
                    .with_value("\"battery\"")
                    .with_hint("set ue.battery_j, or leave \"battery\" out of observe"),
            );
        }
    }
}

/// A device says how fast it is, and what it takes, in one way.
pub(super) fn check_device_table(problems: &mut Vec<Problem>, path: &str, table: &DeviceTable) {
    let key = |name: &str| format!("{path}.{name}");
    let by_clock = [
        ("clock_ghz", table.clock_ghz.is_some()),
        ("flop_per_cycle", table.flop_per_cycle.is_some()),
        ("kappa", table.kappa.is_some()),
    ];
    let of_roofline = [
        ("peak_tflops", table.peak_tflops.is_some()),
        ("compute_efficiency", table.compute_efficiency != 1.0),
        ("memory_gb_s", table.memory_gb_s.is_some()),
        ("memory_efficiency", table.memory_efficiency != 1.0),
        ("decode_compute_efficiency", table.decode_compute_efficiency.is_some()),
        ("decode_memory_efficiency", table.decode_memory_efficiency.is_some()),
    ];
    let per_work = [
        ("energy_per_flop_pj", table.energy_per_flop_pj.is_some()),
        ("energy_per_byte_pj", table.energy_per_byte_pj.is_some()),
    ];
    let given = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, given)| *given).map(|&(name, _)| name);
    if let Some(clock) = given(&by_clock) {
        if let Some(other) = given(&of_roofline) {
            let message =
                format!("{other} belongs to the roofline, and {clock} to times by the clock: a device has one");
            problems.push(Problem::error(key(other), message).with_hint("leave one of them out"));
        }
        if let Some(other) = given(&per_work).or((table.power_w > 0.0).then_some("power_w")) {
            let message = format!("{clock} gives the energy by κ f² per cycle: {other} would count it twice");
            problems.push(Problem::error(key(other), message).with_hint("leave one of them out"));
        }
        for (name, given) in &by_clock[..2] {
            if !given {
                let message = format!("{clock} without {name}: times by the clock need clock_ghz and flop_per_cycle");
                problems.push(Problem::error(path, message).with_hint(format!("add {name} = …")));
            }
        }
        return;
    }
    for (name, given) in [of_roofline[0], of_roofline[2]] {
        if !given {
            problems.push(
                Problem::error(path, format!("{name} is missing"))
                    .with_hint(format!("add {name} = …; or clock_ghz and flop_per_cycle in place of the roofline")),
            );
        }
    }
    if let Some(other) = given(&per_work).filter(|_| table.power_w > 0.0) {
        let message = format!(
            "power_w is all that a device draws while it computes, and {other} adds that up from the work: together they \
             count it twice"
        );
        problems.push(
            Problem::error(key("power_w"), message).with_hint("leave one of them out; idle_power_w goes with either"),
        );
    }
}
