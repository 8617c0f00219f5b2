use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::llm::DecoderConfig;

const ROOT: f32 = std::f32::consts::SQRT_2;
/// Rows of mean square 1: the norm leaves them as they are.
const EMBEDDING: [[f32; 2]; 4] = [[ROOT, 0.0], [0.0, ROOT], [1.0, 1.0], [1.0, -1.0]];
/// From token 0 the device proposes 1, from 1 it proposes 2, from 2 it proposes 3, and from 3 it proposes 1.
const DEVICE: [[f32; 2]; 4] = [[0.0, 0.0], [2.0, -1.0], [-1.0, 2.0], [1.0, 1.0]];
const EDGE: [[f32; 2]; 4] = [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [3.0, 0.0]];

/// A LLaMA of one layer that adds nothing: logits are the head's row times the last token's embedding.
fn markov(head: [[f32; 2]; 4], bos: Option<u32>, eos: Option<u32>) -> Decoder {
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 2, "vocab_size": 4,
        "max_position_embeddings": 16, "rms_norm_eps": 1e-9, "hidden_act": "silu", "tie_word_embeddings": false,
        "bos_token_id": bos, "eos_token_id": eos, "dtype": "float32",
        "rope_parameters": { "rope_theta": 100.0, "rope_type": "default" },
    });
    let config = DecoderConfig::from_json("config.json", config.to_string().as_bytes()).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![4, 2], EMBEDDING.concat()),
        ("lm_head.weight".to_owned(), vec![4, 2], head.concat()),
        ("model.norm.weight".to_owned(), vec![2], vec![1.0; 2]),
    ];
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        tensors.push((format!("model.layers.0.{norm}.weight"), vec![2], vec![1.0; 2]));
    }
    for part in ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"] {
        tensors.push((format!("model.layers.0.{part}_proj.weight"), vec![2, 2], vec![0.0; 4]));
    }
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().copied().flat_map(f32::to_le_bytes).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    Decoder::from_safetensors(config, "model.safetensors", &safetensors::serialize(views, None).unwrap()).unwrap()
}

fn roller<'a>(device: &'a Decoder, edge: &'a Decoder, features: &'a [HeadFeature]) -> Roller<'a> {
    let (level, streams) = (HeadLevel::Token, Streams::new(1, 0));
    Roller { device, edge, output_tokens: 5, temperature: 0.0, level, features, streams }
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
}

/// The edge's logits behind 0, 1, 2, 3 are (√2, 0, 0, 3√2), (0, 0, √2, 0), (1, 0, 1, 3) and (1, 0, -1, 3); of these the
/// proposals 1, 2, 3, 1 have 0, √2, 3 and 0.
#[test]
fn rewards_of_a_chain_are_those_of_a_hand() {
    let expected = [-3.0 * 2_f64.sqrt(), 0.0, 0.0, -3.0, 0.0];
    for (device_bos, edge_bos) in [(None, None), (None, Some(3)), (Some(2), Some(1))] {
        let (device, edge) = (markov(DEVICE, device_bos, None), markov(EDGE, edge_bos, None));
        let features = [HeadFeature::Hidden, HeadFeature::Embedding];
        let rollout = roller(&device, &edge, &features).roll(0, &[2, 1, 0]).unwrap();
        assert_eq!(rollout.tokens.iter().map(|token| token.token).collect::<Vec<_>>(), [1, 2, 3, 1, 2]);
        for (token, expected) in rollout.tokens.iter().zip(expected) {
            near(token.reward, expected);
        }
        assert!(rollout.tokens[1].reward == 0.0 && rollout.tokens[2].reward == 0.0, "a first choice is exactly 0");
        near(rollout.mean_reward(), expected.iter().sum::<f64>() / 5.0);
        // The device's logits behind 0 are (0, 2√2, -√2, √2).
        let weights = [0.0, 2.0, -1.0, 1.0].map(|z| (z * 2_f64.sqrt()).exp());
        near(rollout.tokens[0].confidence.max_softmax, weights[1] / weights.iter().sum::<f64>());
        near(rollout.tokens[0].confidence.margin, (weights[1] - weights[3]) / weights.iter().sum::<f64>());
        // Behind 0 the state is its embedding; then the embedding of 1, and so on.
        let by_hand = [EMBEDDING[0], EMBEDDING[1], EMBEDDING[1], EMBEDDING[2]].concat();
        assert!(rollout.inputs[..8].iter().zip(&by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", rollout.inputs);
        assert_eq!(rollout.inputs.len(), 20);
    }
}

#[test]
fn a_token_that_ends_a_text_is_the_last() {
    let (device, edge) = (markov(DEVICE, None, Some(3)), markov(EDGE, None, None));
    let rollout = roller(&device, &edge, &[HeadFeature::Confidence]).roll(0, &[0]).unwrap();
    assert_eq!(rollout.tokens.iter().map(|token| token.token).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rollout.inputs.len(), 9);
}

/// Of a query the inputs are what the prompt leaves: state of 0, mean of states of 1 and 0.
#[test]
fn a_query_has_one_row() {
    let (device, edge) = (markov(DEVICE, None, None), markov(EDGE, None, None));
    let features = [HeadFeature::Hidden, HeadFeature::Mean];
    let roller = Roller { level: HeadLevel::Query, ..roller(&device, &edge, &features) };
    let rollout = roller.roll(0, &[1, 0]).unwrap();
    let by_hand = [ROOT, 0.0, ROOT / 2.0, ROOT / 2.0];
    assert!(rollout.inputs.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", rollout.inputs);
    assert_eq!(rollout.inputs.len(), 4);
}

#[test]
fn draws_are_keyed_by_the_prompt() {
    let (device, edge) = (markov(DEVICE, None, None), markov(EDGE, None, None));
    let features = [HeadFeature::Hidden];
    let roller = Roller { temperature: 3.0, ..roller(&device, &edge, &features) };
    let roll = |prompt| roller.roll(prompt, &[2, 1, 0]).unwrap();
    assert_eq!(roll(3), roll(3));
    let tokens = |prompt| roll(prompt).tokens.iter().map(|token| token.token).collect::<Vec<_>>();
    assert!((0..10).any(|prompt| tokens(prompt) != tokens(10 + prompt)));
    // A shorter rollout is the longer one's beginning.
    let short = Roller { output_tokens: 2, ..roller }.roll(3, &[2, 1, 0]).unwrap();
    assert_eq!(short.tokens, roll(3).tokens[..2]);
}

#[test]
fn what_does_not_fit_a_model_is_an_error() {
    let (device, edge) = (markov(DEVICE, None, None), markov(EDGE, None, None));
    let features = [HeadFeature::Hidden];
    let roller = roller(&device, &edge, &features);
    assert!(matches!(roller.roll(0, &[0; 17]), Err(DecoderError::WindowLength { .. })));
    assert!(matches!(roller.roll(0, &[9]), Err(DecoderError::TokenBeyondVocabulary { .. })));
    assert!(matches!(rewards(&edge, &[0], &[4]), Err(DecoderError::TokenBeyondVocabulary { .. })));
    assert_eq!(rewards(&edge, &[0], &[]), Ok(Vec::new()));
}
