//! Outliers and top-k: bits and error by hand, and in a network.

use splitwave::channel::{Codec, CodecError, Concealment, Encoding, LossUnit, apply, fill_normals};
use splitwave::kernel::{Purpose, Streams};
use splitwave::network::rows::Outcome;
use splitwave::units::SimTime;

use crate::channel_concealment::record;
use crate::channel_reception::streams;
use crate::cli_support::{Place, csv_rows};
use crate::network_support::{Finished, assembly, run, simulate};

fn codec(text: &str) -> Codec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn decoded<const N: usize>(text: &str, mut values: [f32; N]) -> [f32; N] {
    codec(text).quantise(&mut values, N);
    values
}

/// Rows of a standard normal, in each row four outliers 50 times as large.
fn activations(rows: u32, d: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for row in 0..rows {
        let mut normals = vec![0.0; d];
        fill_normals(&streams().stream(row, Purpose::Test), 0, &mut normals);
        all.extend(normals.iter().enumerate().map(|(e, n)| (if e % (d / 4) == 7 { 50.0 * n } else { *n }) as f32));
    }
    all
}

fn squared_error(codec: Codec, sent: &[f32], d: usize) -> f64 {
    let mut out = sent.to_vec();
    codec.quantise(&mut out, d);
    sent.iter().zip(&out).map(|(sent, out)| (f64::from(*sent) - f64::from(*out)).powi(2)).sum()
}

#[test]
fn outliers_leave_the_scale_to_the_rest() {
    // One of eight is an outlier. 14/7 = 2 is the scale of the rest: 3 is half-way between 2 and 4, whose codes are 1 and 2.
    let sent = [-14.0, 1.0, 3.0, 2.9, 1000.0, -1.1, 9.5, 0.0];
    assert_eq!(decoded("int4+outliers=0.125", sent), [-14.0, 0.0, 4.0, 2.0, 1000.0, -2.0, 10.0, 0.0]);
    // Without, 1000/7 = 142.857 is the scale, sent as 2⁷·1143/1024 = 142.875: but for the outlier all are 0.
    assert_eq!(decoded("int4", sent), [0.0, 0.0, 0.0, 0.0, 7.0 * 142.875, 0.0, 0.0, 0.0]);
    // Half precision has no 2049, and ends at 65504.
    assert_eq!(decoded("int8+outliers=0.5", [2049.0, -1e9, 127.0, 0.4]), [2048.0, -65504.0, 127.0, 0.0]);
    // ⌈0.3·4⌉ = 2 outliers; of those of equal size the first are taken. The scale of the rest is 1/7.
    let scale = 1171.0 / 1024.0 / 8.0; // 2⁻³·1.142857 rounded up to 11 bits
    assert_eq!(decoded("int4+outliers=0.3", [1.0, -1.0, 1.0, 0.0]), [1.0, -1.0, 7.0 * scale, 0.0]);
    // All of a row may be outliers: ⌈0.9·2⌉.
    assert_eq!(decoded("int4+outliers=0.9", [0.3, 5.0]), [0.300_048_83, 5.0]);
}

