//! What one key says about another: checks that need no file but the scenario.

use std::collections::BTreeSet;

use crate::channel::{FadingKind, LossUnit, Reception};
use crate::scenario::air::ChannelTable;
use crate::scenario::cell_checks::check_cells;
use crate::scenario::codec_checks::check_codec;
use crate::scenario::collaboration::check_collaboration;
use crate::scenario::devices;
use crate::scenario::learning::{check_evaluation, check_file_name, check_learner};
use crate::scenario::node_energy::check_energy;
use crate::scenario::nodes::{DisciplineName, UeTable};
use crate::scenario::problem::Problem;
use crate::scenario::replications::check_replications;
use crate::scenario::schema::{ActionKind, ControllerKind, NO_MODEL, QualitySourceName, RewardKind, Scenario};
use crate::scenario::values::{Count, NumberOr, SplitMax, Varying};
use crate::scenario::walk::nearest;
use crate::scenario::workload_checks::check_workload;

/// Every problem and warning of a scenario whose keys, types and ranges are right.
pub fn validate(scenario: &Scenario) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_name(&mut problems, "name", &scenario.name);
    if scenario.warmup_s >= scenario.duration_s {
        problems.push(
            Problem::error("warmup_s", "the warm-up takes the whole run")
                .with_value(scenario.warmup_s)
                .with_allowed(format!("0 to below duration_s = {}", scenario.duration_s)),
        );
    }
    let interval = scenario.output.sample_interval_s;
    if interval > 0.0 && interval < 1e-6 {
        problems.push(
            Problem::error("output.sample_interval_s", "samples closer than a microsecond")
                .with_value(interval)
                .with_allowed("0 for no samples, or at least 1e-6"),
        );
    }
    check_replications(&mut problems, scenario);
    check_split(&mut problems, scenario);
    check_controllers(&mut problems, scenario);
    check_named(&mut problems, "channel", scenario.channel.tables().iter().map(|table| table.name.as_deref()));
    for (index, channel) in scenario.channel.tables().iter().enumerate() {
        check_channel(&mut problems, &scenario.channel.path("channel", index), channel);
    }
    let mut names = BTreeSet::new();
    for (index, ue) in scenario.ue.iter().enumerate() {
        let path = format!("ue[{index}]");
        check_name(&mut problems, &format!("{path}.name"), &ue.name);
        if !names.insert(ue.name.as_str()) {
            problems
                .push(Problem::error(format!("{path}.name"), "two groups of UEs have this name").with_value(&ue.name));
        }
        check_ue(&mut problems, &path, ue, scenario);
    }
    check_energy(&mut problems, scenario);
    check_edge(&mut problems, scenario);
    check_cells(&mut problems, scenario);
    check_quality(&mut problems, scenario);
    check_evaluation(&mut problems, scenario);
    check_collaboration(&mut problems, scenario);
    problems
}

/// A name that can be a folder's and stand in a CSV file.
pub fn check_name(problems: &mut Vec<Problem>, path: &str, name: &str) {
    let fits = !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !fits {
        problems.push(
            Problem::error(path, "this name can't be the name of a folder or stand in a CSV file")
                .with_value(format!("{name:?}"))
                .with_allowed("1 to 100 letters, digits, `-` and `_`"),
        );
    }
}

/// Named arrays: every table has a name, and no two the same.
fn check_named<'a>(problems: &mut Vec<Problem>, key: &str, names: impl ExactSizeIterator<Item = Option<&'a str>>) {
    let several = names.len() > 1;
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let path = if several { format!("{key}[{index}]") } else { key.to_owned() };
        match name {
            None if several => problems
                .push(Problem::error(path, format!("one of several [[{key}]] has no name")).with_hint("add name = …")),
            Some(name) if !seen.insert(name) => {
                problems.push(
                    Problem::error(format!("{path}.name"), format!("two [[{key}]] have this name")).with_value(name),
                );
            }
            _ => {}
        }
    }
}

/// A reference from a `[[ue]]` to a named table.
fn check_reference<'a>(
    problems: &mut Vec<Problem>,
    path: &str,
    key: &str,
    given: Option<&str>,
    names: impl ExactSizeIterator<Item = Option<&'a str>>,
) {
    let count = names.len();
    let names: Vec<&str> = names.flatten().collect();
    match given {
        Some(given) if !names.contains(&given) => {
            let problem = Problem::error(format!("{path}.{key}"), format!("no [[{key}]] has this name"))
                .with_value(format!("{given:?}"))
                .with_allowed(if names.is_empty() { "nothing: none has a name".into() } else { names.join(", ") });
            problems.push(with_nearest(problem, given, names.iter().copied()));
        }
        None if count > 1 => problems.push(
            Problem::error(path, format!("there are several [[{key}]], and this group names none"))
                .with_hint(format!("add {key} = … with one of: {}", names.join(", "))),
        ),
        _ => {}
    }
}

