//! `splitwave model info`, `check`, `logits` and `generate`, as a user runs them.

use std::fs;

use splitwave::llm::{Decoder, LoadedModel};

use crate::cli_support::{Done, Place, csv_rows, project};

fn ok(done: &Done) -> &str {
    assert_eq!(done.code, Some(0), "{done:?}");
    &done.out
}

/// The value behind the first line that begins with `what`.
fn value<'a>(text: &'a str, what: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    line.unwrap_or_else(|| panic!("no `{what}`:\n{text}")).trim()
}

/// A copy of the built-in model as a directory.
fn copy(place: &Place, name: &str) {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let bytes = fs::read(project().join("models/builtin").join(file)).unwrap();
        place.write(&format!("{name}/{file}"), bytes);
    }
}

#[test]
fn info_says_what_a_model_is() {
    let place = Place::new();
    let done = place.splitwave(&["model", "info", "builtin"]);
    let text = ok(&done);
    for (what, expected) in [
        ("family", "llama"),
        ("parameters", "3,215,488"),
        ("layers L", "16"),
        ("width d", "128"),
        ("vocabulary V", "2048, head tied to the embedding"),
        ("tokenizer", "2048 tokens"),
        ("stored as", "F16: 146 tensors, 3,215,488 values, 6.1 MiB"),
        ("a row in f16", "256 bytes on the air per token"),
    ] {
        assert_eq!(value(text, what), expected);
    }
    let model = LoadedModel::builtin().unwrap();
    assert_eq!(value(text, "content hash"), model.content_hash());

    copy(&place, "copy");
    let json = place.splitwave(&["model", "info", "copy", "--json"]);
    let json: serde_json::Value = serde_json::from_str(ok(&json)).unwrap();
    assert_eq!(json["parameters"], 3_215_488);
    assert_eq!((&json["layers"], &json["bos_token"], &json["eos_tokens"][0]), (&16.into(), &0.into(), &1.into()));
    assert_eq!(json["stored"]["F16"]["bytes"], 6_430_976);
    assert_eq!(json["content_hash"], model.content_hash());
}

#[test]
fn models_that_are_none_are_refused() {
    let place = Place::new();
    place.write("x.txt", "no model");
    for command in [&["info", "nowhere"][..], &["check", "nowhere"], &["logits", "nowhere", "--tokens", "1", "-o", "-"]]
    {
        let done = place.splitwave(&[&["model"], command].concat());
        done.says(2, &["error: ", "nowhere", "hint: a model is \"builtin\", \"builtin-small\", a directory"]);
        assert_eq!(done.out, "");
    }
    let slip = "hint: did you mean \"builtin\"? a model is \"builtin\", \"builtin-small\", a directory";
    place.splitwave(&["model", "info", "builtn"]).says(2, &[slip]);
    let scenario = place.write("s.toml", "name = \"a\"\n[model]\nsource = \"buitlin\"\n").display().to_string();
    place.splitwave(&["validate", &scenario]).says(2, &["buitlin/config.json", "did you mean \"builtin\"?"]);
    place.splitwave(&["model", "info", "x.txt"]).says(2, &["error: ", "x.txt", "hint: "]);
    place.splitwave(&["model", "generate", "--split", "4", "--prompt", "a", "--model", "x"]).says(2, &["error: x"]);
}

#[test]
fn check_lists_tensors_and_proves_the_split() {
    let done = Place::new().splitwave(&["model", "check", "builtin", "--tokens", "5,6,7,8,9"]);
    let text = ok(&done);
    assert_eq!(text.lines().filter(|line| line.starts_with("model.")).count(), 146, "{text}");
    let embedding: Vec<&str> = value(text, "model.embed_tokens.weight").split_whitespace().collect();
    assert_eq!(embedding[..4], ["2048", "×", "128", "F16"]);
    assert!(text.contains("146 tensors, 3,215,488 values, all finite\n"));
    assert!(text.contains("on 5 tokens: every split from 1 to 16 has the bits of the unsplit model\n"));
    assert!(text.contains("on 5 tokens: token by token with caches split at 8 has the bits of all at once\n"));
    assert!(done.err.contains("split 16 of 16: same bits\n"));

    let quiet = Place::new().splitwave(&["model", "check", "builtin", "--quiet"]);
    assert_eq!((ok(&quiet).lines().count(), quiet.err.as_str()), (4, ""));
    assert!(quiet.out.contains("on 32 tokens: every split"));
}

