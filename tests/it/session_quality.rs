//! Perplexity of sessions against the model itself, and what the summary makes of them.

use std::collections::BTreeMap;

use splitwave::channel::{
    Concealment, Encoding, Impairment, NoiseKey, Packets, Reception, ReceptionRecord, RoundReception,
};
use splitwave::control::{Window, evaluate};
use splitwave::kernel::Streams;
use splitwave::llm::{Hidden, Nll};
use splitwave::network::ports::{Conditions, Crossing, Delivery, QualityRequest};
use splitwave::network::rows::Outcome;

use crate::cli_support::{Place, csv_rows, summary_of_all};
use crate::network_support::{assembly, simulate};

/// Sessions of 6 tokens behind prompts of 20 through the built-in model.
fn sessions(mode: &str, channel: &str) -> String {
    format!(
        "name = \"sessions\"\nstop = {{ requests = 12 }}\nduration_s = 600.0\nservice.mode = \"{mode}\"\n[split]\n\
         initial = {{ min = 1, max = 16, draw = \"per-request\" }}\n[channel]\n{channel}\n[[ue]]\ncount = 2\n\
         workload = {{ rate_per_s = 1.0, prompt_tokens = 20, output_tokens = 6 }}\n"
    )
}

/// Row `k` predicts token `k + 1` of BOS and the window: 25 tokens, of which the last six are scored.
#[test]
fn a_clear_channel_scores_the_continuation() {
    for (mode, channel) in [
        ("split", "fading = \"none\""),
        ("split", "reception = \"digital\"\nencoding = \"f32\""),
        ("edge-only", "reception = \"digital\""),
        ("device-only", ""),
    ] {
        let assembly = assembly(&sessions(mode, channel));
        let finished = simulate(&assembly, 1, 0);
        let decoder = &assembly.inputs.model.decoder;
        let text = assembly.inputs.corpus.as_ref().unwrap().tokens();
        assert_eq!(finished.rows.len(), 12);
        for row in &finished.rows {
            let window = &text[25 * row.window.unwrap() as usize..][..25];
            let inputs: Vec<u32> =
                std::iter::once(decoder.config().bos_token.unwrap()).chain(window[..24].iter().copied()).collect();
            let hidden = decoder.run(decoder.embed(&inputs).unwrap(), 0..16).unwrap();
            let all = decoder.nll(&hidden, window).unwrap();
            let prompt = decoder.nll(&hidden, &window[..19]).unwrap();
            assert_eq!((row.tokens_scored, row.ppl), (Some(6), row.ppl_clean), "{mode}, {channel}");
            assert!((row.nll_sum.unwrap() - (all.sum - prompt.sum)).abs() < 1e-9, "{mode}: {row:#?}");
            assert_eq!(all.tokens - prompt.tokens, 6);
        }
    }
}

/// The losses of one session, done to the hidden states by hand.
#[test]
fn lost_rows_stay_lost_for_the_rest_of_the_session() {
    let assembly = assembly(&sessions("split", "reception = \"digital\"\nencoding = \"f32\""));
    let (model, corpus) = (&assembly.inputs.model, assembly.inputs.corpus.as_ref().unwrap());
    let (decoder, width) = (&model.decoder, 128);
    let window = Window { index: 11, prompt_tokens: 20, output_tokens: 6 };
    let text = window.text(corpus, decoder.config().bos_token).unwrap();
    let clean = decoder.run(decoder.embed(&text.inputs).unwrap(), 0..4).unwrap();
    let score = |hidden: Hidden| -> Nll { text.score(decoder, &decoder.run(hidden, 4..16).unwrap()).unwrap() };
    let unharmed = score(clean.clone());

    // Packets of one row: 3 and 4 of the prompt are lost, rounds 2, 3 and 5 conceal theirs.
    let (prompt_lost, rounds_lost) = ([3, 4], [2, 3, 5]);
    let mut packets = Packets::with_capacity(20);
    (0..20).for_each(|k| packets.push(1.0, prompt_lost.contains(&k)));
    let rounds = (1..=5).map(|round| {
        let mut packets = Packets::default();
        packets.push(1.0, rounds_lost.contains(&round));
        RoundReception { packets, arrived: !rounds_lost.contains(&round) }
    });
    let rounds: Vec<RoundReception> = rounds.collect();
    let mut results = Vec::new();
    for (concealment, round_concealment) in [
        (Concealment::Zero, Concealment::PreviousRow),
        (Concealment::Zero, Concealment::Zero),
        (Concealment::PreviousRow, Concealment::PreviousRow),
        (Concealment::Mean, Concealment::Mean),
    ] {
        let mut received = clean.clone();
        let rows = received.values_mut();
        // The mean is of the prompt's rows that arrived; a round's, of the rows that the edge has by then.
        let mut conceal = |row: usize, how: Concealment| match how {
            Concealment::Zero | Concealment::Rescale => rows[row * width..(row + 1) * width].fill(0.0),
            Concealment::PreviousRow => rows.copy_within((row - 1) * width..row * width, row * width),
            Concealment::Mean => {
                let known = |other: &usize| row >= 20 || !prompt_lost.contains(other);
                let known: Vec<usize> = (0..row.max(20)).filter(known).collect();
                for column in 0..width {
                    let sum: f64 = known.iter().map(|other| f64::from(rows[other * width + column])).sum();
                    rows[row * width + column] = (sum / known.len() as f64) as f32;
                }
            }
        };
        for row in prompt_lost {
            conceal(row, concealment);
        }
        for round in rounds_lost {
            conceal(20 + round - 1, round_concealment);
        }
        let expected = score(received);
        let impairment = Impairment {
            reception: Reception::Digital,
            codec: Encoding::F32.into(),
            concealment,
            round_concealment,
            ..Impairment::default()
        };
        let reception = ReceptionRecord {
            impairment,
            noise_std: 0.0,
            loss_probability: 0.2,
            noise_key: NoiseKey::default(),
            packets: packets.clone(),
            rounds: rounds.clone(),
        };
        let request = QualityRequest {
            window: Some(11),
            prompt_tokens: 20,
            output_tokens: 6,
            delivery: Delivery::Tensor(Box::new(Crossing { split: 4, reception })),
            conditions: Conditions { noise_std: 0.0, rayleigh_scale: 1.0, gain_threshold: 0.1, loss_probability: 0.2 },
        };
        let quality = evaluate(model, corpus, &Streams::new(1, 0), &request, unharmed).unwrap();
        assert_eq!((quality.nll_sum, quality.tokens_scored), (Some(expected.sum), Some(6)));
        assert_eq!(quality.ppl_clean, Some(unharmed.perplexity()));
        assert!(expected.sum != unharmed.sum);
        results.push(expected.sum);
    }
    results.dedup();
    assert_eq!(results.len(), 4, "each concealment leaves another trace");
}

