//! Batteries that empty: when, what becomes of the requests, and that no joule is lost.

use std::path::Path;

use splitwave::network::energy::UeEnergy;
use splitwave::network::ports::{Controller, Decision, Observation};
use splitwave::network::rows::Outcome;
use splitwave::scenario::LoadedScenario;
use splitwave::units::SimTime;

use crate::cli_support::{Place, csv_rows, project, records, summary_of_all};
use crate::network_support::{
    DEVICES, Finished, assembly, check, lottery, run, seconds, simulate, simulate_with, trace,
};

/// TR 38.840 at 23 dBm, 3 mW a unit \[W\].
const TX_W: f64 = (250.0 + 2.267 * (199.526_231_496_887_96 - 1.0)) * 3e-3;

/// Phones of 4 W at work and `idle` W else, two layers of 32 each: 9.0945 ms for a prompt of 16 tokens.
fn phones(arrivals: &[f64], top: &str, ue: &str, idle: &str, edge: &str) -> Finished {
    let file = trace(arrivals, 16);
    let devices = DEVICES.replace("power_w = 4.0", &format!("power_w = 4.0\nidle_power_w = {idle}"));
    let duration = if top.contains("duration_s") { "" } else { "duration_s = 20.0" };
    run(&format!(
        "name = \"battery\"
{duration}
model.source = \"none\"
quality.source = \"none\"
split.initial = 2
controller.kind = \"fixed\"
{top}
[channel]
fading = \"none\"
[[ue]]
name = \"phone\"
device = \"phone\"
workload.kind = \"trace\"
workload.path = \"{}\"
{ue}
[edge]
device = \"server\"
{edge}
{devices}",
        file.path().display()
    ))
}

fn near(found: Option<SimTime>, expected_s: f64) {
    let found = found.expect("an instant");
    assert!((found.as_nanos() as f64 - expected_s * 1e9).abs() <= 2.0, "{found} s, not {expected_s} s");
}

#[test]
fn waiting_empties_a_battery() {
    let finished = phones(&[1.0, 15.0], "", "battery_j = 100.0", "10.0", "");
    // 10 W but for the compute of the first request, at 4 W; and what it sends.
    let row = &finished.rows[0];
    let (busy, sent) = (row.ue_compute_s.unwrap().as_secs_f64(), row.tx_energy_j.unwrap());
    assert_eq!(row.outcome, Outcome::Completed);
    near(finished.energies[&0].battery_empty_at, (100.0 - 4.0 * busy - sent) / 10.0 + busy);
    let late = &finished.rows[1];
    assert_eq!((late.outcome, late.battery_j, late.ue_wait_s), (Outcome::Dropped, Some(0.0), None));
    // The charge at the end of the first request.
    let until = 1.0 + row.e2e_s.unwrap().as_secs_f64();
    let left = 100.0 - 10.0 * (until - busy) - 4.0 * busy - sent;
    assert!((row.battery_j.unwrap() - left).abs() < 1e-7, "{:?}, not {left}", row.battery_j);
    // Empty at 10 s sharp without requests; nothing that comes after the run.
    assert_eq!(phones(&[15.0], "", "battery_j = 100.0", "10.0", "").energies[&0].battery_empty_at, Some(seconds(10.0)));
    let full = phones(&[1.0], "duration_s = 5.0", "battery_j = 100.0", "10.0", "");
    assert_eq!(full.energies[&0].battery_empty_at, None);
}

#[test]
fn a_battery_empties_in_the_middle_of_a_service() {
    // Nothing drains it for a second; then 4 W for 5 of 9.0945 ms.
    let finished = phones(&[1.0, 1.0, 3.0], "", "battery_j = 0.02", "0.0", "");
    assert_eq!(finished.energies[&0].battery_empty_at, Some(seconds(1.005)));
    let [first, second, third] = &finished.rows[..] else { panic!("three rows") };
    assert_eq!((first.outcome, first.last_phase(), first.spent()), (Outcome::Outage, Some(1), seconds(0.005)));
    assert!((first.ue_energy_j.unwrap() - 0.02).abs() < 1e-15);
    assert_eq!(
        (second.outcome, second.last_phase(), second.ue_wait_s),
        (Outcome::Outage, Some(0), Some(seconds(0.005)))
    );
    assert_eq!((third.outcome, third.battery_j), (Outcome::Dropped, Some(0.0)));
    assert!(finished.rows.iter().all(|row| row.ppl.is_none()));
}

