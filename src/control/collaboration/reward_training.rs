//! Training of a reward head: least squares over a device's own tokens as the edge's model judged them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::control::collaboration::head_inputs::{HeadFeature, HeadLevel};
use crate::control::collaboration::reward_head::{HeadPair, RewardHead, Standard, standardise};
use crate::control::collaboration::reward_head_file::RewardHeadError;
use crate::kernel::{Purpose, Streams};
use crate::rl::{Passes, RegressionError, RegressionSettings, fit};

/// Where the draws that hold prompts out begin in [`Purpose::HeadFit`]: behind those of folds.
const HOLD_OUT_AT: u64 = 1 << 32;

/// A reward head that can't be trained.
#[derive(Debug, thiserror::Error)]
pub enum HeadTrainingError {
    /// Nothing to learn from, or nothing to stop by.
    #[error("{prompts} prompts in {rows} rows: a reward head takes at least 2; take more prompts")]
    Prompts {
        /// Different prompts.
        prompts: usize,
        /// Rows.
        rows: usize,
    },
    /// The optimiser failed.
    #[error(transparent)]
    Regression(#[from] RegressionError),
    /// The result can't be written.
    #[error(transparent)]
    File(#[from] RewardHeadError),
}

/// What a head is fitted to.
#[derive(Clone, Copy, Debug)]
pub struct HeadRows<'a> {
    /// What the rows are: tokens, or queries.
    pub level: HeadLevel,
    /// The groups of inputs, in their order.
    pub features: &'a [HeadFeature],
    /// d of the device.
    pub width: usize,
    /// Inputs \[n × columns\], as `token_inputs` or `query_inputs` give them.
    pub inputs: &'a [f32],
    /// Labels r, at most 0 \[n\].
    pub labels: &'a [f64],
    /// The prompt of each row \[n\]: rows of one prompt are trained on, or stopped by, together.
    pub prompts: &'a [u32],
}

/// What else a head knows of itself.
#[derive(Clone, Debug)]
pub struct HeadOrigin {
    /// The models.
    pub pair: HeadPair,
    /// Sampling temperature of the device's tokens.
    pub temperature: f64,
    /// Text, prompts, settings.
    pub made_with: BTreeMap<String, String>,
}

impl HeadRows<'_> {
    /// Inputs of a row.
    pub fn columns(&self) -> usize {
        self.features.iter().map(|feature| feature.width(self.level, self.width)).sum()
    }

    /// A head fitted to all rows. A share of the prompts, `settings.validation_share`, is held out to stop early;
    /// `entity` numbers the fits of one run, so that each has first weights and orders of its own.
    ///
    /// # Errors
    /// [`HeadTrainingError`] if there are fewer than two prompts, a number isn't finite, or training diverges.
    pub fn train(
        &self,
        origin: &HeadOrigin,
        settings: &RegressionSettings,
        streams: Streams,
        entity: u32,
    ) -> Result<RewardHead, HeadTrainingError> {
        let held_out = self.held_out(settings.validation_share, streams, entity)?;
        let columns: Vec<Standard> = self.standards();
        let label = Standard::of(self.labels.iter().copied());
        let mut inputs = self.inputs.to_vec();
        standardise(&columns, &mut inputs);
        let labels: Vec<f32> = self.labels.iter().map(|r| ((r - label.mean) / label.scale) as f32).collect();
        let mut go_on = |_: u32, _: f64| ControlFlow::Continue(());
        let fitted = fit(&inputs, self.columns(), &labels, &held_out, settings, streams, entity, &mut go_on)?;
        let squared = label.scale * label.scale;
        let metrics = [
            ("rows", self.labels.len() as f64),
            ("epochs", f64::from(fitted.epochs)),
            ("training_mse", fitted.training_mse * squared),
            ("validation_mse", fitted.validation_mse * squared),
        ];
        let mut head = RewardHead {
            level: self.level,
            features: self.features.to_vec(),
            width: self.width,
            network: fitted.network,
            columns,
            label,
            pair: origin.pair.clone(),
            temperature: origin.temperature,
            range: (0.0, 0.0),
            made_with: origin.made_with.clone(),
            metrics: metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            content_hash: String::new(),
        };
        let predictions = self.predictions(&head);
        let finite = predictions.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite.fold((0.0, f64::NEG_INFINITY), |(a, b), x| (f64::min(a, x), f64::max(b, x)));
        head.range = (low, high.max(low));
        Ok(head.sealed()?)
    }

    /// What a head of these features predicts for the rows.
    pub fn predictions(&self, head: &RewardHead) -> Vec<f64> {
        const ROWS_AT_ONCE: usize = 1024;
        let mut passes = Passes::default();
        let parts = self.inputs.chunks(ROWS_AT_ONCE * self.columns().max(1));
        parts.flat_map(|part| head.predict_rows(part.to_vec(), &mut passes)).collect()
    }

    fn standards(&self) -> Vec<Standard> {
        let columns = self.columns();
        let of = |column: usize| Standard::of(self.inputs.iter().skip(column).step_by(columns).map(|&x| f64::from(x)));
        (0..columns).map(of).collect()
    }

    /// Which rows are held out: those of randomly chosen prompts, as many as the share says, at least one and not all.
    pub(super) fn held_out(&self, share: f64, streams: Streams, entity: u32) -> Result<Vec<bool>, HeadTrainingError> {
        let numbers: BTreeMap<u32, usize> = self.prompts.iter().map(|&prompt| (prompt, 0)).collect();
        let numbers: BTreeMap<u32, usize> =
            numbers.into_keys().enumerate().map(|(number, key)| (key, number)).collect();
        let count = numbers.len();
        if count < 2 {
            return Err(HeadTrainingError::Prompts { prompts: count, rows: self.prompts.len() });
        }
        let wanted = ((share * count as f64).round() as usize).clamp(1, count - 1);
        let mut held = vec![false; count];
        for &number in &shuffled_prompts(count, streams, entity, HOLD_OUT_AT)[..wanted] {
            held[number] = true;
        }
        Ok(self.prompts.iter().map(|prompt| held[numbers[prompt]]).collect())
    }
}

impl Standard {
    /// Mean and standard deviation (of the population) of values; 1 in place of a deviation that is none.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (mut count, mut sum) = (0_u64, 0.0);
        for value in values.clone() {
            count += 1;
            sum += value;
        }
        let n = count.max(1) as f64;
        let mean = sum / n;
        let scale = (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
        // What rounding leaves of equal numbers is no spread.
        Self { mean, scale: if scale > 1e-12 * mean.abs() { scale } else { 1.0 } }
    }
}

/// `0..count` in an order of its own for each fit (Fisher and Yates), by the draws of [`Purpose::HeadFit`] from block
/// `first` on.
pub fn shuffled_prompts(count: usize, streams: Streams, entity: u32, first: u64) -> Vec<usize> {
    let stream = streams.stream(entity, Purpose::HeadFit).starting_at(first);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, stream.below(last as u64, last as u64 + 1) as usize);
    }
    order
}

impl RewardHead {
    /// The same head with these figures beside its own.
    ///
    /// # Errors
    /// [`RewardHeadError`] if it can't be written as a file.
    pub fn with_metrics(mut self, metrics: BTreeMap<String, f64>) -> Result<Self, RewardHeadError> {
        self.metrics.extend(metrics.into_iter().filter(|(_, value)| value.is_finite()));
        self.sealed()
    }
}
