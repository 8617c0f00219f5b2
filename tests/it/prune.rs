//! `splitwave model prune`, and what is behind it: groups, scores, the pruned files.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use splitwave::llm::{
    Corpus, Decoder, DecoderConfig, GroupCounts, GroupScores, Importance, KeptGroups, LayerMatrices, LoadedModel, Nll,
    Prunable, Segmentation, TeacherForced,
};

use crate::cli_support::{Done, Place, project};
use crate::llm_tiny::Tiny;

/// Sizes of [`Tiny`]: query heads per KV head times head_dim, head_dim, d, d_ff, heads times head_dim.
const WIDE: usize = 24;
const HEAD_DIM: usize = 8;
const D: usize = 20;
const FFN: usize = 36;
const CONTEXT: usize = 48;

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// [`Tiny`] as a directory.
fn write(tiny: &Tiny, place: &Place, name: &str) -> String {
    place.write(&format!("{name}/config.json"), Tiny::config_json());
    place.write(&format!("{name}/model.safetensors"), tiny.checkpoint());
    place.path(name).display().to_string()
}

fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let hidden = decoder.run(decoder.embed(tokens).unwrap(), 0..decoder.layers()).unwrap();
    decoder.logits(&hidden).unwrap()
}

/// Weights by their place in the groups: calls `change` with the indices of each head's and channel's weights in the
/// seven matrices, in the order of [`LayerMatrices::named`].
fn group_weights(is_head: bool, group: usize) -> [Vec<usize>; 7] {
    let rows = |first: usize, count: usize| (first * D..(first + count) * D).collect::<Vec<usize>>();
    let columns = |first: usize, count: usize, width: usize| {
        (0..D).flat_map(|row| (first..first + count).map(move |column| row * width + column)).collect::<Vec<usize>>()
    };
    let none = Vec::new;
    if is_head {
        let narrow = || rows(group * HEAD_DIM, HEAD_DIM);
        let query = rows(group * WIDE, WIDE);
        [query, narrow(), narrow(), columns(group * WIDE, WIDE, CONTEXT), none(), none(), none()]
    } else {
        [none(), none(), none(), none(), rows(group, 1), rows(group, 1), columns(group, 1, FFN)]
    }
}

/// Scores of both kinds by loops over the weights of each group.
fn scores_by_hand(layers: &[LayerMatrices]) -> GroupScores {
    let score = |layer: &LayerMatrices, is_head: bool, group: usize| {
        let parts = group_weights(is_head, group).into_iter().zip(layer.named());
        parts.map(|(indices, (_, values))| indices.iter().map(|&at| values[at]).sum::<f64>()).sum::<f64>()
    };
    GroupScores {
        heads: layers.iter().map(|layer| (0..2).map(|group| score(layer, true, group)).collect()).collect(),
        channels: layers.iter().map(|layer| (0..FFN).map(|group| score(layer, false, group)).collect()).collect(),
    }
}

fn assert_near(found: &GroupScores, expected: &GroupScores) {
    for (found, expected) in [(&found.heads, &expected.heads), (&found.channels, &expected.channels)] {
        assert_eq!((found.len(), found[0].len()), (expected.len(), expected[0].len()));
        let pairs = found.iter().flatten().zip(expected.iter().flatten());
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs()), "{found:?} against {expected:?}");
    }
}

fn each(matrices: &LayerMatrices, f: impl Fn(usize, usize, f64) -> f64) -> LayerMatrices {
    let parts = matrices.named().into_iter().enumerate();
    let mut parts =
        parts.map(|(which, (_, values))| values.iter().enumerate().map(|(at, &w)| f(which, at, w)).collect());
    let mut next = || parts.next().unwrap();
    LayerMatrices { query: next(), key: next(), value: next(), output: next(), gate: next(), up: next(), down: next() }
}

#[test]
fn scores_are_sums_over_the_weights_of_a_group() {
    let place = Place::new();
    let mut prunable = Prunable::open(&write(&Tiny::default(), &place, "tiny")).unwrap();
    let window: Vec<u32> = (0..9).map(|i| (3 + 31 * i + i * i) % 90).collect();
    let windows = [TeacherForced::new(&window, None)];
    let (mut salience, mut magnitude) = (Vec::new(), Vec::new());
    let mut visit = |(_, weights, gradient): (usize, &LayerMatrices, &LayerMatrices)| {
        salience.insert(0, each(weights, |which, at, w| (w * gradient.named()[which].1[at]).abs()));
        magnitude.insert(0, each(weights, |_, _, w| w.abs()));
    };
    prunable.decoder().gradient(&windows, &mut visit, &mut go_on).unwrap();
    let first_order = prunable.score(Importance::FirstOrder(&windows), &mut go_on).unwrap();
    assert_near(&first_order, &scores_by_hand(&salience));
    assert_near(&prunable.score(Importance::Magnitude, &mut go_on).unwrap(), &scores_by_hand(&magnitude));
}

