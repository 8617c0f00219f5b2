//! The language model: splits, scores, costs, against references.

use std::path::PathBuf;
use std::sync::OnceLock;

use rayon::prelude::*;
use splitwave::llm::*;

use crate::llm_tiny::{self, Tiny};

/// The built-in model, loaded once for all tests.
fn builtin() -> &'static LoadedModel {
    static MODEL: OnceLock<LoadedModel> = OnceLock::new();
    MODEL.get_or_init(|| LoadedModel::builtin().unwrap())
}

fn builtin_corpus() -> Corpus {
    Corpus::open(BUILTIN, &builtin().tokenizer, 2048, Segmentation::Tokens).unwrap()
}

fn beside_the_manifest(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Noise of standard deviation `sigma`, uniform, the same at each call.
fn add_noise(hidden: &mut Hidden, sigma: f32) {
    let mut draws = llm_tiny::uniforms(7);
    for value in hidden.values_mut() {
        *value += sigma * 12.0_f32.sqrt() * (draws() - 0.5);
    }
}

#[test]
fn a_split_without_a_channel_changes_no_bit() {
    let tiny = Tiny::default().decoder();
    let window: Vec<u32> = (0..23).map(|i| (i * 37 + 5) % 90).collect();
    let corpus = builtin_corpus();
    for (decoder, window) in [(&builtin().decoder, corpus.window(3, 40).unwrap()), (&tiny, window.as_slice())] {
        let layers = decoder.layers();
        let whole = decoder.run(decoder.embed(window).unwrap(), 0..layers).unwrap();
        let logits = decoder.logits(&whole).unwrap();
        for split in 0..=layers {
            let sent = decoder.run(decoder.embed(window).unwrap(), 0..split).unwrap();
            let received = Hidden::from_vec(sent.clone().into_vec(), sent.width()).unwrap();
            let out = decoder.logits(&decoder.run(received, split..layers).unwrap()).unwrap();
            assert!(out.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits()), "split {split} of {layers}");
            let nll = decoder.split_nll(window, split, |_| ()).unwrap();
            assert_eq!(nll.sum.to_bits(), decoder.window_nll(window).unwrap().sum.to_bits());
        }
    }
}

