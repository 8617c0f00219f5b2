//! What lost packets take with them when they are interleaved, and what stands in its place; properties of codecs and concealments.

use proptest::prelude::*;
use splitwave::channel::{
    Codec, Concealment, Encoding, Impairment, LossUnit, NoiseKey, Packets, Reception, ReceptionRecord, RoundReception,
    apply, lost_strides,
};

use crate::channel_reception::{streams, tensor};

/// Digital reception of f32: what arrives is what was sent.
pub fn record(loss_unit: LossUnit, concealment: Concealment, pattern: &str) -> ReceptionRecord {
    ReceptionRecord {
        impairment: Impairment {
            reception: Reception::Digital,
            loss_unit,
            concealment,
            round_concealment: concealment,
            codec: Encoding::F32.into(),
            ..Impairment::default()
        },
        noise_std: 0.0,
        loss_probability: 0.0,
        noise_key: NoiseKey { ue: 1, request: 0 },
        packets: packets(pattern),
        rounds: Vec::new(),
    }
}

/// Packets of gain 1 of which those marked `x` are lost: `..x.`.
fn packets(pattern: &str) -> Packets {
    let mut packets = Packets::default();
    pattern.chars().for_each(|c| packets.push(1.0, c == 'x'));
    packets
}

#[test]
fn interleaved_packets_thin_out_all_rows() {
    // Four rows of six; packet k of five has the elements k, k + 5, k + 10 …
    let lossy = record(LossUnit::Interleaved, Concealment::Zero, ".x..x");
    let mut out = tensor(4, 6);
    let report = apply(&lossy, &streams(), &mut out, 6);
    let zeros: Vec<usize> = (0..24).filter(|&e| out[e] == 0.0).collect();
    assert_eq!(zeros, [1, 4, 6, 9, 11, 14, 16, 19, 21]);
    assert_eq!((report.rows_lost, report.elements_lost, report.anything_arrived), (0, 9, true));
    assert_eq!(lossy.rows_lost(4), Some(0));
    let lost: Vec<usize> = lost_strides(&packets(".x..x"), 24, |_, lost| lost).collect();
    assert_eq!(lost, zeros);
    assert_eq!(lost_strides(&Packets::default(), 24, |_, _| true).count(), 0);
    // Rows lose alike: of 375 packets a row of 4096 has ten or eleven elements of each.
    let whole: Vec<bool> = (0..375).map(|k| k % 29 == 3).collect();
    let pattern: String = whole.iter().map(|lost| if *lost { 'x' } else { '.' }).collect();
    let mut missing = [0; 64];
    lost_strides(&packets(&pattern), 64 * 4096, |_, lost| lost).for_each(|e| missing[e / 4096] += 1);
    let dead = whole.iter().filter(|lost| **lost).count();
    assert!(missing.iter().all(|missing| (10 * dead..=11 * dead).contains(missing)), "{missing:?}");
    // All packets lost are all rows lost, and nothing else is.
    for (pattern, rows_lost) in [("xxx", 4), ("xx.", 0), ("x", 4)] {
        let lossy = record(LossUnit::Interleaved, Concealment::Zero, pattern);
        let report = apply(&lossy, &streams(), &mut tensor(4, 6), 6);
        assert_eq!((report.rows_lost, lossy.rows_lost(4)), (rows_lost, Some(rows_lost)), "{pattern}");
        assert_eq!(report.anything_arrived, rows_lost == 0);
    }
}

#[test]
fn interleaved_elements_meet_the_gain_of_their_packet() {
    let mut raw = record(LossUnit::Interleaved, Concealment::Zero, "");
    raw.impairment.reception = Reception::Raw;
    let gains = [0.5, 2.0, 0.25, 3.0];
    for gain in gains {
        raw.packets.push(gain, false);
    }
    // A round has packets of its own, dealt from its first element on.
    let mut round = RoundReception { packets: Packets::default(), arrived: true };
    for gain in [4.0, 8.0] {
        round.packets.push(gain, false);
    }
    raw.rounds = vec![round];
    let mut out = tensor(4, 6);
    apply(&raw, &streams(), &mut out, 6);
    for (e, (out, sent)) in out.iter().zip(tensor(4, 6)).enumerate() {
        let gain = if e < 18 { gains[e % 4] } else { [4.0, 8.0][(e - 18) % 2] };
        assert_eq!(*out, gain as f32 * sent, "element {e}");
    }
}

