//! Which token starts a text: the rule that directories and GGUF files share.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use splitwave::llm::*;

use crate::cli_support::{Place, project};
use crate::gguf_tiny::GgufTiny;

/// The built-in model as a directory, with what its files shall say of BOS.
fn directory(place: &Place, config: &Value, post_processor: &Value, settings: Option<&Value>) -> String {
    let source = project().join("models/builtin");
    let changed = |file: &str, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&fs::read(source.join(file)).unwrap()).unwrap();
        change(&mut value);
        place.write(&format!("m/{file}"), value.to_string());
    };
    changed("config.json", &|fields| {
        for (name, value) in config.as_object().unwrap() {
            fields[name] = value.clone();
        }
    });
    changed("tokenizer.json", &|tokenizer| tokenizer["post_processor"] = post_processor.clone());
    place.write("m/model.safetensors", fs::read(source.join("model.safetensors")).unwrap());
    if let Some(settings) = settings {
        place.write("m/tokenizer_config.json", settings.to_string());
    }
    place.path("m").display().to_string()
}

/// A template with the tokens `ids` in front, as transformers writes it for one of them.
fn template(ids: &[u32]) -> Value {
    let special = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    let text = |id| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let names: Vec<String> = ids.iter().map(|id| format!("token {id}")).collect();
    json!({
        "type": "TemplateProcessing",
        "single": [special, text("A")],
        "pair": [special, text("A"), special, text("B")],
        "special_tokens": { "<s>": { "id": "<s>", "ids": ids, "tokens": names } },
    })
}

fn bytes() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false })
}

