//! What collaborative modes and generated text need: the UE's own model, heads, and their agreement.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::control::collaboration::{
    Answer, BUILTIN_HEAD, Device, HeadLevel, ModelTexts, Perturbation, RewardHead, Scorer, Sureness, Tellers,
};
use crate::kernel::Streams;
use crate::llm::{CostModel, ExitHead, Geometry, LoadedModel, Sampling};
use crate::network::collaboration::{CollaborationSpec, Standing};
use crate::network::ports::ServiceMode;
use crate::network::spec::NetworkSpec;
use crate::network::text::TextSource;
use crate::run::assembly::Assembly;
use crate::run::checks::lengths;
use crate::run::inputs::Inputs;
use crate::run::wording::counted;
use crate::scenario::Problem;
use crate::scenario::schema::{Scenario, ServiceModeName};
use crate::units::SimTime;

/// What a scenario's `[collaboration]` names, loaded.
#[derive(Clone, Debug)]
pub struct CollaborationInputs {
    /// The UE's own model, where one generates tokens.
    pub device_model: Option<Arc<LoadedModel>>,
    /// What is paid for it.
    pub device_cost: CostModel,
    /// The reward model that decides, if one does.
    pub reward_head: Option<Arc<RewardHead>>,
    /// The exit, if there is one.
    pub exit_head: Option<Arc<ExitHead>>,
}

/// Whether a reward model decides, and by which key it is named.
pub fn head_key(scenario: &Scenario) -> Option<&'static str> {
    match scenario.service.mode {
        _ if scenario.scorer() != Scorer::Reward || !scenario.runs_model() => None,
        ServiceModeName::HybridReward => Some("collaboration.reward_head"),
        ServiceModeName::QueryRouter => Some("collaboration.router_head"),
        _ => None,
    }
}

/// The reward model in a file, or the built-in one; `level` is what the mode needs.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn open_head(scenario: &Scenario, resolve: impl Fn(&str) -> std::path::PathBuf) -> Result<RewardHead, String> {
    let routes = scenario.service.mode == ServiceModeName::QueryRouter;
    let table = &scenario.collaboration;
    let name = if routes { &table.router_head } else { &table.reward_head };
    let head = match (name == BUILTIN_HEAD, routes) {
        (true, true) => RewardHead::builtin_router(),
        (true, false) => RewardHead::builtin(),
        (false, _) => RewardHead::open(&resolve(name)),
    };
    let head = head.map_err(|error| error.to_string())?;
    let (needed, level, found) =
        if routes { (HeadLevel::Query, "query", "tokens") } else { (HeadLevel::Token, "token", "prompts") };
    if head.level() == needed {
        return Ok(head);
    }
    Err(format!("{name}: a reward model of {found}; this mode needs one of `splitwave fit-reward --level {level}`"))
}

/// The exit in a file, or the built-in one behind that layer.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn open_exit(name: &str, layer: u32, path: &Path) -> Result<ExitHead, String> {
    if name != BUILTIN_HEAD {
        return ExitHead::open(path).map_err(|error| error.to_string());
    }
    let known = || {
        let layers: Vec<String> = ExitHead::BUILTIN_LAYERS.iter().map(usize::to_string).collect();
        format!(
            "\"builtin\" has no exit behind layer {layer}, but behind {}; `splitwave fit-exit --layer {layer}` makes one",
            layers.join(", ")
        )
    };
    ExitHead::builtin(layer as usize).ok_or_else(known)?.map_err(|error| error.to_string())
}

/// What the network needs to know.
pub fn collaboration(scenario: &Scenario, inputs: &Inputs) -> Option<CollaborationSpec> {
    let table = &scenario.collaboration;
    let given = inputs.collaboration.as_ref()?;
    Some(CollaborationSpec {
        device: given.device_cost.clone(),
        threshold: scenario.threshold(),
        random_scores: scenario.scorer() == Scorer::Random,
        answer_deadline: Some(SimTime::from_secs_saturating(table.answer_deadline_ms * 1e-3)),
        upload_entries: table.top_k,
        probability_bits: table.probability_bits,
        exit_layer: table.exit_layer,
    })
}

