//! Training of a surrogate: eq. (13) of \[Chen25\], the mean squared error over records,
//! with early stopping on held-out points.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::control::surrogate::{Input, InputColumn, Surrogate, SurrogateRow, Target, TargetColumn};
use crate::control::surrogate_file::SurrogateError;
use crate::kernel::{Purpose, Streams};
use crate::rl::{RegressionError, RegressionSettings, fit};

/// Where the draws that hold points out begin in [`Purpose::SurrogateOrder`]: behind those of folds, and in front of
/// those of minibatches, from 2³² on.
const HOLD_OUT_AT: u64 = 1 << 31;

/// A surrogate that can't be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// Nothing to learn from.
    #[error(
        "{points} different points in {rows} rows: a surrogate takes at least 2; make more records, or other conditions"
    )]
    Points {
        /// Points that differ in an input.
        points: usize,
        /// Rows.
        rows: usize,
    },
    /// A row doesn't say the target, or not as a finite number.
    #[error("row {row} (from 0) has no finite {target}; leave it out, or fit another target")]
    Target {
        /// Which row.
        row: usize,
        /// The target.
        target: &'static str,
    },
    /// An input is no finite number.
    #[error("row {row} (from 0): {input} is {value}; allowed: a finite number")]
    Input {
        /// Which row.
        row: usize,
        /// Which input.
        input: Input,
        /// Its value.
        value: f64,
    },
    /// The optimiser failed.
    #[error(transparent)]
    Regression(#[from] RegressionError),
    /// The result can't be written.
    #[error(transparent)]
    File(#[from] SurrogateError),
}

/// The number of each row's point, counted from 0 in the order of first appearance: rows with equal inputs are repeats
/// of one point.
pub fn points_of(rows: &[SurrogateRow], inputs: &[Input]) -> Vec<u32> {
    let mut numbers: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
    let number = |row: &SurrogateRow| {
        // -0 is 0.
        let key = inputs.iter().map(|&input| (row.point.get(input) + 0.0).to_bits()).collect();
        let next = numbers.len() as u32;
        *numbers.entry(key).or_insert(next)
    };
    rows.iter().map(number).collect()
}

/// Ranges that rows were drawn from, of the inputs whose range is known.
pub type DrawnFrom = BTreeMap<Input, (f64, f64)>;

/// Trains a surrogate on `rows`, none of which is an outage. A share of the points,
/// `settings.validation_share`, is held out to stop early; rows of one point are held out together.
/// `entity` numbers the fits of one run, so that each has first weights and orders of its own.
///
/// # Errors
/// [`TrainingError`] if there is nothing to learn from, a number isn't finite, or training diverges.
pub fn train(
    rows: &[SurrogateRow],
    inputs: &[Input],
    target: Target,
    settings: &RegressionSettings,
    streams: Streams,
    entity: u32,
) -> Result<Surrogate, TrainingError> {
    train_over(rows, inputs, target, settings, streams, entity, None)
}

/// As [`train`], for conditions that aren't only those of the rows: the surrogate's ranges cover what the rows were drawn
/// from, as far as that is known, and else what they seem to be drawn from.
///
/// # Errors
/// As [`train`].
pub fn train_over(
    rows: &[SurrogateRow],
    inputs: &[Input],
    target: Target,
    settings: &RegressionSettings,
    streams: Streams,
    entity: u32,
    drawn_from: Option<&DrawnFrom>,
) -> Result<Surrogate, TrainingError> {
    let mut targets = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let value = target.of(row).filter(|value| value.is_finite());
        targets.push(value.ok_or(TrainingError::Target { row: index, target: target.name() })?);
        for &input in inputs {
            let value = row.point.get(input);
            if !value.is_finite() {
                return Err(TrainingError::Input { row: index, input, value });
            }
        }
    }
    let point_of = points_of(rows, inputs);
    let points = point_of.iter().max().map_or(0, |&last| last as usize + 1);
    if points < 2 {
        return Err(TrainingError::Points { points, rows: rows.len() });
    }

    let columns: Vec<InputColumn> =
        inputs.iter().map(|&input| InputColumn::of(rows, input, points, drawn_from)).collect();
    let (mean, scale) = mean_and_scale(&targets);
    let standard_inputs: Vec<f32> = rows
        .iter()
        .flat_map(|row| {
            columns.iter().map(|column| ((row.point.get(column.input) - column.mean) / column.scale) as f32)
        })
        .collect();
    let standard_targets: Vec<f32> = targets.iter().map(|target| ((target - mean) / scale) as f32).collect();
    let held_out = held_out(&point_of, points, settings.validation_share, streams, entity);
    let mut go_on = |_: u32, _: f64| ControlFlow::Continue(());
    let (values, count) = (&standard_inputs, columns.len());
    let fitted = fit(values, count, &standard_targets, &held_out, settings, streams, entity, &mut go_on)?;

    let squared = scale * scale;
    let metrics = [
        ("rows", rows.len() as f64),
        ("points", points as f64),
        ("epochs", f64::from(fitted.epochs)),
        ("training_mse", fitted.training_mse * squared),
        ("validation_mse", fitted.validation_mse * squared),
    ];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let target = TargetColumn { target, mean, scale };
    let surrogate = Surrogate::new(fitted.network, columns, target, geometric_mean_clean(rows))?;
    Ok(surrogate.described(BTreeMap::new(), None, metrics)?)
}