#[test]
fn a_battery_empties_on_a_shared_uplink() {
    // 16·4096 values at 1 MHz: 32.768 ms alone on the air. Both send at half speed, and the second group has mains.
    let file = trace(&[0.0], 16);
    let mains = format!(
        "[[ue]]\nname = \"mains\"\ndevice = \"phone\"\nworkload.kind = \"trace\"\nworkload.path = \"{}\"\n[edge]",
        file.path().display()
    );
    let text = |battery: f64| {
        format!(
            "name = \"shared\"\nduration_s = 1.0\nmodel.source = \"none\"\nquality.source = \"none\"\nsplit.initial = 2
controller.kind = \"fixed\"\nradio.bandwidth_mhz = 1.0\n[channel]\nfading = \"none\"\n[[ue]]\nname = \"phone\"
device = \"phone\"\nbattery_j = {battery}\nworkload.kind = \"trace\"\nworkload.path = \"{}\"
{mains}\ndevice = \"server\"\n{DEVICES}",
            file.path().display()
        )
    };
    let full = run(&text(1.0));
    let computing = full.rows[0].ue_compute_s.unwrap().as_secs_f64();
    let airtime = full.rows[0].uplink_air_s.unwrap().as_secs_f64();
    assert!((airtime - 0.032_768).abs() < 1e-9);
    // Enough to compute, and for 10 ms of its airtime, which take 20 ms.
    let finished = run(&text(4.0 * computing + TX_W * 0.010));
    near(finished.energies[&0].battery_empty_at, computing + 0.020);
    let by_ue = |ue: u32| finished.rows.iter().find(|row| row.ue_id == ue).unwrap();
    let (dead, other) = (by_ue(0), by_ue(1));
    assert_eq!((dead.outcome, dead.last_phase()), (Outcome::Outage, Some(3)));
    near(dead.uplink_air_s, 0.010);
    // From then on the other one is alone: 10 ms served in 20 ms, then the rest.
    let sojourn = other.uplink_air_s.unwrap() + other.uplink_wait_s.unwrap();
    near(Some(sojourn), 0.020 + airtime - 0.010);
    assert_eq!((other.outcome, other.battery_j), (Outcome::Completed, None));
}

#[test]
fn what_is_at_the_edge_is_lost_with_the_ue_and_makes_room() {
    // Idle power empties it while the edge computes for 100 ms; the next one there begins at once.
    let file = trace(&[0.0], 16);
    let second = format!(
        "[[ue]]\nname = \"mains\"\ndevice = \"phone\"\nworkload.kind = \"trace\"\nworkload.path = \"{}\"\n",
        file.path().display()
    );
    for edge in ["discipline = \"fifo\"", "discipline = \"ps\""] {
        let finished = phones(
            &[0.0],
            "radio.sharing = \"ideal\"",
            &format!("battery_j = 0.9\n{second}"),
            "20.0",
            &format!("{edge}\nservice_time = {{ law = \"deterministic\", mean_ms = 100.0 }}"),
        );
        let by_ue = |ue: u32| finished.rows.iter().find(|row| row.ue_id == ue).unwrap();
        let (dead, other) = (by_ue(0), by_ue(1));
        let busy = dead.ue_compute_s.unwrap().as_secs_f64();
        let died = busy + (0.9 - 4.0 * busy) / 20.0;
        near(finished.energies[&0].battery_empty_at, died);
        assert_eq!((dead.outcome, dead.last_phase()), (Outcome::Outage, Some(5)), "{edge}");
        assert_eq!((other.outcome, other.edge_compute_s), (Outcome::Completed, Some(seconds(0.1))));
        // It waits until the first one dies; or it has had half of the time until then.
        let had = if edge.contains("fifo") { 0.0 } else { (died - busy) / 2.0 };
        near(Some(other.edge_wait_s.unwrap() + other.edge_compute_s.unwrap()), died - busy + 0.1 - had);
    }
}

