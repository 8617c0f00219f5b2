//! Wrong input through the real binary: what is wrong, file and line, what is
//! allowed, what to do; exit status 2; and nothing written.

use std::fs;

use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::Value;

use crate::cli_support::{Done, Place, SMALL, project};

/// Runs `s.toml`, which must be refused with all of this said in this order.
fn refused(place: &Place, arguments: &[&str], said: &[&str]) -> Done {
    let done = place.splitwave(&[&["run", "s.toml", "--out", "out"], arguments].concat());
    done.says(2, said);
    assert_eq!(done.out, "");
    assert!(!place.path("out").exists(), "something was written");
    done
}

/// One test per mistake: the scenario behind its name, and what must be said.
macro_rules! mistakes {
    ($($test:ident: $scenario:literal => [$($said:literal),+ $(,)?])+) => {
        $(#[test]
        fn $test() {
            refused(&Place::with(concat!("name = \"a\"\n", $scenario, "\n")), &[], &[$($said),+]);
        })+
    };
}

mistakes! {
    unknown_key: "[channel]\nnoise_sdt = 0.3" =>
        ["error: unknown key `noise_sdt` in `channel`", "s.toml:3:1", "hint: did you mean `noise_std`?", "1 error"]
    misspelt_table: "[chanel]\nnoise_std = 0.3" =>
        ["unknown key `chanel` at the top level", "s.toml:2:2", "did you mean `channel`?", "1 error"]
    key_of_another_table: "[channel]\nbandwidth_mhz = 1.0" =>
        ["unknown key `bandwidth_mhz` in `channel`", "s.toml:3:1", "`bandwidth_mhz` belongs in [radio]"]
    key_of_the_future: "[channel]\nk_factor_db = 3.0" =>
        ["unknown key `k_factor_db` in `channel`", "s.toml:3:1"]
    wrong_type: "[channel]\nnoise_std = \"0.3\"" =>
        ["`channel.noise_std` must be a number or a table, not a string", "s.toml:3:13",
         "allowed: number or table { min, max, draw, walk_per_sqrt_s }", "hint: write the number without quotes: 0.3"]
    a_fraction_of_a_layer: "[split]\nmin = 1.5" =>
        ["`split.min` must be an integer, not 1.5", "s.toml:3:7", "allowed:"]
    unknown_name: "[edge]\ndiscipline = \"batched\"" =>
        ["unknown value \"batched\" for `edge.discipline`", "s.toml:3:14", "allowed: \"fifo\", \"ps\", \"batch\"",
         "did you mean \"batch\"?"]
    out_of_range: "[radio]\nbandwidth_mhz = 0" =>
        ["`radio.bandwidth_mhz` is out of range", "s.toml:3:17", "allowed: (0, 1000000]"]
    certain_loss: "[channel]\nloss_probability = 1.0" =>
        ["`channel.loss_probability` is out of range", "s.toml:3:20", "allowed: 0 to below 1"]
    no_seconds: "duration_s = 0.0" =>
        ["`duration_s` is out of range", "s.toml:2:14", "allowed: (0, 1e9]"]
    warm_up_of_the_whole_run: "duration_s = 5.0\nwarmup_s = 5.0" =>
        ["the warm-up takes the whole run", "s.toml:3:12", "allowed: 0 to below duration_s = 5"]
    not_a_number: "[channel]\nnoise_std = nan" =>
        ["`channel.noise_std` must be a finite number", "s.toml:3:13"]
    not_a_number_in_a_range: "[channel]\nnoise_std = { min = nan, max = 1.0, draw = \"per-ue\" }" =>
        ["`channel.noise_std.min` must be a finite number", "s.toml:3:21"]
    infinity: "duration_s = inf\n[reward]\nlambda = -inf" =>
        ["`duration_s` must be a finite number", "s.toml:2:14",
         "`reward.lambda` must be a finite number", "s.toml:4:10", "2 errors"]
    range_without_draw: "[channel]\nnoise_std = { min = 0.3, max = 1.0 }" =>
        ["a range that doesn't say when a value is drawn", "s.toml:3:13",
         "add draw = \"per-ue\", \"per-episode\" or \"per-request\", or walk_per_sqrt_s"]
    range_that_draws_and_walks:
        "[channel]\nnoise_std = { min = 0.3, max = 1.0, draw = \"per-ue\", walk_per_sqrt_s = 1.0 }" =>
        ["both draw and walk_per_sqrt_s", "s.toml:3:13", "leave one of them out"]
    range_upside_down: "[channel]\nnoise_std = { min = 2.0, max = 1.0, draw = \"per-ue\" }" =>
        ["min is above max", "s.toml:3:21", "allowed: at most 1"]
    over_specified_channel: "[channel]\nloss_probability = 0.1\nrayleigh_scale = 0.7\ngain_threshold = 0.2" =>
        ["over-specified channel", "s.toml:3:20",
         "leave out one of loss_probability, rayleigh_scale, and gain_threshold or snr_db"]
    two_thresholds: "[channel]\nreception = \"digital\"\nsnr_db = 10.0\ngain_threshold = 0.2" =>
        ["both snr_db and gain_threshold", "s.toml:4:10", "leave one of them out"]
    encoding_of_analog_values: "[channel]\nencoding = \"f16\"" =>
        ["an analog link sends values, not bits", "s.toml:3:12", "set reception = \"digital\", or leave encoding out"]
    split_beyond_the_model: "[split]\nmax = 17" =>
        ["split.max is above the model's 16 layers", "s.toml:3:7", "allowed: 1 to 16, or \"all\""]
    initial_split_beyond_the_model: "[split]\ninitial = { min = 1, max = 40, draw = \"per-ue\" }" =>
        ["the initial split is outside", "s.toml:3:11", "allowed: 1 to 16"]
    greedy_without_a_table: "[controller]\nkind = \"greedy\"" =>
        ["read their expectations from a table", "s.toml:3:8", "set quality.table"]
    quality_without_its_table: "[quality]\nsource = \"table\"" =>
        ["the table is not named", "s.toml:3:10", "set quality.table"]
    too_many_tokens: "[[ue]]\nworkload = { output_tokens = 1000001 }" =>
        ["`ue[0].workload.output_tokens` is out of range", "s.toml:3:30", "allowed: [1, 1000000]"]
    session_beyond_the_context: "[[ue]]\nworkload = { prompt_tokens = 500, output_tokens = 14 }" =>
        ["prompts of 500 tokens and their sessions are longer than the model's context", "s.toml:3:51",
         "allowed: 1 to 13"]
    session_by_a_table:
        "[[ue]]\nworkload = { output_tokens = 2 }\n[quality]\nsource = \"table\"\ntable = \"builtin\"" =>
        ["a table knows the perplexity of prompts; a session is scored on the tokens that follow", "s.toml:3:30",
         "allowed: 1", "set quality.source to \"llm\" or \"none\""]
    uncountable_session:
        "[quality]\nsource = \"none\"\n[radio]\nmax_transmissions = 100000\n[[ue]]\n\
         workload = { output_tokens = 100000 }" =>
        ["a session may send more packets than can be counted", "s.toml:7:30", "lower radio.max_transmissions"]
    concealment_that_was_not_profiled:
        "[channel]\nconcealment = \"previous-row\"\ndoppler_hz = 60.0\n[quality]\nsource = \"table\"\n\
         table = \"builtin\"" =>
        ["the quality table was profiled with concealment = \"zero\"", "s.toml:3:15"]
    decode_deadline_of_nothing: "[channel]\ndecode = { delivery = \"am\", deadline_ms = 0.0 }" =>
        ["`channel.decode.deadline_ms` is out of range", "s.toml:3:43"]
    unknown_device: "[edge]\ndevice = \"a100-80g\"" =>
        ["no device has this name", "s.toml:3:10", "allowed: snapdragon-8-gen-2, ", "did you mean \"a100-80gb\"?"]
    two_groups_of_one_name: "[[ue]]\nname = \"p\"\n[[ue]]\nname = \"p\"" =>
        ["two groups of UEs have this name", "s.toml:5:8"]
    missing_channel: "[[channel]]\nname = \"city\"\n[[ue]]\nchannel = \"ctiy\"" =>
        ["no [[channel]] has this name", "s.toml:5:11", "allowed: city", "did you mean \"city\"?"]
    duplicate_key: "seed = 1\nseed = 2" =>
        ["not TOML: duplicate key", "s.toml:3:1", "1 error"]
    broken_toml: "[channel\nnoise_std = 1\n[radio]\nbandwith_mhz = 3" =>
        ["not TOML: unclosed table", "s.toml:2:9",
         "unknown key `bandwith_mhz`", "s.toml:5:1", "did you mean `bandwidth_mhz`?", "2 errors"]
    missing_model: "[model]\nsource = \"nowhere\"" =>
        ["nowhere/config.json: cannot be read", "config.json, model.safetensors and tokenizer.json", "s.toml:3:10",
         "a path counts from the working directory, or else from the scenario file's folder"]
    missing_model_and_corpus: "[model]\nsource = \"nowhere\"\ncorpus = \"nowhere.txt\"" =>
        ["nowhere/config.json: cannot be read", "s.toml:3:10", "nowhere.txt: cannot be read", "s.toml:4:10", "2 errors"]
    missing_corpus: "[model]\ncorpus = \"nowhere.txt\"" =>
        ["nowhere.txt: cannot be read", "a text file in UTF-8", "s.toml:3:10", "a path counts from"]
    missing_geometry: "[model]\ncost_as = \"lama\"" =>
        ["\"lama\" is neither \"self\", nor a named geometry (llama-2-7b, ", "s.toml:3:11"]
    missing_table: "[quality]\nsource = \"table\"\ntable = \"nowhere.csv\"" =>
        ["nowhere.csv", "s.toml:4:9", "a path counts from"]
    many_problems:
        "seed = -1\n[channel]\nnoise_sdt = 0.3\n[radio]\nbandwidth_mhz = 0\n[chanel]\n[edge]\ndevice = 3" =>
        ["`seed` is out of range", "s.toml:2:8", "unknown key `noise_sdt`", "s.toml:4:1",
         "`radio.bandwidth_mhz`", "s.toml:6:17", "unknown key `chanel`", "s.toml:7:2",
         "`edge.device` must be a string, not an integer", "s.toml:9:10", "write it in quotes: \"3\"", "5 errors"]
}

