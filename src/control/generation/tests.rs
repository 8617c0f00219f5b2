use super::*;
use crate::channel::{Codec, Concealment, Encoding, Impairment, LossUnit, Reception};
use crate::control::row_channel::DecodeDelivery;
use crate::kernel::Stream;
use crate::llm::LoadedModel;

const CLEAN: RowChannel = RowChannel {
    impairment: Impairment {
        reception: Reception::Equalised,
        loss_unit: LossUnit::TokenRow,
        tx_normalisation: crate::channel::TxNormalisation::None,
        codec: Codec::plain(Encoding::F16),
        concealment: Concealment::Zero,
        round_concealment: Concealment::PreviousRow,
    },
    noise_std: 0.0,
    loss_probability: 0.0,
    rayleigh_scale: None,
    packets_per_row: 1,
    decode_delivery: DecodeDelivery::Acknowledged,
};

fn streams() -> Streams {
    Streams::new(5, 0)
}

/// Of packet `index`, transmission `transmission`.
fn uniform(transmission: u32, index: u64) -> f64 {
    let stream: Stream = streams().stream(transmission, Purpose::PacketLoss);
    stream.uniform(index)
}

fn model() -> LoadedModel {
    LoadedModel::builtin().unwrap()
}

fn prompt(model: &LoadedModel) -> Vec<u32> {
    let text = model.tokenizer.encode("The old man walked down to the river and").unwrap();
    std::iter::once(0).chain(text).collect()
}

fn tokens_of(model: &LoadedModel, split: usize, max_tokens: usize, channel: Option<&RowChannel>) -> Generated {
    let prompt = prompt(model);
    let generation =
        Generation { prompt: &prompt, split, max_tokens, sampling: Sampling::default(), streams: streams() };
    let mut seen = Vec::new();
    let generated = generate(&model.decoder, &generation, channel, &mut |token| {
        seen.push(token);
        ControlFlow::Continue(())
    });
    let generated = generated.unwrap();
    assert_eq!(seen, generated.tokens);
    generated
}

/// Greedy text without caches, each position on rows that `damage` has changed.
fn uncached(model: &LoadedModel, split: usize, count: usize, damage: impl Fn(&mut [f32])) -> Vec<u32> {
    let decoder = &model.decoder;
    let mut window = prompt(model);
    let mut tokens = Vec::new();
    for _ in 0..count {
        let mut hidden = decoder.run(decoder.embed(&window).unwrap(), 0..split).unwrap();
        damage(hidden.values_mut());
        let logits = decoder.logits(&decoder.run(hidden, split..16).unwrap()).unwrap();
        let last = &logits[logits.len() - 2048..];
        let token = Sampling::default().choose(last, &streams().stream(0, Purpose::Test), 0).unwrap();
        tokens.push(token);
        window.push(token);
    }
    tokens
}

#[test]
fn without_damage_the_text_is_that_of_the_model() {
    let model = model();
    let expected = uncached(&model, 16, 12, |_| ());
    for split in [1, 6, 16] {
        let none = tokens_of(&model, split, 12, None);
        assert_eq!((&none.tokens, none.end, none.traffic), (&expected, GenerationEnd::MaxTokens, None));
        let rows = prompt(&model).len();
        let clean = tokens_of(&model, split, 12, Some(&CLEAN));
        assert_eq!(clean.tokens, expected);
        let traffic =
            Traffic { prompt_rows: rows, decode_rows: 11, values: 128 * (rows as u64 + 11), ..Traffic::default() };
        assert_eq!(clean.traffic, Some(traffic));
    }
}

