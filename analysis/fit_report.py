#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw how well a surrogate of `splitwave fit` predicts what it was not fitted to.

    FOLDER/calibration.csv ──> predicted against measured, with error bars and the diagonal
    FOLDER/metrics.csv     ──> per fold: MSE beside a constant's and the noise floor, MAE, R², R² of cell means

A point of the calibration is a bin of equally many held-out rows, by rising prediction: the mean prediction against the
mean target and its standard error. The noise floor is the variance of repeated draws: no predictor's MSE is lower in
expectation. The rows `mean` (all held-out rows together) and `check` (other records) stand as `splitwave fit` wrote them.
Exit codes: 0 done, 2 the input is wrong.
"""

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from learning_data import exit_code, make_parser, write
from run_data import Z_95, InputError, read_columns
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, STYLE, as_text

METRICS = ["rows", "mse", "mae", "r2", "constant_mse", "noise_floor_mse", "cell_r2", "epochs"]
# Significant digits: an R² of 0.99996 is not 1.
DIGITS = {"r2": 7, "cell_r2": 7}


# ---- Numbers -------------------------------------------------------------------------------------------------------


def read(path, numbers, words=()):
    try:
        found = read_columns(path, numbers, words)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file", "name the output folder of splitwave fit") from None
    except InputError as error:
        raise InputError(str(error), "make the folder again: splitwave fit RECORDS.csv") from None
    if found.empty:
        raise InputError(f"{path}: no rows", "make the folder again: splitwave fit RECORDS.csv")
    return found


def read_metrics(folder):
    """(rows of folds, all other rows)."""
    found = read(folder / "metrics.csv", METRICS, ["fold"]).astype({"fold": str})
    is_fold = found["fold"].str.fullmatch(r"\d+")
    if not is_fold.any():
        raise InputError(f"{folder / 'metrics.csv'}: no fold", "make the folder again: splitwave fit RECORDS.csv")
    return found[is_fold], found[~is_fold]


def read_calibration(folder):
    path = folder / "calibration.csv"
    found = read(path, ["predicted", "measured", "measured_error", "rows"]).dropna(subset=["predicted", "measured"])
    if found.empty:
        raise InputError(f"{path}: no bin has both a prediction and a measurement", "make the folder again: splitwave fit RECORDS.csv")
    return found


def metrics_table(folds, others):
    """A row per fold, the standard deviation over folds (no interval: they share their training data), and all other rows."""
    names = ["mse", "constant_mse", "noise_floor_mse", "mse/floor", "mae", "r2", "cell_r2"]
    folds, others = (rows.assign(**{"mse/floor": rows["mse"] / rows["noise_floor_mse"].where(rows["noise_floor_mse"] > 0)}) for rows in (folds, others))
    deviation = folds[names].std(ddof=1).to_dict() | {"fold": "deviation", "rows": math.nan, "epochs": math.nan}
    rows = [*folds.to_dict("records"), *([deviation] if len(folds) > 1 else []), *others.to_dict("records")]
    return [["fold", "rows", "epochs", *names], *([row["fold"], count(row["rows"]), number(row["epochs"]), *(number(row[name], DIGITS.get(name, 4)) for name in names)] for row in rows)]


def number(value, digits=4):
    return f"{value:.{digits}g}" if math.isfinite(value) else ""


def count(value):
    return f"{value:.0f}" if math.isfinite(value) else ""


def calibration_text(bins):
    """Of the bins: mean (by rows) and greatest distance from the diagonal, and how many lie within the measurement's interval."""
    off = bins["predicted"] - bins["measured"]
    told = bins["measured_error"].notna()
    within = (off.abs() <= Z_95 * bins["measured_error"])[told].sum()
    bias = (off * bins["rows"]).sum() / bins["rows"].sum()
    text = f"calibration: {len(bins)} bins, mean error {bias:+.4g}, largest {off.abs().max():.4g}"
    return f"{text}; {within} of {told.sum()} bins within the measurement's 95 % interval" if told.any() else text


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(bins, folds):
    figure, (left, right) = plt.subplots(1, 2, figsize=(2 * COLUMN_WIDTH_IN, 3.1), layout="constrained")
    draw_calibration(left, bins)
    draw_folds(right, folds)
    return figure


def draw_calibration(axes, bins):
    both = bins[["predicted", "measured"]].to_numpy()
    ends = [both.min(), both.max()]
    axes.axline((ends[0], ends[0]), slope=1, color="black", linewidth=0.7)
    bars = Z_95 * bins["measured_error"].fillna(0)
    axes.errorbar(bins["measured"], bins["predicted"], xerr=bars, fmt="o", color=CURVE_COLOURS[0], markersize=2.5, elinewidth=0.7)
    room = 0.05 * (ends[1] - ends[0]) or 1
    axes.set(xlim=(ends[0] - room, ends[1] + room), ylim=(ends[0] - room, ends[1] + room), aspect="equal")
    axes.set_xlabel("Measured" + ("; bars: 95 % interval" if bins["measured_error"].notna().any() else ""))
    axes.set_ylabel("Predicted")


def draw_folds(axes, folds):
    at = np.arange(len(folds))
    columns = (("mse", "surrogate", "o"), ("constant_mse", "a constant", "s"), ("noise_floor_mse", "noise floor", "_"))
    for index, (column, name, marker) in enumerate(columns):
        if folds[column].notna().any():
            axes.plot(at, folds[column], marker, color=CURVE_COLOURS[index], markersize=4 if marker != "_" else 9, label=name)
    axes.set_xticks(at, folds["fold"])
    axes.set_xlim(-0.5, len(folds) - 0.5)
    axes.set_xlabel("Fold")
    axes.set_ylabel("MSE on the held-out fold")
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    if np.nanmin(drawn) > 0 and np.nanmax(drawn) > 8 * np.nanmin(drawn):
        axes.set_yscale("log")
    axes.legend(loc="best")


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = make_parser("Draw how well a fitted surrogate predicts.", "fit_report")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder of splitwave fit: metrics.csv and calibration.csv")
    return parser.parse_args(arguments)


def fit_report(options):
    (folds, others), bins = read_metrics(options.folder), read_calibration(options.folder)
    print(as_text(metrics_table(folds, others)), end="\n\n")
    print(calibration_text(bins), end="\n\n")
    with plt.rc_context(STYLE):
        write(draw(bins, folds), options, [])


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fit_report(options))


if __name__ == "__main__":
    sys.exit(main())
