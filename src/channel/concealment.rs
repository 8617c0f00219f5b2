//! What stands in place of what was lost.

use std::ops::Range;

/// What the edge puts in place of what was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Concealment {
    /// Zeros.
    #[default]
    Zero,
    /// The previous row, as the edge has it: with its noise, itself perhaps
    /// concealed. A lost slice is taken from the same slice of that row, a lost
    /// element from the same element. The first row has none before it: zeros.
    PreviousRow,
    /// The mean of what arrived of the same column, over all rows that came with it; zero if nothing did. For
    /// the row of a decode round, which comes alone, over the rows before it, as the edge has them.
    Mean,
    /// What arrived of a row is scaled by d/(values of it that arrived), and zeros stand in place of the rest, so
    /// that sums over the row keep their expectation. The observed share, not 1 - P: in bursts only
    /// that is right. A row of which nothing arrived stays zero.
    Rescale,
}

/// Puts `concealment` in place of the elements `lost` of `rows`, rows of `d` values in row-major order.
///
/// One of the two that know nothing of what else was lost: `mean` is [`conceal_by_mean`], `rescale` [`rescale`], of
/// which this puts the zeros.
///
/// `zero`: `ŷ[e] = 0`. `previous-row`: `ŷ[e] = ŷ[e - d]`, 0 for e < d, in ascending
/// order of e, so that of consecutive lost rows all equal the last that
/// arrived. Several losses are to be concealed in ascending order for the
/// same reason. Elements beyond `rows` don't exist and are passed over.
pub fn conceal(rows: &mut [f32], d: usize, lost: Range<usize>, concealment: Concealment) {
    let d = d.max(1);
    let end = lost.end.min(rows.len());
    let start = lost.start.min(end);
    // Up to here there is no row before.
    let zeroed = match concealment {
        Concealment::Zero | Concealment::Mean | Concealment::Rescale => end,
        Concealment::PreviousRow => d.clamp(start, end),
    };
    rows[start..zeroed].fill(0.0);
    let mut from = zeroed;
    while from < end {
        // At most a row at a time: what is copied must be there.
        let to = (from + d).min(end);
        rows.copy_within(from - d..to - d, from);
        from = to;
    }
}

/// `mean`: puts in place of each element that `is_lost` marks of `rows`, rows of `d` values, the mean of its
/// column over the rows of which that element arrived, 0 if there is none:
/// `ŷ[r][c] = Σ ŷ[s][c]/n_c`, over the n_c rows s that have it.
///
/// `before` are the rows that count as arrived beside `rows`: those that the edge has.
pub fn conceal_by_mean(before: &[f32], rows: &mut [f32], d: usize, is_lost: &[bool]) {
    let d = d.max(1);
    let mut columns = vec![(0.0f64, 0u32); d.min(rows.len())];
    let mut add = |(e, value): (usize, &f32)| {
        if let Some((sum, count)) = columns.get_mut(e % d) {
            *sum += f64::from(*value);
            *count += 1;
        }
    };
    before.iter().enumerate().for_each(&mut add);
    rows.iter().enumerate().zip(is_lost).filter(|&(_, &lost)| !lost).for_each(|(element, _)| add(element));
    for ((e, value), _) in rows.iter_mut().enumerate().zip(is_lost).filter(|&(_, &lost)| lost) {
        let (sum, count) = columns[e % d];
        *value = if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 };
    }
}

