//! Damaged, foreign and malicious GGUF files: an error that says what and where, never a
//! panic, and no allocation that the file's length doesn't justify.

use proptest::prelude::*;
use splitwave::llm::*;

use crate::gguf_tiny::{ARRAY, GgufTiny, TEXT, U32, array, text};

fn problem(bytes: &[u8]) -> String {
    LoadedModel::from_gguf_bytes("tiny.gguf", bytes).unwrap_err().to_string()
}

fn tiny() -> GgufTiny {
    GgufTiny::new("llama")
}

/// What a file says after `change`.
fn refused(change: impl FnOnce(&mut GgufTiny)) -> String {
    let mut changed = tiny();
    change(&mut changed);
    changed.refused()
}

#[test]
fn a_file_that_ends_early_is_refused_at_every_length() {
    let bytes = tiny().bytes();
    let header = tiny().header().len();
    assert!(tiny().open().is_ok());
    for length in 0..header {
        let problem = problem(&bytes[..length]);
        assert!(problem.contains("fetch or copy it again"), "{length}: {problem}");
    }
    for length in (header..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let problem = problem(&bytes[..length]);
        assert!(problem.contains("end inside tensor `"), "{length}: {problem}");
    }
    assert!(problem(&bytes[..3]).contains("its 3 bytes end inside its first bytes"));
}

#[test]
fn other_formats_and_versions_are_named() {
    let mut bytes = tiny().bytes();
    bytes[..4].copy_from_slice(b"GGML");
    assert!(problem(&bytes).contains("is not a GGUF file (it starts with [47, 47, 4d, 4c]"), "{}", problem(&bytes));
    for version in [0, 1, 4, 3 << 24] {
        let said = refused(|tiny| tiny.version = version);
        assert!(said.contains(&format!("has version {version} of the GGUF format")), "{said}");
    }
    let said = refused(|tiny| tiny.text("general.architecture", "mamba"));
    assert!(said.contains("`general.architecture` = \"mamba\" is not supported"), "{said}");
    assert!(said.contains("\"llama\", \"qwen2\", \"qwen3\", \"command-r\""), "{said}");
    let said = refused(|tiny| tiny.set("split.count", 2, vec![3, 0]));
    assert!(said.contains("`split.count` = 3 is not supported") && said.contains("--merge"), "{said}");
}

