//! Cross-validation by prompts: each row is predicted by a fit that saw no token of its prompt.

use rayon::prelude::*;

use crate::control::collaboration::{HeadOrigin, HeadRows, HeadTrainingError, RewardHead, shuffled_prompts};
use crate::kernel::Streams;
use crate::rl::RegressionSettings;

/// The final fit's number among the fits of a seed; fold f has f + 1.
const FINAL: u32 = 0;

/// The fold of each prompt: prompts in a random order, cut into `folds` parts of equally many.
pub fn assign(prompts: usize, folds: u32, streams: Streams) -> Vec<u32> {
    let mut fold_of = vec![0; prompts];
    for (place, prompt) in shuffled_prompts(prompts, streams, FINAL, 0).into_iter().enumerate() {
        fold_of[prompt] = (place as u64 * u64::from(folds) / prompts.max(1) as u64) as u32;
    }
    fold_of
}

/// What all fits share.
#[derive(Clone, Copy)]
pub struct Fits<'a> {
    /// All rows.
    pub rows: HeadRows<'a>,
    /// What the heads know of themselves.
    pub origin: &'a HeadOrigin,
    /// Settings of the training.
    pub settings: &'a RegressionSettings,
    /// Draws.
    pub streams: Streams,
}

/// A fold's fit.
#[derive(Clone, Debug)]
pub struct FoldFit {
    /// Its number, from 0.
    pub fold: u32,
    /// Epochs trained.
    pub epochs: f64,
    /// The mean r of the rows that it was trained on.
    pub constant: f64,
    /// The rows that it held out, by index.
    pub rows: Vec<usize>,
    /// Their r̂.
    pub predictions: Vec<f64>,
}

impl Fits<'_> {
    /// Fits all folds, in parallel in the current pool; `watch` is told of each when it is done. The result stands in
    /// their order and depends on nothing else.
    ///
    /// # Errors
    /// [`HeadTrainingError`] of the first fold that fails, with its number.
    pub fn cross_validate(
        &self,
        fold_of: &[u32],
        folds: u32,
        watch: &(dyn Fn(&FoldFit) + Sync),
    ) -> Result<Vec<FoldFit>, (u32, HeadTrainingError)> {
        let one = |fold: u32| {
            let fit = self.fold(fold_of, fold).map_err(|error| (fold, error))?;
            watch(&fit);
            Ok(fit)
        };
        (0..folds).into_par_iter().map(one).collect::<Vec<Result<FoldFit, _>>>().into_iter().collect()
    }

    fn fold(&self, fold_of: &[u32], fold: u32) -> Result<FoldFit, HeadTrainingError> {
        let is_held = |row: &usize| fold_of[self.rows.prompts[*row] as usize] == fold;
        let (held, others): (Vec<usize>, Vec<usize>) = (0..self.rows.labels.len()).partition(is_held);
        let training = self.picked(&others);
        let head = training.rows(&self.rows).train(self.origin, self.settings, self.streams, fold + 1)?;
        let test = self.picked(&held);
        let constant = training.labels.iter().sum::<f64>() / training.labels.len().max(1) as f64;
        let predictions = test.rows(&self.rows).predictions(&head);
        Ok(FoldFit { fold, epochs: epochs(&head), constant, rows: held, predictions })
    }

    /// The fit to all rows.
    ///
    /// # Errors
    /// [`HeadTrainingError`] if it fails.
    pub fn whole(&self) -> Result<RewardHead, HeadTrainingError> {
        self.rows.train(self.origin, self.settings, self.streams, FINAL)
    }

    fn picked(&self, rows: &[usize]) -> Picked {
        let columns = self.rows.columns();
        Picked {
            inputs: rows
                .iter()
                .flat_map(|row| &self.rows.inputs[row * columns..(row + 1) * columns])
                .copied()
                .collect(),
            labels: rows.iter().map(|&row| self.rows.labels[row]).collect(),
            prompts: rows.iter().map(|&row| self.rows.prompts[row]).collect(),
        }
    }
}

/// Some of the rows.
struct Picked {
    inputs: Vec<f32>,
    labels: Vec<f64>,
    prompts: Vec<u32>,
}

impl Picked {
    fn rows<'a>(&'a self, all: &HeadRows<'a>) -> HeadRows<'a> {
        HeadRows { inputs: &self.inputs, labels: &self.labels, prompts: &self.prompts, ..*all }
    }
}

/// Epochs that a head was trained.
pub fn epochs(head: &RewardHead) -> f64 {
    head.metrics().get("epochs").copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_have_equally_many_prompts() {
        let fold_of = assign(23, 5, Streams::new(1, 0));
        let mut counts = [0; 5];
        for &fold in &fold_of {
            counts[fold as usize] += 1;
        }
        counts.sort_unstable();
        assert_eq!(counts, [4, 4, 5, 5, 5]);
        assert_ne!(fold_of, assign(23, 5, Streams::new(2, 0)));
    }
}
