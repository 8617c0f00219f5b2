//! The fit of all exits at once: sums for the regressions in one pass, λ by the validation windows, then epochs of
//! refinement, of which the validation windows choose one for each exit.

use rayon::prelude::*;

use super::ExitFitProgress;
use super::error::ExitFitError;
use super::figures::Figures;
use super::passes::{Passes, States};
use super::spec::ExitFitSpec;
use crate::control::collaboration::{Affine, ExitRidge, ExitTraining, WindowGradient, identity, window_gradient};
use crate::kernel::{Purpose, Streams};
use crate::llm::{ExitHead, ExitHeadError, ExitHeadParts};

/// Penalties λ of the regression that are tried, in units of the mean variance of a state's elements.
pub const LAMBDAS: [f64; 6] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/// Most windows that settings are chosen by, and most that the result is told on.
const MOST_HELD_OUT: usize = 200;

/// Which windows are what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Fitted.
    pub fitted: Vec<usize>,
    /// Choose λ and the epoch.
    pub validation: Vec<usize>,
    /// Seen by nothing until the end.
    pub held_out: Vec<usize>,
}

impl Shares {
    /// `wanted` of `count` windows, at least 3 of each: a tenth, at least 1 and at most [`MOST_HELD_OUT`], for validation,
    /// as many held out, the others fitted.
    pub fn draw(count: usize, wanted: usize, streams: Streams) -> Self {
        let mut chosen = shuffled((0..count).collect(), streams, 0);
        chosen.truncate(wanted);
        let tenth = (chosen.len() / 10).clamp(1, MOST_HELD_OUT).min(chosen.len() / 3);
        let held_out = chosen.split_off(chosen.len() - tenth);
        let validation = chosen.split_off(chosen.len() - tenth);
        Self { fitted: chosen, validation, held_out }
    }
}

/// The windows in an order of the epoch's own (Fisher and Yates).
fn shuffled(mut windows: Vec<usize>, streams: Streams, epoch: u32) -> Vec<usize> {
    let stream = streams.stream(epoch, Purpose::ExitOrder);
    for last in (1..windows.len()).rev() {
        windows.swap(last, stream.below(last as u64, last as u64 + 1) as usize);
    }
    windows
}

/// A head as the fit left it.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedExit {
    /// The map of ridge regression.
    pub ridge: Affine,
    /// Its λ.
    pub lambda: f64,
    /// The best map.
    pub best: Affine,
    /// The epoch that it is of; 0 for ridge regression.
    pub epoch: u32,
}

/// What a head is for.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Layers of the model.
    pub layers: usize,
    /// Width of the model.
    pub width: usize,
    /// Its hash.
    pub model_hash: &'a str,
}

impl Place<'_> {
    /// What a head of this map consists of.
    pub fn parts(&self, layer: usize, affine: &[f32]) -> ExitHeadParts {
        let (weight, bias) = affine.split_at((self.width * self.width).min(affine.len()));
        ExitHeadParts {
            layer,
            layers: self.layers,
            width: self.width,
            weight: weight.to_vec(),
            bias: bias.to_vec(),
            model_hash: self.model_hash.to_owned(),
            made_with: std::collections::BTreeMap::new(),
            metrics: std::collections::BTreeMap::new(),
        }
    }

    /// A head of this map, as it will be stored: what is judged is what is written.
    ///
    /// # Errors
    /// [`ExitHeadError`] if half precision can't hold it.
    pub fn head(&self, layer: usize, affine: &[f32]) -> Result<ExitHead, ExitHeadError> {
        ExitHead::in_half_precision(self.parts(layer, affine))
    }

    /// The logit lens behind a layer.
    ///
    /// # Errors
    /// None: the identity can be held.
    pub fn lens(&self, layer: usize) -> Result<ExitHead, ExitHeadError> {
        self.head(layer, &identity(self.width))
    }
}

