//! Every family against Hugging Face's transformers: logits, hidden states at each
//! split, what a corruption in the middle does, decode with a cache on either side
//! of the split. `tests/reference/README.md` says how the files are made.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use splitwave::llm::{Decoder, Hidden};

/// Largest difference to transformers, at logits and hidden states of up to about 25.
const TOLERANCE: f32 = 1e-4;
const FAMILIES: [&str; 9] =
    ["llama", "llama3", "llama-mha", "llama-bias", "mistral", "cohere", "qwen2", "qwen2-window", "qwen3"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/families")
}

/// The tensors that transformers computed.
struct Reference(Vec<u8>);

impl Reference {
    fn open(name: &str) -> Self {
        Self(std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap())
    }

    /// Values and shape, if the tensor is there.
    fn find(&self, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).ok()?;
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        let values = tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Some((values, tensor.shape().to_vec()))
    }

    fn real(&self, name: &str) -> Vec<f32> {
        self.find(name).unwrap().0
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.find(name).unwrap().1
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::I32);
        tensor.data().as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as usize).collect()
    }

    fn tokens(&self) -> Vec<u32> {
        self.integers("tokens").into_iter().map(|id| id as u32).collect()
    }
}

fn open(path: &Path) -> Decoder {
    Decoder::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Hidden states behind `layers` layers of the clean model.
fn hidden_behind(decoder: &Decoder, tokens: &[u32], layers: usize) -> Hidden {
    decoder.run(decoder.embed(tokens).unwrap(), 0..layers).unwrap()
}

fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    decoder.logits(&hidden_behind(decoder, tokens, decoder.layers())).unwrap()
}

/// The first `columns` of each row of `width` values, from row `first` on.
fn part(values: &[f32], width: usize, first: usize, columns: usize) -> Vec<f32> {
    values.chunks_exact(width).skip(first).flat_map(|row| &row[..columns]).copied().collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    // A NaN on either side is a difference without bound.
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest, d| if d.is_nan() { f32::INFINITY } else { largest.max(d) })
}

fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let first = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
    assert!(first.is_none(), "{what}: value {first:?} differs");
}

/// Collects what is too far off, so that one run names every family and place.
#[derive(Default)]
struct Findings {
    compared: usize,
    largest: f32,
    failures: Vec<String>,
}

impl Findings {
    fn compare(&mut self, what: &str, found: &[f32], expected: &[f32]) {
        let difference = largest_difference(found, expected);
        self.compared += found.len();
        self.largest = self.largest.max(difference);
        if difference > TOLERANCE {
            self.failures.push(format!("{what}: {difference:.1e}"));
        }
    }

    fn assert(self, least_compared: usize) {
        println!("{} numbers, largest difference {:.1e}", self.compared, self.largest);
        assert!(self.failures.is_empty(), "differences above {TOLERANCE:.0e}:\n{}", self.failures.join("\n"));
        assert!(self.compared >= least_compared, "only {} numbers were compared", self.compared);
    }
}

#[test]
fn logits_and_hidden_states_are_those_of_transformers() {
    let mut findings = Findings::default();
    for name in FAMILIES {
        let (reference, decoder) = (Reference::open(name), open(&folder().join(name)));
        let tokens = reference.tokens();
        let [layers, rows, width] = reference.shape("hidden")[..] else { panic!("{name}: hidden") };
        let config = decoder.config();
        assert_eq!((decoder.layers(), tokens.len(), config.d_model), (layers, rows, width), "{name}");
        assert_eq!(reference.shape("logits"), [rows, config.vocab], "{name}");
        findings.compare(&format!("{name}: logits"), &logits(&decoder, &tokens), &reference.real("logits"));
        let hidden = reference.real("hidden");
        for (layer, expected) in hidden.chunks_exact(rows * width).enumerate() {
            let found = hidden_behind(&decoder, &tokens, layer + 1);
            findings.compare(&format!("{name}: hidden states behind layer {layer}"), found.values(), expected);
        }
    }
    findings.assert(FAMILIES.len() * 26 * (72 + 3 * 24));
}