/// Keys and types, what one key says about another, and what only the files tell.
#[test]
fn problems_of_every_stage_at_once() {
    let place = Place::with(
        "name = \"a b\"\n[channel]\nnoise_sdt = 0.3\n[model]\ncorpus = \"nowhere.txt\"\n[split]\nmax = 99\n\
         [edge]\ndevice = \"zz\"\n[radio]\nbandwidth_mhz = 0\n",
    );
    let done = refused(&place, &[], &["6 errors"]);
    for (said, line) in [
        ("can't be the name of a folder", 1),
        ("unknown key `noise_sdt`", 3),
        ("nowhere.txt: cannot be read", 5),
        ("split.max is above the model's 16 layers", 7),
        ("no device has this name", 9),
        ("`radio.bandwidth_mhz` is out of range", 11),
    ] {
        done.says(2, &[said, &format!("s.toml:{line}:")]);
    }
}

#[test]
fn names_that_would_leave_the_output_folder() {
    for name in ["../x", "/x", "", ".", "a/b", "a b"] {
        let place = Place::with(&format!("name = {name:?}\n"));
        refused(&place, &[], &["can't be the name of a folder", "s.toml:1:8", "letters, digits, `-` and `_`"]);
    }
    refused(&Place::with("seed = 2\n"), &[], &["missing key `name` at the top level", "s.toml:", "add `name = …`"]);
}

