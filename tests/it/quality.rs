//! Where perplexity comes from, and the yardsticks that read a table: what a row
//! says against the model, the corpus and the table themselves.

use splitwave::control::{BUILTIN_TABLE, QualityTable};
use splitwave::network::costs::ue_cost_share;
use splitwave::network::rows::Outcome;

use crate::network_support::{Finished, Row, assembly, run, simulate};

/// Thirty prompts over a channel without noise and loss, but for what `channel` says.
fn clear(service: &str, channel: &str) -> Finished {
    run(&format!(
        "name = \"clear\"\nstop = {{ requests = 12 }}\n[service]\nmode = \"{service}\"\n[split]\n\
         initial = {{ min = 1, max = 16, draw = \"per-request\" }}\n[channel]\n{channel}\n\
         [[ue]]\nworkload = {{ rate_per_s = 1.0, prompt_tokens = 24 }}\n"
    ))
}

#[test]
fn a_clear_channel_changes_no_bit() {
    for (service, channel) in [
        ("split", "reception = \"equalised\"\nfading = \"none\""),
        ("split", "reception = \"equalised\"\nfading = \"rayleigh\""),
        ("split", "reception = \"digital\"\nencoding = \"f32\""),
        ("edge-only", "reception = \"digital\""),
        ("device-only", "loss_probability = 0.3"),
    ] {
        let finished = clear(service, channel);
        assert_eq!(finished.rows.len(), 12);
        for row in &finished.rows {
            assert_eq!(row.ppl, row.ppl_clean, "{service}, {channel}: {row:#?}");
            assert_eq!(row.tokens_scored, Some(24));
        }
    }
}

#[test]
fn half_precision_is_nearly_clear_and_a_raw_gain_is_not() {
    for row in &clear("split", "reception = \"digital\"\nencoding = \"f16\"").rows {
        let ratio = row.ppl.unwrap() / row.ppl_clean.unwrap();
        assert!(ratio != 1.0 && (ratio - 1.0).abs() < 0.01, "{row:#?}");
    }
    let raw = clear("split", "reception = \"raw\"");
    assert!(raw.rows.iter().all(|row| row.ppl != row.ppl_clean));
}

#[test]
fn sentences_bring_their_own_lengths() {
    let text = "name = \"sentences\"\nstop = { requests = 20 }\n[model]\nwindow = \"sentence\"\n[[ue]]\n\
                workload = { rate_per_s = 1.0, prompt_tokens = 64 }\n";
    let assembly = assembly(text);
    let corpus = assembly.inputs.corpus.as_ref().unwrap();
    let finished = simulate(&assembly, 1, 0);
    let mut lengths: Vec<u32> = Vec::new();
    for row in &finished.rows {
        let window = corpus.window(row.window.unwrap() as usize, 64).unwrap();
        assert_eq!(row.prompt_tokens as usize, window.len());
        let nll = assembly.inputs.model.decoder.window_nll(window).unwrap();
        assert_eq!(row.ppl_clean, Some(nll.perplexity()));
        lengths.push(row.prompt_tokens);
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 5, "{lengths:?}");
}

/// A thousand decisions by table, of one phone whose channel is drawn anew for each.
fn by_table(controller: &str, action: &str) -> String {
    format!(
        "name = \"table\"\nduration_s = 1e6\nstop = {{ requests = 1000 }}\n[quality]\nsource = \"table\"\n\
         table = \"builtin\"\n[split]\ninitial = {{ min = 1, max = 16, draw = \"per-episode\" }}\n[controller]\n\
         kind = \"{controller}\"\naction = \"{action}\"\n[channel]\n\
         noise_std = {{ min = 0.0, max = 2.0, draw = \"per-request\" }}\n\
         loss_probability = {{ min = 0.0, max = 0.3, draw = \"per-request\" }}\ndoppler_hz = 60.0\n\
         [radio]\nbandwidth_mhz = 1.0\n[[ue]]\nworkload = {{ kind = \"closed-loop\", think_time_s = 0.1 }}\n"
    )
}

/// λ of the scenarios above, the default.
const LAMBDA: f64 = 20.0;

#[test]
fn yardsticks_find_the_tables_optimum() {
    let table = QualityTable::open(BUILTIN_TABLE, std::path::Path::new("")).unwrap();
    let assembly = assembly(&by_table("oracle", "direct"));
    // Eq. (7): PPL + λ·C_UE(p)/C_UE(L).
    let objective = |row: &Row, split: u32| {
        let value = table.value(split, row.loss_probability.unwrap(), row.noise_std.unwrap());
        let share = ue_cost_share(&assembly.network.cost, 16, split, row.prompt_tokens);
        (value.ppl.unwrap(), value.ppl.unwrap() + LAMBDA * share)
    };
    let oracle = simulate(&assembly, 1, 0);
    let greedy = run(&by_table("greedy", "direct"));
    assert_eq!(oracle.rows.len(), 1000);
    for row in oracle.rows.iter().chain(&greedy.rows) {
        let chosen = row.split.unwrap();
        let (ppl, value) = objective(row, chosen);
        let best = (1..=16).map(|split| objective(row, split).1).fold(f64::INFINITY, f64::min);
        assert!(value <= best * (1.0 + 1e-12), "split {chosen} has {value}, the best {best}: {row:#?}");
        if row.outcome == Outcome::Completed {
            assert_eq!(row.ppl, Some(ppl));
            assert!((row.reward.unwrap() + value).abs() < 1e-9, "{row:#?}");
        }
    }
}

#[test]
fn knowing_the_table_pays() {
    let mean = |controller: &str| {
        let finished = run(&by_table(controller, "relative"));
        let rewards: Vec<f64> = finished.rows.iter().filter_map(|row| row.reward).collect();
        rewards.iter().sum::<f64>() / rewards.len() as f64
    };
    let (greedy, random, fixed) = (mean("greedy"), mean("random"), mean("fixed"));
    // The same channel for all three; a walk of ±1 layer can only follow the optimum.
    assert!(greedy > random + 10.0 && greedy > fixed + 10.0, "greedy {greedy}, random {random}, fixed {fixed}");
}
