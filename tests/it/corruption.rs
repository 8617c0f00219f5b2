//! The steps between a tensor as sent and as received, one by one and composed,
//! against hand-computed cases; encodings with scales; concealment; sessions.

use splitwave::channel::{
    Concealment, Encoding, Impairment, LossUnit, NoiseKey, Packets, Reception, ReceptionRecord, RoundReception,
    TxNormalisation, activation_snr_db, apply, fill_normals, lost_chunks, lost_elements, lost_rows, receive_equalised,
    receive_raw, row_powers, rows_without_chunks, tx_scales,
};
use splitwave::kernel::Purpose;

use crate::channel_reception::{received, streams, tensor};

const LOSS_UNITS: [LossUnit; 3] = [LossUnit::TokenRow, LossUnit::Chunk, LossUnit::ElementIid];
const NORMALISATIONS: [TxNormalisation; 3] =
    [TxNormalisation::None, TxNormalisation::PerRow, TxNormalisation::PerRequest];
const KEY: NoiseKey = NoiseKey { ue: 2, request: 5 };

/// Packets with gains that differ, of which those marked `x` are lost: `..x.`. `first` numbers the gains.
fn packets(first: usize, pattern: &str) -> Packets {
    let mut packets = Packets::default();
    pattern.chars().enumerate().for_each(|(k, c)| packets.push(0.5 + 0.1 * (first + k) as f64, c == 'x'));
    packets
}

/// σ = 0.5, equalised, and no packet lost but those of `pattern`.
fn record(pattern: &str) -> ReceptionRecord {
    ReceptionRecord {
        impairment: Impairment::default(),
        noise_std: 0.5,
        loss_probability: 0.0,
        noise_key: KEY,
        packets: packets(0, pattern),
        rounds: Vec::new(),
    }
}

/// Rounds of these packets, numbered from packet `first` on; those that begin with `!` did not arrive.
fn rounds(mut first: usize, patterns: &[&str]) -> Vec<RoundReception> {
    let round = |pattern: &&str| {
        let sent = pattern.trim_start_matches('!');
        let round = RoundReception { packets: packets(first, sent), arrived: sent == *pattern };
        first += sent.len();
        round
    };
    patterns.iter().map(round).collect()
}

#[test]
fn gain_and_noise_by_hand() {
    // h = 1/2, σ = 2, s = 3, n = ±1: h·y + 6·n, and y + 12·n.
    let mut values = [2.0, -3.0];
    receive_raw(&mut values, 0.5, 2.0, 3.0, &[1.0, -1.0]);
    assert_eq!(values, [7.0, -7.5]);
    let mut values = [2.0, -3.0];
    receive_equalised(&mut values, 0.5, 2.0, 3.0, &[1.0, -1.0]);
    assert_eq!(values, [14.0, -15.0]);
    // What cannot be equalised is left for the losses.
    receive_equalised(&mut values, 0.0, 2.0, 3.0, &[1.0, -1.0]);
    assert_eq!(values, [14.0, -15.0]);
    receive_raw(&mut values, 1.0, f64::INFINITY, 1.0, &[1.0, -1.0]);
    assert_eq!(values, [f32::MAX, f32::MIN]);
}

#[test]
fn scales_by_hand() {
    let rows = [3.0, 4.0, 0.0, 0.0, 6.0, 8.0];
    let power = row_powers(&rows, 2);
    assert_eq!(power, [12.5, 0.0, 50.0]);
    assert_eq!(tx_scales(TxNormalisation::None, &power, &rows), [1.0; 3]);
    assert_eq!(tx_scales(TxNormalisation::PerRow, &power, &rows), [12.5f64.sqrt(), 0.0, 50f64.sqrt()]);
    // 125 over six values.
    assert_eq!(tx_scales(TxNormalisation::PerRequest, &power, &rows), [(125.0 / 6.0f64).sqrt(); 3]);
    // The median of 12.5, 0 and 50 over 1/4 is 50.
    assert!((activation_snr_db(&power, &[1.0; 3], 0.5).unwrap() - 10.0 * 50f64.log10()).abs() < 1e-12);
}