fn with_nearest<'a>(problem: Problem, given: &str, names: impl Iterator<Item = &'a str>) -> Problem {
    match nearest(given, names) {
        Some(name) => problem.with_hint(format!("did you mean {name:?}?")),
        None => problem,
    }
}

fn check_split(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let split = &scenario.split;
    let max = match split.max {
        SplitMax::All => u32::MAX,
        SplitMax::Layer(max) => max,
    };
    if split.min > max {
        problems.push(
            Problem::error("split.min", "split.min is above split.max")
                .with_value(split.min)
                .with_allowed(format!("1 to {max}")),
        );
    }
    if let Some(initial) = &split.initial {
        check_count(problems, "split.initial", initial, (split.min, max), None);
    }
}

/// A whole number or range within `bounds`; `only_draw` is the one draw that makes sense.
pub(super) fn check_count(
    problems: &mut Vec<Problem>,
    path: &str,
    count: &Count,
    bounds: (u32, u32),
    only_draw: Option<crate::channel::Draw>,
) {
    let (min, max) = count.bounds();
    let allowed =
        if bounds.1 == u32::MAX { format!("at least {}", bounds.0) } else { format!("{} to {}", bounds.0, bounds.1) };
    if min < bounds.0 || max > bounds.1 {
        let value = if min == max { min.to_string() } else { format!("{min} to {max}") };
        problems
            .push(Problem::error(path, format!("`{path}` is out of range")).with_value(value).with_allowed(allowed));
    }
    if let NumberOr::Table(range) = count {
        if range.min > range.max {
            problems.push(
                Problem::error(format!("{path}.min"), "min is above max")
                    .with_value(range.min)
                    .with_allowed(format!("at most {}", range.max)),
            );
        }
        match (range.draw, only_draw) {
            (None, _) => problems.push(range_without_draw(path, false)),
            (Some(given), Some(only)) if given != only => problems.push(
                Problem::error(format!("{path}.draw"), "this is drawn for each request")
                    .with_allowed("\"per-request\""),
            ),
            _ => {}
        }
    }
}

fn range_without_draw(path: &str, can_walk: bool) -> Problem {
    let walk = if can_walk { ", or walk_per_sqrt_s" } else { "" };
    Problem::error(path, "a range that doesn't say when a value is drawn")
        .with_hint(format!("add draw = \"per-ue\", \"per-episode\" or \"per-request\"{walk}"))
}

/// A real parameter within an interval.
fn check_varying(
    problems: &mut Vec<Problem>,
    path: &str,
    varying: &Varying,
    allowed: &str,
    fits: impl Fn(f64) -> bool,
) -> bool {
    let before = problems.len();
    let (min, max) = varying.bounds();
    if !(fits(min) && fits(max)) {
        let value = if min == max { min.to_string() } else { format!("{min} to {max}") };
        problems
            .push(Problem::error(path, format!("`{path}` is out of range")).with_value(value).with_allowed(allowed));
    }
    if let NumberOr::Table(range) = varying {
        if range.min > range.max {
            problems.push(
                Problem::error(format!("{path}.min"), "min is above max")
                    .with_value(range.min)
                    .with_allowed(format!("at most {}", range.max)),
            );
        }
        if range.draw.is_none() && range.walk_per_sqrt_s.is_none() {
            problems.push(range_without_draw(path, true));
        }
        if range.draw.is_some() && range.walk_per_sqrt_s.is_some() {
            problems.push(Problem::error(path, "both draw and walk_per_sqrt_s").with_hint("leave one of them out"));
        }
    }
    problems.len() == before
}

