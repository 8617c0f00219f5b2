//! The files of a reward head, beside the head itself.

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};
use crate::run::fit_reward::judge::{Estimate, Judgement, RANDOM_SHARES, Sample};
use crate::run::fit_reward::rollouts::Rollout;

/// Bins of the calibration.
const BINS: usize = 10;
/// Steps of the edge's share, from 0 to 1.
const SHARE_STEPS: u32 = 20;

record! {
    /// How well scores foresee the reward r: one row per scorer for each fold of the cross-validation, on the prompts that the fold held out; for all of them together; and for the text of `--check`.
    "metrics.csv" => pub struct HeadMetricsRow {
        /// Number of the fold, from 0; `pooled`: all rows, each predicted by the fit that didn't see its prompt; `check`: the final fit on the text of `--check`.
        fold: String,
        /// The scorer. Its score is r̂ (`reward`), p_(1) (`max-softmax`), p_(1) - p_(2) (`margin`), -H (`entropy`), p(x) (`token-probability`), 1 - u of U-HLM (`perturbation`), a uniform draw (`random`), or r itself (`oracle`): higher speaks for keeping the device's token. Of queries `max-softmax` and `entropy` are means over the prompt.
        scorer: &'static str,
        /// Prompts.
        prompts: u64,
        /// Rows: tokens, or queries.
        rows: u64,
        /// Mean squared error of r̂ \[nat²\]. Empty for other scorers.
        mse: Option<f64>,
        /// MSE of predicting the mean of the training rows. Empty for other scorers.
        constant_mse: Option<f64>,
        /// 1 - MSE/variance of these rows' r. Empty for other scorers, and where r doesn't vary.
        r2: Option<f64>,
        /// Spearman's rank correlation of score and r.
        rank_correlation: Option<f64>,
        /// Lower end of its 95 % interval, by 1,000 resamples of prompts. Empty for single folds, as all intervals.
        rank_correlation_low: Option<f64>,
        /// Upper end.
        rank_correlation_high: Option<f64>,
        /// The reward head's rank correlation less this scorer's.
        reward_gain: Option<f64>,
        /// Lower end of its interval, on the same resamples.
        reward_gain_low: Option<f64>,
        /// Upper end.
        reward_gain_high: Option<f64>,
        /// Area under the curve of "the token is the large model's first choice": the probability that such a token has a higher score than another. Empty for queries.
        auc: Option<f64>,
        /// Lower end of its interval.
        auc_low: Option<f64>,
        /// Upper end.
        auc_high: Option<f64>,
        /// Epochs trained; in `pooled` their mean. Empty for other scorers.
        epochs: Option<f64>,
    }
}

record! {
    /// One row per proposed token (or query) in order, predicted by the fold that held its prompt out.
    "predictions.csv" => pub struct HeadPredictionRow {
        /// Number of the prompt, from 0.
        prompt: u32,
        /// Number of the token in the rollout, from 0. Empty for queries, as the other columns that a token has.
        step: Option<u32>,
        /// The token.
        token: Option<u32>,
        /// r = ln p_L(x) - max_v ln p_L(v) of the large model \[nat\]; of queries its mean over the rollout.
        reward: f64,
        /// r̂ of the reward head.
        prediction: f64,
        /// p_(1); of queries its mean over the prompt.
        max_softmax: f64,
        /// p_(1) - p_(2).
        margin: Option<f64>,
        /// H \[nat\]; of queries its mean over the prompt.
        entropy: f64,
        /// ln p(x) of the device \[nat\].
        token_log_probability: Option<f64>,
        /// u of U-HLM.
        perturbation: Option<f64>,
        /// A uniform draw.
        random: f64,
        /// The fold that held its prompt out, from 0.
        fold: u32,
    }
}

record! {
    /// Predictions of the cross-validation in ten bins of equally many rows, by rising r̂.
    "calibration.csv" => pub struct HeadCalibrationRow {
        /// Number of the bin, from 0.
        bin: u64,
        /// Mean r̂ \[nat\].
        predicted: f64,
        /// Mean r \[nat\].
        measured: f64,
        /// Share of rows with r = 0: the large model's own first choice.
        first_choices: f64,
        /// Rows.
        rows: u64,
    }
}

record! {
    /// Thresholds by the share of rows that they hand to the edge, on the rollouts of the cross-validation: a token is handed over if its score is below. A device that goes on with the edge's tokens meets other contexts: its share may differ.
    "thresholds.csv" => pub struct ThresholdRow {
        /// The scorer, as in metrics.csv.
        scorer: &'static str,
        /// The share asked for.
        edge_share: f64,
        /// The threshold.
        threshold: f64,
        /// The share that it gives; a score of few values can't give any share.
        achieved_share: f64,
    }
}

record! {
    /// Quality by the edge's share if the rows of lowest score are replaced by the large model's own first choices, the others left as they are.
    "tradeoff.csv" => pub struct TradeoffRow {
        /// `pooled` or `check`, as in metrics.csv.
        fold: &'static str,
        /// The scorer, as in metrics.csv.
        scorer: &'static str,
        /// Share of rows that are replaced.
        edge_share: f64,
        /// Mean r of all rows then \[nat\]; 0 is the large model alone, greedily.
        mean_reward: f64,
        /// 1 - mean r/mean r at share 0: what is won of the large model's lead.
        recovered: Option<f64>,
    }
}

