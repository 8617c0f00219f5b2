//! `splitwave fit-reward`: what it computes, what it writes, and what it says of bad options; and the built-in heads.

use std::collections::{BTreeMap, BTreeSet};

use splitwave::control::collaboration::{HeadLevel, Proposal, RewardHead, Scorer};
use splitwave::kernel::{Purpose, Streams};
use splitwave::llm::{BUILTIN, Corpus, LoadedModel, Sampling, Segmentation, TeacherForced, negative_log_likelihood};
use splitwave::stats::{RankOrder, rank_correlation};

use crate::cli_support::{Done, Place, csv_rows, project};

/// Rollouts and networks of a second.
const SMALL: [&str; 12] = [
    "--prompts",
    "24",
    "--prompt-tokens",
    "16",
    "--output-tokens",
    "6",
    "--folds",
    "3",
    "--epochs",
    "12",
    "--hidden",
    "8",
];
const FILES: [&str; 8] = [
    "reward.safetensors",
    "metrics.csv",
    "share_ratio.csv",
    "tradeoff.csv",
    "thresholds.csv",
    "calibration.csv",
    "predictions.csv",
    "manifest.json",
];

type Row = BTreeMap<String, String>;

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is `{}`", row[column]))
}

fn fit_reward(place: &Place, out: &str, options: &[&str]) -> Done {
    place.splitwave(&[&["fit-reward", "-o", out], &SMALL[..], options].concat())
}

fn rows(place: &Place, file: &str) -> Vec<Row> {
    csv_rows(&place.path(file)).1
}

/// The sum of ranks, by counting pairs.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |x: &[f64]| -> Vec<f64> {
        let below = |v: f64| x.iter().map(|&w| f64::from(u8::from(w < v)) + 0.5 * f64::from(u8::from(w == v))).sum();
        x.iter().map(|&v| below(v)).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(&a), mean(&b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum() };
    product(&a, ma, &b, mb) / (product(&a, ma, &a, ma) * product(&b, mb, &b, mb)).sqrt()
}

/// Everything in the tables follows from predictions.csv, by formulas written anew; predictions.csv from the models.
#[test]
fn tables_follow_from_predictions_and_predictions_from_the_models() {
    let place = Place::new();
    let text = std::fs::read_to_string(project().join("models/builtin/corpus.txt")).unwrap();
    place.write("check.txt", &text[9_000..12_000]);
    let done = fit_reward(&place, "out", &["--threads", "2", "--check", "check.txt"]);
    done.says(0, &["24 prompts, 144 tokens, 291 inputs per row", "fold 2: 48 rows held out"]);
    let predictions = rows(&place, "out/predictions.csv");
    assert_eq!(predictions.len(), 144);
    let mut folds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &predictions {
        folds.entry(&row["prompt"]).or_default().insert(&row["fold"]);
    }
    assert!(folds.len() == 24 && folds.values().all(|folds| folds.len() == 1), "a prompt is in one fold");

    let column = |name: &str| predictions.iter().map(|row| number(row, name)).collect::<Vec<f64>>();
    let (reward, prediction) = (column("reward"), column("prediction"));
    let metrics = rows(&place, "out/metrics.csv");
    let found = |fold: &str, scorer: &str| -> Row {
        metrics.iter().find(|row| row["fold"] == fold && row["scorer"] == scorer).unwrap().clone()
    };
    let scores = [
        ("reward", prediction.clone()),
        ("max-softmax", column("max_softmax")),
        ("margin", column("margin")),
        ("entropy", column("entropy").iter().map(|h| -h).collect()),
        ("token-probability", column("token_log_probability")),
        ("perturbation", column("perturbation").iter().map(|u| 1.0 - u).collect()),
        ("random", column("random")),
    ];
    for (scorer, score) in &scores {
        let row = found("pooled", scorer);
        let near = |column: &str, expected: f64| {
            assert!((number(&row, column) - expected).abs() < 1e-9, "{scorer} {column}: {row:?} for {expected}");
        };
        near("rank_correlation", spearman(score, &reward));
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (s, _) in score.iter().zip(&reward).filter(|(_, r)| **r == 0.0) {
            for (t, _) in score.iter().zip(&reward).filter(|(_, r)| **r < 0.0) {
                wins += f64::from(u8::from(s > t)) + 0.5 * f64::from(u8::from(s == t));
                pairs += 1.0;
            }
        }
        near("auc", wins / pairs);
        assert!(number(&row, "auc_low") <= wins / pairs && wins / pairs <= number(&row, "auc_high"));
    }
    let mse = reward.iter().zip(&prediction).map(|(r, p)| (r - p).powi(2)).sum::<f64>() / 144.0;
    assert!((number(&found("pooled", "reward"), "mse") - mse).abs() < 1e-9);
    let check = LoadedModel::builtin_small().unwrap().tokenizer.encode(&text[9_000..12_000]).unwrap();
    assert_eq!(number(&found("check", "random"), "rows"), (check.len() / 16 * 6) as f64);

    // Thresholds give the shares that they say.
    for row in rows(&place, "out/thresholds.csv") {
        let (_, score) = scores.iter().find(|(name, _)| *name == row["scorer"]).unwrap();
        let threshold = number(&row, "threshold");
        let score = score.iter().map(|s| if row["scorer"] == "token-probability" { s.exp() } else { *s });
        let share = score.filter(|s| *s < threshold - 1e-12 * threshold.abs()).count() as f64 / 144.0;
        assert!((share - number(&row, "achieved_share")).abs() < 1e-9, "{row:?} gives {share}");
    }
    // A half of the tokens, lowest scores first, is replaced.
    let mut order: Vec<usize> = (0..144).collect();
    order.sort_by(|&a, &b| prediction[a].total_cmp(&prediction[b]));
    let kept = order[72..].iter().map(|&row| reward[row]).sum::<f64>() / 144.0;
    let tradeoff = rows(&place, "out/tradeoff.csv");
    let half = tradeoff.iter().find(|row| row["scorer"] == "reward" && row["edge_share"] == "0.5").unwrap();
    assert!((number(half, "mean_reward") - kept).abs() < 1e-9);

    // Rewards of the first prompt's rollout: ln p of each token, less that of the likeliest.
    let (device, edge) = (LoadedModel::builtin_small().unwrap(), LoadedModel::builtin().unwrap());
    let corpus = Corpus::open(BUILTIN, &device.tokenizer, 2048, Segmentation::Tokens).unwrap();
    let mut context = vec![0];
    context.extend(&corpus.window(0, 16).unwrap()[..15]);
    let draws = Streams::new(1, 0).stream(0, Purpose::Rollout).child(0);
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let logits = |model: &LoadedModel, context: &[u32]| {
        let decoder = &model.decoder;
        let states = decoder.run(decoder.embed(context).unwrap(), 0..decoder.layers()).unwrap();
        decoder.logits(&states).unwrap()[(context.len() - 1) * 2048..].to_vec()
    };
    for row in &predictions[..6] {
        let token = sampling.choose(&logits(&device, &context), &draws, context.len() - 1).unwrap();
        assert_eq!(number(row, "token"), f64::from(token));
        let judged = logits(&edge, &context);
        let log_p = |token: u32| -negative_log_likelihood(&judged, token).unwrap();
        let best = (0..2048).map(log_p).fold(f64::NEG_INFINITY, f64::max);
        assert!((number(row, "reward") - (log_p(token) - best)).abs() < 1e-4, "{row:?}");
        context.push(token);
    }

    // The head is whole, and for this pair.
    let head = RewardHead::open(&place.path("out/reward.safetensors")).unwrap();
    head.check_pair(&device, &edge).unwrap();
    assert_eq!((head.level(), head.temperature(), head.width()), (HeadLevel::Token, 1.0, 96));
    assert_eq!(head.metrics()["rank_correlation"], number(&found("pooled", "reward"), "rank_correlation"));
    assert_eq!(head.made_with()["prompts"], "24");
}

