//! `splitwave fit`: what it says of bad records, of damaged surrogates, and of doubtful fits.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use splitwave::control::{Input, Surrogate};
use splitwave::kernel::{Purpose, Streams};
use splitwave::rl::RegressionSettings;

use crate::cli_support::{Place, csv_rows, project};
use crate::fit::{Row, SMALL, fit, metrics, number, opened, records, with};

/// One row changed: the column of records.csv and what stands there.
fn changed(row: usize, column: &str, value: &str) -> Place {
    let text = records(1, 0.05, 1);
    let mut lines: Vec<Vec<String>> = text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let at = lines[0].iter().position(|name| name == column).unwrap();
    value.clone_into(&mut lines[row][at]);
    with(&(lines.iter().map(|line| line.join(",")).collect::<Vec<_>>().join("\n") + "\n"))
}

#[test]
fn bad_cells_are_told_with_their_place() {
    for (column, value, told) in [
        ("loss_probability", "NaN", "records.csv, line 8: `loss_probability` is `NaN`; allowed: 0 to below 1"),
        ("loss_probability", "1", "`loss_probability` is `1`; allowed: 0 to below 1"),
        ("noise_std", "inf", "records.csv, line 8: `noise_std` is `inf`; allowed: a finite number of at least 0"),
        ("noise_std", "", "records.csv, line 8: `noise_std` is empty; allowed: a finite number of at least 0"),
        ("rayleigh_scale", "0", "`rayleigh_scale` is `0`; allowed: a finite number above 0"),
        ("split", "two", "records.csv, line 8: `split` is `two`; allowed: a whole number above 0"),
        ("split", "1.5", "`split` is `1.5`; allowed: a whole number above 0"),
        ("relative_ppl_gain", "-inf", "`relative_ppl_gain` is `-inf`; allowed: a finite number of at most 1"),
        ("relative_ppl_gain", "", "`relative_ppl_gain` is empty; allowed: a finite number of at most 1"),
        ("ppl", "0.5", "`ppl` is `0.5`; allowed: a finite number of at least 1"),
        ("ppl_clean", "nan", "`ppl_clean` is `nan`; allowed: a finite number of at least 1"),
        ("outage", "perhaps", "`outage` is `perhaps`; allowed: true or false"),
        ("outage", "", "`outage` is empty; allowed: true or false"),
        (
            "relative_ppl_gain",
            "0.5",
            "records.csv, line 8: `relative_ppl_gain` is 0.5, but (ppl_clean - ppl)/ppl_clean = (20 - ",
        ),
        ("ppl_clean", "21", "records.csv, line 8: `relative_ppl_gain` is "),
        ("reception", "raw", "records.csv, line 8: `reception` is `raw`, but `equalised` in records.csv, line 2"),
        (
            "model_hash",
            "ffff",
            "records.csv, line 8: `model_hash` is `ffff`, but `0123456789ab` in records.csv, line 2",
        ),
    ] {
        let place = changed(7, column, value);
        fit(&place, &[]).says(2, &[told, "hint: "]);
        assert!(!place.path("out/surrogate.safetensors").exists());
    }
    // A column that isn't asked for may say anything.
    fit(&changed(7, "noise_std", ""), &["--inputs", "split,loss_probability"]).says(0, &[]);
}

#[test]
fn records_of_two_models_are_told_apart() {
    let place = with(&records(1, 0.05, 1));
    place.write("other.csv", records(1, 0.05, 2).replace("0123456789ab", "ba9876543210"));
    place.splitwave(&[&["fit", "records.csv", "other.csv", "-o", "out"], &SMALL[..]].concat()).says(
        2,
        &[
            "other.csv, line 2: `model_hash` is `ba9876543210`, but `0123456789ab` in records.csv, line 2",
            "hint: these are records of different models",
        ],
    );
    fit(&place, &["--check", "other.csv"]).says(2, &["other.csv, line 2: `model_hash`"]);
}

