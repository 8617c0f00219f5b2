//! What is asked of a fit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::control::{Input, Target};
use crate::rl::RegressionSettings;
use crate::run::fit::error::FitError;
use crate::run::fit::records::Records;

/// Most folds.
const MOST_FOLDS: u32 = 1000;

/// A fit to make.
#[derive(Clone, Debug, PartialEq)]
pub struct FitSpec {
    /// Names of the inputs; `None` for the columns that vary.
    pub inputs: Option<Vec<String>>,
    /// What is predicted.
    pub target: Target,
    /// Folds of the cross-validation.
    pub folds: u32,
    /// Seed of first weights, folds and orders.
    pub seed: u64,
    /// How networks are trained.
    pub regression: RegressionSettings,
}

/// What an option of `splitwave fit` may be, by its name.
pub fn allowed(option: &str) -> &'static str {
    match option {
        "folds" => "2 to 1000",
        "seed" => "0 to 18446744073709551615",
        "hidden" => "1 to 8 layers of 1 to 4096 neurons, comma-separated",
        "learning-rate" => "above 0, at most 1",
        "validation-share" => "above 0 and below 1",
        "weight-decay" => "0 to 1",
        "ppl-cap" => "a finite number of at least 1",
        _ => "1 to 1000000",
    }
}

impl FitSpec {
    /// The inputs that were asked for, in their order.
    ///
    /// # Errors
    /// [`FitError`] if one is none, or stands there twice.
    pub(super) fn asked_inputs(&self) -> Result<Option<Vec<Input>>, FitError> {
        let Some(names) = &self.inputs else { return Ok(None) };
        let mut inputs = Vec::with_capacity(names.len());
        for name in names {
            let input = Input::named(name.trim()).ok_or_else(|| FitError::Input { name: name.clone() })?;
            if inputs.contains(&input) {
                return Err(FitError::InputTwice { name: input.name().to_owned() });
            }
            inputs.push(input);
        }
        inputs.sort_unstable();
        Ok(Some(inputs))
    }

    /// Checks every option but the inputs.
    ///
    /// # Errors
    /// [`FitError::Option`].
    pub(super) fn check(&self) -> Result<(), FitError> {
        let refuse = |option, value: String| Err(FitError::Option { option, value, allowed: allowed(option) });
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
        if hidden.is_empty() || hidden.len() > 8 || hidden.iter().any(|width| !(1..=4096).contains(width)) {
            let widths: Vec<String> = hidden.iter().map(u32::to_string).collect();
            return refuse("hidden", widths.join(","));
        }
        if !(*learning_rate > 0.0 && *learning_rate <= 1.0) {
            return refuse("learning-rate", learning_rate.to_string());
        }
        if !(1..=1_000_000).contains(batch_size) {
            return refuse("batch-size", batch_size.to_string());
        }
        for (option, value) in [("epochs", epochs), ("patience", patience)] {
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
        if let Target::Ppl { cap: Some(cap) } = self.target
            && !(cap.is_finite() && cap >= 1.0)
        {
            return refuse("ppl-cap", cap.to_string());
        }
        Ok(())
    }

    /// Everything that the numbers of a fit depend on but the program.
    pub(super) fn identity(&self, inputs: &[Input], records: &Records, check: Option<&Records>) -> Value {
        let hashes = |records: &Records| records.files.iter().map(|file| file.blake3.clone()).collect::<Vec<_>>();
        let range = |(input, range): (&Input, &(f64, f64))| (input.name(), *range);
        let identity = json!({
            "records": hashes(records),
            "check": check.map(hashes),
            "inputs": inputs.iter().map(|input| input.name()).collect::<Vec<_>>(),
            "target": self.target.name(),
            "ppl_cap": if let Target::Ppl { cap } = self.target { cap } else { None },
            "folds": self.folds,
            "seed": self.seed,
            "regression": self.regression,
            "drawn_from": records.drawn_from.iter().map(range).collect::<BTreeMap<_, _>>(),
        });
        // As it is read again: the JSON parser's last digit isn't exact.
        serde_json::from_str(&identity.to_string()).unwrap_or(identity)
    }
}