#[test]
fn a_corruption_at_a_split_has_the_same_effect() {
    let mut findings = Findings::default();
    for name in FAMILIES {
        let (reference, decoder) = (Reference::open(name), open(&folder().join(name)));
        let (tokens, vocab, width) = (reference.tokens(), decoder.config().vocab, decoder.config().d_model);
        let clean = logits(&decoder, &tokens);
        let (gains, noise) = (reference.real("noisy.gain"), reference.real("noisy.noise"));
        for kind in ["zeroed", "noisy"] {
            let rows = reference.integers(&format!("{kind}.rows"));
            let first = *rows.iter().min().unwrap();
            let expected = reference.real(&format!("{kind}.logits"));
            let [splits, _, columns] = reference.shape(&format!("{kind}.logits"))[..] else { panic!("{name}") };
            let expected = expected.chunks_exact(expected.len() / splits);
            for (split, expected) in reference.integers("splits").into_iter().zip(expected) {
                let mut sent = hidden_behind(&decoder, &tokens, split).into_vec();
                for (k, &row) in rows.iter().enumerate() {
                    let values = &mut sent[row * width..(row + 1) * width];
                    if kind == "zeroed" {
                        values.fill(0.0);
                    } else {
                        let noise = &noise[k * width..(k + 1) * width];
                        values.iter_mut().zip(noise).for_each(|(x, n)| *x = gains[k] * *x + n);
                    }
                }
                let received = Hidden::from_vec(sent, width).unwrap();
                let found = decoder.logits(&decoder.run(received, split..decoder.layers()).unwrap()).unwrap();
                let what = format!("{name}: logits, {kind} rows at split {split}");
                // Positions in front of the first corrupted row cannot know of it.
                assert_same_bits(&found[..first * vocab], &clean[..first * vocab], &what);
                assert!(largest_difference(&found, &clean) > 1.0, "{what}: nothing changed");
                findings.compare(&what, &part(&found, vocab, first, columns), expected);
            }
        }
    }
    findings.assert(FAMILIES.len() * 4 * 17 * 8);
}

/// Lengths of the pieces in which a window is fed to the caches.
fn pieces(rows: usize) -> Vec<Vec<usize>> {
    let by_one_from = |prompt: usize| [vec![prompt], vec![1; rows - prompt]].concat();
    vec![by_one_from(10), by_one_from(1), vec![7, 2, rows - 9], vec![rows]]
}

#[test]
fn decode_over_a_cache_split_in_two_is_the_prefill() {
    let mut findings = Findings::default();
    let mut by_transformers = 0;
    for name in FAMILIES {
        let (reference, decoder) = (Reference::open(name), open(&folder().join(name)));
        let (tokens, vocab, layers) = (reference.tokens(), decoder.config().vocab, decoder.layers());
        let at_once = hidden_behind(&decoder, &tokens, layers);
        let expected = decoder.logits(&at_once).unwrap();
        for split in 0..=layers {
            for pieces in pieces(tokens.len()) {
                let mut device = decoder.kv_cache(0..split).unwrap();
                let mut edge = decoder.kv_cache(split..layers).unwrap();
                let (mut hidden, mut found, mut from) = (Vec::new(), Vec::new(), 0);
                for piece in pieces {
                    let embedded = decoder.embed(&tokens[from..from + piece]).unwrap();
                    let sent = decoder.run_cached(embedded, &mut device).unwrap();
                    let out = decoder.run_cached(sent, &mut edge).unwrap();
                    found.extend(decoder.logits(&out).unwrap());
                    hidden.extend(out.into_vec());
                    from += piece;
                    assert!([&device, &edge].iter().all(|kv| kv.len() == from || kv.layers().is_empty()));
                }
                let what = format!("{name}, split {split}");
                assert_same_bits(&hidden, at_once.values(), &what);
                assert_same_bits(&found, &expected, &what);
            }
        }
        if let Some((by_steps, shape)) = reference.find("decode.logits") {
            by_transformers += 1;
            findings.compare(&format!("{name}: decode"), &part(&expected, vocab, 0, shape[1]), &by_steps);
        }
    }
    assert_eq!(by_transformers, 3);
    findings.assert((40 + 70 + 40) * 8);
}

/// A copy of the family's folder with a changed configuration.
fn with_config(name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> (tempfile::TempDir, Decoder) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder().join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    std::fs::write(&path, config.to_string()).unwrap();
    let decoder = open(copy.path());
    (copy, decoder)
}