#[test]
fn the_mean_row_stands_in_place_of_lost_rows() {
    // Four rows, a packet each.
    let mut rows = [1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 8.0, 6.0];
    let report = apply(&record(LossUnit::TokenRow, Concealment::Mean, "..x."), &streams(), &mut rows, 2);
    assert_eq!((rows, report.rows_lost), ([1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 8.0, 6.0], 1));
    // Packets of a value: of the first column rows 0 and 2 arrived, of the second none.
    let mut rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    apply(&record(LossUnit::Chunk, Concealment::Mean, ".xxx.x"), &streams(), &mut rows, 2);
    assert_eq!(rows, [1.0, 0.0, 3.0, 0.0, 5.0, 0.0]);
}

#[test]
fn rescaled_sums_keep_their_expectation() {
    // Six of eight arrived: 4/3, whatever P was.
    let mut rows = [3.0; 16];
    apply(&record(LossUnit::Chunk, Concealment::Rescale, ".x......"), &streams(), &mut rows, 8);
    assert_eq!(rows[..8], [4.0, 4.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0]);
    assert_eq!(rows[8..], [3.0; 8]);
    // Of element-wise losses, in the mean over rows: Σ ŷ = Σ y within four standard errors. A row's sum of d ones is
    // d whatever is lost, unless all are; of values that differ it varies by P/(1-P)·Σ(y-ȳ)² at most.
    let (count, d, loss) = (4000, 32, 0.3);
    let mut elements = record(LossUnit::ElementIid, Concealment::Rescale, "");
    elements.loss_probability = loss;
    let sent: Vec<f32> = (0..count * d).map(|e| (e % d) as f32).collect();
    let mut out = sent.clone();
    let report = apply(&elements, &streams(), &mut out, d);
    assert!((report.elements_lost as f64 / (count * d) as f64 - loss).abs() < 0.01);
    let mean = out.iter().map(|y| f64::from(*y)).sum::<f64>() / count as f64;
    let deviations: f64 = (0..d).map(|c| (c as f64 - 15.5).powi(2)).sum();
    // Sampling n of d without replacement: the variance of d·(mean of n) is d²·(1 - n/d)/n·Σ(y-ȳ)²/(d-1).
    let arrived = d as f64 * (1.0 - loss);
    let variance = (d * d) as f64 * (1.0 - arrived / d as f64) / arrived * deviations / (d as f64 - 1.0);
    let error = (mean - 496.0) / (variance / count as f64).sqrt();
    assert!(error.abs() < 4.0, "{mean}: {error} standard errors");
    // And without rescaling it falls short by P.
    elements.impairment.concealment = Concealment::Zero;
    let mut out = sent.clone();
    apply(&elements, &streams(), &mut out, d);
    let short = out.iter().map(|y| f64::from(*y)).sum::<f64>() / count as f64 / 496.0;
    assert!((short - (1.0 - loss)).abs() < 0.01, "{short}");
}

