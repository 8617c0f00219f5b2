//! What a reader of a fit should know before using it.

use crate::control::{Input, SurrogateRow, Target};
use crate::run::fit::metrics::MetricsRow;
use crate::run::fit::records::Records;
use crate::run::fit::varies;

/// Share of clipped targets from which on they are told.
const MANY: f64 = 0.05;
/// Share from which on another target is the better choice.
const TOO_MANY: f64 = 1.0 / 3.0;
/// Where gains are clipped.
const LEAST_GAIN: f64 = -1.0;

/// Targets at their bound: a gain at -1 or below, a PPL at its cap or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// Rows at the bound.
    pub rows: u64,
    /// All rows.
    pub of: u64,
    /// What is predicted: its name.
    pub target: &'static str,
}

impl Clipped {
    /// The clipped ones among the rows; `None` if they are few.
    pub(super) fn of(rows: &[SurrogateRow], target: Target) -> Option<Self> {
        let is_clipped = |row: &&SurrogateRow| {
            let value = target.of(row);
            match target {
                Target::RelativeGain => value.is_some_and(|gain| gain <= LEAST_GAIN),
                Target::Ppl { .. } => value.zip(row.ppl).is_some_and(|(value, ppl)| value < ppl),
                Target::LnPpl => false,
            }
        };
        let (clipped, of) = (rows.iter().filter(is_clipped).count(), rows.len());
        let found = Self { rows: clipped as u64, of: of as u64, target: target.name() };
        (found.share() > MANY).then_some(found)
    }

    /// Their share of all rows.
    pub fn share(&self) -> f64 {
        self.rows as f64 / (self.of as f64).max(1.0)
    }

    /// What to do about them, if they are too many.
    pub fn hint(&self) -> Option<&'static str> {
        (self.share() > TOO_MANY).then_some(match self.target {
            "ppl" => "--target ln-ppl has no cap; --ppl-cap sets another",
            _ => "--target ln-ppl (or ppl, with its cap) keeps what they differ by, if the records have PPL",
        })
    }
}

/// Where the surrogate is no better than a constant: over all rows, in folds, and on the records of `--check`.
pub(super) fn no_better_than_constant(metrics: &[MetricsRow]) -> Vec<String> {
    let is_no_better = |row: &&MetricsRow| row.mse >= row.constant_mse || row.r2.is_some_and(|r2| r2 <= 0.0);
    let (mut folds, mut warnings) = (Vec::new(), Vec::new());
    for row in metrics.iter().filter(is_no_better) {
        let (mse, constant) = (row.mse, row.constant_mse);
        let place = match row.fold.as_str() {
            "mean" => "over all folds",
            "check" => "on the records of --check",
            fold => {
                folds.push(fold.to_owned());
                continue;
            }
        };
        warnings.push(format!(
            "{place} the surrogate is no better than a constant (MSE {mse:.4e}, a constant's {constant:.4e}): it has \
             learned nothing that helps; give it more records"
        ));
    }
    if warnings.is_empty() && !folds.is_empty() {
        let (noun, folds) = (if folds.len() == 1 { "fold" } else { "folds" }, folds.join(", "));
        warnings.push(format!("the surrogate is no better than a constant in {noun} {folds}: give it more records"));
    }
    warnings
}

/// Columns that vary and are no input.
pub(super) fn averaged_over(records: &Records, rows: &[SurrogateRow], inputs: &[Input]) -> Vec<String> {
    let left_out = records.columns.iter().filter(|input| !inputs.contains(input) && varies(rows, **input));
    let beside = records.beside.iter().filter(|(_, value)| value.is_none()).map(|(input, _)| input);
    left_out
        .chain(beside)
        .map(|input| format!("{input} varies, but is no input: predictions are means over it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SurrogatePoint;

    fn row(ppl: f64) -> SurrogateRow {
        let point = SurrogatePoint { split: 1, noise_std: 0.0, rayleigh_scale: 0.7, loss_probability: 0.0 };
        SurrogateRow { point, ppl: Some(ppl), ppl_clean: Some(20.0), relative_gain: None }
    }

    #[test]
    fn clipped_targets_are_counted() {
        let rows: Vec<SurrogateRow> = [30.0, 39.0, 40.0, 190.0, 201.0].map(row).to_vec();
        let count = |target| Clipped::of(&rows, target).map(|clipped| (clipped.rows, clipped.of));
        assert_eq!(count(Target::RelativeGain), Some((3, 5)));
        assert_eq!(count(Target::Ppl { cap: None }), Some((1, 5)));
        assert_eq!(count(Target::Ppl { cap: Some(39.0) }), Some((3, 5)));
        assert_eq!(count(Target::LnPpl), None);
        // 1 of 20 is not above 5 %.
        let mut many = vec![row(30.0); 19];
        many.push(row(50.0));
        assert_eq!(Clipped::of(&many, Target::RelativeGain), None);
        many.push(row(50.0));
        let few = Clipped::of(&many, Target::RelativeGain).unwrap();
        assert_eq!((few.rows, few.of, few.hint()), (2, 21, None));
        assert!(Clipped::of(&rows, Target::RelativeGain).unwrap().hint().unwrap().contains("--target ln-ppl"));
    }

    #[test]
    fn a_surrogate_no_better_than_a_constant_is_told() {
        let row = |fold: &str, mse: f64, r2: Option<f64>| MetricsRow {
            fold: fold.to_owned(),
            rows: 9,
            mse,
            mae: 0.1,
            r2,
            constant_mse: 0.5,
            noise_floor_mse: None,
            cell_r2: None,
            epochs: 1.0,
        };
        let good = [row("0", 0.1, Some(0.8)), row("1", 0.4, Some(0.1)), row("mean", 0.3, Some(0.4))];
        assert!(no_better_than_constant(&good).is_empty());
        let some = [row("0", 0.5, None), row("1", 0.4, Some(0.1)), row("2", 0.49, Some(-0.1)), row("mean", 0.4, None)];
        assert_eq!(
            no_better_than_constant(&some),
            ["the surrogate is no better than a constant in folds 0, 2: give it more records"]
        );
        let all = [row("0", 0.7, Some(-0.4)), row("mean", 0.6, Some(-0.2)), row("check", 0.9, None)];
        let told = no_better_than_constant(&all);
        assert!(told.len() == 2 && told[0].starts_with("over all folds") && told[1].starts_with("on the records of"));
    }
}
