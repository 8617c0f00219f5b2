//! How far the head's distributions at some states are from those at others, and which way is nearer: what a map in
//! front of the head is trained by.
//!
//! ```text
//!  states behind layer L ── norm, head ── z, p = softmax(z)                       the teacher
//!  states to be judged   ── norm, head ── z', q = softmax(z')
//!                                          │ KL(p‖q) = Σ p_v (ln p_v - ln q_v)
//!   ∂KL/∂h ◄── norm ◄── ∂KL/∂y = s Wᵀ(q - p) ◄── ∂KL/∂z' = q - p
//! ```
//!
//! The target of a distillation (Hinton et al., arXiv 1503.02531) and of the tuned lens (Belrose et al., arXiv
//! 2303.08112).

use pulp::{Arch, Simd, WithSimd};

use super::config::NormKind;
use super::elementwise::{Norm, maximum};
use super::error::DecoderError;
use super::exponential::{exp_f32, exp_f64};
use super::hidden::Hidden;
use super::model::Decoder;
use super::perplexity::negative_log_likelihood;
use super::projection::Projection;

/// Partial sums of a reduction, in fixed assignment.
const LANES: usize = 8;

/// The head and final norm of a decoder, forwards and backwards.
#[derive(Debug)]
pub struct HeadLoss<'a> {
    decoder: &'a Decoder,
    /// The head transposed, \[d × V\]: gradients of logits to gradients in front of it.
    back: Projection,
    arch: Arch,
}

/// The distributions of some rows that others are compared with.
#[derive(Clone, Debug)]
pub struct Teacher {
    /// z \[S × V\].
    logits: Vec<f32>,
    /// p \[S × V\].
    probabilities: Vec<f32>,
    /// Σ p_v ln p_v of each row \[nat\].
    negentropy: Vec<f64>,
}

/// What is to be said of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScore {
    /// KL(p‖q) \[nat\].
    pub kl: f64,
    /// -ln q of the text's token \[nat\].
    pub nll: f64,
    /// -ln p of the text's token \[nat\].
    pub teacher_nll: f64,
    /// The largest q_v.
    pub confidence: f64,
    /// Whether the largest q_v and the largest p_v are those of the same token.
    pub agrees: bool,
}

impl<'a> HeadLoss<'a> {
    /// That of a decoder; its head is kept a second time, transposed, in single precision.
    pub fn new(decoder: &'a Decoder) -> Self {
        let arch = Arch::new();
        let (width, vocab) = (decoder.config().d_model, decoder.config().vocab);
        let mut transposed = vec![0.0; width * vocab];
        for token in 0..vocab {
            for (k, weight) in decoder.head().row(arch, token).into_iter().enumerate() {
                transposed[k * vocab + token] = weight;
            }
        }
        Self { decoder, back: Projection::from_rows(&transposed, vocab, None), arch }
    }

