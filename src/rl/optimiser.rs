//! Steps along gradients: Adam, RMSprop, and the clipping of gradients before them.

use pulp::{Arch, Simd, WithSimd};

use super::real::Real;

/// Decay of Adam's first moment.
const BETA1: f64 = 0.9;
/// Decay of Adam's second moment.
const BETA2: f64 = 0.999;

/// Adam (Kingma & Ba, ICLR 2015) with β = (0.9, 0.999):
/// m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², θ ← θ - α m̂ / (√v̂ + ε), where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ).
#[derive(Clone, Debug, PartialEq)]
pub struct Adam<R> {
    first: Vec<R>,
    second: Vec<R>,
    eps: f64,
    /// β₁ᵗ and β₂ᵗ.
    powers: [f64; 2],
}

impl<R: Real> Adam<R> {
    /// For so many parameters, with ε (PyTorch's default is 1e-8; PPO's by custom 1e-5).
    pub fn new(parameters: usize, eps: f64) -> Self {
        Self { first: vec![R::zero(); parameters], second: vec![R::zero(); parameters], eps, powers: [1.0; 2] }
    }

    /// One step down the gradient.
    pub fn step(&mut self, parameters: &mut [R], gradient: &[R], learning_rate: f64) {
        self.powers[0] *= BETA1;
        self.powers[1] *= BETA2;
        Arch::new().dispatch(AdamStep {
            parameters,
            gradient,
            first: &mut self.first,
            second: &mut self.second,
            rate: R::of(learning_rate / (1.0 - self.powers[0])),
            scale: R::of(1.0 / (1.0 - self.powers[1]).sqrt()),
            eps: R::of(self.eps),
        });
    }
}

struct AdamStep<'a, R> {
    parameters: &'a mut [R],
    gradient: &'a [R],
    first: &'a mut [R],
    second: &'a mut [R],
    /// α / (1 - β₁ᵗ)
    rate: R,
    /// 1 / √(1 - β₂ᵗ)
    scale: R,
    eps: R,
}

impl<R: Real> WithSimd for AdamStep<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { parameters, gradient, first, second, rate, scale, eps } = self;
        let (beta1, beta2) = (R::of(BETA1), R::of(BETA2));
        let (rest1, rest2) = (R::of(1.0 - BETA1), R::of(1.0 - BETA2));
        let count = parameters.len().min(gradient.len()).min(first.len());
        let (x, g, m, v) = (&mut parameters[..count], &gradient[..count], &mut first[..count], &mut second[..count]);
        for i in 0..count {
            m[i] = beta1 * m[i] + rest1 * g[i];
            v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
            x[i] -= rate * m[i] / (v[i].sqrt() * scale + eps);
        }
    }
}

/// RMSprop (Tieleman & Hinton, 2012) as PyTorch computes it: v ← α v + (1 - α) g² from v = 0, θ ← θ - η g / (√v + ε).
#[derive(Clone, Debug, PartialEq)]
pub struct RmsProp<R> {
    square: Vec<R>,
    alpha: f64,
    eps: f64,
}

impl<R: Real> RmsProp<R> {
    /// For so many parameters, with decay α and ε.
    pub fn new(parameters: usize, alpha: f64, eps: f64) -> Self {
        Self { square: vec![R::zero(); parameters], alpha, eps }
    }

    /// One step down the gradient.
    pub fn step(&mut self, parameters: &mut [R], gradient: &[R], learning_rate: f64) {
        Arch::new().dispatch(RmsPropStep {
            parameters,
            gradient,
            square: &mut self.square,
            alpha: R::of(self.alpha),
            rest: R::of(1.0 - self.alpha),
            eps: R::of(self.eps),
            rate: R::of(learning_rate),
        });
    }
}

struct RmsPropStep<'a, R> {
    parameters: &'a mut [R],
    gradient: &'a [R],
    square: &'a mut [R],
    alpha: R,
    /// 1 - α
    rest: R,
    eps: R,
    rate: R,
}

impl<R: Real> WithSimd for RmsPropStep<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { parameters, gradient, square, alpha, rest, eps, rate } = self;
        let count = parameters.len().min(gradient.len()).min(square.len());
        let (x, g, v) = (&mut parameters[..count], &gradient[..count], &mut square[..count]);
        for i in 0..count {
            v[i] = alpha * v[i] + rest * g[i] * g[i];
            x[i] -= rate * g[i] / (v[i].sqrt() + eps);
        }
    }
}

