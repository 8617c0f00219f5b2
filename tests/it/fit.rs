//! `splitwave fit`: what it computes, what it writes, and what it says of bad records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use splitwave::control::{Input, QualityTable, Surrogate, SurrogatePoint, SurrogateScratch, Target};
use splitwave::kernel::{Purpose, Streams};

use crate::cli_support::{Place, csv_rows, project};

const SURFACE: &str = "models/llama-2-7b/relative_ppl_gain.csv";
/// A network that is trained in milliseconds.
pub const SMALL: [&str; 4] = ["--hidden", "16", "--folds", "3"];

pub type Row = BTreeMap<String, String>;

pub fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is `{}`", row[column]))
}

/// Records of a made-up model: gain = -0.5·P - 0.02·split + noise, `repeats` of each of 60 points.
pub fn records(repeats: u32, noise: f64, seed: u64) -> String {
    let stream = Streams::new(seed, 0).stream(0, Purpose::Test);
    let mut text = "model,split,loss_probability,noise_std,rayleigh_scale,reception,window,ppl_clean,ppl,draw,\
                    relative_ppl_gain,outage,model_hash\n"
        .to_owned();
    for point in 0..60 {
        let (split, loss) = (1 + point % 6, f64::from(point / 6) / 20.0);
        for repeat in 0..repeats {
            let draw = point * repeats + repeat;
            let gain = -0.5 * loss - 0.02 * f64::from(split) + noise * stream.normal_pair(u64::from(draw))[0];
            let ppl = 20.0 * (1.0 - gain);
            let _ =
                writeln!(text, "toy,{split},{loss},0.5,0.7,equalised,{draw},20,{ppl},{draw},{gain},false,0123456789ab");
        }
    }
    text
}

pub fn fit(place: &Place, options: &[&str]) -> crate::cli_support::Done {
    let epochs: &[&str] = if options.contains(&"--epochs") { &[] } else { &["--epochs", "20"] };
    place.splitwave(&[&["fit", "records.csv", "-o", "out"], &SMALL[..], epochs, options].concat())
}

/// A place with `records.csv`.
pub fn with(records: &str) -> Place {
    let place = Place::new();
    place.write("records.csv", records);
    place
}

pub fn metrics(place: &Place) -> BTreeMap<String, Row> {
    let (_, rows) = csv_rows(&place.path("out/metrics.csv"));
    rows.into_iter().map(|row| (row["fold"].clone(), row)).collect()
}

pub fn opened(path: &Path) -> Surrogate {
    Surrogate::open("a file", path).unwrap()
}

#[test]
fn the_surface_is_fitted() {
    let place = Place::new();
    let surface = project().join(SURFACE).display().to_string();
    let fit = |out: &str, threads: &str| {
        let options = ["--epochs", "80", "--threads", threads];
        place.splitwave(&[&["fit", &surface, "-o", out], &options[..]].concat())
    };
    let done = fit("out", "2");
    done.says(0, &["610 rows, 610 points, inputs: split, loss_probability"]);
    assert!((0..5).all(|fold| done.err.contains(&format!("\nfold {fold}: "))), "{}", done.err);
    assert!(done.out.contains("The surrogate covers split 1 to 10, loss_probability 0 to 0.3.\n"), "{}", done.out);
    assert!(done.out.contains("cell R²") && done.out.contains("out/surrogate.safetensors: 610 rows"), "{}", done.out);
    let found = metrics(&place);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "mean"]);
    assert!(number(&found["mean"], "r2") > 0.999 && number(&found["mean"], "mae") < 1e-3, "{found:?}");
    // The table's cells are no repeats: there is no floor.
    assert_eq!((found["mean"]["noise_floor_mse"].as_str(), found["mean"]["cell_r2"].as_str()), ("", ""));
    assert_eq!(csv_rows(&place.path("out/calibration.csv")).1.len(), 20);
    let (header, predictions) = csv_rows(&place.path("out/predictions.csv"));
    assert_eq!(header.join(","), "split,noise_std,rayleigh_scale,loss_probability,target,prediction,fold,file,line");
    assert_eq!(predictions.len(), 610);
    // Four lines of remarks and the header stand above.
    assert_eq!((predictions[0]["line"].as_str(), predictions[0]["noise_std"].as_str()), ("6", ""));

    let surrogate = opened(&place.path("out/surrogate.safetensors"));
    let table = QualityTable::open("llama-2-7b", Path::new("")).unwrap();
    assert_eq!((surrogate.range(Input::LossProbability), surrogate.range(Input::NoiseStd)), (Some((0.0, 0.3)), None));
    assert_eq!((surrogate.target(), surrogate.has_ppl(), surrogate.ppl_clean()), (Target::RelativeGain, false, None));
    let mut scratch = SurrogateScratch::default();
    for (split, loss_probability) in [(1, 0.0), (7, 0.22), (10, 0.3), (3, 0.1)] {
        let point = SurrogatePoint { split, noise_std: 0.9, rayleigh_scale: 0.3, loss_probability };
        let (own, cell) = (surrogate.value(&point, &mut scratch), table.value(split, loss_probability, 0.0));
        assert!((own.relative_gain.unwrap() - cell.relative_gain.unwrap()).abs() < 2e-3);
        assert_eq!((own.ppl, own.ppl_clean), (None, None));
    }
    // The same bytes again, on one thread.
    fit("again", "1").says(0, &[]);
    for file in ["surrogate.safetensors", "metrics.csv", "predictions.csv", "calibration.csv", "manifest.json"] {
        let read = |folder: &str| std::fs::read(place.path(folder).join(file)).unwrap();
        assert!(read("out") == read("again"), "{file}");
    }
}