#[test]
fn the_steps_one_after_another_give_what_apply_gives() {
    let (rows, d) = (5, 8);
    let record = record("......."); // Seven packets of 40/7 values: boundaries inside rows.
    let mut normals = vec![0.0; rows * d];
    let noise = streams().stream(KEY.ue, Purpose::Noise).starting_at(KEY.request << 32);
    fill_normals(&noise, 0, &mut normals);
    for tx_normalisation in NORMALISATIONS {
        let sent = tensor(rows, d);
        let scales = tx_scales(tx_normalisation, &row_powers(&sent, d), &sent);
        for reception in [Reception::Raw, Reception::Equalised] {
            let mut faded = record.clone();
            faded.impairment = Impairment { reception, tx_normalisation, ..faded.impairment };
            let (out, report) = received(&faded, rows, d);
            for (e, out) in out.iter().enumerate() {
                // Scaled, over the air, equalised, scaled back.
                let k = (0..7).find(|&k| faded.packets.values(k, rows * d).contains(&e)).unwrap();
                let (h, s) = (0.5 + 0.1 * k as f64, scales[e / d]);
                let on_air = h * (f64::from(sent[e]) / s) + 0.5 * normals[e];
                let expected = s * if reception == Reception::Raw { on_air } else { on_air / h };
                let error = (f64::from(*out) - expected).abs() / expected.abs().max(1.0);
                assert!(error < 1e-6, "{reception:?}, {tx_normalisation:?}, element {e}: {out}, expected {expected}");
            }
            assert_eq!(report.activation_snr_db, activation_snr_db(&row_powers(&sent, d), &scales, 0.5));
        }
    }
}

#[test]
fn what_is_missing_by_hand() {
    // Four rows of six, eight packets of three; the third and the fourth are half a row each.
    let lossy = packets(0, "..xx.x..");
    let is_lost = |_, lost| lost;
    assert_eq!(lost_rows(&lossy, 4, is_lost).collect::<Vec<_>>(), [1..2, 2..3]);
    assert_eq!(lost_chunks(&lossy, 24, is_lost).collect::<Vec<_>>(), [6..9, 9..12, 15..18]);
    assert_eq!(rows_without_chunks(&lossy, 4, is_lost), 1);
    // By gain: 0.5, 0.6 and 0.7 are the first three packets.
    assert_eq!(lost_rows(&lossy, 4, |gain, _| gain < 0.75).collect::<Vec<_>>(), [0..1, 1..2]);
    assert_eq!(rows_without_chunks(&Packets::default(), 4, |_, _| true), 0);
    let draws = streams().stream(0, Purpose::ElementLoss);
    let lost = |elements, probability| lost_elements(&draws, elements, probability).collect::<Vec<_>>();
    assert_eq!((lost(3..9, 0.0).len(), lost(3..9, 1.0)), (0, (3..9).collect()));
    // A slice loses what it would lose in the whole.
    let whole = lost(0..1000, 0.3);
    let inside: Vec<_> = whole.iter().copied().filter(|e| (333..678).contains(e)).collect();
    assert_eq!(lost(333..678, 0.3), inside);
    // Four standard errors.
    assert!((whole.len() as f64 - 300.0).abs() < 4.0 * 210f64.sqrt());
}

#[test]
fn integers_err_by_at_most_half_their_scale() {
    let d = 512;
    for (encoding, largest) in [(Encoding::Int8, 127.0), (Encoding::Int4, 7.0)] {
        let (mut ratio, mut counted) = (0.0, 0.0);
        for row in 0..200u32 {
            // Rows of sizes from 10⁻⁶ to 10⁴.
            let size = 10f64.powf(f64::from(row) / 20.0 - 6.0);
            let mut normals = vec![0.0; d];
            fill_normals(&streams().stream(row, Purpose::Test), 0, &mut normals);
            let sent: Vec<f32> = normals.iter().map(|n| (size * n) as f32).collect();
            let peak = f64::from(sent.iter().fold(0.0f32, |peak, y| peak.max(y.abs())));
            let mut out = sent.clone();
            encoding.quantise(&mut out, d);
            // Half precision rounds the scale up by at most one part in 1024, or by its smallest number.
            let scale = peak / largest * (1.0 + 2f64.powi(-10)) + 2f64.powi(-24);
            let errors = || sent.iter().zip(&out).map(|(sent, out)| (f64::from(*sent) - f64::from(*out)).abs());
            let worst = errors().fold(0.0, f64::max);
            assert!(worst <= scale / 2.0, "{encoding:?}, size {size}: {worst}, scale {scale}");
            // Where the scale has all of its bits.
            if scale > 2f64.powi(-13) {
                let mean_square = errors().map(|error| error * error).sum::<f64>() / d as f64;
                (ratio, counted) = (ratio + mean_square / ((peak / largest).powi(2) / 12.0), counted + 1.0);
            }
        }
        // A uniform quantiser's error is s²/12.
        let ratio: f64 = ratio / counted;
        assert!((ratio - 1.0).abs() < 0.02 && counted > 100.0, "{encoding:?}: {ratio} of s²/12");
    }
}