/// `tests/reference/builtin_logits.py` wrote the file with transformers in f32.
#[test]
fn logits_are_those_of_transformers() {
    #[derive(serde::Deserialize)]
    struct Reference {
        tokens: Vec<u32>,
        logits_last: Vec<f32>,
        logits_row5_first16: Vec<f32>,
        nll_sum: f64,
        hidden_after_layer: std::collections::BTreeMap<usize, Vec<f32>>,
    }
    let path = beside_the_manifest("tests/reference/builtin_logits.json");
    let Ok(text) = std::fs::read(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let reference: Reference = serde_json::from_slice(&text).unwrap();
    let decoder = &builtin().decoder;
    assert_eq!(decoder.parameters(), 3_215_488);

    let hidden = decoder.embed(&reference.tokens).unwrap();
    for (&layer, expected) in &reference.hidden_after_layer {
        let after = decoder.run(hidden.clone(), 0..layer).unwrap();
        let error = largest_difference(after.iter_rows().last().unwrap(), expected);
        assert!(error < 1e-3, "hidden states after layer {layer} differ by {error}");
    }
    let last = decoder.run(hidden, 0..decoder.layers()).unwrap();
    let logits = decoder.logits(&last).unwrap();
    let rows: Vec<&[f32]> = logits.chunks_exact(2048).collect();
    let error = largest_difference(rows[rows.len() - 1], &reference.logits_last);
    assert!(error < 1e-3, "logits of the last row differ by {error}");
    assert_eq!(reference.logits_last.len(), 2048);
    let error = largest_difference(rows[5], &reference.logits_row5_first16);
    assert!(error < 1e-3, "logits of row 5 differ by {error}");
    let nll = decoder.nll(&last, &reference.tokens[1..]).unwrap();
    assert!((nll.sum - reference.nll_sum).abs() < 1e-3, "{} against {}", nll.sum, reference.nll_sum);
}

/// Over the length of `b`.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An untied model whose heads are wider than d / heads, against plain loops in f64.
#[test]
fn an_untied_model_agrees_with_plain_loops() {
    let tiny = Tiny::default();
    let decoder = tiny.decoder();
    let window: Vec<u32> = (0..13).map(|i| (i * 11 + 3) % 90).collect();
    let expected = tiny.plain_logits(&window);
    let hidden = decoder.run(decoder.embed(&window).unwrap(), 0..decoder.layers()).unwrap();
    let logits = decoder.logits(&hidden).unwrap();
    assert_eq!(logits.len(), 13 * 90);
    let error = logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    let scale = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    assert!(scale > 0.5 && error < 1e-5 * scale, "error {error:e} at logits up to {scale}");

    let softmax_nll = |row: &[f64], target: u32| {
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        -(row[target as usize].exp() / total).ln()
    };
    // No start token: the first token is given, twelve are scored.
    let naive: f64 = expected.chunks_exact(90).zip(&window[1..]).map(|(row, &target)| softmax_nll(row, target)).sum();
    let nll = decoder.window_nll(&window).unwrap();
    assert_eq!(nll.tokens, 12);
    assert!((nll.sum - naive).abs() < 1e-4, "{} against {naive}", nll.sum);
}

#[test]
fn all_three_checkpoint_types_are_read() {
    let f32 = Tiny::default().decoder();
    let window: Vec<u32> = (0..9).collect();
    let exact = f32.window_nll(&window).unwrap().sum;
    for (dtype, tolerance) in [(safetensors::Dtype::F16, 0.05), (safetensors::Dtype::BF16, 0.5)] {
        let rounded = Tiny { dtype, ..Tiny::default() }.decoder().window_nll(&window).unwrap().sum;
        assert!(rounded != exact && (rounded - exact).abs() < tolerance, "{dtype:?}: {rounded} against {exact}");
    }
}

#[test]
fn later_tokens_do_not_reach_earlier_rows() {
    let decoder = &builtin().decoder;
    let corpus = builtin_corpus();
    let mut window = corpus.window(0, 30).unwrap().to_vec();
    let logits = |window: &[u32]| {
        decoder.logits(&decoder.run(decoder.embed(window).unwrap(), 0..decoder.layers()).unwrap()).unwrap()
    };
    let before = logits(&window);
    window[20] = (window[20] + 1) % 2048;
    let after = logits(&window);
    assert_eq!(before[..20 * 2048], after[..20 * 2048]);
    assert_ne!(before[20 * 2048..21 * 2048], after[20 * 2048..21 * 2048]);
    assert_ne!(before[29 * 2048..], after[29 * 2048..]);
}

#[test]
fn the_score_of_a_window_is_that_of_its_logits() {
    let decoder = &builtin().decoder;
    let corpus = builtin_corpus();
    // Longer than the head computes at once.
    let window = corpus.window(1, 100).unwrap();
    let TeacherForced { inputs, targets } = TeacherForced::new(window, decoder.config().bos_token);
    assert_eq!((inputs.len(), inputs[0], targets.as_slice()), (100, 0, window));
    let hidden = decoder.run(decoder.embed(&inputs).unwrap(), 0..16).unwrap();
    let logits = decoder.logits(&hidden).unwrap();
    let naive: f64 = logits
        .chunks_exact(2048)
        .zip(&targets)
        .map(|(row, &target)| {
            let total: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
            total.ln() - f64::from(row[target as usize])
        })
        .sum();
    let nll = decoder.window_nll(window).unwrap();
    assert_eq!(nll.tokens, 100);
    // The last rows' products run at another number of rows here: equal to rounding only.
    assert!((nll.sum - naive).abs() < 1e-3, "{} against {naive}", nll.sum);
}

#[test]
fn threads_and_pools_change_no_bit() {
    fn shared<T: Send + Sync>() {}
    shared::<Decoder>();
    shared::<LoadedModel>();
    shared::<Corpus>();

    let decoder = &builtin().decoder;
    let corpus = builtin_corpus();
    let score = |i: usize| {
        decoder.split_nll(corpus.window(i, 48).unwrap(), 1 + i % 16, |hidden| add_noise(hidden, 0.5)).unwrap()
    };
    let sequential: Vec<u64> = (0..24).map(|i| score(i).sum.to_bits()).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let parallel: Vec<u64> = pool.install(|| (0..24).into_par_iter().map(|i| score(i).sum.to_bits()).collect());
        assert_eq!(parallel, sequential, "{threads} threads");
    }
}

