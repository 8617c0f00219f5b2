//! How good predictions are: errors beside those of a constant and of the best possible
//! predictor.

use std::collections::BTreeMap;

use crate::network::rows::{Cell, CellVisitor, Column, Record, record};

/// Rows that a point takes for its mean to be a yardstick.
const CELL_ROWS: usize = 8;
/// Bins of the calibration.
const BINS: usize = 20;

/// A prediction and what it is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Number of the row's point: rows of one point are repeats.
    pub point: u32,
    /// What came out.
    pub target: f64,
    /// What was predicted.
    pub prediction: f64,
    /// The mean target of the rows that the prediction was learned from.
    pub constant: f64,
}

/// How good some predictions are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Rows.
    pub rows: usize,
    /// `1/n Σ (y - ŷ)²`.
    pub mse: f64,
    /// `1/n Σ |y - ŷ|`.
    pub mae: f64,
    /// `1 - Σ (y - ŷ)²/Σ (y - ȳ)²` with ȳ the mean of these rows; `None` where they don't vary.
    pub r2: Option<f64>,
    /// The MSE of predicting the training mean.
    pub constant_mse: f64,
    /// The variance of repeats: `Σ_g Σ_i (y_gi - ȳ_g)²/Σ_g (n_g - 1)` over points g of at least 2 rows. No
    /// predictor that knows the inputs alone has a smaller MSE in expectation.
    pub noise_floor_mse: Option<f64>,
    /// R² of the predictions against the means of points of at least 8 rows; `None` with fewer than 2 such points.
    pub cell_r2: Option<f64>,
}

impl Figures {
    /// The figures of these rows; `None` of no rows.
    pub fn of(scored: &[Scored]) -> Option<Self> {
        if scored.is_empty() {
            return None;
        }
        let n = scored.len() as f64;
        let mean_of = |of: &dyn Fn(&Scored) -> f64| scored.iter().map(of).sum::<f64>() / n;
        let mse = mean_of(&|row| (row.target - row.prediction).powi(2));
        let mean = mean_of(&|row| row.target);
        let variance = mean_of(&|row| (row.target - mean).powi(2));
        let mut points: BTreeMap<u32, Vec<Scored>> = BTreeMap::new();
        for row in scored {
            points.entry(row.point).or_default().push(*row);
        }
        let (mut squares, mut freedom, mut cells) = (0.0, 0, Vec::new());
        for rows in points.values() {
            let count = rows.len() as f64;
            let mean = rows.iter().map(|row| row.target).sum::<f64>() / count;
            squares += rows.iter().map(|row| (row.target - mean).powi(2)).sum::<f64>();
            freedom += rows.len() - 1;
            if rows.len() >= CELL_ROWS {
                cells.push((mean, rows.iter().map(|row| row.prediction).sum::<f64>() / count));
            }
        }
        Some(Self {
            rows: scored.len(),
            mse,
            mae: mean_of(&|row| (row.target - row.prediction).abs()),
            r2: (variance > 0.0).then(|| 1.0 - mse / variance),
            constant_mse: mean_of(&|row| (row.target - row.constant).powi(2)),
            noise_floor_mse: (freedom > 0).then(|| squares / freedom as f64),
            cell_r2: cell_r2(&cells),
        })
    }