fn check_channel(problems: &mut Vec<Problem>, path: &str, channel: &ChannelTable) {
    let key = |name: &str| format!("{path}.{name}");
    let digital = channel.reception == Reception::Digital;
    check_varying(problems, &key("noise_std"), &channel.noise_std, "0 to 1e6", |x| (0.0..=1e6).contains(&x));
    if let Some(loss) = &channel.loss_probability {
        check_varying(problems, &key("loss_probability"), loss, "0 to below 1", |x| (0.0..1.0).contains(&x));
    }
    if let Some(scale) = &channel.rayleigh_scale {
        check_varying(problems, &key("rayleigh_scale"), scale, "above 0", |x| x > 0.0);
    }
    if let Some(threshold) = &channel.gain_threshold {
        check_varying(problems, &key("gain_threshold"), threshold, "at least 0", |x| x >= 0.0);
    }
    let threshold_given = channel.gain_threshold.is_some() || channel.snr_db.is_some();
    if channel.gain_threshold.is_some() && channel.snr_db.is_some() {
        problems.push(
            Problem::error(key("snr_db"), "both snr_db and gain_threshold say when a packet is lost")
                .with_hint("leave one of them out"),
        );
    }
    if threshold_given && channel.loss_probability.is_some() && channel.rayleigh_scale.is_some() {
        problems.push(
            Problem::error(
                key("loss_probability"),
                "over-specified channel: of loss probability, gain threshold and Rayleigh scale, two give the third \
                 (eq. 4)",
            )
            .with_hint("leave out one of loss_probability, rayleigh_scale, and gain_threshold or snr_db"),
        );
    }
    if threshold_given && channel.rayleigh_scale.is_none() {
        let zero_loss = channel.loss_probability.as_ref().is_some_and(|loss| loss.bounds().0 <= 0.0);
        let zero_threshold = channel.gain_threshold.as_ref().is_some_and(|threshold| threshold.bounds().0 <= 0.0);
        if channel.loss_probability.is_some() && (zero_loss || zero_threshold) {
            problems.push(
                Problem::error(key("loss_probability"), "a threshold or loss probability of 0 gives no Rayleigh scale")
                    .with_hint("give rayleigh_scale instead of one of them"),
            );
        }
    }
    if channel.snr_db.is_some() && !digital {
        problems.push(
            Problem::error(key("snr_db"), "snr_db sets the gain threshold of a digital link")
                .with_hint("set reception = \"digital\", or say noise_std"),
        );
    }
    check_codec(problems, path, channel);
    if digital && channel.noise_std != Varying::Number(0.0) {
        problems.push(
            Problem::warning(key("noise_std"), "a digital link delivers packets intact or not at all: σ plays no part")
                .with_hint("leave noise_std out"),
        );
    }
    if channel.fading == FadingKind::None && threshold_given {
        let given = if channel.snr_db.is_some() { "snr_db" } else { "gain_threshold" };
        problems.push(
            Problem::error(key(given), "without fading the gain is constant: a threshold loses all packets or none")
                .with_hint("set fading = \"rayleigh\", or leave it out"),
        );
    }
    let missing = match channel.fading {
        FadingKind::Nakagami if channel.nakagami_m.is_none() => {
            Some(("nakagami fading needs a shape, nakagami_m", "set it from 0.5 (harsh) over 1 (Rayleigh) to 100"))
        }
        FadingKind::Trace if channel.fading_trace.is_none() => Some((
            "a trace needs its file",
            "add fading_trace = \"….csv\" with the columns time_s and gain, maybe ue or group",
        )),
        _ => None,
    };
    if let Some((message, hint)) = missing {
        problems.push(Problem::error(key("fading"), message).with_hint(hint));
    }
    let loses = channel.loss_probability.as_ref().is_some_and(|loss| loss.bounds().1 > 0.0);
    if channel.fading == FadingKind::None && loses && channel.loss_unit != LossUnit::ElementIid {
        problems.push(
            Problem::error(key("loss_probability"), "without fading the gain is constant and no packet is lost")
                .with_hint("set fading = \"rayleigh\", loss_probability = 0, or loss_unit = \"element-iid\""),
        );
    }
}