record! {
    /// What a scorer saves: the share of rows that it hands to the edge for the quality that random choice reaches.
    "share_ratio.csv" => pub struct ShareRatioRow {
        /// `pooled` or `check`, as in metrics.csv.
        fold: &'static str,
        /// The scorer, as in metrics.csv.
        scorer: &'static str,
        /// Share of random choice, which recovers as much of the large model's lead.
        random_share: f64,
        /// The scorer's share.
        edge_share: Option<f64>,
        /// Their ratio: below 1 is better than random.
        share_ratio: Option<f64>,
        /// Lower end of its 95 % interval, by 1,000 resamples of prompts.
        share_ratio_low: Option<f64>,
        /// Upper end.
        share_ratio_high: Option<f64>,
        /// The reward head's ratio less this scorer's: below 0 the head is better.
        difference: Option<f64>,
        /// Lower end of its interval, on the same resamples.
        difference_low: Option<f64>,
        /// Upper end.
        difference_high: Option<f64>,
    }
}

/// Errors of the reward head itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Mean squared error.
    pub mse: f64,
    /// Of predicting the training mean.
    pub constant_mse: f64,
    /// `None` where r doesn't vary.
    pub r2: Option<f64>,
    /// Epochs trained.
    pub epochs: f64,
}

impl Errors {
    /// Of predictions beside rewards and the means of the rows that each was learned from.
    pub fn of(rewards: &[f64], predictions: &[f64], constants: &[f64], epochs: f64) -> Self {
        let n = rewards.len().max(1) as f64;
        let mean_square = |others: &[f64]| rewards.iter().zip(others).map(|(r, x)| (r - x).powi(2)).sum::<f64>() / n;
        let mean = rewards.iter().sum::<f64>() / n;
        let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
        let mse = mean_square(predictions);
        let r2 = (variance > 0.0).then(|| 1.0 - mse / variance);
        Self { mse, constant_mse: mean_square(constants), r2, epochs }
    }
}

/// The rows of metrics.csv for one sample, the reward head's first.
pub fn metrics(fold: &str, sample: &Sample, judgements: &[Judgement], errors: &Errors) -> Vec<HeadMetricsRow> {
    let mut prompts = sample.prompts.clone();
    prompts.sort_unstable();
    prompts.dedup();
    let row = |(index, judged): (usize, &Judgement)| {
        let own = (index == 0).then_some(errors);
        let Judgement { name, rank_correlation, reward_gain, auc, .. } = *judged;
        let reward_gain = if index == 0 { Estimate::default() } else { reward_gain };
        HeadMetricsRow {
            fold: fold.to_owned(),
            scorer: name,
            prompts: prompts.len() as u64,
            rows: sample.rewards.len() as u64,
            mse: own.map(|errors| errors.mse),
            constant_mse: own.map(|errors| errors.constant_mse),
            r2: own.and_then(|errors| errors.r2),
            rank_correlation: rank_correlation.value,
            rank_correlation_low: rank_correlation.low,
            rank_correlation_high: rank_correlation.high,
            reward_gain: reward_gain.value,
            reward_gain_low: reward_gain.low,
            reward_gain_high: reward_gain.high,
            auc: auc.value,
            auc_low: auc.low,
            auc_high: auc.high,
            epochs: own.map(|errors| errors.epochs),
        }
    };
    judgements.iter().enumerate().map(row).collect()
}

/// The rows of share_ratio.csv for one sample.
pub fn share_ratios(fold: &'static str, judgements: &[Judgement]) -> Vec<ShareRatioRow> {
    let mut rows = Vec::new();
    for (index, judged) in judgements.iter().enumerate() {
        for (at, random_share) in RANDOM_SHARES.into_iter().enumerate() {
            let ratio = judged.share_ratios[at];
            let difference = if index == 0 { Estimate::default() } else { judged.ratio_differences[at] };
            rows.push(ShareRatioRow {
                fold,
                scorer: judged.name,
                random_share,
                edge_share: ratio.value.map(|ratio| ratio * random_share),
                share_ratio: ratio.value,
                share_ratio_low: ratio.low,
                share_ratio_high: ratio.high,
                difference: difference.value,
                difference_low: difference.low,
                difference_high: difference.high,
            });
        }
    }
    rows
}

/// Shares 0, 0.05, …, 1.
fn shares() -> impl Iterator<Item = f64> {
    (0..=SHARE_STEPS).map(|step| f64::from(step) / f64::from(SHARE_STEPS))
}

/// The rows of tradeoff.csv for one sample.
pub fn tradeoff(fold: &'static str, sample: &Sample) -> Vec<TradeoffRow> {
    let mut rows = Vec::new();
    for score in &sample.scores {
        let alone = sample.mean_reward_at(score, 0.0);
        for edge_share in shares() {
            let mean_reward = sample.mean_reward_at(score, edge_share);
            let recovered = (alone < 0.0).then(|| 1.0 - mean_reward / alone);
            rows.push(TradeoffRow { fold, scorer: score.name, edge_share, mean_reward, recovered });
        }
    }
    rows
}