#[test]
fn digital_rows_are_encoded_one_by_one_and_then_lost() {
    for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Int8, Encoding::Int4] {
        let mut digital = record("..x.");
        digital.impairment = Impairment {
            reception: Reception::Digital,
            loss_unit: LossUnit::Chunk,
            codec: encoding.into(),
            ..digital.impairment
        };
        let out = received(&digital, 4, 8).0;
        let mut expected = Vec::new();
        for row in tensor(4, 8).chunks(8) {
            let mut alone = row.to_vec();
            encoding.quantise(&mut alone, 8);
            expected.extend(alone);
        }
        expected[16..24].fill(0.0);
        assert_eq!(out, expected, "{encoding:?}");
    }
}

#[test]
fn lost_rows_repeat_the_last_that_arrived() {
    // Six rows, a packet each; rows 0, 3 and 4 are lost.
    for (reception, tx_normalisation) in [
        (Reception::Raw, TxNormalisation::PerRow),
        (Reception::Equalised, TxNormalisation::None),
        (Reception::Digital, TxNormalisation::None),
    ] {
        let with = |pattern, concealment| {
            let mut concealed = record(pattern);
            concealed.impairment = Impairment { reception, tx_normalisation, concealment, ..concealed.impairment };
            received(&concealed, 6, 8)
        };
        let (whole, _) = with("......", Concealment::PreviousRow);
        let (out, report) = with("x..xx.", Concealment::PreviousRow);
        let row = |r: usize| &out[8 * r..8 * (r + 1)];
        assert_eq!((row(0), row(1), row(2)), (&[0.0; 8][..], &whole[8..16], &whole[16..24]), "{reception:?}");
        assert_eq!((row(3), row(4), row(5)), (row(2), row(2), &whole[40..]), "{reception:?}");
        assert_eq!((report.rows_lost, report.elements_lost, report.anything_arrived), (3, 24, true));
        // Whatever stands in its place, what is lost is the same.
        let (zeroed, of_zeros) = with("x..xx.", Concealment::Zero);
        assert_eq!(of_zeros, report);
        assert!(zeroed[24..40].iter().all(|y| *y == 0.0));
    }
}

#[test]
fn lost_slices_and_elements_repeat_those_of_the_row_before() {
    // Three rows of eight, six packets of four: the ends of rows 1 and 2 are lost.
    let mut chunks = record("...x.x");
    chunks.impairment.loss_unit = LossUnit::Chunk;
    chunks.impairment.concealment = Concealment::PreviousRow;
    let out = received(&chunks, 3, 8).0;
    let whole = received(&ReceptionRecord { packets: packets(0, "......"), ..chunks }, 3, 8).0;
    assert_eq!((&out[8..12], &out[16..20]), (&whole[8..12], &whole[16..20]));
    assert_eq!((&out[12..16], &out[20..24]), (&whole[4..8], &whole[4..8]));

    let mut elements = ReceptionRecord { loss_probability: 0.4, ..record("......") };
    elements.impairment.loss_unit = LossUnit::ElementIid;
    let (zeroed, report) = received(&elements, 3, 8);
    elements.impairment.concealment = Concealment::PreviousRow;
    let (out, same) = received(&elements, 3, 8);
    assert_eq!((report, true), (same, report.elements_lost > 4));
    for e in 0..24 {
        let expected = if zeroed[e] == 0.0 { e.checked_sub(8).map_or(0.0, |above| out[above]) } else { zeroed[e] };
        assert_eq!(out[e].to_bits(), expected.to_bits(), "element {e}");
    }
}

