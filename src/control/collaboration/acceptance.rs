//! How the edge judges a proposed token: accept it, or put another in its place.
//!
//! The rule of speculative sampling (Leviathan, Kalman, Matias, ICML 2023, arXiv 2211.17192, theorem 1), which
//! U-HLM (arXiv 2412.12687) applies to one token at a time: with the proposal's distribution x and the
//! large model's y, a token d that was drawn from x is accepted with probability `min(1, y_d/x_d)`, and otherwise
//! one is drawn from `max(0, y - x)`, normalised. What comes out is distributed as y, whatever x is.

/// Largest exponent -ln p that a sent probability can say \[nat\]; less probable tokens are sent as that.
const DEEPEST_NAT: f64 = 20.0;

/// `softmax(z/T)` in double precision \[V\]; at T = 0 all of it on the largest logit, of equals the first.
pub fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if temperature <= 0.0 {
        let first = logits.iter().position(|&logit| logit == largest);
        return (0..logits.len()).map(|token| if Some(token) == first { 1.0 } else { 0.0 }).collect();
    }
    let weights: Vec<f64> =
        logits.iter().map(|&logit| ((f64::from(logit) - f64::from(largest)) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// What of a distribution x \[V\] reaches the edge: `entries` probabilities, that of the proposed token and the largest
/// others (of equals the first tokens), each as a multiple of 20/(2^b - 1) nat in -ln p; 0 for all others. 52 bits and more
/// are exact.
pub fn sent(x: &[f64], proposed: u32, entries: Option<usize>, bits: u32) -> Vec<f64> {
    let step = DEEPEST_NAT / ((1u64 << bits.min(52)) - 1) as f64;
    let quantised = |p: f64| {
        if bits >= 52 || p <= 0.0 {
            return p;
        }
        (-((-p.ln()).min(DEEPEST_NAT) / step).round() * step).exp()
    };
    let k = entries.unwrap_or(x.len()).min(x.len());
    if k == x.len() {
        return x.iter().map(|&p| quantised(p)).collect();
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    let is_proposed = |token: usize| token == proposed as usize;
    let falling =
        |a: &usize, b: &usize| is_proposed(*b).cmp(&is_proposed(*a)).then(x[*b].total_cmp(&x[*a])).then(a.cmp(b));
    if k > 0 {
        order.select_nth_unstable_by(k - 1, falling);
    }
    let mut seen = vec![0.0; x.len()];
    for &token in &order[..k] {
        if let (Some(place), Some(&p)) = (seen.get_mut(token), x.get(token)) {
            *place = quantised(p);
        }
    }
    seen
}

/// The token that stands after the judgement of `proposed`, drawn from x: itself, or one drawn from what y has more
/// than x. `uniforms` are two independent draws on (0, 1).
pub fn judge(x: &[f64], y: &[f64], proposed: u32, uniforms: [f64; 2]) -> u32 {
    let [accept, resample] = uniforms;
    let at = |p: &[f64]| p.get(proposed as usize).copied().unwrap_or(0.0);
    if accept * at(x) < at(y) {
        return proposed;
    }
    let more = |(&x, &y): (&f64, &f64)| (y - x).max(0.0);
    let total: f64 = x.iter().zip(y).map(more).sum();
    // Equal distributions never come here but by rounding: y itself is then as good.
    let use_y = total <= 0.0;
    let weight = |pair: (&f64, &f64)| if use_y { *pair.1 } else { more(pair) };
    let total = if use_y { y.iter().sum() } else { total };
    let mut left = resample * total;
    let mut last = proposed;
    for (token, pair) in (0u32..).zip(x.iter().zip(y)) {
        let weight = weight(pair);
        if weight > 0.0 {
            last = token;
            left -= weight;
            if left <= 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    /// χ² of `counts` against probabilities.
    fn chi_square(counts: &[u64], p: &[f64]) -> f64 {
        let n: u64 = counts.iter().sum();
        counts.iter().zip(p).map(|(&seen, p)| (seen as f64 - n as f64 * p).powi(2) / (n as f64 * p)).sum()
    }

    fn draw(p: &[f64], uniform: f64) -> u32 {
        let mut left = uniform;
        let place = p.iter().position(|p| {
            left -= p;
            left <= 0.0
        });
        place.unwrap_or(p.len() - 1) as u32
    }

    /// 200,000 tokens of a vocabulary of 6 in which x and y differ much; the 99.9 % quantile of χ² with 5 degrees of
    /// freedom is 20.5.
    #[test]
    fn what_is_judged_has_the_large_models_distribution() {
        let x = softmax(&[2.0, 0.5, -1.0, 0.0, 1.0, -3.0], 1.0);
        let y = softmax(&[-0.5, 1.5, 0.5, 0.0, 1.0, -1.0], 1.0);
        let stream = Streams::new(5, 0).stream(0, Purpose::Test);
        let (mut judged, mut unjudged) = ([0u64; 6], [0u64; 6]);
        for n in 0..200_000u64 {
            let proposed = draw(&x, stream.uniform(2 * n));
            unjudged[proposed as usize] += 1;
            judged[judge(&x, &y, proposed, stream.uniform_pair(2 * n + 1)) as usize] += 1;
        }
        assert!(chi_square(&judged, &y) < 20.5, "{judged:?}");
        // The test would see the difference.
        assert!(chi_square(&unjudged, &y) > 1000.0, "{unjudged:?}");
    }

    /// The acceptance rate is 1 less the total variation distance: Σ min(x, y).
    #[test]
    fn it_accepts_as_often_as_the_distributions_overlap() {
        let (x, y) = ([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]);
        let stream = Streams::new(6, 0).stream(0, Purpose::Test);
        let n = 100_000u64;
        let accepted = (0..n).filter(|n| {
            let proposed = draw(&x, stream.uniform(2 * n));
            judge(&x, &y, proposed, stream.uniform_pair(2 * n + 1)) == proposed
        });
        // Σ min = 0.7; a rejected 0 never comes back as 0. Five standard deviations are 0.0072.
        assert!((accepted.count() as f64 / n as f64 - 0.7).abs() < 0.0072);
    }

    #[test]
    fn greedy_models_agree_or_the_large_one_wins() {
        let (x, y) = (softmax(&[1.0, 3.0, 3.0], 0.0), softmax(&[4.0, 3.0, 3.0], 0.0));
        assert_eq!(x, [0.0, 1.0, 0.0]);
        assert_eq!(judge(&x, &y, 1, [0.3, 0.9]), 0);
        assert_eq!(judge(&x, &x, 1, [0.999, 0.9]), 1);
    }

    #[test]
    fn what_is_sent_is_cut_and_quantised() {
        let x = softmax(&[2.0, 0.5, -1.0, 0.0, 1.0, -3.0], 1.0);
        assert_eq!(sent(&x, 3, None, 52), x);
        let cut = sent(&x, 2, Some(2), 52);
        assert_eq!(cut, [x[0], 0.0, x[2], 0.0, 0.0, 0.0]);
        assert_eq!(sent(&x, 0, Some(2), 52), [x[0], 0.0, 0.0, 0.0, x[4], 0.0]);
        // 8 bits: steps of 20/255 nat, so an error of half a step, 3.9 %, at most.
        for (seen, p) in sent(&x, 2, None, 8).into_iter().zip(&x) {
            assert!((seen / p).ln().abs() <= 10.0 / 255.0 + 1e-12);
        }
        assert_eq!(sent(&[1.0 - 1e-12, 1e-12], 0, None, 8)[1], (-20.0f64).exp());
    }

    /// Total variation distance of what comes out from y, if the edge sees `sent` of x.
    fn bias(x: &[f64], y: &[f64], entries: Option<usize>, bits: u32) -> f64 {
        let mut out = vec![0.0; x.len()];
        for (proposed, p) in (0u32..).zip(x) {
            let seen = sent(x, proposed, entries, bits);
            let accepted = (y[proposed as usize] / seen[proposed as usize]).min(1.0);
            out[proposed as usize] += p * accepted;
            let more: Vec<f64> = seen.iter().zip(y).map(|(x, y)| (y - x).max(0.0)).collect();
            let total: f64 = more.iter().sum();
            if total > 0.0 {
                out.iter_mut().zip(&more).for_each(|(out, more)| *out += p * (1.0 - accepted) * more / total);
            }
        }
        out.iter().zip(y).map(|(out, y)| (out - y).abs()).sum::<f64>() / 2.0
    }

    /// Eight bits of all V cost less than a percent of distance; what is cut away costs more.
    #[test]
    fn what_is_not_sent_biases_the_judgement() {
        let draws = Streams::new(9, 0).stream(0, Purpose::Test);
        let large: Vec<f32> = (0..300).map(|token| 2.0 * draws.normal_pair(token)[0] as f32).collect();
        let small: Vec<f32> =
            large.iter().zip(0..).map(|(z, token)| 0.8 * z + draws.normal_pair(1000 + token)[0] as f32).collect();
        let (x, y) = (softmax(&small, 1.0), softmax(&large, 1.0));
        assert!(bias(&x, &y, None, 52) < 1e-12);
        let (eight, four, cut) = (bias(&x, &y, None, 8), bias(&x, &y, None, 4), bias(&x, &y, Some(30), 8));
        assert!(eight < 0.01 && four > 3.0 * eight && cut > 3.0 * eight, "{eight} {four} {cut}");
        assert!(bias(&x, &y, Some(150), 8) < cut);
    }
}
