//! Exit heads: what `splitwave fit-exit` computes and writes, what it says of bad input, and how good the built-in heads are.

use splitwave::llm::{BUILTIN, BUILTIN_SMALL, Corpus, ExitHead, Hidden, LoadedModel, Nll, Segmentation, TeacherForced};

use crate::cli_support::{Place, csv_rows};
use crate::fit::{Row, number};

/// A fit that takes a second.
const QUICK: [&str; 9] = ["fit-exit", "--windows", "20", "--tokens", "32", "--epochs", "1", "--learning-rate", "0.002"];

fn fit_exit(place: &Place, options: &[&str]) -> crate::cli_support::Done {
    place.splitwave(&[&QUICK[..], options].concat())
}

fn metrics(place: &Place, folder: &str) -> Vec<Row> {
    csv_rows(&place.path(folder).join("metrics.csv")).1
}

fn row<'a>(rows: &'a [Row], text: &str, layer: &str, head: &str) -> &'a Row {
    rows.iter().find(|row| row["text"] == text && row["layer"] == layer && row["head"] == head).unwrap()
}

#[test]
fn exits_are_fitted_and_the_last_ones_is_the_identity() {
    let place = Place::new();
    let done = fit_exit(&place, &["--layer", "16,8", "--check", "builtin", "--threads", "2"]);
    done.says(0, &["16 windows fitted, 2 for validation, 2 held out", "ridge regression: ", "epoch 1: "]);
    assert!(done.out.contains("exit/exit_8.safetensors\nexit/exit_16.safetensors\n"), "{}", done.out);
    let found = metrics(&place, "exit");
    assert_eq!(found.len(), 2 * 2 * 3);
    let lens = row(&found, "check", "8", "logit-lens");
    let exit = row(&found, "check", "8", "exit");
    assert_eq!((lens["windows"].as_str(), lens["rows"].as_str()), ("20", "640"));
    assert!(number(exit, "ppl") < number(lens, "ppl") && number(exit, "ppl") > number(exit, "ppl_full"));
    assert!(number(exit, "kl_nats") < number(row(&found, "check", "8", "ridge"), "kl_nats"));
    let last = row(&found, "held-out", "16", "exit");
    assert_eq!((last["ppl"].as_str(), number(last, "agreement")), (last["ppl_full"].as_str(), 1.0));

    let head = ExitHead::open(&place.path("exit/exit_16.safetensors")).unwrap();
    let identity = |index: usize| f32::from(u8::from(index / 128 == index % 128));
    assert_eq!(head.weight(), (0..128 * 128).map(identity).collect::<Vec<_>>());
    assert!(head.bias().iter().all(|&b| b == 0.0));
    let head = ExitHead::open(&place.path("exit/exit_8.safetensors")).unwrap();
    assert_eq!((head.layer(), head.layers(), head.width(), head.parameters()), (8, 16, 128, 128 * 128 + 128));
    assert_eq!(head.made_with()["windows_fitted"], "16");
    // The JSON parser's last digit isn't exact.
    assert!((head.metrics()["check_ppl"] - number(exit, "ppl")).abs() < 1e-9);

    // The same bytes again, on one thread; and nothing where it is there.
    fit_exit(&place, &["--layer", "8,16", "--check", "builtin", "--threads", "1", "--out", "again"]).says(0, &[]);
    for file in ["exit_8.safetensors", "exit_16.safetensors", "metrics.csv"] {
        let read = |folder: &str| std::fs::read(place.path(folder).join(file)).unwrap();
        assert!(read("exit") == read("again"), "{file}");
    }
    let again = ["--layer", "8,16", "--check", "builtin", "--out", "again"];
    fit_exit(&place, &again).says(0, &["again: already there, skipped"]);
    fit_exit(&place, &[&again[..], &["--seed", "2"]].concat())
        .says(2, &["again: there is something already, and not this fit: seed was 1, is 2", "--force"]);
    fit_exit(&place, &["--layer", "8", "--out", "again"]).says(2, &["another check; layers was [8,16], is [8]"]);
}

