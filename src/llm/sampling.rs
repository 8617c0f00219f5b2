//! Which token comes next.

use std::cmp::Ordering;

use crate::kernel::Stream;

/// How a token is chosen from logits: the largest, or drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// T of `P(k) ∝ exp(z_k/T)`; at 0 the token of the largest logit is taken.
    pub temperature: f64,
    /// Only the k most probable tokens are drawn from.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that together reach this probability are drawn
    /// from, at least one; 1 for all (Holtzman et al., ICLR 2020, arXiv 1904.09751).
    /// Probabilities are those among the `top_k`.
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0 }
    }
}

impl Sampling {
    /// The next token after `position`, from its `logits` \[V\]. `None` if one of them is
    /// infinite or not a number. Equal logits: the smaller id.
    ///
    /// Drawn is `argmax_k (z_k/T + g_k)` with `g_k = -ln(-ln u_k)` (Gumbel's maximum),
    /// u_k addressed by (position, k) in `draws`: two runs that meet nearly the same
    /// logits at a position nearly always choose the same token.
    pub fn choose(&self, logits: &[f32], draws: &Stream, position: usize) -> Option<u32> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        let best = |scores: &mut dyn Iterator<Item = (u32, f64)>| {
            let larger = |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
            scores.reduce(larger).map(|(token, _)| token)
        };
        let level = |token: u32| logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit));
        let all = 0..logits.len() as u32;
        if self.temperature <= 0.0 {
            return best(&mut all.map(|token| (token, level(token))));
        }
        let gumbel = |token: u32| {
            let uniforms = draws.uniform_pair(((position as u64) << 32) + u64::from(token / 2));
            -(-uniforms[token as usize % 2].ln()).ln()
        };
        let score = |token: u32| (token, level(token) / self.temperature + gumbel(token));
        if self.top_k.is_none() && self.top_p >= 1.0 {
            return best(&mut all.map(score));
        }
        let mut candidates = self.candidates(all.collect(), level);
        candidates.sort_unstable();
        best(&mut candidates.into_iter().map(score))
    }

    /// The tokens that may be drawn.
    fn candidates(&self, mut tokens: Vec<u32>, level: impl Fn(u32) -> f64) -> Vec<u32> {
        let falling = |a: &u32, b: &u32| -> Ordering { level(*b).total_cmp(&level(*a)).then(a.cmp(b)) };
        if let Some(k) = self.top_k.map(|k| k.max(1)).filter(|&k| k < tokens.len()) {
            tokens.select_nth_unstable_by(k, falling);
            tokens.truncate(k);
        }
        if self.top_p >= 1.0 {
            return tokens;
        }
        tokens.sort_unstable_by(falling);
        let most = tokens.first().map_or(0.0, |&token| level(token));
        let weight = |token: u32| ((level(token) - most) / self.temperature).exp();
        let total: f64 = tokens.iter().map(|&token| weight(token)).sum();
        let mut reached = 0.0;
        let count = tokens.iter().take_while(|&&token| {
            let before = reached;
            reached += weight(token) / total;
            before < self.top_p
        });
        let count = count.count().max(1);
        tokens.truncate(count);
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn draws() -> Stream {
        Streams::new(7, 0).stream(0, Purpose::TokenChoice)
    }

    #[test]
    fn greedy_takes_the_largest_and_of_equals_the_first() {
        let greedy = Sampling::default();
        assert_eq!(greedy.choose(&[-1.0, 3.0, 3.0, 2.0], &draws(), 0), Some(1));
        assert_eq!(greedy.choose(&[-1.0, f32::NAN], &draws(), 0), None);
        assert_eq!(greedy.choose(&[], &draws(), 0), None);
    }

    #[test]
    fn draws_have_the_probabilities_of_the_softmax() {
        let logits = [1.0, 0.0, 2.0, -1.0, 0.5];
        for (sampling, allowed) in [
            (Sampling { temperature: 1.5, ..Sampling::default() }, &[0, 1, 2, 3, 4][..]),
            (Sampling { temperature: 0.7, top_k: Some(3), ..Sampling::default() }, &[0, 2, 4]),
            // At T = 1: 0.563, 0.207, 0.126, 0.076, 0.028: the first two reach 0.7.
            (Sampling { temperature: 1.0, top_k: None, top_p: 0.7 }, &[0, 2]),
            // Of the first two, 0.731 and 0.269.
            (Sampling { temperature: 1.0, top_k: Some(2), top_p: 0.7 }, &[2]),
        ] {
            let weight = |token: usize| (f64::from(logits[token]) / sampling.temperature).exp();
            let total: f64 = allowed.iter().map(|&token| weight(token)).sum();
            let mut counts = [0_u32; 5];
            let n = 20_000;
            for position in 0..n {
                counts[sampling.choose(&logits, &draws(), position).unwrap() as usize] += 1;
            }
            for (token, count) in counts.into_iter().enumerate() {
                let p = if allowed.contains(&token) { weight(token) / total } else { 0.0 };
                let share = f64::from(count) / n as f64;
                let error = 5.0 * (p * (1.0 - p) / n as f64).sqrt();
                assert!((share - p).abs() <= error, "{sampling:?}, token {token}: {share} for {p}");
            }
        }
    }

    #[test]
    fn a_draw_depends_on_its_position_and_token_alone() {
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 / 3.0).collect();
        let chosen: Vec<_> = (0..20).map(|position| sampling.choose(&logits, &draws(), position)).collect();
        let again: Vec<_> = (0..20).rev().map(|position| sampling.choose(&logits, &draws(), position)).collect();
        assert!(chosen.iter().eq(again.iter().rev()));
        assert!(chosen.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
