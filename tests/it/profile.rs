//! `splitwave profile`: its columns, what it varies and what it keeps the same, and that
//! the table is what its records say.

use std::collections::BTreeMap;
use std::path::Path;

use splitwave::channel::{LossUnit, Reception, TxNormalisation};
use splitwave::control::QualityTable;
use splitwave::llm::{BUILTIN, Corpus, Hidden, LoadedModel, Segmentation, TeacherForced, negative_log_likelihood};
use splitwave::run::assembly::{Assembly, assemble};
use splitwave::run::inputs::Library;
use splitwave::run::profile::{
    NoiseScale, Points, Profile, ProfileError, ProfileJob, ProfileProgress, ProfileSpec, Setting, SnrAt,
};
use splitwave::run::runner::evaluation_pool;
use splitwave::run::signals::Interrupt;
use splitwave::scenario::LoadedScenario;

use crate::cli_support::{Place, csv_rows};

const CHANNEL: &str = "name = \"profile\"\n[channel]\ndoppler_hz = 60.0\n[radio]\nbandwidth_mhz = 1.0\n";
pub const EQUALISED: Setting = Setting {
    reception: Reception::Equalised,
    loss_unit: LossUnit::TokenRow,
    tx_normalisation: TxNormalisation::None,
    codec: None,
};

pub fn assembly(text: &str) -> Assembly {
    let loaded = LoadedScenario::from_bytes(Path::new("profile.toml"), text.as_bytes(), &[]).unwrap();
    assemble(loaded, &mut Library::default()).unwrap()
}

/// The channel of these tests.
pub fn faded() -> Assembly {
    assembly(CHANNEL)
}

/// 2 splits × 2 losses × 2 noises × 4 windows × 2 draws.
pub fn grid() -> ProfileSpec {
    ProfileSpec {
        splits: vec![1, 12],
        settings: vec![EQUALISED],
        noise: NoiseScale::Std,
        points: Points::Grid { losses: vec![0.0, 0.3], noises: vec![0.0, 2.0], draws: 2 },
        windows: Some(4),
        tokens: 16,
    }
}

/// Makes a profile; `watch` may raise the interrupt.
pub fn try_make(
    assembly: &Assembly,
    spec: &ProfileSpec,
    threads: usize,
    folder: &Path,
    watch: &mut dyn FnMut(ProfileProgress, &Interrupt),
) -> Result<Profile, ProfileError> {
    let (pool, interrupt) = (evaluation_pool(threads).unwrap(), Interrupt::new());
    let pool = &pool;
    let job = ProfileJob { assembly, spec, seed: 1, pool, folder, command: "", replace: false, interrupt: &interrupt };
    job.make(&mut |progress| watch(progress, &interrupt))
}

/// The bytes of a file of a profile.
pub fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

type Row = BTreeMap<String, String>;

/// A profile's records, in order.
fn records(assembly: &Assembly, spec: &ProfileSpec) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    try_make(assembly, spec, 2, folder.path(), &mut |_, _| ()).unwrap();
    csv_rows(&folder.path().join("records.csv")).1
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is `{}`", row[column]))
}

#[test]
fn columns_stand_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let spec = ProfileSpec { windows: Some(1), splits: vec![3], ..grid() };
    try_make(&faded(), &spec, 1, folder.path(), &mut |_, _| ()).unwrap();
    let (header, rows) = csv_rows(&folder.path().join("records.csv"));
    let published = "model,split,noise_std,activation_snr_db,rayleigh_scale,loss_probability,loss_unit,reception,\
                     tx_normalisation,window,ppl_clean,ppl,draw,prompt_tokens,mean_gain,packets_sent,packets_lost,\
                     rows_lost,nll_sum,tokens_scored,relative_ppl_gain,outage,fading,snr_target_db,model_hash,encoding,\
                     bits_per_token";
    assert_eq!(header.join(","), published);
    let first = &rows[0];
    assert_eq!((first["model"].as_str(), first["fading"].as_str()), ("builtin", "rayleigh"));
    assert_eq!((first["snr_target_db"].as_str(), first["activation_snr_db"].as_str()), ("", ""));
    assert_eq!(first["model_hash"].len(), 12);
    // By window, split, setting, loss, noise and draw, the last fastest.
    let order: Vec<_> = rows.iter().map(|row| [&row["loss_probability"], &row["noise_std"], &row["draw"]]).collect();
    assert_eq!(order[..4], [["0.0", "0.0", "0"], ["0.0", "0.0", "1"], ["0.0", "2.0", "0"], ["0.0", "2.0", "1"]]);
    assert_eq!(order[4], ["0.3", "0.0", "0"]);
}