/// In a whole run the losses are those of the air, and an outage scores chance on T tokens.
#[test]
fn a_lossy_run_scores_every_session() {
    let assembly = assembly(&sessions(
        "split",
        "loss_probability = 0.6\ndoppler_hz = 200.0\nnoise_std = 0.2\ndecode = { deadline_ms = 20.0 }",
    ));
    let finished = simulate(&assembly, 1, 0);
    let mut concealed = 0;
    for row in &finished.rows {
        match row.outcome {
            Outcome::Completed => {
                assert_eq!(row.tokens_scored, Some(6));
                assert!(row.ppl != row.ppl_clean);
                concealed += row.rows_lost.unwrap();
            }
            outcome => {
                assert_eq!((outcome, row.tokens_scored), (Outcome::Outage, Some(6)));
                assert!((row.ppl.unwrap() - 2048.0).abs() < 1e-6, "{row:#?}");
            }
        }
    }
    assert!(concealed > 12, "{concealed}");
}

/// The same bytes at any number of threads, and a summary that says what its rows say.
#[test]
fn threads_change_nothing_and_the_summary_adds_up() {
    let text = sessions("split", "loss_probability = 0.1\nnoise_std = 0.5").replace("requests = 12", "requests = 60");
    let mut files: Vec<BTreeMap<&str, Vec<u8>>> = Vec::new();
    for threads in ["1", "3"] {
        let place = Place::with(&text);
        let done = place.splitwave(&["run", "s.toml", "--threads", threads, "--quiet"]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        let run = place.finished("results/sessions").remove(0);
        let read = |name: &'static str| (name, std::fs::read(run.join(name)).unwrap());
        files.push(["requests.csv", "decisions.csv", "summary.csv"].into_iter().map(read).collect());
        let (_, rows) = csv_rows(&run.join("requests.csv"));
        let mut tpots: Vec<f64> = rows.iter().filter_map(|row| row["tpot_s"].parse().ok()).collect();
        tpots.sort_by(f64::total_cmp);
        assert!(tpots.len() > 50);
        let all = summary_of_all(&run);
        let value = |column: &str| all[column].parse::<f64>().unwrap();
        let mean = tpots.iter().sum::<f64>() / tpots.len() as f64;
        assert!((value("tpot_mean_s") / mean - 1.0).abs() < 1e-12);
        for (column, q) in [("tpot_median_s", 0.5), ("tpot_p95_s", 0.95), ("tpot_p99_s", 0.99)] {
            let exact = tpots[(q * tpots.len() as f64).ceil() as usize - 1];
            assert!((value(column) / exact - 1.0).abs() < 1.1e-3, "{column}: {} for {exact}", value(column));
        }
        // Rows sent: 20 of the prompt and five more, of completed sessions; an outage ends with its prompt.
        let whole = |row: &&BTreeMap<String, String>| row["outcome"] == "completed";
        let sent: usize = rows.iter().map(|row| if whole(&row) { 25 } else { 20 }).sum();
        let lost: u32 = rows.iter().map(|row| row["rows_lost"].parse::<u32>().unwrap()).sum();
        assert!((value("row_loss_rate") - f64::from(lost) / sent as f64).abs() < 1e-12);
    }
    assert_eq!(files[0], files[1]);
}
