//! How well one quantity orders another, over rows of whole weights: resamples of a bootstrap are weights.

/// The order of values, found once for any weights. Values are compared by [`f64::total_cmp`], but -0 equals 0.
#[derive(Clone, Debug)]
pub struct RankOrder {
    /// Rows by rising value.
    order: Vec<u32>,
    /// Where a group of equal values ends in `order`.
    ends: Vec<u32>,
}

impl RankOrder {
    /// The order of `values`, at most 2³² of them.
    pub fn of(values: &[f64]) -> Self {
        let key = |row: u32| values[row as usize] + 0.0;
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        let differs = |at: usize| key(order[at - 1]) != key(order[at]);
        let ends = (1..=order.len()).filter(|&at| at == order.len() || differs(at)).map(|at| at as u32).collect();
        Self { order, ends }
    }

    /// Rows in groups of equal values, rising.
    pub fn groups(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.order[start as usize..end as usize])
    }

    /// The mean rank of each row, from 0: the weight of all smaller rows and half of that of equal ones. A row of
    /// weight w stands for w equal rows.
    pub fn mid_ranks(&self, weights: &[u32]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let mut before = 0.0;
        for group in self.groups() {
            let own: f64 = group.iter().map(|&row| f64::from(weights[row as usize])).sum();
            for &row in group {
                ranks[row as usize] = before + 0.5 * own;
            }
            before += own;
        }
        ranks
    }
}

/// Pearson's correlation of `a` and `b` over rows of these weights; `None` where one of them doesn't vary.
pub fn correlation(a: &[f64], b: &[f64], weights: &[u32]) -> Option<f64> {
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let mean = |x: &[f64]| x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum::<f64>() / total;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for ((a, b), &w) in a.iter().zip(b).zip(weights) {
        let (a, b, w) = (a - mean_a, b - mean_b, f64::from(w));
        aa += w * a * a;
        bb += w * b * b;
        ab += w * a * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Spearman's rank correlation, ties by their mean rank (Spearman, "The proof and measurement of association between
/// two things", Am. J. Psychol. 15(1), 1904); `None` where one of the two doesn't vary.
pub fn rank_correlation(a: &RankOrder, b: &RankOrder, weights: &[u32]) -> Option<f64> {
    correlation(&a.mid_ranks(weights), &b.mid_ranks(weights), weights)
}

/// Area under the receiver operating characteristic: `P(score of a positive > score of a negative) + P(equal)/2`, by
/// the sum of ranks (Hanley and McNeil, Radiology 143(1), 1982); `None` without positives, or without negatives.
pub fn area_under_curve(score: &RankOrder, is_positive: &[bool], weights: &[u32]) -> Option<f64> {
    let (mut positives, mut negatives, mut ranks) = (0.0, 0.0, 0.0);
    for ((rank, &is_positive), &weight) in score.mid_ranks(weights).into_iter().zip(is_positive).zip(weights) {
        let weight = f64::from(weight);
        if is_positive {
            positives += weight;
            ranks += weight * rank;
        } else {
            negatives += weight;
        }
    }
    let both = positives * negatives;
    (both > 0.0).then(|| (ranks - 0.5 * positives * positives) / both)
}

/// The quantile q of values, 0 to 1, linear between neighbours; `None` of no values.
pub fn sample_quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * (place - place.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
        rank_correlation(&RankOrder::of(a), &RankOrder::of(b), &vec![1; a.len()])
    }

    /// Without ties 1 - 6 Σd²/(n(n² - 1)): d = 1, 1, 1, 1, 0 gives 1 - 24/120.
    #[test]
    fn rank_correlation_by_its_textbook_formula() {
        let found = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[20.0, 10.0, 400.0, 39.0, 5e9]).unwrap();
        assert!((found - 0.8).abs() < 1e-12, "{found}");
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[-1.0, -2.0, -9.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[], &[]), None);
        // Ties: ranks 0.5, 0.5, 2, 3 against 0, 1, 2, 3: cov 4.5/4, variances 4.5/4 and 5/4.
        let found = spearman(&[0.0, -0.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((found - 4.5 / (4.5_f64 * 5.0).sqrt()).abs() < 1e-12, "{found}");
    }

    /// Scores 1 2 2 3 with marks - + - +: of four pairs three are in order, and one of them half.
    #[test]
    fn the_area_counts_pairs() {
        let score = RankOrder::of(&[1.0, 2.0, 2.0, 3.0]);
        let found = area_under_curve(&score, &[false, true, false, true], &[1; 4]).unwrap();
        assert!((found - 3.5 / 4.0).abs() < 1e-12, "{found}");
        assert_eq!(area_under_curve(&score, &[true; 4], &[1; 4]), None);
        assert_eq!(area_under_curve(&score, &[false, true, true, true], &[0, 1, 1, 1]), None);
    }

    /// A weight stands for so many rows.
    #[test]
    fn weights_are_repeats() {
        let (a, b) = ([3.0, 1.0, 2.0, 2.0, 5.0], [1.0, 0.0, 7.0, 3.0, 3.0]);
        let (marks, weights) = ([true, false, true, false, false], [2, 1, 0, 3, 1]);
        let rows: Vec<usize> = (0..5).flat_map(|row| vec![row; weights[row] as usize]).collect();
        let repeat = |x: &[f64]| rows.iter().map(|&row| x[row]).collect::<Vec<f64>>();
        let repeated: Vec<bool> = rows.iter().map(|&row| marks[row]).collect();
        let (score, other) = (RankOrder::of(&a), RankOrder::of(&b));
        let by_weight = rank_correlation(&score, &other, &weights).unwrap();
        assert!((by_weight - spearman(&repeat(&a), &repeat(&b)).unwrap()).abs() < 1e-12);
        let by_weight = area_under_curve(&score, &marks, &weights).unwrap();
        let by_repeats = area_under_curve(&RankOrder::of(&repeat(&a)), &repeated, &[1; 7]).unwrap();
        assert!((by_weight - by_repeats).abs() < 1e-12);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        let found = [0.0, 0.5, 0.9, 1.0].map(|q| sample_quantile(&values, q).unwrap());
        assert!(found.iter().zip([1.0, 2.5, 3.7, 4.0]).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(sample_quantile(&[], 0.5), None);
    }
}