#[test]
fn threads_change_no_byte_and_a_fit_that_is_there_is_left_alone() {
    let place = Place::new();
    fit_reward(&place, "one", &["--threads", "1"]).says(0, &[]);
    fit_reward(&place, "two", &["--threads", "2"]).says(0, &[]);
    for file in FILES {
        let read = |folder: &str| std::fs::read(place.path(folder).join(file)).unwrap();
        assert!(read("one") == read("two"), "{file}");
    }
    fit_reward(&place, "one", &[]).says(0, &["one: already there, skipped"]);
    fit_reward(&place, "one", &["--seed", "2"]).says(2, &["not this fit: seed was 1, is 2", "--force"]);
}

#[test]
fn queries_and_greedy_strict_heads_are_fitted() {
    let place = Place::new();
    fit_reward(&place, "router", &["--level", "query"]).says(0, &["24 prompts, 144 tokens, 194 inputs per row"]);
    let head = RewardHead::open(&place.path("router/reward.safetensors")).unwrap();
    assert_eq!((head.level(), head.sizes()), (HeadLevel::Query, &[194, 8, 1][..]));
    let predictions = rows(&place, "router/predictions.csv");
    assert_eq!((predictions.len(), predictions[0]["token"].as_str()), (24, ""));
    let scorers: BTreeSet<String> =
        rows(&place, "router/metrics.csv").iter().map(|row| row["scorer"].clone()).collect();
    assert_eq!(scorers.iter().collect::<Vec<_>>(), ["entropy", "max-softmax", "oracle", "random", "reward"]);

    fit_reward(&place, "greedy", &["--temperature", "0", "--features", "embedding,hidden"])
        .says(0, &["192 inputs per row"]);
    let head = RewardHead::open(&place.path("greedy/reward.safetensors")).unwrap();
    assert_eq!(head.temperature(), 0.0);
    // The likeliest token is the device's: p(x) = p_(1).
    for row in rows(&place, "greedy/predictions.csv") {
        assert!((number(&row, "token_log_probability").exp() - number(&row, "max_softmax")).abs() < 1e-9);
    }
}