#[test]
fn random_scores_are_pinned() {
    let place = Place::new();
    let mut prunable = Prunable::open(&write(&Tiny::default(), &place, "tiny")).unwrap();
    let scores = prunable.score(Importance::Random(1), &mut go_on).unwrap();
    let found = [scores.heads[0][0], scores.heads[3][1], scores.channels[0][0], scores.channels[3][35]];
    assert_eq!(found, PINNED);
    assert_ne!(scores, prunable.score(Importance::Random(2), &mut go_on).unwrap());
}

const PINNED: [f64; 4] =
    [0.425_140_373_646_399_34, 0.480_881_828_308_428_96, 0.807_658_532_793_673_1, 0.431_609_800_382_917_96];

/// A pruned model is the original with the weights of what went set to zero.
#[test]
fn removing_a_group_is_setting_it_to_zero() {
    let place = Place::new();
    let tokens: Vec<u32> = (0..20).map(|i| (3 + 31 * i) % 90).collect();
    for (dtype, name) in [(Dtype::F32, "f32"), (Dtype::F16, "f16"), (Dtype::BF16, "bf16")] {
        let mut tiny = Tiny { dtype, ..Tiny::default() };
        let mut prunable = Prunable::open(&write(&tiny, &place, name)).unwrap();
        // Other groups in each layer.
        let scores = prunable.score(Importance::Random(7), &mut go_on).unwrap();
        let kept = scores.keep(GroupCounts { heads: 1, channels: 15 });
        assert_eq!(kept.counts(), GroupCounts { heads: 1, channels: 21 });
        let mut bytes = Vec::new();
        let written = prunable.write_weights(&kept, &mut bytes).unwrap();
        assert_eq!(written, prunable.stored_bytes(&kept).unwrap());
        // As the reference implementation of the format reads it, with what transformers asks for.
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 3 + 9 * 4);
        let output = file.tensor("model.layers.2.self_attn.o_proj.weight").unwrap();
        assert_eq!((output.dtype(), output.shape()), (dtype, &[20, 24][..]));
        let out = format!("{name}-pruned");
        place.write(&format!("{out}/config.json"), prunable.pruned_config(&kept));
        place.write(&format!("{out}/model.safetensors"), &bytes);
        let pruned = Decoder::open(&place.path(&out)).unwrap();
        let config = pruned.config();
        assert_eq!((config.heads, config.kv_heads, config.head_dim, config.d_ff), (3, 1, 8, 21));
        // 90·20 twice, and in each layer 20·8·(3 + 1 + 1 + 3) + 3·20·21, and norms.
        assert_eq!(pruned.parameters(), 2 * 1800 + 4 * (20 * 8 * 8 + 3 * 20 * 21) + 9 * 20);
        assert_eq!(written, pruned.parameters() * if dtype == Dtype::F32 { 4 } else { 2 });

        let whole = logits(&tiny.decoder(), &tokens);
        for layer in 0..4 {
            let gone_heads = (0..2).filter(|group| !kept.heads[layer].contains(group));
            let gone_channels = (0..FFN).filter(|group| !kept.channels[layer].contains(group));
            let gone = gone_heads.map(|group| (true, group)).chain(gone_channels.map(|group| (false, group)));
            for (is_head, group) in gone {
                let names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
                let names = names.into_iter().chain(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]);
                for (part, indices) in names.zip(group_weights(is_head, group)) {
                    let values = tiny.tensor_mut(&format!("model.layers.{layer}.{part}.weight"));
                    for at in indices {
                        values[at] = 0.0;
                    }
                }
            }
        }
        let (zeroed, pruned) = (logits(&tiny.decoder(), &tokens), logits(&pruned, &tokens));
        let difference = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(difference(&zeroed, &pruned) < 1e-5, "{name}: {}", difference(&zeroed, &pruned));
        assert!(difference(&whole, &pruned) > 0.1, "{name}: something went");
    }
}

