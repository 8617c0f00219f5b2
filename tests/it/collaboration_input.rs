//! What a user may get wrong about collaboration, and what he is told; and that a run's bytes don't depend on
//! threads.

use std::fs;

use crate::cli_support::{Place, project, records, summary_of_all};

const SCENARIO: &str = r#"name = "wrong"
duration_s = 10.0
[service]
mode = "hybrid-reward"
[collaboration]
scorer = "max-softmax"
[channel]
reception = "digital"
[[ue]]
count = 2
workload = { rate_per_s = 0.5, prompt_tokens = 8, output_tokens = 4 }
[edge]
device = "a100-80gb"
"#;

/// A directory with the small model, and another tokenizer if `change` says so.
fn small_model(place: &Place, change: impl Fn(String) -> String) {
    let builtin = project().join("models/builtin");
    for file in ["config.json", "model.safetensors"] {
        place.write(&format!("small/{file}"), fs::read(builtin.join("small").join(file)).unwrap());
    }
    let tokenizer = fs::read_to_string(builtin.join("tokenizer.json")).unwrap();
    place.write("small/tokenizer.json", change(tokenizer));
}

#[test]
fn models_of_two_tokenizers_are_refused() {
    let place = Place::with(SCENARIO);
    // Two tokens change places.
    let swapped = |text: String| {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
        let [first, second] = [700, 701].map(|id| vocabulary.iter().find(|(_, at)| **at == id).unwrap().0.clone());
        vocabulary[&first] = 701.into();
        vocabulary[&second] = 700.into();
        json.to_string()
    };
    small_model(&place, swapped);
    let set = ["validate", "s.toml", "--set", "collaboration.device_model=small"];
    place
        .splitwave(&set)
        .says(2, &["its tokenizer is not that of model.source", "2048", "hint", "same tokenizer.json"]);
    // The same vocabulary in other bytes is the same vocabulary.
    small_model(&place, |text| text + "\n");
    assert_eq!(place.splitwave(&set).code, Some(0));
    // Another model's reward head, though, stays another model's.
    small_model(&place, |text| text);
    let pruned = fs::read_to_string(place.path("small/config.json")).unwrap().replace("1e-06", "1e-05");
    place.write("small/config.json", pruned);
    let head = place.splitwave(&[&set[..], &["--set", "collaboration.scorer=reward"]].concat());
    head.says(2, &["was fitted for the device's model", "fit-reward", "collaboration.reward_head"]);
    assert_eq!(place.splitwave(&set).code, Some(0));
}