fn check_controllers(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let tables = scenario.controller.tables();
    check_named(problems, "controller", tables.iter().map(|table| table.name.as_deref()));
    for (index, table) in tables.iter().enumerate() {
        let path = scenario.controller.path("controller", index);
        if let Some(bad) = table.moves.iter().find(|step| step.unsigned_abs() > 1000) {
            problems.push(
                Problem::error(format!("{path}.moves"), "a move beyond any model")
                    .with_value(bad)
                    .with_allowed("-1000 to 1000"),
            );
        }
        if table.kind == ControllerKind::Fixed && table.action == ActionKind::Relative && !table.moves.contains(&0) {
            problems.push(
                Problem::error(format!("{path}.moves"), "a \"fixed\" controller stays: it needs a move of 0")
                    .with_hint("add 0 to moves"),
            );
        }
        if table.kind.reads_table() && scenario.quality.table.is_none() && scenario.quality.surrogate.is_none() {
            problems.push(
                Problem::error(
                    format!("{path}.kind"),
                    "\"greedy\", \"oracle\" and \"optimal\" read their expectations from a table or a surrogate",
                )
                .with_hint("set quality.table to a CSV that `splitwave profile` wrote, or to \"builtin\""),
            );
        }
        let expects = matches!(table.kind, ControllerKind::Greedy | ControllerKind::Optimal);
        if expects && scenario.reward.kind == RewardKind::Weighted {
            problems.push(
                Problem::error(
                    format!("{path}.kind"),
                    "a table knows no latency and energy, which \"weighted\" counts",
                )
                .with_value(format!("\"{}\"", table.kind.name()))
                .with_hint("take another reward, or another controller"),
            );
        }
        if table.kind.is_learner() {
            check_learner(problems, &path, index, scenario);
        }
        if let Some(name) = &table.policy_out {
            check_file_name(problems, &format!("{path}.policy_out"), name);
            if tables[..index].iter().any(|other| other.policy_out.as_ref() == Some(name)) {
                problems.push(
                    Problem::error(format!("{path}.policy_out"), "two [[controller]] save to this file")
                        .with_value(name),
                );
            }
        }
    }
}

fn check_ue(problems: &mut Vec<Problem>, path: &str, ue: &UeTable, scenario: &Scenario) {
    check_device(problems, &format!("{path}.device"), &ue.device, scenario);
    let channels = scenario.channel.tables().iter().map(|table| table.name.as_deref());
    check_reference(problems, path, "channel", ue.channel.as_deref(), channels);
    let controllers = scenario.controller.tables().iter().map(|table| table.name.as_deref());
    check_reference(problems, path, "controller", ue.controller.as_deref(), controllers);
    check_workload(problems, &format!("{path}.workload"), &ue.workload);
}

fn check_device(problems: &mut Vec<Problem>, path: &str, device: &str, scenario: &Scenario) {
    let names: Vec<&str> = devices::all(scenario).map(|table| table.name.as_str()).collect();
    if !names.contains(&device) {
        let problem = Problem::error(path, "no device has this name")
            .with_value(format!("{device:?}"))
            .with_allowed(names.join(", "));
        problems.push(with_nearest(problem, device, names.into_iter()));
    }
}

fn check_edge(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let edge = &scenario.edge;
    check_device(problems, "edge.device", &edge.device, scenario);
    if edge.servers > 1 && edge.discipline != DisciplineName::Fifo {
        problems.push(
            Problem::error("edge.servers", "only a \"fifo\" edge has several servers")
                .with_value(edge.servers)
                .with_allowed("1"),
        );
    }
    if edge.service_time.is_some() && edge.discipline == DisciplineName::Batch {
        problems.push(
            Problem::error("edge.service_time", "a batch's time comes from its work")
                .with_hint("set edge.discipline to \"fifo\" or \"ps\", or leave service_time out"),
        );
    }
}

fn check_quality(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let quality = &scenario.quality;
    let mut sources = vec![("quality.source", quality.source)];
    if scenario.evaluates() {
        sources.extend(scenario.evaluation.source.map(|source| ("evaluation.source", source)));
    }
    for (path, source) in sources {
        use QualitySourceName::{Llm, LlmThenSurrogate, Surrogate, Table, TableThenSurrogate};
        if matches!(source, Table | TableThenSurrogate) && quality.table.is_none() {
            problems.push(
                Problem::error(path, "the table is not named")
                    .with_hint("set quality.table to a CSV that `splitwave profile` wrote, or to \"builtin\""),
            );
        }
        if source == Surrogate && quality.surrogate.is_none() {
            problems.push(
                Problem::error(path, "the surrogate is not named")
                    .with_hint("set quality.surrogate to a file that `splitwave fit` wrote, or to \"builtin\""),
            );
        }
        if matches!(source, Llm | LlmThenSurrogate) && scenario.model.source == NO_MODEL {
            problems.push(
                Problem::error(path, "this runs the model, and there is none")
                    .with_hint("set model.source, or take quality from a table or a surrogate"),
            );
        }
        if path == "evaluation.source" && matches!(source, LlmThenSurrogate | TableThenSurrogate) {
            problems.push(
                Problem::error(path, "evaluations learn no surrogate")
                    .with_allowed("\"llm\", \"table\", \"surrogate\" or \"none\""),
            );
        }
    }
    if scenario.model.source == NO_MODEL && scenario.model.cost_as == "self" {
        problems.push(
            Problem::error("model.cost_as", "there is no model whose costs could count")
                .with_value("\"self\"")
                .with_hint("name a geometry, such as \"llama-2-7b\""),
        );
    }
}