#[test]
fn several_files_each_with_their_problems() {
    let place = Place::with("name = \"a\"\nsede = 1\n");
    place.write("t.toml", "name = \"b\"\n[edge]\nservers = 2\ndiscipline = \"ps\"\n");
    let said = ["did you mean `seed`?", "only a \"fifo\" edge has several servers", "t.toml:3:11", "allowed: 1"];
    refused(&place, &["t.toml"], &said);
    place.write("s.toml", SMALL);
    refused(&place, &["t.toml"], &said[1..]);
}

/// Unknown keys, ranges, contradictions, missing files, and what only the model knows: one file, one reading.
#[test]
fn problems_of_every_stage_in_one_file() {
    let place = Place::with(
        "name = \"a\"\nseed = -1\n[model]\ncorpus = \"nowhere.txt\"\n[split]\nmax = 17\n[edge]\ndevic = \"l4\"\n\
         servers = 2\ndiscipline = \"ps\"\n",
    );
    let said = [
        "`seed` is out of range",
        "s.toml:2:8",
        "nowhere.txt: cannot be read",
        "s.toml:4:10",
        "split.max is above the model's 16 layers",
        "s.toml:6:7",
        "unknown key `devic`",
        "s.toml:8:1",
        "did you mean `device`?",
        "only a \"fifo\" edge has several servers",
        "s.toml:9:11",
        "5 errors",
    ];
    refused(&place, &[], &said);
}