    /// The decoder.
    pub fn decoder(&self) -> &'a Decoder {
        self.decoder
    }

    /// The distributions at states behind the last layer \[S × d\].
    ///
    /// # Errors
    /// [`DecoderError`] if the shape doesn't fit the model, or the logits aren't finite.
    pub fn teacher(&self, last: &Hidden) -> Result<Teacher, DecoderError> {
        let logits = self.decoder.logits(last)?;
        let mut probabilities = vec![0.0; logits.len()];
        let vocab = self.decoder.config().vocab;
        let mut negentropy = Vec::with_capacity(last.rows());
        for (position, (z, p)) in logits.chunks_exact(vocab).zip(probabilities.chunks_exact_mut(vocab)).enumerate() {
            let log_sum = self.arch.dispatch(LogSumExp { logits: z });
            self.arch.dispatch(Softmax { logits: z, log_sum, out: &mut *p });
            let own = self.arch.dispatch(Dot { x: p, y: z }) - log_sum;
            negentropy.push(finite(own, position)?);
        }
        Ok(Teacher { logits, probabilities, negentropy })
    }

    /// Σ KL(p‖q) \[nat\] over the rows of `states` \[S × d\] in front of the final norm, and its gradient with respect
    /// to them \[S × d\].
    ///
    /// # Errors
    /// [`DecoderError`] if the shape fits neither model nor teacher, or the logits aren't finite.
    pub fn divergence(&self, teacher: &Teacher, states: &Hidden) -> Result<(f64, Vec<f32>), DecoderError> {
        let (vocab, scale) = (self.decoder.config().vocab, self.decoder.config().logit_scale as f32);
        let mut logits = self.logits_beside(teacher, states)?;
        let mut sum = 0.0;
        for (position, z) in logits.chunks_exact_mut(vocab).enumerate() {
            let log_sum = self.arch.dispatch(LogSumExp { logits: z });
            let p = &teacher.probabilities[position * vocab..][..vocab];
            let cross = self.arch.dispatch(Dot { x: p, y: z }) - log_sum;
            sum += finite(teacher.negentropy[position] - cross, position)?;
            self.arch.dispatch(LogitGradient { z, p, log_sum, scale });
        }
        let mut gradient = Vec::new();
        self.back.forward(self.arch, &logits, &mut gradient, &mut Vec::new());
        let width = states.width();
        for (row, gradient) in states.iter_rows().zip(gradient.chunks_exact_mut(width)) {
            norm_gradient(self.decoder.final_norm(), row, gradient);
        }
        Ok((sum, gradient))
    }

    /// What is to be said of the rows of `states` \[S × d\] in front of the final norm, row k on `targets[k]`; rows
    /// beyond the targets are left out.
    ///
    /// # Errors
    /// [`DecoderError`] if the shape fits neither model nor teacher, or the logits aren't finite.
    pub fn scores(&self, teacher: &Teacher, states: &Hidden, targets: &[u32]) -> Result<Vec<RowScore>, DecoderError> {
        let vocab = self.decoder.config().vocab;
        let logits = self.logits_beside(teacher, states)?;
        let mut scores = Vec::with_capacity(targets.len());
        for (position, (z, &target)) in logits.chunks_exact(vocab).zip(targets).enumerate() {
            let not_finite = DecoderError::NotFinite { position };
            let of_teacher = &teacher.logits[position * vocab..][..vocab];
            let p = &teacher.probabilities[position * vocab..][..vocab];
            let log_sum = self.arch.dispatch(LogSumExp { logits: z });
            let cross = self.arch.dispatch(Dot { x: p, y: z }) - log_sum;
            let (choice, most) = largest(z).ok_or(not_finite.clone())?;
            scores.push(RowScore {
                kl: finite(teacher.negentropy[position] - cross, position)?,
                nll: negative_log_likelihood(z, target).ok_or(not_finite.clone())?,
                teacher_nll: negative_log_likelihood(of_teacher, target).ok_or(not_finite)?,
                confidence: (f64::from(most) - log_sum).exp(),
                agrees: largest(of_teacher).is_some_and(|(token, _)| token == choice),
            });
        }
        Ok(scores)
    }

    /// Logits of as many rows as the teacher has.
    fn logits_beside(&self, teacher: &Teacher, states: &Hidden) -> Result<Vec<f32>, DecoderError> {
        let rows = teacher.negentropy.len();
        if states.rows() != rows {
            return Err(DecoderError::Targets { targets: rows, rows: states.rows() });
        }
        self.decoder.logits(states)
    }
}

fn finite(value: f64, position: usize) -> Result<f64, DecoderError> {
    if value.is_finite() { Ok(value) } else { Err(DecoderError::NotFinite { position }) }
}

/// The first of the largest logits, and its token; `None` without logits that are numbers.
fn largest(logits: &[f32]) -> Option<(usize, f32)> {
    let most = maximum(logits);
    logits.iter().position(|&logit| logit == most).map(|token| (token, most))
}