    /// By the names of the columns.
    pub fn named(&self) -> BTreeMap<String, f64> {
        let all = [
            ("rows", Some(self.rows as f64)),
            ("mse", Some(self.mse)),
            ("mae", Some(self.mae)),
            ("r2", self.r2),
            ("constant_mse", Some(self.constant_mse)),
            ("noise_floor_mse", self.noise_floor_mse),
            ("cell_r2", self.cell_r2),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// As a row of metrics.csv.
    pub fn row(&self, fold: String, epochs: f64) -> MetricsRow {
        MetricsRow {
            fold,
            rows: self.rows as u64,
            mse: self.mse,
            mae: self.mae,
            r2: self.r2,
            constant_mse: self.constant_mse,
            noise_floor_mse: self.noise_floor_mse,
            cell_r2: self.cell_r2,
            epochs,
        }
    }
}

/// R² of pairs of a mean and its prediction.
fn cell_r2(cells: &[(f64, f64)]) -> Option<f64> {
    let n = cells.len() as f64;
    let mean = cells.iter().map(|(target, _)| target).sum::<f64>() / n;
    let spread = cells.iter().map(|(target, _)| (target - mean).powi(2)).sum::<f64>();
    let missed = cells.iter().map(|(target, prediction)| (target - prediction).powi(2)).sum::<f64>();
    (cells.len() >= 2 && spread > 0.0).then(|| 1.0 - missed / spread)
}

record! {
    /// How good a surrogate is: one row per fold of the cross-validation, on the rows that the fold held out, one over all of them, and one on the records of `--check`.
    "metrics.csv" => pub struct MetricsRow {
        /// Number of the fold, from 0; `mean`: all rows, each predicted by the fit that didn't see it; `check`: the final fit on the records of `--check`.
        fold: String,
        /// Rows predicted.
        rows: u64,
        /// Mean squared error, eq. (13), in units of the target.
        mse: f64,
        /// Mean absolute error.
        mae: f64,
        /// 1 - MSE/variance of these rows' targets. Empty where they don't vary.
        r2: Option<f64>,
        /// MSE of predicting the mean of the training rows.
        constant_mse: f64,
        /// Variance of repeats of one point, pooled over points of at least two rows: no predictor by these inputs has a smaller MSE in expectation. Empty without repeats.
        noise_floor_mse: Option<f64>,
        /// R² of the predictions against the means of points of at least 8 rows. Empty with fewer than two such points.
        cell_r2: Option<f64>,
        /// Epochs trained; in `mean` their mean.
        epochs: f64,
    }
}

record! {
    /// One row per record that the surrogate was fitted to, predicted by the fold that held it out.
    "predictions.csv" => pub struct PredictionRow {
        /// Layers before the channel. Empty if it is no input, as the following three.
        split: Option<u32>,
        /// σ of eq. (3).
        noise_std: Option<f64>,
        /// σ_h.
        rayleigh_scale: Option<f64>,
        /// P of eq. (4).
        loss_probability: Option<f64>,
        /// What came out, in units of the target.
        target: f64,
        /// What was predicted.
        prediction: f64,
        /// The fold that held it out, from 0.
        fold: u32,
        /// Number of the file that it stands in, from 0.
        file: u64,
        /// Its line there.
        line: u64,
    }
}

record! {
    /// Predictions of the cross-validation in 20 bins of equally many rows, by rising prediction.
    "calibration.csv" => pub struct CalibrationRow {
        /// Number of the bin, from 0.
        bin: u64,
        /// Mean prediction.
        predicted: f64,
        /// Mean target.
        measured: f64,
        /// Standard error of the mean target, rows taken as independent. Empty for a single row.
        measured_error: Option<f64>,
        /// Rows.
        rows: u64,
    }
}

/// The calibration of predictions.
pub fn calibration(scored: &[Scored]) -> Vec<CalibrationRow> {
    let mut sorted: Vec<&Scored> = scored.iter().collect();
    sorted.sort_by(|a, b| a.prediction.total_cmp(&b.prediction));
    let bound = |bin: usize| bin * sorted.len() / BINS;
    let mut bins = Vec::with_capacity(BINS);
    for bin in 0..BINS {
        let rows = &sorted[bound(bin)..bound(bin + 1)];
        if rows.is_empty() {
            continue;
        }
        let n = rows.len() as f64;
        let measured = rows.iter().map(|row| row.target).sum::<f64>() / n;
        let squares = rows.iter().map(|row| (row.target - measured).powi(2)).sum::<f64>();
        bins.push(CalibrationRow {
            bin: bins.len() as u64,
            predicted: rows.iter().map(|row| row.prediction).sum::<f64>() / n,
            measured,
            measured_error: (rows.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()),
            rows: rows.len() as u64,
        });
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(point: u32, target: f64, prediction: f64) -> Scored {
        Scored { point, target, prediction, constant: 1.0 }
    }

    /// Points of 2, 3 and 1 rows: ȳ = 2, Σ(y - ȳ)² = 16, Σ(y - ŷ)² = 5.25; within: 2 + 2 over 1 + 2 degrees of freedom.
    #[test]
    fn figures_are_those_of_a_hand() {
        let rows = [
            scored(0, 0.0, 1.0),
            scored(0, 2.0, 1.0),
            scored(1, 3.0, 3.5),
            scored(1, 4.0, 3.5),
            scored(1, 4.0, 3.5),
            scored(2, -1.0, 0.0),
        ];
        let figures = Figures::of(&rows).unwrap();
        assert_eq!((figures.rows, figures.cell_r2), (6, None));
        assert!((figures.mse - 3.75 / 6.0).abs() < 1e-15);
        assert!((figures.mae - 4.5 / 6.0).abs() < 1e-15);
        // Σy = 12, Σ(y - 2)² = 4 + 0 + 1 + 4 + 4 + 9 = 22.
        assert!((figures.r2.unwrap() - (1.0 - 3.75 / 22.0)).abs() < 1e-15);
        // Σ(y - 1)² = 1 + 1 + 4 + 9 + 9 + 4 = 28.
        assert!((figures.constant_mse - 28.0 / 6.0).abs() < 1e-15);
        // 2 within the first point, 2/3 within the second, over 1 + 2 degrees of freedom.
        assert!((figures.noise_floor_mse.unwrap() - (2.0 + 2.0 / 3.0) / 3.0).abs() < 1e-15);
        assert_eq!(Figures::of(&[]), None);
        assert_eq!(Figures::of(&[scored(0, 1.0, 1.0)]).unwrap().noise_floor_mse, None);
        assert_eq!(Figures::of(&[scored(0, 1.0, 1.0), scored(1, 1.0, 2.0)]).unwrap().r2, None);
    }

    /// Two points of 8 rows with means 1 and 3, predicted as 1.5 and 3: 1 - 0.25/2. A third of 7 rows doesn't count.
    #[test]
    fn cells_take_eight_rows() {
        let mut rows = Vec::new();
        for repeat in 0..8 {
            let sign = if repeat % 2 == 0 { 1.0 } else { -1.0 };
            rows.push(scored(0, 1.0 + sign, 1.5));
            rows.push(scored(1, 3.0 + sign, 3.0));
            if repeat < 7 {
                rows.push(scored(2, 9.0, 0.0));
            }
        }
        assert!((Figures::of(&rows).unwrap().cell_r2.unwrap() - 0.875).abs() < 1e-15);
    }

    #[test]
    fn bins_have_equally_many_rows() {
        let rows: Vec<Scored> = (0..40).rev().map(|i| scored(i, f64::from(i % 2), f64::from(i))).collect();
        let bins = calibration(&rows);
        assert_eq!(bins.len(), 20);
        assert_eq!((bins[3].bin, bins[3].rows, bins[3].predicted, bins[3].measured), (3, 2, 6.5, 0.5));
        // √(0.5/2): the variance of 0 and 1 is 1/2.
        assert_eq!(bins[3].measured_error, Some(0.5));
        let few = calibration(&rows[..3]);
        assert_eq!(
            few.iter().map(|bin| (bin.bin, bin.rows, bin.measured_error)).collect::<Vec<_>>(),
            [(0, 1, None), (1, 1, None), (2, 1, None)]
        );
    }
}
