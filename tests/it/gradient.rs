//! The decoder in double precision against the textbook, against the decoder that runs, and its gradient against
//! differences of the textbook's loss.

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use splitwave::llm::{
    Decoder, DecoderConfig, DecoderError, DoubleDecoder, GradientError, LayerMatrices, LoadError, LoadedModel, Nll,
    Prunable, TeacherForced, WeightsProblem,
};

use crate::llm_tiny::Tiny;

const MATRICES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];
/// A step that single precision holds exactly beside weights on multiples of 2⁻²⁴ below 1/2.
const STEP: f32 = 1.0 / 1024.0;

fn config(changes: &Value) -> DecoderConfig {
    let mut fields: Value = serde_json::from_str(&Tiny::config_json()).unwrap();
    fields.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    DecoderConfig::from_json("config.json", fields.to_string().as_bytes()).unwrap()
}

/// Two windows of nine tokens, without BOS.
fn windows() -> Vec<TeacherForced> {
    let window = |first: u32| (0..9).map(|i| (first + 31 * i + i * i) % 90).collect::<Vec<u32>>();
    [window(3), window(50)].iter().map(|window| TeacherForced::new(window, None)).collect()
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The loss, and the gradient of each layer.
fn gradient(tiny: &Tiny, config: &DecoderConfig, windows: &[TeacherForced]) -> (Nll, Vec<LayerMatrices>) {
    let bytes = tiny.checkpoint();
    let mut decoder = DoubleDecoder::from_safetensors(config.clone(), "m", &bytes).unwrap();
    let mut layers = Vec::new();
    let mut visit = |(index, weights, gradient): (usize, &LayerMatrices, &LayerMatrices)| {
        assert_eq!(index + layers.len() + 1, config.layers, "from the last layer to the first");
        for (name, values) in weights.named() {
            let (_, _, stored) = tiny
                .tensors
                .iter()
                .find(|(known, ..)| *known == format!("model.layers.{index}.{name}.weight"))
                .unwrap();
            assert!(values.iter().zip(stored).all(|(a, b)| *a == f64::from(*b)), "{name}");
        }
        layers.push(gradient.clone());
    };
    let nll = decoder.gradient(windows, &mut visit, &mut go_on).unwrap();
    layers.reverse();
    (nll, layers)
}

/// Σ -ln softmax(logits)\[target\] by the textbook.
fn textbook_loss(tiny: &Tiny, windows: &[TeacherForced]) -> f64 {
    let score = |window: &TeacherForced| {
        let logits = tiny.plain_logits(&window.inputs);
        let rows = logits.chunks_exact(logits.len() / window.inputs.len()).zip(&window.targets);
        rows.map(|(row, &target)| row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[target as usize]).sum::<f64>()
    };
    windows.iter().map(score).sum()
}

/// The largest difference between the gradient and fourth-order central differences of `loss`, of every `every`-th
/// weight, relative to the root mean square of its matrix' gradient.
fn worst_difference(tiny: &Tiny, layers: &[LayerMatrices], every: usize, loss: &dyn Fn(&Tiny) -> f64) -> f64 {
    let mut worst: f64 = 0.0;
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(layer.named().map(|(name, _)| name), MATRICES);
        for (name, gradient) in layer.named() {
            let scale = (gradient.iter().map(|g| g * g).sum::<f64>() / gradient.len() as f64).sqrt();
            for at in (index..gradient.len()).step_by(every) {
                let moved = |steps: f32| {
                    let mut tiny = tiny.clone();
                    tiny.tensor_mut(&format!("model.layers.{index}.{name}.weight"))[at] += steps * STEP;
                    loss(&tiny)
                };
                let difference =
                    (8.0 * (moved(1.0) - moved(-1.0)) - (moved(2.0) - moved(-2.0))) / (12.0 * f64::from(STEP));
                worst = worst.max((gradient[at] - difference).abs() / scale);
            }
        }
    }
    worst
}

#[test]
fn logits_are_those_of_the_textbook() {
    let tiny = Tiny::default();
    let bytes = tiny.checkpoint();
    let mut decoder = DoubleDecoder::from_safetensors(config(&json!({})), "m", &bytes).unwrap();
    let tokens = &windows()[0].inputs;
    let (ours, plain) = (decoder.logits(tokens).unwrap(), tiny.plain_logits(tokens));
    assert_eq!(ours.len(), plain.len());
    // Logits up to 10; exp has 4e-13.
    assert!(ours.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-10));
}