#[test]
fn files_that_can_not_be_fitted_are_refused() {
    let told = |content: &str, options: &[&str], parts: &[&str]| {
        let place = with(content);
        fit(&place, options).says(2, parts);
    };
    told("", &[], &["error: records.csv: no rows to fit", "hint: `splitwave profile"]);
    told("split,loss_probability,relative_ppl_gain\n", &[], &["records.csv: no rows to fit"]);
    let header = "split,loss_probability,relative_ppl_gain,outage\n";
    told(&format!("{header}1,0.1,-3,true\n"), &[], &["no rows to fit (1 outage)", "profile smaller losses"]);
    told("split,relative_ppl_gain\n1,0\n", &[], &["records.csv: no column `loss_probability`"]);
    told("split,loss_probability\n1,0\n", &[], &["no column `relative_ppl_gain`", "the file has no quality at all"]);
    told(
        "split,loss_probability,relative_ppl_gain\n1,0,0\n",
        &["--target", "ppl"],
        &["no column `ppl`, which the target ppl takes; the file has relative_ppl_gain", "--target relative-gain"],
    );
    told("split,loss_probability,ppl\n1,0,20\n", &["--target", "ln-ppl"], &["no column `ppl_clean`"]);
    told("split,loss_probability,relative_ppl_gain\n1,0\n", &[], &["records.csv", "record 1", "hint: check the file"]);
    told(
        "split,loss_probability,relative_ppl_gain\n3,0.1,0\n3,0.1,-0.1\n",
        &[],
        &["2 rows of one condition only (split 3, loss_probability 0.1)", "--loss-range"],
    );
    told(
        "split,loss_probability,relative_ppl_gain\n3,0.1,0\n3,0.2,-0.1\n3,0.2,-0.2\n",
        &[],
        &["2 different points for 3 folds", "fewer --folds"],
    );
    let records = records(1, 0.05, 1);
    told(
        &records,
        &["--inputs", "split,los_probability"],
        &["`los_probability` is no input", "did you mean `loss_probability`?"],
    );
    told(&records, &["--inputs", "activation_snr_db"], &["is no input; allowed: split, noise_std", "use noise_std"]);
    told(
        &records,
        &["--inputs", "split,loss_probability,split"],
        &["--inputs: `split` stands there twice; allowed: each input once", "hint: name it once"],
    );
    told(&records, &["--inputs", "noise_std"], &["of one condition only (noise_std 0.5)"]);
    for (option, value, allowed) in [
        ("--folds", "1", "--folds: 1 is out of range; allowed: 2 to 1000"),
        ("--folds", "-1", "'-1' for '--folds <FOLDS>': allowed: 2 to 1000"),
        (
            "--hidden",
            "8,0",
            "--hidden: 8,0 is out of range; allowed: 1 to 8 layers of 1 to 4096 neurons, comma-separated",
        ),
        ("--hidden", "", "'' for '--hidden <N,…>': allowed: 1 to 8 layers of 1 to 4096 neurons, comma-separated"),
        ("--hidden", "8,x", "'8,x' for '--hidden <N,…>': allowed: 1 to 8 layers"),
        ("--hidden", "-8", "'-8' for '--hidden <N,…>': allowed: 1 to 8 layers"),
        ("--seed", "-1", "'-1' for '--seed <SEED>': allowed: 0 to 18446744073709551615"),
        ("--epochs", "1.5", "'1.5' for '--epochs <EPOCHS>': allowed: 1 to 1000000"),
        ("--ppl-cap", "ten", "'ten' for '--ppl-cap <PPL_CAP>': allowed: a finite number of at least 1"),
        ("--learning-rate", "-1", "--learning-rate: -1 is out of range; allowed: above 0, at most 1"),
        ("--validation-share", "1", "--validation-share: 1 is out of range"),
        ("--patience", "0", "--patience: 0 is out of range; allowed: 1 to 1000000"),
        ("--weight-decay", "NaN", "--weight-decay: NaN is out of range"),
    ] {
        let place = with(&records);
        place.splitwave(&["fit", "records.csv", "-o", "out", option, value]).says(2, &[allowed]);
    }
    Place::new().splitwave(&["fit", "missing.csv"]).says(2, &["missing.csv: No such file"]);
}