/// Takes the gradient with respect to a norm's outputs back through it, in place, `x` being its inputs:
/// with g_i = w_i ∂/∂y_i and r = 1/√(mean(x²) + ε), `∂/∂x_j = r (g_j - x_j r² mean(g·x))` for a root-mean-square norm;
/// for a layer norm, with x̂ = r (x - mean x), `r (g_j - mean(g) - x̂_j mean(g·x̂))`.
fn norm_gradient(norm: &Norm, x: &[f32], gradient: &mut [f32]) {
    let count = x.len() as f64;
    let mean = match norm.kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => x.iter().map(|&x| f64::from(x)).sum::<f64>() / count,
    };
    let square: f64 = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    let r = 1.0 / (square / count + f64::from(norm.eps)).sqrt();
    let (mut along, mut level) = (0.0, 0.0);
    for ((g, &w), &x) in gradient.iter_mut().zip(&norm.weight).zip(x) {
        *g *= w;
        along += f64::from(*g) * (f64::from(x) - mean) * r;
        level += f64::from(*g);
    }
    let (along, level) = (along / count, if norm.kind == NormKind::Layer { level / count } else { 0.0 });
    for (g, &x) in gradient.iter_mut().zip(x) {
        *g = (r * (f64::from(*g) - level - (f64::from(x) - mean) * r * along)) as f32;
    }
}

/// ln Σ e^z in double precision.
struct LogSumExp<'a> {
    logits: &'a [f32],
}

impl WithSimd for LogSumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let max = f64::from(maximum(self.logits));
        let (chunks, rest) = self.logits.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += exp_f64(f64::from(chunk[i]) - max);
            }
        }
        let sum = lanes.iter().sum::<f64>() + rest.iter().map(|z| exp_f64(f64::from(*z) - max)).sum::<f64>();
        max + sum.ln()
    }
}

/// Σ x_v y_v in double precision.
struct Dot<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

impl WithSimd for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let ((x, x_rest), (y, y_rest)) = (self.x.as_chunks::<LANES>(), self.y.as_chunks::<LANES>());
        let mut lanes = [0.0; LANES];
        for (x, y) in x.iter().zip(y) {
            for i in 0..LANES {
                lanes[i] += f64::from(x[i]) * f64::from(y[i]);
            }
        }
        let rest: f64 = x_rest.iter().zip(y_rest).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        lanes.iter().sum::<f64>() + rest
    }
}

/// e^(z - ln Σ e^z).
struct Softmax<'a> {
    logits: &'a [f32],
    log_sum: f64,
    out: &'a mut [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { logits, log_sum, out } = self;
        let shift = log_sum as f32;
        let count = logits.len().min(out.len());
        let (logits, out) = (&logits[..count], &mut out[..count]);
        for i in 0..count {
            out[i] = exp_f32(logits[i] - shift);
        }
    }
}

/// z ← s (softmax(z) - p).
struct LogitGradient<'a> {
    z: &'a mut [f32],
    p: &'a [f32],
    log_sum: f64,
    scale: f32,
}