#[test]
fn rounds_are_what_a_longer_prefill_would_be() {
    // Four rows and three rounds, three packets a row, against seven rows of the same packets.
    for loss_unit in LOSS_UNITS {
        for (reception, tx_normalisation) in [
            (Reception::Raw, TxNormalisation::None),
            (Reception::Equalised, TxNormalisation::PerRow),
            (Reception::Digital, TxNormalisation::None),
        ] {
            let mut long = record("............x........");
            long.loss_probability = 0.2;
            long.impairment = Impairment {
                reception,
                loss_unit,
                tx_normalisation,
                codec: Encoding::Int8.into(),
                concealment: Concealment::PreviousRow,
                round_concealment: Concealment::PreviousRow,
            };
            let session = ReceptionRecord {
                packets: packets(0, "............"),
                rounds: rounds(12, &["x..", "...", "..."]),
                ..long.clone()
            };
            let case = format!("{loss_unit:?}, {reception:?}");
            let ((whole, expected), (out, report)) = (received(&long, 7, 9), received(&session, 7, 9));
            assert_eq!(
                out.iter().map(|y| y.to_bits()).collect::<Vec<_>>(),
                whole.iter().map(|y| y.to_bits()).collect::<Vec<_>>(),
                "{case}"
            );
            assert_eq!(
                (report.rows_lost, report.elements_lost),
                (expected.rows_lost, expected.elements_lost),
                "{case}"
            );
            // The prefill knows nothing of what follows, and the activation SNR is its own.
            let alone = ReceptionRecord { rounds: Vec::new(), ..session.clone() };
            let (prefill, of_prefill) = received(&alone, 4, 9);
            assert_eq!((&out[..36], report.activation_snr_db), (&prefill[..], of_prefill.activation_snr_db), "{case}");
        }
    }
}

#[test]
fn a_round_that_does_not_arrive_repeats_the_row_before() {
    let mut session = record("...");
    session.rounds = rounds(3, &["!.", "!x", ".", "!.", ""]);
    let whole = received(&ReceptionRecord { rounds: rounds(3, &["..", "x", ".", ".", ""]), ..session.clone() }, 8, 4).0;
    let (out, report) = received(&session, 8, 4);
    let row = |r: usize| &out[4 * r..4 * (r + 1)];
    // Rounds 0 and 1 repeat the last row of the prefill, round 3 that of round 2; the last has no packets and arrived.
    assert_eq!((row(2), row(3), row(4)), (&whole[8..12], row(2), row(2)));
    assert_eq!((row(6), row(7)), (row(5), &whole[28..]));
    assert_ne!(row(5), row(4));
    assert_eq!((report.rows_lost, report.elements_lost, report.anything_arrived), (3, 12, true));
    assert_eq!((session.rows_lost(3), session.rounds_lost()), (Some(0), Some(3)));
    // Concealment of the prefill and of rounds are apart.
    session.packets = packets(0, ".x.");
    let out = received(&session, 8, 4).0;
    assert_eq!((&out[4..8], &out[12..16]), (&[0.0; 4][..], &out[8..12]));
    session.impairment.round_concealment = Concealment::Zero;
    let (out, report) = received(&session, 8, 4);
    assert_eq!((&out[12..20], &out[24..28]), (&[0.0; 8][..], &[0.0; 4][..]));
    assert_eq!((report.rows_lost, session.rows_lost(3), session.rounds_lost()), (4, Some(1), Some(3)));
    // Nothing of the prefill arrived: an outage, though a round did.
    session.packets = packets(0, "xxx");
    assert!(!received(&session, 8, 4).1.anything_arrived);
}