#[test]
fn the_gradient_is_that_of_the_textbooks_loss() {
    let (tiny, windows) = (Tiny::default(), windows());
    let (nll, layers) = gradient(&tiny, &config(&json!({})), &windows);
    assert_eq!(nll.tokens, 16);
    let loss = textbook_loss(&tiny, &windows);
    assert!((nll.sum - loss).abs() < 1e-9 * loss, "{} against {loss}", nll.sum);
    // A step of 2⁻¹⁰ leaves h⁴f⁽⁵⁾/30, and ε·f/h ≈ 1e-11.
    let worst = worst_difference(&tiny, &layers, 331, &|tiny| textbook_loss(tiny, &windows));
    assert!(worst < 1e-8, "relative difference {worst:e}");
}

/// More rows than go through a layer at once, and a number of windows that doesn't fill the last portion: likelihood
/// and gradient are those of the windows one by one.
#[test]
fn many_windows_are_the_sum_of_each() {
    let (tiny, config) = (Tiny::default(), config(&json!({})));
    let window = |first: u32| (0..64).map(|i| (first + 7 * i + i * i) % 90).collect::<Vec<u32>>();
    let windows: Vec<TeacherForced> = (0..35).map(|first| TeacherForced::new(&window(first), None)).collect();
    let (all, layers) = gradient(&tiny, &config, &windows);
    let (mut sum, mut parts) = (Nll::default(), vec![0.0; layers[2].up.len()]);
    for window in &windows {
        let (nll, layers) = gradient(&tiny, &config, std::slice::from_ref(window));
        sum += nll;
        parts.iter_mut().zip(&layers[2].up).for_each(|(sum, g)| *sum += g);
    }
    assert_eq!(all.tokens, 35 * 63);
    assert!((all.sum - sum.sum).abs() < 1e-10 * sum.sum, "{all:?} against {sum:?}");
    let largest = parts.iter().fold(0.0_f64, |largest, g| largest.max(g.abs()));
    assert!(parts.iter().zip(&layers[2].up).all(|(a, b)| (a - b).abs() < 1e-10 * largest));
}

/// Mistral's sliding window, and a tied head: the gradient against differences of the same loss, whose logits are
/// compared with the decoder's below.
#[test]
fn the_gradient_of_a_sliding_window_and_a_tied_head() {
    let mut tiny = Tiny::default();
    tiny.tensors.retain(|(name, ..)| name != "lm_head.weight");
    let config = config(&json!({ "model_type": "mistral", "sliding_window": 4, "tie_word_embeddings": true }));
    let windows = windows();
    let (_, layers) = gradient(&tiny, &config, &windows);
    let loss = |tiny: &Tiny| gradient_free_loss(tiny, &config, &windows);
    let worst = worst_difference(&tiny, &layers, 601, &loss);
    assert!(worst < 1e-8, "relative difference {worst:e}");

    let decoder = Decoder::from_safetensors(config.clone(), "m", &tiny.checkpoint()).unwrap();
    let hidden = decoder.run(decoder.embed(&windows[1].inputs).unwrap(), 0..4).unwrap();
    let bytes = tiny.checkpoint();
    let ours = DoubleDecoder::from_safetensors(config, "m", &bytes).unwrap().logits(&windows[1].inputs).unwrap();
    assert_close(&ours, &decoder.logits(&hidden).unwrap(), 1e-4);
}

fn gradient_free_loss(tiny: &Tiny, config: &DecoderConfig, windows: &[TeacherForced]) -> f64 {
    let bytes = tiny.checkpoint();
    let mut decoder = DoubleDecoder::from_safetensors(config.clone(), "m", &bytes).unwrap();
    let mut sum = 0.0;
    for window in windows {
        let logits = decoder.logits(&window.inputs).unwrap();
        for (row, &target) in logits.chunks_exact(config.vocab).zip(&window.targets) {
            sum += row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[target as usize];
        }
    }
    sum
}

fn assert_close(ours: &[f64], decoder: &[f32], tolerance: f64) {
    assert_eq!(ours.len(), decoder.len());
    let worst = ours.iter().zip(decoder).fold(0.0_f64, |worst, (a, b)| worst.max((a - f64::from(*b)).abs()));
    assert!(worst < tolerance, "largest difference {worst:e}");
}

