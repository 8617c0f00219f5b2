use std::collections::BTreeMap;

use super::*;
use crate::control::Surrogate;
use crate::kernel::{Purpose, Streams};
use crate::llm::{BUILTIN, Corpus, LoadedModel, Segmentation};
use crate::rl::{Activation, Mlp, RegressionSettings};

fn pair() -> HeadPair {
    HeadPair { device: "d".repeat(64), edge: "e".repeat(64), tokenizer: "0".repeat(64) }
}

/// A linear head of nine inputs: r̂ = -1 + 2·Σ w_k (x_k - mean_k)/scale_k with w = 0.1, 0.2, … 0.9.
fn linear() -> RewardHead {
    let weights: Vec<f32> = (1..=9).map(|k| 0.1 * k as f32).chain([0.0]).collect();
    RewardHead {
        level: HeadLevel::Token,
        features: HeadLevel::Token.features().to_vec(),
        width: 2,
        network: Mlp::from_parameters(&[9, 1], Activation::Relu, weights).unwrap(),
        columns: vec![Standard { mean: 0.0, scale: 1.0 }; 9],
        label: Standard { mean: -1.0, scale: 2.0 },
        pair: pair(),
        temperature: 1.0,
        range: (-3.0, 0.0),
        made_with: BTreeMap::from([("prompts".to_owned(), "7".to_owned())]),
        metrics: BTreeMap::from([("mse".to_owned(), 0.25)]),
        content_hash: String::new(),
    }
    .sealed()
    .unwrap()
}

fn refused(change: impl FnOnce(&mut RewardHead)) -> String {
    let mut head = linear();
    change(&mut head);
    RewardHead::from_bytes("head.safetensors", &head.to_bytes().unwrap()).unwrap_err().to_string()
}

#[test]
fn a_linear_head_predicts_what_a_hand_does() {
    let mut head = linear();
    // p = 1/4, 3/4; x = 0. ln p(x) = -1.386294, ln p_(1) = -0.287682, H = 0.562335.
    let logits = [0.0, 3.0_f32.ln()];
    let proposal = Proposal { hidden: &[1.0, -2.0], embedding: &[0.5, 0.25], logits: &logits, token: 0 };
    // 0.1·1 - 0.2·2 + 0.3·0.5 + 0.4·0.25 + 0.5·0.5 + 0.6·(-0.5) + 0.7·ln p(x) + 0.8·ln p_(1) + 0.9·H
    let sum = -0.1 + 0.7 * 0.25_f64.ln() + 0.8 * 0.75_f64.ln() + 0.9 * (0.25 * 4_f64.ln() - 0.75 * 0.75_f64.ln());
    assert!((head.predict(&proposal) - (-1.0 + 2.0 * sum)).abs() < 1e-5);
    // Standardised: the first input is (1 - 3)/4.
    head.columns[0] = Standard { mean: 3.0, scale: 4.0 };
    assert!((head.predict(&proposal) - (-1.0 + 2.0 * (sum - 0.1 + 0.1 * -0.5))).abs() < 1e-5);
    // A reward is at most 0.
    head.label.mean = 50.0;
    assert_eq!(head.predict(&proposal), 0.0);
    assert_eq!(head.flop(), 18.0);
}

#[test]
fn what_is_no_proposal_of_the_device_is_not_kept() {
    let head = linear();
    let (logits, nan) = ([0.0, 1.0], [f32::NAN, 1.0]);
    for (hidden, logits, token) in
        [(&[1.0, 2.0, 3.0][..], &logits, 0), (&[1.0, 2.0], &nan, 0), (&[1.0, 2.0], &logits, 9)]
    {
        let proposal = Proposal { hidden, embedding: &[0.5, 0.25], logits, token };
        assert_eq!(head.predict(&proposal), f64::NEG_INFINITY);
    }
    let query =
        QueryFeatures { hidden: vec![0.0; 2], mean_hidden: vec![0.0; 2], mean_entropy: 1.0, mean_max_softmax: 0.5 };
    assert_eq!(head.predict_query(&query), f64::NEG_INFINITY, "a head of tokens knows no queries");
}