#[test]
fn absurd_counts_and_lengths_are_refused() {
    for count in [u64::MAX, 1 << 40, 1000] {
        for at in [8, 16] {
            let mut bytes = tiny().bytes();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            let said = problem(&bytes);
            assert!(said.contains("is damaged") || said.contains("is not complete"), "{said}");
        }
    }
    let long = u64::MAX.to_le_bytes();
    for (key, kind, value) in [
        ("general.name", TEXT, long.to_vec()),
        ("general.name", TEXT, (1u64 << 40).to_le_bytes().to_vec()),
        ("general.tags", ARRAY, [&8u32.to_le_bytes()[..], &long].concat()),
        ("general.tags", ARRAY, [&0u32.to_le_bytes()[..], &long].concat()),
        ("general.tags", ARRAY, [&10u32.to_le_bytes()[..], &(1u64 << 61).to_le_bytes()].concat()),
        ("general.tags", ARRAY, [&9u32.to_le_bytes()[..], &long].concat()),
        ("tokenizer.ggml.tokens", ARRAY, [&8u32.to_le_bytes()[..], &long].concat()),
        ("tokenizer.ggml.scores", ARRAY, [&6u32.to_le_bytes()[..], &long].concat()),
        ("tokenizer.ggml.token_type", ARRAY, [&5u32.to_le_bytes()[..], &(1u64 << 30).to_le_bytes()].concat()),
    ] {
        let said = refused(|tiny| tiny.set(key, kind, value));
        assert!(said.contains("is not complete") || said.contains("is damaged"), "{key}: {said}");
    }
    let said = refused(|tiny| tiny.pairs[0].0 = "k".repeat(5000));
    assert!(said.contains("the length of a metadata key is 5000"), "{said}");
    // Lists of lists of lists …
    let nested = (0..5).fold(array(U32, 1, &[0; 4]), |inner, _| array(ARRAY, 1, &inner));
    let said = refused(|tiny| tiny.set("general.tags", ARRAY, nested));
    assert!(said.contains("the depth of the lists in `general.tags` is 5"), "{said}");
    let shallow = (0..3).fold(array(U32, 1, &[0; 4]), |inner, _| array(ARRAY, 1, &inner));
    let mut good = tiny();
    good.set("general.tags", ARRAY, shallow);
    good.set("general.languages", ARRAY, array(TEXT, 2, &[text("en"), text("de")].concat()));
    good.text("tokenizer.chat_template", &"{{ messages }}".repeat(1000));
    assert!(good.open().is_ok());
    for kind in [13, 255, u32::MAX] {
        let said = refused(|tiny| tiny.set("general.name", kind, vec![0; 8]));
        assert!(said.contains(&format!("the type of `general.name` is {kind}")), "{said}");
    }
    let said = refused(|tiny| tiny.set("tokenizer.ggml.add_bos_token", 7, vec![2]));
    assert!(said.contains("the truth value of `tokenizer.ggml.add_bos_token` is 2"), "{said}");
    let said = refused(|tiny| tiny.set("general.name", TEXT, [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()));
    assert!(said.contains("no UTF-8"), "{said}");
    let said = refused(|tiny| tiny.pairs.push(tiny.pairs[1].clone()));
    assert!(said.contains("metadata key `llama.context_length` is there twice"), "{said}");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let shaped = |sizes: &[u64]| refused(|tiny| tiny.tensor_mut("blk.0.attn_k.weight").1 = sizes.to_vec());
    for sizes in [&[u64::MAX, u64::MAX][..], &[1 << 32, 1 << 32], &[8, 1 << 60]] {
        assert!(shaped(sizes).contains("the shape of `blk.0.attn_k.weight`"), "{}", shaped(sizes));
    }
    for sizes in [&[1 << 20, 1 << 20][..], &[8, 1 << 58], &[8, 10_000]] {
        assert!(shaped(sizes).contains("end inside tensor `blk.0.attn_k.weight`"), "{}", shaped(sizes));
    }
    assert!(shaped(&[0, 4]).contains("the length of a row of `blk.0.attn_k.weight` is 0"));
    assert!(shaped(&[8, 0]).contains("the shape of `blk.0.attn_k.weight`"));
    assert!(shaped(&[]).contains("the number of dimensions of `blk.0.attn_k.weight` is 0"));
    assert!(shaped(&[1; 5]).contains("is 5, but must be from 1 to 4"));
    assert!(shaped(&[4, 8]).contains("has shape [8, 4]"), "{}", shaped(&[4, 8]));
    assert!(shaped(&[32]).contains("has shape [32]"), "{}", shaped(&[32]));
    // Rows of 8 values in blocks of 256.
    let said = refused(|tiny| tiny.tensor_mut("blk.0.attn_k.weight").2 = 12);
    assert!(said.contains("is 8, but must be a multiple of 256"), "{said}");
    for (kind, name) in
        [(2, "Q4_0"), (10, "Q2_K"), (23, "IQ4_XS"), (28, "F64"), (4, "type 4"), (u32::MAX, "type 4294967295")]
    {
        let said = refused(|tiny| tiny.tensor_mut("blk.0.attn_k.weight").2 = kind);
        let expected = format!("tensor `blk.0.attn_k.weight` is stored as {name}; supported: F32, F16, BF16, Q8_0");
        assert!(said.contains(&expected), "{said}");
    }
    let shifted = |by: i64| refused(|tiny| tiny.shift[2] = by);
    assert!(shifted(4).contains("the offset of `blk.0.attn_k.weight`"), "{}", shifted(4));
    assert!(shifted(32).contains("`blk.0.attn_k.weight` and `blk.0.attn_v.weight` overlap"), "{}", shifted(32));
    assert!(shifted(-32).contains("`blk.0.attn_q.weight` and `blk.0.attn_k.weight` overlap"), "{}", shifted(-32));
    for far in [1 << 40, i64::MAX - 31, -1 << 40] {
        let far = far / 32 * 32;
        assert!(shifted(far).contains("end inside tensor `blk.0.attn_k.weight`"), "{}", shifted(far));
    }
    for alignment in [0, 3, 48, 1 << 20] {
        let said = refused(|tiny| tiny.number("general.alignment", alignment));
        assert!(said.contains(&format!("general.alignment is {alignment}, but must be a power of 2")), "{said}");
    }
    for alignment in [1, 8, 64, 1 << 12] {
        let mut aligned = tiny();
        aligned.number("general.alignment", alignment as u32);
        aligned.alignment = alignment;
        assert!(aligned.open().is_ok(), "{alignment}");
    }
}

#[test]
fn missing_and_foreign_tensors_are_named() {
    let without = |name: &str| refused(|tiny| tiny.tensors.retain(|(known, ..)| known != name));
    assert!(without("token_embd.weight").contains("`token_embd.weight` is missing"));
    let said = "`model.layers.0.mlp.up_proj.weight` is missing, but the file's metadata calls for it";
    assert!(without("blk.0.ffn_up.weight").contains(said), "{}", without("blk.0.ffn_up.weight"));
    assert!(without("output_norm.weight").contains("`model.norm.weight` is missing"));
    let with = |name: &str| refused(|tiny| tiny.tensor(name, &[8]));
    for name in [
        "blk.0.ssm_in.weight",
        "blk.00.attn_norm.weight",
        "blk.0.attn_q.scale",
        "model.norm.weight",
        "rope_factors_long.weight",
    ] {
        assert!(with(name).contains(&format!("tensor `{name}` has no place")), "{}", with(name));
    }
    assert!(with("output_norm.weight").contains("tensor `output_norm.weight` is there twice"));
    assert!(with("blk.1.attn_norm.weight").contains("model.layers.1.input_layernorm.weight"));
    assert!(with("blk.0.attn_norm.bias").contains("model.layers.0.input_layernorm.bias"));
    // Command-R+ has norms on queries and keys; other architectures but qwen3 don't.
    let mut plus = GgufTiny::new("command-r");
    plus.tensor("blk.0.attn_q_norm.weight", &[4, 2]);
    assert!(plus.refused().contains("`blk.0.attn_q_norm.weight` has no place in a model of architecture command-r"));
    let mut bad = tiny();
    bad.tensor_mut("blk.0.ffn_gate.weight").3[4 * 5..4 * 6].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(bad.refused().contains("holds NaN at element 5"), "{}", bad.refused());
}

#[test]
fn every_metadata_value_is_checked() {
    for key in ["context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"] {
        let key = format!("llama.{key}");
        let said = refused(|tiny| tiny.remove(&key));
        assert!(said.contains(&format!("metadata key `{key}` is missing")), "{said}");
        for (kind, value) in
            [(U32, vec![0; 4]), (U32, vec![0xff; 4]), (5, vec![0xff; 4]), (10, vec![0xff; 8]), (TEXT, text("8"))]
        {
            let said = refused(|tiny| tiny.set(&key, kind, value));
            assert!(said.contains(&format!("`{key}` = ")) && said.contains("must be"), "{said}");
        }
    }
    assert!(refused(|t| t.remove("general.architecture")).contains("`general.architecture` is missing"));
    assert!(refused(|t| t.remove("llama.attention.layer_norm_rms_epsilon")).contains("rms_epsilon` is missing"));
    for eps in [0.0, -1.0, 1e-44, 9e-31, 1.5, f32::NAN, f32::INFINITY] {
        let said = refused(|tiny| tiny.float("llama.attention.layer_norm_rms_epsilon", eps));
        assert!(said.contains("must be a number from 1e-30 to 1"), "{said}");
    }
    let mut least = tiny();
    least.float("llama.attention.layer_norm_rms_epsilon", 1e-30);
    assert_eq!(least.open().unwrap().decoder.config().norm_eps, 1e-30);
    // A layer without tensors is not worth a byte of memory.
    assert!(refused(|t| t.number("llama.block_count", 2)).contains("must be an integer from 1 to 1"));
    assert!(
        refused(|t| t.number("llama.attention.head_count_kv", 3))
            .contains("a divisor of `llama.attention.head_count` = 2")
    );
    assert!(refused(|t| t.number("llama.attention.head_count", 3)).contains("must be a divisor of"));
    assert!(refused(|t| t.number("llama.attention.key_length", 5)).contains("must be even"));
    assert!(refused(|t| t.number("llama.attention.value_length", 8)).contains("supported: 4, the width of a head"));
    assert!(refused(|t| t.number("llama.rope.dimension_count", 2)).contains("supported: 4, the width of a head"));
    assert!(refused(|t| t.number("llama.vocab_size", 299)).contains("300, the rows of the embedding"));
    assert!(refused(|t| t.number("tokenizer.ggml.bos_token_id", 300)).contains("a token id below 300"));
    assert!(refused(|t| t.number("tokenizer.ggml.eos_token_id", u32::MAX)).contains("a token id below 300"));
    let said = refused(|tiny| {
        tiny.remove("tokenizer.ggml.bos_token_id");
        tiny.flag("tokenizer.ggml.add_bos_token", true);
    });
    assert!(said.contains("`tokenizer.ggml.bos_token_id` is missing"), "{said}");
    let two = |a: u32, b: u32| array(U32, 2, &[a.to_le_bytes(), b.to_le_bytes()].concat());
    let mut same = tiny();
    same.set("llama.attention.head_count", ARRAY, two(2, 2));
    assert!(same.open().is_ok());
    let said = refused(|tiny| tiny.set("llama.attention.head_count", ARRAY, two(2, 4)));
    assert!(said.contains("one size for all layers"), "{said}");

    let unsupported = |key: &str, value: f32| {
        let said = refused(|tiny| tiny.float(key, value));
        assert!(said.contains(&format!("`{key}` = {value} is not supported")), "{said}");
    };
    unsupported("llama.attention.scale", 0.1);
    unsupported("llama.attn_logit_softcapping", 50.0);
    unsupported("llama.embedding_scale", 12.0);
    unsupported("llama.logit_scale", 0.5);
    assert!(refused(|t| t.number("llama.expert_count", 8)).contains("`llama.expert_count` = 8 is not supported"));
    assert!(refused(|t| t.flag("llama.attention.causal", false)).contains("is not supported"));
    assert!(refused(|t| t.text("llama.rope.scaling.type", "yarn")).contains("\"yarn\" is not supported"));
}

#[test]
fn tokenizers_that_make_no_sense_are_refused() {
    for (key, expected) in [
        ("tokenizer.ggml.tokens", "`tokenizer.ggml.tokens` is missing"),
        ("tokenizer.ggml.model", "`tokenizer.ggml.model` is missing"),
        ("tokenizer.ggml.scores", "`tokenizer.ggml.scores` is missing"),
    ] {
        assert!(refused(|tiny| tiny.remove(key)).contains(expected));
    }
    assert!(refused(|t| t.text("tokenizer.ggml.model", "bert")).contains("\"bert\" is not supported"));
    assert!(refused(|t| t.text("tokenizer.ggml.model", "gpt2")).contains("`tokenizer.ggml.pre` is missing"));
    let said = refused(|tiny| {
        tiny.text("tokenizer.ggml.model", "gpt2");
        tiny.text("tokenizer.ggml.pre", "llama-bpe");
        tiny.set("tokenizer.ggml.merges", ARRAY, array(TEXT, 1, &text("ab")));
    });
    assert!(said.contains("merge \"ab\" is no pair of tokens"), "{said}");
    for merge in ["a zebra", "zebra a", "<0x00> <0x01>"] {
        let said = refused(|tiny| {
            tiny.text("tokenizer.ggml.model", "gpt2");
            tiny.text("tokenizer.ggml.pre", "llama-bpe");
            tiny.set("tokenizer.ggml.merges", ARRAY, array(TEXT, 1, &text(merge)));
        });
        let expected = format!("merge {merge:?} takes or makes something that is no token");
        assert!(said.contains(&expected), "{said}");
    }
    let list = |texts: &[&str]| array(TEXT, texts.len(), &texts.iter().flat_map(|one| text(one)).collect::<Vec<_>>());
    let said = refused(|tiny| tiny.set("tokenizer.ggml.tokens", ARRAY, list(&vec!["a"; 301])));
    assert!(said.contains("a list of 1 to 300 tokens"), "{said}");
    let said = refused(|tiny| tiny.set("tokenizer.ggml.tokens", ARRAY, list(&["a", "b", "a"])));
    assert!(said.contains("tokens 0 and 2 are both \"a\""), "{said}");
    let said = refused(|tiny| tiny.set("tokenizer.ggml.tokens", ARRAY, list(&["a", "b"])));
    assert!(said.contains("a list of 2 numbers, one per token"), "{said}");
    let said = refused(|tiny| tiny.flag("tokenizer.ggml.remove_extra_whitespaces", true));
    assert!(said.contains("is not supported"), "{said}");
    // Neither bytes nor an unknown token: characters would vanish.
    let said = refused(|tiny| {
        tiny.set("tokenizer.ggml.tokens", ARRAY, list(&["a", "b", "ab"]));
        tiny.set("tokenizer.ggml.scores", ARRAY, array(6, 3, &[0; 12]));
        tiny.remove("tokenizer.ggml.token_type");
    });
    assert!(said.contains("neither 256 byte tokens nor an unknown token"), "{said}");
    let said = refused(|tiny| tiny.set("tokenizer.ggml.tokens", ARRAY, list(&["a", "", "b"])));
    assert!(said.contains("token 1 is empty"), "{said}");
    // "a" to 300 times "a": 44,850 ways to put them together, 4.5 MB of text from 45 kB.
    let run = "a".repeat(300);
    let runs: Vec<&str> = (1..=300).map(|length| &run[..length]).collect();
    let said = refused(|tiny| {
        tiny.set("tokenizer.ggml.tokens", ARRAY, list(&runs));
        tiny.set("tokenizer.ggml.scores", ARRAY, array(6, 300, &[0; 1200]));
        tiny.remove("tokenizer.ggml.token_type");
    });
    assert!(said.contains("put together from one another in too many ways"), "{said}");
    // Without token types all are normal, as in old files: then bytes are no bytes.
    let said = refused(|tiny| tiny.remove("tokenizer.ggml.token_type"));
    assert!(said.contains("neither 256 byte tokens"), "{said}");
}

#[test]
fn scores_decide_which_pair_is_merged_first() {
    let model = tiny().open().unwrap();
    let id = |piece: &str| model.tokenizer.encode(piece).unwrap();
    // Pieces 259.. are ▁ a b c ab ▁a abc ▁ab ▁abc, from the best score to the worst.
    assert_eq!(id("abc"), [267]);
    assert_eq!(id("ab"), [266]);
    // "▁" + "ab" + "c": a and b go together before ▁ and a.
    assert_eq!(id("a b"), [264, 259, 261]);
    assert_eq!(id("cab"), [259, 262, 263]);
    assert_eq!(id("a\u{e9}"), [264, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(model.tokenizer.decode(&[264, 3 + 0xc3, 3 + 0xa9]).unwrap(), "a\u{e9}");
    assert_eq!(model.tokenizer.vocab(), 268);
    let mut plain = tiny();
    plain.flag("tokenizer.ggml.add_space_prefix", false);
    let plain = plain.open().unwrap().tokenizer;
    assert_eq!(plain.encode("abc ab").unwrap(), [265, 266]);
    assert_eq!(plain.decode(&[266, 265]).unwrap(), " ababc");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(
        architecture in prop::sample::select(vec!["llama", "qwen2", "qwen3", "command-r"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let small = GgufTiny::new(architecture);
        let mut bytes = small.bytes();
        // Most changes in the header, where each byte matters.
        let header = small.header().len();
        for (index, (at, value)) in changes.into_iter().enumerate() {
            let length = if index % 4 == 3 { bytes.len() } else { header };
            bytes[at.index(length)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(model) = LoadedModel::from_gguf_bytes("tiny.gguf", &bytes) {
            let window = model.tokenizer.encode("ab c\u{e9}").unwrap();
            let _ = model.decoder.window_nll(&window);
        }
    }
}