#[test]
fn nothing_removed_is_the_same_model() {
    let mut prunable = Prunable::open("builtin-small").unwrap();
    let whole = KeptGroups::all(prunable.config());
    let mut weights = Vec::new();
    prunable.write_weights(&whole, &mut weights).unwrap();
    let text = prunable.pruned_config(&whole);
    let again = DecoderConfig::from_json("config.json", text.as_bytes()).unwrap();
    assert_eq!(again, *prunable.config());
    let again = Decoder::from_safetensors(again, "m", &weights).unwrap();
    let model = LoadedModel::builtin_small().unwrap();
    assert_eq!(again.parameters(), model.decoder.parameters());
    let tokens: Vec<u32> = (0..30).map(|i| 1 + 67 * i).collect();
    assert_eq!(logits(&again, &tokens), logits(&model.decoder, &tokens));
}

fn ok(done: &Done) -> &str {
    assert_eq!(done.code, Some(0), "{done:?}");
    &done.out
}

fn pruning(place: &Place, folder: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(folder).join("pruning.json")).unwrap()).unwrap()
}

/// At one ratio, first-order importance leaves a better model than chance: by more than the largest of three draws.
#[test]
fn first_order_importance_beats_chance() {
    let place = Place::new();
    let ppl = |folder: &str, options: &[&str]| {
        let common =
            ["model", "prune", "builtin-small", "-q", "--out", folder, "--heads-ratio", "0", "--channels-ratio"];
        ok(&place.splitwave(&[&common[..], &["0.3", "--held-out", "24"], options].concat()));
        let pruning = pruning(&place, folder);
        (pruning["before"]["ppl"].as_f64().unwrap(), pruning["after"]["ppl"].as_f64().unwrap())
    };
    let (before, by_first_order) = ppl("first-order", &["--windows", "8"]);
    assert!(before < by_first_order);
    for seed in ["1", "2", "3"] {
        let random = ["--windows", "8", "--importance", "random", "--seed", seed];
        let (same, by_chance) = ppl(&format!("random-{seed}"), &random);
        assert_eq!(before, same, "the held-out windows are the same");
        assert!(by_first_order < 0.95 * by_chance, "{by_first_order} against {by_chance} at seed {seed}");
    }
}

