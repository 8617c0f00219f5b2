//! `[collaboration]`: the UE's own model, how sure it must be of its tokens, and what it does otherwise.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::control::collaboration::Scorer;
use crate::scenario::problem::Problem;
use crate::scenario::schema::{QualitySourceName, Scenario, ServiceModeName, TextName};

/// A threshold: a number, or one that is above or below any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold(pub f64);

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // JSON has no infinity.
        match self.0 {
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            value => serializer.serialize_f64(value),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"inf\" or \"-inf\"")
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Threshold, E> {
                Ok(Threshold(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Threshold, E> {
                Ok(Threshold(value as f64))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Threshold, E> {
                Ok(Threshold(value as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Threshold, E> {
                match text {
                    "inf" | "+inf" => Ok(Threshold(f64::INFINITY)),
                    "-inf" => Ok(Threshold(f64::NEG_INFINITY)),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["inf", "-inf"] }] })
    }
}

/// `[collaboration]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollaborationTable {
    /// The UE's own model, with the tokenizer of `model.source`: "builtin-small", or a path as `model.source` takes it (a pruned variant, as `splitwave model prune` writes it, say). Of mode "early-exit" the UE has layers of `model.source` instead.
    pub device_model: String,
    /// The model that the UE's FLOP and bytes are counted for, as `model.cost_as`; "self" is `device_model`.
    pub device_cost_as: String,
    /// Temperature T at which both models choose tokens, P ∝ exp(z/T); 0 for the first choice.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// How sure the UE is of a token (of mode "query-router" of the prompt). Default: "reward"; of mode "early-exit" "max-softmax"; mode "hybrid-uncertainty" always has U-HLM's u.
    pub scorer: Option<Scorer>,
    /// The UE keeps a token (a request, under "query-router") whose score is at least this; under "hybrid-uncertainty" one whose uncertainty u is at most this. "inf" and "-inf" are above and below any score. Default: one at which the edge is asked for about 30 % of the built-in models' tokens (53 % by u, whose steps allow no less); thresholds don't carry over to other models (`splitwave fit-reward` prints theirs).
    pub threshold: Option<Threshold>,
    /// The reward model of scorer "reward", as `splitwave fit-reward` writes it; "builtin" is that of the built-in models.
    pub reward_head: String,
    /// The same for the prompts of mode "query-router", of `splitwave fit-reward --level query`.
    pub router_head: String,
    /// Mode "early-exit": layers of `model.source` in front of the exit.
    #[schemars(range(min = 1))]
    pub exit_layer: u32,
    /// Mode "early-exit": the exit, as `splitwave fit-exit` writes it; "builtin" has those of the built-in model behind layers 4, 8 and 12.
    pub exit_head: String,
    /// The UE goes on with its own token if no answer has come so long after it asked \[ms\].
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e9))]
    pub answer_deadline_ms: f64,
    /// Mode "hybrid-uncertainty": entries of the token's distribution that are sent, the token's own and the most probable others (CU-HLM). Default: all, as U-HLM does.
    #[schemars(range(min = 1))]
    pub top_k: Option<u32>,
    /// Mode "hybrid-uncertainty": bits of each probability that is sent, an exponent -ln p from 0 to 20 in equal steps.
    #[schemars(range(min = 1, max = 52))]
    pub probability_bits: u32,
    /// U-HLM's u: tokens drawn at other temperatures, M.
    #[schemars(range(min = 1, max = 10_000))]
    pub perturbation_samples: u32,
    /// U-HLM's u: largest temperature θ_max; temperatures are uniform on (0, θ_max).
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 100))]
    pub perturbation_max_temperature: f64,
}

impl Default for CollaborationTable {
    fn default() -> Self {
        Self {
            device_model: "builtin-small".into(),
            device_cost_as: "tinyllama-1.1b".into(),
            temperature: 1.0,
            scorer: None,
            threshold: None,
            reward_head: "builtin".into(),
            router_head: "builtin".into(),
            exit_layer: 8,
            exit_head: "builtin".into(),
            answer_deadline_ms: 1000.0,
            top_k: None,
            probability_bits: 8,
            perturbation_samples: 20,
            perturbation_max_temperature: 2.0,
        }
    }
}

impl ServiceModeName {
    /// Whether the UE asks the edge for some of its tokens.
    pub fn is_collaborative(self) -> bool {
        matches!(self, Self::HybridReward | Self::HybridUncertainty | Self::EarlyExit | Self::QueryRouter)
    }
}

impl Scenario {
    /// Whether tokens are generated rather than read from the corpus.
    pub fn generates_text(&self) -> bool {
        self.service.mode.is_collaborative() || self.service.text == Some(TextName::Generated)
    }

    /// Whether the UE's own model generates tokens.
    pub fn has_device_model(&self) -> bool {
        use ServiceModeName::{DeviceOnly, HybridReward, HybridUncertainty, QueryRouter};
        self.generates_text()
            && matches!(self.service.mode, DeviceOnly | HybridReward | HybridUncertainty | QueryRouter)
    }

    /// The score that decides.
    pub fn scorer(&self) -> Scorer {
        let by_mode = match self.service.mode {
            ServiceModeName::EarlyExit => Scorer::MaxSoftmax,
            ServiceModeName::HybridUncertainty => return Scorer::Perturbation,
            _ => Scorer::Reward,
        };
        self.collaboration.scorer.unwrap_or(by_mode)
    }

    /// The threshold that it is held against.
    pub fn threshold(&self) -> f64 {
        self.collaboration
            .threshold
            .map_or_else(|| default_threshold(self.service.mode, self.scorer()), |given| given.0)
    }
}