#[test]
fn a_lost_row_of_the_prompt_stays_lost_in_the_edges_cache() {
    let model = model();
    let lossy = RowChannel { loss_probability: 0.3, ..CLEAN };
    let rows = prompt(&model).len();
    let lost: Vec<usize> = (0..rows).filter(|&row| uniform(0, row as u64) < 0.3).collect();
    assert!(!lost.is_empty() && lost.len() < rows, "{lost:?}");
    let expected = uncached(&model, 4, 10, |values| {
        for row in &lost {
            values[row * 128..(row + 1) * 128].fill(0.0);
        }
    });
    let generated = tokens_of(&model, 4, 10, Some(&lossy));
    assert_eq!(generated.tokens, expected);
    assert_ne!(expected, uncached(&model, 16, 10, |_| ()), "the loss is felt");
    let traffic = generated.traffic.unwrap();
    assert_eq!((traffic.prompt_rows_lost, traffic.decode_rows_lost), (lost.len(), 0));
    // Each row of a token goes up until it arrives.
    let repeated: u64 =
        (0..9).map(|i| (0..99).position(|t| uniform(t, (rows + i) as u64) >= 0.3).unwrap() as u64).sum();
    assert!(repeated > 0);
    assert_eq!((traffic.packets_repeated, traffic.values), (repeated, 128 * (rows as u64 + 9 + repeated)));
}