/// `rescale`: puts 0 in place of each element that `is_lost` marks of `rows`, rows of `d` values, and scales what
/// arrived of each row by (its values)/(those of them that arrived). Saturates at ±[`f32::MAX`].
pub fn rescale(rows: &mut [f32], d: usize, is_lost: &[bool]) {
    let d = d.max(1);
    for (row, is_lost) in rows.chunks_mut(d).zip(is_lost.chunks(d)) {
        let arrived = is_lost.iter().filter(|&&lost| !lost).count();
        if arrived == row.len() {
            continue;
        }
        let factor = row.len() as f64 / arrived.max(1) as f64;
        for (value, &lost) in row.iter_mut().zip(is_lost) {
            let scaled = (f64::from(*value) * factor).clamp(f64::from(f32::MIN), f64::from(f32::MAX));
            *value = if lost { 0.0 } else { scaled as f32 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_row_stands_in_place_of_any_part() {
        for (lost, expected) in [
            (0..3, [0., 0., 0., 4., 5., 6., 7., 8., 9.]),
            (1..2, [1., 0., 3., 4., 5., 6., 7., 8., 9.]),
            (4..5, [1., 2., 3., 4., 2., 6., 7., 8., 9.]),
            // Rows 1 and 2: both equal row 0.
            (3..9, [1., 2., 3., 1., 2., 3., 1., 2., 3.]),
            // The end of row 0 is zero, and so is the end of row 1; row 2 begins as row 0 does.
            (2..7, [1., 2., 0., 1., 2., 0., 1., 8., 9.]),
            (0..9, [0.; 9]),
            (8..20, [1., 2., 3., 4., 5., 6., 7., 8., 6.]),
            (20..30, [1., 2., 3., 4., 5., 6., 7., 8., 9.]),
            (5..5, [1., 2., 3., 4., 5., 6., 7., 8., 9.]),
        ] {
            let mut rows = [1., 2., 3., 4., 5., 6., 7., 8., 9.];
            conceal(&mut rows, 3, lost.clone(), Concealment::PreviousRow);
            assert_eq!(rows, expected, "{lost:?}");
        }
    }

    #[test]
    fn the_mean_of_a_column_is_of_what_arrived() {
        // Row 1 is lost, and the last value of rows 0 and 2: of that column nothing arrived but what was there before.
        let is_lost = [false, false, true, true, true, true, false, false, true];
        let sent = [1., 2., 3., 4., 5., 6., 7., 9., 9.];
        let mut rows = sent;
        conceal_by_mean(&[], &mut rows, 3, &is_lost);
        assert_eq!(rows, [1., 2., 0., 4., 5.5, 0., 7., 9., 0.]);
        let mut rows = sent;
        conceal_by_mean(&[1., 4., -3., 3., 1., 1.], &mut rows, 3, &is_lost);
        assert_eq!(rows, [1., 2., -1., 3., 4., -1., 7., 9., -1.]);
        conceal_by_mean(&[f32::MAX; 4], &mut [], 3, &[]);
        let mut large = [f32::MAX, f32::MAX, 0.];
        conceal_by_mean(&[], &mut large, 1, &[false, false, true]);
        assert_eq!(large, [f32::MAX; 3]);
    }

    #[test]
    fn rescaling_goes_by_the_share_of_each_row_that_arrived() {
        // Of the rows of four 2, 4, 0 and 1 arrived: factors 2, 1, none, 4. The last is short: 2 of 2.
        let is_lost = [1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0].map(|lost| lost == 1);
        let mut rows = [1.; 18];
        rescale(&mut rows, 4, &is_lost);
        assert_eq!(rows, [0., 2., 2., 0., 1., 1., 1., 1., 0., 0., 0., 0., 0., 0., 4., 0., 1., 1.]);
        let mut large = [f32::MAX, f32::MIN, 1.];
        rescale(&mut large, 3, &[false, false, true]);
        assert_eq!(large, [f32::MAX, f32::MIN, 0.]);
    }

    #[test]
    fn zeros_stand_in_place_of_any_part() {
        let mut rows = [1., 2., 3., 4., 5., 6.];
        conceal(&mut rows, 3, 2..4, Concealment::Zero);
        assert_eq!(rows, [1., 2., 0., 0., 5., 6.]);
        conceal(&mut rows, 0, 5..50, Concealment::Zero);
        assert_eq!(rows, [1., 2., 0., 0., 5., 0.]);
    }
}
