#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw the split that a learner ends an episode with against the loss probability, Fig. 7 of Chen et al.

    RUN ──> evaluations.csv ──> the last evaluation's first 500 episodes ──> line by least squares, LOESS, beside the optimum's

The slope is in layers per unit of loss probability; its standard error takes episodes as independent. Of several runs of
one scenario each has its row of numbers, and the first is drawn.
Exit codes: 0 done, 2 the input is wrong.
"""

import math
import sys
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from learning_data import PAIR, add_runs, case_and_label, exit_code, find_all, interval, last_evaluations, load_evaluations, make_parser, refuse_mixed_settings, write
from run_data import InputError
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, MARKERS, STYLE, as_text, positive, shown

GRID = 101


# ---- Numbers -------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """y = intercept + slope·x by least squares; `error` is the slope's standard error."""

    slope: float
    intercept: float
    error: float
    r2: float


def least_squares(x, y):
    """NaN where x does not vary; no error for two points; no R² where y does not vary."""
    dx, dy = x - x.mean(), y - y.mean()
    squares = (dx**2).sum()
    if squares == 0:
        return Line(math.nan, math.nan, math.nan, math.nan)
    slope = (dx * dy).sum() / squares
    rest = ((dy - slope * dx) ** 2).sum()
    error = math.sqrt(rest / (len(x) - 2) / squares) if len(x) > 2 else math.nan
    r2 = 1 - rest / (dy**2).sum() if dy.any() else math.nan
    return Line(slope, y.mean() - slope * x.mean(), error, r2)


def loess(x, y, at, span):
    """Cleveland's local regression of degree 1 with tricube weights, without his robust iterations.

    At each point the nearest `span` of all n points count, with (1 - (d/d_max)³)³ of their distance d; where fewer than
    two distinct x have weight, it is their weighted mean.
    """
    nearest = min(len(x), max(2, math.ceil(span * len(x))))
    smooth = np.empty(len(at))
    for index, point in enumerate(at):
        distance = np.abs(x - point)
        # The smallest excess over the furthest neighbour keeps that one's weight from vanishing where all stand apart equally.
        furthest = np.partition(distance, nearest - 1)[nearest - 1] * (1 + 1e-9) + 1e-300
        weight = (1 - np.minimum(distance / furthest, 1) ** 3) ** 3
        total = weight.sum()
        centre, level = (weight * x).sum() / total, (weight * y).sum() / total
        squares = (weight * (x - centre) ** 2).sum()
        # Rounding alone leaves squares of the order of ε² where one x has all the weight.
        slope = (weight * (x - centre) * y).sum() / squares if squares > 1e-12 * total * np.ptp(x) ** 2 else 0.0
        smooth[index] = level + slope * (point - centre)
    return smooth


def episodes_of(evaluations, run, policy, wanted):
    """(loss probability, last split) of the first episodes of a run under a policy."""
    rows = evaluations[(evaluations["run"] == run) & (evaluations["policy"] == policy)]
    rows = rows.sort_values(["episode", "ue_id"], kind="stable").dropna(subset=["loss_probability", "last_split"]).head(wanted)
    return rows["loss_probability"].to_numpy(float), rows["last_split"].to_numpy(float)


def run_name(last, run):
    """What tells a run from the others: its seed, its replication, both or nothing."""
    mine = last[last["run"] == run].iloc[0]
    return "".join(f", {column} {mine[column]}" for column in PAIR if last[column].nunique() > 1)


def table_of(named):
    """A row of numbers per (name, x, y)."""
    rows = [["policy", "episodes", "slope", "std. error", "R²", "intercept", "mean split"]]
    for name, x, y in named:
        line = least_squares(x, y)
        rows.append([name, str(len(x)), *(f"{value:.4g}" if math.isfinite(value) else "" for value in (line.slope, line.error, line.r2, line.intercept, y.mean()))])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(named, span):
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 3.4), layout="constrained")
    for index, (name, x, y) in enumerate(named):
        colour = CURVE_COLOURS[index]
        line = least_squares(x, y)
        # Splits are whole: equal points are set a little apart, in the order of the episodes.
        apart = 0.24 * (np.arange(len(y)) * 0.6180339887498949 % 1 - 0.5) + (0.15 if index else -0.15)
        axes.plot(x, y + apart, MARKERS[index], color=colour, markersize=1.6, alpha=0.45, markeredgewidth=0)
        grid = np.linspace(x.min(), x.max(), GRID)
        label = f"{shown(name)}: slope {line.slope:.3g} ± {line.error:.2g}, R² = {line.r2:.2f}"
        axes.plot(grid, line.intercept + line.slope * grid, color=colour, linestyle="--", label=label)
        axes.plot(grid, loess(x, y, grid, span), color=colour, label=f"{shown(name)}: LOESS")
    axes.set_xlabel("Loss probability")
    axes.set_ylabel("Split after the last step (layers on the UE)")
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(title="Least squares, slope ± standard error", loc="outside upper center")
    return figure


# ---- Command -------------------------------------------------------------------------------------------------------


def span(text):
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


def parse_arguments(arguments):
    parser = make_parser("Draw the chosen split against the loss probability (Fig. 7 of Chen et al.).", "fig7")
    add_runs(parser)
    parser.add_argument("--episodes", type=positive, default=500, help="episodes of each (default: 500)")
    parser.add_argument("--span", type=span, default=0.5, help="share of the episodes that each point of LOESS looks at (default: 0.5)")
    return parser.parse_args(arguments)


def fig7(options):
    notes = []
    evaluations = load_evaluations(find_all(options.runs, notes), notes)
    last = last_evaluations(evaluations, notes)
    scenarios = list(dict.fromkeys(last["scenario"]))
    if len(scenarios) > 1:
        raise InputError(f"runs of {len(scenarios)} scenarios: {', '.join(scenarios)}", "name the runs of one scenario")
    refuse_mixed_settings(last)
    label = case_and_label(scenarios[0])[1]
    runs = sorted(last["run"].unique(), key=lambda run: tuple(last.loc[last["run"] == run, ["seed", "replication"]].iloc[0]))
    named = [(f"{label}{run_name(last, run)}", *episodes_of(last, run, "learned", options.episodes)) for run in runs]
    optimum = ("optimum", *episodes_of(evaluations, runs[0], "optimal", options.episodes))
    known = [optimum] if len(optimum[1]) else []
    for name, x, _ in [*named, *known]:
        if len(x) < 3 or np.ptp(x) == 0:
            raise InputError(f"{name}: {len(x)} episodes, loss probability {'constant' if len(x) else 'not given'}", "evaluate at least 3 episodes with a loss probability drawn from a range")
    short = [(name, len(x)) for name, x, _ in named if len(x) < options.episodes]
    if short:
        notes.append(f"{short[0][0]} has only {short[0][1]} episodes, not {options.episodes}")
    if not known:
        notes.append("no run holds the optimum's episodes: it is not shown")
    print(as_text(table_of([*named, *known])), end="\n\n")
    if len(runs) > 1:
        mean, reach = interval([least_squares(x, y).slope for _, x, y in named])
        print(f"slope over {len(runs)} runs: {mean:.4g} ± {reach:.2g} (95 %, Student's t)", end="\n\n")
        notes.append(f"the picture shows {named[0][0]}, the first of {len(runs)} runs")
    with plt.rc_context(STYLE):
        write(draw([named[0], *known], options.span), options, notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fig7(options))


if __name__ == "__main__":
    sys.exit(main())
