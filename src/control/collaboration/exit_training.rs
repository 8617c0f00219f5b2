//! The refinement of an exit's map: Adam down the gradient of KL(full model ‖ exit), which is what a device wants to be
//! small, where ridge regression only brings the states near.

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut};

use super::exit_ridge::Affine;
use crate::llm::{DecoderError, HeadLoss, Hidden, Teacher};
use crate::rl::{Adam, clip_norm};

/// Longest gradient, of the mean divergence over the rows of a minibatch, that is followed at full length.
const LONGEST_GRADIENT: f64 = 1.0;
/// Adam's ε.
const EPS: f64 = 1e-8;

/// What one window says of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowGradient {
    /// Σ KL(p‖q) over its rows \[nat\].
    pub kl_sum: f64,
    /// Rows.
    pub rows: usize,
    /// The gradient of the sum, laid out as [`Affine`].
    pub gradient: Affine,
}

/// `A x + b` of each row \[S × d\].
pub fn translated(affine: &[f32], early: &Hidden) -> Option<Hidden> {
    let (width, rows) = (early.width(), early.rows());
    let (a, b) = affine.split_at_checked(width * width)?;
    let mut out: Vec<f32> = (0..rows).flat_map(|_| b.iter().copied()).collect();
    if b.len() != width {
        return None;
    }
    let a = DMatrix::from_row_slice(width, width, a);
    let x = DMatrixView::from_slice(early.values(), width, rows);
    DMatrixViewMut::from_slice(&mut out, width, rows).gemm(1.0, &a, &x, 1.0);
    Hidden::from_vec(out, width).ok()
}

/// Σ KL(p‖q) of a window at `A h_e + b`, and its gradient with respect to A and b: with g = ∂KL/∂(A h_e + b) of each row,
/// `∂/∂A = Σ g h_eᵀ` and `∂/∂b = Σ g`.
///
/// # Errors
/// [`DecoderError`] if shapes don't fit, or the logits aren't finite.
pub fn window_gradient(
    loss: &HeadLoss<'_>,
    teacher: &Teacher,
    early: &Hidden,
    affine: &[f32],
) -> Result<WindowGradient, DecoderError> {
    let (width, rows) = (early.width(), early.rows());
    let expected = loss.decoder().config().d_model;
    let states = translated(affine, early).ok_or(DecoderError::Width { found: width, expected })?;
    let (kl_sum, of_states) = loss.divergence(teacher, &states)?;
    let mut gradient = vec![0.0; width * width + width];
    let (a, b) = gradient.split_at_mut(width * width);
    let x = DMatrixView::from_slice(early.values(), width, rows);
    let g = DMatrixView::from_slice(&of_states, width, rows).transpose();
    // (∂/∂A)ᵀ, column after column, is ∂/∂A row after row.
    DMatrixViewMut::from_slice(a, width, width).gemm(1.0, &x, &g, 0.0);
    for row in of_states.chunks_exact(width) {
        for (sum, &g) in b.iter_mut().zip(row) {
            *sum += g;
        }
    }
    Ok(WindowGradient { kl_sum, rows, gradient })
}

/// A map that is being refined, and the best one so far.
#[derive(Clone, Debug)]
pub struct ExitTraining {
    current: Affine,
    adam: Adam<f32>,
    best: Affine,
    best_epoch: u32,
    best_kl: f64,
}

impl ExitTraining {
    /// From a first map, whose held-out divergence is `kl` \[nat per row\].
    pub fn new(first: Affine, kl: f64) -> Self {
        let adam = Adam::new(first.len(), EPS);
        Self { best: first.clone(), current: first, adam, best_epoch: 0, best_kl: kl }
    }

    /// The map to be judged.
    pub fn current(&self) -> &[f32] {
        &self.current
    }

