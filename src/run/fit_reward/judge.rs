//! How well scores tell tokens to keep from tokens to hand over.
//!
//! Intervals come from resampling prompts (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13:
//! percentiles): the tokens of one rollout are anything but independent.

use rayon::prelude::*;

use crate::kernel::{Purpose, Stream, Streams};
use crate::stats::{RankOrder, area_under_curve, correlation, sample_quantile};

/// Resamples.
const RESAMPLES: u64 = 1000;
/// Probability of an interval.
const LEVEL: f64 = 0.95;
/// The resamples' number among the draws of [`Purpose::HeadFit`].
const RESAMPLING: u32 = u32::MAX;
/// Shares of tokens at which random choice is the yardstick.
pub const RANDOM_SHARES: [f64; 3] = [0.2, 0.4, 0.6];

/// A score of each row; higher speaks for keeping.
#[derive(Clone, Debug)]
pub struct Score {
    /// The scorer's name.
    pub name: &'static str,
    /// One per row.
    pub values: Vec<f64>,
    order: RankOrder,
}

impl Score {
    /// Scores by the scorer of that name.
    pub fn new(name: &'static str, values: Vec<f64>) -> Self {
        let order = RankOrder::of(&values);
        Self { name, values, order }
    }
}

/// Rows with their labels and what scorers make of them.
#[derive(Clone, Debug)]
pub struct Sample {
    /// r of each row.
    pub rewards: Vec<f64>,
    /// Number of each row's prompt, from 0.
    pub prompts: Vec<u32>,
    /// Whether the token is the large model's first choice; `None` of rows that are no tokens.
    pub first_choices: Option<Vec<bool>>,
    /// The scores; the reward head's comes first.
    pub scores: Vec<Score>,
}

/// A figure and its interval; `None` where it doesn't apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Of the rows as they are.
    pub value: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// Figures of one scorer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Its name.
    pub name: &'static str,
    /// Spearman's correlation of score and r.
    pub rank_correlation: Estimate,
    /// The reward head's less this one's, on the same resamples.
    pub reward_gain: Estimate,
    /// P(score of a first choice > score of another token).
    pub auc: Estimate,
    /// At each of [`RANDOM_SHARES`] the share that this scorer needs for the same gain, over the share.
    pub share_ratios: [Estimate; 3],
    /// The reward head's ratio less this one's, on the same resamples.
    pub ratio_differences: [Estimate; 3],
}

/// Figures without intervals.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    rank_correlation: Option<f64>,
    auc: Option<f64>,
    share_ratios: [Option<f64>; 3],
}

impl Sample {
    /// The rows of these indices alone.
    pub fn part(&self, rows: &[usize]) -> Self {
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        Self {
            rewards: pick(&self.rewards),
            prompts: rows.iter().map(|&row| self.prompts[row]).collect(),
            first_choices: self.first_choices.as_ref().map(|marks| rows.iter().map(|&row| marks[row]).collect()),
            scores: self.scores.iter().map(|score| Score::new(score.name, pick(&score.values))).collect(),
        }
    }

    /// Figures of all scorers with intervals by resampling, in parallel in the current pool.
    pub fn judge(&self, streams: Streams) -> Vec<Judgement> {
        let order = RankOrder::of(&self.rewards);
        let whole = self.figures(&order, &vec![1; self.rewards.len()]);
        let prompts = self.prompts.iter().max().map_or(0, |&last| last as usize + 1);
        let draws = streams.stream(RESAMPLING, Purpose::HeadFit);
        let one = |resample: u64| self.figures(&order, &self.weights(prompts, &draws.starting_at(resample << 32)));
        let resamples: Vec<Vec<Figures>> = (0..RESAMPLES).into_par_iter().map(one).collect();
        self.judgements(&whole, &resamples)
    }

    /// Figures of all scorers without intervals.
    pub fn judge_plainly(&self) -> Vec<Judgement> {
        let whole = self.figures(&RankOrder::of(&self.rewards), &vec![1; self.rewards.len()]);
        self.judgements(&whole, &[])
    }

