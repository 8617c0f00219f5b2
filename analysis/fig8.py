#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw the final evaluated reward against PPO's hyperparameters, Fig. 8 of Chen et al., from the runs.csv of studies.

    STUDY … ──> eval_reward_mean by learning rate, batch, clip range, GAE λ ──> mean and 95 % interval over replications

One study may sweep one of them or several. Where one varies, the others are held at Table III, or where a row leaves
them to the base; nothing is averaged but replications.
Exit codes: 0 done, 2 the input is wrong.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import study_report
from learning_data import cell, exit_code, make_parser, regret, write
from run_data import InputError
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, STYLE, as_text

# Axis, its name in a picture, and its value in Table III.
SWEPT = (
    ("controller.ppo.learning_rate", "Learning rate", 3e-4),
    ("controller.ppo.batch_size", "Batch size", 100.0),
    ("controller.ppo.clip_range", "Clip range", 0.2),
    ("controller.ppo.gae_lambda", "GAE λ", 0.95),
)
TABLE_III = {axis: value for axis, _, value in SWEPT}
FIGURES = ["eval_reward_mean", "eval_optimal_mean", "eval_random_mean"]
POINT = ["mean", "reach", "n", "optimum", "random"]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def swept_in(study):
    """The axes of SWEPT of which a study has at least two values that are told."""
    return [axis for axis in TABLE_III if axis in study.axes and numbers(study.runs[axis]).nunique() > 1]


def numbers(column):
    return pd.to_numeric(column, errors="coerce")


def others_held(study, axis):
    """The runs that tell `axis`, all other hyperparameters at Table III or left to the base."""
    runs = study.runs[numbers(study.runs[axis]).notna()]
    for other in swept_in(study):
        if other != axis:
            value = numbers(runs[other])
            runs = runs[value.isna() | np.isclose(value, TABLE_III[other], rtol=1e-9)]
    return runs.assign(**{axis: numbers(runs[axis])})


def points_of(study, axis, path):
    """Mean over replications by value of the axis, half of its 95 % interval, n, and the yardsticks' means."""
    runs = others_held(study, axis)
    if runs.empty:
        raise InputError(f"{path}: '{axis}' is never varied alone", "sweep it with the others as in Table III: learning rate 3e-4, batch 100, clip 0.2, GAE 0.95")
    held = study_report.Study(runs, study.axes, study.figures)
    for other in study_report.unshown(held, [axis]):
        if other not in TABLE_III:
            raise InputError(f"{path}: axis '{other}' varies, too, and is not shown", f"hold it with --where '{other}=VALUE'")
    # Studies that sweep one after the other hold Table III's own point more than once: the first is drawn.
    held = study_report.Study(runs[runs["point"] == runs.groupby(axis)["point"].transform("min")], study.axes, study.figures)
    table = study_report.points(held, FIGURES[0], [axis]).sort_values(axis, kind="stable")
    means = held.runs.groupby(axis)[FIGURES[1:]].mean().reindex(table[axis])
    return table.assign(optimum=means[FIGURES[1]].to_numpy(), random=means[FIGURES[2]].to_numpy()).rename(columns={axis: "value"})[["value", *POINT]]


def load(paths, held, notes):
    """{axis: its points} over all studies; an axis that two of them sweep is an error."""
    found = {}
    for path in paths:
        study = study_report.load_study(path, FIGURES, notes)
        missing = [name for name in FIGURES if name not in study.figures]
        if missing:
            raise InputError(f"{path}: column '{missing[0]}' is empty in every run", "the study's scenario needs an [evaluation] table and a quality table")
        study = study_report.hold(study, held)
        axes = swept_in(study)
        if not axes:
            raise InputError(f"{path}: none of {', '.join(TABLE_III)} varies", "name studies that sweep them")
        for axis in axes:
            if axis in found:
                raise InputError(f"{path}: '{axis}' is swept by another of the studies, too", "name one of them")
            found[axis] = points_of(study, axis, path)
    return found


def table_of(found):
    rows = [["hyperparameter", "value", "runs", "mean reward", "±95 %", "optimum", "regret"]]
    for axis, _, _ in SWEPT:
        for row in found[axis].to_dict("records") if axis in found else []:
            figures = [row["mean"], row["reach"], row["optimum"], regret(row["mean"], row["optimum"], row["random"])]
            rows.append([axis, f"{row['value']:g}", str(row["n"]), *map(cell, figures)])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(found, notes):
    panels = [(axis, name, chosen) for axis, name, chosen in SWEPT if axis in found]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (COLUMN_WIDTH_IN * (1, 1.7)[columns - 1], 0.9 + 1.9 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for letter, axes, (axis, name, chosen) in zip("abcd", grid.flat, panels):
        draw_panel(axes, found[axis], chosen)
        axes.set_xlabel(name)
        axes.set_title(f"({letter})", fontsize=8)
    every = pd.concat(found.values())
    if every["n"].min() < 2:
        notes.append("a point of one replication has no interval")
    if every["optimum"].max() - every["optimum"].min() > 1e-9:
        notes.append("the optimum differs between points: they were not evaluated on the same starts")
    figure.supylabel("Final evaluated reward", fontsize=8)
    legend = dict(zip(*reversed(grid.flat[0].get_legend_handles_labels())))
    figure.legend(legend.values(), legend.keys(), title="Bars: 95 % interval over replications", loc="outside upper center", ncols=3)
    return figure


def draw_panel(axes, points, chosen):
    """Values stand side by side, evenly; that of Table III is filled."""
    at, mean = np.arange(len(points)), points["mean"].to_numpy()
    colour = CURVE_COLOURS[0]
    style = {"color": colour, "marker": "o", "markerfacecolor": "white", "elinewidth": 0.7, "linewidth": 0.9}
    axes.errorbar(at, mean, np.nan_to_num(points["reach"]), label="PPO", **style)
    usual = np.isclose(points["value"], chosen)
    if usual.any():
        axes.plot(at[usual], mean[usual], "o", color=colour, zorder=3, label="PPO, Table III")
    axes.axhline(points["optimum"].mean(), color="black", linestyle="--", linewidth=0.9, label="optimum")
    axes.set_xticks(at, [f"{value:g}" for value in points["value"]])
    axes.set_xlim(-0.5, len(points) - 0.5)


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = make_parser("Draw the final reward against PPO's hyperparameters (Fig. 8 of Chen et al.).", "fig8")
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="a study's output folder, or its runs.csv")
    parser.add_argument("--where", type=study_report.pair, action="append", default=[], metavar="AXIS=VALUE", help="only these runs; may be repeated")
    return parser.parse_args(arguments)


def fig8(options):
    notes = []
    found = load(options.studies, options.where, notes)
    print(as_text(table_of(found)), end="\n\n")
    with plt.rc_context(STYLE):
        write(draw(found, notes), options, notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fig8(options))


if __name__ == "__main__":
    sys.exit(main())