/// Scales all gradients by one factor so that their joint Euclidean norm is at most `most`, and returns the norm that
/// they had. The factor is most / (norm + 1e-6) where that is below 1, as PyTorch's `clip_grad_norm_` has it.
pub fn clip_norm<R: Real>(gradients: &mut [&mut [R]], most: f64) -> f64 {
    let arch = Arch::new();
    let mut square = 0.0;
    for gradient in gradients.iter() {
        square += arch.dispatch(SumOfSquares(gradient));
    }
    let norm = square.sqrt();
    let scale = most / (norm + 1e-6);
    if scale < 1.0 {
        for gradient in gradients {
            arch.dispatch(Scale { values: gradient, factor: R::of(scale) });
        }
    }
    norm
}

struct SumOfSquares<'a, R>(&'a [R]);

impl<R: Real> WithSimd for SumOfSquares<'_, R> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        // Partial sums of fixed assignment: the same bits whatever the width of vectors.
        let (chunks, rest) = self.0.as_chunks::<16>();
        let mut lanes = [0.0; 16];
        for chunk in chunks {
            for i in 0..16 {
                let x = chunk[i].get();
                lanes[i] += x * x;
            }
        }
        let mut sum = 0.0;
        for &x in rest {
            sum += x.get() * x.get();
        }
        for lane in lanes {
            sum += lane;
        }
        sum
    }
}

struct Scale<'a, R> {
    values: &'a mut [R],
    factor: R,
}

impl<R: Real> WithSimd for Scale<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, factor } = self;
        for x in values {
            *x *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_takes_hand_computed_steps() {
        let (mut adam, mut x) = (Adam::<f64>::new(2, 1e-5), [1.0, -2.0]);
        adam.step(&mut x, &[0.5, -4.0], 0.1);
        // The first step is α g/(|g| + ε), whatever the gradient.
        assert!((x[0] - (1.0 - 0.1 * 0.5 / 0.500_01)).abs() < 1e-15);
        assert!((x[1] - (-2.0 + 0.1 * 4.0 / 4.000_01)).abs() < 1e-15);
        // m = 0.9·(0.1·0.5) + 0.1·(-1) = -0.055, of which 1 - 0.9² = 0.19 has arrived;
        // v = 0.999·(0.001·0.25) + 0.001·1 = 0.00124975, of which 1 - 0.999² = 0.001999 has.
        let before = x;
        adam.step(&mut x, &[-1.0, 0.0], 0.1);
        let step = 0.1 * (-0.055 / 0.19) / ((0.001_249_75_f64 / 0.001_999).sqrt() + 1e-5);
        assert!((x[0] - (before[0] - step)).abs() < 1e-13);
        // m = 0.9·(0.1·-4) = -0.36 and v = 0.999·(0.001·16) = 0.015984.
        let step = 0.1 * (-0.36 / 0.19) / ((0.015_984_f64 / 0.001_999).sqrt() + 1e-5);
        assert!((x[1] - (before[1] - step)).abs() < 1e-13);
    }

    #[test]
    fn rmsprop_takes_hand_computed_steps() {
        let (mut rms, mut x) = (RmsProp::<f64>::new(1, 0.99, 1e-5), [1.0]);
        rms.step(&mut x, &[0.5], 0.1);
        // v = 0.01·0.25 = 0.0025, root 0.05.
        assert!((x[0] - (1.0 - 0.05 / 0.050_01)).abs() < 1e-14);
        let before = x[0];
        rms.step(&mut x, &[2.0], 0.1);
        // v = 0.99·0.0025 + 0.01·4 = 0.042475.
        assert!((x[0] - (before - 0.2 / (0.042_475_f64.sqrt() + 1e-5))).abs() < 1e-14);
    }

    #[test]
    fn the_joint_norm_is_clipped() {
        let (mut a, mut b) = ([3.0_f64; 1], [0.0, 4.0]);
        assert_eq!(clip_norm(&mut [&mut a, &mut b], 0.5), 5.0);
        let factor = 0.5 / 5.000_001;
        assert_eq!((a, b), ([3.0 * factor], [0.0, 4.0 * factor]));
        let (mut a, mut b) = ([3.0_f64; 1], [0.0, 4.0]);
        assert_eq!(clip_norm(&mut [&mut a, &mut b], 6.0), 5.0);
        assert_eq!((a, b), ([3.0], [0.0, 4.0]), "what is short enough stays");
        let mut long: Vec<f32> = (1..=40).map(|i| i as f32).collect();
        // 1² + … + 40² = 40·41·81/6
        assert!((clip_norm(&mut [&mut long], 1.0).powi(2) - 22_140.0).abs() < 1e-9);
        assert!(clip_norm(&mut [&mut [f32::NAN, 1.0][..]], 1.0).is_nan());
    }
}
