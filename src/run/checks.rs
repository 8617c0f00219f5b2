//! What only the inputs can tell about a scenario: windows that don't fit, tables
//! that don't reach, traces that come too late, fades that outlast a request.

use std::collections::BTreeSet;

use crate::channel::LossUnit;
use crate::control::further_tokens;
use crate::network::ports::ServiceMode;
use crate::network::spec::{ChannelSpec, NetworkSpec, OutageSpec};
use crate::network::workload::{Arrivals, PromptTokens, Workload};
use crate::run::cellular;
use crate::run::collaboration;
use crate::run::inputs::Inputs;
use crate::run::quality_checks::{check_optimum, check_policies, check_surrogate, check_table};
use crate::run::wording::counted;
use crate::scenario::Problem;
use crate::scenario::schema::{QualitySourceName, Scenario};
use crate::units::SimTime;

/// Packets of one request; more would take gigabytes.
const MOST_PACKETS: u32 = 10_000_000;

/// Adds what is wrong, or probably not meant, in the light of the inputs.
pub fn check_inputs(scenario: &Scenario, inputs: &Inputs, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    for (index, group) in network.groups.iter().enumerate() {
        check_windows(&format!("ue[{index}].workload"), &group.workload, inputs, problems);
    }
    for (index, group) in network.groups.iter().enumerate() {
        if let Arrivals::Trace(trace) = &group.workload.arrivals {
            let late = trace.iter().filter(|row| row.at >= network.duration).count();
            if late > 0 {
                let path = format!("ue[{index}].workload.path");
                let (late, all) = (counted(late, "row"), trace.len());
                let message = format!("left out of the trace, for arriving after duration_s: {late} of {all}");
                problems.push(Problem::warning(path, message).with_hint("raise duration_s to simulate them"));
            }
        }
    }
    check_table(scenario, inputs, network, problems);
    check_surrogate(scenario, inputs, network, problems);
    check_policies(scenario, inputs, network, problems);
    check_optimum(scenario, inputs, network, problems);
    check_sessions(scenario, network, problems);
    collaboration::check(scenario, inputs, network, problems);
    let placements: Vec<_> = network.groups.iter().filter_map(|group| group.placement.clone()).collect();
    cellular::check(scenario, &placements, problems);
    if network.mode == ServiceMode::Split {
        for group in &network.groups {
            let packets = network.tensor_payload(group.channel, prompt_bounds(&group.workload).1).packets;
            if packets > MOST_PACKETS {
                problems.push(
                    Problem::error("radio", format!("a request of group {} takes {packets} packets", group.name))
                        .with_allowed(format!("at most {MOST_PACKETS}"))
                        .with_hint(
                            "send larger packets: radio.packet_bytes, or radio.packet_values on an analog uplink",
                        ),
                );
            }
        }
        for index in 0..network.channels.len() {
            check_fades(scenario, network, index, problems);
        }
    }
}

/// Prompts and sessions fit the model and the corpus, where the model reads them.
fn check_windows(path: &str, workload: &Workload, inputs: &Inputs, problems: &mut Vec<Problem>) {
    let (Some(corpus), config) = (&inputs.corpus, inputs.model.decoder.config()) else { return };
    let positions = config.max_positions as u64;
    let asked = lengths(workload);
    // The longest sentence, if sentences bring their own lengths.
    let sentence = corpus.longest_window(0) as u64;
    if config.bos_token.is_none() && sentence == 0 && asked.contains(&(1, 1)) {
        problems.push(
            Problem::error(
                format!("{path}.prompt_tokens"),
                "a prompt of one token has nothing to score: the model has no BOS token",
            )
            .with_allowed("at least 2"),
        );
        return;
    }
    if sentence > 0 && workload.conversation.is_some() {
        problems.push(
            Problem::error(
                format!("{path}.turns"),
                "sentences bring their own lengths: a conversation can't grow by them",
            )
            .with_hint("set model.window = \"tokens\", or leave turns out"),
        );
        return;
    }
    let rows = |&(prompt, output): &(u32, u32)| {
        let prompt = if sentence > 0 { sentence } else { u64::from(prompt) };
        prompt + u64::from(output.saturating_sub(1))
    };
    let longest = asked.iter().copied().max_by_key(rows);
    if let Some((prompt, output)) = longest.filter(|asked| rows(asked) > positions) {
        let prompt = rows(&(prompt, 1));
        problems.push(if workload.conversation.is_some() {
            let message = format!("a conversation grows to {prompt} tokens, longer than the model's context");
            let problem = Problem::error(format!("{path}.turns"), message).with_value(rows(&(prompt as u32, output)));
            problem.with_allowed(format!("{positions} rows of prompt and answer")).with_hint(format!(
                "set max_context_tokens to at most {}, or take fewer turns",
                (positions + 1).saturating_sub(u64::from(output))
            ))
        } else if output == 1 || prompt > positions {
            Problem::error(format!("{path}.prompt_tokens"), "a prompt is longer than the model's context")
                .with_value(prompt)
                .with_allowed(format!("1 to {positions}"))
        } else {
            let message = format!(
                "prompts of {} and their sessions are longer than the model's context",
                counted(prompt, "token")
            );
            Problem::error(format!("{path}.output_tokens"), message)
                .with_value(output)
                .with_allowed(format!("1 to {}", positions - prompt + 1))
        });
        return;
    }
    let missing = asked.into_iter().find_map(|(prompt, output)| {
        corpus.continued(0, prompt as usize, further_tokens(output, config.bos_token)).err()
    });
    problems.extend(missing.map(|error| Problem::error("model.corpus", error.to_string())));
}