impl WithSimd for LogitGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { z, p, log_sum, scale } = self;
        let shift = log_sum as f32;
        let count = z.len().min(p.len());
        let (z, p) = (&mut z[..count], &p[..count]);
        for i in 0..count {
            z[i] = scale * (exp_f32(z[i] - shift) - p[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{LoadedModel, TeacherForced};

    /// A model, and states of a window behind layer 8 and behind the last.
    fn states() -> (LoadedModel, Hidden, Hidden, Vec<u32>) {
        let model = LoadedModel::builtin_small().unwrap();
        let tokens = model.tokenizer.encode("The ship left the harbour at dawn.").unwrap();
        let forced = TeacherForced::new(&tokens, model.decoder.config().bos_token);
        let early = model.decoder.run(model.decoder.embed(&forced.inputs).unwrap(), 0..2).unwrap();
        let last = model.decoder.run(early.clone(), 2..4).unwrap();
        (model, early, last, forced.targets)
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let (model, early, last, _) = states();
        let loss = HeadLoss::new(&model.decoder);
        let teacher = loss.teacher(&last).unwrap();
        let (sum, gradient) = loss.divergence(&teacher, &early).unwrap();
        assert!(sum > 1.0, "{sum}");
        let width = early.width();
        for (row, column) in [(0, 0), (1, 5), (3, 17), (4, 95), (6, 50)] {
            let place = row * width + column;
            let at = |step: f32| {
                let mut moved = early.clone();
                moved.values_mut()[place] += step;
                (moved.values()[place], loss.divergence(&teacher, &moved).unwrap().0)
            };
            let ((x1, high), (x0, low)) = (at(0.05), at(-0.05));
            let (by_differences, found) = ((high - low) / f64::from(x1 - x0), f64::from(gradient[place]));
            assert!((by_differences - found).abs() < 1e-4 + 0.01 * found.abs(), "{place}: {by_differences} {found}");
        }
    }

    #[test]
    fn a_layer_norms_gradient_is_that_of_differences() {
        let x = [0.3_f32, -1.2, 2.0, 0.4, -0.6];
        let weight = vec![1.0_f32, 0.5, -2.0, 0.25, 1.5];
        let outer = [0.7_f32, -0.1, 0.4, 1.1, -0.9];
        for kind in [NormKind::Rms, NormKind::Layer] {
            let norm = Norm { kind, weight: weight.clone(), eps: 1e-3 };
            let of = |x: &[f64]| {
                let mean = if kind == NormKind::Layer { x.iter().sum::<f64>() / 5.0 } else { 0.0 };
                let r = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0 + 1e-3).sqrt();
                let terms = x.iter().zip(&weight).zip(&outer);
                terms.map(|((x, &w), &g)| (x - mean) * r * f64::from(w) * f64::from(g)).sum::<f64>()
            };
            let mut gradient = outer;
            norm_gradient(&norm, &x, &mut gradient);
            for j in 0..5 {
                let at = |step: f64| {
                    let mut moved = x.map(f64::from);
                    moved[j] += step;
                    of(&moved)
                };
                let by_differences = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((by_differences - f64::from(gradient[j])).abs() < 1e-6, "{j}: {by_differences}");
            }
        }
    }

    #[test]
    fn scores_are_those_of_plain_sums() {
        let (model, early, last, targets) = states();
        let loss = HeadLoss::new(&model.decoder);
        let teacher = loss.teacher(&last).unwrap();
        let scores = loss.scores(&teacher, &early, &targets).unwrap();
        let (full, own) = (model.decoder.logits(&last).unwrap(), model.decoder.logits(&early).unwrap());
        let softmax = |z: &[f32]| -> Vec<f64> {
            let total: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
            z.iter().map(|&z| f64::from(z).exp() / total).collect()
        };
        let best = |p: &[f64]| p.iter().enumerate().fold((0, 0.0), |a, (v, &p)| if p > a.1 { (v, p) } else { a });
        for (k, score) in scores.iter().enumerate() {
            let (p, q) = (softmax(&full[k * 2048..][..2048]), softmax(&own[k * 2048..][..2048]));
            let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
            assert!((kl - score.kl).abs() < 1e-5, "{kl} {}", score.kl);
            let target = targets[k] as usize;
            assert!((q[target].ln() + score.nll).abs() < 1e-9 && (p[target].ln() + score.teacher_nll).abs() < 1e-9);
            assert!((best(&q).1 - score.confidence).abs() < 1e-9);
            assert_eq!(best(&q).0 == best(&p).0, score.agrees);
        }
        let same = loss.scores(&teacher, &last, &targets).unwrap();
        assert!(same.iter().all(|score| score.kl == 0.0 && score.agrees && score.nll == score.teacher_nll));
        let (sum, gradient) = loss.divergence(&teacher, &last).unwrap();
        assert!(sum == 0.0 && gradient.iter().all(|&g| g == 0.0), "nothing is nearer than the teacher itself");
    }
}