#[test]
fn the_table_is_what_its_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let made = try_make(&faded(), &grid(), 2, folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!(made.files.iter().map(|file| file.rows).collect::<Vec<_>>(), [2 * 2 * 2 * 4 * 2, 8]);
    assert_eq!((made.kept, made.silent), (0, 0));
    assert!(!folder.path().join(".partial").exists());
    let table = QualityTable::from_csv("table.csv", &bytes(folder.path(), "table.csv")).unwrap();
    let rows = csv_rows(&folder.path().join("records.csv")).1;
    for (split, loss, noise) in [(1, 0.0, 0.0), (1, 0.0, 2.0), (12, 0.3, 0.0), (12, 0.3, 2.0)] {
        let here = rows.iter().filter(|row| {
            number(row, "split") == f64::from(split)
                && number(row, "loss_probability") == loss
                && number(row, "noise_std") == noise
                && row["outage"] == "false"
        });
        let (mut nll, mut tokens) = (0.0, 0.0);
        for row in here {
            nll += number(row, "nll_sum");
            tokens += number(row, "tokens_scored");
        }
        let value = table.value(split, loss, noise);
        assert!((value.ppl.unwrap() / (nll / tokens).exp() - 1.0).abs() < 1e-12);
    }
    // Nothing lost and no noise: the equalised tensor is the clean one.
    let clean = table.value(1, 0.0, 0.0);
    assert_eq!(clean.relative_gain, Some(0.0));
    // Absolute noise hurts an early split more; any impairment hurts.
    assert!(table.value(1, 0.0, 2.0).ppl > table.value(12, 0.0, 2.0).ppl);
    assert!(table.value(12, 0.3, 0.0).ppl > clean.ppl);
}

/// A window's draw meets one channel at every point, and in every profile that has it.
#[test]
fn random_numbers_are_common() {
    let assembly = faded();
    let rows = records(&assembly, &grid());
    let at = |row: &Row| (row["window"].clone(), row["draw"].clone());
    let mut gains: BTreeMap<_, String> = BTreeMap::new();
    for row in &rows {
        assert_eq!(gains.entry(at(row)).or_insert_with(|| row["mean_gain"].clone()), &row["mean_gain"]);
    }
    assert_eq!(gains.len(), 4 * 2);
    assert_eq!(gains.values().collect::<std::collections::BTreeSet<_>>().len(), 8, "draws have channels of their own");
    let fewer = ProfileSpec {
        splits: vec![12],
        points: Points::Grid { losses: vec![0.3], noises: vec![2.0], draws: 1 },
        ..grid()
    };
    for row in records(&assembly, &fewer) {
        let point = |other: &&Row| {
            at(other) == at(&row)
                && ["split", "loss_probability", "noise_std"].iter().all(|&column| other[column] == row[column])
        };
        assert_eq!(rows.iter().find(point), Some(&row));
    }
}

#[test]
fn an_snr_is_met_where_it_is_asked_for() {
    let still = assembly("name = \"awgn\"\n[channel]\nfading = \"none\"\n");
    let of = |at, tx_normalisation| {
        let spec = ProfileSpec {
            settings: vec![Setting { reception: Reception::Raw, tx_normalisation, ..EQUALISED }],
            noise: NoiseScale::SnrDb(at),
            points: Points::Grid { losses: vec![0.0], noises: vec![20.0, 5.0], draws: 1 },
            ..grid()
        };
        records(&still, &spec)
    };
    // At each window and split, whatever its scale.
    for normalisation in [TxNormalisation::None, TxNormalisation::PerRow, TxNormalisation::PerRequest] {
        for row in of(SnrAt::Each, normalisation) {
            let error = number(&row, "activation_snr_db") - number(&row, "snr_target_db");
            assert!(error.abs() < 1e-9, "{normalisation:?}: {row:?}");
        }
    }
    // Rows of unit power: σ is the amplitude ratio.
    let unit = of(SnrAt::Split(12), TxNormalisation::PerRow);
    assert!(unit.iter().all(|row| row["noise_std"] == "0.1" || row["noise_std"].starts_with("0.56234132519")));
    // At one split: one σ for all, and the target is the median there.
    let absolute = of(SnrAt::Split(12), TxNormalisation::None);
    for target in ["20.0", "5.0"] {
        let rows: Vec<&Row> = absolute.iter().filter(|row| row["snr_target_db"] == target).collect();
        assert!(rows.iter().all(|row| row["noise_std"] == rows[0]["noise_std"]));
        let snr = |split: &str| {
            let here = rows.iter().filter(|row| row["split"] == split);
            let mut snrs: Vec<f64> = here.map(|row| number(row, "activation_snr_db")).collect();
            snrs.sort_by(f64::total_cmp);
            f64::midpoint(snrs[1], snrs[2])
        };
        assert!((snr("12") - target.parse::<f64>().unwrap()).abs() < 1e-9);
        // Activations grow on their way through the model.
        assert!(snr("1") < snr("12") - 5.0);
    }
}

