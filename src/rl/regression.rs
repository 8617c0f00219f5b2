//! Least squares by a small network: `min_θ Σ (f_θ(x_i) - y_i)²` over the training
//! rows, stopped where the held-out rows say so.
//!
//! Adam on minibatches (Kingma and Ba, ICLR 2015, arXiv 1412.6980), the rows in a new
//! keyed order in each epoch. With noisy targets a small network reaches the noise
//! floor and then fits the noise: training stops `patience` epochs after the best
//! held-out error, and the parameters of the best epoch are kept (Prechelt, "Early
//! stopping - but when?", 1998). On the way the learning rate falls, because what is
//! left of the error near the minimum is mostly the last minibatches' noise.

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::init::Init;
use super::mlp::{Activation, Mlp, Passes};
use super::optimiser::Adam;
use super::real::Real;
use crate::kernel::{Purpose, Stream, Streams};

/// How a network is fitted to rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionSettings {
    /// Widths of the hidden layers, from the inputs on.
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_536)))]
    pub hidden: Vec<u32>,
    /// What the hidden layers apply.
    pub activation: Activation,
    /// Adam's learning rate at the start.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1e30))]
    pub learning_rate: f64,
    /// Rows per step; the last batch of an epoch has what is left.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: u32,
    /// Most passes over the training rows.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: u32,
    /// After so many epochs without a smaller held-out error the learning rate falls to a tenth and training goes on
    /// from the best parameters; the third time it ends.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub patience: u32,
    /// Share of the rows that is held out for this.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub validation_share: f64,
    /// Decoupled weight decay: each step also takes `learning_rate · weight_decay` of every parameter (AdamW:
    /// Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
}

impl Default for RegressionSettings {
    fn default() -> Self {
        Self {
            hidden: vec![128, 128],
            activation: Activation::Relu,
            learning_rate: 1e-3,
            batch_size: 64,
            epochs: 300,
            patience: 10,
            validation_share: 0.1,
            weight_decay: 0.0,
        }
    }
}

/// A fitted network, and how far it is from its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The network of the best epoch: `columns` inputs, one output.
    pub network: Mlp<f32>,
    /// Epochs run.
    pub epochs: u32,
    /// The epoch whose parameters were kept; 0 if none was better than the first weights.
    pub best_epoch: u32,
    /// Mean squared error of the kept network over the training rows.
    pub training_mse: f64,
    /// Mean squared error of the kept network over the held-out rows: the smallest of all epochs, so a little
    /// optimistic.
    pub validation_mse: f64,
}

/// Why there is no fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RegressionError {
    /// The slices don't describe the same rows.
    #[error(
        "{inputs} inputs in rows of {columns}, {targets} targets and {validation} marks of held-out rows: give `columns` inputs, one target and one mark per row, with at least one column"
    )]
    Lengths {
        /// Values in all.
        inputs: usize,
        /// Values per row.
        columns: usize,
        /// Targets.
        targets: usize,
        /// Marks.
        validation: usize,
    },
    /// Nothing to learn from, or nothing to stop by.
    #[error(
        "{training} rows to train on and {held_out} held out: at least one of each is needed; give more rows or another `validation_share`"
    )]
    TooFewRows {
        /// Rows to train on.
        training: usize,
        /// Rows held out.
        held_out: usize,
    },
    /// An input is infinite or not a number.
    #[error("input {column} of row {row} is {value}: every input must be finite; leave the row out")]
    Input {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// A target is infinite or not a number.
    #[error("the target of row {row} is {value}: every target must be finite; leave the row out")]
    Target {
        /// The row, from 0.
        row: usize,
        /// What stands there.
        value: f32,
    },
    /// The error grew beyond all bounds.
    #[error(
        "the mean squared error became {loss} in epoch {epoch}: standardise inputs and targets, or lower `learning_rate` (now {learning_rate})"
    )]
    Diverged {
        /// The epoch, from 1; 0 for the first weights.
        epoch: u32,
        /// The loss.
        loss: f64,
        /// The learning rate then.
        learning_rate: f64,
    },
}

/// How often the learning rate falls before training ends.
const FALLS: u32 = 2;

/// What it is multiplied by each time.
const FALL: f64 = 0.1;

/// Rows per pass where no gradient is wanted: bounds the memory.
const PASS_ROWS: usize = 1024;

