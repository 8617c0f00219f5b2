//! Keys that were set and play no part: not wrong, but probably not meant.
//!
//! A key counts as set when it differs from its default. Keys of one table that
//! another table makes idle (`split` under `mode = "edge-only"`, say) are left
//! alone: files that compare alternatives share them.

use crate::channel::{Concealment, FadingKind, LossUnit, Reception};
use crate::scenario::air::{ChannelKind, ChannelTable, DecodeTable, DeliveryName, RadioTable, SharingKind};
use crate::scenario::collaboration::unused_of_collaboration;
use crate::scenario::nodes::{DisciplineName, EdgeTable, WorkloadKind, WorkloadTable};
use crate::scenario::problem::Problem;
use crate::scenario::schema::{
    ActionKind, ControllerKind, ControllerTable, EvaluationTable, QualitySourceName, QualityTable, RewardKind,
    RewardTable, Scenario, ServiceModeName,
};

/// Keys of the fading: name, whether it was set without a part, and why.
fn unused_of_fading<'a>(channel: &ChannelTable, default: &ChannelTable) -> [(&'static str, bool, &'a str); 7] {
    let kind = channel.fading;
    let fixed_blocks = kind == FadingKind::Block && channel.coherence_ms.is_some();
    let (no_waves, no_doppler) = match kind {
        FadingKind::None => ("fading is \"none\"", "fading is \"none\""),
        FadingKind::Trace => ("fading is \"trace\"", "fading is \"trace\", which has its own time"),
        FadingKind::Block if fixed_blocks => ("fading is \"block\"", "coherence_ms says how long a gain holds"),
        FadingKind::Block => ("fading is \"block\"", ""),
        FadingKind::Rayleigh | FadingKind::Rician | FadingKind::Nakagami => ("", ""),
    };
    let of = |owner: FadingKind, set: bool| set && kind != owner;
    [
        ("sinusoids", !no_waves.is_empty() && channel.sinusoids != default.sinusoids, no_waves),
        ("doppler_hz", !no_doppler.is_empty() && channel.doppler_hz != default.doppler_hz, no_doppler),
        ("rician_k_db", of(FadingKind::Rician, channel.rician_k_db.is_some()), "fading is not \"rician\""),
        ("nakagami_m", of(FadingKind::Nakagami, channel.nakagami_m.is_some()), "fading is not \"nakagami\""),
        ("coherence_ms", of(FadingKind::Block, channel.coherence_ms.is_some()), "fading is not \"block\""),
        ("fading_trace", of(FadingKind::Trace, channel.fading_trace.is_some()), "fading is not \"trace\""),
        ("fading_trace_repeat", of(FadingKind::Trace, channel.fading_trace_repeat), "fading is not \"trace\""),
    ]
}