/// Perplexity of WikiText-2's test split, 32 windows of 128 tokens from its start.
#[test]
fn wikitext_perplexity_is_the_measured_one() {
    let path = beside_the_manifest("../shared/wikitext-2/test.txt");
    let Some(source) = path.to_str().filter(|_| path.is_file()) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let LoadedModel { decoder, tokenizer, .. } = builtin();
    let corpus = Corpus::open(source, tokenizer, 2048, Segmentation::Tokens).unwrap();
    assert_eq!(corpus.window_count(128), 3561);
    let nll: Nll = (0..32).map(|i| decoder.window_nll(corpus.window(i, 128).unwrap()).unwrap()).sum();
    assert_eq!(nll.tokens, 32 * 128);
    assert!((nll.perplexity() - 36.203).abs() < 0.01, "PPL {}", nll.perplexity());
}

/// An absolute noise hurts most where activations are small: early.
#[test]
fn noise_hurts_more_at_an_earlier_split() {
    let decoder = &builtin().decoder;
    let corpus = builtin_corpus();
    let perplexity = |split, sigma| {
        let windows = (0..8).map(|i| corpus.window(i, 64).unwrap());
        windows
            .map(|window| decoder.split_nll(window, split, |hidden| add_noise(hidden, sigma)).unwrap())
            .sum::<Nll>()
            .perplexity()
    };
    let clean = perplexity(1, 0.0);
    let (early, middle, late) = (perplexity(1, 2.0), perplexity(8, 2.0), perplexity(14, 2.0));
    assert!(clean < late && 1.1 * late < middle && 1.3 * middle < early, "{clean} {late} {middle} {early}");
}

#[test]
fn the_builtin_model_and_corpus_are_described() {
    let LoadedModel { decoder, tokenizer, .. } = builtin();
    let config = decoder.config();
    assert_eq!((config.layers, config.d_model, config.heads, config.kv_heads), (16, 128, 4, 2));
    assert_eq!((config.head_dim, config.d_ff, config.vocab, config.max_positions), (32, 352, 2048, 512));
    assert_eq!((config.bos_token, config.eos_tokens.as_slice(), config.tied_head), (Some(0), [1].as_slice(), true));
    assert_eq!((config.rope_theta, config.norm_eps), (10_000.0, 1e-6));
    assert_eq!(tokenizer.vocab(), 2048);
    let text = "The ferry did not run on Sundays.";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
}

#[test]
fn content_hashes_are_of_the_bytes() {
    let file = |name: &str| std::fs::read(beside_the_manifest("models/builtin").join(name)).unwrap();
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!(builtin().tokenizer.content_hash(), hash(&file("tokenizer.json")));
    assert_eq!(builtin_corpus().content_hash(), hash(&file("corpus.txt")));
    // The same directory, opened by path, is the same model; a changed config is another.
    let dir = beside_the_manifest("models/builtin");
    let opened = LoadedModel::open(dir.to_str().unwrap()).unwrap();
    assert_eq!(opened.content_hash(), builtin().content_hash());
    assert_eq!(opened.content_hash().len(), 64);
    let longer = String::from_utf8(file("config.json")).unwrap().replace("512", "256");
    let changed =
        LoadedModel::from_bytes("m", longer.as_bytes(), &file("model.safetensors"), &file("tokenizer.json")).unwrap();
    assert_ne!(changed.content_hash(), builtin().content_hash());
}