/// What `--help` says is what is done, and the example is the command of the model's page.
#[test]
fn help_says_the_defaults() {
    let RegressionSettings {
        hidden, learning_rate, batch_size, epochs, patience, validation_share, weight_decay, ..
    } = RegressionSettings::default();
    let done = Place::new().splitwave(&["fit", "--help"]);
    done.says(0, &[]);
    let after = |option: &str| done.out.split(&format!("--{option} ")).nth(1).unwrap().to_owned();
    for (option, value) in [
        ("hidden", hidden.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        ("activation", "relu".to_owned()),
        ("learning-rate", learning_rate.to_string()),
        ("batch-size", batch_size.to_string()),
        ("epochs", epochs.to_string()),
        ("patience", patience.to_string()),
        ("validation-share", validation_share.to_string()),
        ("weight-decay", weight_decay.to_string()),
    ] {
        let told = after(option);
        let default = told.split("[default: ").nth(1).unwrap().split(']').next().unwrap();
        assert_eq!(default, value, "{option}");
    }
    let example = "fit models/llama-2-7b/relative_ppl_gain.csv -o surrogate --epochs 3000 --patience 100";
    assert!(done.out.contains(example), "{}", done.out);
    let page = std::fs::read_to_string(project().join("models/llama-2-7b/README.md")).unwrap();
    assert!(page.contains("fit models/llama-2-7b/relative_ppl_gain.csv --epochs 3000 --patience 100"));
}

/// What pandas saves: `True` and `False`.
#[test]
fn outages_may_have_a_capital() {
    let text = records(2, 0.05, 1);
    let outage = text.lines().nth(1).unwrap().replace(",false,", ",TRUE,");
    let place = with(&(text.replace(",false,", ",False,") + &outage + "\n"));
    fit(&place, &[]).says(0, &["120 rows, 60 points", "records.csv: 1 row left out because nothing arrived"]);
}

/// A gain may be rounded to six digits.
#[test]
fn gains_agree_with_their_perplexities() {
    let lines = |error: f64| {
        let mut text = "split,loss_probability,ppl,ppl_clean,relative_ppl_gain\n".to_owned();
        for row in 0..12 {
            let ppl = 20.0 + f64::from(row) * 7.0;
            let gain = (20.0 - ppl) / 20.0 + error * ppl / 20.0;
            let _ = writeln!(text, "{},0.{row},{ppl},20,{gain}", row + 1);
        }
        text
    };
    fit(&with(&lines(0.9e-6)), &[]).says(0, &["12 rows"]);
    fit(&with(&lines(1.1e-6)), &[]).says(2, &["records.csv, line 2: `relative_ppl_gain` is ", "hint: correct the row"]);
}

/// Random gains, nothing to learn; and gains of which most are below -1.
#[test]
fn doubts_are_told() {
    let stream = Streams::new(5, 0).stream(0, Purpose::Test);
    let mut text = "split,loss_probability,ppl,ppl_clean,relative_ppl_gain\n".to_owned();
    for row in 0..90 {
        let (ppl, split, loss) = (30.0 + 4.0 * stream.normal_pair(row)[0], 1 + row % 9, (row / 9) as f64 / 20.0);
        let _ = writeln!(text, "{split},{loss},{ppl},20,{}", (20.0 - ppl) / 20.0);
    }
    let place = with(&text);
    let done = fit(&place, &["--epochs", "200", "--patience", "200", "--validation-share", "0.01"]);
    done.says(0, &["warning: over all folds the surrogate is no better than a constant (MSE "]);
    assert!(!done.err.contains("clipped"), "{}", done.err);
    assert!(number(&metrics(&place)["mean"], "r2") <= 0.0);

    // Gains of -0.5 at split 1 to -1.75 at split 6: -1, -1.25, -1.5 and -1.75 of six are clipped.
    let row = |i: u32| {
        let (split, loss) = (1 + i % 6, f64::from(i / 6) / 20.0);
        let ppl = 30.0 + 5.0 * f64::from(split - 1);
        format!("{split},{loss},{ppl},20,{}\n", (20.0 - ppl) / 20.0)
    };
    let header = "split,loss_probability,ppl,ppl_clean,relative_ppl_gain\n";
    let place = with(&(header.to_owned() + &(0..60).map(row).collect::<String>()));
    fit(&place, &[]).says(
        0,
        &["66.7 % of 60 rows have a clipped target: a gain below -1 counts as -1\nhint: --target ln-ppl (or ppl"],
    );
    // Above 5 %, below a third: PPL 55 of six, above a cap of 54.
    let done = fit(&place, &["--force", "--target", "ppl", "--ppl-cap", "54"]);
    done.says(0, &["16.7 % of 60 rows have a clipped target: a PPL above its cap counts as the cap\n"]);
    assert!(!done.err.contains("hint:"), "{}", done.err);
    let done = fit(&place, &["--force", "--target", "ln-ppl"]);
    assert!(done.code == Some(0) && !done.err.contains("clipped"), "{}", done.err);
}

/// A profile of random records, and the scenario that it was made from.
#[test]
fn a_surrogate_covers_what_its_records_were_drawn_from() {
    let scenario = "name = \"r\"\nduration_s = 1.0\n[channel]\ndoppler_hz = 60.0\n\
                    noise_std = { min = 0.3, max = 2.0, draw = \"per-request\" }\n\
                    loss_probability = { min = 0.0, max = 0.3, draw = \"per-request\" }\n\
                    [radio]\nbandwidth_mhz = 1.0\n[[ue]]\nworkload.prompt_tokens = 8\n";
    let place = Place::with(scenario);
    place.splitwave(&["profile", "s.toml", "-o", "data", "--records", "12", "--quiet"]).says(0, &[]);
    let fit = |records: &str, out: &str| place.splitwave(&[&["fit", records, "-o", out], &SMALL[..]].concat());
    fit("data/records.csv", "out").says(0, &[]);
    let surrogate = opened(&place.path("out/surrogate.safetensors"));
    let range = |surrogate: &Surrogate| {
        [Input::Split, Input::NoiseStd, Input::LossProbability].map(|input| surrogate.range(input).unwrap())
    };
    assert_eq!(range(&surrogate), [(1.0, 16.0), (0.3, 2.0), (0.0, 0.3)]);
    let out = "quality.surrogate=\"out/surrogate.safetensors\"";
    let sets = ["--set", "quality.source=\"surrogate\"", "--set", out, "--set", "reward.kind=\"relative-gain\""];
    place.splitwave(&[&["validate", "s.toml"], &sets[..]].concat()).says(0, &[]);
    // Without the manifest, or with rows that it doesn't vouch for, ends are rounded: 12 draws lie 3/13 of their width
    // apart three times, and no further than 5/2 of that from the end.
    let text = std::fs::read_to_string(place.path("data/records.csv")).unwrap();
    place.write("alone/records.csv", &text);
    fit("alone/records.csv", "alone").says(0, &[]);
    let alone = opened(&place.path("alone/surrogate.safetensors"));
    place.write("data/records.csv", text.trim_end());
    fit("data/records.csv", "cut").says(0, &[]);
    let cut = opened(&place.path("cut/surrogate.safetensors"));
    assert_eq!(range(&alone), range(&cut));
    let rows = csv_rows(&place.path("alone/records.csv")).1;
    for (input, (low, high)) in [Input::NoiseStd, Input::LossProbability].into_iter().zip(&range(&alone)[1..]) {
        let values = || rows.iter().map(|row| number(row, input.name()));
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        let reach = 2.5 * 3.0 * (most - least) / 13.0;
        assert!((0.0..=least).contains(low) && least - low < reach, "{input}: {low}, {least}");
        assert!((most..most + reach).contains(high), "{input}: {high}, {most}");
        assert!(low * 100.0 % 1.0 < 1e-9 || low * 100.0 % 1.0 > 1.0 - 1e-9, "{low}");
    }
    // Another range is another fit.
    place.write("data/records.csv", &text);
    let done = place.splitwave(&[&["fit", "data/records.csv", "-o", "alone"], &SMALL[..]].concat());
    done.says(
        2,
        &["there is something already, and not this fit: drawn_from was {}, is {\"loss_probability\":[0.0,0.3]"],
    );
    // There is no table to fit.
    fit("data/table.csv", "none").says(
        2,
        &[
            "data/table.csv: there is no table; `splitwave profile --records N` makes none",
            "hint: fit the records: data/records.csv",
        ],
    );
}

/// Two profiles of a table: one with noise, one without.
#[test]
fn columns_must_be_those_of_the_first_file() {
    let place = with("split,loss_probability,noise_std,relative_ppl_gain\n1,0,0,0\n2,0,1,0\n");
    place.write("without.csv", "split,loss_probability,relative_ppl_gain\n1,0.1,0\n2,0.1,0\n");
    let fit = |files: [&str; 2]| place.splitwave(&["fit", files[0], files[1], "-o", "out"]);
    fit(["records.csv", "without.csv"]).says(2, &["without.csv: no column `noise_std`"]);
    fit(["without.csv", "records.csv"]).says(2, &["without.csv: no column `noise_std`"]);
}

/// The file with other settings and tensors.
fn rewritten(
    bytes: &[u8],
    settings: impl Fn(&str) -> Option<String>,
    tensor: impl Fn(&str, &mut Vec<usize>, &mut Vec<u8>) -> bool,
) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let text = header.metadata().as_ref().unwrap()["splitwave"].clone();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, view) in SafeTensors::deserialize(bytes).unwrap().tensors() {
        let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
        if tensor(&name, &mut shape, &mut data) {
            tensors.push((name, view.dtype(), shape, data));
        }
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = settings(&text).map(|text| std::iter::once(("splitwave".to_owned(), text)).collect());
    safetensors::serialize(views, metadata).unwrap()
}