impl InputColumn {
    /// Its mean, scale and range over rows of so many points. The range covers the one that the rows were drawn from;
    /// an end that isn't known is rounded outwards.
    fn of(rows: &[SurrogateRow], input: Input, points: usize, drawn_from: Option<&DrawnFrom>) -> Self {
        let mut values: Vec<f64> = rows.iter().map(|row| row.point.get(input)).collect();
        let (mean, scale) = mean_and_scale(&values);
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (least, most) = values.first().zip(values.last()).map_or((0.0, 0.0), |(&least, &most)| (least, most));
        // A grid has fewer values than points.
        let draws = drawn_from.filter(|_| values.len() == points).map(|_| points);
        let (low, high) = rounded_outwards(least, most, draws);
        let (possible_least, possible_most) = possible(input);
        let (low, high) = (low.max(possible_least).min(least), high.min(possible_most).max(most));
        let known = drawn_from.and_then(|ranges| ranges.get(&input)).copied();
        let known = known.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let range = (if known.0 <= least { known.0 } else { low }, if known.1 >= most { known.1 } else { high });
        Self { input, mean, scale, range }
    }
}

/// The values that an input can have: 0 ≤ P < 1, and neither σ nor σ_h is negative.
fn possible(input: Input) -> (f64, f64) {
    match input {
        Input::Split => (1.0, f64::from(u32::MAX)),
        Input::NoiseStd | Input::RayleighScale => (0.0, f64::MAX),
        Input::LossProbability => (0.0, 1.0_f64.next_down()),
    }
}

/// The range with its ends rounded outwards to a multiple of a power of ten that is at most a hundredth of its width.
/// If its ends are those of so many `draws`, to a multiple of 1, 2 or 5 times a power of ten that is at least three mean
/// distances of neighbours, `3·(most - least)/(draws + 1)`: the outermost of uniform draws is nearer to its bound in 19
/// of 20 cases (1 - e^-3), and bounds that people choose are round, so that 0.00046 to 0.297 in 200 draws stands for
/// 0 to 0.3. An end that is a multiple of the hundredth already was set by somebody, and stays.
fn rounded_outwards(least: f64, most: f64, draws: Option<usize>) -> (f64, f64) {
    if least >= most {
        return (least, most);
    }
    let width = most - least;
    // Divisions by a power of ten: the quotient is the decimal itself.
    let finest = 10_f64.powi(2 - width.log10().floor() as i32);
    let is_set = |end: f64| (end * finest - (end * finest).round()).abs() < 1e-6;
    let distance = draws.map_or(0.0, |draws| 3.0 * width / (draws as f64 + 1.0));
    let power = 10_f64.powi(-(distance.max(1.0 / finest).log10() + 1e-9).floor() as i32);
    let multiple = [1.0, 2.0, 5.0, 10.0].into_iter().find(|multiple| multiple / power >= distance).unwrap_or(10.0);
    let low = (least * power / multiple).floor() * multiple / power;
    let high = (most * power / multiple).ceil() * multiple / power;
    (if is_set(least) { least } else { low }, if is_set(most) { most } else { high })
}