/// Sessions: perplexity of a prompt is not theirs, their packets can be counted, and their rows can arrive.
fn check_sessions(scenario: &Scenario, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let mut channels = BTreeSet::new();
    for (index, group) in network.groups.iter().enumerate() {
        let path = format!("ue[{index}].workload.output_tokens");
        let Some(&(_, most)) = lengths(&group.workload).iter().max_by_key(|(_, output)| output).filter(|l| l.1 > 1)
        else {
            continue;
        };
        let message = "a table knows the perplexity of prompts; a session is scored on the tokens that follow";
        if scenario.quality.source == QualitySourceName::Table {
            problems.push(
                Problem::error(&path, message)
                    .with_value(most)
                    .with_allowed("1")
                    .with_hint("set quality.source to \"llm\" or \"none\""),
            );
        } else if scenario.reads_table() {
            problems.push(
                Problem::warning(&path, format!("{message}: the controller expects the wrong thing"))
                    .with_hint("take another controller, or one token"),
            );
        }
        if network.mode == ServiceMode::Split {
            channels.insert(group.channel);
            let row = u64::from(network.tensor_payload(group.channel, 1).packets);
            let channel = &network.channels[group.channel];
            let repeats = if channel.decode.delivery.repeats() { network.max_transmissions } else { 1 };
            let attempts = channel.harq.map_or(1, |harq| harq.max_transmissions);
            let again = u64::from(repeats) * u64::from(attempts);
            if row.saturating_mul(again).saturating_mul(u64::from(most)) > u64::from(u32::MAX - MOST_PACKETS) {
                problems.push(
                    Problem::error(&path, "a session may send more packets than can be counted, 2³²")
                        .with_value(most)
                        .with_hint("lower radio.max_transmissions, or send larger packets"),
                );
            }
        }
    }
    for index in channels {
        check_row_deadline(scenario, network, index, problems);
    }
}

/// The deadline of a decode round's row leaves time for it, and for a second attempt.
fn check_row_deadline(scenario: &Scenario, network: &NetworkSpec, index: usize, problems: &mut Vec<Problem>) {
    let channel = &network.channels[index];
    let Some(deadline) = channel.decode.delivery.deadline() else { return };
    let row = network.tensor_payload(index, 1);
    let packet = SimTime::from_nanos(row.airtime.as_nanos() / u64::from(row.packets.max(1)));
    let again = row.airtime + network.retransmission_delay;
    let loses = channel.loss_unit != LossUnit::ElementIid && loss_bounds(channel).1 > 0.0;
    let ms = |time: SimTime| time.as_secs_f64() * 1e3;
    let (message, hint) = if deadline < row.airtime {
        let message = format!(
            "a row takes {:.3} ms on the air alone, longer than its deadline of {:.3} ms: none arrives, and every row of \
             every session is concealed",
            ms(row.airtime),
            ms(deadline)
        );
        (message, "raise deadline_ms, or send faster")
    } else if loses && network.max_transmissions > 1 && (again >= deadline || again + packet > deadline) {
        let message = format!(
            "a packet that is sent again is there {:.3} ms after its row was first put on the air at the earliest \
             ({:.3} ms for the row, {:.3} ms of radio.retransmission_delay_ms, {:.3} ms for the packet), and its deadline \
             is {:.3} ms: no second attempt comes through",
            ms(again + packet),
            ms(row.airtime),
            ms(network.retransmission_delay),
            ms(packet),
            ms(deadline)
        );
        (message, "raise deadline_ms, lower radio.retransmission_delay_ms, or set delivery = \"none\"")
    } else {
        return;
    };
    let path = format!("{}.decode.deadline_ms", scenario.channel.path("channel", index));
    problems.push(Problem::warning(path, message).with_hint(hint));
}