/// The fits that are compiled in keep what models/*/README.md says of them.
#[test]
fn named_surrogates_are_as_good_as_their_pages_say() {
    let llama = Surrogate::open("llama-2-7b", Path::new("")).unwrap();
    let table = QualityTable::open("llama-2-7b", Path::new("")).unwrap();
    let mut scratch = SurrogateScratch::default();
    let mut largest = 0.0_f64;
    for split in 1..=10 {
        for step in 0..=60 {
            let loss_probability = f64::from(step) / 200.0;
            let point = SurrogatePoint { split, noise_std: 0.0, rayleigh_scale: 0.7, loss_probability };
            let cell = table.value(split, loss_probability, 0.0).relative_gain.unwrap();
            largest = largest.max((llama.value(&point, &mut scratch).relative_gain.unwrap() - cell).abs());
        }
    }
    assert!(largest < 5e-4, "{largest}");
    let builtin = Surrogate::open("builtin", Path::new("")).unwrap();
    let metrics = builtin.metrics();
    assert!((metrics["rows"], metrics["folds"]) == (9718.0, 5.0) && metrics["mse"] < 1.1 * metrics["noise_floor_mse"]);
    assert_eq!(builtin.range(Input::Split), Some((1.0, 16.0)));
    assert_eq!(builtin.range(Input::NoiseStd), Some((0.3, 2.0)));
    assert_eq!(builtin.range(Input::LossProbability), Some((0.0, 0.3)));
    assert_eq!((builtin.made_with("packets"), builtin.made_with("prompt_tokens")), (Some("64"), Some("64")));
    assert!(Surrogate::is_name("builtin") && Surrogate::is_name("llama-2-7b") && !Surrogate::is_name("llama"));
}

/// The metrics are what the predictions say, by formulas written anew.
#[test]
fn metrics_follow_from_the_predictions() {
    let place = with(&records(3, 0.05, 1));
    place.write("held_out.csv", records(9, 0.05, 2));
    fit(&place, &["--check", "held_out.csv", "--epochs", "100"]).says(0, &["180 rows, 60 points"]);
    let (_, rows) = csv_rows(&place.path("out/predictions.csv"));
    let found = metrics(&place);
    let mut folds_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        let point = format!("{} {}", row["split"], row["loss_probability"]);
        folds_of.entry(point).or_default().insert(row["fold"].clone());
    }
    assert!(folds_of.len() == 60 && folds_of.values().all(|folds| folds.len() == 1), "repeats are in one fold");
    for name in ["0", "1", "2", "mean"] {
        let held: Vec<&Row> = rows.iter().filter(|row| name == "mean" || row["fold"] == name).collect();
        let n = held.len() as f64;
        let mean = |of: &dyn Fn(&Row) -> f64| held.iter().map(|row| of(row)).sum::<f64>() / n;
        let error = |row: &Row| number(row, "target") - number(row, "prediction");
        let (mse, average) = (mean(&|row| error(row).powi(2)), mean(&|row| number(row, "target")));
        let variance = mean(&|row| (number(row, "target") - average).powi(2));
        let metrics = &found[name];
        assert_eq!(number(metrics, "rows"), n);
        for (column, expected) in [("mse", mse), ("mae", mean(&|row| error(row).abs())), ("r2", 1.0 - mse / variance)] {
            assert!((number(metrics, column) - expected).abs() < 1e-12, "{name} {column}");
        }
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in &held {
            let point = format!("{} {}", row["split"], row["loss_probability"]);
            groups.entry(point).or_default().push(number(row, "target"));
        }
        let within = |group: &Vec<f64>| {
            let mean = group.iter().sum::<f64>() / 3.0;
            group.iter().map(|y| (y - mean).powi(2)).sum::<f64>()
        };
        let floor = groups.values().map(within).sum::<f64>() / (2.0 * groups.len() as f64);
        assert!((number(metrics, "noise_floor_mse") - floor).abs() < 1e-12);
        // The constant is the mean of the other folds.
        if name != "mean" {
            let others: Vec<f64> =
                rows.iter().filter(|row| row["fold"] != name).map(|row| number(row, "target")).collect();
            let constant = others.iter().sum::<f64>() / others.len() as f64;
            let expected = mean(&|row| (number(row, "target") - constant).powi(2));
            assert!((number(metrics, "constant_mse") - expected).abs() < 1e-12);
        }
    }
    // σ² = 0.0025, within five standard errors σ²·√(2/120); fresh rows are predicted nearly as well as can be.
    let floor = number(&found["mean"], "noise_floor_mse");
    assert!((floor - 0.0025).abs() < 5.0 * 0.0025 * (2.0_f64 / 120.0).sqrt(), "{floor}");
    let check = &found["check"];
    assert_eq!(check["rows"], "540");
    assert!(number(check, "mse") < 1.15 * number(check, "noise_floor_mse"), "{check:?}");
    // The plane's spread over the cells is 0.0071, the noise of a mean of nine 0.00028.
    assert!(number(check, "cell_r2") > 0.9, "{check:?}");
    // Its rows are told from those that were fitted: a file checked against itself has none left.
    fit(&place, &["--check", "records.csv", "--force"]).says(2, &["error: records.csv: every row is among those"]);
}