/// Mean and standard deviation (of the population); 1 in place of a deviation that is none.
fn mean_and_scale(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scale = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    // What rounding leaves of equal numbers is no spread.
    (mean, if scale > 1e-12 * mean.abs() { scale } else { 1.0 })
}

/// exp of the mean ln PPL_0; `None` unless all rows have one.
fn geometric_mean_clean(rows: &[SurrogateRow]) -> Option<f64> {
    let logarithms: Vec<f64> = rows.iter().map(|row| row.ppl_clean.map(f64::ln)).collect::<Option<_>>()?;
    Some((logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp()).filter(|mean| mean.is_finite())
}

/// Which rows are held out: those of randomly chosen points, until they are the wanted share of all rows. At least one
/// point is held out and one is left, unless the share is 0.
fn held_out(point_of: &[u32], points: usize, share: f64, streams: Streams, entity: u32) -> Vec<bool> {
    let order = shuffled(points, streams, entity, HOLD_OUT_AT);
    let mut sizes = vec![0_usize; points];
    for &point in point_of {
        sizes[point as usize] += 1;
    }
    let wanted = share * point_of.len() as f64;
    let (mut held, mut count) = (vec![false; points], 0);
    for &point in order.iter().take(points - 1) {
        if count as f64 >= wanted {
            break;
        }
        held[point] = true;
        count += sizes[point];
    }
    point_of.iter().map(|&point| held[point as usize]).collect()
}

/// `0..count` in an order of its own for each fit (Fisher and Yates), by the draws of
/// [`Purpose::SurrogateOrder`] from block `first` on.
pub fn shuffled(count: usize, streams: Streams, entity: u32, first: u64) -> Vec<usize> {
    let stream = streams.stream(entity, Purpose::SurrogateOrder).starting_at(first);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, stream.below(last as u64, last as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::surrogate::{SurrogatePoint, SurrogateScratch};

    fn row(split: u32, loss_probability: f64, ppl: f64) -> SurrogateRow {
        let point = SurrogatePoint { split, noise_std: 0.5, rayleigh_scale: 0.7, loss_probability };
        SurrogateRow { point, ppl: Some(ppl), ppl_clean: Some(20.0), relative_gain: None }
    }

    const INPUTS: [Input; 2] = [Input::Split, Input::LossProbability];

    #[test]
    fn repeats_of_a_point_stay_together() {
        let rows = [row(1, 0.1, 20.0), row(2, 0.1, 20.0), row(1, 0.1, 30.0), row(1, -0.0, 20.0), row(1, 0.0, 25.0)];
        assert_eq!(points_of(&rows, &INPUTS), [0, 1, 0, 2, 2]);
        assert_eq!(points_of(&rows, &[Input::NoiseStd]), [0; 5]);
        for entity in 0..20 {
            let held = held_out(&[0, 1, 0, 2, 2], 3, 0.4, Streams::new(1, 0), entity);
            assert!(held[0] == held[2] && held[3] == held[4], "{held:?}");
            assert!(held.contains(&true) && held.contains(&false));
        }
        assert_eq!(held_out(&[0, 1], 2, 0.0, Streams::new(1, 0), 0), [false; 2]);
    }

    #[test]
    fn an_order_holds_every_row_once_and_differs_by_fit() {
        let order = |entity| shuffled(100, Streams::new(7, 0), entity, 0);
        let mut sorted = order(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_ne!(order(0), order(1));
        assert_eq!(order(0), order(0));
    }

    #[test]
    fn targets_are_clipped_and_capped() {
        let bad = row(3, 0.2, 900.0);
        assert_eq!(Target::RelativeGain.of(&bad), Some(-1.0));
        assert_eq!(Target::RelativeGain.of(&row(3, 0.2, 25.0)), Some(-0.25));
        assert_eq!(Target::Ppl { cap: None }.of(&bad), Some(200.0));
        assert_eq!(Target::Ppl { cap: Some(50.0) }.of(&bad), Some(50.0));
        assert_eq!(Target::LnPpl.of(&row(3, 0.2, 1.0)), Some(0.0));
        let gains = SurrogateRow { ppl: None, ppl_clean: None, relative_gain: Some(0.3), ..bad };
        assert_eq!(Target::RelativeGain.of(&gains), Some(0.3));
        assert_eq!(Target::LnPpl.of(&gains), None);
    }

    #[test]
    fn standardisation_is_that_of_the_rows() {
        let rows = [row(1, 0.0, 20.0), row(3, 0.0, 40.0)];
        let split = InputColumn::of(&rows, Input::Split, 2, None);
        assert_eq!((split.mean, split.scale, split.range), (2.0, 1.0, (1.0, 3.0)));
        let loss = InputColumn::of(&rows, Input::LossProbability, 2, None);
        assert_eq!((loss.mean, loss.scale, loss.range), (0.0, 1.0, (0.0, 0.0)));
        let same = [row(1, 0.3, 1.0); 3];
        let constant = InputColumn::of(&same, Input::LossProbability, 1, None);
        assert_eq!(constant.scale, 1.0);
        assert!((geometric_mean_clean(&rows).unwrap() - 20.0).abs() < 1e-12);
    }

    #[test]
    fn ranges_of_random_draws_are_those_that_they_were_drawn_from() {
        for draws in [None, Some(4859)] {
            assert_eq!(rounded_outwards(0.000_078, 0.299_88, draws), (0.0, 0.3));
            assert_eq!(rounded_outwards(0.300_39, 1.999_06, draws), (0.3, 2.0));
        }
        // Three mean distances are 0.0044, 0.025 and 0.039: multiples of 0.005, 0.05 and 0.05.
        assert_eq!(rounded_outwards(0.000_46, 0.296_97, Some(200)), (0.0, 0.3));
        assert_eq!(rounded_outwards(0.3121, 1.9817, Some(200)), (0.3, 2.0));
        assert_eq!(rounded_outwards(0.0123, 0.2833, Some(20)), (0.0, 0.3));
        assert_eq!(rounded_outwards(0.000_46, 0.296_97, None), (0.0, 0.297));
        // What somebody has set stays, drawn or not.
        for decimal in [(0.0, 0.3), (1.0, 16.0), (0.07, 0.29), (0.3, 2.0), (0.1, 0.7), (5.0, 5.0)] {
            assert_eq!(rounded_outwards(decimal.0, decimal.1, None), decimal);
            assert_eq!(rounded_outwards(decimal.0, decimal.1, Some(10)), decimal);
        }
        let (low, high) = rounded_outwards(0.012_345, 0.023_456, None);
        assert!(low <= 0.012_345 && high >= 0.023_456 && high - low < 1.02 * (0.023_456 - 0.012_345));
    }

    /// Bounds of a range on hundredths are covered by the range of what is drawn from it in 19 of 20 cases.
    #[test]
    fn ranges_of_draws_cover_their_bounds() {
        let stream = Streams::new(3, 0).stream(0, Purpose::Test);
        let uniform = |index: u64| stream.below(index, 1 << 40) as f64 / (1_u64 << 40) as f64;
        for (draws, least, most) in [(20, 0.05, 0.25), (200, 0.0, 0.3), (2000, 0.3, 2.0)] {
            let mut missed = 0;
            for trial in 0..500_u64 {
                let values: Vec<f64> = (0..draws).map(|i| least + (most - least) * uniform(trial * 2000 + i)).collect();
                let (first, last) =
                    (values.iter().copied().fold(1e9, f64::min), values.iter().copied().fold(0.0, f64::max));
                let (low, high) = rounded_outwards(first, last, Some(draws as usize));
                missed += u32::from(low > least + 1e-12) + u32::from(high < most - 1e-12);
                let reach = 2.5 * 3.0 * (last - first) / (draws as f64 + 1.0) + 0.01 * (last - first);
                assert!(low >= first - reach && high <= last + reach, "{draws}: {low} to {high}");
            }
            // Of 1000 ends.
            assert!(missed < 50 + 4 * 7, "{draws}: {missed}");
        }
    }

    #[test]
    fn ranges_cover_what_was_asked_for_and_are_possible() {
        let at = |noise_std: f64, loss_probability: f64| {
            let row = row(1, loss_probability, 20.0);
            SurrogateRow { point: SurrogatePoint { noise_std, ..row.point }, ..row }
        };
        let rows = [at(0.0123, 0.2171), at(1.1171, 0.5179), at(0.5531, 0.999_71)];
        let range = |input, known: Option<(f64, f64)>| {
            let drawn_from: DrawnFrom = known.map(|range| (input, range)).into_iter().collect();
            InputColumn::of(&rows, input, 3, Some(&drawn_from)).range
        };
        assert_eq!(range(Input::NoiseStd, Some((0.01, 1.2))), (0.01, 1.2));
        // One end that isn't covered is rounded as ever: three mean distances are 0.83, a multiple of 1.
        assert_eq!(range(Input::NoiseStd, Some((0.01, 1.1))), (0.01, 2.0));
        assert_eq!(range(Input::NoiseStd, None), (0.0, 2.0));
        assert_eq!(range(Input::LossProbability, None), (0.0, 1.0_f64.next_down()));
        // Two rows of a point, a grid: no draws.
        assert_eq!(InputColumn::of(&rows, Input::NoiseStd, 4, Some(&DrawnFrom::new())).range, (0.01, 1.12));
        let surrogate = train_over(
            &rows,
            &[Input::NoiseStd, Input::LossProbability],
            Target::RelativeGain,
            &RegressionSettings { epochs: 1, hidden: vec![2], ..RegressionSettings::default() },
            Streams::new(1, 0),
            0,
            Some(&DrawnFrom::from([(Input::NoiseStd, (0.0, 1.5))])),
        );
        assert_eq!(surrogate.unwrap().range(Input::NoiseStd), Some((0.0, 1.5)));
    }

    /// A plane of 10 splits × 10 losses is learned, to a hundredth of its spread.
    #[test]
    fn a_plane_is_learned() {
        let gain = |split: u32, loss: f64| -0.9 + 0.05 * f64::from(split) - 0.8 * loss;
        let mut rows = Vec::new();
        for split in 1..=10 {
            for step in 0..10 {
                let loss = f64::from(step) / 20.0;
                rows.push(SurrogateRow {
                    ppl: None,
                    ppl_clean: None,
                    relative_gain: Some(gain(split, loss)),
                    ..row(split, loss, 1.0)
                });
            }
        }
        let settings =
            RegressionSettings { hidden: vec![32, 32], epochs: 400, patience: 400, ..RegressionSettings::default() };
        let trained =
            |entity| train(&rows, &INPUTS, Target::RelativeGain, &settings, Streams::new(1, 0), entity).unwrap();
        let surrogate = trained(0);
        let mut scratch = SurrogateScratch::default();
        let squared = |row: &SurrogateRow, scratch: &mut SurrogateScratch| {
            (surrogate.predict(&row.point, scratch) - Target::RelativeGain.of(row).unwrap()).powi(2)
        };
        let mse = rows.iter().map(|row| squared(row, &mut scratch)).sum::<f64>() / rows.len() as f64;
        assert!(mse < 1e-4, "{mse}");
        assert_eq!(surrogate, trained(0));
        assert_ne!(surrogate.content_hash(), trained(1).content_hash());
        // PPL stays empty; beyond the border a prediction is the border's.
        let value = surrogate.value(&row(5, 0.45, 1.0).point, &mut scratch);
        assert_eq!((value.ppl, value.ppl_clean), (None, None));
        assert_eq!(
            surrogate.value(&row(50, 0.9, 1.0).point, &mut scratch),
            surrogate.value(&row(10, 0.45, 1.0).point, &mut scratch)
        );
        // A file holds the very same surrogate.
        assert_eq!(Surrogate::from_bytes("s", &surrogate.to_bytes().unwrap()).unwrap(), surrogate);
    }

    #[test]
    fn nothing_to_learn_from_is_told() {
        let settings = RegressionSettings::default();
        let message = |rows: &[SurrogateRow], target| {
            train(rows, &INPUTS, target, &settings, Streams::new(1, 0), 0).unwrap_err().to_string()
        };
        assert!(message(&[], Target::LnPpl).contains("0 different points in 0 rows"));
        assert!(
            message(&[row(1, 0.1, 20.0), row(1, 0.1, 30.0)], Target::LnPpl).contains("1 different points in 2 rows")
        );
        let gain = SurrogateRow { ppl: None, ..row(2, 0.1, 20.0) };
        assert!(message(&[row(1, 0.1, 20.0), gain], Target::LnPpl).contains("row 1 (from 0) has no finite ln-ppl"));
        assert!(
            message(&[row(1, f64::NAN, 20.0), row(2, 0.1, 20.0)], Target::LnPpl).contains("loss_probability is NaN")
        );
    }
}