    fn judgements(&self, whole: &[Figures], resamples: &[Vec<Figures>]) -> Vec<Judgement> {
        let of = |(index, score): (usize, &Score)| {
            let estimate = |figure: &dyn Fn(&[Figures]) -> Option<f64>| {
                let values: Vec<f64> = resamples.iter().filter_map(|resample| figure(resample)).collect();
                let tail = 0.5 * (1.0 - LEVEL);
                let (low, high) = (sample_quantile(&values, tail), sample_quantile(&values, 1.0 - tail));
                Estimate { value: figure(whole), low, high }
            };
            let difference = |a: Option<f64>, b: Option<f64>| Some(a? - b?);
            Judgement {
                name: score.name,
                rank_correlation: estimate(&|of| of[index].rank_correlation),
                reward_gain: estimate(&|of| difference(of[0].rank_correlation, of[index].rank_correlation)),
                auc: estimate(&|of| of[index].auc),
                share_ratios: std::array::from_fn(|at| estimate(&|of| of[index].share_ratios[at])),
                ratio_differences: std::array::from_fn(|at| {
                    estimate(&|of| difference(of[0].share_ratios[at], of[index].share_ratios[at]))
                }),
            }
        };
        self.scores.iter().enumerate().map(of).collect()
    }

    /// How often each row stands in a resample: as often as its prompt is drawn, in as many draws as there are prompts.
    fn weights(&self, prompts: usize, draws: &Stream) -> Vec<u32> {
        let mut counts = vec![0_u32; prompts];
        for draw in 0..prompts as u64 {
            counts[draws.below(draw, prompts as u64) as usize] += 1;
        }
        self.prompts.iter().map(|&prompt| counts[prompt as usize]).collect()
    }

    fn figures(&self, rewards: &RankOrder, weights: &[u32]) -> Vec<Figures> {
        let ranks = rewards.mid_ranks(weights);
        let of = |score: &Score| {
            let marks = self.first_choices.as_ref();
            Figures {
                rank_correlation: correlation(&score.order.mid_ranks(weights), &ranks, weights),
                auc: marks.and_then(|marks| area_under_curve(&score.order, marks, weights)),
                share_ratios: self
                    .share_for(score, weights, RANDOM_SHARES)
                    .map_or([None; 3], |shares| std::array::from_fn(|at| Some(shares[at] / RANDOM_SHARES[at]))),
            }
        };
        self.scores.iter().map(of).collect()
    }

    /// The shares of rows, lowest scores first, that hold these parts of Σ -r; `None` where there is nothing to gain.
    /// Rows of equal score are handed over in equal parts.
    fn share_for(&self, score: &Score, weights: &[u32], parts: [f64; 3]) -> Option<[f64; 3]> {
        let weight = |row: usize| f64::from(weights[row]);
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let all: f64 = self.rewards.iter().enumerate().map(|(row, r)| -r * weight(row)).sum();
        if !(all > 0.0 && all.is_finite()) {
            return None;
        }
        let (mut share, mut gained, mut next) = (0.0, 0.0, 0);
        let mut shares = [1.0; 3];
        for group in score.order.groups() {
            let own = |of: &dyn Fn(usize) -> f64| group.iter().map(|&row| of(row as usize)).sum::<f64>();
            let (width, gain) = (own(&weight) / total, own(&|row| -self.rewards[row] * weight(row)) / all);
            while next < parts.len() && gained + gain >= parts[next] && gain > 0.0 {
                shares[next] = share + width * ((parts[next] - gained) / gain).clamp(0.0, 1.0);
                next += 1;
            }
            share += width;
            gained += gain;
        }
        Some(shares)
    }

    /// The mean r when the share `share` of rows, lowest scores first, is replaced by the large model's own choice.
    /// Rows of equal score are handed over in equal parts.
    pub fn mean_reward_at(&self, score: &Score, share: f64) -> f64 {
        let count = self.rewards.len() as f64;
        let (mut left, mut kept) = (share * count, 0.0);
        for group in score.order.groups() {
            let width = group.len() as f64;
            let sum: f64 = group.iter().map(|&row| self.rewards[row as usize]).sum();
            let handed = left.clamp(0.0, width);
            kept += sum * (1.0 - handed / width);
            left -= handed;
        }
        kept / count
    }