/// The rows of thresholds.csv, of all scorers but the one that knows r.
pub fn thresholds(sample: &Sample) -> Vec<ThresholdRow> {
    let mut rows = Vec::new();
    for score in sample.scores.iter().filter(|score| score.name != ORACLE) {
        for edge_share in shares().filter(|share| (0.05..=0.95).contains(share)) {
            if let Some((threshold, achieved_share)) = sample.threshold_at(score, edge_share) {
                rows.push(ThresholdRow { scorer: score.name, edge_share, threshold, achieved_share });
            }
        }
    }
    rows
}

/// The scorer that knows r.
pub const ORACLE: &str = "oracle";

/// The rows of calibration.csv.
pub fn calibration(rewards: &[f64], predictions: &[f64]) -> Vec<HeadCalibrationRow> {
    let mut order: Vec<usize> = (0..rewards.len()).collect();
    order.sort_by(|&a, &b| predictions[a].total_cmp(&predictions[b]));
    let bound = |bin: usize| bin * order.len() / BINS;
    let mut bins = Vec::with_capacity(BINS);
    for bin in 0..BINS {
        let rows = &order[bound(bin)..bound(bin + 1)];
        if rows.is_empty() {
            continue;
        }
        let mean = |of: &dyn Fn(usize) -> f64| rows.iter().map(|&row| of(row)).sum::<f64>() / rows.len() as f64;
        bins.push(HeadCalibrationRow {
            bin: bins.len() as u64,
            predicted: mean(&|row| predictions[row]),
            measured: mean(&|row| rewards[row]),
            first_choices: mean(&|row| f64::from(u8::from(rewards[row] == 0.0))),
            rows: rows.len() as u64,
        });
    }
    bins
}

/// The rows of predictions.csv, of tokens.
pub fn token_predictions(rollouts: &[Rollout], predictions: &[f64], fold_of: &[u32]) -> Vec<HeadPredictionRow> {
    let tokens = rollouts.iter().enumerate().flat_map(|(prompt, rollout)| {
        rollout.tokens.iter().enumerate().map(move |(step, token)| (prompt, step as u32, token))
    });
    let row =
        |((prompt, step, token), &prediction): ((usize, u32, &super::rollouts::ScoredToken), &f64)| HeadPredictionRow {
            prompt: prompt as u32,
            step: Some(step),
            token: Some(token.token),
            reward: token.reward,
            prediction,
            max_softmax: token.confidence.max_softmax,
            margin: Some(token.confidence.margin),
            entropy: token.confidence.entropy,
            token_log_probability: Some(token.confidence.token_log_probability),
            perturbation: Some(token.uncertainty),
            random: token.random,
            fold: fold_of[prompt],
        };
    tokens.zip(predictions).map(row).collect()
}

/// The rows of predictions.csv, of queries.
pub fn query_predictions(rollouts: &[Rollout], predictions: &[f64], fold_of: &[u32]) -> Vec<HeadPredictionRow> {
    let row = |(prompt, (rollout, &prediction)): (usize, (&Rollout, &f64))| HeadPredictionRow {
        prompt: prompt as u32,
        step: None,
        token: None,
        reward: rollout.mean_reward(),
        prediction,
        max_softmax: rollout.query.mean_max_softmax,
        margin: None,
        entropy: rollout.query.mean_entropy,
        token_log_probability: None,
        perturbation: None,
        random: rollout.tokens.first().map_or(0.5, |token| token.random),
        fold: fold_of[prompt],
    };
    rollouts.iter().zip(predictions).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors 1, 0, 1 and of the constant 4, 1, 0; ȳ = -1, variance 2/3.
    #[test]
    fn errors_are_those_of_a_hand() {
        let errors = Errors::of(&[-2.0, -1.0, 0.0], &[-1.0, -1.0, -1.0], &[0.0, 0.0, 0.0], 7.0);
        assert!((errors.mse - 2.0 / 3.0).abs() < 1e-15 && (errors.constant_mse - 5.0 / 3.0).abs() < 1e-15);
        assert!(errors.r2.unwrap().abs() < 1e-15);
        assert_eq!(Errors::of(&[-1.0; 2], &[0.0; 2], &[0.0; 2], 1.0).r2, None);
    }

    #[test]
    fn bins_have_equally_many_rows() {
        let rewards: Vec<f64> = (0..30).map(|i| if i % 3 == 0 { 0.0 } else { -f64::from(i) }).collect();
        let predictions: Vec<f64> = (0..30).map(|i| -f64::from(i) / 2.0).collect();
        let bins = calibration(&rewards, &predictions);
        assert_eq!(bins.len(), 10);
        let HeadCalibrationRow { bin, predicted, measured, first_choices, rows } = bins[9];
        assert_eq!((bin, predicted, measured, rows), (9, -0.5, -1.0, 3));
        assert!((first_choices - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(calibration(&rewards[..3], &predictions[..3]).len(), 3);
    }
}