#[test]
fn check_names_the_tensor_that_is_wrong() {
    let place = Place::new();
    copy(&place, "nan");
    let path = place.path("nan/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let name = "model.layers.3.mlp.up_proj.weight";
    let place_of = text[name]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[header + place_of + 20..][..2].copy_from_slice(&[0x00, 0x7e]);
    fs::write(&path, &bytes).unwrap();
    let done = place.splitwave(&["model", "check", "nan"]);
    done.says(2, &["error: ", "nan/model.safetensors", name, "NaN at element 10", "hint: fetch the files"]);
    let line = done.out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line.contains("BAD: "), "{line}");
    assert_eq!(done.out.lines().filter(|line| line.starts_with("model.")).count(), 146);
    // Elsewhere it is wrong input.
    let hint = "hint: `splitwave model check` lists all tensors";
    place.splitwave(&["model", "logits", "nan", "--tokens", "1", "-o", "-"]).says(2, &[name, hint]);
    ok(&place.splitwave(&["model", "info", "nan"]));

    // A layer more than the checkpoint has.
    copy(&place, "deep");
    let config = fs::read_to_string(place.path("deep/config.json")).unwrap();
    let deeper = config.replace("\"num_hidden_layers\": 16", "\"num_hidden_layers\": 17");
    assert_ne!(config, deeper);
    place.write("deep/config.json", deeper);
    let done = place.splitwave(&["model", "check", "deep", "-q"]);
    done.says(2, &["error: ", "tensor `model.layers.16.", "is missing", "hint: fetch the files"]);
    assert_eq!(done.out, "", "nothing is said to be finite");

    // Any number of rows without columns takes no bytes, and no time.
    copy(&place, "empty");
    let path = place.path("empty/model.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut tensors: serde_json::Value = serde_json::from_slice(&whole[8..header]).unwrap();
    tensors["huge"] = serde_json::json!({ "dtype": "F16", "shape": [1_u64 << 61, 0], "data_offsets": [0, 0] });
    let tensors = tensors.to_string().into_bytes();
    let length = (tensors.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], &tensors, &whole[header..]].concat()).unwrap();
    place.splitwave(&["model", "check", "empty"]).says(2, &["empty/model.safetensors", "`huge`"]);

    // A type that isn't read.
    copy(&place, "foreign");
    let text = String::from_utf8(bytes[8..header].to_vec()).unwrap();
    let at = text.find(name).unwrap();
    bytes.splice(8 + at..header, text[at..].replacen("\"F16\"", "\"I16\"", 1).bytes());
    fs::write(place.path("foreign/model.safetensors"), &bytes).unwrap();
    let done = place.splitwave(&["model", "check", "foreign", "-q"]);
    done.says(
        2,
        &[name, "is stored as I16; supported: F32, F16, BF16", "hint: save the model in one of the supported"],
    );
    assert_eq!(done.out, "", "nothing is said to be finite");

    // Token ids come first.
    for (tokens, said) in [
        ("5,2048", "error: token 2048 at position 1 is beyond the vocabulary of 2048"),
        ("-1", "invalid value '-1' for '--tokens <IDS>': allowed: token ids, whole numbers from 0"),
    ] {
        let done = place.splitwave(&["model", "check", "builtin", "--tokens", tokens]);
        done.says(2, &[said]);
        assert_eq!(done.out, "");
    }
    let one = place.splitwave(&["model", "check", "builtin", "-q", "--tokens", "5"]);
    assert!(ok(&one).contains("\non 1 token: every split from 1 to 16 "), "{}", one.out);
}