#[test]
fn the_largest_travel_and_the_others_are_zero() {
    let sent = [0.5, -3.0, 2.0, 3.0, -0.25, 1.0];
    assert_eq!(decoded("f32+top-k=0.5", sent), [0.0, -3.0, 2.0, 3.0, 0.0, 0.0]);
    // Equal magnitudes: the lower index first.
    assert_eq!(decoded("f32+top-k=0.16", sent), [0.0, -3.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(decoded("f32+top-k=0.5", [1.0, -1.0, 1.0, -1.0]), [1.0, -1.0, 0.0, 0.0]);
    // A share of 0.07 of 100 is 7 values, though the product is 7.000000000000001.
    let mut hundred: Vec<f32> = (1..=100u8).map(f32::from).collect();
    codec("f32+top-k=0.07").quantise(&mut hundred, 100);
    assert_eq!(hundred.iter().filter(|y| **y != 0.0).count(), 7);
    // At least one travels, and each row has its own.
    let mut rows = [1.0, 2.0, 4.0, 3.0];
    codec("f16+top-k=1e-9").quantise(&mut rows, 2);
    assert_eq!(rows, [0.0, 2.0, 4.0, 0.0]);
    // Outliers are among them: of six, four travel, the first of them in f16. 2/7 is the scale of the other three.
    let scale = 1171.0 / 1024.0 / 4.0;
    let expected = [0.0, -3.0, 7.0 * scale, 100.0, 0.0, 3.0 * scale];
    let sent = [0.5, -3.0, 2.0, 100.0, -0.25, 1.0];
    let out = decoded("int4+outliers=0.1+top-k=0.6", [0.5, -2.0, 2.0, 100.0, -0.25, 1.0]);
    assert_eq!(out, [0.0, -7.0 * scale, 7.0 * scale, 100.0, 0.0, 3.0 * scale]);
    let largest = decoded("int4+outliers=0.3+top-k=0.6", sent);
    assert_eq!(largest, expected);
}

#[test]
fn what_is_not_a_number_is_seen() {
    let nan = f32::NAN;
    assert!(decoded("int8+outliers=0.25", [nan, 1.0, 2.0, 3.0]).iter().all(|y| y.is_nan()));
    let [a, b, c, d] = decoded("int4+top-k=0.5", [1.0, nan, 5.0, 2.0]);
    assert!(b.is_nan() && c.is_nan() && (a, d) == (0.0, 0.0));
    let [a, b, c] = decoded("f16+top-k=0.3", [f32::INFINITY, 1.0, nan]);
    assert!(c.is_nan() && (a, b) == (0.0, 0.0), "a NaN is larger than infinity");
    assert_eq!(decoded("f16+top-k=0.3", [f32::NEG_INFINITY, 1.0, 2.0]), [-65504.0, 0.0, 0.0]);
    codec("int4+outliers=0.1").quantise(&mut [], 4);
    codec("int4+outliers=0.1").quantise(&mut [1.0], 0);
}

/// d = 4096: an index is 12 bits, a mask 4096.
#[test]
fn bits_of_a_row_of_llama_2_7b() {
    for (text, bits) in [
        ("f16", 65_536),
        ("int8", 32_768 + 16),
        ("int4", 16_384 + 16),
        // 41 outliers: 41·16 and 4055·4 bits, 41·12 of positions.
        ("int4+outliers=0.01", 41 * 16 + 4055 * 4 + 41 * 12 + 16),
        ("int8+outliers=0.001", 5 * 16 + 4091 * 8 + 5 * 12 + 16),
        // 410 indices of 12 bits are more than a mask.
        ("int8+outliers=0.1", 410 * 16 + 3686 * 8 + 4096 + 16),
        ("f16+top-k=0.25", 1024 * 16 + 4096),
        ("f32+top-k=0.05", 205 * 32 + 205 * 12),
        // 341 indices of 12 bits are 4092, 342 are 4104.
        ("f16+top-k=0.083251953125", 341 * 16 + 4092),
        ("f16+top-k=0.08349609375", 342 * 16 + 4096),
        // Of the 1024 that travel, 41 are outliers: 10 bits each.
        ("int4+outliers=0.01+top-k=0.25", 41 * 16 + 983 * 4 + 4096 + 410 + 16),
        ("int4+top-k=1", 16_384 + 16),
    ] {
        assert_eq!(codec(text).payload_bits(1, 4096), bits, "{text}");
        assert_eq!(codec(text).payload_bits(64, 4096), 64 * bits, "{text}");
        let packets: u64 = (0..7).map(|k| codec(text).packet_bits(k, 7, 4096)).sum();
        assert_eq!(packets, bits, "{text}: what its packets carry");
    }
    // All of a row of two in f16, and no positions; a row of one needs none either.
    assert_eq!(codec("int4+outliers=0.9").payload_bits(1, 2), 2 * 16 + 16);
    assert_eq!(codec("f16+top-k=0.5").payload_bits(1, 1), 16);
    assert_eq!(codec("int8+outliers=0.5+top-k=0.9").payload_bits(u64::MAX, u64::MAX), u64::MAX);
    assert_eq!(codec("int8+outliers=0.5").payload_bits(3, 0), 3 * 16);
}

#[test]
fn the_error_falls_with_the_share_of_outliers_and_of_values() {
    let d = 256;
    let sent = activations(20, d);
    let errors =
        |texts: &[String]| -> Vec<f64> { texts.iter().map(|text| squared_error(codec(text), &sent, d)).collect() };
    for encoding in ["int8", "int4"] {
        let texts = [0.0, 0.004, 0.015, 0.05, 0.2, 0.6].map(|share| format!("{encoding}+outliers={share}"));
        let errors = errors(&texts);
        assert!(errors.is_sorted_by(|more, less| more > less), "{encoding}: {errors:?}");
        // Four outliers a row, 50 times as large: without them the scale, and so the error, is far smaller.
        assert!(errors[2] < errors[0] / 50.0, "{encoding}: {errors:?}");
    }
    let texts = [0.01, 0.1, 0.5, 0.9, 1.0].map(|share| format!("f16+top-k={share}"));
    assert!(errors(&texts).is_sorted_by(|more, less| more > less));
    // What is dropped is the whole error of f32, exactly.
    let mut sizes: Vec<f32> = sent[..d].iter().map(|y| y.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let dropped: f64 = sizes[..d / 2].iter().map(|y| f64::from(*y).powi(2)).sum();
    let error = squared_error(codec("f32+top-k=0.5"), &sent[..d], d);
    assert!((error / dropped - 1.0).abs() < 1e-12, "{error}, {dropped}");
}

#[test]
fn a_codec_is_what_it_reads_as() {
    for text in ["f32", "bf16", "int4+outliers=0.01", "f16+top-k=0.25", "int8+outliers=0.001+top-k=0.5"] {
        assert_eq!(codec(text).to_string(), text);
        let json = serde_json::to_string(&codec(text)).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str(&json).ok()),
            (format!("\"{text}\"").as_str(), Some(codec(text)))
        );
    }
    // All values, and no outliers, are what there is without a share.
    for text in ["int8+top-k=1", "int8+outliers=0", "int8+outliers=-0+top-k=1.0"] {
        assert_eq!((codec(text), codec(text).to_string()), (Encoding::Int8.into(), "int8".to_owned()));
    }
    assert_eq!((codec("f16+top-k=1").top_k_share(), codec("f16+top-k=0.5").top_k_share()), (None, Some(0.5)));
    for (text, said) in [
        ("", "`` is no encoding; allowed: f32, f16"),
        ("int2", "`int2` is no encoding"),
        ("INT8", "`INT8` is no encoding"),
        ("int8+", "`int8+` is no encoding"),
        ("int8+outliers", "is no encoding"),
        ("int8+outliers=", "is no encoding"),
        ("int8+outliers=0.1+outliers=0.1", "is no encoding"),
        ("int8+topk=0.1", "is no encoding"),
        ("int8+outliers=NaN", "a share of outliers of NaN is not allowed; allowed: 0 to below 1"),
        ("int8+outliers=-0.1", "a share of outliers of -0.1"),
        ("int8+outliers=1", "a share of outliers of 1 "),
        ("int8+outliers=inf", "a share of outliers of inf"),
        ("f16+outliers=0.1", "f16 has no scale that outliers could spoil; allowed with outliers: int8, int4"),
        ("f16+top-k=0", "a top-k share of 0 is not allowed; allowed: above 0, up to 1"),
        ("f16+top-k=1.0001", "a top-k share of 1.0001"),
        ("f16+top-k=NaN", "a top-k share of NaN"),
        ("int4+outliers=0.5+top-k=0.5", "a share of outliers of 0.5 with a top-k share of 0.5"),
    ] {
        let error: CodecError = text.parse::<Codec>().unwrap_err();
        assert!(error.to_string().contains(said), "{text}: {error}");
    }
}

const CLEAR: &str = "name = \"clear\"\nstop = { requests = 8 }\n[split]\n\
                     initial = { min = 1, max = 16, draw = \"per-request\" }\n[[ue]]\n\
                     workload = { rate_per_s = 1.0, prompt_tokens = 24 }\n[channel]\nreception = \"digital\"\n";

fn clear(channel: &str) -> Finished {
    run(&format!("{CLEAR}{channel}\n"))
}

/// The bits, the packets and the airtime of a request are those of its codec on rows of 4096 values.
#[test]
fn the_air_carries_what_the_codec_says() {
    for (channel, text) in [
        ("encoding = \"int4\"", "int4"),
        ("encoding = \"int4\"\noutlier_share = 0.01", "int4+outliers=0.01"),
        ("top_k_share = 0.25", "f16+top-k=0.25"),
        ("encoding = \"int8\"\noutlier_share = 0.001\ntop_k_share = 0.5", "int8+outliers=0.001+top-k=0.5"),
    ] {
        let finished = clear(channel);
        let bits = 24 * codec(text).payload_bits(1, 4096);
        for row in &finished.rows {
            assert_eq!((row.outcome, row.uplink_bits), (Outcome::Completed, Some(bits)), "{text}");
            assert_eq!(row.packets_sent, Some(bits.div_ceil(8 * 1400) as u32));
            // 4 bit/s/Hz on 20 MHz.
            assert_eq!(row.uplink_air_s, Some(SimTime::from_secs_saturating(bits as f64 / 80e6)));
        }
    }
}

/// What the model reads is what `quantise` gives, and its perplexity that of the edge's layers on it.
#[test]
fn the_model_reads_what_the_codec_gives() {
    let same = clear("encoding = \"f32\"\ntop_k_share = 1.0");
    assert!(same.rows.len() == 8 && same.rows.iter().all(|row| row.ppl == row.ppl_clean), "all of it is what was sent");
    for (channel, text) in [
        ("encoding = \"int4\"\noutlier_share = 0.02", "int4+outliers=0.02"),
        ("encoding = \"int8\"\ntop_k_share = 0.3", "int8+top-k=0.3"),
    ] {
        let assembly = assembly(&format!("{CLEAR}{channel}\n"));
        let (model, corpus) = (&assembly.inputs.model, assembly.inputs.corpus.as_ref().unwrap());
        let decoder = &model.decoder;
        for row in &simulate(&assembly, 1, 0).rows {
            let window = splitwave::control::Window { index: row.window.unwrap(), prompt_tokens: 24, output_tokens: 1 };
            let text_of = window.text(corpus, decoder.config().bos_token).unwrap();
            let split = row.split.unwrap() as usize;
            let mut hidden = decoder.run(decoder.embed(&text_of.inputs).unwrap(), 0..split).unwrap();
            let width = hidden.width();
            codec(text).quantise(hidden.values_mut(), width);
            let out = decoder.run(hidden, split..decoder.layers()).unwrap();
            let expected = text_of.score(decoder, &out).unwrap();
            assert_eq!(row.nll_sum, Some(expected.sum), "{text}, split {split}");
            assert!(row.ppl != row.ppl_clean);
        }
    }
}

/// Interleaving costs no airtime, and a request is an outage only if all of its packets are lost.
#[test]
fn interleaving_costs_no_airtime() {
    let lossy = |unit: &str, concealment: &str| {
        clear(&format!(
            "encoding = \"int8\"\nloss_probability = 0.4\ndoppler_hz = 500.0\nloss_unit = \"{unit}\"\n\
             concealment = \"{concealment}\""
        ))
    };
    let (chunk, interleaved) = (lossy("chunk", "zero"), lossy("interleaved", "zero"));
    let rescaled = lossy("interleaved", "rescale");
    let mut differ = 0;
    for ((a, b), c) in chunk.rows.iter().zip(&interleaved.rows).zip(&rescaled.rows) {
        assert_eq!((a.uplink_air_s, a.packets_lost, a.loss_bursts), (b.uplink_air_s, b.packets_lost, b.loss_bursts));
        assert_eq!((b.outcome == Outcome::Outage, b.rows_lost), (false, Some(0)));
        assert!(b.packets_lost > Some(0));
        differ += u32::from(a.ppl != b.ppl) + u32::from(b.ppl != c.ppl);
    }
    assert_eq!(differ, 16);
}

#[test]
fn shares_that_make_no_sense_are_refused() {
    let place = Place::new();
    for (channel, said) in [
        (
            "reception = \"digital\"\nencoding = \"int8\"\noutlier_share = nan",
            "`channel.outlier_share` must be a finite number",
        ),
        (
            "reception = \"digital\"\nencoding = \"int8\"\noutlier_share = -0.1",
            "`channel.outlier_share` is out of range",
        ),
        ("reception = \"digital\"\nencoding = \"int8\"\noutlier_share = 1.0", "allowed: [0, 1)"),
        ("reception = \"digital\"\nencoding = \"int8\"\noutlier_share = 2", "`channel.outlier_share` is out of range"),
        (
            "reception = \"digital\"\nencoding = \"int8\"\noutlier_share = \"0.1\"",
            "`channel.outlier_share` must be a number",
        ),
        ("reception = \"digital\"\ntop_k_share = nan", "`channel.top_k_share` must be a finite number"),
        ("reception = \"digital\"\ntop_k_share = 0.0", "allowed: (0, 1]"),
        ("reception = \"digital\"\ntop_k_share = 1.5", "`channel.top_k_share` is out of range"),
        ("reception = \"digital\"\noutlier_share = 0.1", "only what has a scale has outliers that could spoil it"),
        (
            "reception = \"digital\"\nencoding = \"bf16\"\noutlier_share = 0.1",
            "set encoding to \"int8\" or \"int4\", or leave outlier_share out",
        ),
        (
            "reception = \"digital\"\nencoding = \"int4\"\noutlier_share = 0.5\ntop_k_share = 0.25",
            "outliers are among the values that top_k_share sends",
        ),
        ("outlier_share = 0.1", "s.toml:3:17"),
        ("top_k_share = 0.1", "set reception = \"digital\", or leave top_k_share out"),
        ("loss_unit = \"interleave\"", "did you mean \"interleaved\"?"),
        ("concealment = \"average\"", "allowed: \"zero\", \"previous-row\", \"mean\", \"rescale\""),
    ] {
        place.write("s.toml", format!("name = \"a\"\n[channel]\n{channel}\n"));
        let done = place.splitwave(&["validate", "s.toml"]);
        assert!(done.code == Some(2) && done.err.contains(said), "{channel}: {}", done.err);
        assert!(done.err.contains("s.toml:"), "{channel}: {}", done.err);
    }
    // What is legal and plays no part is said.
    place.write(
        "s.toml",
        "name = \"a\"\n[channel]\nconcealment = \"rescale\"\ndecode = { concealment = \"rescale\" }\n",
    );
    let done = place.splitwave(&["validate", "s.toml"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(done.err.matches("of a lost row nothing is left to rescale").count(), 2, "{}", done.err);
}

/// Encodings side by side in a profile: the name that the command gave them, their bits, and that resuming finds them.
#[test]
fn a_profile_compares_encodings() {
    let place = Place::with("name = \"p\"\n[channel]\nreception = \"digital\"\nloss_unit = \"chunk\"\n");
    let encodings = ["f32", "int4", "int4+outliers=0.01", "f16+top-k=0.25"];
    let listed = encodings.join(",");
    let arguments =
        ["profile", "s.toml", "-o", "out", "--splits", "8", "--losses", "0", "--windows", "3", "--tokens", "16"];
    let done = place.splitwave(&[&arguments[..], &["--encodings", &listed]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let (header, rows) = csv_rows(&place.path("out/records.csv"));
    assert_eq!(header.last().map(String::as_str), Some("bits_per_token"));
    assert_eq!(rows.len(), 12);
    for (index, row) in rows.iter().enumerate() {
        let expected = encodings[index % 4];
        assert_eq!(row["encoding"], expected);
        assert_eq!(row["bits_per_token"], codec(expected).payload_bits(1, 4096).to_string());
        assert_eq!(row["ppl"] == row["ppl_clean"], expected == "f32");
    }
    let (header, points) = csv_rows(&place.path("out/table.csv"));
    assert_eq!(header.last().map(String::as_str), Some("bits_per_token"));
    assert_eq!(points.iter().map(|row| row["encoding"].as_str()).collect::<Vec<_>>(), encodings);
    assert_eq!(points[2]["bits_per_token"], "17384");
    // Half-precision's largest quarter is far from all of it: 14 to 46 % more perplexity at any split, see the scenario.
    let gain = |index: usize| points[index]["relative_ppl_gain"].parse::<f64>().unwrap();
    assert!(gain(0) == 0.0 && (-0.46..-0.14).contains(&gain(3)), "{} {}", gain(0), gain(3));

    let manifest = std::fs::read_to_string(place.path("out/manifest.json")).unwrap();
    assert!(manifest.contains(&format!("--encodings {listed}")), "{manifest}");
    let again = place.splitwave(&[&arguments[..], &["--encodings", &listed]].concat());
    assert!(again.code == Some(0) && again.err.contains("already there with 12 records"), "{}", again.err);
    place.splitwave(&[&arguments[..], &["--encodings", "f32,int4"]].concat()).says(2, &["there is a profile already"]);
    // Analog reception stands beside them once.
    let mixed = ["--encodings", "int8,int4", "--receptions", "raw,digital", "--noises", "0", "--force"];
    let done = place.splitwave(&[&arguments[..], &mixed].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let rows = csv_rows(&place.path("out/records.csv")).1;
    let first: Vec<_> =
        rows[..3].iter().map(|row| (row["encoding"].as_str(), row["bits_per_token"].as_str())).collect();
    assert_eq!(first, [("", ""), ("int8", "32784"), ("int4", "16400")]);

    for (options, said) in [
        (&["--encodings", "int9"][..], "`int9` is no encoding; allowed: f32"),
        (&["--encodings", "f16+outliers=0.1"], "f16 has no scale"),
        (&["--encodings", "int8,int8+top-k=1"], "a value stands twice in"),
        (&["--encodings", "int8", "--receptions", "raw"], "--encodings plays no part"),
    ] {
        let done = place.splitwave(&[&arguments[..], options].concat());
        assert!(done.code == Some(2) && done.err.contains(said), "{options:?}: {}", done.err);
    }
}

/// Another seed, another noise: the codec has none.
#[test]
fn the_codec_draws_nothing() {
    let quantised = |seed| {
        let mut lossless = record(LossUnit::TokenRow, Concealment::Zero, "..");
        lossless.impairment.codec = codec("int4+outliers=0.05");
        let mut rows = activations(3, 64);
        apply(&lossless, &Streams::new(seed, 0), &mut rows, 64);
        rows
    };
    let mut expected = activations(3, 64);
    codec("int4+outliers=0.05").quantise(&mut expected, 64);
    assert_eq!((quantised(1), quantised(2)), (expected.clone(), expected));
}