#[test]
fn files_that_are_no_scenarios() {
    let place = Place::new();
    let said = ["s.toml: No such file", "hint: give the path of a scenario file"];
    refused(&place, &[], &said);
    place.write("s.toml", b"name = \"a\"\n# caf\xe9\n");
    refused(&place, &[], &["not UTF-8 text", "s.toml:2:6", "save the file as UTF-8"]);
    place.write("s.toml", "");
    refused(&place, &[], &["missing key `name`"]);
}

#[test]
fn a_wrong_overlay_is_shown_as_such() {
    let place = Place::with("name = \"a\"\n");
    let set = |set: &str, said: &[&str]| refused(&place, &["--set", "seed=2", "--set", set], said);
    set("chanel.noise_std=1", &["unknown key `chanel`", "--set #2:1:1", "did you mean `channel`?"]);
    set("duration_s=long", &["`duration_s` must be a number, not a string", "--set #2:1:12", "allowed: number in"]);
    set("duration_s=nan", &["`duration_s` must be a finite number", "--set #2:1:12"]);
    set("ue.count=4", &["`ue` must be an array, not a table", "--set #2:1:1", "the file has no [[ue]]"]);
    set("edge.servers=0", &["`edge.servers` is out of range", "--set #2:1:14", "allowed: [1, 1000000]"]);
    set("channel.noise_std={ min = 1", &["is no TOML value", "--set #2", "quote text twice"]);
    set("duration_s=", &["no value after `duration_s=`", "--set #2", "write a TOML value"]);
    set("duration_s", &["`duration_s` has no `=`: write `key=value`"]);
    set("=1", &["write a dotted path"]);
}

#[test]
fn wrong_options() {
    let place = Place::with(SMALL);
    for threads in ["0", "-1", "many", "5000"] {
        refused(&place, &["--threads", threads], &[&format!("'{threads}' for '--threads"), "allowed: 1 to 4096"]);
    }
    for (option, value) in [("--seed", "-1"), ("--seed", "x"), ("--replications", "0"), ("--replications", "-3")] {
        refused(&place, &[option, value], &[&format!("invalid value '{value}' for '{option}")]);
    }
    refused(&place, &["--fast"], &["unexpected argument '--fast'"]);
    place.splitwave(&["run"]).says(2, &["required arguments", "<SCENARIO.toml>"]);
    place.splitwave(&["rnu"]).says(2, &["unrecognized subcommand 'rnu'"]);
}

#[test]
fn texts_that_are_no_corpus() {
    let place = Place::with("name = \"a\"\n[model]\ncorpus = \"text.txt\"\n");
    place.write("text.txt", "Too short.");
    refused(&place, &[], &["text.txt: has ", " tokens, but one window needs 64", "s.toml:3:10"]);
    place.write("text.txt", "");
    refused(&place, &[], &["text.txt: has 0 tokens", "s.toml:3:10"]);
    place.write("text.txt", b"caf\xe9 au lait");
    refused(&place, &[], &["text.txt: is not UTF-8 text: invalid from byte 3 on; convert it", "s.toml:3:10"]);
}