#[test]
fn settings_are_profiled_side_by_side() {
    let receptions = [Reception::Raw, Reception::Equalised, Reception::Digital];
    let normalisations = [TxNormalisation::None, TxNormalisation::PerRow];
    let units = [LossUnit::TokenRow, LossUnit::ElementIid];
    let settings = Setting::combinations(&receptions, &units, &normalisations, &[]);
    assert_eq!(settings.len(), 2 * 2 * 2 + 2, "digital has no normalisation");
    let spec = ProfileSpec { settings, splits: vec![4], windows: Some(2), ..grid() };
    let rows = records(&faded(), &spec);
    // Analog: 2 losses × 2 noises; digital: 2 losses. Two windows, two draws.
    assert_eq!(rows.len(), (8 * 4 + 2 * 2) * 2 * 2);
    for row in &rows {
        let digital = row["reception"] == "digital";
        assert!(row["noise_std"] == "0.0" || !digital, "{row:?}");
        assert_eq!(row["activation_snr_db"].is_empty(), digital || row["noise_std"] == "0.0");
        if row["loss_unit"] == "element-iid" {
            assert_eq!(row["packets_lost"], "0");
        }
    }
    let mean_ppl = |reception: &str| {
        let here = rows.iter().filter(|row| {
            row["reception"] == reception
                && (row["tx_normalisation"].as_str(), row["loss_unit"].as_str()) == ("none", "token-row")
                && (row["loss_probability"].as_str(), row["noise_std"].as_str()) == ("0.0", "0.0")
        });
        here.map(|row| number(row, "ppl") / number(row, "ppl_clean")).sum::<f64>() / 4.0
    };
    // Without noise and loss: an equalised tensor is untouched, one in f16 nearly, a faded one is not.
    assert_eq!(mean_ppl("equalised"), 1.0);
    assert!((mean_ppl("digital") - 1.0).abs() < 0.01);
    assert!((mean_ppl("raw") - 1.0).abs() > 0.01);
}