    /// The threshold that hands over the share of rows nearest to `share`, and that share: rows below it are handed
    /// over. `None` of no rows.
    pub fn threshold_at(&self, score: &Score, share: f64) -> Option<(f64, f64)> {
        let count = self.rewards.len() as f64;
        let mut before = 0.0;
        let mut best: Option<(f64, f64)> = None;
        for group in score.order.groups() {
            let own = before / count;
            if best.is_none_or(|(_, found)| (own - share).abs() < (found - share).abs()) {
                best = Some((score.values[*group.first()? as usize], own));
            }
            before += group.len() as f64;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rewards: &[f64], scores: &[f64]) -> Sample {
        let marks = rewards.iter().map(|&r| r == 0.0).collect();
        let prompts = (0..rewards.len() as u32).collect();
        let scores = vec![Score::new("reward", scores.to_vec())];
        Sample { rewards: rewards.to_vec(), prompts, first_choices: Some(marks), scores }
    }

    /// Losses 6, 3, 1, 0 from the lowest score on: 0.4 of 10 lie in 4/6 of a quarter; 0.6 in a whole one.
    #[test]
    fn shares_and_gains_of_four_rows() {
        let sample = sample(&[0.0, -1.0, -3.0, -6.0], &[9.0, 7.0, 5.0, 3.0]);
        let score = &sample.scores[0];
        let shares = sample.share_for(score, &[1; 4], RANDOM_SHARES).unwrap();
        for (found, expected) in shares.into_iter().zip([0.25 * 2.0 / 6.0, 0.25 * 4.0 / 6.0, 0.25]) {
            assert!((found - expected).abs() < 1e-12, "{shares:?}");
        }
        for (share, expected) in [(0.0, -2.5), (0.25, -1.0), (0.375, -0.625), (0.5, -0.25), (1.0, 0.0)] {
            assert!((sample.mean_reward_at(score, share) - expected).abs() < 1e-12);
        }
        assert_eq!(sample.threshold_at(score, 0.3), Some((5.0, 0.25)));
        assert_eq!(sample.threshold_at(score, 0.95), Some((9.0, 0.75)));
        assert_eq!(sample.threshold_at(score, 0.0), Some((3.0, 0.0)));
        let judged = &sample.judge_plainly()[0];
        assert_eq!((judged.rank_correlation.value, judged.auc.value), (Some(1.0), Some(1.0)));
        assert_eq!(judged.rank_correlation.low, None);
    }

    /// A score that says nothing needs what random choice needs; without losses there is nothing to need.
    #[test]
    fn equal_scores_are_random_choice() {
        let flat = sample(&[0.0, -1.0, -3.0, -6.0], &[1.0; 4]);
        let shares = flat.share_for(&flat.scores[0], &[1; 4], RANDOM_SHARES).unwrap();
        assert!(shares.iter().zip(RANDOM_SHARES).all(|(a, b)| (a - b).abs() < 1e-12));
        assert!((flat.mean_reward_at(&flat.scores[0], 0.2) - -2.0).abs() < 1e-12);
        assert_eq!(flat.judge_plainly()[0].rank_correlation.value, None);
        assert_eq!(flat.judge_plainly()[0].auc.value, Some(0.5));
        let none = sample(&[0.0; 3], &[1.0, 2.0, 3.0]);
        assert_eq!(none.share_for(&none.scores[0], &[1; 3], RANDOM_SHARES), None);
    }

    /// 400 prompts of one row, correlation 1/√2 of normals: the interval covers Spearman's 6/π·asin(ρ/2) and is as
    /// wide as (1 - ρ_s²)/√n says within a third; resamples of whole prompts make no difference here.
    #[test]
    fn intervals_are_those_of_the_bootstrap() {
        let draws = Streams::new(8, 0).stream(0, Purpose::Test);
        let pairs: Vec<[f64; 2]> = (0..400).map(|row| draws.normal_pair(row)).collect();
        let rewards: Vec<f64> = pairs.iter().map(|[a, b]| a + b).collect();
        let sample = sample(&rewards, &pairs.iter().map(|[a, _]| *a).collect::<Vec<f64>>());
        let found = sample.judge(Streams::new(1, 0))[0].rank_correlation;
        let truth = 6.0 / std::f64::consts::PI * (0.5_f64.sqrt() / 2.0).asin();
        let (low, high) = (found.low.unwrap(), found.high.unwrap());
        assert!(low < truth && truth < high, "{found:?} for {truth}");
        let expected = 2.0 * 1.96 * (1.0 - truth * truth) / 400_f64.sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.33, "{} for {expected}", high - low);
    }
}