#[test]
fn damaged_surrogates_are_refused() {
    let place = with(&records(2, 0.05, 1));
    fit(&place, &[]).says(0, &[]);
    let bytes = std::fs::read(place.path("out/surrogate.safetensors")).unwrap();
    let told = |bytes: &[u8]| Surrogate::from_bytes("s.safetensors", bytes).unwrap_err().to_string();
    let whole = Surrogate::from_bytes("s", &bytes).unwrap();
    assert_eq!(whole.to_bytes().unwrap(), bytes);
    assert_eq!(whole.content_hash(), blake3::hash(&bytes).to_hex().as_str());
    for cut in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(told(&bytes[..cut]).starts_with("s.safetensors: no whole safetensors file"), "{cut}");
    }
    let keep = |_: &str, _: &mut Vec<usize>, _: &mut Vec<u8>| true;
    let same = |text: &str| Some(text.to_owned());
    assert!(rewritten(&bytes, same, keep) == bytes);
    let with_settings = |from: &str, to: &str| told(&rewritten(&bytes, |text| Some(text.replacen(from, to, 1)), keep));
    assert!(told(&rewritten(&bytes, |_| None, keep)).contains("holds no surrogate: its metadata has no entry"));
    assert!(with_settings("{", "").contains("no JSON"));
    assert!(with_settings("\"surrogate\"", "\"policy\"").contains("doesn't say `\"format\": \"surrogate\"`"));
    assert!(with_settings("\"version\":1", "\"version\":9").contains("format version 9; this program reads 1"));
    assert!(with_settings("\"split\"", "\"height\"").contains("an input is \"height\"; allowed: split, noise_std"));
    assert!(with_settings("\"split\"", "\"loss_probability\"").contains("each once"));
    assert!(with_settings("\"relative-gain\"", "\"gain\"").contains("`target` is \"gain\"; allowed: relative-gain"));
    assert!(with_settings("[2,16,1]", "[2,16,16,1]").contains("tensor `layers.1.weight` has shape [1, 16]"));
    assert!(with_settings("[2,16,1]", "[3,16,1]").contains("`sizes` is [3, 16, 1]; allowed: 2 inputs"));
    assert!(with_settings("[2,16,1]", "[2,99999999999,1]").contains("`sizes`"));
    assert!(with_settings("\"relu\"", "\"sine\"").contains("not those of a surrogate"));

    let with_tensor = |name: &str, change: &dyn Fn(&mut Vec<usize>, &mut Vec<u8>) -> bool| {
        let tensor = |found: &str, shape: &mut Vec<usize>, data: &mut Vec<u8>| found != name || change(shape, data);
        told(&rewritten(&bytes, same, tensor))
    };
    for name in ["layers.0.weight", "layers.1.bias", "inputs.mean", "target.scale"] {
        assert!(with_tensor(name, &|_, _| false).contains(&format!("tensor `{name}` is missing")));
    }
    let turned = |shape: &mut Vec<usize>, _: &mut Vec<u8>| {
        shape.reverse();
        true
    };
    assert!(
        with_tensor("layers.0.weight", &turned).contains("`layers.0.weight` has shape [2, 16] in F32, not [16, 2]")
    );
    let not_finite = |_: &mut Vec<usize>, data: &mut Vec<u8>| {
        data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        true
    };
    assert!(with_tensor("layers.0.bias", &not_finite).contains("`layers.0.bias` holds NaN"));
    let zero = |_: &mut Vec<usize>, data: &mut Vec<u8>| {
        data[..8].copy_from_slice(&0f64.to_le_bytes());
        true
    };
    assert!(with_tensor("inputs.scale", &zero).contains("`inputs.scale` holds 0, which it can't be"));
    let high = |_: &mut Vec<usize>, data: &mut Vec<u8>| {
        data[..8].copy_from_slice(&1e9f64.to_le_bytes());
        true
    };
    assert!(with_tensor("inputs.min", &high).contains("says split goes up to 6"));

    let path = place.path("none.safetensors");
    assert!(Surrogate::open("none", &path).unwrap_err().to_string().contains("none.safetensors: No such file"));
    // Any safetensors file that is none of ours.
    let foreign = project().join("models/builtin/model.safetensors");
    assert!(Surrogate::open("x", &foreign).unwrap_err().to_string().contains("holds no surrogate"));
}

