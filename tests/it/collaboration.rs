//! Collaborative generation: whose tokens, what is sent, what it takes, and what happens when
//! nobody answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use splitwave::control::collaboration::{Answer, Device, ModelTexts, Perturbation, Sureness, Tellers, acceptance};
use splitwave::kernel::Streams;
use splitwave::llm::{BUILTIN, Corpus, LoadedModel, Sampling, Segmentation};
use splitwave::network::ports::ServiceMode;
use splitwave::network::rows::{Outcome, TokenRow};
use splitwave::network::text::{TextJob, TextSource, TokenSource};
use splitwave::run::runner::evaluation_pool;
use splitwave::units::SimTime;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::network_support::{Finished, Row, assembly, simulate};

const PROMPT: u32 = 12;
const OUTPUT: u32 = 8;
/// Bits of an id of LLaMA-2's 32,000 tokens.
const ID_BITS: u64 = 15;

/// Six phones whose requests arrive by chance, over a radio that loses nothing unless told to.
fn scenario(mode: &str, collaboration: &str, more: &str) -> String {
    format!(
        "name = \"together\"
duration_s = 10.0
[service]
mode = \"{mode}\"
{}
[collaboration]
{collaboration}
[controller]
kind = \"fixed\"
[split]
initial = 4
[channel]
reception = \"digital\"
doppler_hz = 20.0
[[ue]]
name = \"phone\"
count = 6
workload = {{ kind = \"poisson\", rate_per_s = 0.3, prompt_tokens = {PROMPT}, output_tokens = {OUTPUT} }}
[edge]
device = \"a100-80gb\"
{more}
",
        if matches!(mode, "split" | "device-only" | "edge-only") { "text = \"generated\"" } else { "" }
    )
}

fn run(mode: &str, collaboration: &str, more: &str) -> Finished {
    let assembly = assembly(&scenario(mode, collaboration, more));
    let finished = simulate(&assembly, 1, 0);
    check(assembly.network.mode, &finished);
    finished
}

/// What holds for every run with generated text.
fn check(mode: ServiceMode, finished: &Finished) {
    let by_outcome: usize = Outcome::ALL.iter().map(|&outcome| finished.count(outcome)).sum();
    assert_eq!((by_outcome, finished.totals.progress.arrived), (finished.rows.len(), finished.rows.len() as u64));
    let mut tokens: BTreeMap<u64, Vec<&TokenRow>> = BTreeMap::new();
    for token in &finished.tokens {
        tokens.entry(token.request_id).or_default().push(token);
    }
    for row in &finished.rows {
        let own = tokens.remove(&row.request_id).unwrap_or_default();
        assert!(own.iter().map(|token| token.position).eq(0..own.len() as u32), "positions");
        let of = |source: &str| own.iter().filter(|token| token.source == source).count() as u32;
        let counts = [row.ue_tokens, row.edge_tokens, row.fallback_tokens];
        assert!(counts == ["ue", "edge", "fallback"].map(|source| Some(of(source))) || own.is_empty(), "{row:#?}");
        if row.outcome != Outcome::Completed {
            continue;
        }
        assert_eq!(row.e2e_s, Some(row.spent()), "phases: {row:#?}");
        assert_eq!(own.len(), row.output_tokens as usize);
        if let Some(nll) = row.nll_sum {
            let sum: f64 = own.iter().filter_map(|token| token.logprob_llm).sum();
            assert!((nll + sum).abs() < 1e-9, "{nll} and {sum}");
            let agreements = own.iter().filter(|token| token.token == token.llm_token).count();
            assert_eq!(row.llm_agreements, Some(agreements as u32));
            assert!(row.ppl.is_some_and(|ppl| (ppl / (nll / own.len() as f64).exp() - 1.0).abs() < 1e-12));
        }
        if mode.method().is_some() {
            let bits: u64 = own.iter().filter_map(|token| token.uplink_bits).sum();
            // What is sent unasked and not asked for may still be under way.
            assert!(row.uplink_bits.unwrap_or(0) >= bits, "{row:#?}");
            assert!(own.is_sorted_by_key(|token| token.time_s));
            let first = own[0].time_s.map(|at| at - row.arrival_s);
            assert_eq!((row.ttft_s, own[own.len() - 1].time_s), (first, row.e2e_s.map(|e2e| row.arrival_s + e2e)));
            let asked = own.iter().filter(|token| token.source != "ue").count() as u32;
            assert!(row.edge_asks <= Some(asked), "{row:#?}");
        }
    }
    assert!(tokens.is_empty(), "tokens of no request");
}

/// The texts by request, as ids.
fn texts(finished: &Finished) -> BTreeMap<u64, Vec<u32>> {
    let mut texts: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for token in &finished.tokens {
        texts.entry(token.request_id).or_default().push(token.token.expect("a model"));
    }
    texts
}

fn column<T>(finished: &Finished, value: impl Fn(&Row) -> T) -> Vec<T> {
    finished.by_arrival().iter().map(value).collect()
}

#[test]
fn a_threshold_below_all_scores_is_device_only_and_one_above_is_edge_only() {
    let alone = run("device-only", "", "");
    let edge = run("edge-only", "", "");
    assert!(alone.rows.len() > 10 && texts(&alone) != texts(&edge));
    for scorer in ["reward", "max-softmax", "perturbation"] {
        let never = run("hybrid-reward", &format!("scorer = \"{scorer}\"\nthreshold = \"-inf\""), "");
        assert_eq!(texts(&never), texts(&alone), "{scorer}");
        // The same passes, one after the other: to the nanosecond.
        assert_eq!(column(&never, |row| row.e2e_s), column(&alone, |row| row.e2e_s));
        assert_eq!(
            column(&never, |row| row.ue_energy_j.map(f32_of)),
            column(&alone, |row| row.ue_energy_j.map(f32_of))
        );
        assert_eq!(column(&never, |row| (row.nll_sum, row.uplink_bits)), column(&alone, |row| (row.nll_sum, None)));
    }
    let always = run("hybrid-reward", "scorer = \"max-softmax\"\nthreshold = \"inf\"", "");
    assert_eq!(texts(&always), texts(&edge));
    assert_eq!(column(&always, |row| row.nll_sum), column(&edge, |row| row.nll_sum));
    let routed = run("query-router", "scorer = \"max-softmax\"\nthreshold = \"inf\"", "");
    assert_eq!(texts(&routed), texts(&edge));
    let stays = run("query-router", "scorer = \"max-softmax\"\nthreshold = \"-inf\"", "");
    assert_eq!((texts(&stays), column(&stays, |row| row.e2e_s)), (texts(&alone), column(&alone, |row| row.e2e_s)));
    // u <= 1 keeps every token.
    let sure = run("hybrid-uncertainty", "threshold = 1.0", "");
    assert_eq!(texts(&sure), texts(&alone));
}

/// Sums of passes in another order.
fn f32_of(value: f64) -> f32 {
    value as f32
}

/// A split over a radio that loses nothing is the large model in two parts.
#[test]
fn a_lossless_split_tells_what_the_edge_tells() {
    let f32_rows = "[channel.decode]\ndelivery = \"am\"";
    let text =
        scenario("split", "", "").replace("reception = \"digital\"", "reception = \"digital\"\nencoding = \"f32\"");
    let text = text.replace("[[ue]]", &format!("{f32_rows}\n[[ue]]"));
    let split = simulate(&assembly(&text), 1, 0);
    check(ServiceMode::Split, &split);
    assert_eq!(texts(&split), texts(&run("edge-only", "", "")));
}

/// Every id crosses once: the prompt's S; the T - 1 questions behind a token of the edge's own are a message of 15 bits
/// each that brings nothing new. A router's edge goes on by itself after the prompt.
#[test]
fn ids_are_billed_once() {
    let always = run("hybrid-reward", "scorer = \"max-softmax\"\nthreshold = \"inf\"", "");
    assert!(always.rows.iter().all(|row| row.uplink_bits == Some(u64::from(PROMPT + OUTPUT - 1) * ID_BITS)));
    assert!(always.rows.iter().all(|row| row.edge_asks == Some(OUTPUT)));
    assert!(always.rows.iter().all(|row| row.downlink_bits == Some(u64::from(OUTPUT) * ID_BITS)));
    let routed = run("query-router", "scorer = \"max-softmax\"\nthreshold = \"inf\"", "");
    assert!(routed.rows.iter().all(|row| row.uplink_bits == Some(u64::from(PROMPT) * ID_BITS)));
    assert!(routed.rows.iter().all(|row| row.edge_asks == Some(1)));
    // In between: the prompt and all of the UE's own tokens that stand before the last question.
    let some = run("hybrid-reward", "scorer = \"max-softmax\"\nthreshold = 0.2", "");
    let mut mixed = 0;
    for row in &some.rows {
        let own: Vec<_> = some.tokens.iter().filter(|token| token.request_id == row.request_id).collect();
        let last = own.iter().rposition(|token| token.source == "edge");
        let before = last.map(|last| own[..last].iter().filter(|token| token.source == "ue").count() as u64);
        let twice = own.windows(2).filter(|pair| pair.iter().all(|token| token.source == "edge")).count() as u64;
        assert_eq!(row.uplink_bits, before.map(|ids| (u64::from(PROMPT) + ids + twice) * ID_BITS), "{row:#?}");
        mixed += u32::from(row.edge_tokens > Some(0) && row.ue_tokens > Some(0));
    }
    assert!(mixed > 5);
}

/// k(8 + ι), k = V for the whole distribution: 736,000 bits of LLaMA-2's vocabulary, 690 of 30 entries
/// (U-HLM, CU-HLM).
#[test]
fn distributions_take_what_the_papers_say() {
    for (top_k, bits) in [("", 736_000), ("\ntop_k = 30", 690)] {
        let judged = run("hybrid-uncertainty", &format!("threshold = -1.0{top_k}"), "");
        for row in &judged.rows {
            assert_eq!(row.uplink_bits, Some(u64::from(OUTPUT) * bits + u64::from(PROMPT) * ID_BITS));
            assert_eq!((row.edge_tokens, row.ue_tokens), (Some(OUTPUT), Some(0)));
        }
    }
}

/// Each position's state crosses once, 4096 values in f16; a naive split sends the whole prefix for each
/// token.
#[test]
fn states_are_sent_once() {
    const ROW_BITS: u64 = 4096 * 16;
    let all = run("early-exit", "threshold = \"inf\"\nscorer = \"max-softmax\"", "");
    let (prompt, output) = (u64::from(PROMPT), u64::from(OUTPUT));
    let once = (prompt + output - 1) * ROW_BITS;
    let naive: u64 = (0..output).map(|t| (prompt + t) * ROW_BITS).sum();
    assert!(naive > 6 * once);
    for row in &all.rows {
        assert_eq!((row.uplink_bits, row.edge_tokens), (Some(once), Some(OUTPUT)), "{row:#?}");
    }
    // The same states cross a split behind layer 8, once each and in f16: the same texts.
    let split = scenario("split", "", "").replace("initial = 4", "initial = 8");
    let split = split.replace("[[ue]]", "[channel.decode]\ndelivery = \"am\"\n[[ue]]");
    assert_eq!(
        texts(&all),
        texts(&simulate(&assembly(&split.replace("doppler_hz", "encoding = \"f16\"\ndoppler_hz")), 1, 0))
    );
    // Alone it never waits for what it sends beside, and never sends more than it has computed.
    let alone = run("early-exit", "threshold = \"-inf\"\nscorer = \"max-softmax\"", "");
    for row in &alone.rows {
        assert_eq!((row.uplink_wait_s, row.uplink_air_s, row.ue_tokens), (None, None, Some(OUTPUT)), "{row:#?}");
        assert!(row.uplink_bits <= Some(once) && row.tx_energy_j > Some(0.0), "{row:#?}");
    }
}

#[test]
fn without_an_edge_the_ues_own_tokens_stand() {
    let alone = texts(&run("device-only", "", ""));
    let dead = |mode: &str, more: &str| {
        let text = scenario(mode, "scorer = \"max-softmax\"\nthreshold = \"inf\"", more);
        // One packet in 10⁹ arrives.
        let text = text.replace("doppler_hz = 20.0", "doppler_hz = 20.0\nloss_probability = 0.999999999");
        let finished = simulate(&assembly(&text), 1, 0);
        check(assembly(&text).network.mode, &finished);
        finished
    };
    for mode in ["hybrid-reward", "query-router"] {
        let lost = dead(mode, "");
        assert_eq!((texts(&lost), lost.count(Outcome::Completed)), (alone.clone(), lost.rows.len()), "{mode}");
        assert!(lost.rows.iter().all(|row| row.fallback_tokens == Some(OUTPUT) && row.edge_flop == Some(0.0)));
    }
    let exits = dead("early-exit", "");
    assert!(exits.rows.iter().all(|row| row.fallback_tokens == Some(OUTPUT) && row.outcome == Outcome::Completed));
}

/// An answer takes at least the edge's pass and 5 ms back: 50 ms are enough, 10 are not.
#[test]
fn a_late_answer_counts_for_nothing() {
    let alone = texts(&run("device-only", "", ""));
    for mode in ["hybrid-reward", "query-router"] {
        for discipline in ["fifo", "ps", "batch"] {
            let edge = format!("discipline = \"{discipline}\"");
            let late = run(mode, "scorer = \"max-softmax\"\nthreshold = \"inf\"\nanswer_deadline_ms = 10.0", &edge);
            assert_eq!(texts(&late), alone, "{mode}, {discipline}");
            let deadline = SimTime::from_secs_saturating(0.01);
            let asked = late.tokens.iter().filter(|token| token.wait_s.is_some());
            assert!(asked.clone().count() > 0 && asked.clone().all(|token| token.wait_s == Some(deadline)));
            let (waiting, busy) = (late.series.last(), late.totals.edge_utilisation);
            assert!(waiting.is_none_or(|row| row.edge_queue == 0), "{waiting:?} {busy:?}");
        }
    }
}

/// Bytes of a run don't depend on who computes the texts, nor on what is asked in between.
#[test]
fn scores_are_the_same_whoever_asks() {
    let free = run("hybrid-reward", "scorer = \"entropy\"\nthreshold = \"-inf\"", "");
    let first = |finished: &Finished| -> BTreeMap<u64, Option<f64>> {
        let first = finished.tokens.iter().filter(|token| token.position == 0);
        first.map(|token| (token.request_id, token.score)).collect()
    };
    let bound = run("hybrid-reward", "scorer = \"entropy\"\nthreshold = \"inf\"", "");
    assert_eq!(first(&free), first(&bound));
}

/// Every kind of edge, radio and haste: nothing is lost, and phases add up. Scores are draws, so no model runs.
#[test]
fn phases_add_up_whatever_happens() {
    let radios = [
        "",
        "loss_probability = 0.4",
        "kind = \"cellular\"\nharq = { max_transmissions = 3 }",
        "loss_probability = 0.3\nharq = { max_transmissions = 2 }",
    ];
    let mut seen = [0usize; 3];
    for mode in ["hybrid-reward", "early-exit", "query-router"] {
        for radio in radios {
            for (edge, haste) in [("fifo", 1000.0), ("ps", 60.0), ("batch", 60.0), ("fifo", 60.0), ("batch", 1000.0)] {
                let table = format!("scorer = \"random\"\nthreshold = 0.5\nanswer_deadline_ms = {haste}");
                let text = scenario(mode, &table, &format!("discipline = \"{edge}\"\n[quality]\nsource = \"none\""));
                let text = text.replace("doppler_hz = 20.0", &format!("doppler_hz = 20.0\n{radio}"));
                let moving = radio.contains("cellular");
                let group = if moving { "deadline_ms = 1500.0\nbattery_j = 30.0\n" } else { "deadline_ms = 1500.0\n" };
                let walk = "\n[ue.mobility]\nkind = \"random-waypoint\"\n";
                let text = text.replace("workload =", &format!("{group}workload ="));
                let text = if moving { text.replace("[edge]", &format!("{walk}[edge]")) } else { text };
                let text = text.replace("device = \"a100-80gb\"", "device = \"l4\"");
                let assembly = assembly(&text);
                let finished = simulate(&assembly, 1, 0);
                check(assembly.network.mode, &finished);
                for token in &finished.tokens {
                    seen[["ue", "edge", "fallback"].iter().position(|source| *source == token.source).unwrap()] += 1;
                }
                let half = finished.tokens.iter().filter(|token| token.score.is_some()).count();
                let asked = finished.tokens.iter().filter(|token| token.score < token.threshold).count();
                // Draws, so about half of them; a router draws one of 6 to 30 requests only.
                assert!(mode == "query-router" || asked * 3 > half && asked * 3 < 2 * half, "{asked} of {half}");
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 500), "{seen:?}");
}

/// U-HLM with nothing skipped: the first tokens of 3,000 requests for one prompt, judged by the edge, are distributed as
/// the large model's, at α = 0.1 %; those that the small model proposes are not.
#[test]
fn judged_tokens_are_the_large_models() {
    const PROMPT: u32 = 4;
    let (llm, small) = (Arc::new(LoadedModel::builtin().unwrap()), Arc::new(LoadedModel::builtin_small().unwrap()));
    let vocabulary = llm.decoder.config().vocab;
    let corpus = Arc::new(Corpus::open(BUILTIN, &llm.tokenizer, vocabulary, Segmentation::Tokens).unwrap());
    let tellers = Tellers {
        device: Device::Small(small),
        llm: llm.clone(),
        sampling: Sampling { temperature: 1.0, ..Sampling::default() },
        sureness: Sureness::Uncertainty(Perturbation::default()),
        answer: Answer::Judged { entries: None, bits: 52 },
        corpus: corpus.clone(),
        streams: Streams::new(1, 0),
    };
    let mut texts = ModelTexts::new(tellers, evaluation_pool(2).unwrap(), Arc::default());
    let mut inputs = vec![llm.decoder.config().bos_token.unwrap()];
    inputs.extend_from_slice(&corpus.window(7, PROMPT as usize).unwrap()[..PROMPT as usize - 1]);
    let hidden = llm.decoder.run(llm.decoder.embed(&inputs).unwrap(), 0..llm.decoder.layers()).unwrap();
    let logits = llm.decoder.logits(&hidden).unwrap();
    let y = acceptance::softmax(&logits[logits.len() - vocabulary..], 1.0);

    let mut first = |source: TokenSource| -> Vec<u64> {
        let mut counts = vec![0; vocabulary];
        let job = |request| TextJob {
            ue: 3,
            request,
            window: Some(7),
            prompt_tokens: PROMPT,
            output_tokens: 1,
            crossing: None,
        };
        let open: Vec<_> = (0..3000).map(|request| texts.open(job(request))).collect();
        for &text in &open {
            texts.submit(text);
            texts.settle(text, source);
            texts.close(text);
        }
        for text in open {
            counts[texts.finish(text).unwrap()[0].token as usize] += 1;
        }
        counts
    };
    let chi_square = |counts: &[u64]| {
        let n: u64 = counts.iter().sum();
        let often = |token: &usize| y[*token] * n as f64 >= 10.0;
        let (common, rare): (Vec<usize>, Vec<usize>) = (0..vocabulary).partition(often);
        let cell = |tokens: &[usize]| {
            let expected = n as f64 * tokens.iter().map(|&token| y[token]).sum::<f64>();
            let seen: u64 = tokens.iter().map(|&token| counts[token]).sum();
            (seen as f64 - expected).powi(2) / expected
        };
        let sum: f64 = common.iter().map(|&token| cell(&[token])).sum::<f64>() + cell(&rare);
        (sum, ChiSquared::new(common.len() as f64).unwrap().inverse_cdf(0.999))
    };
    let (judged, most) = chi_square(&first(TokenSource::Edge));
    assert!(judged < most, "{judged} is above {most}");
    let (proposed, most) = chi_square(&first(TokenSource::Ue));
    assert!(proposed > 2.0 * most, "{proposed} and {most}");
}

/// A batch runs on without a request that has given up; what it computed need not be computed again: with every answer
/// late, the edge has read each input about once, not the whole text for each question.
#[test]
fn what_a_batch_computed_in_vain_is_there_the_next_time() {
    let table = "scorer = \"random\"\nthreshold = 1.0\nanswer_deadline_ms = 12.0";
    let late = run("hybrid-reward", table, "discipline = \"batch\"\nmax_wait_ms = 0.0\n[quality]\nsource = \"none\"");
    let row_flop = 2.0 * 6.6e9;
    for row in &late.rows {
        assert_eq!(row.fallback_tokens, Some(OUTPUT));
        let rows = row.edge_flop.unwrap_or(0.0) / row_flop;
        // 12 + 7 inputs; some passes begin before the one before has ended.
        assert!(rows < 1.6 * f64::from(PROMPT + OUTPUT - 1), "{rows} rows: {row:#?}");
    }
}

/// A router's first token 200 ms away is no answer within 150 ms, however many follow it; and of a request that fails on
/// the way only what had come is told.
#[test]
fn a_routers_tokens_count_when_they_arrive() {
    let far = |deadlines: &str, latency: &str| {
        let table = "scorer = \"random\"\nthreshold = 1.0\nanswer_deadline_ms = 150.0";
        let text = scenario("query-router", table, &format!("[quality]\nsource = \"none\"\n[radio]\n{latency}"));
        let text = text.replace("workload =", &format!("{deadlines}\nworkload ="));
        let finished = simulate(&assembly(&text), 1, 0);
        check(ServiceMode::QueryRouter, &finished);
        finished
    };
    let lost = far("", "downlink_latency_ms = 200.0");
    assert!(lost.rows.iter().all(|row| row.fallback_tokens == Some(OUTPUT) && row.outcome == Outcome::Completed));
    let cut = far("deadline_ms = 140.0", "downlink_latency_ms = 60.0");
    assert!(cut.rows.iter().any(|row| row.outcome == Outcome::Timeout && row.edge_tokens > Some(0)));
    for token in &cut.tokens {
        let row = cut.rows.iter().find(|row| row.request_id == token.request_id).unwrap();
        assert!(token.time_s <= Some(row.arrival_s + row.spent()), "{token:?} of {row:#?}");
    }
}

/// Prompt and text fill the context to its last position.
#[test]
fn texts_may_fill_the_context() {
    for mode in ["early-exit", "split", "hybrid-reward"] {
        let text =
            scenario(mode, "scorer = \"max-softmax\"", "").replace("duration_s", "stop.requests = 1\nduration_s");
        let text = text.replace("prompt_tokens = 12, output_tokens = 8", "prompt_tokens = 505, output_tokens = 8");
        let finished = simulate(&assembly(&text), 1, 0);
        assert_eq!((finished.count(Outcome::Completed), finished.tokens.len()), (1, 8), "{mode}");
    }
}