#[test]
fn rounds_are_concealed_by_what_came_before_them() {
    for concealment in [Concealment::Mean, Concealment::Rescale] {
        // Two rows of the prompt and three rounds, of two packets: the second lacks its second half, the third all.
        let round = |pattern: &str| RoundReception { packets: packets(pattern), arrived: pattern != "xx" };
        let mut session = record(LossUnit::Chunk, concealment, "..");
        session.rounds = ["..", ".x", "xx"].map(round).into();
        let mut rows = [1.0, 2.0, 3.0, 4.0, 8.0, 9.0, 7.0, 70.0, 80.0, 90.0];
        apply(&session, &streams(), &mut rows, 2);
        let expected = match concealment {
            // Of (2, 4, 9), then of (1, 3, 8, 7) and (2, 4, 9, 5).
            Concealment::Mean => [1.0, 2.0, 3.0, 4.0, 8.0, 9.0, 7.0, 5.0, 4.75, 5.0],
            _ => [1.0, 2.0, 3.0, 4.0, 8.0, 9.0, 14.0, 0.0, 0.0, 0.0],
        };
        assert_eq!(rows, expected, "{concealment:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    /// What a later round brings moves nothing that the edge had before it.
    #[test]
    fn nothing_depends_on_later_rounds(
        lost in prop::collection::vec(any::<[bool; 3]>(), 1..8),
        kind in (0usize..4, 0usize..4, 0usize..4),
        cut in 0usize..8,
    ) {
        let concealments = [Concealment::Zero, Concealment::PreviousRow, Concealment::Mean, Concealment::Rescale];
        let unit = [LossUnit::TokenRow, LossUnit::Chunk, LossUnit::Interleaved, LossUnit::ElementIid][kind.2];
        let mut session = record(unit, concealments[kind.0], ".x...x.");
        session.impairment.round_concealment = concealments[kind.1];
        session.loss_probability = 0.3;
        session.rounds = lost.iter().map(|lost| {
            let mut packets = Packets::default();
            for &lost in lost {
                packets.push(1.0, lost);
            }
            RoundReception { packets, arrived: lost != &[true; 3] }
        }).collect();
        let (d, first) = (5, 4);
        let mut whole = tensor(first + lost.len(), d);
        let sent = whole.clone();
        apply(&session, &streams(), &mut whole, d);
        let kept = cut.min(lost.len());
        session.rounds.truncate(kept);
        let mut before = sent[..(first + kept) * d].to_vec();
        apply(&session, &streams(), &mut before, d);
        prop_assert_eq!(&whole[..(first + kept) * d], &before[..]);
    }

    /// Shares decide what is sent, the rows alone where; all values are those of the plain encoding.
    #[test]
    fn top_k_of_all_is_the_plain_encoding(
        values in prop::collection::vec(-1e3f32..1e3, 1..60),
        d in 1usize..20,
        kind in 0usize..5,
    ) {
        let encoding = Encoding::ALL[kind];
        let all = Codec::new(encoding, 0.0, Some(1.0)).unwrap();
        let (mut plain, mut top) = (values.clone(), values);
        encoding.quantise(&mut plain, d);
        all.quantise(&mut top, d);
        prop_assert_eq!(plain, top);
        prop_assert_eq!(all.payload_bits(3, d as u64), encoding.payload_bits(3, d as u64));
    }

    /// Whatever the shares, the number of values that arrive is that which is paid for.
    #[test]
    fn what_is_paid_for_is_what_arrives(d in 1usize..200, share in 0.001f64..0.999, outliers in 0.0f64..0.999) {
        let mut row: Vec<f32> = (0..d).map(|e| 1.0 + ((e * 37) % d) as f32).collect();
        let codec = Codec::new(Encoding::F32, 0.0, Some(share)).unwrap();
        codec.quantise(&mut row, d);
        let (count, d) = (row.iter().filter(|y| **y != 0.0).count() as u64, d as u64);
        let index = (0..64).find(|bits| 1u64 << bits >= d).unwrap();
        let positions = if count == d { 0 } else { (count * index).min(d) };
        prop_assert_eq!(codec.payload_bits(1, d), count * 32 + positions);
        if outliers < share && outliers > 0.0 {
            let mixed = Codec::new(Encoding::Int8, outliers, Some(share)).unwrap();
            let plain = Codec::new(Encoding::Int8, 0.0, Some(share)).unwrap();
            prop_assert!(mixed.payload_bits(1, d) > plain.payload_bits(1, d));
        }
    }
}
