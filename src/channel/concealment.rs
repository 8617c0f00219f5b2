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
}

/// Puts `concealment` in place of the elements `lost` of `rows`, rows of `d` values in row-major order.
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
        Concealment::Zero => end,
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

/// What [`conceal`] puts in place of the element e alone.
#[inline]
pub(super) fn concealed_element(rows: &[f32], d: usize, e: usize, concealment: Concealment) -> f32 {
    match concealment {
        Concealment::Zero => 0.0,
        Concealment::PreviousRow => e.checked_sub(d).map_or(0.0, |above| rows[above]),
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
    fn zeros_stand_in_place_of_any_part() {
        let mut rows = [1., 2., 3., 4., 5., 6.];
        conceal(&mut rows, 3, 2..4, Concealment::Zero);
        assert_eq!(rows, [1., 2., 0., 0., 5., 6.]);
        conceal(&mut rows, 0, 5..50, Concealment::Zero);
        assert_eq!(rows, [1., 2., 0., 0., 5., 0.]);
    }
}
