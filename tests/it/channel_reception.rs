//! What the channel does to a tensor, against equations (3) and (4) of Chen25
//! and hand-computed cases.

use proptest::prelude::*;
use splitwave::channel::{
    Codec, Concealment, Encoding, Impairment, LossUnit, NoiseKey, Packets, Received, Reception, ReceptionRecord,
    RoundReception, TxNormalisation, apply,
};
use splitwave::kernel::Streams;

pub fn streams() -> Streams {
    Streams::new(9, 0)
}

/// Packets of gain 1 of which those marked `x` are lost: `..x.`.
fn packets(pattern: &str) -> Packets {
    let mut packets = Packets::default();
    pattern.chars().for_each(|c| packets.push(1.0, c == 'x'));
    packets
}

/// σ = 0.5, nothing lost, equalised, packets of these gains.
fn record(gains: &[f64]) -> ReceptionRecord {
    let mut packets = Packets::with_capacity(gains.len());
    for &gain in gains {
        packets.push(gain, false);
    }
    ReceptionRecord {
        impairment: Impairment::default(),
        noise_std: 0.5,
        loss_probability: 0.0,
        noise_key: NoiseKey { ue: 1, request: 0 },
        packets,
        rounds: Vec::new(),
    }
}

/// S rows of d values, of a different size each: no zeros, no repeats.
pub fn tensor(rows: usize, d: usize) -> Vec<f32> {
    (0..rows * d).map(|e| (1 + e / d) as f32 * (1.0 + (e as f32 * 0.7).sin() * 0.9)).collect()
}

pub fn received(record: &ReceptionRecord, rows: usize, d: usize) -> (Vec<f32>, Received) {
    let mut tensor = tensor(rows, d);
    let received = apply(record, &streams(), &mut tensor, d);
    (tensor, received)
}

#[test]
fn a_clean_channel_changes_nothing() {
    let clean = ReceptionRecord { noise_std: 0.0, ..record(&[1.0, 0.3]) };
    let (out, report) = received(&clean, 4, 8);
    assert_eq!(out, tensor(4, 8));
    let expected = Received { rows_lost: 0, elements_lost: 0, activation_snr_db: None, anything_arrived: true };
    assert_eq!(report, expected);
}

#[test]
fn raw_scales_by_the_packets_gain_and_equalised_scales_the_noise() {
    // Two packets over three rows of eight: the boundary is inside row 1, at element 12.
    let (rows, d, gains) = (3, 8, [0.5, 2.0]);
    let mut one = record(&[1.0]);
    one.impairment.reception = Reception::Raw;
    let noise: Vec<f32> =
        received(&one, rows, d).0.iter().zip(tensor(rows, d)).map(|(received, sent)| received - sent).collect();
    for (reception, signal, noise_gain) in
        [(Reception::Raw, gains, [1.0, 1.0]), (Reception::Equalised, [1.0, 1.0], [2.0, 0.5])]
    {
        let mut faded = record(&gains);
        faded.impairment.reception = reception;
        let out = received(&faded, rows, d).0;
        for (e, (out, sent)) in out.iter().zip(tensor(rows, d)).enumerate() {
            let k = e / 12;
            let expected = signal[k] as f32 * sent + noise_gain[k] * noise[e];
            assert!((out - expected).abs() < 1e-5, "{reception:?}, element {e}: {out}, expected {expected}");
        }
    }
}