#[test]
fn columns_that_do_not_vary_are_kept_as_settings() {
    let place = with(&records(2, 0.05, 1));
    fit(&place, &[]).says(0, &["120 rows, 60 points, inputs: split, loss_probability"]);
    let surrogate = opened(&place.path("out/surrogate.safetensors"));
    let made_with = ["noise_std", "rayleigh_scale", "reception", "model_hash", "fading"];
    assert_eq!(
        made_with.map(|setting| surrogate.made_with(setting)),
        [Some("0.5"), Some("0.7"), Some("equalised"), Some("0123456789ab"), None]
    );
    assert!((surrogate.ppl_clean().unwrap() - 20.0).abs() < 1e-12);
    assert_eq!(surrogate.metrics()["folds"], 3.0);
    assert_eq!(surrogate.metrics()["mse"], number(&metrics(&place)["mean"], "mse"));
    // An input left out is averaged over, and said so.
    fit(&place, &["--force", "--inputs", "loss_probability"]).says(0, &["10 points", "warning: split varies"]);
    assert_eq!(opened(&place.path("out/surrogate.safetensors")).range(Input::Split), None);
}

#[test]
fn ppl_can_be_the_target() {
    let place = with(&records(2, 0.02, 1));
    let at = SurrogatePoint { split: 3, noise_std: 0.5, rayleigh_scale: 0.7, loss_probability: 0.25 };
    // A gain of -0.185 is a PPL of 23.7.
    for (options, most) in [
        (&["--target", "ln-ppl"][..], 24.7),
        (&["--target", "ppl"], 24.7),
        (&["--target", "ppl", "--ppl-cap", "22"], 22.1),
    ] {
        fit(&place, &[options, &["--force", "--epochs", "100"]].concat()).says(0, &[]);
        let surrogate = opened(&place.path("out/surrogate.safetensors"));
        let value = surrogate.value(&at, &mut SurrogateScratch::default());
        let (ppl, clean) = (value.ppl.unwrap(), value.ppl_clean.unwrap());
        assert!((most - 2.0..most).contains(&ppl) && (clean - 20.0).abs() < 1e-12, "{options:?}: {ppl}");
        assert_eq!(value.relative_gain, Some((clean - ppl) / clean));
    }
    fit(&place, &["--ppl-cap", "22"]).says(2, &["--ppl-cap plays no part with --target relative-gain"]);
}

#[test]
fn rows_are_left_out_and_counted() {
    let mut text = records(2, 0.05, 1);
    let first = text.lines().nth(1).unwrap().to_owned();
    let outage = first.replace(",false,", ",true,").replace("toy,1,", "toy,2,");
    let _ = write!(text, "{first}\n{first}\n{outage}\n");
    let place = with(&text);
    fit(&place, &[]).says(
        0,
        &[
            "120 rows, 60 points",
            "records.csv: 1 row left out because nothing arrived",
            "warning: records.csv: 2 rows left out because the same row stands above to the letter",
        ],
    );
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["records"][0]["outages"], 1);
    assert_eq!(manifest["records"][0]["duplicates"], 2);
    assert_eq!(manifest["records"][0]["blake3"], blake3::hash(text.as_bytes()).to_hex().as_str());
    // The same rows in a second file are duplicates, too.
    place.write("more.csv", &text);
    place
        .splitwave(&[&["fit", "records.csv", "more.csv", "-o", "two"], &SMALL[..]].concat())
        .says(0, &["120 rows", "warning: more.csv: 122 rows left out"]);
}

#[test]
fn a_fit_that_is_there_is_left_alone() {
    let place = with(&records(2, 0.05, 1));
    fit(&place, &[]).says(0, &[]);
    let read = || std::fs::read(place.path("out/surrogate.safetensors")).unwrap();
    let before = read();
    fit(&place, &[]).says(0, &["out: already there, skipped"]);
    fit(&place, &["--seed", "2"]).says(2, &["not this fit: seed was 1, is 2", "hint:", "--force"]);
    assert!(read() == before);
    fit(&place, &["--seed", "2", "--force"]).says(0, &[]);
    assert!(read() != before);
    assert!(!place.path("out/.partial").exists());
    // Changed behind its back, or something else.
    place.write("out/metrics.csv", "fold\n");
    fit(&place, &["--seed", "2"]).says(2, &["out: there is something already"]);
    std::fs::remove_file(place.path("out/manifest.json")).unwrap();
    fit(&place, &[]).says(2, &["has no manifest.json of a fit beside it"]);
}