#[test]
fn a_file_holds_the_very_same_head() {
    let head = linear();
    let again = RewardHead::from_bytes("head", &head.to_bytes().unwrap()).unwrap();
    assert_eq!(again, head);
    assert_eq!(again.content_hash().len(), 64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.safetensors");
    head.save(&path).unwrap();
    assert_eq!(RewardHead::open(&path).unwrap(), head);
    let missing = RewardHead::open(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: "), "{missing}");
}

#[test]
fn foreign_and_damaged_files_are_named() {
    let bytes = linear().to_bytes().unwrap();
    let message = |bytes: &[u8]| RewardHead::from_bytes("f", bytes).unwrap_err().to_string();
    assert!(message(&bytes[..bytes.len() - 1]).contains("f: no whole safetensors file"));
    assert!(message(b"").contains("no whole safetensors file"));
    let surrogate = Surrogate::named("builtin").unwrap().unwrap().to_bytes().unwrap();
    let foreign = message(&surrogate);
    assert!(foreign.contains("holds no reward head: it is a file of format \"surrogate\""), "{foreign}");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(r#"\"version\":1"#));
    let at = |pattern: &[u8]| bytes.windows(pattern.len()).position(|window| window == pattern).unwrap();
    let mut other = bytes.clone();
    other[at(br#"\"version\":1"#) + 12] = b'7';
    assert!(message(&other).contains("format version 7; this program reads 1"));
    let mut other = bytes.clone();
    other[at(b"reward-head")] = b'R';
    assert!(message(&other).contains("format \"Reward-head\""));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    type Change = fn(&mut RewardHead);
    let cases: [(Change, &str); 12] = [
        (|head| head.network.parameters_mut()[3] = f32::NAN, "`layers.0.weight` holds NaN"),
        (|head| head.network.parameters_mut()[9] = f32::INFINITY, "`layers.0.bias` holds inf"),
        (|head| head.columns[4].scale = 0.0, "`inputs.scale` holds 0"),
        (|head| head.columns[4].mean = f64::NAN, "`inputs.mean` holds NaN"),
        (|head| head.columns.truncate(8), "`inputs.mean` has shape [8] in F64, not [9]"),
        (|head| head.label.scale = -1.0, "`label.scale` holds -1"),
        (|head| head.range = (-1.0, -2.0), "`range` goes from -1 to -2"),
        (|head| head.range = (-1.0, 0.5), "`range` holds 0.5"),
        (|head| head.temperature = f64::INFINITY, "`temperature` holds inf"),
        (|head| head.width = 3, "`sizes` is [9, 1]; allowed: 12 inputs"),
        (|head| head.features.swap(0, 1), "allowed: some of hidden, embedding, product, confidence, in this order"),
        (|head| head.pair.edge = "xyz".to_owned(), "`edge` is \"xyz\"; allowed: 64 hexadecimal digits"),
    ];
    for (change, expected) in cases {
        let message = refused(change);
        assert!(message.contains(expected) && message.starts_with("head.safetensors: "), "{message}");
        assert!(message.ends_with("`splitwave fit-reward`"), "{message}");
    }
    let message = refused(|head| head.features.truncate(0));
    assert!(message.contains("`features` is []"), "{message}");
    let message = refused(|head| head.features[0] = HeadFeature::Mean);
    assert!(message.contains("`features`"), "{message}");
    let message = refused(|head| head.width = usize::MAX);
    assert!(message.contains("`width`"), "{message}");
}

/// 4,000 files with one to three bytes changed: an error, or a head that gives no NaN.
#[test]
fn corrupted_bytes_never_panic() {
    let bytes = linear().to_bytes().unwrap();
    let draws = Streams::new(9, 0).stream(0, Purpose::Test);
    let proposal = Proposal { hidden: &[1.0, -2.0], embedding: &[0.5, 0.25], logits: &[0.0, 1.0], token: 1 };
    let mut accepted = 0;
    for trial in 0..4_000 {
        let mut changed = bytes.clone();
        for change in 0..=draws.below(trial * 8, 3) {
            let block = draws.block(trial * 8 + 1 + change);
            changed[block[0] as usize % bytes.len()] = block[1] as u8;
        }
        if let Ok(head) = RewardHead::from_bytes("f", &changed) {
            assert!(!head.predict(&proposal).is_nan());
            accepted += 1;
        }
    }
    assert!(accepted > 100, "{accepted}: changes of weights and names are no damage");
}

#[test]
fn another_pair_is_told_by_what_is_other() {
    let (device, edge) = (LoadedModel::builtin_small().unwrap(), LoadedModel::builtin().unwrap());
    let head = RewardHead { pair: HeadPair::of(&device, &edge), ..linear() };
    assert_eq!(head.check_pair(&device, &edge), Ok(()));
    let other = head.check_pair(&edge, &device).unwrap_err();
    assert_eq!((other.part, other.fitted.as_str()), ("device's model", &device.content_hash()[..12]));
    assert_eq!(head.check_pair(&device, &device).unwrap_err().part, "edge's model");
    let head = RewardHead { pair: HeadPair { tokenizer: "0".repeat(64), ..HeadPair::of(&device, &edge) }, ..linear() };
    let message = head.check_pair(&device, &edge).unwrap_err().to_string();
    assert!(message.contains("fitted for the device's tokenizer 000000000000…") && message.contains("fit-reward"));
}

/// 70 positions, more than are in memory at once, against everything at once.
#[test]
fn features_of_a_query_are_means_over_its_positions() {
    let model = LoadedModel::builtin_small().unwrap();
    let decoder = &model.decoder;
    let corpus = Corpus::open(BUILTIN, &model.tokenizer, decoder.config().vocab, Segmentation::Tokens).unwrap();
    let states = decoder.run(decoder.embed(corpus.window(1, 70).unwrap()).unwrap(), 0..decoder.layers()).unwrap();
    let found = QueryFeatures::of(decoder, &states).unwrap();
    let (normed, logits) = (decoder.normed(&states).unwrap(), decoder.logits(&states).unwrap());
    let (d, vocab) = (decoder.config().d_model, decoder.config().vocab);
    assert_eq!(found.hidden, normed[69 * d..]);
    let of = |row: usize| {
        let logits = &logits[row * vocab..(row + 1) * vocab];
        Confidence::of(&Proposal { hidden: &[], embedding: &[], logits, token: 0 })
    };
    let mean = |figure: fn(&Confidence) -> f64| (0..70).map(|row| figure(&of(row))).sum::<f64>() / 70.0;
    assert!((found.mean_entropy - mean(|of| of.entropy)).abs() < 1e-9);
    assert!((found.mean_max_softmax - mean(|of| of.max_softmax)).abs() < 1e-9);
    let third = (0..70).map(|row| f64::from(normed[row * d + 3])).sum::<f64>() / 70.0;
    assert!((f64::from(found.mean_hidden[3]) - third).abs() < 1e-6);
}

/// r = min(0, h₀ - 1) in ten tokens of each of 60 prompts: learned to a twentieth of its variance, with inputs far from
/// standard; the same fit has the same bits.
#[test]
fn a_reward_is_learned_from_rows() {
    let draws = Streams::new(4, 0).stream(1, Purpose::Test);
    let (mut inputs, mut labels, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..600 {
        let [a, b] = draws.normal_pair(row);
        let [c, e] = draws.normal_pair(1_000 + row);
        inputs.extend([a, 100.0 + b, 0.01 * c, e].map(|x| x as f32));
        labels.push((a - 1.0).min(0.0));
        prompts.push(row as u32 / 10);
    }
    let features = [HeadFeature::Hidden, HeadFeature::Embedding];
    let (level, width) = (HeadLevel::Token, 2);
    let rows = HeadRows { level, features: &features, width, inputs: &inputs, labels: &labels, prompts: &prompts };
    let settings = RegressionSettings { hidden: vec![16], ..RegressionSettings::default() };
    let origin = HeadOrigin { pair: pair(), temperature: 0.0, made_with: BTreeMap::new() };
    let train = |entity| rows.train(&origin, &settings, Streams::new(1, 0), entity).unwrap();
    let head = train(0);
    let mean = labels.iter().sum::<f64>() / 600.0;
    let variance = labels.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 600.0;
    let predictions = rows.predictions(&head);
    let mse = predictions.iter().zip(&labels).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 600.0;
    assert!(mse < 0.05 * variance, "{mse} of {variance}");
    let proposal = Proposal { hidden: &inputs[..2], embedding: &inputs[2..4], logits: &[], token: 0 };
    assert_eq!(head.predict(&proposal), predictions[0]);
    let (low, high) = head.range();
    assert!(predictions.iter().all(|r| (low..=high).contains(r)) && predictions.contains(&low));
    assert_eq!(head, train(0));
    assert_ne!(head.content_hash(), train(1).content_hash());

    let one = HeadRows { prompts: &[5; 600], ..rows };
    let message = one.train(&origin, &settings, Streams::new(1, 0), 0).unwrap_err().to_string();
    assert!(message.contains("1 prompts in 600 rows"), "{message}");
    let mut nan = labels.clone();
    nan[17] = f64::NAN;
    assert!(HeadRows { labels: &nan, ..rows }.train(&origin, &settings, Streams::new(1, 0), 0).is_err());
}

/// Eleven prompts of three rows; a fifth is two of them.
#[test]
fn prompts_are_held_out_whole() {
    let prompts: Vec<u32> = (0..33).map(|row| 100 + row % 11).collect();
    let (inputs, labels) = (vec![0.0; 66], vec![0.0; 33]);
    let features = [HeadFeature::Hidden];
    let (level, width) = (HeadLevel::Query, 2);
    let rows = HeadRows { level, features: &features, width, inputs: &inputs, labels: &labels, prompts: &prompts };
    let held = rows.held_out(0.2, Streams::new(1, 0), 0).unwrap();
    let of = |prompt: u32| -> Vec<bool> {
        prompts.iter().zip(&held).filter(|(of, _)| **of == prompt).map(|(_, held)| *held).collect()
    };
    assert!((100..111).all(|prompt| of(prompt) == [of(prompt)[0]; 3]));
    assert_eq!(held.iter().filter(|held| **held).count(), 6);
    assert_ne!(held, rows.held_out(0.2, Streams::new(1, 0), 1).unwrap());
}