impl Assembly {
    /// The texts of one run; raise `stop` to end it early. `None` where none are generated, or nobody reads them.
    pub fn texts(
        &self,
        streams: Streams,
        pool: &Arc<rayon::ThreadPool>,
        stop: &Arc<AtomicBool>,
    ) -> Option<Box<dyn TextSource>> {
        let given = self.inputs.collaboration.as_ref().filter(|_| self.scenario.runs_model())?;
        let (table, corpus) = (&self.scenario.collaboration, self.inputs.corpus.clone()?);
        let device = match (&given.device_model, &given.exit_head) {
            (Some(model), _) => Device::Small(model.clone()),
            (None, Some(head)) => Device::Exit(head.clone()),
            (None, None) => Device::Front,
        };
        let answer = match self.network.mode {
            ServiceMode::HybridUncertainty => {
                Answer::Judged { entries: table.top_k.map(|k| k as usize), bits: table.probability_bits }
            }
            _ => Answer::Own,
        };
        let tellers = Tellers {
            device,
            llm: self.inputs.model.clone(),
            sampling: Sampling { temperature: table.temperature, ..Sampling::default() },
            sureness: sureness(&self.scenario, given),
            answer,
            corpus,
            streams,
        };
        Some(Box::new(ModelTexts::new(tellers, pool.clone(), stop.clone())))
    }
}

fn sureness(scenario: &Scenario, given: &CollaborationInputs) -> Sureness {
    let table = &scenario.collaboration;
    let perturbation =
        Perturbation { samples: table.perturbation_samples, max_temperature: table.perturbation_max_temperature };
    match (scenario.service.mode, scenario.scorer(), &given.reward_head) {
        (ServiceModeName::HybridUncertainty, ..) => Sureness::Uncertainty(perturbation),
        (ServiceModeName::QueryRouter, Scorer::Reward, Some(head)) => Sureness::PromptHead(head.clone()),
        (_, Scorer::Reward, Some(head)) => Sureness::Head(head.clone()),
        (_, Scorer::Perturbation, _) => Sureness::Perturbation(perturbation),
        (_, scorer, _) => Sureness::Confidence(scorer),
    }
}

/// What only the inputs can tell about collaboration.
pub fn check(scenario: &Scenario, inputs: &Inputs, network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let Some(given) = &inputs.collaboration else { return };
    let (table, model) = (&scenario.collaboration, &inputs.model);
    if let Some(device) = &given.device_model {
        let sentence = inputs.corpus.as_ref().map_or(0, |corpus| corpus.longest_window(0) as u64);
        check_device(device, model, (network, sentence), problems);
        if let Some(head) = &given.reward_head {
            let key = head_key(scenario).unwrap_or("collaboration.reward_head");
            if let Err(other) = head.check_pair(device, model) {
                problems.push(Problem::error(key, other.to_string()));
            } else if (head.temperature() - table.temperature).abs() > 1e-9 {
                let message = format!(
                    "this reward model was fitted to tokens drawn at temperature {}, and here it is {:?}",
                    head.temperature(),
                    table.temperature
                );
                problems.push(Problem::warning(key, message).with_hint(
                    "its scores may be off: fit one by `splitwave fit-reward --temperature`, or set collaboration.temperature",
                ));
            }
        }
    }
    let layers = network.model_layers;
    if network.mode == ServiceMode::EarlyExit {
        if table.exit_layer >= layers {
            let message = format!("an exit leaves layers behind it, and the model has {}", counted(layers, "layer"));
            problems.push(
                Problem::error("collaboration.exit_layer", message)
                    .with_value(table.exit_layer)
                    .with_allowed(format!("1 to {}", layers.saturating_sub(1))),
            );
        }
        if let Some(head) = &given.exit_head {
            if let Err(other) = head.check_model(model) {
                problems.push(Problem::error("collaboration.exit_head", other.to_string()));
            } else if head.layer() != table.exit_layer as usize {
                problems.push(
                    Problem::error("collaboration.exit_layer", "this exit was fitted behind another layer")
                        .with_value(table.exit_layer)
                        .with_allowed(head.layer().to_string()),
                );
            }
        }
    }
    if scenario.service.mode.is_collaborative() {
        check_threshold(scenario, given, inputs.vocabulary(scenario), problems);
        check_answers(network, problems);
    }
}