#[test]
fn logits_and_likelihoods_are_those_of_the_decoder() {
    let model = LoadedModel::builtin().unwrap();
    let mut prunable = Prunable::open("builtin").unwrap();
    let tokens = splitwave::llm::probe_window(&model.decoder, 40);
    let logits = |decoder: &Decoder, tokens: &[u32]| {
        let hidden = decoder.run(decoder.embed(tokens).unwrap(), 0..decoder.layers()).unwrap();
        decoder.logits(&hidden).unwrap()
    };
    assert_close(&prunable.decoder().logits(&tokens).unwrap(), &logits(&model.decoder, &tokens), 1e-4);

    // The last token isn't an input; without BOS in front, the first no target.
    let window = TeacherForced::new(&tokens, model.decoder.config().bos_token);
    let nll = prunable.decoder().gradient(&[window], &mut |_| (), &mut go_on).unwrap();
    let expected = model.decoder.window_nll(&tokens).unwrap();
    assert_eq!(nll.tokens, expected.tokens);
    assert!((nll.sum - expected.sum).abs() < 1e-5 * expected.sum, "{nll:?} against {expected:?}");

    // Scaled rotary positions, heads as many as KV heads, shards, a sliding window: as transformers made the files.
    for family in ["llama", "llama3", "llama-mha", "mistral"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/families").join(family);
        let decoder = Decoder::open(&path).unwrap();
        let mut prunable = Prunable::open(path.to_str().unwrap()).unwrap();
        let tokens: Vec<u32> = (0..40).map(|i| (5 + 17 * i) % decoder.config().vocab as u32).collect();
        assert_close(&prunable.decoder().logits(&tokens).unwrap(), &logits(&decoder, &tokens), 1e-4);
    }
}

#[test]
fn what_has_no_gradient_is_refused_by_name() {
    for (family, feature) in [
        ("llama-bias", "biases on queries, keys and values"),
        ("qwen2", "biases on queries, keys and values"),
        ("qwen3", "norms on queries and keys"),
        ("cohere", "layer norms"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/families").join(family);
        let error = Prunable::open(path.to_str().unwrap()).unwrap_err();
        let GradientError::Unsupported { feature: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, feature);
        assert!(error.to_string().contains(family), "{error}");
    }
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/families/quantised.gguf");
    let error = Prunable::open(gguf.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, GradientError::Load(LoadError::Form { .. })), "{error}");
    assert!(error.to_string().contains("a GGUF file, which has no config.json"), "{error}");
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let bytes = Tiny::default().checkpoint();
    let mut decoder = DoubleDecoder::from_safetensors(config(&json!({})), "m", &bytes).unwrap();
    let mut told = |windows: &[TeacherForced]| decoder.gradient(windows, &mut |_| (), &mut go_on).unwrap_err();
    let window = |tokens: &[u32]| TeacherForced::new(tokens, None);
    assert!(matches!(told(&[]), GradientError::Windows { windows: 0, .. }));
    let error = told(&[window(&[1, 2, 3]), window(&[1, 2])]);
    assert_eq!(error, GradientError::Windows { windows: 2, lengths: "2 to 3".to_owned() });
    // One token without BOS predicts nothing.
    assert_eq!(told(&[window(&[1])]), GradientError::Windows { windows: 1, lengths: "1".to_owned() });
    let error = told(&[window(&[1, 2]), window(&[1, 90])]);
    assert_eq!(error, DecoderError::TokenBeyondVocabulary { position: 1, id: 90, vocab: 90 }.into());
    assert_eq!(told(&[window(&[1; 65])]), DecoderError::WindowLength { rows: 65, max: 64 }.into());
    assert!(decoder.logits(&[]).is_err());

    let mut seen = Vec::new();
    let mut stop = |done: usize, all: usize| {
        seen.push((done, all));
        if done == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = decoder.gradient(&windows(), &mut |_| (), &mut stop).unwrap_err();
    assert_eq!((error, seen.last()), (GradientError::Interrupted, Some(&(5, 8))));
}

#[test]
fn checkpoints_that_are_not_of_the_model_are_refused() {
    let told = |tiny: &Tiny| {
        let bytes = tiny.checkpoint();
        let mut decoder = match DoubleDecoder::from_safetensors(config(&json!({})), "m", &bytes) {
            Ok(decoder) => decoder,
            Err(error) => return error,
        };
        decoder.gradient(&windows(), &mut |_| (), &mut go_on).unwrap_err()
    };
    let problem = |error: GradientError| match error {
        GradientError::Load(LoadError::Weights(error)) => error.problem,
        other => panic!("{other}"),
    };
    let mut extra = Tiny::default();
    extra.tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![48], vec![0.0; 48]));
    assert!(matches!(problem(told(&extra)), WeightsProblem::Unexpected { count: 1, .. }));
    for name in ["lm_head.weight", "model.layers.2.mlp.up_proj.weight"] {
        let mut less = Tiny::default();
        less.tensors.retain(|(known, ..)| known != name);
        assert!(matches!(problem(told(&less)), WeightsProblem::Missing { name: missing, .. } if missing == name));
    }
    let mut bad = Tiny::default();
    bad.tensor_mut("model.layers.1.self_attn.o_proj.weight")[7] = f32::NAN;
    assert!(matches!(problem(told(&bad)), WeightsProblem::NotFinite { index: 7, .. }));
}
