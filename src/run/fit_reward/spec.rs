//! What is asked of `splitwave fit-reward`.

use serde_json::{Value, json};

use crate::control::collaboration::{HeadFeature, HeadLevel};
use crate::rl::RegressionSettings;
use crate::run::fit_reward::error::FitRewardError;

/// Most folds.
const MOST_FOLDS: u32 = 1000;
/// Prompts that are rolled out by default, if the text has as many.
pub(super) const DEFAULT_PROMPTS: u32 = 1000;

/// A reward head to make.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRewardSpec {
    /// The small model, as a scenario names one.
    pub device: String,
    /// The large model.
    pub edge: String,
    /// The text that prompts are cut from.
    pub corpus: String,
    /// Another text that the final head is checked on.
    pub check: Option<String>,
    /// What the head predicts the reward of.
    pub level: HeadLevel,
    /// Names of its inputs; `None` for all of the level.
    pub features: Option<Vec<String>>,
    /// Prompts; `None` for as many as the text has, at most 1000.
    pub prompts: Option<u32>,
    /// Rows of a prompt, S: a BOS token is one of them.
    pub prompt_tokens: u32,
    /// Most tokens of a rollout, T.
    pub output_tokens: u32,
    /// Sampling temperature of the small model; 0 for the largest logit.
    pub temperature: f64,
    /// Folds of the cross-validation.
    pub folds: u32,
    /// Seed of rollouts, first weights, folds and orders.
    pub seed: u64,
    /// How networks are trained.
    pub regression: RegressionSettings,
}

/// How heads are trained by default: rows of one rollout are alike, and a wide input is soon learned by heart.
pub fn default_regression() -> RegressionSettings {
    RegressionSettings {
        hidden: vec![64],
        learning_rate: 1e-3,
        batch_size: 256,
        epochs: 100,
        patience: 5,
        weight_decay: 0.1,
        ..RegressionSettings::default()
    }
}

/// What an option of `splitwave fit-reward` may be, by its name.
pub fn allowed(option: &str) -> &'static str {
    match option {
        "folds" => "2 to 1000",
        "seed" => "0 to 18446744073709551615",
        "prompts" => "2 to 1000000",
        "prompt-tokens" => "2 to 1000000, and with the rollout no more than the models have positions",
        "temperature" => "0 to 100",
        "hidden" => "1 to 8 layers of 1 to 4096 neurons, comma-separated",
        "learning-rate" => "above 0, at most 1",
        "validation-share" => "above 0 and below 1",
        "weight-decay" => "0 to 1",
        _ => "1 to 1000000",
    }
}

impl FitRewardSpec {
    /// The inputs that were asked for, in their order.
    ///
    /// # Errors
    /// [`FitRewardError`] if one is none of this level, or stands there twice.
    pub(super) fn asked_features(&self) -> Result<Vec<HeadFeature>, FitRewardError> {
        let known = self.level.features();
        let Some(names) = &self.features else { return Ok(known.to_vec()) };
        let mut features = Vec::with_capacity(names.len());
        for name in names {
            let feature = HeadFeature::named(name.trim()).filter(|feature| known.contains(feature));
            let feature = feature.ok_or_else(|| FitRewardError::Feature { name: name.clone(), level: self.level })?;
            if features.contains(&feature) {
                return Err(FitRewardError::FeatureTwice { name: feature.name() });
            }
            features.push(feature);
        }
        features.sort_unstable();
        Ok(features)
    }

    /// Checks every option but the inputs.
    ///
    /// # Errors
    /// [`FitRewardError::Option`].
    pub(super) fn check(&self) -> Result<(), FitRewardError> {
        let refuse = |option, value: String| Err(FitRewardError::Option { option, value, allowed: allowed(option) });
        let RegressionSettings {
            hidden,
            learning_rate,
            batch_size,
            epochs,
            patience,
            validation_share,
            weight_decay,
            ..
        } = &self.regression;
        if !(2..=MOST_FOLDS).contains(&self.folds) {
            return refuse("folds", self.folds.to_string());
        }
        if let Some(prompts) = self.prompts.filter(|prompts| !(2..=1_000_000).contains(prompts)) {
            return refuse("prompts", prompts.to_string());
        }
        if !(2..=1_000_000).contains(&self.prompt_tokens) {
            return refuse("prompt-tokens", self.prompt_tokens.to_string());
        }
        if !(0.0..=100.0).contains(&self.temperature) {
            return refuse("temperature", self.temperature.to_string());
        }
        if hidden.is_empty() || hidden.len() > 8 || hidden.iter().any(|width| !(1..=4096).contains(width)) {
            let widths: Vec<String> = hidden.iter().map(u32::to_string).collect();
            return refuse("hidden", widths.join(","));
        }
        if !(*learning_rate > 0.0 && *learning_rate <= 1.0) {
            return refuse("learning-rate", learning_rate.to_string());
        }
        let counts = [
            ("output-tokens", &self.output_tokens),
            ("batch-size", batch_size),
            ("epochs", epochs),
            ("patience", patience),
        ];
        for (option, value) in counts {
            if !(1..=1_000_000).contains(value) {
                return refuse(option, value.to_string());
            }
        }
        if !(*validation_share > 0.0 && *validation_share < 1.0) {
            return refuse("validation-share", validation_share.to_string());
        }
        if !(0.0..=1.0).contains(weight_decay) {
            return refuse("weight-decay", weight_decay.to_string());
        }
        Ok(())
    }

    /// Everything that the numbers of a fit depend on but the program; `hashes` are those of models and texts.
    pub(super) fn identity(&self, hashes: &Value, features: &[HeadFeature], prompts: usize) -> Value {
        let identity = json!({
            "hashes": hashes,
            "level": self.level,
            "features": features,
            "prompts": prompts,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "temperature": self.temperature,
            "folds": self.folds,
            "seed": self.seed,
            "regression": self.regression,
        });
        // As it is read again: the JSON parser's last digit isn't exact.
        serde_json::from_str(&identity.to_string()).unwrap_or(identity)
    }
}