#[test]
fn traces_with_mistakes() {
    let place = Place::with("name = \"a\"\n[[ue]]\nworkload = { kind = \"trace\", path = \"t.csv\" }\n");
    for (text, said) in [
        ("arrival_s,prompt_tokens\n0.5,8\n1,x\n", "t.csv, line 3: `prompt_tokens` is `x`; allowed: a whole number"),
        ("arrival_s,prompt_tokens\n-1,8\n", "t.csv, line 2: `arrival_s` is `-1`; allowed: seconds of at least 0"),
        ("arrival_s,prompt_tokens\nnan,8\n", "t.csv, line 2: `arrival_s` is `nan`"),
        ("arrival_s,prompt_tokens\n1,0\n", "t.csv, line 2: `prompt_tokens` is `0`"),
        ("arrival_s,prompt_tokens\n2,8\n1,8\n", "t.csv, line 3: arrival_s = 1 is before the line above; sort"),
        ("arrival_s,tokens\n1,8\n", "t.csv: no column `prompt_tokens`; a trace has arrival_s, prompt_tokens"),
        ("arrival_s,prompt_tokens\n1\n", "t.csv: CSV error: record 1 (line: 2"),
        ("arrival_s,prompt_tokens\n", "t.csv: no rows"),
        ("arrival_s,prompt_tokens,output_tokens\n1,8,0\n", "t.csv, line 2: `output_tokens` is `0`"),
        (
            "arrival_s,prompt_tokens,output_tokens\n1,8,1000001\n",
            "t.csv, line 2: `output_tokens` is `1000001`; allowed: 1 to 1000000",
        ),
    ] {
        place.write("t.csv", text);
        refused(&place, &[], &[said, "s.toml:3:37"]);
    }
    place.write("s.toml", "name = \"a\"\n[[ue]]\nworkload = { kind = \"trace\" }\n");
    refused(&place, &[], &["a trace needs its file", "s.toml:3:21", "add path = "]);
}

#[test]
fn tables_that_do_not_reach_the_scenario() {
    let place = Place::with(
        "name = \"a\"\n[channel]\nnoise_std = 1.5\nloss_probability = 0.4\n[quality]\nsource = \"table\"\n\
         table = \"t.csv\"\n[split]\nmax = 3\n",
    );
    let grid = |splits: &[u32]| {
        let rows = |p: &u32| format!("{p},0,0,20,20\n{p},0,1,30,20\n{p},0.3,0,40,20\n{p},0.3,1,60,20\n");
        "split,loss_probability,noise_std,ppl,ppl_clean\n".to_owned() + &splits.iter().map(rows).collect::<String>()
    };
    place.write("t.csv", grid(&[1, 2]));
    let said = [
        "the quality table knows noise_std from 0 to 1",
        "s.toml:3:13",
        "profile a wider range",
        "the quality table knows loss_probability from 0 to 0.3",
        "s.toml:4:20",
        "profile a wider range",
    ];
    let done = refused(&place, &[], &[]);
    for part in [&said[..], &["the table knows splits from 1 to 2, but not 3", "s.toml:7:9", "splits 1 to 3"]].concat()
    {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    let text = fs::read_to_string(place.path("s.toml")).unwrap();
    place.write("s.toml", text.replace("1.5", "1.0").replace("0.4", "0.3"));
    place.write("t.csv", grid(&[1, 2, 3]));
    place.splitwave(&["validate", "s.toml"]).says(0, &[]);
    place.write("t.csv", grid(&[1, 2, 3]).replace("2,0,1,30,20\n", ""));
    refused(&place, &[], &["t.csv: 0 rows for split 2, loss_probability 0, noise_std 1", "s.toml:7:9"]);
    place.write("t.csv", grid(&[1, 2, 3]).replace("2,0,1,30,20", "2,0,1,NaN,20"));
    refused(&place, &[], &["t.csv, line 7: `ppl` is `NaN`; allowed:", "s.toml:7:9"]);
}

/// A tensor of a checkpoint: name, shape, bytes.
type Tensor = (String, Vec<usize>, Vec<u8>);

/// The built-in model's files in a folder `model`, its tensors changed by `change`.
fn model(place: &Place, change: impl FnOnce(&mut Vec<Tensor>)) {
    let read = |name: &str| fs::read(project().join("models/builtin").join(name)).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        place.write(&format!("model/{name}"), read(name));
    }
    let bytes = read("model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let dtype = file.iter().next().unwrap().1.dtype();
    let mut tensors: Vec<Tensor> =
        file.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec(), tensor.data().to_vec())).collect();
    change(&mut tensors);
    let views =
        tensors.iter().map(|(name, shape, data)| (name.clone(), TensorView::new(dtype, shape.clone(), data).unwrap()));
    place.write("model/model.safetensors", safetensors::serialize(views, None).unwrap());
}

