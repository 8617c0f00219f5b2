//! Whether a quality table, a surrogate and policies fit the scenario that names them.

use crate::channel::{Draw, LossUnit, Parameter, Reception};
use crate::control::{Input, Surrogate};
use crate::network::spec::{ChannelSpec, InitialSplit, NetworkSpec, OutageSpec};
use crate::network::world::World;
use crate::run::checks::{loss_bounds, prompt_bounds, word};
use crate::run::controllers::saved_actions;
use crate::run::inputs::Inputs;
use crate::run::wording::counted;
use crate::scenario::Problem;
use crate::scenario::air::ChannelTable;
use crate::scenario::schema::{ControllerKind, NO_MODEL, QualitySourceName, RewardKind, Scenario, WindowKind};

pub(super) fn check_table(scenario: &Scenario, inputs: &Inputs, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let Some(table) = &inputs.table else { return };
    if let Some(missing) = (network.split.min..=network.split.max).find(|&split| !table.knows(split)) {
        let (first, last) = table.splits();
        problems.push(
            Problem::error(
                "quality.table",
                format!("the table knows splits from {first} to {last}, but not {missing}"),
            )
            .with_allowed(format!("splits {} to {}", network.split.min, network.split.max))
            .with_hint("profile the other splits as well, or set split.min and split.max"),
        );
    }
    let oracle = scenario.controller.tables().iter().any(|table| table.kind == ControllerKind::Oracle);
    let needs_ppl = scenario.reward.kind == RewardKind::Chen25Eq8 || oracle;
    if needs_ppl && !table.has_ppl() {
        problems.push(
            Problem::error(
                "quality.table",
                "the table knows relative gains and no PPL, so eq. (7) and (8) don't apply",
            )
            .with_hint("set reward.kind = \"relative-gain\", and no controller \"oracle\""),
        );
    }
    let differs = |path: String, what: &str, profiled: &str, found: &str| {
        Problem::warning(path, format!("the quality table was profiled with {what} {profiled}, not {found}"))
            .with_hint("its perplexity is that of the profile")
    };
    let model = inputs.model.content_hash();
    let same = |profiled: &&str| *profiled == model || scenario.model.source == NO_MODEL;
    if let Some(profiled) = table.made_with("model").filter(|profiled| !same(profiled)) {
        // A table's cells are anybody's text: cut by characters.
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        problems.push(differs("quality.table".into(), "the model", &short(profiled), &short(model)));
    }
    let whole = |column| table.made_with(column).and_then(|value: &str| value.parse::<u32>().ok());
    let real = |column| table.made_with(column).and_then(|value: &str| value.parse::<f64>().ok());
    let window = word(scenario.model.window);
    if let Some(profiled) = table.made_with("window").filter(|profiled| *profiled != window) {
        problems.push(
            Problem::error("model.window", format!("the quality table was profiled with window = \"{profiled}\""))
                .with_value(format!("\"{window}\""))
                .with_hint("profile these windows, or use the table's"),
        );
    }
    let tokens = whole("prompt_tokens").filter(|_| scenario.model.window == WindowKind::Tokens);
    for (index, group) in network.groups.iter().enumerate() {
        let (least, most) = prompt_bounds(&group.workload);
        if let Some(profiled) = tokens.filter(|&tokens| (least, most) != (tokens, tokens)) {
            let found = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let path = format!("ue[{index}].workload.prompt_tokens");
            problems.push(differs(path, "prompts of", &counted(profiled, "token"), &found));
        }
        let payload = network.tensor_payload(group.channel, most);
        let channel = &network.channels[group.channel];
        let turns = channel.doppler_hz * payload.airtime.as_secs_f64();
        if let (Some(doppler_hz), Some(airtime_s)) = (real("doppler_hz"), real("airtime_s"))
            && channel.fading.follows_doppler()
            // In cells losses are what repeats have left, of fades that follow each UE's own way.
            && network.cellular.is_none()
            && (turns / (doppler_hz * airtime_s) - 1.0).abs() > 0.1
        {
            let path = format!("{}.doppler_hz", scenario.channel.path("channel", group.channel));
            let (was, is) = (format!("{:.3}", doppler_hz * airtime_s), format!("{turns:.3}"));
            problems.push(differs(path, "Doppler times airtime of", &was, &is));
        }
        let same_length = tokens.is_none_or(|tokens| tokens == most);
        if let Some(profiled) = whole("packets").filter(|&packets| same_length && packets != payload.packets) {
            let found = payload.packets.to_string();
            problems.push(differs("quality.table".into(), "packets:", &profiled.to_string(), &found));
        }
    }
    for (index, channel) in scenario.channel.tables().iter().enumerate() {
        let path = scenario.channel.path("channel", index);
        let reach = |name: &str, asked: (f64, f64), known: Option<(f64, f64)>| {
            let (low, high) = known.unwrap_or((0.0, f64::INFINITY));
            (asked.0 < low || asked.1 > high).then(|| {
                Problem::error(format!("{path}.{name}"), format!("the quality table knows {name} from {low} to {high}"))
                    .with_value(if asked.0 == asked.1 {
                        asked.0.to_string()
                    } else {
                        format!("{} to {}", asked.0, asked.1)
                    })
                    .with_hint("profile a wider range")
            })
        };
        let spec = &network.channels[index];
        let loss = loss_bounds(spec);
        let lost_by = if channel.loss_probability.is_some() { "loss_probability" } else { "gain_threshold" };
        problems.extend(reach(lost_by, loss, Some(table.losses())));
        for (key, found) in way_of_sending(channel, spec) {
            // Tables from before there was a choice were made with zeros.
            let before = (key == "concealment").then_some("zero");
            if let Some(profiled) = table.made_with(key).or(before).filter(|profiled| *profiled != found) {
                problems.push(
                    Problem::error(
                        format!("{path}.{key}"),
                        format!("the quality table was profiled with {key} = \"{profiled}\""),
                    )
                    .with_value(format!("\"{found}\""))
                    .with_hint("profile this channel, or use the table's"),
                );
            }
        }
        let analog = channel.reception != Reception::Digital;
        if let Some(profiled) =
            real("rayleigh_scale").filter(|&scale| analog && scale_bounds(&spec.outage) != Some((scale, scale)))
        {
            problems.push(
                Problem::error(
                    format!("{path}.rayleigh_scale"),
                    format!(
                        "the quality table was profiled with rayleigh_scale = {profiled}: noise meets other gains here"
                    ),
                )
                .with_hint("profile this channel, or use the table's"),
            );
        }
        if analog {
            problems.extend(reach("noise_std", channel.noise_std.bounds(), table.noises()));
        }
    }
}