#[test]
fn a_round_of_which_packets_are_lost_loses_what_the_unit_says() {
    // A gain of 0 cannot be equalised either.
    let mut silent = Packets::default();
    silent.push(1.0, false);
    silent.push(0.0, false);
    for (loss_unit, lost, elements, rows_lost) in [
        (LossUnit::TokenRow, 0..8, 16, Some(2)),
        (LossUnit::Chunk, 4..8, 8, Some(0)),
        (LossUnit::ElementIid, 4..8, 4, None),
    ] {
        let mut session = record("..");
        session.impairment.loss_unit = loss_unit;
        session.rounds = rounds(2, &[".x", ".."]);
        session.rounds[1].packets = silent.clone();
        let (out, report) = received(&session, 4, 8);
        let last = lost.start + 24..lost.end + 24;
        let above = lost.start + 16..lost.end + 16;
        assert_eq!(out[last], out[above.clone()], "{loss_unit:?}");
        // Packets are not what is lost element by element.
        let repeats = out[above.clone()] == out[lost.start + 8..lost.end + 8];
        assert_eq!(repeats, loss_unit != LossUnit::ElementIid, "{loss_unit:?}");
        assert_eq!((report.elements_lost, session.rounds_lost()), (elements, rows_lost), "{loss_unit:?}");
        assert_eq!(report.rows_lost, rows_lost.unwrap_or(0));
    }
}

#[test]
fn a_rounds_row_has_a_power_of_its_own() {
    // Rows of rms 1, 3 | 10: the prefill's rms is √5, the round's 10. Without gain, noise / (σ·n) is the scale.
    let mut session = record("");
    session.impairment.tx_normalisation = TxNormalisation::PerRequest;
    session.rounds = rounds(0, &[""]);
    let sent = [1.0, -1.0, 3.0, -3.0, 10.0, 10.0];
    let mut out = sent;
    let report = apply(&session, &streams(), &mut out, 2);
    let mut normals = [0.0; 6];
    let noise = streams().stream(KEY.ue, Purpose::Noise).starting_at(KEY.request << 32);
    fill_normals(&noise, 0, &mut normals);
    for (e, scale) in [5f64.sqrt(); 4].into_iter().chain([10.0; 2]).enumerate() {
        let expected = f64::from(sent[e]) + 0.5 * scale * normals[e];
        assert!((f64::from(out[e]) - expected).abs() < 1e-6, "element {e}: {}, expected {expected}", out[e]);
    }
    // Powers 1/5 and 9/5 on the air: their median is 1.
    assert!((report.activation_snr_db.unwrap() - 10.0 * 4f64.log10()).abs() < 1e-9);
}

#[test]
fn a_batch_gives_what_its_windows_give_alone() {
    // Windows of different lengths and damage, one after another in one tensor, and evaluated from its end.
    let d = 8;
    let record_of = |window: u64| {
        let mut record = record(["x...", "..x", "....."][window as usize % 3]);
        record.noise_key.request = window;
        record.loss_probability = 0.1;
        record.rounds = rounds(5, &["..", "!."][..window as usize % 3]);
        record.impairment.loss_unit = LOSS_UNITS[window as usize / 3 % 3];
        record.impairment.tx_normalisation = NORMALISATIONS[window as usize % 3];
        record.impairment.concealment = [Concealment::Zero, Concealment::PreviousRow][window as usize % 2];
        record
    };
    let lengths: Vec<usize> = (0..9).map(|window| 3 + window * 5 % 7).collect();
    let mut batch = tensor(lengths.iter().sum(), d);
    let mut parts: Vec<&mut [f32]> = Vec::new();
    let mut rest = &mut batch[..];
    for length in &lengths {
        let (part, later) = rest.split_at_mut(length * d);
        parts.push(part);
        rest = later;
    }
    for (window, part) in parts.into_iter().enumerate().rev() {
        let mut alone = part.to_vec();
        let report = apply(&record_of(window as u64), &streams(), part, d);
        let streams = streams();
        assert_eq!(apply(&record_of(window as u64), &streams, &mut alone, d), report);
        assert_eq!(alone, part, "window {window}");
    }
}

#[test]
fn more_rounds_than_rows_do_no_harm() {
    let mut session = record("..");
    session.rounds = rounds(2, &["!.", ".", "!."]);
    let (out, report) = received(&session, 2, 4);
    assert!(out[..4].iter().all(|y| *y == 0.0) && out[4..].iter().all(|y| *y != 0.0));
    assert_eq!((report.rows_lost, report.anything_arrived, report.activation_snr_db), (1, false, None));
}
