//! Memory of a network without a model: per UE, and per request. Each case is a
//! process of its own; the numbers are its peak resident size (VmHWM, Linux).
//!
//! cargo bench --bench memory
//! cargo bench --bench memory -- model DIRECTORY|FILE.gguf
//!
//! The second loads a model and scores one token: peak size over the size of its weights' files.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use splitwave::control::NoQuality;
use splitwave::kernel::Streams;
use splitwave::llm::Decoder;
use splitwave::network::simulation::{Ports, Simulation};
use splitwave::record::{Overall, RunRecorder, Summary, Wanted};
use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::scenario::LoadedScenario;

const SCENARIO: &str = r#"
name = "memory"
duration_s = SECONDS.0
[quality]
source = "none"
[split]
initial = 4
[controller]
kind = "random"
[channel]
reception = "digital"
CHANNEL
[model]
cost_as = "self"
[radio]
bandwidth_mhz = 1000.0
[[ue]]
count = COUNT
queue_capacity = 16
workload = { kind = "poisson", rate_per_s = RATE, prompt_tokens = 20 }
[edge]
device = "h100-sxm"
servers = 1000
"#;

/// 19 macro cells, everything on.
const CELLULAR: &str = "kind = \"cellular\"\n[cell]\nlayout = \"hexagonal\"\nsites = 19";

/// Runs one case in this process and prints requests and peak kilobytes.
fn case(count: &str, seconds: &str, rate: &str, channel: &str) {
    let channel = if channel == "cellular" { CELLULAR } else { "loss_probability = 0.1" };
    let text =
        SCENARIO.replace("CHANNEL", channel).replace("COUNT", count).replace("SECONDS", seconds).replace("RATE", rate);
    let loaded = LoadedScenario::from_bytes(Path::new("memory.toml"), text.as_bytes(), &[])
        .unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    let assembly = assemble(loaded, &mut Library::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let network = &assembly.network;
    let summary = Summary::new(&[("ue".into(), network.groups[0].count)], network.warmup, network.duration);
    let wanted = Wanted { requests: true, decisions: true, series: true, updates: false, tokens: false };
    let mut recorder = RunRecorder::create(folder.path(), wanted, summary).expect("a folder that can be written");
    let streams = Streams::new(1, 0);
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
    let totals = Simulation::new(network, streams, ports)
        .and_then(|simulation| simulation.run(&mut |_| ControlFlow::Continue(())))
        .expect("a run without a model");
    recorder.finish(&Overall::default()).expect("a summary");
    println!("{} {}", totals.progress.arrived, peak_kilobytes());
}

/// This process's peak resident size so far.
fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux's /proc");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    peak.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes")
}

/// Loads a model and uses it.
fn model(path: &Path) {
    let weights = |path: &Path| {
        let known = path.extension().is_some_and(|extension| extension == "safetensors" || extension == "gguf");
        if known { path.metadata().expect("a file of weights").len() } else { 0 }
    };
    let bytes: u64 = match std::fs::read_dir(path) {
        Ok(files) => files.map(|file| weights(&file.expect("a file").path())).sum(),
        Err(_) => weights(path),
    };
    let decoder = Decoder::open(path).unwrap_or_else(|error| panic!("{error}"));
    let loaded = peak_kilobytes();
    decoder.window_nll(&[1, 2]).unwrap_or_else(|error| panic!("{error}"));
    let (loaded, used) = (loaded as f64 * 1024.0, peak_kilobytes() as f64 * 1024.0);
    let size = bytes as f64;
    println!(
        "checkpoint {:.1} MB; peak when loaded {:.1} MB ({:.3} of it), when used {:.1} MB ({:.3})",
        size / 1e6,
        loaded / 1e6,
        loaded / size,
        used / 1e6,
        used / size
    );
}

/// Requests and peak kilobytes of a case, run in a process of its own.
fn measure(count: u32, seconds: u32, rate: &str, channel: &str) -> (f64, f64) {
    let program = std::env::current_exe().expect("this program's path");
    let arguments = ["case", &count.to_string(), &seconds.to_string(), rate, channel];
    let output = Command::new(program).args(arguments).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(requests), Some(kilobytes)) => (requests, kilobytes),
        _ => panic!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [word, path] = arguments.as_slice()
        && word == "model"
    {
        return model(Path::new(path));
    }
    if let [word, count, seconds, rate, channel] = arguments.as_slice()
        && word == "case"
    {
        return case(count, seconds, rate, channel);
    }
    let (_, few) = measure(1_000, 10, "0.1", "statistical");
    let (requests, many) = measure(201_000, 10, "0.1", "statistical");
    println!("1,000 UEs: {few:.0} kB; 201,000 UEs ({requests:.0} requests): {many:.0} kB");
    println!("per UE, Rayleigh N = 32: {:.2} kB", (many - few) / 200_000.0);
    let (_, few) = measure(1_000, 10, "0.01", "cellular");
    let (_, many) = measure(101_000, 10, "0.01", "cellular");
    println!("per UE, in 19 cells: {:.2} kB", (many - few) / 100_000.0);
    let (short, before) = measure(1_000, 100, "1.0", "statistical");
    let (long, after) = measure(1_000, 4_000, "1.0", "statistical");
    println!("1,000 UEs, {short:.0} requests: {before:.0} kB; {long:.0} requests: {after:.0} kB");
    println!("per request: {:.4} kB", (after - before) / (long - short));
}