#[test]
fn a_record_is_the_same_for_any_number_of_records() {
    let random = |records, seed_text: &str| {
        let points = Points::Random { losses: [0.1, 0.3], noises: [0.5, 2.0], records, repeats: 1 };
        let spec = ProfileSpec { points, splits: (1..=16).collect(), windows: None, ..grid() };
        self::records(&assembly(seed_text), &spec)
    };
    let few = random(8, CHANNEL);
    let many = random(40, CHANNEL);
    assert_eq!(few[..], many[..8]);
    for (index, row) in many.iter().enumerate() {
        assert_eq!(row["draw"], index.to_string());
        assert!((0.1..=0.3).contains(&number(row, "loss_probability")));
        assert!((0.5..=2.0).contains(&number(row, "noise_std")));
    }
    let distinct = |column: &str| many.iter().map(|row| row[column].clone()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(distinct("loss_probability").len(), 40);
    assert!(distinct("split").len() > 10 && distinct("window").len() > 30);
    let folder = tempfile::tempdir().unwrap();
    let points = Points::Random { losses: [0.1, 0.3], noises: [0.5, 2.0], records: 1, repeats: 1 };
    let spec = ProfileSpec { points, windows: None, ..grid() };
    let made = try_make(&faded(), &spec, 1, folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!(made.files.len(), 1, "points of one evaluation make no table");
    assert!(!folder.path().join("table.csv").exists());
}

fn points(losses: &[f64], noises: &[f64]) -> Points {
    Points::Grid { losses: losses.to_vec(), noises: noises.to_vec(), draws: 1 }
}

#[test]
fn profiles_that_do_not_fit_are_refused() {
    let faded = faded();
    let folder = tempfile::tempdir().unwrap();
    let refused_by =
        |assembly: &Assembly, spec: &ProfileSpec| match try_make(assembly, spec, 1, folder.path(), &mut |_, _| ()) {
            Err(ProfileError::Spec(message)) => message,
            other => panic!("{other:?}"),
        };
    let refused = |change: fn(&mut ProfileSpec)| {
        let mut spec = grid();
        change(&mut spec);
        refused_by(&faded, &spec)
    };
    assert!(refused(|spec| spec.splits.push(17)).contains("17 is no split of this model; allowed: 1 to 16"));
    assert!(refused(|spec| spec.points = points(&[1.0], &[0.0])).contains("allowed: 0 to below 1"));
    assert!(refused(|spec| spec.points = points(&[0.0], &[f64::NAN])).contains("--noises"));
    assert!(refused(|spec| spec.points = points(&[0.0], &[2.0, 2.0])).contains("twice in --noises"));
    assert!(refused(|spec| spec.windows = Some(100_000)).contains("windows of 16 tokens only"));
    assert!(refused(|spec| spec.splits.clear()).contains("empty"));
    assert!(refused(|spec| spec.settings.push(EQUALISED)).contains("equalised, token-row, none is asked for twice"));
    assert!(refused(|spec| spec.noise = NoiseScale::SnrDb(SnrAt::Split(0))).contains("--snr-at: 0 is no split"));
    assert!(refused(|spec| spec.tokens = 4096).contains("don't fit the model"));
    let digital = refused(|spec| {
        spec.settings = vec![Setting { reception: Reception::Digital, ..EQUALISED }];
        spec.noise = NoiseScale::SnrDb(SnrAt::Each);
    });
    assert!(digital.contains("--snrs-db: a digital link has no activation SNR"));
    let backwards = refused(|spec| {
        spec.points = Points::Random { losses: [0.3, 0.1], noises: [0.0, 1.0], records: 3, repeats: 1 };
    });
    assert!(backwards.contains("--loss-range: 0.3 is above 0.1"));
    let still = assembly("name = \"still\"\n[channel]\nfading = \"none\"\n");
    let lost = refused_by(&still, &ProfileSpec { points: points(&[0.0, 0.1], &[0.0]), ..grid() });
    assert!(lost.contains("--losses: 0.1 can't happen with equalised, token-row, none: without fading"), "{lost}");
    assert!(!folder.path().join(".partial").exists(), "nothing was begun");
}

#[test]
fn the_command_line_takes_lists_and_ranges() {
    let place = Place::with(CHANNEL);
    let small = ["--splits", "2", "--windows", "2", "--tokens", "8", "--quiet"];
    let profile = |out: &str, options: &[&str]| {
        place.splitwave(&[&["profile", "s.toml", "-o", out], &small[..], options].concat())
    };
    let lists = ["--receptions", "raw,digital", "--loss-units", "chunk,token-row", "--losses", "0.2"];
    profile("lists", &[&lists[..], &["--snrs-db", "10,-3", "--snr-at", "2"]].concat()).says(0, &[]);
    let (_, points) = csv_rows(&place.path("lists/table.csv"));
    let found: Vec<String> =
        points.iter().map(|row| [&*row["reception"], &row["loss_unit"], &row["snr_target_db"]].join(" ")).collect();
    let expected = ["raw chunk 10.0", "raw chunk -3.0", "raw token-row 10.0", "raw token-row -3.0"];
    assert_eq!(found[..4], expected);
    assert_eq!(found[4..], ["digital chunk ", "digital token-row "]);
    // Several ways of sending are no quality table, and the message says why.
    let sets = ["--set", "quality.source=table", "--set", "quality.table=lists/table.csv"];
    let mixed = place.splitwave(&[&["validate", "s.toml"], &sets[..]].concat());
    mixed.says(2, &["one table is made with one setting"]);

    let ranges = ["--records", "5", "--loss-range", "0,0.3", "--snr-range-db", "-5,20"];
    profile("random", &ranges).says(0, &[]);
    let (_, rows) = csv_rows(&place.path("random/records.csv"));
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| (number(row, "activation_snr_db") - number(row, "snr_target_db")).abs() < 1e-9));
    let text = std::fs::read_to_string(place.path("random/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let command = manifest["command"].as_str().unwrap().replace("DIR", "again");
    place.splitwave(&command.split(' ').skip(1).collect::<Vec<_>>()).says(0, &[]);
    assert_eq!(bytes(&place.path("again"), "records.csv"), bytes(&place.path("random"), "records.csv"), "{command}");

    // Records over a channel that doesn't vary.
    let constant = "warning: the columns loss_probability and noise_std won't vary: the channel has P = 0 and σ = 0";
    let draw = |out: &str, options: &[&str]| {
        let all = ["profile", "s.toml", "-o", out, "--records", "1", "--windows", "1", "--tokens", "8"];
        place.splitwave(&[&all, options].concat())
    };
    draw("constant", &[]).says(0, &[constant, "hint: give --loss-range MIN,MAX and --noise-range MIN,MAX", "--set"]);
    let set = ["--set", "channel.noise_std={ min = 0, max = 2, draw = \"per-request\" }"];
    for (index, varies) in [&["--loss-range", "0,0.1"][..], &set].into_iter().enumerate() {
        let done = draw(&format!("varies{index}"), varies);
        assert_eq!(
            (done.code, done.out, done.err),
            (Some(0), format!("varies{index}/records.csv: 1 row\n"), String::new())
        );
    }

    for (options, said) in [
        (&["--draws", "-1"] as &[_], "invalid value '-1' for '--draws <DRAWS>'"),
        (&["--receptions", "loud"], "expected one of `raw`, `equalised`, `digital`"),
        (&["--snr-at", "first"], "allowed: each, or a split"),
        (&["--records", "5", "--loss-range", "0.1"], "allowed: two numbers, MIN,MAX"),
        (&["--loss-range", "0,0.1"], "--records"),
        (&["--records", "5", "--losses", "0.1"], "cannot be used with"),
        (&["--noises", "1", "--snrs-db", "3"], "cannot be used with"),
    ] {
        profile("refused", options).says(2, &[said]);
    }
}

/// Where the damage of a lost row lies: docs/chen25.md shows the table that this prints.
/// Behind the last layer a zeroed row meets the final norm alone and scores chance, ln V,
/// and nobody else suffers; the earlier it is lost, the more do the rows behind it.
#[test]
fn what_a_lost_row_costs() {
    let model = LoadedModel::builtin().unwrap();
    let decoder = &model.decoder;
    let corpus = Corpus::open(BUILTIN, &model.tokenizer, decoder.config().vocab, Segmentation::Tokens).unwrap();
    let (width, vocab, layers) = (decoder.config().d_model, decoder.config().vocab, decoder.layers());
    let nlls = |hidden: Hidden, split: usize, targets: &[u32]| -> Vec<f64> {
        let logits = decoder.logits(&decoder.run(hidden, split..layers).unwrap()).unwrap();
        logits.chunks(vocab).zip(targets).map(|(row, &id)| negative_log_likelihood(row, id).unwrap()).collect()
    };
    let mut costs = BTreeMap::new();
    println!("split  NLL of the lost row, clean -> lost   the other rows together");
    for split in [1, 4, 8, 12, 14, 15, 16] {
        let (mut clean_own, mut own, mut others, mut n) = (0.0, 0.0, 0.0, 0.0);
        for window in (0..192).step_by(8) {
            let window = corpus.window(window, 64).unwrap();
            let TeacherForced { inputs, targets } = TeacherForced::new(window, decoder.config().bos_token);
            let hidden = decoder.run(decoder.embed(&inputs).unwrap(), 0..split).unwrap();
            let clean = nlls(hidden.clone(), split, &targets);
            for row in [8, 20, 32, 44, 56] {
                let mut lossy = hidden.clone();
                lossy.values_mut()[row * width..(row + 1) * width].fill(0.0);
                let lost = nlls(lossy, split, &targets);
                clean_own += clean[row];
                own += lost[row];
                others += (0..64).filter(|&r| r != row).map(|r| lost[r] - clean[r]).sum::<f64>();
                n += 1.0;
            }
        }
        println!("{split:>5}  {:>6.2} -> {:<6.2} {:>+34.2}", clean_own / n, own / n, others / n);
        costs.insert(split, (own / n, others / n));
    }
    let chance = (vocab as f64).ln();
    let (own, others) = costs[&16];
    assert!((own - chance).abs() < 1e-6 && others == 0.0, "{own} {others}");
    // One layer is not enough to make sense of nothing: worse than chance.
    assert!(costs[&15].0 > chance + 4.0);
    assert!(costs[&1].1 > 0.5 && costs[&8].1 > 0.2 && costs[&15].1 < 0.1, "{costs:?}");
}
