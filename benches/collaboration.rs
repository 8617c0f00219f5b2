//! Collaborative generation: tokens per second of one core in each mode, and where the time goes: the models'
//! turns, or the network around them; then the single steps that a token takes.
//!
//! cargo bench --bench collaboration [-- ROUNDS]

#![allow(clippy::disallowed_methods)] // a bench reads the wall clock

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use splitwave::control::collaboration::{Confidence, Perturbation, Proposal, RewardHead};
use splitwave::kernel::{Purpose, Streams};
use splitwave::llm::{Decoder, KvCache, LoadedModel};
use splitwave::network::ports::QualityError;
use splitwave::network::simulation::{Ports, Simulation};
use splitwave::network::text::{TextId, TextJob, TextSource, TextToken, TokenSource};
use splitwave::record::{RunRecorder, Summary};
use splitwave::run::assembly::{Assembly, assemble};
use splitwave::run::inputs::Library;
use splitwave::run::runner::evaluation_pool;
use splitwave::scenario::LoadedScenario;

/// Twenty phones with prompts of 48 tokens and answers of 24.
const SCENARIO: &str = r#"
name = "bench"
duration_s = 1e6
[stop]
requests = REQUESTS
[service]
mode = "MODE"
text = "generated"
[collaboration]
MORE
[quality]
source = "QUALITY"
[split]
initial = 4
[channel]
reception = "digital"
loss_probability = 0.05
doppler_hz = 15.0
[radio]
bandwidth_mhz = 100.0
[[ue]]
count = 20
workload = { kind = "poisson", rate_per_s = 0.2, prompt_tokens = 48, output_tokens = 24 }
[edge]
device = "h100-sxm"
discipline = "batch"
[output]
sample_interval_s = 0.0
"#;

const MODES: [(&str, &str); 7] = [
    ("device-only", ""),
    ("edge-only", ""),
    ("split", ""),
    ("hybrid-reward", ""),
    ("hybrid-uncertainty", "top_k = 30"),
    ("early-exit", ""),
    ("query-router", ""),
];

/// A text source that notes how long it was asked.
struct Timed {
    texts: Box<dyn TextSource>,
    seconds: f64,
}

impl Timed {
    fn time<T>(&mut self, ask: impl FnOnce(&mut dyn TextSource) -> T) -> T {
        let start = Instant::now();
        let answer = ask(self.texts.as_mut());
        self.seconds += start.elapsed().as_secs_f64();
        answer
    }
}

impl TextSource for Timed {
    fn open(&mut self, job: TextJob) -> TextId {
        self.texts.open(job)
    }
    fn submit(&mut self, text: TextId) {
        self.texts.submit(text);
    }
    fn join(&mut self, text: TextId) -> Result<f64, QualityError> {
        self.time(|texts| texts.join(text))
    }
    fn settle(&mut self, text: TextId, source: TokenSource) {
        self.texts.settle(text, source);
    }
    fn close(&mut self, text: TextId) {
        self.texts.close(text);
    }
    fn finish(&mut self, text: TextId) -> Result<Vec<TextToken>, QualityError> {
        self.time(|texts| texts.finish(text))
    }
}