/// Fits a head to each of the layers. Runs in the pool that calls; the result doesn't depend on its threads.
///
/// # Errors
/// [`ExitFitError`] if the model fails on a window, or states are such that no map can be fitted.
pub fn fit(
    passes: &Passes<'_>,
    place: Place<'_>,
    shares: &Shares,
    spec: &ExitFitSpec,
    watch: &(dyn Fn(ExitFitProgress<'_>) + Sync),
) -> Result<Vec<FittedExit>, ExitFitError> {
    let chosen = ridges(passes, place, shares)?;
    watch(ExitFitProgress::Ridge(&chosen.iter().map(|(fit, kl)| (fit.lambda, *kl)).collect::<Vec<_>>()));
    let mut trainings: Vec<ExitTraining> =
        chosen.iter().map(|(fit, kl)| ExitTraining::new(fit.ridge.clone(), *kl)).collect();
    refine(passes, place, shares, spec, &mut trainings, watch)?;
    let with_best = |((fit, _), training): ((FittedExit, f64), &ExitTraining)| {
        let (best, epoch, _) = training.best();
        FittedExit { best: best.to_vec(), epoch, ..fit }
    };
    Ok(chosen.into_iter().zip(&trainings).map(with_best).collect())
}

/// The maps of ridge regression with the best λ, and their divergence on the validation windows.
fn ridges(passes: &Passes<'_>, place: Place<'_>, shares: &Shares) -> Result<Vec<(FittedExit, f64)>, ExitFitError> {
    let mut sums: Vec<ExitRidge> = passes.layers.iter().map(|_| ExitRidge::new(place.width)).collect();
    passes.in_portions(&shares.fitted, Ok, |portion: Vec<States>| {
        // Each exit adds windows in their order.
        sums.par_iter_mut().enumerate().for_each(|(index, sum)| {
            for states in &portion {
                sum.add(&states.early[index], &states.last);
            }
        });
    })?;
    let mut candidates: Vec<(usize, f64, Affine, ExitHead)> = Vec::new();
    for (index, (sum, &layer)) in sums.iter().zip(passes.layers).enumerate() {
        for lambda in LAMBDAS {
            let found = sum.solve(lambda).and_then(|affine| Some((place.head(layer, &affine).ok()?, affine)));
            candidates.extend(found.map(|(head, affine)| (index, lambda, affine, head)));
        }
    }
    let heads: Vec<(usize, &ExitHead)> = candidates.iter().map(|(index, _, _, head)| (*index, head)).collect();
    let judged = passes.figures(&shares.validation, &heads)?;
    let mut chosen = Vec::with_capacity(passes.layers.len());
    for (index, &layer) in passes.layers.iter().enumerate() {
        let own = candidates.iter().zip(&judged).filter(|(candidate, _)| candidate.0 == index);
        let best = own.min_by(|a, b| a.1.kl().total_cmp(&b.1.kl())).ok_or(ExitFitError::Singular { layer })?;
        let ((_, lambda, affine, _), figures) = best;
        let fit = FittedExit { ridge: affine.clone(), lambda: *lambda, best: affine.clone(), epoch: 0 };
        chosen.push((fit, figures.kl()));
    }
    Ok(chosen)
}

/// Epochs of refinement, all exits on the same minibatches.
fn refine(
    passes: &Passes<'_>,
    place: Place<'_>,
    shares: &Shares,
    spec: &ExitFitSpec,
    trainings: &mut [ExitTraining],
    watch: &(dyn Fn(ExitFitProgress<'_>) + Sync),
) -> Result<(), ExitFitError> {
    let streams = Streams::new(spec.seed, 0);
    let batch = spec.batch_windows as usize;
    let steps = shares.fitted.len().div_ceil(batch) as f64 * f64::from(spec.epochs);
    let mut done = 0.0;
    for epoch in 1..=spec.epochs {
        for windows in shuffled(shares.fitted.clone(), streams, epoch).chunks(batch) {
            let gradients = passes.each(windows, |states| {
                let teacher = passes.loss.teacher(&states.last)?;
                let of =
                    |(training, early)| window_gradient(passes.loss, &teacher, early, ExitTraining::current(training));
                trainings.iter().zip(&states.early).map(of).collect::<Result<Vec<WindowGradient>, _>>()
            })?;
            let rate = spec.learning_rate * (1.0 - done / steps);
            done += 1.0;
            trainings.par_iter_mut().enumerate().for_each(|(index, training)| {
                let own: Vec<&WindowGradient> = gradients.iter().map(|window| &window[index]).collect();
                training.step(&own, rate);
            });
        }
        let mut heads = Vec::with_capacity(trainings.len());
        for (training, &layer) in trainings.iter().zip(passes.layers) {
            heads.push(place.head(layer, training.current())?);
        }
        let judged = passes.figures(&shares.validation, &heads.iter().enumerate().collect::<Vec<_>>())?;
        let kl: Vec<f64> = judged.iter().map(Figures::kl).collect();
        for (training, &kl) in trainings.iter_mut().zip(&kl) {
            training.judge(epoch, kl);
        }
        watch(ExitFitProgress::Epoch(epoch, &kl));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_shared_out_without_overlap() {
        for (count, wanted, held) in [(3, 3, 1), (112, 112, 11), (50, 20, 2), (9000, 9000, 200)] {
            let shares = Shares::draw(count, wanted, Streams::new(5, 0));
            assert_eq!((shares.validation.len(), shares.held_out.len()), (held, held));
            let mut all = [shares.fitted.clone(), shares.validation.clone(), shares.held_out.clone()].concat();
            assert_eq!(all.len(), wanted);
            all.sort_unstable();
            all.dedup();
            assert!(all.len() == wanted && all.iter().all(|&window| window < count));
            assert_ne!(shares, Shares::draw(count, wanted, Streams::new(6, 0)));
            assert_eq!(shares, Shares::draw(count, wanted, Streams::new(5, 0)));
        }
    }
}
