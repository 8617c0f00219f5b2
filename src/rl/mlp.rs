//! A multilayer perceptron with all its parameters in one vector.

use pulp::{Arch, Simd, WithSimd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dense::{Dense, DenseGradient};
use super::init::Init;
use super::real::Real;
use crate::kernel::Stream;

/// The non-linearity of hidden layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// max(0, x).
    Relu,
}

/// `x_{l+1} = φ(W_l x_l + b_l)`, where φ is the activation of hidden layers and the last layer is linear.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp<R> {
    /// Widths: inputs, hidden layers, outputs.
    sizes: Vec<usize>,
    activation: Activation,
    /// W (outputs × inputs, column-major) and b of each layer, one layer after the other.
    parameters: Vec<R>,
}

/// What a pass through a network needs and leaves: kept from one pass to the next, it saves allocations.
#[derive(Clone, Debug)]
pub struct Passes<R> {
    /// The vector instructions of this machine.
    arch: Arch,
    /// The inputs, and what each layer made of them: the last forward pass.
    activations: Vec<Vec<R>>,
    /// Gradients of a layer's outputs and inputs in a backward pass.
    gradients: [Vec<R>; 2],
    scratch: Vec<R>,
}

impl<R> Default for Passes<R> {
    fn default() -> Self {
        Self { arch: Arch::new(), activations: Vec::new(), gradients: [Vec::new(), Vec::new()], scratch: Vec::new() }
    }
}

impl<R: Real> Mlp<R> {
    /// A network of these widths (at least inputs and outputs; a width of 0 counts as 1). Draws are blocks of
    /// `stream` from 0 up to the number of parameters plus that of inputs of all layers.
    pub fn new(sizes: &[usize], activation: Activation, init: Init, stream: &Stream) -> Self {
        let mut sizes: Vec<usize> = sizes.iter().map(|&size| size.max(1)).collect();
        sizes.resize(sizes.len().max(2), 1);
        let mut parameters = Vec::with_capacity(count(&sizes));
        let mut first = 0;
        for (layer, shape) in sizes.windows(2).enumerate() {
            let is_last = layer + 2 == sizes.len();
            parameters.extend(init.layer::<R>(shape[1], shape[0], is_last, &stream.starting_at(first)));
            first += ((shape[0] + 1) * (shape[1] + 1)) as u64;
        }
        Self { sizes, activation, parameters }
    }

    /// A network with these parameters: W (outputs × inputs, column-major) and b of each layer. None if their
    /// number isn't that of the widths, or a width is 0 or missing.
    pub fn from_parameters(sizes: &[usize], activation: Activation, parameters: Vec<R>) -> Option<Self> {
        let is_sound = sizes.len() >= 2 && sizes.iter().all(|&size| size > 0) && parameters.len() == count(sizes);
        is_sound.then(|| Self { sizes: sizes.to_vec(), activation, parameters })
    }

    /// Widths: inputs, hidden layers, outputs.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The non-linearity of the hidden layers.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// All parameters: per layer W (outputs × inputs, column-major), then b.
    pub fn parameters(&self) -> &[R] {
        &self.parameters
    }

    /// [`Mlp::parameters`], to change them.
    pub fn parameters_mut(&mut self) -> &mut [R] {
        &mut self.parameters
    }

    /// W (outputs × inputs, column-major) and b of each layer.
    pub fn layers(&self) -> Vec<(&[R], &[R])> {
        self.dense_layers().map(|dense| (dense.weights, dense.bias)).collect()
    }

