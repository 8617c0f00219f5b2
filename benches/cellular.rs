//! Large networks of cells without a model: requests per second of 100,000 UEs on one core with
//! requests.csv on, the cost of an event there over that at 1,000 UEs of the same load per cell, and how much
//! faster than real time 1,000 UEs are scheduled slot by slot, 100 of them with something to send.
//!
//! cargo bench --bench cellular [-- ROUNDS]

#![allow(clippy::disallowed_methods)] // a bench reads the wall clock

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use splitwave::control::NoQuality;
use splitwave::kernel::Streams;
use splitwave::network::simulation::{Ports, Simulation, Totals};
use splitwave::record::{Overall, RunRecorder, Summary, Wanted};
use splitwave::run::assembly::{Assembly, assemble};
use splitwave::run::inputs::Library;
use splitwave::scenario::LoadedScenario;

/// Phones in urban macro cells, all that a cell has on: path loss, shadowing, power control,
/// interference, rates by CQI, hybrid ARQ. 20 tokens of 128 values in int8 are 20,800 bit, two packets.
const SCENARIO: &str = r#"
name = "bench"
duration_s = SECONDS
[model]
cost_as = "self"
[quality]
source = "none"
[split]
initial = 4
[channel]
kind = "cellular"
environment = "uma"
reception = "digital"
encoding = "int8"
doppler_hz = 5.0
[radio]
bandwidth_mhz = BANDWIDTH
sharing = "SHARING"
packets = "PACKETS"
[cell]
layout = "hexagonal"
sites = 19
[[ue]]
count = COUNT
device = "a100-80gb"
queue_capacity = 16
workload = { WORKLOAD, prompt_tokens = TOKENS }
OTHERS
[edge]
device = "h100-sxm"
servers = 64
[output]
sample_interval_s = 0.0
"#;

const OTHERS: &str = r#"[[ue]]
name = "others"
count = COUNT
device = "a100-80gb"
workload = { kind = "poisson", rate_per_s = 0.01, prompt_tokens = 20 }
"#;

struct Case {
    ues: u32,
    seconds: f64,
    sharing: &'static str,
    workload: &'static str,
    tokens: u32,
    /// UEs that send next to nothing.
    others: u32,
    bandwidth_mhz: f64,
    packets: &'static str,
}

fn assembly(case: &Case) -> Assembly {
    let text = SCENARIO
        .replace("SECONDS", &format!("{:?}", case.seconds))
        .replace("SHARING", case.sharing)
        .replace("COUNT", &case.ues.to_string())
        .replace("WORKLOAD", case.workload)
        .replace("TOKENS", &case.tokens.to_string())
        .replace("BANDWIDTH", &format!("{:?}", case.bandwidth_mhz))
        .replace("PACKETS", case.packets)
        .replace(
            "OTHERS",
            &if case.others == 0 { String::new() } else { OTHERS.replace("COUNT", &case.others.to_string()) },
        );
    let loaded = LoadedScenario::from_bytes(Path::new("bench.toml"), text.as_bytes(), &[])
        .unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    assemble(loaded, &mut Library::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What a run said of itself, and its wall time: from an empty network, its UEs placed, to the files.
fn simulate(assembly: &Assembly, seed: u64) -> (Totals, f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let network = &assembly.network;
    let groups: Vec<_> = network.groups.iter().map(|group| (group.name.clone(), group.count)).collect();
    let streams = Streams::new(seed, 0);
    let wanted = Wanted { requests: true, decisions: false, series: false, updates: false, tokens: false };
    let begun = Instant::now();
    let summary = Summary::new(&groups, network.warmup, network.duration);
    let mut recorder = RunRecorder::create(folder.path(), wanted, summary).expect("a folder that can be written");
    let mut controllers = assembly.controllers(streams);
    let prompts = assembly.prompts();
    let ports = Ports {
        prompts: prompts.as_ref(),
        reward: &assembly.reward,
        quality: &mut NoQuality,
        text: None,
        recorder: &mut recorder,
        controllers: &mut controllers,
    };
    let simulation = Simulation::new(network, streams, ports).expect("a network");
    let placed = begun.elapsed().as_secs_f64();
    let totals = simulation.run(&mut |_| ControlFlow::Continue(())).expect("a run without a model");
    recorder.finish(&Overall::default()).expect("a summary");
    (totals, placed, begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3u64);
    // 15,000 requests per second of simulated time, 790 per cell; a hundredth of the UEs ask a hundred times as often.
    let many = Case {
        ues: 100_000,
        seconds: 60.0,
        sharing: "flow-ps",
        workload: "kind = \"poisson\", rate_per_s = 0.15",
        tokens: 20,
        others: 0,
        bandwidth_mhz: 100.0,
        packets: "mtu",
    };
    let few = Case { ues: 1_000, workload: "kind = \"poisson\", rate_per_s = 15.0", ..many };
    // A hundred UEs always have something to send: the next 20 Mbit as soon as the last are through.
    let slots = Case {
        ues: 100,
        seconds: 60.0,
        sharing: "slot-pf",
        workload: "kind = \"closed-loop\", think_time_s = 0.0",
        tokens: 20_000,
        others: 900,
        bandwidth_mhz: 20.0,
        packets: "transport-block",
    };
    let cases = [assembly(&many), assembly(&few), assembly(&slots)];
    let (mut rates, mut placing, mut per_event, mut faster) =
        (Vec::new(), Vec::new(), [Vec::new(), Vec::new()], Vec::new());
    let mut backlogged = Vec::new();
    for round in 0..rounds {
        for (place, case) in cases[..2].iter().enumerate() {
            let (totals, placed, seconds) = simulate(case, round);
            per_event[place].push((seconds - placed) / totals.progress.events as f64);
            if place == 0 {
                rates.push(totals.progress.arrived as f64 / seconds);
                placing.push(placed);
            }
        }
        let (totals, _, seconds) = simulate(&cases[2], round);
        faster.push(totals.progress.now.as_secs_f64() / seconds);
        backlogged.push(totals.progress.arrived as f64);
    }
    let [many, few] = per_event.map(median);
    println!("medians of {rounds} interleaved rounds, one core");
    println!(
        "100,000 UEs, 19 cells, requests.csv on: {:.0} requests/s, {:.2} s of them to place the UEs",
        median(rates),
        median(placing)
    );
    println!("an event: {:.0} ns at 100,000 UEs, {:.0} ns at 1,000: {:.2}x", many * 1e9, few * 1e9, many / few);
    println!(
        "slot by slot, 1,000 UEs of which 100 always send: {:.0}x faster than real time ({:.0} requests)",
        median(faster),
        median(backlogged)
    );
}