#[test]
fn damaged_and_foreign_models() {
    const UP: &str = "model.layers.2.mlp.up_proj.weight";
    let place = Place::with("name = \"a\"\n[model]\nsource = \"model\"\n");
    let tensor = |tensors: &[Tensor]| tensors.iter().position(|(name, ..)| name == UP).unwrap();
    model(&place, |_| ());
    place.splitwave(&["validate", "s.toml"]).says(0, &[]);

    model(&place, |tensors| {
        let at = tensor(tensors);
        tensors.remove(at);
    });
    refused(&place, &[], &["model/model.safetensors: ", &format!("tensor `{UP}` is missing"), "s.toml:3:10"]);

    model(&place, |tensors| {
        let at = tensor(tensors);
        tensors[at].1.swap(0, 1);
    });
    let shape = format!("tensor `{UP}` has shape [");
    refused(&place, &[], &["model/model.safetensors: ", &shape, "but config.json implies [", "s.toml:3:10"]);

    // All bits set are NaN in any of the float formats.
    model(&place, |tensors| {
        let at = tensor(tensors);
        tensors[at].2[..8].fill(0xff);
    });
    refused(&place, &[], &[&format!("tensor `{UP}` holds NaN at element 0"), "the file is damaged", "s.toml:3:10"]);

    model(&place, |_| ());
    let weights = fs::read(place.path("model/model.safetensors")).unwrap();
    place.write("model/model.safetensors", &weights[..weights.len() / 2]);
    let said = ["model/model.safetensors: is not a complete safetensors file", "fetch or copy it again", "s.toml:3:10"];
    refused(&place, &[], &said);
    fs::remove_file(place.path("model/model.safetensors")).unwrap();
    refused(&place, &[], &["model/model.safetensors: cannot be read", "s.toml:3:10"]);

    model(&place, |_| ());
    let config = fs::read(place.path("model/config.json")).unwrap();
    let mut changed: Value = serde_json::from_slice(&config).unwrap();
    changed["model_type"] = "gpt2".into();
    place.write("model/config.json", changed.to_string());
    refused(&place, &[], &["model/config.json: ", "gpt2", "llama", "s.toml:3:10"]);
    place.write("model/config.json", &config[..config.len() / 2]);
    refused(&place, &[], &["model/config.json: ", "s.toml:3:10"]);
}

#[test]
fn an_output_folder_below_a_file() {
    let place = Place::with(SMALL);
    place.write("file", "");
    for out in ["file", "file/results"] {
        let done = place.splitwave(&["run", "s.toml", "--out", out]);
        done.says(1, &[&format!("error: {out}: creating the output folder failed"), "hint: a file is in the way"]);
    }
    assert_eq!(fs::read(place.path("file")).unwrap(), b"");
}