/// Both models read the same ids, and the device's has positions for the longest text.
fn check_device(
    device: &LoadedModel,
    model: &LoadedModel,
    (network, sentence): (&NetworkSpec, u64),
    problems: &mut Vec<Problem>,
) {
    let key = "collaboration.device_model";
    let (own, large) = (device.decoder.config(), model.decoder.config());
    let (hash, of_large) = (device.tokenizer.content_hash(), model.tokenizer.content_hash());
    // Two files may write the same vocabulary in two ways.
    let same_tokens = || {
        let (own, large) = (&device.tokenizer, &model.tokenizer);
        own.vocab() == large.vocab() && (0..own.vocab() as u32).all(|id| own.name(id) == large.name(id))
    };
    let same = hash == of_large || same_tokens();
    if !same || own.vocab != large.vocab || own.bos_token != large.bos_token {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let message = format!(
            "its tokenizer is not that of model.source: {} with {} tokens, and {} with {}",
            short(hash),
            own.vocab,
            short(of_large),
            large.vocab
        );
        problems.push(Problem::error(key, message).with_hint(
            "an id must mean the same token on the UE and on the edge: take two models of one family, with the same tokenizer.json",
        ));
        return;
    }
    // Sentences bring their own lengths.
    let prompt = |tokens: u32| if sentence > 0 { sentence } else { u64::from(tokens) };
    let rows = |(tokens, output): (u32, u32)| prompt(tokens) + u64::from(output) - 1;
    let longest = network.groups.iter().flat_map(|group| lengths(&group.workload)).map(rows).max().unwrap_or(0);
    if longest > own.max_positions as u64 {
        problems.push(
            Problem::error(key, "texts are longer than its context")
                .with_value(longest)
                .with_allowed(format!("at most {} rows of prompt and answer", own.max_positions)),
        );
    }
}

/// A threshold that no score is on the other side of.
fn check_threshold(scenario: &Scenario, given: &CollaborationInputs, vocabulary: usize, problems: &mut Vec<Problem>) {
    let threshold = scenario.threshold();
    let (least, most) = match scenario.scorer() {
        Scorer::Random => (0.0, 1.0),
        // Without its head an error has been said already.
        Scorer::Reward if given.reward_head.is_none() => return,
        _ => sureness(scenario, given).range(vocabulary),
    };
    let uncertainty = scenario.service.mode == ServiceModeName::HybridUncertainty;
    let what = match (scenario.service.mode, scenario.scorer()) {
        (ServiceModeName::QueryRouter, _) => "request",
        _ => "token",
    };
    // Infinite thresholds say what they mean.
    if !threshold.is_finite() || (least..=most).contains(&threshold) {
        return;
    }
    let all_kept = (threshold < least) != uncertainty;
    let then = if all_kept { "stays on the UE, and the edge is never asked" } else { "is asked of the edge" };
    let side = if threshold < least { "below" } else { "above" };
    let message = format!(
        "{threshold} is {side} the scores of {:?}, {} to {}: every {what} {then}",
        if uncertainty { "hybrid-uncertainty" } else { scenario.scorer().name() },
        rounded(least),
        rounded(most),
    );
    problems.push(Problem::warning("collaboration.threshold", message).with_hint(
        "`splitwave fit-reward` prints the thresholds of edge shares; \"inf\" and \"-inf\" say that this is meant",
    ));
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A deadline that no answer can meet, even of an idle edge over an idle radio.
fn check_answers(network: &NetworkSpec, problems: &mut Vec<Problem>) {
    let (Some(method), Some(spec)) = (network.mode.method(), &network.collaboration) else { return };
    let Some(deadline) = spec.answer_deadline else { return };
    // The least that can be asked for: one input that the edge has not seen.
    let standing = Standing { prompt: 1, position: 1, at_edge: 1, computed: 1 };
    let edge = match network.edge.service {
        None => network.edge.processor.time(method.edge_work(network, spec, &standing)),
        Some(_) => SimTime::ZERO,
    };
    let back = SimTime::from_secs_saturating(network.downlink.latency_s);
    let least = edge + back;
    if deadline <= least {
        let ms = |time: SimTime| time.as_secs_f64() * 1e3;
        let message = format!(
            "no answer can come in time: the edge's pass and the way back take at least {:.3} ms, so the UE's own token stands each time it asks",
            ms(least)
        );
        problems.push(
            Problem::warning("collaboration.answer_deadline_ms", message)
                .with_value(ms(deadline))
                .with_hint("allow more time, or take a faster edge.device or a smaller radio.downlink_latency_ms"),
        );
    }
}

/// The geometry that `device_cost_as` names, if it is no file.
pub fn named_device_cost(scenario: &Scenario, device: Option<&LoadedModel>) -> Option<Geometry> {
    let table = &scenario.collaboration;
    match device {
        Some(model) if table.device_cost_as == "self" => {
            Some(Geometry::of_model(&table.device_model, model.decoder.config()))
        }
        _ => Geometry::named(&table.device_cost_as),
    }
}