/// A network fitted to rows by least squares.
///
/// `inputs` holds n rows of `columns` values one after the other, `targets` n values,
/// both standardised by the caller. Rows marked in `validation` are held out (the caller
/// picks them, by `validation_share`): no gradient sees them, they decide when to stop
/// and which parameters are kept.
///
/// First weights (FanIn: U(±1/√fan_in)) come from the stream ([`Purpose::SurrogateWeights`], `entity`), the order of
/// epoch e from blocks e·2³² on of ([`Purpose::SurrogateOrder`], `entity`); blocks
/// below 2³² are the caller's, for folds and held-out rows.
///
/// `watch` is told each epoch, from 1, and its held-out mean squared error; if it
/// breaks, training ends with the best parameters so far.
///
/// # Errors
/// If the slices don't match, hold a value that isn't finite, leave no row to train on
/// or none to stop by, or if the loss doesn't stay finite.
#[allow(
    clippy::too_many_arguments,
    reason = "rows are three slices and a width; none has a meaning without the others"
)]
pub fn fit(
    inputs: &[f32],
    columns: usize,
    targets: &[f32],
    validation: &[bool],
    settings: &RegressionSettings,
    streams: Streams,
    entity: u32,
    watch: &mut dyn FnMut(u32, f64) -> ControlFlow<()>,
) -> Result<Fitted, RegressionError> {
    let rows = Rows::checked(inputs, columns, targets, validation.len())?;
    let pick = |held_out: bool| -> Vec<usize> {
        validation.iter().enumerate().filter(|&(_, &mark)| mark == held_out).map(|(row, _)| row).collect()
    };
    let (training, held_out) = (pick(false), pick(true));
    if training.is_empty() || held_out.is_empty() {
        return Err(RegressionError::TooFewRows { training: training.len(), held_out: held_out.len() });
    }
    let sizes: Vec<usize> =
        [columns].into_iter().chain(settings.hidden.iter().map(|&width| width as usize)).chain([1]).collect();
    let weights = streams.stream(entity, Purpose::SurrogateWeights);
    let orders = streams.stream(entity, Purpose::SurrogateOrder);

    let mut learner = Learner::new(Mlp::new(&sizes, settings.activation, Init::FanIn, &weights), settings);
    let finite = |loss: f64, epoch: u32, learning_rate: f64| {
        if loss.is_finite() { Ok(loss) } else { Err(RegressionError::Diverged { epoch, loss, learning_rate }) }
    };
    let mut best_mse = finite(learner.mean_squared_error(&rows, &held_out), 0, learner.learning_rate)?;
    let mut best = learner.network.parameters().to_vec();
    let (mut best_epoch, mut epochs, mut stalled, mut falls) = (0, 0, 0, 0);
    let mut order = training.clone();
    for epoch in 1..=settings.epochs {
        epochs = epoch;
        order.copy_from_slice(&training);
        shuffle(&mut order, &orders.starting_at(u64::from(epoch) << 32));
        for batch in order.chunks(settings.batch_size.max(1) as usize) {
            finite(learner.step(&rows, batch, settings.weight_decay), epoch, learner.learning_rate)?;
        }
        let mse = finite(learner.mean_squared_error(&rows, &held_out), epoch, learner.learning_rate)?;
        if mse < best_mse {
            (best_mse, best_epoch, stalled) = (mse, epoch, 0);
            best.copy_from_slice(learner.network.parameters());
        } else {
            stalled += 1;
        }
        if watch(epoch, mse).is_break() {
            break;
        }
        if stalled >= settings.patience {
            if falls == FALLS {
                break;
            }
            (stalled, falls) = (0, falls + 1);
            learner.restart(&best, FALL);
        }
    }
    learner.network.parameters_mut().copy_from_slice(&best);
    let training_mse = finite(learner.mean_squared_error(&rows, &training), best_epoch, learner.learning_rate)?;
    Ok(Fitted { network: learner.network, epochs, best_epoch, training_mse, validation_mse: best_mse })
}

/// Rows of inputs and their targets.
struct Rows<'a> {
    inputs: &'a [f32],
    columns: usize,
    targets: &'a [f32],
}