/// A limit on the size of files stands for a full disk: both make a write fail half-way.
#[cfg(unix)]
#[test]
fn a_full_disk_fails_the_run_and_leaves_whole_rows() {
    for ignored in ["", "trap '' XFSZ; "] {
        let place = Place::with(SMALL);
        let sets = "--set duration_s=2000 --set ue.count=50";
        let done = place.shell(&format!("{ignored}ulimit -f 200; exec splitwave run s.toml --out out {sets}"));
        done.says(1, &["error: out/small/.", "requests.csv", "hint: is the disk full?"]);
        assert!(place.finished("out/small").is_empty());
        let [partial] = &place.hidden("out/small")[..] else { panic!("one attempt") };
        assert!(partial.join("interrupted").is_file());
        let text = fs::read_to_string(partial.join("requests.csv")).unwrap();
        assert!(text.ends_with('\n') && text.len() > 50_000, "{} bytes", text.len());
        // With room again, the same command completes and clears up.
        assert_eq!(place.shell(&format!("splitwave run s.toml --out out -q {sets}")).code, Some(0));
        assert_eq!((place.finished("out/small").len(), place.hidden("out/small").len()), (1, 0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_shown_are_an_error() {
    let place = Place::with(SMALL);
    for command in ["validate s.toml", "run s.toml", "schema", "schema --columns"] {
        let done = place.shell(&format!("splitwave {command} >/dev/full"));
        done.says(1, &["writing to standard output: No space left", "hint: "]);
    }
    // The run itself is done, and a log that can't be written is no reason to fail.
    assert_eq!(place.finished("results/small").len(), 1);
    assert_eq!(place.shell("splitwave run s.toml --force 2>/dev/full").code, Some(0));
}

/// Nothing that was set is ignored without a word.
#[test]
fn keys_that_play_no_part_are_named() {
    let place = Place::with(
        "name = \"a\"\nduration_s = 1.0\n[quality]\nsource = \"none\"\ntable = \"builtin\"\n[controller]\n\
         observe = [\"split\"]\n[reward]\np_max = 8\n[channel]\nfading = \"none\"\nsinusoids = 64\n[radio]\n\
         packet_bytes = 100\n[edge]\nmax_batch = 4\n",
    );
    let done = place.splitwave(&["validate", "s.toml"]);
    let said =
        ["s.toml:5", "s.toml:7", "s.toml:9", "fading is \"none\"", "s.toml:12", "s.toml:14", "s.toml:16", "6 warnings"];
    done.says(0, &said);
}

/// What a table says of itself is anybody's text.
#[test]
fn a_table_of_another_model_is_named_whatever_its_letters() {
    let place = Place::with(
        "name = \"a\"\nduration_s = 1.0\n[split]\nmax = 1\n[quality]\nsource = \"table\"\ntable = \"t.csv\"\n\
         [reward]\nkind = \"relative-gain\"\n",
    );
    let rows = "1,0,0,aéééééééééé\n1,0.5,0,aéééééééééé\n";
    place.write("t.csv", format!("split,loss_probability,relative_ppl_gain,model\n{rows}"));
    let done = place.splitwave(&["validate", "s.toml"]);
    done.says(
        0,
        &["profiled with the model aééééééééééé".trim_end_matches('é'), "its perplexity is that of the profile"],
    );
}

/// Another encoding sends the same rows with another error; sentences are other windows.
#[test]
fn a_table_of_another_encoding_or_of_sentences_is_refused() {
    for (encoding, window, expected) in [
        ("f16", "sentence", "the quality table was profiled with window = \"sentence\""),
        ("bf16", "tokens", "the quality table was profiled with encoding = \"bf16\""),
    ] {
        let place = Place::with(
            "name = \"a\"\nduration_s = 1.0\n[split]\nmax = 1\n[quality]\nsource = \"table\"\ntable = \"t.csv\"\n\
             [channel]\nreception = \"digital\"\n[reward]\nkind = \"relative-gain\"\n",
        );
        let row = format!("0,digital,{encoding},{window}\n");
        let header = "split,loss_probability,relative_ppl_gain,reception,encoding,window";
        place.write("t.csv", format!("{header}\n1,0,{row}1,0.5,{row}"));
        refused(&place, &[], &[expected, "1 error"]);
    }
}

#[test]
fn packets_without_number_are_refused_with_and_without_fading() {
    for fading in ["rayleigh", "none"] {
        let place = Place::with(&format!(
            "name = \"a\"\n[quality]\nsource = \"none\"\n[channel]\nfading = \"{fading}\"\n[radio]\npacket_values = 1\n\
             [[ue]]\nworkload = {{ prompt_tokens = 1000000 }}\n"
        ));
        refused(&place, &[], &["a request of group ue takes 4096000000 packets", "s.toml:6", "at most 10000000"]);
    }
}