/// Thresholds at which about 30 % of the built-in models' tokens (requests) are asked of the edge, as
/// `splitwave fit-reward` prints them.
fn default_threshold(mode: ServiceModeName, scorer: Scorer) -> f64 {
    match (mode, scorer) {
        // More than half of the tokens have u = 1: the least share that u can ask for, but none.
        (ServiceModeName::HybridUncertainty, _) => 0.97,
        (ServiceModeName::EarlyExit, Scorer::MaxSoftmax) => 0.1,
        (ServiceModeName::QueryRouter, Scorer::Reward) => -3.0,
        (_, Scorer::Reward) => -4.1,
        (_, Scorer::MaxSoftmax) => 0.125,
        (_, Scorer::Margin) => 0.032,
        (_, Scorer::Entropy) => -4.6,
        (_, Scorer::TokenProbability) => 0.006,
        (_, Scorer::Perturbation) => 0.025,
        (_, Scorer::Random) => 0.3,
    }
}

/// What the table says about other keys.
pub fn check_collaboration(problems: &mut Vec<Problem>, scenario: &Scenario) {
    let (mode, table) = (scenario.service.mode, &scenario.collaboration);
    if scenario.service.text == Some(TextName::Corpus) && mode.is_collaborative() {
        problems.push(
            Problem::error("service.text", "in this mode tokens follow from each other: they are generated")
                .with_value("\"corpus\"")
                .with_allowed("\"generated\"")
                .with_hint("leave it out"),
        );
    }
    if !scenario.generates_text() {
        return;
    }
    match scenario.quality.source {
        QualitySourceName::Llm => {}
        QualitySourceName::None if !mode.is_collaborative() || scenario.scorer() == Scorer::Random => {}
        QualitySourceName::None if mode == ServiceModeName::HybridUncertainty => problems.push(
            Problem::error("quality.source", "in this mode the edge judges distributions, which need the models")
                .with_value("\"none\"")
                .with_allowed("\"llm\"")
                .with_hint("without models, take mode = \"hybrid-reward\" with collaboration.scorer = \"random\""),
        ),
        QualitySourceName::None => problems.push(
            Problem::error("quality.source", format!("scores of {:?} need the models", scenario.scorer().name()))
                .with_value("\"none\"")
                .with_allowed("\"llm\"; or \"none\" with collaboration.scorer = \"random\"")
                .with_hint("without models, set collaboration.scorer = \"random\": threshold is then the share of tokens that are asked of the edge"),
        ),
        _ => problems.push(
            Problem::error("quality.source", "generated text is judged by the model itself")
                .with_allowed("\"llm\", or \"none\"")
                .with_hint("leave it out, or set service.text = \"corpus\" in a mode without collaboration"),
        ),
    }
    if mode == ServiceModeName::HybridUncertainty && table.scorer.is_some_and(|name| name != Scorer::Perturbation) {
        problems.push(
            Problem::error("collaboration.scorer", "mode \"hybrid-uncertainty\" decides by U-HLM's uncertainty u")
                .with_allowed("\"perturbation\"")
                .with_hint("leave it out, or take mode = \"hybrid-reward\", which decides by any scorer"),
        );
    }
    if mode == ServiceModeName::EarlyExit && scenario.scorer() == Scorer::Reward {
        problems.push(
            Problem::error(
                "collaboration.scorer",
                "a reward model judges the tokens of the UE's own model, and mode \"early-exit\" has none",
            )
            .with_value("\"reward\"")
            .with_allowed(
                "\"max-softmax\", \"margin\", \"entropy\", \"token-probability\", \"perturbation\" or \"random\"",
            ),
        );
    }
    if scenario.learns() {
        problems.push(
            Problem::error("service.text", "controllers learn from perplexity of the corpus, and text is generated")
                .with_value("\"generated\"")
                .with_hint("set service.text = \"corpus\", or controller.learn = false"),
        );
    }
}

/// Keys of the table that were set and play no part: name, and why.
pub fn unused_of_collaboration(scenario: &Scenario) -> Vec<(&'static str, &'static str)> {
    use ServiceModeName::{EarlyExit, HybridReward, HybridUncertainty, QueryRouter};
    let (table, default, mode) = (&scenario.collaboration, CollaborationTable::default(), scenario.service.mode);
    let mut found = Vec::new();
    // Files that compare modes share the table; only within a mode is it worth saying.
    if !mode.is_collaborative() {
        return found;
    }
    let scorer = scenario.scorer();
    let mut idle = |key, set: bool, because| {
        if set {
            found.push((key, because));
        }
    };
    let reads_head = mode == HybridReward && scorer == Scorer::Reward;
    let because = "the score is no reward model's";
    idle("reward_head", table.reward_head != default.reward_head && mode == HybridReward && !reads_head, because);
    let routes = scorer == Scorer::Reward;
    idle("router_head", table.router_head != default.router_head && mode == QueryRouter && !routes, because);
    let perturbs = scorer == Scorer::Perturbation;
    let because = "the score is not \"perturbation\"";
    let samples = table.perturbation_samples != default.perturbation_samples;
    idle("perturbation_samples", samples && mode != HybridUncertainty && !perturbs, because);
    let hottest = table.perturbation_max_temperature != default.perturbation_max_temperature;
    idle("perturbation_max_temperature", hottest && mode != HybridUncertainty && !perturbs, because);
    let exit = mode == EarlyExit && table.device_model != default.device_model;
    idle("device_model", exit, "mode \"early-exit\" has layers of model.source on the UE");
    found
}