#[test]
fn both_generations_of_config_are_read() {
    let new = Tiny::config_json();
    let old = new
        .replace(
            r#""rope_parameters":{"rope_theta":500.0,"rope_type":"default"}"#,
            r#""rope_theta":500.0,"rope_scaling":null"#,
        )
        .replace(r#""dtype""#, r#""torch_dtype""#);
    assert!(new != old && !old.contains("rope_parameters"));
    let new = DecoderConfig::from_json("new", new.as_bytes()).unwrap();
    assert_eq!(new, DecoderConfig::from_json("old", old.as_bytes()).unwrap());
    assert_eq!(new.rope_theta, 500.0);
    // The first LLaMA releases leave θ out, and then it is 10,000.
    let first = old.replace(r#""rope_theta":500.0,"#, "");
    assert_eq!(DecoderConfig::from_json("first", first.as_bytes()).unwrap().rope_theta, 10_000.0);
}

#[test]
fn windows_are_consecutive_and_sentences_their_own() {
    let tokenizer = &builtin().tokenizer;
    let text = "One two three four five six. Seven eight nine ten eleven!\nOh.\nTwelve thirteen fourteen fifteen.";
    let by_tokens = Corpus::from_bytes("text", text.as_bytes(), tokenizer, 2048, Segmentation::Tokens).unwrap();
    let all = tokenizer.encode(text).unwrap();
    assert_eq!(by_tokens.tokens(), all);
    assert_eq!(by_tokens.window_count(7), all.len() / 7);
    assert_eq!(by_tokens.window(2, 7).unwrap(), &all[14..21]);
    assert_eq!((by_tokens.window_count(0), by_tokens.longest_window(7)), (0, 7));

    let sentences = Corpus::from_bytes("text", text.as_bytes(), tokenizer, 2048, Segmentation::Sentence).unwrap();
    assert_eq!(sentences.window_count(64), 3, "`Oh.` has fewer than {SHORTEST_SENTENCE} tokens");
    assert_eq!(tokenizer.decode(sentences.window(1, 64).unwrap()).unwrap(), "Seven eight nine ten eleven!");
    let longest = (0..3).map(|i| sentences.window(i, 64).unwrap().len()).max();
    assert_eq!(Some(sentences.longest_window(64)), longest);
}

/// LLaMA-2-7B by hand: 202,375,168 weights per layer, d = 4096, κ = 32.
#[test]
fn costs_are_the_hand_computed_ones() {
    let geometry = Geometry::named("llama-2-7b").unwrap();
    assert_eq!(geometry.layer_parameters(), 202_375_168.0);
    // 2·20·202,375,168 + 2·400·4096
    assert_eq!(prefill_layer_flop(&geometry, 20), 8_098_283_520.0);
    // 2·512·202,375,168 + 2·512²·4096
    assert_eq!(prefill_layer_flop(&geometry, 512), 209_379_655_680.0);
    // 2·202,375,168 + 4·1024·4096
    assert_eq!(decode_layer_flop(&geometry, 1024), 421_527_552.0);
    assert_eq!(head_flop(&geometry, 20), 20.0 * 2.0 * 4096.0 * 32_000.0);
    assert_eq!(layer_weight_bytes(&geometry, 2.0), 404_750_336.0);
    assert_eq!(head_weight_bytes(&geometry, 0.5), 65_536_000.0);
    assert_eq!(layer_kv_bytes(&geometry, 1, 2.0), 16_384.0);
    assert_eq!(layer_kv_bytes(&Geometry::named("mistral-7b").unwrap(), 1, 2.0), 4_096.0);
    assert_eq!(geometry.payload_values(20), 81_920);

    let exact = CostModel::new(geometry.clone(), FlopCount::Exact);
    assert_eq!(exact.ue_flop(3, 20), 3.0 * 8_098_283_520.0);
    assert_eq!(exact.edge_flop(3, 20, 1), 29.0 * 8_098_283_520.0 + 262_144_000.0);
    assert_eq!((exact.ue_share(0, 20), exact.ue_share(8, 20), exact.ue_share(32, 20)), (0.0, 0.25, 1.0));
    assert_eq!(exact.ue_decode_flop(32, 1024) + exact.edge_decode_flop(32, 1024), 32.0 * 421_527_552.0 + 262_144_000.0);
    assert_eq!(exact.ue_flop(99, 20), exact.ue_flop(32, 20));

    // Eq. (2): 3·20·4096²/32 + 2·400·4096/32 + 20·4096² + 8·4096³; then 5·4096³/32 + 9·4096³.
    let first = 31_457_280.0 + 102_400.0 + 335_544_320.0 + 549_755_813_888.0;
    let further = 10_737_418_240.0 + 618_475_290_624.0;
    let paper = CostModel::new(geometry, FlopCount::Chen25Eq2);
    assert_eq!(paper.ue_flop(1, 20), first);
    assert_eq!(paper.ue_flop(4, 20), first + 3.0 * further);
    assert_eq!(paper.edge_flop(1, 20, 0), 31.0 * further);
    assert_eq!(paper.ue_flop(0, 20) + paper.edge_flop(32, 20, 0), 0.0);
    assert!((further / 8_098_283_520.0 - 77.7).abs() < 0.05);
}

#[test]
fn geometries_come_from_names_files_and_models() {
    let own = Geometry::of_model("self", builtin().decoder.config());
    let read = Geometry::from_config_file(&beside_the_manifest("models/builtin/config.json")).unwrap();
    assert_eq!(Geometry { name: own.name.clone(), ..read }, own);
    // 3,215,488 less two norms per layer and the last.
    assert_eq!(own.total_parameters(), 3_215_488.0 - 33.0 * 128.0);
    assert!(Geometry::from_config_file(&beside_the_manifest("Cargo.toml")).is_err());
    assert!(Geometry::names().all(|name| Geometry::named(name).is_some()));
}