#[test]
fn what_cannot_be_is_said_with_its_place() {
    let place = Place::with(SCENARIO);
    place.write("no_head.safetensors", b"no head");
    let long = "ue.0.workload={ prompt_tokens = 500, output_tokens = 100 }";
    for (sets, parts) in [
        (&["service.mode=hybrid"][..], &["unknown value \"hybrid\"", "--set", "hybrid-reward"][..]),
        (&["collaboration.threshold=high"], &["collaboration.threshold", "\"inf\", \"-inf\""]),
        (&["collaboration.threshold=nan"], &["`collaboration.threshold` must be a finite number"]),
        (&["collaboration.scorer=reward", "collaboration.reward_head=no_head.safetensors"], &["no_head.safetensors"]),
        (&["collaboration.scorer=reward", "collaboration.reward_head=missing"], &["missing"]),
        (&["collaboration.device_model=missing"], &["missing", "collaboration.device_model"]),
        (&["collaboration.device_cost_as=missing"], &["\"missing\" is neither", "collaboration.device_cost_as"]),
        (&["service.mode=hybrid-uncertainty"], &["U-HLM's uncertainty u", "\"perturbation\""]),
        (&["service.mode=early-exit", "collaboration.exit_layer=16"], &["leaves layers behind it", "1 to 15"]),
        (
            &["service.mode=early-exit", "collaboration.exit_layer=5"],
            &["no exit behind layer 5", "4, 8, 12", "fit-exit"],
        ),
        (&["service.mode=early-exit", "collaboration.scorer=reward"], &["has none", "\"max-softmax\""]),
        (&["service.text=corpus"], &["they are generated", "\"generated\""]),
        (&["quality.source=none"], &["need the models", "\"random\""]),
        (&["quality.source=table", "quality.table=builtin"], &["judged by the model itself"]),
        (
            &["service.mode=split", "service.text=generated", "controller.kind=ppo"],
            &["controllers learn from perplexity"],
        ),
        (&["model.source=none"], &["model.source"]),
        (&[long], &["longer than the model's context"]),
    ] {
        let given: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        place.splitwave(&[&["validate", "s.toml"][..], &given].concat()).says(2, parts);
    }
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let place = Place::with(SCENARIO);
    for (sets, parts) in [
        (
            &["collaboration.threshold=1.5"][..],
            &["1.5 is above the scores of \"max-softmax\", 0 to 1", "every token is asked"][..],
        ),
        (&["collaboration.threshold=-0.5"], &["is below", "stays on the UE, and the edge is never asked", "\"-inf\""]),
        (
            &["collaboration.scorer=reward", "collaboration.threshold=0.5"],
            &["above the scores of \"reward\"", "every token is asked"],
        ),
        (
            &["service.mode=hybrid-uncertainty", "collaboration.scorer=perturbation", "collaboration.threshold=1.5"],
            &["above the scores of \"hybrid-uncertainty\"", "stays on the UE"],
        ),
        (&["service.mode=query-router", "collaboration.threshold=2"], &["every request is asked of the edge"]),
        (&["collaboration.answer_deadline_ms=3"], &["no answer can come in time", "3"]),
        (&["collaboration.scorer=reward", "collaboration.temperature=0"], &["drawn at temperature 1", "here it is 0"]),
        (&["collaboration.perturbation_samples=5"], &["plays no part", "not \"perturbation\""]),
        (&["service.mode=edge-only", "output.tokens=true"], &["tokens come from the corpus"]),
    ] {
        let given: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        place.splitwave(&[&["validate", "s.toml"][..], &given].concat()).says(0, parts);
    }
    for quiet in ["collaboration.threshold=inf", "collaboration.threshold=-inf"] {
        let text = SCENARIO.replace("scorer =", &format!("threshold = \"{}\"\nscorer =", &quiet[24..]));
        let place = Place::with(&text);
        let done = place.splitwave(&["validate", "s.toml"]);
        assert!(done.code == Some(0) && !done.err.contains("warning"), "{done:?}");
    }
}

#[test]
fn threads_change_no_byte_and_thresholds_change_the_run() {
    let scenario = SCENARIO.replace("max-softmax", "reward").replace("count = 2", "count = 6");
    let place = Place::with(&format!("{scenario}[output]\ntokens = true\n"));
    let run = |threads: &str, threshold: &str, out: &str| {
        let set = format!("collaboration.threshold={threshold}");
        let arguments = ["s.toml", "--threads", threads, "--set", &set, "-o", out];
        place.run(&arguments, &format!("{out}/wrong")).remove(0)
    };
    let (one, two) = (run("1", "-4.0", "one"), run("2", "-4.0", "two"));
    let files = records(&one);
    assert!(files["tokens.csv"].split(|&byte| byte == b'\n').count() > 40);
    assert_eq!(files, records(&two));
    // Infinite thresholds are thresholds of their own, not the default.
    let ids = [one, run("2", "\"inf\"", "three"), run("2", "\"-inf\"", "four")]
        .map(|run| run.file_name().unwrap().to_owned());
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

/// The time of a pass counts once, also of texts of one token.
#[test]
fn one_token_keeps_a_ue_busy_once() {
    let text = SCENARIO.replace("output_tokens = 4", "output_tokens = 1").replace("max-softmax", "random");
    let place = Place::with(&text);
    let busy = |mode: &str| {
        let mode = format!("service.mode={mode}");
        let sets = ["s.toml", "--set", &mode, "--set", "quality.source=none", "--set", "service.text=generated"];
        let run = place.run(
            &[&sets[..], &["--set", "collaboration.threshold=\"-inf\"", "-o", &mode]].concat(),
            &format!("{mode}/wrong"),
        );
        summary_of_all(&run[0])["ue_utilisation"].parse::<f64>().unwrap()
    };
    let (alone, asks) = (busy("device-only"), busy("hybrid-reward"));
    assert!(alone > 0.0 && (alone - asks).abs() < 1e-12, "{alone} and {asks}");
}
