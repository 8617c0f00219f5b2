//! Cross-validation by points: each row is predicted by a fit that saw no row of its point.

use rayon::prelude::*;

use crate::control::{
    DrawnFrom, Input, Surrogate, SurrogateRow, SurrogateScratch, Target, TrainingError, shuffled, train_over,
};
use crate::kernel::Streams;
use crate::rl::RegressionSettings;
use crate::run::fit::metrics::{Figures, Scored};

/// The final fit's number among the fits of a seed; fold f has f + 1.
const FINAL: u32 = 0;

/// The fold of each row, from the row's point: points in a random order, cut into `folds` parts of equally many.
pub fn assign(point_of: &[u32], points: usize, folds: u32, streams: Streams) -> Vec<u32> {
    let mut fold_of_point = vec![0; points];
    for (place, point) in shuffled(points, streams, FINAL, 0).into_iter().enumerate() {
        fold_of_point[point] = (place as u64 * u64::from(folds) / points.max(1) as u64) as u32;
    }
    point_of.iter().map(|&point| fold_of_point[point as usize]).collect()
}

/// What all fits share.
#[derive(Clone, Copy)]
pub struct Fits<'a> {
    /// All rows.
    pub rows: &'a [SurrogateRow],
    /// Number of each row's point.
    pub point_of: &'a [u32],
    /// Inputs.
    pub inputs: &'a [Input],
    /// Target.
    pub target: Target,
    /// The ranges that the rows were drawn from, where they are known.
    pub drawn_from: &'a DrawnFrom,
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
    /// Its figures on the rows that it held out.
    pub figures: Figures,
    /// The rows that it held out, by index, and their scores.
    pub scored: Vec<(usize, Scored)>,
}

impl Fits<'_> {
    /// Fits all folds, in parallel in the current pool; `watch` is told of each when it is done. The result stands in
    /// their order and depends on nothing else.
    ///
    /// # Errors
    /// [`TrainingError`] of the first fold that fails, with its number.
    pub fn cross_validate(
        &self,
        fold_of: &[u32],
        folds: u32,
        watch: &(dyn Fn(&FoldFit) + Sync),
    ) -> Result<Vec<FoldFit>, (u32, TrainingError)> {
        let one = |fold: u32| {
            let fit = self.fold(fold_of, fold).map_err(|error| (fold, error))?;
            watch(&fit);
            Ok(fit)
        };
        (0..folds).into_par_iter().map(one).collect::<Vec<Result<FoldFit, _>>>().into_iter().collect()
    }

    fn fold(&self, fold_of: &[u32], fold: u32) -> Result<FoldFit, TrainingError> {
        let training: Vec<SurrogateRow> =
            self.rows.iter().zip(fold_of).filter(|(_, of)| **of != fold).map(|(row, _)| *row).collect();
        let surrogate = self.train(&training, fold + 1)?;
        let constant = mean_target(&training, self.target);
        let held_out = (0..self.rows.len()).filter(|&index| fold_of[index] == fold);
        let mut scratch = SurrogateScratch::default();
        let scored: Vec<(usize, Scored)> = held_out
            .filter_map(|index| {
                let (row, point) = (&self.rows[index], self.point_of[index]);
                Some((index, score(&surrogate, row, point, constant, &mut scratch)?))
            })
            .collect();
        let rows: Vec<Scored> = scored.iter().map(|(_, scored)| *scored).collect();
        let nothing = TrainingError::Points { points: 0, rows: 0 };
        let figures = Figures::of(&rows).ok_or(nothing)?;
        Ok(FoldFit { fold, epochs: epochs(&surrogate), figures, scored })
    }

    /// The fit to all rows.
    ///
    /// # Errors
    /// [`TrainingError`] if it fails.
    pub fn whole(&self) -> Result<Surrogate, TrainingError> {
        self.train(self.rows, FINAL)
    }

    fn train(&self, rows: &[SurrogateRow], entity: u32) -> Result<Surrogate, TrainingError> {
        let drawn_from = Some(self.drawn_from);
        train_over(rows, self.inputs, self.target, self.settings, self.streams, entity, drawn_from)
    }
}

/// Epochs that a surrogate was trained.
pub fn epochs(surrogate: &Surrogate) -> f64 {
    surrogate.metrics().get("epochs").copied().unwrap_or(0.0)
}

/// The mean target of rows.
pub fn mean_target(rows: &[SurrogateRow], target: Target) -> f64 {
    rows.iter().filter_map(|row| target.of(row)).sum::<f64>() / rows.len().max(1) as f64
}

/// A row beside its prediction; `None` if it has no target.
pub fn score(
    surrogate: &Surrogate,
    row: &SurrogateRow,
    point: u32,
    constant: f64,
    scratch: &mut SurrogateScratch,
) -> Option<Scored> {
    let target = surrogate.target().of(row)?;
    Some(Scored { point, target, prediction: surrogate.predict(&row.point, scratch), constant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_have_equally_many_points_and_hold_them_whole() {
        let point_of: Vec<u32> = (0..23).flat_map(|point| [point, point]).collect();
        let fold_of = assign(&point_of, 23, 5, Streams::new(1, 0));
        assert!(fold_of.chunks(2).all(|pair| pair[0] == pair[1]));
        let mut counts = [0; 5];
        for &fold in &fold_of {
            counts[fold as usize] += 1;
        }
        counts.sort_unstable();
        assert_eq!(counts, [8, 8, 10, 10, 10]);
        assert_ne!(fold_of, assign(&point_of, 23, 5, Streams::new(2, 0)));
    }
}