/// Least and largest σ_h; `None` if it follows from the two others.
fn scale_bounds(outage: &OutageSpec) -> Option<(f64, f64)> {
    match outage {
        OutageSpec::ScaleAndLoss { rayleigh_scale, .. } | OutageSpec::ScaleAndThreshold { rayleigh_scale, .. } => {
            Some(rayleigh_scale.bounds())
        }
        OutageSpec::ThresholdAndLoss { .. } => None,
    }
}

/// How a channel sends, by the columns of tables and records.
fn way_of_sending(channel: &ChannelTable, spec: &ChannelSpec) -> [(&'static str, String); 6] {
    let encoding = if channel.reception == Reception::Digital { spec.codec.to_string() } else { String::new() };
    [
        ("reception", word(channel.reception)),
        ("loss_unit", word(channel.loss_unit)),
        ("tx_normalisation", word(channel.tx_normalisation)),
        ("fading", spec.fading.to_string()),
        ("concealment", word(channel.concealment)),
        ("encoding", encoding),
    ]
}

/// A surrogate was trained for such channels, splits and rewards.
pub(super) fn check_surrogate(
    scenario: &Scenario,
    inputs: &Inputs,
    network: &NetworkSpec,
    problems: &mut Vec<Problem>,
) {
    let Some(surrogate) = &inputs.surrogate else { return };
    let oracle = scenario.controller.tables().iter().any(|table| table.kind == ControllerKind::Oracle);
    if (scenario.reward.kind == RewardKind::Chen25Eq8 || oracle) && !surrogate.has_ppl() {
        problems.push(
            Problem::error(
                "quality.surrogate",
                "the surrogate knows relative gains and no PPL, so eq. (7) and (8) don't apply",
            )
            .with_hint("set reward.kind = \"relative-gain\", and no controller \"oracle\""),
        );
    }
    let splits = (f64::from(network.split.min), f64::from(network.split.max));
    problems.extend(beyond(surrogate, Input::Split, "split.max".into(), splits));
    let model = inputs.model.content_hash();
    let same = |made_with: &&str| model.starts_with(*made_with) || scenario.model.source == NO_MODEL;
    if let Some(other) = surrogate.made_with("model_hash").filter(|hash| !same(hash)) {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let message = format!("the surrogate was fitted to the model {}, not {}", short(other), short(model));
        problems.push(Problem::warning("quality.surrogate", message).with_hint("its perplexity is that of the fit"));
    }
    for (index, channel) in scenario.channel.tables().iter().enumerate() {
        let path = scenario.channel.path("channel", index);
        let spec = &network.channels[index];
        for (key, found) in way_of_sending(channel, spec) {
            if let Some(other) = surrogate.made_with(key).filter(|other| *other != found) {
                problems.push(
                    Problem::error(format!("{path}.{key}"), format!("the surrogate was fitted to {key} = \"{other}\""))
                        .with_value(format!("\"{found}\""))
                        .with_hint("fit one to this channel, or use the surrogate's"),
                );
            }
        }
        let lost_by = if channel.gain_threshold.is_some() { "gain_threshold" } else { "loss_probability" };
        let loss = loss_bounds(spec);
        problems.extend(beyond(surrogate, Input::LossProbability, format!("{path}.{lost_by}"), loss));
        if channel.reception != Reception::Digital {
            let noise = spec.noise_std.bounds();
            problems.extend(beyond(surrogate, Input::NoiseStd, format!("{path}.noise_std"), noise));
        }
        let scale = scale_bounds(&spec.outage);
        if let Some(scale) = scale {
            problems.extend(beyond(surrogate, Input::RayleighScale, format!("{path}.rayleigh_scale"), scale));
        }
        // What was the same in all records is no input, and must be the same here.
        let constant = |column| surrogate.made_with(column).and_then(|value: &str| value.parse::<f64>().ok());
        let analog = channel.reception != Reception::Digital;
        let noise = spec.noise_std.bounds();
        for (column, found) in [("rayleigh_scale", scale), ("noise_std", Some(noise)), ("loss_probability", Some(loss))]
        {
            let fitted = constant(column).filter(|&value| found != Some((value, value)));
            if let Some(value) = fitted.filter(|_| analog || column == "loss_probability") {
                problems.push(
                    Problem::error(
                        format!("{path}.{column}"),
                        format!("the surrogate was fitted to records of one {column}, {value}"),
                    )
                    .with_hint("fit one to this channel, or use the surrogate's"),
                );
            }
        }
    }
    let tokens = surrogate.made_with("prompt_tokens").and_then(|value| value.parse::<u32>().ok());
    for (index, group) in network.groups.iter().enumerate() {
        let asked = prompt_bounds(&group.workload);
        if let Some(fitted) = tokens.filter(|&tokens| asked != (tokens, tokens)) {
            let path = format!("ue[{index}].workload.prompt_tokens");
            let message = format!("the surrogate was fitted to prompts of {}", counted(fitted, "token"));
            problems.push(Problem::warning(path, message).with_hint("its perplexity is that of the fit"));
        }
    }
}

/// A quantity that goes beyond what a surrogate has seen.
fn beyond(surrogate: &Surrogate, input: Input, path: String, asked: (f64, f64)) -> Option<Problem> {
    let (low, high) = surrogate.range(input)?;
    // Random records come close to their bounds and do not meet them.
    let slack = 0.01 * (high - low);
    (asked.0 < low - slack || asked.1 > high + slack).then(|| {
        let value = if asked.0 == asked.1 { asked.0.to_string() } else { format!("{} to {}", asked.0, asked.1) };
        Problem::error(path, format!("the surrogate has seen {input} from {low} to {high}"))
            .with_value(value)
            .with_hint("fit one to a wider range")
    })
}

/// Policies from a file fit what their controllers see and can do.
pub(super) fn check_policies(scenario: &Scenario, inputs: &Inputs, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let owners = World::controllers(network);
    for (index, table) in scenario.controller.tables().iter().enumerate() {
        let (Some(file), Some(name)) = (&inputs.policies[index], &table.policy_in) else { continue };
        let observed: Vec<&str> = table.observe.iter().map(|observed| observed.name()).collect();
        let actions = saved_actions(table, network);
        let controllers = owners.iter().filter(|(owner, _)| *owner == index).count();
        let (hidden, activation) = table.hidden();
        let checked = file
            .check(name, table.kind.name(), &observed, &actions, controllers)
            // One that doesn't learn comes with its own networks.
            .and_then(|()| if table.learn { file.check_networks(name, hidden, activation) } else { Ok(()) });
        if let Err(error) = checked {
            problems.push(
                Problem::error(
                    format!("{}.policy_in", scenario.controller.path("controller", index)),
                    error.to_string(),
                )
                .with_hint("set the scenario's keys to those of the policy, or take another policy"),
            );
        }
    }
}

/// Where evaluations have an optimum, it is one: rewards are what the table says, and stay so for an episode.
pub(super) fn check_optimum(scenario: &Scenario, inputs: &Inputs, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let expects = inputs.table.is_some() || inputs.surrogate.is_some();
    if !scenario.evaluates() || !expects || scenario.reward.kind == RewardKind::Weighted {
        return;
    }
    // That real rewards aren't a table's is what who asks for them wants to see.
    if !matches!(scenario.evaluation_source(), QualitySourceName::Table | QualitySourceName::Surrogate) {
        return;
    }
    let tables = scenario.controller.tables();
    let judged = |controller: usize| tables[controller].kind.is_learner();
    let (mut outages, mut moving, mut late) = (false, false, false);
    for group in network.groups.iter().filter(|group| judged(group.controller)) {
        let channel = &network.channels[group.channel];
        let loses = channel.loss_unit != LossUnit::ElementIid && loss_bounds(channel).1 > 0.0;
        outages |= loses && !channel.fading.is_none();
        late |= group.deadline.is_some();
        let parameters = match &channel.outage {
            OutageSpec::ScaleAndLoss { rayleigh_scale: a, loss_probability: b }
            | OutageSpec::ScaleAndThreshold { rayleigh_scale: a, gain_threshold: b }
            | OutageSpec::ThresholdAndLoss { gain_threshold: a, loss_probability: b } => [a, b, &channel.noise_std],
        };
        let varies = |parameter: &&Parameter| {
            matches!(parameter, Parameter::Walk { .. } | Parameter::Drawn { draw: Draw::PerRequest, .. })
        };
        moving |= parameters.iter().any(varies);
    }
    moving |= matches!(network.split.initial, InitialSplit::Drawn { draw: Draw::PerRequest, .. });
    let reasons: Vec<&str> = [
        (outages, "a request may be lost whole, which the table doesn't know"),
        (late, "a request may be late"),
        (moving, "conditions or the split are drawn anew within an episode"),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect();
    if !reasons.is_empty() {
        let message = format!("the optimum of the evaluation is an estimate and no bound: {}", reasons.join("; "));
        problems.push(
            Problem::warning("evaluation", message).with_hint(
                "regret may be below 0; loss_unit = \"element-iid\" and draw = \"per-episode\" make it exact",
            ),
        );
    }
}