/// What it stands for, changes of config.json, post-processor, settings; BOS, and why.
type Case = (&'static str, Value, Value, Option<Value>, Option<u32>, BosRule);

/// What the published models' files say, with the built-in model's token numbers: `<s>` is 0.
#[test]
fn a_directory_begins_texts_as_its_tokenizer_does() {
    let llama = json!({});
    let qwen = |family: &str| json!({ "model_type": family, "bos_token_id": 0 });
    let sequence = json!({ "type": "Sequence", "processors": [bytes(), template(&[0])] });
    let added = json!({ "__type": "AddedToken", "content": "<s>", "normalized": false });
    let mistral = json!({ "model_type": "mistral", "bos_token_id": 0 });
    let cohere = json!({ "model_type": "cohere", "layer_norm_eps": 1e-5, "bos_token_id": 0 });
    let cases: [Case; 18] = [
        (
            "LLaMA-2",
            llama.clone(),
            template(&[0]),
            Some(json!({ "add_bos_token": true, "bos_token": added, "tokenizer_class": "LlamaTokenizer" })),
            Some(0),
            BosRule::Setting,
        ),
        (
            "LLaMA-3",
            llama.clone(),
            sequence.clone(),
            Some(json!({ "bos_token": "<s>", "tokenizer_class": "PreTrainedTokenizerFast" })),
            Some(0),
            BosRule::PostProcessor,
        ),
        ("Mistral", mistral, template(&[0]), None, Some(0), BosRule::PostProcessor),
        (
            "Aya-23",
            cohere,
            template(&[0]),
            Some(json!({ "add_bos_token": true, "bos_token": "<s>", "tokenizer_class": "CohereTokenizer" })),
            Some(0),
            BosRule::Setting,
        ),
        (
            "Qwen2.5",
            qwen("qwen2"),
            bytes(),
            Some(json!({ "add_bos_token": false, "bos_token": null, "tokenizer_class": "Qwen2Tokenizer" })),
            None,
            BosRule::Setting,
        ),
        (
            "Qwen2",
            qwen("qwen2"),
            bytes(),
            Some(json!({ "bos_token": null, "tokenizer_class": "Qwen2Tokenizer" })),
            None,
            BosRule::PostProcessor,
        ),
        ("Qwen3", qwen("qwen3"), bytes(), None, None, BosRule::PostProcessor),
        ("Qwen, nothing said", qwen("qwen3"), Value::Null, None, None, BosRule::Family),
        // config.json has the number of another token than the tokenizer puts in front.
        (
            "DeepSeek's distillation of Qwen",
            qwen("qwen2"),
            template(&[1]),
            Some(json!({ "add_bos_token": true, "bos_token": { "content": "</s>" } })),
            Some(1),
            BosRule::Setting,
        ),
        ("the same without settings", qwen("qwen2"), template(&[1]), None, Some(1), BosRule::PostProcessor),
        // A LLaMA with GPT-2's tokenizer.
        (
            "SmolLM",
            llama.clone(),
            Value::Null,
            Some(json!({ "bos_token": "<s>", "tokenizer_class": "GPT2Tokenizer" })),
            None,
            BosRule::TokenizerClass,
        ),
        (
            "by class",
            llama.clone(),
            Value::Null,
            Some(json!({ "bos_token": "</s>", "tokenizer_class": "LlamaTokenizerFast" })),
            Some(1),
            BosRule::TokenizerClass,
        ),
        ("the built-in model", llama.clone(), Value::Null, None, Some(0), BosRule::Config),
        (
            "settings that don't say",
            llama.clone(),
            Value::Null,
            Some(json!({ "bos_token": "</s>" })),
            Some(0),
            BosRule::Config,
        ),
        ("config.json without", json!({ "bos_token_id": null }), Value::Null, None, None, BosRule::Config),
        (
            "settings against template",
            llama.clone(),
            template(&[0]),
            Some(json!({ "add_bos_token": false })),
            None,
            BosRule::Setting,
        ),
        (
            "a BOS that isn't there",
            llama.clone(),
            template(&[0]),
            Some(json!({ "add_bos_token": true, "bos_token": null })),
            None,
            BosRule::Setting,
        ),
        (
            "a BOS that has no name",
            llama,
            template(&[1]),
            Some(json!({ "add_bos_token": true })),
            Some(1),
            BosRule::Setting,
        ),
    ];
    for (what, config, post_processor, settings, token, rule) in cases {
        let place = Place::new();
        let path = directory(&place, &config, &post_processor, settings.as_ref());
        let inspection = Inspection::open(&path).unwrap();
        assert_eq!((inspection.config().bos_token, inspection.bos_rule()), (token, rule), "{what}");
        // Special tokens are never part of a text itself.
        let tokenizer = inspection.tokenizer("").unwrap();
        assert_eq!(tokenizer.encode("a"), Inspection::open("builtin").unwrap().tokenizer("").unwrap().encode("a"));
        if config == json!({}) {
            let model = LoadedModel::open(&path).unwrap();
            assert_eq!(model.decoder.config(), inspection.config(), "{what}");
            assert_eq!(model.content_hash(), inspection.content_hash().unwrap(), "{what}");
        }
        // Without the tokenizer only config.json is left.
        fs::remove_file(Path::new(&path).join("tokenizer.json")).unwrap();
        let inspection = Inspection::open(&path).unwrap();
        let qwen = matches!(inspection.config().family, Family::Qwen2 | Family::Qwen3);
        let expected = if qwen || what == "config.json without" { None } else { Some(0) };
        let rule = if qwen { BosRule::Family } else { BosRule::Config };
        assert_eq!((inspection.config().bos_token, inspection.bos_rule()), (expected, rule), "{what}");
    }
}

/// Other rows go into the model, so results must not pass for the same.
#[test]
fn another_bos_than_config_says_is_part_of_the_hash() {
    let hash = |post_processor: &Value, settings: Option<&Value>| {
        let place = Place::new();
        let path = directory(&place, &json!({}), post_processor, settings);
        Inspection::open(&path).unwrap().content_hash().unwrap()
    };
    let without = hash(&Value::Null, None);
    assert_eq!(hash(&template(&[0]), None), without);
    let none = hash(&template(&[0]), Some(&json!({ "add_bos_token": false })));
    let other = hash(&template(&[1]), None);
    assert!(none != without && other != without && other != none);
    assert_eq!(hash(&bytes(), None), none);
}

#[test]
fn a_tokenizer_whose_bos_cannot_be_used_is_refused() {
    let beyond = json!({ "bos_token": "new", "add_bos_token": true });
    for (post_processor, settings, expected) in [
        (template(&[0, 1]), None, "tokenizer.json: puts the tokens [0, 1] in front of a text; at most one"),
        (template(&[2048]), None, "tokenizer.json: its BOS token 2048 is beyond the model's vocabulary of 2048"),
        (Value::Null, Some(beyond), "tokenizer_config.json: `bos_token` = \"new\" is no token of"),
        (Value::Null, Some(json!({ "add_bos_token": 1 })), "`add_bos_token` must be true, false or null"),
        (Value::Null, Some(json!({ "bos_token": 0 })), "`bos_token` must be a token or null"),
        (Value::Null, Some(json!([])), "tokenizer_config.json: is not a JSON object"),
    ] {
        let place = Place::new();
        let path = directory(&place, &json!({}), &post_processor, settings.as_ref());
        let error = LoadedModel::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let inspection = Inspection::open(&path).unwrap();
        assert_eq!(inspection.tokenizer("").unwrap_err().to_string(), error);
    }
}

#[test]
fn info_says_why_a_text_begins_as_it_does() {
    let line = |text: &str| text.lines().find_map(|line| line.strip_prefix("BOS")).unwrap().trim().to_owned();
    let place = Place::new();
    let mut path = directory(&place, &json!({}), &template(&[0]), None);
    let mut seen = Vec::new();
    for settings in [json!({}), json!({ "add_bos_token": true }), json!({ "add_bos_token": false })] {
        place.write("m/tokenizer_config.json", settings.to_string());
        let done = place.splitwave(&["model", "info", &path]);
        assert_eq!(done.code, Some(0), "{done:?}");
        seen.push(line(&done.out));
    }
    assert_eq!(
        seen,
        [
            "0 \"<s>\", put in front by the tokenizer (the post-processor in tokenizer.json)",
            "0 \"<s>\", put in front by the tokenizer (`add_bos_token` in tokenizer_config.json)",
            "none: the tokenizer adds none (`add_bos_token` in tokenizer_config.json)",
        ]
    );
    let json = place.splitwave(&["model", "info", &path, "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["bos_token"], Value::Null);
    assert_eq!(json["bos_rule"], "`add_bos_token` in tokenizer_config.json");

    // A prompt begins as the tokenizer says, in every command.
    let rows = |place: &Place, path: &str| {
        let done = place.splitwave(&["model", "logits", path, "--prompt", "a", "-o", "-"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.out.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&place, &path), ["66"]);
    assert_eq!(rows(&place, "builtin"), ["0", "66"]);

    let done = place.splitwave(&["model", "info", "builtin"]);
    assert_eq!(line(&done.out), "0 \"<s>\", by `bos_token_id` in config.json");
    let place = Place::new();
    path = directory(&place, &json!({ "model_type": "qwen3" }), &Value::Null, None);
    let done = place.splitwave(&["model", "info", &path]);
    assert_eq!(line(&done.out), "none: models of this family are trained without");
    let gguf = project().join("tests/reference/gguf/spm.gguf").display().to_string();
    let done = place.splitwave(&["model", "info", &gguf]);
    assert_eq!(line(&done.out), "1 \"<s>\", put in front by the tokenizer (the file's metadata)");
}

/// GGUF files say it themselves, in the same words as tokenizer_config.json.
#[test]
fn gguf_files_follow_the_same_rule() {
    for (add, expected) in [(Some(true), Some(1)), (Some(false), None), (None, Some(1))] {
        let mut tiny = GgufTiny::new("qwen2");
        if let Some(add) = add {
            tiny.flag("tokenizer.ggml.add_bos_token", add);
        }
        assert_eq!(tiny.open().unwrap().decoder.config().bos_token, expected, "{add:?}");
    }
    // Without any tokenizer, the family.
    let families = project().join("tests/reference/families");
    for name in ["qwen2", "qwen2.gguf"] {
        assert_eq!(Decoder::open(&families.join(name)).unwrap().config().bos_token, None, "{name}");
    }
    for name in ["llama3", "llama3.gguf"] {
        assert_eq!(Decoder::open(&families.join(name)).unwrap().config().bos_token, Some(1), "{name}");
    }
}

/// A file without end must neither be read into memory nor be waited for.
#[cfg(unix)]
#[test]
fn endless_files_are_no_model() {
    let place = Place::new();
    let path = directory(&place, &json!({}), &Value::Null, None);
    for (file, limit) in [("tokenizer_config.json", 16), ("tokenizer.json", 128), ("config.json", 16)] {
        let file = Path::new(&path).join(file);
        let before = fs::read(&file).ok();
        if before.is_some() {
            fs::remove_file(&file).unwrap();
        }
        // Sparse: no disk is filled.
        fs::File::create(&file).unwrap().set_len((limit << 20) + 1).unwrap();
        let error = LoadedModel::open(&path).unwrap_err().to_string();
        let expected = format!("cannot be read: it has more than {limit} MiB, too much for such a file");
        assert!(error.contains(&expected), "{error}");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        let error = LoadedModel::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot be read: it is not a regular file"), "{error}");
        fs::remove_file(&file).unwrap();
        if let Some(before) = before {
            fs::write(&file, before).unwrap();
        }
    }
    LoadedModel::open(&path).unwrap();
}