/// The fields as releases before 5.0 wrote them, and as most published models have them.
fn to_old_generation(config: &mut Map<String, Value>) {
    if let Some(Value::Object(mut rope)) = config.remove("rope_parameters") {
        config.insert("rope_theta".into(), rope.remove("rope_theta").unwrap());
        let kind = rope.remove("rope_type").unwrap();
        let scaling = match kind.as_str().unwrap() {
            "default" => Value::Null,
            "linear" => json!({ "type": "linear", "factor": rope["factor"] }),
            _ => {
                rope.insert("rope_type".into(), kind);
                Value::Object(rope)
            }
        };
        config.insert("rope_scaling".into(), scaling);
    }
    if let Some(dtype) = config.remove("dtype") {
        config.insert("torch_dtype".into(), dtype);
    }
    config.remove("layer_types");
    let size = |field: &str| config[field].as_u64().unwrap();
    let implied = size("hidden_size") / size("num_attention_heads");
    if config.get("head_dim").and_then(Value::as_u64) == Some(implied) {
        config.remove("head_dim");
    }
}

#[test]
fn both_generations_of_a_configuration_are_the_same_model() {
    for name in FAMILIES {
        let decoder = open(&folder().join(name));
        let (_copy, old) = with_config(name, to_old_generation);
        assert_eq!(old.config(), decoder.config(), "{name}");
        let tokens = Reference::open(name).tokens();
        assert_same_bits(&logits(&old, &tokens), &logits(&decoder, &tokens), name);
    }
}

/// What the fixtures can tell apart: each of these numbers matters a hundred times
/// the tolerance, so that agreement means that it is used, and used rightly.
#[test]
fn a_changed_configuration_is_another_model() {
    for (name, pointer, value) in [
        ("llama", "/rope_parameters/rope_theta", json!(450.0)),
        ("llama", "/rms_norm_eps", json!(1e-2)),
        ("llama3", "/rope_parameters/factor", json!(6.0)),
        ("llama3", "/rope_parameters/low_freq_factor", json!(1.2)),
        ("llama3", "/rope_parameters/high_freq_factor", json!(4.5)),
        ("llama3", "/rope_parameters/original_max_position_embeddings", json!(70)),
        ("llama-bias", "/rope_parameters/factor", json!(2.4)),
        ("mistral", "/sliding_window", json!(4)),
        ("mistral", "/sliding_window", json!(6)),
        ("mistral", "/sliding_window", Value::Null),
        ("cohere", "/logit_scale", json!(0.31)),
        ("cohere", "/layer_norm_eps", json!(1e-2)),
        ("qwen2-window", "/sliding_window", json!(6)),
        ("qwen2-window", "/sliding_window", json!(8)),
        ("qwen2-window", "/layer_types/0", json!("sliding_attention")),
        ("qwen2-window", "/layer_types/1", json!("full_attention")),
        ("qwen3", "/rope_parameters/rope_theta", json!(650.0)),
    ] {
        let (_copy, changed) = with_config(name, |config| {
            let mut whole = Value::Object(std::mem::take(config));
            *whole.pointer_mut(pointer).unwrap() = value.clone();
            let Value::Object(fields) = whole else { unreachable!() };
            *config = fields;
        });
        let reference = Reference::open(name);
        let difference = largest_difference(&logits(&changed, &reference.tokens()), &reference.real("logits"));
        assert!(difference > 100.0 * TOLERANCE, "{name}: {pointer} = {value} changes the logits by {difference:.1e}");
    }
}

/// The same weights in GGUF: reordered queries and keys, rotary factors as a tensor,
/// no vocabulary but the embedding's shape.
#[test]
fn gguf_files_of_the_same_weights_agree() {
    let mut findings = Findings::default();
    for name in ["llama3", "qwen2"] {
        let (reference, decoder) = (Reference::open(name), open(&folder().join(format!("{name}.gguf"))));
        let tokens = reference.tokens();
        findings.compare(&format!("{name}.gguf: logits"), &logits(&decoder, &tokens), &reference.real("logits"));
        let rows = tokens.len() * decoder.config().d_model;
        for (layer, expected) in reference.real("hidden").chunks_exact(rows).enumerate() {
            let found = hidden_behind(&decoder, &tokens, layer + 1);
            findings.compare(&format!("{name}.gguf: hidden states behind layer {layer}"), found.values(), expected);
        }
    }
    findings.assert(2 * 26 * (72 + 3 * 24));
}

/// Q4_K, Q5_K, Q6_K and Q8_0 in one file: the weights are what the format says, and
/// products with them are as exact as others.
#[test]
fn quantised_weights_mean_what_gguf_says() {
    let mut findings = Findings::default();
    let (reference, decoder) = (Reference::open("quantised"), open(&folder().join("quantised.gguf")));
    findings.compare("quantised.gguf: logits", &logits(&decoder, &reference.tokens()), &reference.real("logits"));
    findings.assert(20 * 48);
}