impl<'a> Rows<'a> {
    fn checked(inputs: &'a [f32], columns: usize, targets: &'a [f32], marks: usize) -> Result<Self, RegressionError> {
        if columns == 0 || Some(inputs.len()) != targets.len().checked_mul(columns) || marks != targets.len() {
            let (inputs, targets, validation) = (inputs.len(), targets.len(), marks);
            return Err(RegressionError::Lengths { inputs, columns, targets, validation });
        }
        if let Some((index, &value)) = inputs.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(RegressionError::Input { row: index / columns, column: index % columns, value });
        }
        if let Some((row, &value)) = targets.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(RegressionError::Target { row, value });
        }
        Ok(Self { inputs, columns, targets })
    }

    /// Copies the inputs and targets of the rows `picked`.
    fn gather(&self, picked: &[usize], inputs: &mut Vec<f32>, targets: &mut Vec<f32>) {
        inputs.clear();
        targets.clear();
        for &row in picked {
            inputs.extend_from_slice(&self.inputs[row * self.columns..(row + 1) * self.columns]);
            targets.push(self.targets[row]);
        }
    }
}

/// A network, its optimiser, and buffers for a batch.
struct Learner {
    network: Mlp<f32>,
    adam: Adam<f32>,
    learning_rate: f64,
    gradient: Vec<f32>,
    passes: Passes<f32>,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    output_gradient: Vec<f32>,
}

/// ε of Adam, as published and as torch has it.
const ADAM_EPS: f64 = 1e-8;

impl Learner {
    fn new(network: Mlp<f32>, settings: &RegressionSettings) -> Self {
        let parameters = network.parameters().len();
        Self {
            network,
            adam: Adam::new(parameters, ADAM_EPS),
            learning_rate: settings.learning_rate,
            gradient: vec![0.0; parameters],
            passes: Passes::default(),
            inputs: Vec::new(),
            targets: Vec::new(),
            output_gradient: Vec::new(),
        }
    }

    /// From `parameters` on with `factor` of the learning rate, and without Adam's
    /// memory of where it was.
    fn restart(&mut self, parameters: &[f32], factor: f64) {
        self.network.parameters_mut().copy_from_slice(parameters);
        self.adam = Adam::new(parameters.len(), ADAM_EPS);
        self.learning_rate *= factor;
    }

    /// One step on the rows `batch`; their mean squared error before it.
    fn step(&mut self, rows: &Rows<'_>, batch: &[usize], weight_decay: f64) -> f64 {
        rows.gather(batch, &mut self.inputs, &mut self.targets);
        let outputs = self.network.forward(&self.inputs, &mut self.passes);
        let loss = squared_error(outputs, &self.targets, &mut self.output_gradient);
        if !loss.is_finite() {
            return loss;
        }
        self.gradient.fill(0.0);
        self.network.backward(&mut self.passes, &self.output_gradient, &mut self.gradient);
        if weight_decay > 0.0 {
            let keep = (1.0 - self.learning_rate * weight_decay) as f32;
            for parameter in self.network.parameters_mut() {
                *parameter *= keep;
            }
        }
        self.adam.step(self.network.parameters_mut(), &self.gradient, self.learning_rate);
        loss
    }

    /// `(1/n) Σ (f(x_i) - y_i)²` over the rows `picked`.
    fn mean_squared_error(&mut self, rows: &Rows<'_>, picked: &[usize]) -> f64 {
        let mut sum = 0.0;
        for part in picked.chunks(PASS_ROWS) {
            rows.gather(part, &mut self.inputs, &mut self.targets);
            let outputs = self.network.forward(&self.inputs, &mut self.passes);
            sum += squared_error(outputs, &self.targets, &mut self.output_gradient) * part.len() as f64;
        }
        sum / picked.len() as f64
    }
}

/// `L = (1/n) Σ (ŷ_i - y_i)²`, and `∂L/∂ŷ_i = (2/n)(ŷ_i - y_i)` in `gradient`.
fn squared_error<R: Real>(outputs: &[R], targets: &[R], gradient: &mut Vec<R>) -> f64 {
    let count = targets.len() as f64;
    let scale = R::of(2.0 / count);
    gradient.clear();
    let mut sum = 0.0;
    for (&output, &target) in outputs.iter().zip(targets) {
        let residual = output - target;
        sum += residual.get() * residual.get();
        gradient.push(residual * scale);
    }
    sum / count
}

/// A random order, by Fisher and Yates: for i = n-1, …, 1 the item i changes places
/// with one of 0..=i, drawn from block i.
fn shuffle(items: &mut [usize], stream: &Stream) {
    for i in (1..items.len()).rev() {
        items.swap(i, stream.below(i as u64, i as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests;