    /// Outputs of samples, one after the other like the inputs: `inputs` is \[n × inputs\], the result \[n × outputs\].
    /// (Inputs that don't fill a last sample are left out.) `passes` keeps what [`Mlp::backward`] needs.
    pub fn forward<'p>(&self, inputs: &[R], passes: &'p mut Passes<R>) -> &'p [R] {
        let Passes { arch, activations, scratch, .. } = passes;
        activations.resize_with(self.sizes.len(), Vec::new);
        let whole = inputs.len() - inputs.len() % self.sizes[0];
        activations[0].clear();
        activations[0].extend_from_slice(&inputs[..whole]);
        for (layer, dense) in self.dense_layers().enumerate() {
            let (before, after) = activations.split_at_mut(layer + 1);
            let (x, y) = (&before[layer], &mut after[0]);
            dense.forward(*arch, x, y, scratch);
            if layer + 2 < self.sizes.len() {
                match self.activation {
                    Activation::Tanh => R::tanh_all(y),
                    Activation::Relu => arch.dispatch(Relu(y)),
                }
            }
        }
        &activations[self.sizes.len() - 1]
    }

    /// Adds dLoss/dparameters to `gradient`, laid out like the parameters, given dLoss/doutputs of the samples of
    /// the last forward pass, \[n × outputs\].
    ///
    /// # Panics
    /// If `gradient` isn't as long as the parameters, or `output_gradient` as the outputs of the last forward pass.
    pub fn backward(&self, passes: &mut Passes<R>, output_gradient: &[R], gradient: &mut [R]) {
        let Passes { arch, activations, gradients: [dy, dx], scratch } = passes;
        assert_eq!(gradient.len(), self.parameters.len());
        assert_eq!(Some(output_gradient.len()), activations.last().map(Vec::len));
        dy.clear();
        dy.extend_from_slice(output_gradient);
        let layers: Vec<Dense<R>> = self.dense_layers().collect();
        let mut rest = gradient;
        for (layer, dense) in layers.into_iter().enumerate().rev() {
            if layer + 2 < self.sizes.len() {
                let outputs = &activations[layer + 1];
                match self.activation {
                    Activation::Tanh => arch.dispatch(TanhGradient { y: outputs, dy }),
                    Activation::Relu => arch.dispatch(ReluGradient { y: outputs, dy }),
                }
            }
            let (before, bias) = rest.split_at_mut(rest.len() - dense.bias.len());
            let (before, weights) = before.split_at_mut(before.len() - dense.weights.len());
            rest = before;
            let into = (layer > 0).then_some(&mut *dx);
            dense.backward(*arch, &activations[layer], dy, &mut DenseGradient { weights, bias }, into, scratch);
            std::mem::swap(dy, dx);
        }
    }

    fn dense_layers(&self) -> impl Iterator<Item = Dense<'_, R>> {
        let mut rest = self.parameters.as_slice();
        self.sizes.windows(2).map(move |shape| {
            let (weights, after) = rest.split_at(shape[0] * shape[1]);
            let (bias, after) = after.split_at(shape[1]);
            rest = after;
            Dense { weights, bias }
        })
    }
}

/// Parameters of a network of these widths.
fn count(sizes: &[usize]) -> usize {
    sizes.windows(2).map(|shape| (shape[0] + 1) * shape[1]).sum()
}

struct Relu<'a, R>(&'a mut [R]);

impl<R: Real> WithSimd for Relu<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let zero = R::zero();
        for x in self.0 {
            // Not-a-number stays.
            *x = if *x < zero { zero } else { *x };
        }
    }
}

/// `dy · (1 - y²)`, since tanh' = 1 - tanh².
struct TanhGradient<'a, R> {
    y: &'a [R],
    dy: &'a mut [R],
}

impl<R: Real> WithSimd for TanhGradient<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let count = self.y.len().min(self.dy.len());
        let (y, dy) = (&self.y[..count], &mut self.dy[..count]);
        for i in 0..count {
            dy[i] *= R::one() - y[i] * y[i];
        }
    }
}

/// `dy` where the output is above 0.
struct ReluGradient<'a, R> {
    y: &'a [R],
    dy: &'a mut [R],
}

impl<R: Real> WithSimd for ReluGradient<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let zero = R::zero();
        let count = self.y.len().min(self.dy.len());
        let (y, dy) = (&self.y[..count], &mut self.dy[..count]);
        for i in 0..count {
            dy[i] = if y[i] > zero { dy[i] } else { zero };
        }
    }
}

#[cfg(test)]
mod tests;
