//! The network without a model: requests per second on one core, with and
//! without fading (N = 32), with records off and with requests.csv on; four
//! packets a request. Beside it, in the same rounds, a bare `BinaryHeap` that
//! does nothing but hold the events: what the simulation costs over its calendar.
//!
//! cargo bench --bench network [-- ROUNDS]

#![allow(clippy::disallowed_methods)] // a bench reads the wall clock

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use splitwave::kernel::{Purpose, Streams};
use splitwave::network::simulation::{Ports, Simulation};
use splitwave::record::{Overall, RunRecorder, Summary, Wanted};
use splitwave::run::assembly::Assembly;
use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::scenario::LoadedScenario;

/// 100 UEs; 20 tokens of 128 values in f16 are 5120 bytes, four packets.
const SCENARIO: &str = r#"
name = "bench"
duration_s = 200.0
[model]
cost_as = "self"
[quality]
source = "none"
[split]
initial = 4
[channel]
reception = "digital"
loss_probability = LOSS
fading = "FADING"
[radio]
bandwidth_mhz = 40.0
spectral_efficiency_bps_hz = 4.0
[[ue]]
count = 100
device = "a100-80gb"
queue_capacity = 16
workload = { kind = "poisson", rate_per_s = 20.0, prompt_tokens = 20 }
[edge]
device = "h100-sxm"
servers = 4
[output]
sample_interval_s = 0.0
"#;

fn assembly(fading: &str) -> Assembly {
    let loss = if fading == "none" { "0.0" } else { "0.1" };
    let text = SCENARIO.replace("FADING", fading).replace("LOSS", loss);
    let loaded = LoadedScenario::from_bytes(Path::new("bench.toml"), text.as_bytes(), &[])
        .unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    assemble(loaded, &mut Library::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Requests and events per second of wall time.
fn simulate(assembly: &Assembly, seed: u64, requests_csv: bool) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let network = &assembly.network;
    let groups = vec![("ue".to_owned(), 100)];
    let streams = Streams::new(seed, 0);
    let wanted = Wanted { requests: requests_csv, decisions: false, series: false, updates: false, tokens: false };
    let begun = Instant::now();
    let mut recorder =
        RunRecorder::create(folder.path(), wanted, Summary::new(&groups, network.warmup, network.duration))
            .expect("a folder that can be written");
    let mut quality = splitwave::control::NoQuality;
    let mut controllers = assembly.controllers(streams);
    let prompts = assembly.prompts();
    let ports = Ports {
        prompts: prompts.as_ref(),
        reward: &assembly.reward,
        quality: &mut quality,
        text: None,
        recorder: &mut recorder,
        controllers: &mut controllers,
    };
    let totals = Simulation::new(network, streams, ports)
        .and_then(|simulation| simulation.run(&mut |_| ControlFlow::Continue(())))
        .expect("a run without a model");
    black_box(recorder.finish(&Overall::default()).expect("a summary").summary);
    let seconds = begun.elapsed().as_secs_f64();
    (totals.progress.arrived as f64 / seconds, totals.progress.events as f64 / seconds)
}

/// Events per second of a bare heap of 500 typed tuples, each rescheduled.
fn bare_heap(seed: u64) -> f64 {
    let stream = Streams::new(seed, 0).stream(0, Purpose::Test);
    let gaps: Vec<u64> = (0..4096).map(|i| (stream.exponential(i) * 1e6) as u64).collect();
    let mut heap: BinaryHeap<Reverse<(u64, u64, u32)>> = (0..500).map(|i| Reverse((gaps[i as usize], i, 0))).collect();
    let begun = Instant::now();
    let events = 4_000_000u64;
    for i in 0..events {
        if let Some(Reverse((at, _, kind))) = heap.pop() {
            heap.push(Reverse((at + gaps[(i & 4095) as usize], i, kind)));
        }
    }
    black_box(heap.len());
    events as f64 / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(7u64);
    let (still, fading) = (assembly("none"), assembly("rayleigh"));
    let cases = [
        ("no fading, records off", &still, false),
        ("no fading, requests.csv", &still, true),
        ("Rayleigh N = 32, records off", &fading, false),
        ("Rayleigh N = 32, requests.csv", &fading, true),
    ];
    let mut heap = Vec::new();
    let mut rates: Vec<Vec<(f64, f64)>> = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        heap.push(bare_heap(round));
        for (case, (_, assembly, csv)) in cases.iter().enumerate() {
            rates[case].push(simulate(assembly, round, *csv));
        }
    }
    let heap = median(heap);
    println!("medians of {rounds} interleaved rounds, one core; bare heap: {:.1} M events/s", heap / 1e6);
    println!("{:<32} {:>14} {:>14} {:>22}", "network without a model", "requests/s", "events/s", "bare heap / events");
    for ((name, ..), rates) in cases.iter().zip(rates) {
        let requests = median(rates.iter().map(|rate| rate.0).collect());
        let events = median(rates.iter().map(|rate| rate.1).collect());
        println!("{name:<32} {requests:>14.0} {events:>14.0} {:>22.1}", heap / events);
    }
}