/// `splitwave profile --repeats`: one point on several windows and channels, and what is fitted to it.
#[test]
fn a_profile_repeats_its_points() {
    let place = Place::with("name = \"r\"\n[channel]\ndoppler_hz = 60.0\n[radio]\nbandwidth_mhz = 1.0\n");
    let ranges = ["--loss-range", "0.1,0.3", "--noise-range", "0.5,2", "--tokens", "8", "--quiet"];
    let profile = |out: &str, records: &str, repeats: &[&str]| {
        let all = [&["profile", "s.toml", "-o", out, "--records", records], &ranges[..], repeats].concat();
        let done = place.splitwave(&all);
        (done.code == Some(0)).then(|| csv_rows(&place.path(out).join("records.csv")).1).ok_or(done)
    };
    let single = profile("one", "4", &[]).unwrap();
    let triple = profile("three", "12", &["--repeats", "3"]).unwrap();
    let point = |row: &Row| ["split", "loss_probability", "noise_std"].map(|column| row[column].clone());
    for (index, row) in triple.iter().enumerate() {
        // Point i of the one is point i of the other.
        assert_eq!(point(row), point(&single[index / 3]));
        assert_eq!(row["draw"], index.to_string());
    }
    let distinct = |column: &str| triple.iter().map(|row| row[column].clone()).collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("mean_gain"), distinct("loss_probability")), (12, 4));
    assert!(distinct("window") > 8);
    // Window and channel are the record's own: those of record 0 don't depend on the repeats.
    assert_eq!(triple[0], single[0]);
    let command = std::fs::read_to_string(place.path("three/manifest.json")).unwrap();
    assert!(command.contains("--records 12 --repeats 3"), "{command}");
    assert!(!std::fs::read_to_string(place.path("one/manifest.json")).unwrap().contains("repeats"));
    for (records, options, told) in [
        ("4", ["--repeats", "0"], "'0' for '--repeats <K>': allowed: 1 to"),
        ("4", ["--seed", "-1"], "'-1' for '--seed <SEED>': allowed: 0 to 18446744073709551615"),
        ("4", ["--windows", "0"], "'0' for '--windows <WINDOWS>': allowed: 1 to"),
        ("0", ["--repeats", "1"], "'0' for '--records <N>': allowed: 1 to 4294967295"),
    ] {
        profile("none", records, &options).unwrap_err().says(2, &[told]);
    }
    profile("one", "4", &["--repeats", "2"]).unwrap_err().says(2, &["there is a profile already, and not this one"]);

    let fit = |inputs: &[&str]| {
        place.splitwave(&[&["fit", "three/records.csv", "-o", "out", "--force"], &SMALL[..], inputs].concat())
    };
    fit(&[]).says(0, &["12 rows, 4 points, inputs: split, noise_std, loss_probability"]);
    let surrogate = opened(&place.path("out/surrogate.safetensors"));
    let settings = ["reception", "loss_unit", "tx_normalisation", "fading", "prompt_tokens", "rayleigh_scale"];
    assert_eq!(
        settings.map(|setting| surrogate.made_with(setting).unwrap_or_default().to_owned()),
        ["equalised", "token-row", "none", "rayleigh", "8", "0.7071067811865476"]
    );
    assert_eq!(surrogate.made_with("model_hash").map(str::len), Some(12));
}