#[test]
fn bad_options_are_told() {
    let place = Place::new();
    let refused = |options: &[&str], parts: &[&str]| fit_reward(&place, "bad", options).says(2, parts);
    refused(
        &["--features", "hidden,mean"],
        &["`mean` is no input of a token head; allowed: hidden, embedding, product"],
    );
    refused(&["--features", "hidden,hidden"], &["`hidden` stands there twice"]);
    refused(&["--temperature", "-1"], &["--temperature: -1 is out of range; allowed: 0 to 100"]);
    refused(&["--temperature", "nan"], &["--temperature: NaN is out of range"]);
    refused(&["--device", "nowhere"], &["--device: nowhere", "hint: name a directory"]);
    refused(&["--corpus", "none.txt"], &["--corpus: none.txt: cannot be read"]);
    place.write("short.txt", "A few words only.");
    refused(&["--corpus", "short.txt"], &["--corpus: short.txt: has", "needs 16"]);
    refused(&["--level", "both"], &["allowed: token, query"]);
    let alone = |options: &[&str], parts: &[&str]| {
        place.splitwave(&[&["fit-reward", "-o", "bad"], options].concat()).says(2, parts);
    };
    alone(&["--prompts", "1000"], &["builtin has 224 prompts, not 1000", "leave --prompts out"]);
    alone(&["--prompts", "4"], &["4 prompts for 5 folds"]);
    alone(&["--output-tokens", "600"], &["take 663 positions; builtin-small has 512"]);
    alone(&["--folds", "1"], &["--folds: 1 is out of range; allowed: 2 to 1000"]);
    alone(&["--hidden", "0"], &["--hidden: 0 is out of range"]);
    assert!(!place.path("bad/manifest.json").exists());
}

/// The built-in head on contexts that are no rollouts: what the device proposes at each position of a text that neither
/// model saw. 20 windows; Spearman's correlation with r is 0.87 on rollouts, and its standard error here about 0.01.
#[test]
fn the_builtin_head_foresees_rewards() {
    let (device, edge) = (LoadedModel::builtin_small().unwrap(), LoadedModel::builtin().unwrap());
    let head = RewardHead::builtin().unwrap();
    head.check_pair(&device, &edge).unwrap();
    assert_eq!((head.level(), head.temperature()), (HeadLevel::Token, 1.0));
    let corpus = Corpus::open(BUILTIN, &device.tokenizer, 2048, Segmentation::Tokens).unwrap();
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let (mut rewards, mut predictions) = (Vec::new(), Vec::new());
    for window in 0..20 {
        let draws = Streams::new(5, 0).stream(0, Purpose::Test).child(window as u64);
        let TeacherForced { inputs, .. } = TeacherForced::new(corpus.window(window * 11, 64).unwrap(), Some(0));
        let states = |model: &LoadedModel| {
            let decoder = &model.decoder;
            decoder.run(decoder.embed(&inputs).unwrap(), 0..decoder.layers()).unwrap()
        };
        let (own, other) = (states(&device), states(&edge));
        let normed = device.decoder.normed(&own).unwrap();
        let (logits, judged) = (device.decoder.logits(&own).unwrap(), edge.decoder.logits(&other).unwrap());
        for position in 8..64 {
            let row = position * 2048..(position + 1) * 2048;
            let (logits, judged) = (&logits[row.clone()], &judged[row]);
            let token = sampling.choose(logits, &draws, position).unwrap();
            let embedded = device.decoder.embed(&[token]).unwrap();
            let hidden = &normed[position * 96..(position + 1) * 96];
            predictions.push(head.predict(&Proposal { hidden, embedding: embedded.values(), logits, token }));
            let best = judged.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            rewards.push(f64::from(judged[token as usize]) - f64::from(best));
        }
    }
    assert!(predictions.iter().all(|r| *r <= 0.0 && r.is_finite()));
    let weights = vec![1; rewards.len()];
    let found = rank_correlation(&RankOrder::of(&predictions), &RankOrder::of(&rewards), &weights).unwrap();
    assert!(found > 0.82, "{found}");
}

/// What models/builtin/README.md says of the heads.
#[test]
fn the_builtin_heads_are_as_good_as_their_page_says() {
    let (device, edge) = (LoadedModel::builtin_small().unwrap(), LoadedModel::builtin().unwrap());
    for (head, level) in [(RewardHead::builtin(), HeadLevel::Token), (RewardHead::builtin_router(), HeadLevel::Query)] {
        let head = head.unwrap();
        head.check_pair(&device, &edge).unwrap();
        assert_eq!(head.level(), level);
        assert!(head.to_bytes().unwrap().len() < 200_000);
        assert!(head.metrics().contains_key("check_rank_correlation"), "it was checked on another text");
        if level == HeadLevel::Token {
            let metrics = head.metrics();
            assert!(["20", "40", "60"].iter().all(|at| metrics[&format!("check_share_ratio_{at}")] < 0.7));
        }
    }
    assert_eq!(Scorer::ALL.len(), 7);
}