#[test]
fn the_command_writes_a_model_and_says_what_it_is() {
    let place = Place::new();
    let arguments = ["model", "prune", "builtin-small", "--out", "a/pruned", "--ratio", "0.5", "--held-out", "10"];
    let done = place.splitwave(&[&arguments[..], &["--windows", "4", "--tokens", "64"]].concat());
    let text = ok(&done);
    // d = 96, 4 layers, 2 heads of 24 on 1 KV head, ffn 128, V = 2048, tied.
    let layer = 2 * 96 * (2 + 1) * 24 + 3 * 96 * 128;
    let parameters = 2048 * 96 + 4 * layer + 9 * 96;
    let model = LoadedModel::from_dir(&place.path("a/pruned")).unwrap();
    assert_eq!(model.decoder.parameters(), parameters);
    let pruning = pruning(&place, "a/pruned");
    let after = &pruning["after"];
    assert_eq!((&after["parameters"], &after["stored_bytes"]), (&parameters.into(), &(2 * parameters).into()));
    assert_eq!(after["f16_bytes"], 2 * parameters);
    let decode = 4 * (2 * layer + 4 * 64 * 48) + 2 * 2048 * 96;
    assert_eq!(after["decode_flop"].as_f64(), Some(decode as f64));
    assert_eq!(after["prompt_flop_per_token"].as_f64(), Some((4 * (2 * layer + 2 * 64 * 48)) as f64));
    for (what, value) in [
        ("parameters", "400,224"),
        ("FLOP per decoded token, context 64", "847,872"),
        ("keys and values per position in f16", "384 bytes"),
        ("query heads of a layer", "2"),
        ("key/value heads of a layer", "1"),
        ("feed-forward channels of a layer", "128"),
    ] {
        let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what}:\n{text}"));
        // Behind the figure before.
        let cells: Vec<&str> = line[what.len()..].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[1], value, "{line}");
    }
    assert_eq!(text.lines().filter(|line| line.ends_with(" %") && line.contains(" 128 ")).count(), 5, "{text}");
    assert!(done.err.contains("importance: pass 8 of 8 through a layer\n"), "{}", done.err);

    // Perplexity is that of the windows that it says, none of which was used for calibration.
    let corpus = Corpus::open("builtin", &model.tokenizer, 2048, Segmentation::Tokens).unwrap();
    let windows: Vec<usize> = serde_json::from_value(pruning["held_out_windows"].clone()).unwrap();
    let calibration: Vec<usize> = serde_json::from_value(pruning["calibration_windows"].clone()).unwrap();
    assert_eq!((windows.len(), calibration.len()), (10, 4));
    assert!(windows.iter().all(|window| !calibration.contains(window)));
    let nll = windows.iter().map(|&index| model.decoder.window_nll(corpus.window(index, 64).unwrap()).unwrap());
    assert_eq!(after["ppl"].as_f64(), Some(nll.sum::<Nll>().perplexity()));

    // The scores' own ranking, once more through the library.
    let original = LoadedModel::builtin_small().unwrap();
    let bos = original.decoder.config().bos_token;
    let windows: Vec<TeacherForced> =
        calibration.iter().map(|&index| TeacherForced::new(corpus.window(index, 64).unwrap(), bos)).collect();
    let mut prunable = Prunable::open("builtin-small").unwrap();
    let scores = prunable.score(Importance::FirstOrder(&windows), &mut go_on).unwrap();
    let kept = scores.keep(GroupCounts { heads: 1, channels: 128 });
    assert_eq!(serde_json::from_value::<Vec<Vec<usize>>>(pruning["kept_heads"].clone()).unwrap(), kept.heads);
    assert_eq!(serde_json::from_value::<Vec<Vec<usize>>>(pruning["kept_channels"].clone()).unwrap(), kept.channels);

    // It is a model like any other, and the same command gives the same bytes.
    let tokenizer = fs::read(project().join("models/builtin/tokenizer.json")).unwrap();
    assert_eq!(fs::read(place.path("a/pruned/tokenizer.json")).unwrap(), tokenizer);
    ok(&place.splitwave(&["model", "check", "a/pruned", "-q"]));
    let bytes = |name: &str| fs::read(place.path("a/pruned").join(name)).unwrap();
    let before = ["model.safetensors", "config.json", "pruning.json"].map(bytes);
    place
        .splitwave(&[&arguments[..], &["--windows", "4", "--tokens", "64"]].concat())
        .says(2, &["a/pruned: is there already", "hint: ", "--force"]);
    ok(&place.splitwave(&[&arguments[..], &["--windows", "4", "--tokens", "64", "--force", "-q"]].concat()));
    assert_eq!(["model.safetensors", "config.json", "pruning.json"].map(bytes), before);
    assert_eq!(fs::read_dir(place.path("a")).unwrap().count(), 1, "nothing hidden stays");

    // Once more: what was pruned can be pruned.
    let done = place.splitwave(&["model", "prune", "a/pruned", "-o", "b", "--ratio", "0.25", "--tokens", "64"]);
    ok(&done);
    assert!(done.err.contains("note: no heads went: 0.25 of 1 key/value head is less than one\n"), "{}", done.err);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let place = Place::new();
    place.write("short.txt", "A few words only.");
    place.write("bytes.txt", [0xff, 0xfe, 0x00]);
    let ratio = "allowed: 0 up to, but not including, 1: a layer keeps at least one group";
    for (options, said) in [
        (&["--ratio", "1"][..], &["'1' for '--ratio <R>'", ratio][..]),
        (&["--ratio", "NaN"], &["'NaN' for '--ratio <R>'", ratio]),
        (&["--ratio", "-0.1"], &["'-0.1' for '--ratio <R>'", ratio]),
        (&["--heads-ratio", "inf"], &["'inf' for '--heads-ratio <R>'", ratio]),
        (&["--channels-ratio", "half"], &["'half' for '--channels-ratio <R>'", ratio]),
        (
            &["--ratio", "0.003"],
            &["nothing would go: 0.003 of 2 key/value heads and 0.003 of 256 channels", "hint: give --heads-ratio 0.5"],
        ),
        (&["--ratio", "0"], &["nothing would go: 0 of 2 key/value heads"]),
        (&["--windows", "0"], &["'0'", "'--windows <N>'", "1.."]),
        (&["--windows", "-3"], &["'-3'", "'--windows <N>'"]),
        (
            &["--windows", "112"],
            &["--windows 112: builtin has 112 windows of 128 tokens", "allowed: 1 to 111", "hint: take"],
        ),
        (&["--held-out", "0"], &["'0'", "'--held-out <N>'"]),
        (&["--tokens", "0"], &["--tokens: windows of 0 don't fit the model; allowed: 1 to 512"]),
        (&["--tokens", "513"], &["--tokens: windows of 513", "1 to 512"]),
        (&["--tokens", "-9223372036854775808"], &["--tokens: windows of -9223372036854775808"]),
        (&["--corpus", "nowhere.txt"], &["nowhere.txt: cannot be read", "hint: choose a text with --corpus"]),
        (&["--corpus", "bytes.txt"], &["bytes.txt: is not UTF-8 text: invalid from byte 0"]),
        (&["--corpus", "short.txt"], &["--windows 16: short.txt has 0 windows of 128 tokens"]),
        (&["--importance", "second-order"], &["second-order", "first-order, magnitude, random"]),
        (&["--seed", "2"], &["--seed plays no part: only --importance random draws", "hint: leave it out"]),
        (
            &["--ratio", "0.5", "--heads-ratio", "0.5", "--channels-ratio", "0.5"],
            &["--ratio plays no part", "hint: leave it out"],
        ),
    ] {
        let done = place.splitwave(&[&["model", "prune", "builtin-small", "-o", "out"], options].concat());
        done.says(2, said);
        assert_eq!(done.out, "", "{options:?}");
        let left = fs::read_dir(place.path("")).unwrap().count();
        assert_eq!(left, 2, "{options:?}: nothing stays but the two texts");
    }
}