/// A warning for every key that was set and plays no part.
pub fn unused(scenario: &Scenario) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut idle = |path: String, set: bool, because: &str| {
        if set {
            found.push(Problem::warning(path, format!("this plays no part: {because}")).with_hint("leave it out"));
        }
    };
    let tables = scenario.channel.tables();
    let default = ChannelTable::default();
    for (index, channel) in tables.iter().enumerate() {
        let key = |name: &str| format!("{}.{name}", scenario.channel.path("channel", index));
        let digital = channel.reception == Reception::Digital;
        let normalised = channel.tx_normalisation != default.tx_normalisation;
        idle(key("tx_normalisation"), digital && normalised, "a digital link sends bits, whatever the tensor's scale");
        let whole_rows = channel.loss_unit == LossUnit::TokenRow;
        let because = "loss_unit is \"token-row\", and of a lost row nothing is left to rescale";
        idle(key("concealment"), whole_rows && channel.concealment == Concealment::Rescale, because);
        let rescaled = channel.decode.concealment == Concealment::Rescale;
        idle(key("decode.concealment"), whole_rows && rescaled, because);
        let gap = channel.snr_gap_db != default.snr_gap_db;
        let needless =
            channel.snr_db.is_none() && (channel.kind == ChannelKind::Statistical || scenario.rates_by_cqi());
        idle(key("snr_gap_db"), gap && needless, "it belongs to snr_db, or to radio.link = \"shannon\"");
        if channel.kind == ChannelKind::Statistical {
            let keys = [
                ("environment", channel.environment != default.environment),
                ("carrier_ghz", channel.carrier_ghz != default.carrier_ghz),
                ("line_of_sight", channel.line_of_sight != default.line_of_sight),
                ("shadowing", channel.shadowing != default.shadowing),
                ("ut_height_m", channel.ut_height_m.is_some()),
            ];
            for (name, set) in keys {
                idle(key(name), set, "the channel is statistical");
            }
        }
        let (decode, untouched) = (&channel.decode, DecodeTable::default());
        let deadline = decode.delivery == DeliveryName::None && decode.deadline_ms != untouched.deadline_ms;
        idle(key("decode.deadline_ms"), deadline, "decode.delivery is \"none\"");
        for (name, set, because) in unused_of_fading(channel, &default) {
            idle(key(name), set, because);
        }
    }
    let any = |digital: bool| tables.iter().any(|table| (table.reception == Reception::Digital) == digital);
    let (radio, default) = (&scenario.radio, RadioTable::default());
    let efficiency = radio.spectral_efficiency_bps_hz != default.spectral_efficiency_bps_hz;
    idle("radio.spectral_efficiency_bps_hz".into(), efficiency && !any(true), "no channel is digital");
    idle(
        "radio.packet_bytes".into(),
        radio.packet_bytes != default.packet_bytes && !any(true),
        "no channel is digital",
    );
    let flow_pf = radio.sharing == SharingKind::FlowPf;
    let snr = radio.multi_user_snr_db != default.multi_user_snr_db;
    idle("radio.multi_user_snr_db".into(), snr && !flow_pf, "radio.sharing is not \"flow-pf\"");
    let cqi = scenario.is_cellular() && scenario.rates_by_cqi();
    idle(
        "radio.bler_slope_db".into(),
        radio.bler_slope_db != default.bler_slope_db && !cqi,
        "radio.link is not \"cqi\"",
    );
    if !scenario.is_cellular() {
        let keys = [
            ("link_adapts_to", radio.link_adapts_to != default.link_adapts_to),
            ("link_margin_db", radio.link_margin_db != default.link_margin_db),
            ("subcarrier_spacing_khz", radio.subcarrier_spacing_khz != default.subcarrier_spacing_khz),
            ("noise_figure_db", radio.noise_figure_db != default.noise_figure_db),
            ("p0_dbm", radio.p0_dbm != default.p0_dbm),
            ("path_loss_compensation", radio.path_loss_compensation != default.path_loss_compensation),
            ("interference", radio.interference != default.interference),
            ("estimate_memory_s", radio.estimate_memory_s != default.estimate_memory_s),
        ];
        for (name, set) in keys {
            idle(format!("radio.{name}"), set, "no channel is cellular");
        }
    }
    idle("radio.packet_values".into(), radio.packet_values.is_some() && !any(false), "no channel is analog");
    let default = ControllerTable::default();
    let controllers = scenario.controller.tables();
    for (index, table) in controllers.iter().enumerate() {
        let path = scenario.controller.path("controller", index);
        let moves = table.action == ActionKind::Direct && table.moves != default.moves;
        idle(format!("{path}.moves"), moves, "action is \"direct\"");
        let learner = table.kind.is_learner();
        let because = "this kind doesn't learn";
        idle(format!("{path}.observe"), !learner && table.observe != default.observe, because);
        idle(format!("{path}.learn"), !learner && !table.learn, because);
        idle(format!("{path}.policy_in"), !learner && table.policy_in.is_some(), because);
        idle(format!("{path}.policy_out"), !learner && table.policy_out.is_some(), because);
        let choose = table.choose != default.choose;
        idle(format!("{path}.choose"), choose && (table.learns() || !learner), "it is for policies that don't learn");
        let settings = [
            ("ppo", ControllerKind::Ppo, table.ppo != default.ppo),
            ("a2c", ControllerKind::A2c, table.a2c != default.a2c),
            ("dqn", ControllerKind::Dqn, table.dqn != default.dqn),
        ];
        for (name, kind, set) in settings {
            idle(format!("{path}.{name}"), set && table.kind != kind, "this controller is of another kind");
        }
    }
    let (evaluation, untouched) = (&scenario.evaluation, EvaluationTable::default());
    let because = if evaluation.episodes == 0 { "evaluation.episodes is 0" } else { "no controller can learn" };
    let idle_evaluation = !scenario.evaluates();
    idle("evaluation.every_steps".into(), idle_evaluation && evaluation.every_steps > 0, because);
    idle("evaluation.source".into(), idle_evaluation && evaluation.source.is_some(), because);
    let choose = evaluation.choose != untouched.choose;
    idle("evaluation.choose".into(), idle_evaluation && choose, because);
    let frozen = !idle_evaluation && !controllers.iter().any(ControllerTable::learns);
    idle("evaluation.choose".into(), frozen && choose, "policies that don't learn choose by controller.choose");
    idle("evaluation.seed".into(), idle_evaluation && evaluation.seed != untouched.seed, because);
    let (quality, untouched) = (&scenario.quality, QualityTable::default());
    let switches =
        matches!(quality.source, QualitySourceName::LlmThenSurrogate | QualitySourceName::TableThenSurrogate);
    let because = "quality.source trains no surrogate in the run";
    let switch = quality.switch_after_epochs != untouched.switch_after_epochs;
    idle("quality.switch_after_epochs".into(), !switches && switch, because);
    idle("quality.probe_every".into(), !switches && quality.probe_every > 0, because);
    let because = if switches { "quality.probe_every is 0" } else { because };
    let probed = switches && quality.probe_every > 0;
    idle("quality.probes".into(), !probed && quality.probes != untouched.probes, because);
    idle("quality.refit_above".into(), !probed && quality.refit_above != untouched.refit_above, because);
    let because = "neither quality.source nor evaluation.source is \"surrogate\"";
    idle("quality.surrogate".into(), quality.surrogate.is_some() && !scenario.reads_surrogate(), because);
    let because = "quality.source is not \"table\", no controller is a yardstick, and none is evaluated";
    idle("quality.table".into(), scenario.quality.table.is_some() && !scenario.reads_table(), because);
    let steps = scenario.stop.env_steps.is_some() && scenario.service.mode != ServiceModeName::Split;
    idle("stop.env_steps".into(), steps, "only mode \"split\" has decisions");
    for (index, ue) in scenario.ue.iter().enumerate() {
        let (workload, default) = (&ue.workload, WorkloadTable::default());
        let key = |name: &str| format!("ue[{index}].workload.{name}");
        let drawn = workload.tokens_from.is_some() && workload.prompt_tokens != default.prompt_tokens;
        idle(key("prompt_tokens"), drawn, "tokens_from brings prompts");
        let alone = workload.turns.as_ref().is_some_and(|turns| turns.bounds().1 <= 1);
        let because = "a conversation has one turn";
        idle(key("max_context_tokens"), alone && workload.max_context_tokens.is_some(), because);
        let thinks = workload.think_time_s.is_some() && workload.kind != WorkloadKind::ClosedLoop;
        idle(key("think_time_s"), alone && thinks, because);
    }
    let (edge, default) = (&scenario.edge, EdgeTable::default());
    let batch = edge.discipline == DisciplineName::Batch;
    idle("edge.max_batch".into(), !batch && edge.max_batch != default.max_batch, "the edge serves no batches");
    idle("edge.max_wait_ms".into(), !batch && edge.max_wait_ms != default.max_wait_ms, "the edge serves no batches");
    let (reward, default) = (&scenario.reward, RewardTable::default());
    let (eq8, gain) = (reward.kind == RewardKind::Chen25Eq8, reward.kind == RewardKind::RelativeGain);
    let weighted = reward.kind == RewardKind::Weighted;
    idle("reward.a".into(), eq8 && reward.a != default.a, "it belongs to \"relative-gain\" and \"weighted\"");
    idle("reward.b".into(), !gain && reward.b != default.b, "it belongs to \"relative-gain\"");
    idle("reward.p_max".into(), !gain && reward.p_max != default.p_max, "it belongs to \"relative-gain\"");
    let latency = reward.latency_weight != default.latency_weight;
    idle("reward.latency_weight".into(), !weighted && latency, "it belongs to \"weighted\"");
    let energy = reward.energy_weight != default.energy_weight;
    idle("reward.energy_weight".into(), !weighted && energy, "it belongs to \"weighted\"");
    for (key, because) in unused_of_collaboration(scenario) {
        idle(format!("collaboration.{key}"), true, because);
    }
    let tokens = scenario.output.tokens && !scenario.generates_text();
    idle("output.tokens".into(), tokens, "tokens come from the corpus: service.text is not \"generated\"");
    let oracle = controllers.iter().any(|table| table.kind == ControllerKind::Oracle);
    let lambda = !eq8 && !oracle && reward.lambda != default.lambda;
    idle("reward.lambda".into(), lambda, "it belongs to \"chen25-eq8\" and to the controller \"oracle\"");
    found
}