    /// One step down the mean gradient of the rows of some windows, added in their order. Of no rows, none.
    pub fn step(&mut self, windows: &[&WindowGradient], learning_rate: f64) {
        let rows: usize = windows.iter().map(|window| window.rows).sum();
        if rows == 0 {
            return;
        }
        let mut mean = vec![0.0_f32; self.current.len()];
        for window in windows {
            for (sum, &part) in mean.iter_mut().zip(&window.gradient) {
                *sum += part;
            }
        }
        let share = 1.0 / rows as f32;
        for value in &mut mean {
            *value *= share;
        }
        clip_norm(&mut [&mut mean], LONGEST_GRADIENT);
        self.adam.step(&mut self.current, &mean, learning_rate);
    }

    /// Keeps the current map if its held-out divergence is smaller than that of all before.
    pub fn judge(&mut self, epoch: u32, kl: f64) {
        if kl < self.best_kl {
            self.best.clone_from(&self.current);
            (self.best_epoch, self.best_kl) = (epoch, kl);
        }
    }

    /// The best map, the epoch that it is of (0: the first map) and its held-out divergence \[nat per row\].
    pub fn best(&self) -> (&[f32], u32, f64) {
        (&self.best, self.best_epoch, self.best_kl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::collaboration::exit_ridge::identity;
    use crate::llm::{LoadedModel, TeacherForced};

    fn states() -> (LoadedModel, Hidden, Hidden) {
        let model = LoadedModel::builtin_small().unwrap();
        let tokens = model.tokenizer.encode("He had not seen the old house for years.").unwrap();
        let forced = TeacherForced::new(&tokens, model.decoder.config().bos_token);
        let early = model.decoder.run(model.decoder.embed(&forced.inputs).unwrap(), 0..2).unwrap();
        let last = model.decoder.run(early.clone(), 2..4).unwrap();
        (model, early, last)
    }

    #[test]
    fn rows_are_translated_as_by_hand() {
        let early = Hidden::from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2).unwrap();
        let found = translated(&[1.0, 2.0, 0.0, -1.0, 0.5, 10.0], &early).unwrap();
        assert_eq!(found.values(), [5.5, 8.0, 11.5, 6.0, 17.5, 4.0]);
        assert_eq!(translated(&identity(2), &early).unwrap(), early);
        assert!(translated(&[1.0; 5], &early).is_none() && translated(&[1.0; 3], &early).is_none());
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let (model, early, last) = states();
        let loss = HeadLoss::new(&model.decoder);
        let teacher = loss.teacher(&last).unwrap();
        let affine = identity(96);
        let found = window_gradient(&loss, &teacher, &early, &affine).unwrap();
        assert_eq!(found.rows, early.rows());
        for place in [0, 7 * 96 + 3, 50 * 96 + 50, 95 * 96 + 2, 96 * 96, 96 * 96 + 41] {
            let at = |step: f32| {
                let mut moved = affine.clone();
                moved[place] += step;
                window_gradient(&loss, &teacher, &early, &moved).unwrap().kl_sum
            };
            let by_differences = (at(0.01) - at(-0.01)) / 0.02;
            let own = f64::from(found.gradient[place]);
            assert!((by_differences - own).abs() < 2e-3 + 0.01 * own.abs(), "{place}: {by_differences} {own}");
        }
    }

    #[test]
    fn steps_lead_down_and_the_best_is_kept() {
        let (model, early, last) = states();
        let loss = HeadLoss::new(&model.decoder);
        let teacher = loss.teacher(&last).unwrap();
        let of = |affine: &[f32]| window_gradient(&loss, &teacher, &early, affine).unwrap();
        let first = of(&identity(96)).kl_sum;
        let mut training = ExitTraining::new(identity(96), first);
        for epoch in 1..=20 {
            let window = of(training.current());
            training.step(&[&window], 1e-3);
            training.judge(epoch, of(training.current()).kl_sum);
        }
        let (best, epoch, kl) = training.best();
        assert!(kl < 0.5 * first && epoch > 10, "{first} to {kl} in epoch {epoch}");
        assert_eq!(of(best).kl_sum, kl);
        let before = training.best().0.to_vec();
        training.step(&[], 1.0);
        training.judge(21, f64::NAN);
        assert_eq!(training.best().0, before);
    }
}