#[test]
fn bad_input_is_told_with_what_is_allowed() {
    let place = Place::new();
    place.write("short.txt", "Too short a text.");
    for (options, said) in [
        (&["--layer", "0"][..], "--layer: 0 is out of range; allowed: 1 to 16, the model's layers"),
        (&["--layer", "4,17"], "--layer: 4,17 is out of range"),
        (
            &["--layer", "4,4"],
            "--layer: 4,4 is out of range; allowed: 1 to 16, the model's layers, comma-separated, each once",
        ),
        (&["--layer", "four"], "invalid value 'four'"),
        (&["--layer", "-4"], "allowed: 1 to the model's layers"),
        (&["--layer", "4", "--windows", "2"], "--windows: 2 is out of range; allowed: 3 to 4294967295"),
        (&["--layer", "4", "--tokens", "0"], "--tokens: 0 is out of range"),
        (
            &["--layer", "4", "--tokens", "513"],
            "--tokens: 513 is out of range; allowed: 1 to 512, the model's positions",
        ),
        (&["--layer", "4", "--epochs", "10001"], "--epochs: 10001 is out of range; allowed: 0 to 10000"),
        (&["--layer", "4", "--epochs", "-1"], "allowed: 0 to 10000"),
        (&["--layer", "4", "--learning-rate", "0"], "--learning-rate: 0 is out of range; allowed: above 0, at most 1"),
        (&["--layer", "4", "--learning-rate", "nan"], "--learning-rate: NaN is out of range"),
        (&["--layer", "4", "--batch-windows", "0"], "--batch-windows: 0 is out of range"),
        (&["--layer", "4", "--corpus", "none.txt"], "none.txt: cannot be read"),
        (&["--layer", "4", "--corpus", "short.txt"], "short.txt: has 0 windows of 32 tokens; a fit takes at least 3"),
        (&["--layer", "4", "--check", "short.txt"], "short.txt: has 0 windows of 32 tokens; a fit takes at least 1"),
        (&["--layer", "4", "--model", "bultin"], "did you mean \"builtin\"?"),
    ] {
        // An option may stand there once.
        let quick: Vec<&str> = std::iter::once("fit-exit")
            .chain(QUICK[1..].chunks(2).filter(|pair| !options.contains(&pair[0])).flatten().copied())
            .collect();
        place.splitwave(&[&quick[..], options].concat()).says(2, &[said]);
    }
    place.write("exit/metrics.csv", "text,layer\n");
    fit_exit(&place, &["--layer", "4"]).says(2, &["metrics.csv has no manifest.json of a fit beside it", "--force"]);
}

#[test]
fn heads_of_another_model_are_refused() {
    let [large, small] = [BUILTIN, BUILTIN_SMALL].map(|name| LoadedModel::open(name).unwrap());
    let head = ExitHead::builtin(8).unwrap().unwrap();
    assert_eq!(head.check_model(&large), Ok(()));
    let refused = head.check_model(&small).unwrap_err().to_string();
    assert!(refused.contains("behind layer 8 was fitted for another model: its width is 128, this model's is 96"));
    assert!(refused.contains("splitwave fit-exit --model MODEL --layer 8"), "{refused}");
    let file = head.to_bytes().unwrap();
    let hash = &head.model_hash().as_bytes()[..8];
    let other = file.windows(8).position(|bytes| bytes == hash).unwrap();
    let mut changed = file.clone();
    changed[other..other + 8].copy_from_slice(b"01234567");
    let refused = ExitHead::from_bytes("x", &changed).unwrap().check_model(&large).unwrap_err().to_string();
    assert!(refused.contains("its hash is 01234567"), "{refused}");
    assert!(ExitHead::builtin(5).is_none() && ExitHead::builtin(16).is_none());
}

/// The heads that are compiled in, on all 112 windows of 128 tokens of the built-in text, which they were not fitted to.
#[test]
fn built_in_heads_are_as_good_as_their_files_say() {
    let model = LoadedModel::builtin().unwrap();
    let decoder = &model.decoder;
    let corpus = Corpus::open(BUILTIN, &model.tokenizer, decoder.config().vocab, Segmentation::Tokens).unwrap();
    let heads = ExitHead::BUILTIN_LAYERS.map(|layer| ExitHead::builtin(layer).unwrap().unwrap());
    assert_eq!(heads.each_ref().map(ExitHead::layer), [4, 8, 12]);
    let (mut full, mut lens, mut exit) = (Nll::default(), [Nll::default(); 3], [Nll::default(); 3]);
    for index in 0..corpus.window_count(128) {
        let window = corpus.window(index, 128).unwrap();
        let TeacherForced { inputs, targets } = TeacherForced::new(window, decoder.config().bos_token);
        let (mut hidden, mut from) = (decoder.embed(&inputs).unwrap(), 0);
        for (place, head) in heads.iter().enumerate() {
            hidden = decoder.run(hidden, from..head.layer()).unwrap();
            from = head.layer();
            lens[place] += decoder.nll(&hidden, &targets).unwrap();
            exit[place] += decoder.nll(&head.translate(&hidden).unwrap(), &targets).unwrap();
        }
        full += decoder.nll(&decoder.run(hidden, from..16).unwrap(), &targets).unwrap();
    }
    for (place, head) in heads.iter().enumerate() {
        head.check_model(&model).unwrap();
        let (found, said) = (exit[place].perplexity(), head.metrics()["check_ppl"]);
        assert!((found - said).abs() < 1e-3 * said, "layer {}: {found}, not {said}", head.layer());
        assert!(found < 0.5 * lens[place].perplexity() && found > full.perplexity());
    }
    assert!(exit[0].perplexity() > exit[1].perplexity() && exit[1].perplexity() > exit[2].perplexity());
}

#[test]
fn a_row_alone_has_the_bits_that_it_has_among_others() {
    let model = LoadedModel::builtin().unwrap();
    let head = ExitHead::builtin(4).unwrap().unwrap();
    let tokens: Vec<u32> = (0..150).map(|index| (index * 37 + 11) % 2048).collect();
    let states = model.decoder.run(model.decoder.embed(&tokens).unwrap(), 0..4).unwrap();
    let together = head.translate(&states).unwrap();
    for (index, (row, expected)) in states.iter_rows().zip(together.iter_rows()).enumerate() {
        let alone = head.translate(&Hidden::from_vec(row.to_vec(), 128).unwrap()).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(alone.values()), bits(expected), "row {index}");
    }
}