#[test]
fn models_that_cannot_be_pruned_are_refused() {
    let place = Place::new();
    let families = project().join("tests/reference/families");
    let prune = |source: &str| place.splitwave(&["model", "prune", source, "-o", "out"]);
    prune("nowhere").says(2, &["nowhere/config.json: cannot be read", "hint: a model is"]);
    let biased = families.join("llama-bias").display().to_string();
    prune(&biased)
        .says(2, &["llama-bias: a llama model with biases on queries, keys and values has no gradient", "hint: "]);
    let gguf = families.join("quantised.gguf").display().to_string();
    prune(&gguf).says(2, &["quantised.gguf: a GGUF file", "hint: prune the checkpoint that it was made from"]);
    // Without a tokenizer there is no text.
    let silent = write(&Tiny::default(), &place, "tiny");
    prune(&silent).says(2, &["tiny: there is no tokenizer", "hint: add the tokenizer of the same model"]);

    // Damage that only shows when the weights are read leaves nothing behind.
    for file in ["config.json", "tokenizer.json"] {
        let from = if file == "config.json" { "models/builtin/small" } else { "models/builtin" };
        place.write(&format!("bad/{file}"), fs::read(project().join(from).join(file)).unwrap());
    }
    let mut weights = fs::read(project().join("models/builtin/small/model.safetensors")).unwrap();
    let end = weights.len();
    weights[end - 2..].copy_from_slice(&[0x00, 0x7e]);
    place.write("bad/model.safetensors", weights);
    prune("bad").says(2, &["bad/model.safetensors", "NaN", "hint: "]);
    let mut names: Vec<String> =
        fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["bad", "tiny"]);
}

#[test]
fn what_is_in_the_way_stays() {
    let place = Place::new();
    let prune = |options: &[&str]| {
        let small =
            ["model", "prune", "builtin-small", "-q", "--importance", "magnitude", "--held-out", "1", "--tokens", "8"];
        place.splitwave(&[&small[..], options].concat())
    };
    place.write("file", "mine");
    prune(&["-o", "file"]).says(2, &["file: is there already", "--force"]);
    prune(&["-o", "file", "--force"]).says(2, &["file: is not a directory, so it is not replaced", "hint: "]);
    place.write("thesis/chapter.tex", "mine");
    place.write("thesis/config.json", "{}");
    let foreign = "thesis: holds `chapter.tex`, which no model's directory of this program holds; it is not replaced";
    prune(&["-o", "thesis", "--force"]).says(2, &[foreign, "hint: choose another directory with --out"]);
    assert_eq!(fs::read(place.path("thesis/chapter.tex")).unwrap(), b"mine");
    prune(&["-o", "file/below"]).says(1, &["file", "hint: choose a directory that can be written"]);
    prune(&["-o", ".."]).says(2, &[".."]);
    ok(&prune(&["-o", "pruned"]));
    let done = place.splitwave(&["model", "prune", "pruned", "-o", "./pruned", "--force"]);
    done.says(2, &["--out ./pruned: is the model that is pruned", "hint: "]);
    let mut names: Vec<String> =
        fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["file", "pruned", "thesis"]);
    assert!(Path::new(&place.path("pruned/model.safetensors")).is_file());
}