/// Left and drawn add up to the charge at the start, of each UE.
fn conserved(finished: &Finished, battery_j: f64, ues: u32) -> usize {
    let mut empty = 0;
    for ue in 0..ues {
        let own = finished.rows.iter().filter(|row| row.ue_id == ue);
        let worked: f64 = own.map(|row| row.ue_energy_j.unwrap_or(0.0) + row.tx_energy_j.unwrap_or(0.0)).sum();
        let UeEnergy { idle_j, sleep_j, battery_left_j, battery_empty_at } = finished.energies[&ue];
        let drawn = worked + idle_j.unwrap_or(0.0) + sleep_j.unwrap_or(0.0);
        let left = battery_left_j.expect("a battery");
        // The instant is a whole nanosecond, in which it draws less than 10 W.
        let overdrawn = if battery_empty_at.is_some() { 1e-8 } else { 0.0 };
        assert!(
            (battery_j - left - drawn).abs() <= 1e-9 * battery_j + overdrawn,
            "UE {ue}: {left} left, {drawn} of {battery_j}"
        );
        assert_eq!(left == 0.0, battery_empty_at.is_some());
        empty += usize::from(battery_empty_at.is_some());
    }
    empty
}

#[test]
fn no_joule_is_lost() {
    let powers = [
        "power_w = 4.0\nidle_power_w = 0.7",
        "energy_per_flop_pj = 2.0\nenergy_per_byte_pj = 60.0\nidle_power_w = 0.7\ndecode_memory_efficiency = 0.5",
        "power_w = 3.0\nidle_power_w = 0.5\nload_gb_s = 6.0",
    ];
    let edges = ["", "discipline = \"ps\"", "servers = 2"];
    let (mut empty, mut outages, mut completed) = (0, 0, 0);
    for (mode, (power, edge)) in ["split", "edge-only", "device-only"]
        .iter()
        .flat_map(|mode| powers.iter().zip(edges).map(move |both| (mode, both)))
    {
        for seed in 1..=2 {
            let devices = DEVICES.replace("power_w = 4.0", power);
            let battery_j = if *mode == "device-only" { 12.0 } else { 6.0 };
            let ues = format!("count = 8\nbattery_j = {battery_j}\ndeadline_ms = 2500.0");
            let text = lottery("random", edge)
                .replace(DEVICES, &devices)
                .replace(
                    "name = \"lottery\"",
                    &format!("name = \"lottery\"\nservice.mode = \"{mode}\"\nquality.source = \"none\""),
                )
                .replace("sharing = \"ideal\"", "bandwidth_mhz = 2.0\nsleep_power_units = 45.0")
                .replace("count = 3", &ues)
                .replace("rate_per_s = 1.0,", "rate_per_s = 1.0, output_tokens = 4,");
            let assembly = assembly(&text);
            let finished = simulate(&assembly, seed, 0);
            check(&assembly, &finished);
            empty += conserved(&finished, battery_j, 8);
            outages +=
                finished.rows.iter().filter(|r| r.outcome == Outcome::Outage && r.battery_j == Some(0.0)).count();
            completed += finished.count(Outcome::Completed);
        }
    }
    // Of 144 batteries most empty and some don't.
    assert!((100..144).contains(&empty) && outages > 10 && completed > 100, "{empty}, {outages}, {completed}");
}

/// A client that asks again at once doesn't ask a dead UE forever.
#[test]
fn a_closed_loop_ends_with_the_battery() {
    let text = lottery("random", "")
        .replace("count = 3", "count = 3\nbattery_j = 0.05")
        .replace("rate_per_s = 1.0,", "kind = \"closed-loop\", think_time_s = 0.0,")
        .replace("name = \"lottery\"", "name = \"lottery\"\nquality.source = \"none\"");
    let finished = run(&text);
    assert!(finished.energies.values().all(|energy| energy.battery_empty_at.is_some()));
    assert_eq!(finished.count(Outcome::Outage), 3);
}

/// Notes the charge that it sees.
struct Witness(std::sync::Arc<std::sync::Mutex<Vec<f64>>>);

impl Controller for Witness {
    fn decide(&mut self, observation: &Observation) -> Decision {
        self.0.lock().unwrap().push(observation.state.battery.expect("a battery"));
        Decision { action: 0, split: observation.split, log_prob: None, value: None }
    }
}