#[test]
fn files_that_are_not_whole_are_wrong_input() {
    let place = Place::new();
    let compare = "fetch or copy it again\nhint: download it again, and compare its size and checksum";
    copy(&place, "short");
    let path = place.path("short/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..3_000_000]).unwrap();
    let gguf = fs::read(project().join("tests/reference/gguf/spm.gguf")).unwrap();
    place.write("short.gguf", &gguf[..3000]);
    for command in ["info", "check"] {
        let done = place.splitwave(&["model", command, "short"]);
        // Both count from the start of the file.
        done.says(
            2,
            &[
                "is not a complete safetensors file (3000000 bytes): tensor `model.layers.14.mlp.up_proj.weight` \
            lies at bytes 2935256..3025368 of the file; ",
                compare,
            ],
        );
        assert_eq!(done.out, "");
        place.splitwave(&["model", command, "short.gguf"]).says(2, &["its 3000 bytes end inside ", compare]);
    }
    for (name, text, hint) in [
        ("a", "\"model_type\": \"gpt2\"", "hint: choose a model with a supported value"),
        ("b", "\"hidden_act\": \"gelu\"", "hint: choose a model with a supported value"),
        ("c", "\"rope_scaling\": {\"rope_type\": \"yarn\"}", "hint: choose a model with a supported value"),
        ("d", "\"vocab_size\": 0", "hint: take the config.json that was published with the weights"),
    ] {
        copy(&place, name);
        let path = place.path(name).join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let changed: serde_json::Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
        for (key, value) in changed.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(path, config.to_string()).unwrap();
        place.splitwave(&["model", "info", name]).says(2, &["error: ", hint]);
    }
}

#[test]
fn a_model_without_tokenizer_runs_on_token_ids() {
    let place = Place::new();
    for (file, expected, has_tokenizer) in [
        ("families/qwen3", "qwen3", false),
        ("families/quantised.gguf", "llama", false),
        ("gguf/spm.gguf", "llama", true),
    ] {
        let path = project().join("tests/reference").join(file).display().to_string();
        let done = place.splitwave(&["model", "info", &path]);
        assert_eq!(value(ok(&done), "family"), expected);
        assert_eq!(value(&done.out, "tokenizer").starts_with("none: "), !has_tokenizer);
        let checked = place.splitwave(&["model", "check", &path, "-q"]);
        assert!(ok(&checked).contains("has the bits of all at once\n"), "{}", checked.out);
        assert_eq!(checked.out.contains("the model takes token ids only"), !has_tokenizer);
        ok(&place.splitwave(&["model", "logits", &path, "--tokens", "1,2,3", "-o", "l.csv"]));
        let text = place.splitwave(&["model", "logits", &path, "--text", "a", "-o", "-"]);
        assert_eq!(text.code, Some(if has_tokenizer { 0 } else { 2 }), "{text:?}");

        let generate = ["model", "generate", "--model", &path, "--split", "1", "--max-tokens", "3"];
        let ids = place.splitwave(&[&generate[..], &["--tokens", "1,2,3"]].concat());
        let said = format!("{path}: there is no tokenizer (");
        assert_eq!(ids.err.starts_with(&said), !has_tokenizer, "{}", ids.err);
        if !has_tokenizer {
            // The prompt's, and three more; a perfect channel changes none.
            let [clean, lossy, _] = texts(&ids);
            assert_eq!(clean.split(' ').map(|id| id.parse::<u32>().unwrap()).take(3).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!((clean.split(' ').count(), &clean), (6, &lossy));
            assert!(ids.err.ends_with(" is missing): token ids instead of text\n"), "{}", ids.err);
            let text = place.splitwave(&[&generate[..], &["--prompt", "a"]].concat());
            text.says(2, &[&said, " is missing)\nhint: give token ids with --tokens"]);
        }
    }
    // The greedy ids are the decoder's.
    let path = project().join("tests/reference/families/llama");
    let decoder = Decoder::open(&path).unwrap();
    let mut window = vec![1, 2, 3];
    while window.len() < 65 {
        let states = decoder.run(decoder.embed(&window).unwrap(), 0..decoder.layers()).unwrap();
        let logits = decoder.logits(&states).unwrap();
        let last = &logits[logits.len() - decoder.config().vocab..];
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap() as u32;
        window.push(best);
        if decoder.config().eos_tokens.contains(&best) {
            break;
        }
    }
    let path = path.display().to_string();
    let long = ["model", "generate", "--model", &path, "--split", "1", "--tokens", "1,2,3", "--max-tokens", "100"];
    let done = place.splitwave(&long);
    let expected = window.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(texts(&done)[0], expected + " [the model has no more positions]");
    assert!(
        done.err.ends_with("stopped before --max-tokens 100: the model has 64 positions for prompt and text\n"),
        "{}",
        done.err
    );
    // A tokenizer of more tokens than the model has embeddings.
    copy(&place, "small");
    let config = fs::read_to_string(place.path("small/config.json")).unwrap();
    place.write("small/config.json", config.replace("\"vocab_size\": 2048", "\"vocab_size\": 2047"));
    let done = place.splitwave(&["model", "check", "small", "-q"]);
    done.says(2, &["the tokenizer has 2048 tokens, but the model's vocabulary", "hint: fetch the files"]);
}

#[test]
fn logits_are_the_librarys_to_the_last_digit() {
    let place = Place::new();
    let tokens = [0_u32, 17, 300, 2047, 5];
    let decoder = &LoadedModel::builtin().unwrap().decoder;
    let front = decoder.run(decoder.embed(&tokens).unwrap(), 0..6).unwrap();
    let logits = decoder.logits(&decoder.run(front.clone(), 6..16).unwrap()).unwrap();
    for (arguments, prefix, columns, expected) in [
        (&[][..], "logit_", 2048, &logits[..]),
        (&["--split", "6"], "logit_", 2048, &logits),
        (&["--split", "6", "--hidden"], "h_", 128, front.values()),
    ] {
        let done = place.splitwave(
            &[&["model", "logits", "builtin", "--tokens", "0,17,300,2047,5", "-o", "l.csv"], arguments].concat(),
        );
        assert_eq!((done.code, done.out.as_str()), (Some(0), ""));
        assert_eq!(done.err, format!("l.csv: 5 rows of {columns} values\n"));
        let (header, rows) = csv_rows(&place.path("l.csv"));
        assert_eq!(header[..3], ["position".to_owned(), "token".to_owned(), format!("{prefix}0")]);
        assert_eq!((header.len(), rows.len()), (2 + columns, 5));
        for (position, row) in rows.iter().enumerate() {
            assert_eq!((&row["position"], &row["token"]), (&position.to_string(), &tokens[position].to_string()));
            for column in 0..columns {
                let written: f32 = row[&format!("{prefix}{column}")].parse().unwrap();
                assert_eq!(written.to_bits(), expected[position * columns + column].to_bits());
            }
        }
    }
    assert_eq!(fs::read_dir(place.path(".")).unwrap().count(), 1, "nothing beside the file");

    // Text has BOS in front; "-" is standard output.
    let text = place.splitwave(&["model", "logits", "builtin", "--text", "The river", "-o", "-"]);
    let ids = LoadedModel::builtin().unwrap().tokenizer.encode("The river").unwrap();
    let written: Vec<&str> = ok(&text).lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    let expected: Vec<String> = std::iter::once(&0).chain(&ids).map(u32::to_string).collect();
    assert_eq!(written, expected);
}

/// A path that is no plain file keeps what it is: a link its target, a pipe its reader.
#[cfg(unix)]
#[test]
fn logits_go_where_links_and_pipes_lead() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    let place = Place::new();
    let path = |name: &str| place.path(name);
    let command = |out: &str| place.splitwave(&["model", "logits", "builtin", "--tokens", "0,17", "-o", out]);
    ok(&command("plain.csv"));
    let expected = fs::read(path("plain.csv")).unwrap();

    place.write("target.csv", "old");
    fs::set_permissions(path("target.csv"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("target.csv", path("link.csv")).unwrap();
    ok(&command("link.csv"));
    assert!(path("link.csv").is_symlink());
    assert_eq!(fs::read(path("target.csv")).unwrap(), expected);
    assert_eq!(fs::metadata(path("target.csv")).unwrap().permissions().mode() & 0o777, 0o600);

    std::os::unix::fs::symlink("nowhere.csv", path("dangling.csv")).unwrap();
    assert_eq!(command("dangling.csv").code, Some(1));

    assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let pipe = path("pipe");
    let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
    ok(&command("pipe"));
    assert_eq!(reader.join().unwrap(), expected);
    assert!(fs::metadata(path("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn logits_refuse_what_does_not_fit() {
    let place = Place::new();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let all = [&["model", "logits", "builtin", "-o", "l.csv"], arguments].concat();
        let done = place.splitwave(&all);
        done.says(2, parts);
        assert!(!place.path("l.csv").exists());
    };
    refused(&["--tokens", "1,2,2048"], &["token 2048 at position 2 is beyond the vocabulary of 2048", "hint: "]);
    for split in ["17", "0", "-1"] {
        let said = format!("error: --split: {split} is no split of this model; allowed: 1 to 16\nhint: ");
        refused(&["--tokens", "1", "--split", split], &[&said]);
        place.splitwave(&["model", "generate", "--prompt", "a", "--split", split]).says(2, &[&said]);
    }
    let most = LoadedModel::builtin().unwrap().decoder.config().max_positions;
    let long = vec!["1"; most + 1].join(",");
    refused(
        &["--tokens", &long],
        &[&format!("a window of {} tokens is not allowed; this model takes 1 to {most}", most + 1)],
    );
    refused(&["--tokens", "1", "--hidden"], &["--split <p>"]);
    refused(&[], &["--tokens <IDS>"]);
    refused(&["--tokens", "1", "--text", "a"], &["cannot be used with"]);
    for tokens in ["1,-2", "-2", "-2,1"] {
        refused(&["--tokens", tokens], &["invalid value '-2' for '--tokens <IDS>': allowed: token ids, whole numbers"]);
    }

    let done = place.splitwave(&["model", "logits", "builtin", "--tokens", "1", "-o", "no/where.csv"]);
    done.says(1, &["error: no/where.csv: ", "hint: the folder must exist"]);
    // 20 rows of 2048 logits are more than a file of 64 blocks takes.
    let tokens = vec!["1"; 20].join(",");
    let line = format!("ulimit -f 64; exec splitwave model logits builtin --tokens {tokens} -o l.csv");
    place.shell(&line).says(1, &["error: l.csv: ", "hint: make room"]);
    assert_eq!(fs::read_dir(place.path(".")).unwrap().count(), 0, "nothing is left behind");
}

/// The two texts of `generate`, and the table.
fn texts(done: &Done) -> [String; 3] {
    let parts: Vec<&str> = ok(done).split("---").collect();
    let [_, clean, lossy, table] = parts[..] else { panic!("{}", done.out) };
    let text = |part: &str| part.split_once('\n').unwrap().1.trim_end_matches('\n').to_owned();
    [text(clean), text(lossy), table.to_owned()]
}

const PROMPT: &str = "The old man walked down to the river and";

fn generate(place: &Place, arguments: &[&str]) -> Done {
    let common = ["model", "generate", "--prompt", PROMPT, "--split", "4", "--max-tokens", "16"];
    place.splitwave(&[&common, arguments].concat())
}

#[test]
fn a_perfect_channel_changes_no_token() {
    let place = Place::new();
    let model = LoadedModel::builtin().unwrap();
    let decoder = &model.decoder;
    let mut window: Vec<u32> = std::iter::once(0).chain(model.tokenizer.encode(PROMPT).unwrap()).collect();
    let rows = window.len();
    for _ in 0..16 {
        let logits = decoder.logits(&decoder.run(decoder.embed(&window).unwrap(), 0..16).unwrap()).unwrap();
        let last = &logits[logits.len() - 2048..];
        let best = (0..2048).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
        window.push(best as u32);
    }
    let expected = model.tokenizer.decode(&window).unwrap();
    for arguments in [&["--loss", "0"][..], &["--reception", "digital", "--encoding", "f32"]] {
        let done = generate(&place, arguments);
        let [clean, lossy, table] = texts(&done);
        assert_eq!((clean.as_str(), lossy.as_str()), (expected.as_str(), expected.as_str()));
        assert_eq!(value(&table, "the texts part at"), "no token: they are the same");
        assert_eq!(value(&table, "rows of the prompt"), format!("{rows} sent, 0 lost"));
        assert_eq!(value(&table, "rows of tokens"), "15 sent, 0 lost, 0 packets sent again");
        assert_eq!(value(&table, "bits down"), "176 (11 per token id)");
    }
}

#[test]
fn a_seed_gives_the_same_text_again() {
    let place = Place::new();
    let lossy = ["--loss", "0.3", "--noise", "0.2", "--seed", "3"];
    let once = generate(&place, &lossy);
    let [clean, damaged, table] = texts(&once);
    assert_eq!(generate(&place, &lossy).out, once.out);
    assert_ne!(clean, damaged);
    assert!(value(&table, "the texts part at").starts_with("token "));
    assert!(value(&table, "activation SNR").ends_with(" dB at gain 1, rows of the prompt"));
    let [same, other, _] = texts(&generate(&place, &["--loss", "0.3", "--noise", "0.2", "--seed", "4"]));
    assert_eq!(same, clean, "greedy text knows no seed");
    assert_ne!(other, damaged);

    // Drawn text: both meet the same chances, so a perfect channel changes nothing here either.
    let drawn = ["--temperature", "0.9", "--top-k", "50", "--top-p", "0.95", "--seed", "3"];
    let [one, two, _] = texts(&generate(&place, &drawn));
    assert_eq!(one, two);
    assert_ne!(one, clean);
}

#[test]
fn rows_of_tokens_are_repeated_or_concealed() {
    let place = Place::new();
    let [_, _, table] = texts(&generate(&place, &["--loss", "0.4"]));
    let repeated = value(&table, "rows of tokens");
    assert!(repeated.starts_with("15 sent, 0 lost, ") && !repeated.ends_with(", 0 packets sent again"), "{repeated}");
    let [_, _, table] = texts(&generate(&place, &["--loss", "0.4", "--decode-delivery", "none"]));
    let once = value(&table, "rows of tokens");
    assert!(!once.starts_with("15 sent, 0 lost") && once.ends_with(", 0 packets sent again"), "{once}");
    let bits = ["--reception", "digital", "--encoding", "int4", "--loss", "0"];
    let [_, _, table] = texts(&generate(&place, &bits));
    let rows = value(&table, "rows of the prompt").split_once(' ').unwrap().0.parse::<u64>().unwrap() + 15;
    assert_eq!(value(&table, "bits up").replace(',', ""), (rows * (128 * 4 + 16)).to_string());
}

#[test]
fn generate_refuses_what_plays_no_part_or_does_not_fit() {
    let place = Place::new();
    for (arguments, parts) in [
        (&["--encoding", "int8"][..], &["--encoding plays no part", "hint: add --reception digital"][..]),
        (&["--reception", "digital", "--noise", "1"], &["--noise plays no part", "hint: leave it out"]),
        (&["--loss-unit", "chunk"], &["--loss-unit chunk plays no part", "hint: add --packets-per-row"]),
        (&["--top-k", "5"], &["--top-k and --top-p play no part", "hint: add --temperature"]),
        (&["--loss", "1"], &["loss probability 1 is not in [0, 1)", "hint: "]),
        (&["--loss", "-0.1"], &["loss probability -0.1"]),
        (&["--noise", "NaN"], &["standard deviation NaN is not allowed"]),
        (&["--rayleigh-scale", "0"], &["Rayleigh scale 0 is not positive"]),
        (&["--packets-per-row", "0"], &["0 packets per row are not allowed; allowed: 1 to the 128"]),
        (&["--reception", "loud"], &["loud", "expected one of `raw`, `equalised`, `digital`"]),
        (&["--temperature", "-1"], &["invalid value '-1' for '--temperature <T>': allowed: 0 to 1000"]),
        (&["--top-p", "-1"], &["allowed: above 0, up to 1"]),
        (&["--top-p", "0"], &["allowed: above 0, up to 1"]),
        (&["--decode-delivery", "um"], &["allowed: am, none"]),
    ] {
        let done = generate(&place, arguments);
        done.says(2, parts);
        assert_eq!(done.out, "", "{arguments:?}");
    }
    // A text of no tokens, of a model without BOS.
    copy(&place, "plain");
    place.write("plain/tokenizer_config.json", "{\"add_bos_token\": false}");
    let empty = ["model", "generate", "--model", "plain", "--prompt", "", "--split", "4"];
    place
        .splitwave(&empty)
        .says(2, &["error: the prompt has no tokens, and this model has no BOS", "hint: give --prompt"]);
    let long = "river ".repeat(5000);
    let long = ["model", "generate", "--prompt", &long, "--split", "4"];
    place.splitwave(&long).says(2, &["tokens is not allowed; this model takes 1 to "]);
    // A prompt of one token whose row is lost.
    let deaf = ["model", "generate", "--tokens", "5", "--split", "4", "--loss", "0.999999"];
    let done = place.splitwave(&deaf);
    assert!(ok(&done).contains("[nothing of the prompt arrived: an outage]"));
}