fn assembly(mode: &str, more: &str, quality: &str, requests: u32) -> Assembly {
    let text = SCENARIO
        .replace("MODE", mode)
        .replace("MORE", more)
        .replace("QUALITY", quality)
        .replace("REQUESTS", &requests.to_string());
    let loaded = LoadedScenario::from_bytes(Path::new("bench.toml"), text.as_bytes(), &[])
        .unwrap_or_else(|bad| panic!("{:?}", bad.problems));
    assemble(loaded, &mut Library::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Tokens, seconds, and of these seconds in the models.
fn run(assembly: &Assembly) -> (f64, f64, f64) {
    let pool = evaluation_pool(1).expect("a thread");
    let streams = Streams::new(1, 0);
    let prompts = assembly.prompts();
    let mut quality = assembly.quality(streams, &pool, &Arc::default());
    let mut texts = assembly.texts(streams, &pool, &Arc::default()).map(|texts| Timed { texts, seconds: 0.0 });
    let mut recorder = RunRecorder::in_memory(Summary::new(
        &[("phone".to_owned(), 20)],
        assembly.network.warmup,
        assembly.network.duration,
    ));
    let mut controllers = assembly.controllers(streams);
    let ports = Ports {
        prompts: prompts.as_ref(),
        reward: &assembly.reward,
        quality: quality.as_mut(),
        text: texts.as_mut().map(|texts| texts as &mut dyn TextSource),
        recorder: &mut recorder,
        controllers: &mut controllers,
    };
    let simulation = Simulation::new(&assembly.network, streams, ports).expect("a network");
    let start = Instant::now();
    let totals = simulation.run(&mut |_| ControlFlow::Continue(())).expect("a run");
    let seconds = start.elapsed().as_secs_f64();
    (totals.progress.ended as f64 * 24.0, seconds, texts.map_or(0.0, |texts| texts.seconds))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn microseconds(repeats: u32, mut step: impl FnMut()) -> f64 {
    step();
    let start = Instant::now();
    (0..repeats).for_each(|_| step());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(repeats)
}

/// One more token behind 60, and the logits behind it.
fn decode(decoder: &Decoder, cache: &KvCache, token: u32) -> Vec<f32> {
    let hidden = decoder.run_cached(decoder.embed(&[token]).unwrap(), &mut cache.clone()).unwrap();
    decoder.logits(&hidden).unwrap()
}

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    println!("tokens per second of one core, median of {rounds}; with models, and the network alone by random scores");
    println!("{:20}{:>12}{:>16}{:>18}", "mode", "tokens/s", "in the models", "network alone");
    let with: Vec<_> = MODES.map(|(mode, more)| assembly(mode, more, "llm", 100)).into();
    let alone: Vec<_> = MODES
        .map(|(mode, _)| {
            // Scores that no model gives keep two of three tokens, as the thresholds above do about.
            let random = mode != "hybrid-uncertainty" && !["device-only", "edge-only", "split"].contains(&mode);
            let more = if random { "scorer = \"random\"\nthreshold = 0.3" } else { "" };
            (mode != "hybrid-uncertainty").then(|| assembly(mode, more, "none", 20_000))
        })
        .into();
    let mut figures = vec![(Vec::new(), Vec::new(), Vec::new()); MODES.len()];
    for _ in 0..rounds {
        for ((with, alone), figures) in with.iter().zip(&alone).zip(&mut figures) {
            let (tokens, seconds, in_models) = run(with);
            figures.0.push(tokens / seconds);
            figures.1.push(in_models / seconds);
            if let Some(alone) = alone {
                let (tokens, seconds, _) = run(alone);
                figures.2.push(tokens / seconds);
            }
        }
    }
    for ((mode, _), (rate, share, network)) in MODES.iter().zip(figures) {
        let network = if network.is_empty() { "-".to_owned() } else { format!("{:.0}", median(network)) };
        println!("{mode:20}{:>12.0}{:>15.1}%{network:>18}", median(rate), 100.0 * median(share));
    }

    let (llm, small) = (LoadedModel::builtin().unwrap(), LoadedModel::builtin_small().unwrap());
    let inputs: Vec<u32> = (0..60).map(|k| 300 + 7 * k).collect();
    let cached = |decoder: &Decoder| {
        let mut cache = decoder.kv_cache(0..decoder.layers()).unwrap();
        decoder.run_cached(decoder.embed(&inputs).unwrap(), &mut cache).unwrap();
        cache
    };
    let (of_llm, of_small) = (cached(&llm.decoder), cached(&small.decoder));
    println!("\nmicroseconds of single steps, behind 60 tokens of context");
    let clone = |cache: &KvCache| {
        microseconds(2000, || {
            black_box(cache.clone());
        })
    };
    let step = |decoder: &Decoder, cache: &KvCache| {
        microseconds(2000, || {
            black_box(decode(decoder, cache, 17));
        }) - clone(cache)
    };
    println!("{:44}{:>8.1}", "small model, one token with its head", step(&small.decoder, &of_small));
    println!("{:44}{:>8.1}", "large model, one token with its head", step(&llm.decoder, &of_llm));
    let read = microseconds(200, || {
        let hidden = llm.decoder.run(llm.decoder.embed(&inputs).unwrap(), 0..llm.decoder.layers()).unwrap();
        black_box(llm.decoder.nll(&hidden, &inputs).unwrap());
    });
    println!("{:44}{:>8.1}", "large model, reading a token of a text of 60", read / 60.0);
    let logits = decode(&small.decoder, &of_small, 17);
    let (hidden, embedding) = (vec![0.1_f32; 96], small.decoder.embed(&[17]).unwrap());
    let proposal = Proposal { hidden: &hidden, embedding: embedding.values(), logits: &logits, token: 17 };
    let draws = Streams::new(1, 0).stream(0, Purpose::Perturbation).child(0);
    let confidence = microseconds(5000, || {
        black_box(Confidence::of(&proposal));
    });
    println!("{:44}{confidence:>8.1}", "score: max-softmax, margin, entropy, p(x)");
    let perturbed = microseconds(500, || {
        black_box(Perturbation::default().uncertainty(&proposal, &draws, 3));
    });
    println!("{:44}{perturbed:>8.1}", "score: perturbation, 20 samples");
    if let Ok(head) = RewardHead::builtin() {
        let rewarded = microseconds(5000, || {
            black_box(head.predict(&proposal));
        });
        println!("{:44}{rewarded:>8.1}", "score: reward head");
    }
    let sampling = splitwave::llm::Sampling { temperature: 1.0, ..Default::default() };
    let chosen = microseconds(2000, || {
        black_box(sampling.choose(&logits, &draws, 3));
    });
    println!("{:44}{chosen:>8.1}", "choosing a token (Gumbel)");
}