#[test]
fn a_controller_sees_what_is_left() {
    let file = trace(&[1.0, 2.0, 4.0], 16);
    let text = format!(
        "name = \"seen\"\nduration_s = 5.0\nmodel.source = \"none\"\nquality.source = \"none\"\n[channel]\nfading = \"none\"
[radio]\nsharing = \"ideal\"\n[[ue]]\nname = \"phone\"\ndevice = \"phone\"\nbattery_j = 10.0\nworkload.kind = \"trace\"
workload.path = \"{}\"\n[edge]\ndevice = \"server\"\n{}",
        file.path().display(),
        DEVICES.replace("power_w = 4.0", "power_w = 4.0\nidle_power_w = 2.0")
    );
    let seen = std::sync::Arc::default();
    let assembly = assembly(&text);
    let finished = simulate_with(&assembly, 1, 0, vec![Box::new(Witness(std::sync::Arc::clone(&seen)))]);
    let mut expected = vec![0.8];
    let busy = finished.rows[0].ue_compute_s.unwrap().as_secs_f64();
    expected.push(0.6 - 2.0 * busy / 10.0);
    expected.push(0.2 - 2.0 * 2.0 * busy / 10.0);
    for (seen, expected) in seen.lock().unwrap().iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-9, "{seen}, not {expected}");
    }
}

#[test]
fn a_battery_that_is_observed_has_to_be_there() {
    let text = |battery: &str| {
        format!(
            "name = \"o\"\n[controller]\nkind = \"ppo\"\nobserve = [\"split\", \"battery\"]\n[[ue]]\nname = \"a\"
{battery}\n[[ue]]\nname = \"b\"\nbattery_j = 5.0\n"
        )
    };
    let load = |text: &str| LoadedScenario::from_bytes(Path::new("o.toml"), text.as_bytes(), &[]);
    assert!(load(&text("battery_j = 7.0")).is_ok());
    let bad = load(&text("")).unwrap_err();
    let problem = bad.problems.iter().find(|problem| problem.is_error()).unwrap();
    assert_eq!(problem.path, "controller.observe");
    assert!(problem.message.contains("group \"a\" have no battery"), "{}", problem.message);
    for wrong in ["0.0", "-1.0", "nan", "inf", "\"full\""] {
        let bad = load(&text(&format!("battery_j = {wrong}"))).unwrap_err();
        assert!(bad.problems.iter().any(|problem| problem.path.ends_with("battery_j")), "{wrong}");
    }
}

/// The scenario that comes with the program: the summary's columns, and the same bytes at any number of threads.
#[test]
fn the_summary_accounts_for_every_joule() {
    let place = Place::new();
    let file = project().join("scenarios/battery.toml");
    let run = |out: &str, threads: &str| {
        let arguments = ["run", file.to_str().unwrap(), "-o", out, "--replications", "3", "--threads", threads];
        let done = place.splitwave(&arguments);
        assert_eq!(done.code, Some(0), "{}", done.err);
        place.finished(&format!("{out}/battery"))
    };
    let (one, three) = (run("one", "1"), run("three", "3"));
    assert_eq!(one.len(), 3);
    for (a, b) in one.iter().zip(&three) {
        assert_eq!(records(a), records(b));
    }
    for folder in &one {
        let all = summary_of_all(folder);
        let value = |column: &str| all[column].parse::<f64>().unwrap();
        let (_, rows) = csv_rows(&folder.join("summary.csv"));
        let ues: Vec<_> = rows.iter().filter(|row| row["scope"] == "ue").collect();
        let battery_j = 200.0;
        let spent = value("ue_energy_j") + value("tx_energy_j") + value("idle_energy_j") + value("sleep_energy_j");
        let given = battery_j * ues.len() as f64;
        assert!((given - value("battery_left_j") - spent).abs() < 1e-9 * given, "{given} J");
        assert!((value("energy_per_request_j") - spent / value("completed")).abs() < 1e-9);
        let ended: f64 = ["completed", "outage", "timeout", "dropped", "unfinished"].map(value).iter().sum();
        assert_eq!(ended, value("arrivals"));
        let empty = ues.iter().filter(|row| !row["battery_empty_at_s"].is_empty()).count();
        assert_eq!(value("batteries_empty"), empty as f64);
        assert!(
            ues.iter().all(|row| row["battery_empty_at_s"].is_empty() != (row["battery_left_j"] == "0.0")),
            "{ues:?}"
        );
    }
}