#[test]
fn logits_behind_the_caches_have_the_bits_of_one_pass_over_all_rows() {
    let model = model();
    let decoder = &model.decoder;
    let channel = RowChannel { loss_probability: 0.4, decode_delivery: DecodeDelivery::Once, ..CLEAN };
    let window: Vec<u32> = prompt(&model);
    let (given, rest) = window.split_at(window.len() - 4);
    let mut crossing = Crossing::new(channel, streams(), 128);
    let (mut device, mut edge) = (decoder.kv_cache(0..3).unwrap(), decoder.kv_cache(3..16).unwrap());
    let mut stepped = Vec::new();
    for part in std::iter::once(given).chain(rest.chunks(1)) {
        let sent = decoder.run_cached(decoder.embed(part).unwrap(), &mut device).unwrap();
        let (received, _) = crossing.send(sent);
        let received = Hidden::from_vec(received, 128).unwrap();
        stepped.extend(decoder.logits(&decoder.run_cached(received, &mut edge).unwrap()).unwrap());
    }
    // By hand: lost rows of the prompt are zero, lost rows of tokens the row before.
    let mut hidden = decoder.run(decoder.embed(&window).unwrap(), 0..3).unwrap();
    let mut lost = [0, 0];
    for row in (0..window.len()).filter(|&row| uniform(0, row as u64) < 0.4) {
        let (is_token, place) = (row >= given.len(), row * 128..(row + 1) * 128);
        lost[usize::from(is_token)] += 1;
        if is_token {
            hidden.values_mut().copy_within(place.start - 128..place.start, place.start);
        } else {
            hidden.values_mut()[place].fill(0.0);
        }
    }
    let traffic = crossing.traffic();
    assert_eq!([traffic.prompt_rows_lost, traffic.decode_rows_lost], lost);
    assert!(lost[0] > 0 && lost[1] > 0, "{lost:?}");
    assert_eq!(traffic.elements_lost, 128 * (lost[0] + lost[1]));
    let at_once = decoder.logits(&decoder.run(hidden, 3..16).unwrap()).unwrap();
    assert!(stepped.iter().zip(&at_once).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(stepped.len(), at_once.len());
}

#[test]
fn a_row_damaged_alone_is_the_row_damaged_among_all() {
    // Noise, fading, slices and normalisation: each row has what one record does to all of them together.
    let model = model();
    let impairment = Impairment {
        reception: Reception::Raw,
        loss_unit: LossUnit::Chunk,
        tx_normalisation: crate::channel::TxNormalisation::PerRow,
        ..CLEAN.impairment
    };
    let channel = RowChannel {
        impairment,
        noise_std: 0.5,
        loss_probability: 0.2,
        rayleigh_scale: Some(0.7),
        packets_per_row: 4,
        decode_delivery: DecodeDelivery::Acknowledged,
    };
    let mut crossing = Crossing::new(channel, streams(), 128);
    let hidden = model.decoder.run(model.decoder.embed(&prompt(&model)).unwrap(), 0..2).unwrap();
    let rows: Vec<Vec<f32>> = hidden.iter_rows().map(<[f32]>::to_vec).collect();
    let (given, rest) = rows.split_at(rows.len() - 3);
    let mut received = crossing.send(Hidden::from_vec(given.concat(), 128).unwrap()).0;
    for row in rest {
        received.extend(crossing.send(Hidden::from_vec(row.clone(), 128).unwrap()).0);
    }
    // In raw reception a slice that arrived is h·y + s·σ·n; check one of each row by its gain and noise.
    let noise = streams().stream(0, Purpose::Noise);
    let mut checked = 0;
    for (r, row) in rows.iter().enumerate() {
        let power = row.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>() / 128.0;
        for k in 0..4 {
            let transmission = |t: &u32| uniform(*t, (4 * r + k) as u64);
            let is_token = r >= given.len();
            let kept = if is_token { (0..99).find(|t| transmission(t) >= 0.2).unwrap() } else { 0 };
            let u = transmission(&kept);
            let gain = 0.7 * (-2.0 * (1.0 - u).ln()).sqrt();
            for e in [0, 31] {
                let index = r * 128 + k * 32 + e;
                let n = noise.normal_pair(index as u64 / 2)[index % 2];
                let arrived = gain * f64::from(row[k * 32 + e]) + power.sqrt() * 0.5 * n;
                let expected = if u < 0.2 { 0.0 } else { arrived };
                assert!((f64::from(received[index]) - expected).abs() < 1e-5, "row {r}, packet {k}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, rows.len() * 8);
}

#[test]
fn digital_rows_are_counted_in_bits() {
    let model = model();
    for (encoding, bits) in [(Encoding::F16, 128 * 16), (Encoding::Int8, 128 * 8 + 16)] {
        let impairment = Impairment { reception: Reception::Digital, codec: encoding.into(), ..CLEAN.impairment };
        // 128 values in 3 packets: 42, 43 and 43.
        let channel = RowChannel { impairment, packets_per_row: 3, ..CLEAN };
        let generated = tokens_of(&model, 5, 4, Some(&channel));
        let traffic = generated.traffic.unwrap();
        let rows = prompt(&model).len() as u64 + 3;
        assert_eq!((traffic.values, traffic.bits), (rows * 128, rows * bits));
    }
}

#[test]
fn generations_end_where_they_must() {
    let model = model();
    let prompt = prompt(&model);
    let generation =
        Generation { prompt: &prompt, split: 4, max_tokens: 5, sampling: Sampling::default(), streams: streams() };
    let decoder = &model.decoder;
    let stop = generate(decoder, &generation, None, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((stop.tokens.len(), stop.end), (1, GenerationEnd::Stopped));

    // Nothing of the prompt arrives: no token.
    let deaf = RowChannel { loss_probability: 0.999_999, ..CLEAN };
    let nothing = generate(decoder, &generation, Some(&deaf), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((nothing.tokens.len(), nothing.end), (0, GenerationEnd::Outage));
    let traffic = nothing.traffic.unwrap();
    assert_eq!((traffic.prompt_rows_lost, traffic.decode_rows), (prompt.len(), 0));

    // The last position takes a row, and its logits give one more token.
    let most = decoder.config().max_positions;
    let window: Vec<u32> = (0..most as u32 - 1).map(|i| 2 + i % 2000).collect();
    let full = Generation { prompt: &window, max_tokens: 10, ..generation };
    let generated = generate(decoder, &full, None, &mut |_| ControlFlow::Continue(())).unwrap();
    let ended_before = generated.end == GenerationEnd::EndOfText && generated.tokens.len() <= 2;
    assert!(ended_before || (generated.tokens.len(), generated.end) == (2, GenerationEnd::Positions));

    let message = |generation: &Generation, channel: Option<&RowChannel>| {
        generate(decoder, generation, channel, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    let beyond = Generation { split: 17, ..generation };
    assert_eq!(message(&beyond, None), "a split behind layer 17 is not possible; this model has layers 1 to 16");
    let noisy = RowChannel { noise_std: -1.0, ..CLEAN };
    assert!(message(&generation, Some(&noisy)).contains("allowed: 0 to 1000000"));
    let sure = RowChannel { loss_probability: 1.0, ..CLEAN };
    assert_eq!(message(&generation, Some(&sure)), "loss probability 1 is not in [0, 1)");
    let split_up = RowChannel { packets_per_row: 129, ..CLEAN };
    assert!(message(&generation, Some(&split_up)).contains("allowed: 1 to the 128 values"));
}