/// Prompt and output tokens that a workload asks for; of lengths that are drawn, least and
/// largest; of conversations, those of first turns and of the longest last ones.
pub(super) fn lengths(workload: &Workload) -> BTreeSet<(u32, u32)> {
    let said: BTreeSet<(u32, u32)> = match (&workload.arrivals, &workload.prompt_tokens) {
        (Arrivals::Trace(rows), _) | (_, PromptTokens::Bootstrap(rows)) => {
            rows.iter().map(|row| (row.prompt_tokens, row.output_tokens.unwrap_or(workload.output_tokens))).collect()
        }
        (_, &PromptTokens::Constant(tokens)) => BTreeSet::from([(tokens, workload.output_tokens)]),
        (_, &PromptTokens::Drawn { min, max }) => {
            BTreeSet::from([(min, workload.output_tokens), (max, workload.output_tokens)])
        }
    };
    let Some(spec) = &workload.conversation else { return said };
    let turn = said.iter().map(|&(prompt, output)| u64::from(prompt) + u64::from(output)).max().unwrap_or(0);
    let first = said.iter().map(|&(prompt, output)| (spec.prompt_tokens(0, prompt), output));
    let last = said.iter().map(|&(prompt, output)| (spec.longest_prompt(turn, prompt), output));
    first.chain(last).collect()
}

/// The name of an enum's value in scenario files.
pub fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Least and largest loss probability that a channel can have, eq. (4).
pub fn loss_bounds(channel: &ChannelSpec) -> (f64, f64) {
    match &channel.outage {
        OutageSpec::ScaleAndLoss { loss_probability, .. } | OutageSpec::ThresholdAndLoss { loss_probability, .. } => {
            loss_probability.bounds()
        }
        OutageSpec::ScaleAndThreshold { rayleigh_scale, gain_threshold } => {
            let ((scale_min, scale_max), (low, high)) = (rayleigh_scale.bounds(), gain_threshold.bounds());
            let laws = channel.fading.laws();
            let least = laws.iter().map(|law| law.outage_probability(low, scale_max)).fold(1.0, f64::min);
            (least, laws.iter().map(|law| law.outage_probability(high, scale_min)).fold(0.0, f64::max))
        }
    }
}

/// Least and largest number of prompt tokens that a workload asks for.
pub(super) fn prompt_bounds(workload: &Workload) -> (u32, u32) {
    let lengths = lengths(workload);
    let prompts = || lengths.iter().map(|&(prompt, _)| prompt);
    (prompts().min().unwrap_or(0), prompts().max().unwrap_or(0))
}

/// A fade that outlasts a transmission loses all of it or nothing.
fn check_fades(scenario: &Scenario, network: &NetworkSpec, index: usize, problems: &mut Vec<Problem>) {
    let channel = &network.channels[index];
    if channel.loss_unit == LossUnit::ElementIid {
        return;
    }
    // ρ = h_th/(√2·σ_h) follows from P by the law of the fading.
    let Some(rho2) = channel.fading.laws().first().map(|law| law.quantile(loss_bounds(channel).1)) else { return };
    let Some(fade_s) = channel.fading.average_fade_duration(channel.doppler_hz, rho2.sqrt()) else { return };
    for group in network.groups.iter().filter(|group| group.channel == index) {
        let (_, tokens) = prompt_bounds(&group.workload);
        let has_sessions = lengths(&group.workload).iter().any(|&(_, output)| output > 1);
        let payload = network.tensor_payload(index, tokens);
        let airtime_s = payload.airtime.as_secs_f64();
        let packet_s = airtime_s / f64::from(payload.packets);
        let (message, hint, coherence_hint) = if fade_s > 0.0 && fade_s < packet_s {
            let message = format!(
                "a mean fade lasts {:.3} ms, less than the {:.3} ms of a packet of group {}: a packet meets the gain of its \
                 midpoint alone, so fades between midpoints are not seen",
                fade_s * 1e3,
                packet_s * 1e3,
                group.name
            );
            (message, "send smaller packets, or lower doppler_hz", "send smaller packets, or raise coherence_ms")
        } else if fade_s > airtime_s {
            let fade = if fade_s < 10.0 { format!("{:.1} ms", fade_s * 1e3) } else { "more than 10 s".to_owned() };
            let message = format!(
                "a mean fade lasts {fade}, longer than the {:.1} ms that {} of group {} is on the air: \
                 losses are mostly all or nothing",
                airtime_s * 1e3,
                if has_sessions { "the prompt of a session" } else { "a request" },
                group.name
            );
            (
                message,
                "raise doppler_hz, or send more slowly, if partial losses are what you study",
                "lower coherence_ms, or send more slowly, if partial losses are what you study",
            )
        } else {
            continue;
        };
        let path = scenario.channel.path("channel", index);
        let key = if channel.fading.follows_doppler() { "doppler_hz" } else { "coherence_ms" };
        let hint = if channel.fading.follows_doppler() { hint } else { coherence_hint };
        problems.push(Problem::warning(format!("{path}.{key}"), message).with_hint(hint));
        return;
    }
}
