//! The final norm, the head and the likelihood, and what they pass back.

use crate::llm::exponential::exp_f64;
use crate::llm::perplexity::Nll;

use super::norm::{rms_norm, rms_norm_back};
use super::product::{Onto, View, multiply, project};

/// Rows whose logits are in memory at once.
const ROWS_AT_ONCE: usize = 128;

/// Final norm and head.
#[derive(Debug)]
pub(super) struct Head {
    /// \[V × d\]; if tied, the embedding.
    pub weight: Vec<f64>,
    /// \[d\].
    pub norm: Vec<f64>,
    /// ε of the norm.
    pub eps: f64,
    /// What logits are multiplied by.
    pub scale: f64,
}

impl Head {
    /// Logits \[S × V\] of rows behind the last layer.
    pub(super) fn logits(&self, x: &[f64]) -> Vec<f64> {
        let mut logits = project(&rms_norm(x, &self.norm, self.eps).rows, &self.weight, self.norm.len());
        for logit in &mut logits {
            *logit *= self.scale;
        }
        logits
    }

    /// The negative log-likelihood of the targets, summed, and its gradient with respect to `x`; rows without a
    /// target aren't scored. With `p = softmax(z)`, `d/dz (-ln p_t) = p - e_t`.
    ///
    /// # Errors
    /// The first row whose logits are not finite.
    pub(super) fn backward(&self, x: &[f64], targets: &[Option<u32>]) -> Result<(Nll, Vec<f64>), usize> {
        let width = self.norm.len();
        let (mut nll, mut dx) = (Nll::default(), vec![0.0; x.len()]);
        let parts = x.chunks(ROWS_AT_ONCE * width).zip(dx.chunks_mut(ROWS_AT_ONCE * width));
        for (part, ((x, dx), targets)) in parts.zip(targets.chunks(ROWS_AT_ONCE)).enumerate() {
            let mut logits = self.logits(x);
            let vocab = logits.len() / targets.len();
            for (row, (logits, target)) in logits.chunks_exact_mut(vocab).zip(targets).enumerate() {
                let Some(target) = *target else {
                    logits.fill(0.0);
                    continue;
                };
                let score = likelihood_back(logits, target as usize);
                nll += Nll { sum: score.ok_or(part * ROWS_AT_ONCE + row)?, tokens: 1 };
            }
            let mut d_normed = vec![0.0; x.len()];
            let weight = View::new(&self.weight, width);
            multiply(self.scale, View::new(&logits, vocab), weight, &mut d_normed, width, Onto::Replace);
            let normed = rms_norm(x, &self.norm, self.eps);
            rms_norm_back(&d_normed, x, &self.norm, &normed.inverse_rms, dx);
        }
        Ok((nll, dx))
    }
}

/// `-ln softmax(z)[target]` by log-sum-exp; its gradient takes the place of the logits z. `None` if they aren't finite.
fn likelihood_back(logits: &mut [f64], target: usize) -> Option<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scored = logits[target];
    let mut total = 0.0;
    for logit in &mut *logits {
        *logit = exp_f64(*logit - max);
        total += *logit;
    }
    for p in &mut *logits {
        *p /= total;
    }
    logits[target] -= 1.0;
    let nll = max + total.ln() - scored;
    nll.is_finite().then_some(nll)
}
