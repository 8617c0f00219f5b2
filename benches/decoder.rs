//! The decoder on one thread: a prompt with the likelihood of every token, and decoding
//! with a cache.
//!
//! ```text
//! cargo bench --bench decoder [-- RANDOM_MODEL]
//! ```
//!
//! Prints `case,seconds`, the least of a few repeats; benches/transformers/bench.py says
//! what the cases are and writes the random model. Negative log-likelihoods go to
//! standard error, for comparison.

#![allow(clippy::disallowed_methods)] // a bench reads the clock

use std::path::Path;
use std::time::Instant;

use splitwave::llm::{BUILTIN, Corpus, Decoder, LoadedModel, Nll, Segmentation};

/// The least time of `repeats` calls \[s\].
fn least(repeats: usize, mut call: impl FnMut() -> f64) -> f64 {
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        std::hint::black_box(call());
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// Seconds per token of `window` behind its first `prompt` tokens, with a cache.
fn decode(decoder: &Decoder, window: &[u32], prompt: usize) -> f64 {
    let mut cache = decoder.kv_cache(0..decoder.layers()).unwrap();
    decoder.run_cached(decoder.embed(&window[..prompt]).unwrap(), &mut cache).unwrap();
    let start = Instant::now();
    for token in &window[prompt..] {
        let hidden = decoder.run_cached(decoder.embed(&[*token]).unwrap(), &mut cache).unwrap();
        std::hint::black_box(decoder.logits(&hidden).unwrap());
    }
    start.elapsed().as_secs_f64() / (window.len() - prompt) as f64
}

fn main() {
    let model = LoadedModel::builtin().unwrap();
    let decoder = &model.decoder;
    let corpus = Corpus::open(BUILTIN, &model.tokenizer, decoder.config().vocab, Segmentation::Tokens).unwrap();
    let score = |count: usize| -> Nll {
        (0..count).map(|window| decoder.window_nll(corpus.window(window, 128).unwrap()).unwrap()).sum()
    };
    let show = |case: &str, seconds: f64| println!("{case},{seconds:.7}");
    println!("case,seconds");
    eprintln!("builtin, 1 window: {}", score(1).sum);
    show("builtin-prefill-1x128", least(20, || score(1).sum));
    show("builtin-prefill-16x128", least(5, || score(16).sum));
    let window = corpus.window(0, 128).unwrap();
    show("builtin-decode-token", (0..5).map(|_| decode(decoder, window, 64)).fold(f64::INFINITY, f64::min));
    if let Some(dir) = std::env::args().skip(1).find(|arg| !arg.starts_with('-')) {
        let decoder = Decoder::open(Path::new(&dir)).unwrap();
        let tokens: Vec<u32> = (0..128).map(|i| (37 * i + 11) % decoder.config().vocab as u32).collect();
        let score = || decoder.window_nll(&tokens).unwrap().sum;
        eprintln!("random: {}", score());
        show("random-prefill-1x128", least(5, score));
        show("random-decode-token", decode(&decoder, &tokens, 96));
    }
}