#[test]
fn noise_has_the_standard_deviation_asked_for() {
    let n = 1000 * 128;
    let out = received(&record(&[]), 1000, 128).0;
    let (mut mean, mut square) = (0.0, 0.0);
    for (received, sent) in out.iter().zip(tensor(1000, 128)) {
        let noise = f64::from(received - sent) / 0.5;
        mean += noise / f64::from(n);
        square += noise * noise / f64::from(n);
    }
    // Five standard errors.
    assert!(mean.abs() < 5.0 / f64::from(n).sqrt(), "mean {mean}");
    assert!((square - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt(), "variance {square}");
}

#[test]
fn normalised_power_makes_noise_relative() {
    let (rows, d) = (200, 128);
    let noise_to_power = |normalisation| {
        let mut relative = record(&[]);
        relative.impairment.tx_normalisation = normalisation;
        let (out, report) = received(&relative, rows, d);
        let sent = tensor(rows, d);
        let power = |values: &[f32]| values.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>() / values.len() as f64;
        let noise: Vec<f32> = out.iter().zip(&sent).map(|(out, sent)| out - sent).collect();
        // The noise of the first ten rows (small ones), of the last ten, and the SNR reported.
        let ten = 10 * d;
        let (first, last) = (power(&noise[..ten]), power(&noise[(rows - 10) * d..]));
        let (small, large) = (power(&sent[..ten]), power(&sent[(rows - 10) * d..]));
        (first, last, small, large, power(&sent), report.activation_snr_db.unwrap())
    };
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 0.15;
    let (first, last, .., snr) = noise_to_power(TxNormalisation::None);
    assert!(close(first, 0.25) && close(last, 0.25));
    // The median row is between the 100th and the 101st, of size 100.5: 20 lg(100.5/.5) and the row's own power.
    assert!((snr - 20.0 * 201f64.log10() - 10.0 * 1.405f64.log10()).abs() < 0.1, "{snr} dB");
    let (first, last, .., mean, snr) = noise_to_power(TxNormalisation::PerRequest);
    assert!(close(first, 0.25 * mean) && close(last, 0.25 * mean));
    // The mean power of sizes 1 … 200 is (201)(401)/6 of the unit row's.
    assert!((snr - 10.0 * (100.5f64.powi(2) * 6.0 / (201.0 * 401.0) / 0.25).log10()).abs() < 0.1, "{snr} dB");
    let (first, last, small, large, _, snr) = noise_to_power(TxNormalisation::PerRow);
    assert!(close(last, 0.25 * large) && (0.2..0.3).contains(&(first / small)));
    // Every row has power 1 on the air: 10 lg(1/.25), exactly.
    assert!((snr - 10.0 * 4f64.log10()).abs() < 1e-9, "{snr} dB");
}

#[test]
fn activation_snr_takes_the_median_row() {
    // Row powers 100, 4, 1, 9 → median 6.5; 1, 4, 100 → 4. σ² = 1/4.
    for (sizes, median) in [(vec![10.0, 2.0, 1.0, 3.0], 6.5f64), (vec![1.0, 2.0, 10.0], 4.0)] {
        let mut rows: Vec<f32> = sizes.iter().flat_map(|&size| [size, -size]).collect();
        let snr = apply(&record(&[]), &streams(), &mut rows, 2).activation_snr_db.unwrap();
        assert!((snr - 10.0 * (median / 0.25).log10()).abs() < 1e-12);
    }
    let mut nothing = [0.0; 4];
    assert_eq!(apply(&record(&[]), &streams(), &mut nothing, 2).activation_snr_db, None);
    assert_eq!(apply(&record(&[]), &streams(), &mut [], 2).activation_snr_db, None);
}

/// Which of the elements are zero, as `0`, the others as `-`.
fn zeros(values: &[f32]) -> String {
    values.iter().map(|&y| if y == 0.0 { '0' } else { '-' }).collect()
}

#[test]
fn lost_packets_take_rows_or_slices() {
    // Four rows of six, eight packets of three.
    for (unit, pattern, expected, rows_lost, elements_lost) in [
        (LossUnit::TokenRow, "...x....", "------000000------------", 1, 6),
        (LossUnit::Chunk, "...x....", "---------000------------", 0, 3),
        (LossUnit::TokenRow, "..xxx...", "------000000000000------", 2, 12),
        (LossUnit::Chunk, "..xxx...", "------000000000---------", 1, 9),
        // Three packets of eight: the middle one has a part in rows 1 and 2.
        (LossUnit::TokenRow, ".x.", "------000000000000------", 2, 12),
        (LossUnit::Chunk, ".x.", "--------00000000--------", 0, 8),
        (LossUnit::Chunk, "xx.", "0000000000000000--------", 2, 16),
        (LossUnit::TokenRow, "xxx", "000000000000000000000000", 4, 24),
        (LossUnit::Chunk, "x", "000000000000000000000000", 4, 24),
        // Element-wise losses know no packets.
        (LossUnit::ElementIid, "xxx", "------------------------", 0, 0),
    ] {
        let mut lossy = ReceptionRecord { packets: packets(pattern), ..record(&[]) };
        lossy.impairment.loss_unit = unit;
        for reception in [Reception::Raw, Reception::Equalised, Reception::Digital] {
            lossy.impairment.reception = reception;
            let (out, report) = received(&lossy, 4, 6);
            assert_eq!(zeros(&out), expected, "{unit:?} {pattern}");
            assert_eq!((report.rows_lost, report.elements_lost), (rows_lost, elements_lost), "{unit:?} {pattern}");
            assert_eq!(report.anything_arrived, elements_lost < 24);
            let known = lossy.rows_lost(4);
            assert_eq!(known, (unit != LossUnit::ElementIid).then_some(rows_lost), "{unit:?} {pattern}");
        }
    }
}

#[test]
fn rows_lost_do_not_depend_on_the_running_models_width() {
    // 375 packets of 64 rows: 5.86 a row, as 1400 B packets of 8192 B rows.
    let pattern: String = (0..375).map(|k| if k % 29 == 3 { 'x' } else { '.' }).collect();
    let lossy = ReceptionRecord { packets: packets(&pattern), ..record(&[]) };
    let known = lossy.rows_lost(64).unwrap();
    for d in [1, 3, 128, 288] {
        let report = received(&lossy, 64, d).1;
        assert_eq!((report.rows_lost, report.elements_lost), (known, known * d), "d = {d}");
    }
    // By hand: packet k has a part in the rows from ⌊64k/375⌋ to ⌈64(k+1)/375⌉.
    let rows: std::collections::BTreeSet<usize> =
        (0..375).filter(|k| k % 29 == 3).flat_map(|k: usize| 64 * k / 375..(64 * (k + 1)).div_ceil(375)).collect();
    assert_eq!(known, rows.len());
}

#[test]
fn losing_a_packet_moves_no_other_elements_noise() {
    for unit in [LossUnit::TokenRow, LossUnit::Chunk] {
        let mut all = ReceptionRecord { packets: packets("........"), ..record(&[]) };
        all.impairment.loss_unit = unit;
        let whole = received(&all, 4, 6).0;
        let (out, report) = received(&ReceptionRecord { packets: packets(".x..xx.."), ..all }, 4, 6);
        let kept = out.iter().zip(&whole).filter(|(out, whole)| out.to_bits() == whole.to_bits()).count();
        assert_eq!(kept, 24 - report.elements_lost, "{unit:?}");
    }
}

#[test]
fn element_losses_come_at_their_rate_and_nest() {
    let lost = |probability| {
        let mut lossy = ReceptionRecord { loss_probability: probability, noise_std: 0.0, ..record(&[]) };
        lossy.impairment.loss_unit = LossUnit::ElementIid;
        let (out, report) = received(&lossy, 1000, 128);
        assert_eq!(out.iter().filter(|&&y| y == 0.0).count(), report.elements_lost);
        (out, report)
    };
    let n = 128_000f64;
    for probability in [0.1f64, 0.3] {
        let error = (probability * (1.0 - probability) / n).sqrt();
        let share = lost(probability).1.elements_lost as f64 / n;
        assert!((share - probability).abs() < 4.0 * error, "{share} of {probability}");
    }
    // Common random numbers: what is lost at .1 is lost at .3.
    assert!(lost(0.1).0.iter().zip(lost(0.3).0).all(|(a, b)| *a != 0.0 || b == 0.0));
    assert_eq!(lost(0.0).1.elements_lost, 0);
    let all = lost(1.0).1;
    assert_eq!((all.rows_lost, all.elements_lost, all.anything_arrived), (1000, 128_000, false));
}

#[test]
fn digital_sees_the_encoding_and_no_noise() {
    let mut digital = ReceptionRecord { packets: packets("..x."), ..record(&[]) };
    digital.impairment = Impairment {
        reception: Reception::Digital,
        loss_unit: LossUnit::Chunk,
        codec: Encoding::F16.into(),
        // Power control neither helps nor harms a packet that is decoded.
        tx_normalisation: TxNormalisation::PerRow,
        ..Impairment::default()
    };
    let (out, report) = received(&digital, 2, 8);
    let mut expected = tensor(2, 8);
    Encoding::F16.quantise(&mut expected, 8);
    expected[8..12].fill(0.0);
    assert_eq!(out, expected);
    assert_eq!(report.activation_snr_db, None);
}

#[test]
fn a_gain_of_zero_is_a_loss_when_equalised() {
    for (unit, expected) in [
        (LossUnit::Chunk, "------000000"),
        (LossUnit::TokenRow, "----00000000"),
        (LossUnit::ElementIid, "------000000"),
    ] {
        let mut silent = record(&[1.0, 0.0]);
        silent.impairment.loss_unit = unit;
        let (out, report) = received(&silent, 3, 4);
        assert_eq!(zeros(&out), expected, "{unit:?}");
        assert_eq!(report.elements_lost, expected.matches('0').count());
        assert!(silent.rows_lost(3).is_none_or(|rows| rows == report.rows_lost));
    }
    // Raw, it is noise alone, and that is something that arrives.
    let mut raw = record(&[0.0]);
    raw.impairment.reception = Reception::Raw;
    let (out, report) = received(&raw, 3, 4);
    assert!(report.elements_lost == 0 && out.iter().all(|y| y.abs() < 0.5 * 5.0));
}

#[test]
fn packets_are_counted() {
    let mut counted = packets("x..xxx.x");
    assert_eq!((counted.len(), counted.lost(), counted.loss_bursts()), (8, 5, 3));
    assert_eq!(counted.mean_gain(), Some(1.0));
    counted.push(10.0, false);
    assert_eq!(counted.mean_gain(), Some(2.0));
    assert_eq!((Packets::default().mean_gain(), Packets::default().loss_bursts()), (None, 0));
    // Across the words of the bit set.
    let long: String = (0..200).map(|k| if (60..70).contains(&k) || k == 128 { 'x' } else { '.' }).collect();
    let long = packets(&long);
    assert_eq!((long.lost(), long.loss_bursts()), (11, 2));
    assert!(long.iter().enumerate().all(|(k, (_, lost))| lost == ((60..70).contains(&k) || k == 128)));
}

const CONCEALMENTS: [Concealment; 4] =
    [Concealment::Zero, Concealment::PreviousRow, Concealment::Mean, Concealment::Rescale];

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    /// Packets' slices tile the tensor and their rows cover it, whatever the numbers.
    #[test]
    fn packets_tile_the_tensor(count in 1usize..700, rows in 1usize..100, d in 1usize..50) {
        let packets = packets(&".".repeat(count));
        let (mut value, mut row) = (0, 0);
        for k in 0..count {
            let (values, rows) = (packets.values(k, rows * d), packets.rows(k, rows));
            prop_assert_eq!(values.start, value);
            prop_assert!(rows.start <= row && !rows.is_empty());
            prop_assert!(values.is_empty() || (rows.start * d <= values.start && values.end <= rows.end * d));
            (value, row) = (values.end, rows.end);
        }
        prop_assert_eq!((value, row), (rows * d, rows));
    }

    /// Nothing but finite numbers leaves the channel, and what is said to be lost is zero or concealed.
    #[test]
    fn what_arrives_is_finite(
        values in prop::collection::vec(prop_oneof![-1e3f32..1e3, -f32::MAX..f32::MAX, Just(0.0), Just(1e-45)], 0..200),
        gains in prop::collection::vec((prop_oneof![0.0..3.0f64, Just(0.0), Just(1e-45)], any::<bool>()), 0..40),
        d in 0usize..40,
        kind in (0usize..3, 0usize..4, 0usize..3, 0usize..5),
        shares in (prop_oneof![Just(0.0), 0.0..1.0f64], prop_oneof![Just(1.0), 1e-6..=1.0f64]),
        concealed in (0usize..4, 0usize..4),
        arrived in prop::collection::vec((any::<bool>(), 0usize..4), 0..5),
        noise_std in prop_oneof![Just(0.0), 0.0..2.0f64, Just(1e30)],
        loss_probability in 0.0..=1.0f64,
    ) {
        let impairment = Impairment {
            reception: [Reception::Raw, Reception::Equalised, Reception::Digital][kind.0],
            loss_unit: [LossUnit::TokenRow, LossUnit::Chunk, LossUnit::Interleaved, LossUnit::ElementIid][kind.1],
            tx_normalisation: [TxNormalisation::None, TxNormalisation::PerRow, TxNormalisation::PerRequest][kind.2],
            codec: Codec::new(Encoding::ALL[kind.3], shares.0, Some(shares.1)).unwrap_or(Encoding::ALL[kind.3].into()),
            concealment: CONCEALMENTS[concealed.0],
            round_concealment: CONCEALMENTS[concealed.1],
        };
        let sent = |gains: &[(f64, bool)]| {
            let mut packets = Packets::default();
            for &(gain, lost) in gains {
                packets.push(gain, lost);
            }
            packets
        };
        let rounds = arrived.iter().map(|&(arrived, count)| RoundReception { packets: sent(&gains[..count.min(gains.len())]), arrived });
        let record = ReceptionRecord {
            impairment,
            noise_std,
            loss_probability,
            noise_key: NoiseKey { ue: 4, request: 0 },
            packets: sent(&gains),
            rounds: rounds.collect(),
        };
        let mut out = values.clone();
        let report = apply(&record, &streams(), &mut out, d);
        prop_assert!(out.iter().all(|y| y.is_finite()));
        prop_assert!(report.activation_snr_db.is_none_or(f64::is_finite));
        let rows = values.len().div_ceil(d.max(1));
        let zeros = [0, 3];
        prop_assert!(!zeros.contains(&concealed.0) || !zeros.contains(&concealed.1) || out.iter().filter(|&&y| y == 0.0).count() >= report.elements_lost);
        prop_assert!(report.rows_lost <= rows && report.elements_lost <= values.len());
        if record.rounds.is_empty() {
            prop_assert_eq!(report.anything_arrived, report.elements_lost < values.len());
        }
        if let (Some(prefill), Some(rounds), true) =
            (record.rows_lost(rows.saturating_sub(record.rounds.len())), record.rounds_lost(), rows >= record.rounds.len())
        {
            prop_assert_eq!(report.rows_lost, prefill + rounds);
        }
        let mut again = values.clone();
        prop_assert_eq!(apply(&record, &streams(), &mut again, d), report);
        prop_assert_eq!(again, out);
    }
}
