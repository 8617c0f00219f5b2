#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw training curves, Fig. 5 of Chen et al.: mean evaluated episode reward against the steps learned so far.

    RUN … ──> evaluations.csv ──> mean per run and evaluation ──> mean and 95 % interval over runs ──> a panel per case

Runs of one scenario are its seeds. Optimum and random are those of the same starts.
Exit codes: 0 done, 2 the input is wrong.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from learning_data import (
    CASE_NAMES,
    add_runs,
    cases,
    cell,
    exit_code,
    find_all,
    interval,
    labels,
    learned,
    load_evaluations,
    make_parser,
    note_mixed_worlds,
    regret,
    regret_reach,
    write,
    yardstick,
)
from run_report import COLUMN_WIDTH_IN, STYLE, as_text, curve_style, shown

YARDSTICKS = (("optimal", "optimum", "--"), ("random", "random moves", ":"))


# ---- Numbers -------------------------------------------------------------------------------------------------------


def curves(evaluations):
    """Mean over runs of each run's mean reward, and half of its 95 % interval, by case, label and env_steps."""
    key = ["case", "label", "env_steps"]
    means = learned(evaluations).groupby([*key, "run"], sort=False)["reward"].mean()
    points = [(*name, *interval(values), len(values)) for name, values in means.groupby(key, sort=False)]
    return pd.DataFrame(points, columns=[*key, "mean", "reach", "n"]).sort_values(key, kind="stable")


def final_table(evaluations, points):
    """A row per line: the last evaluation beside optimum and random."""
    rows = [["case", "learner", "runs", "env_steps", "mean reward", "±95 %", "optimum", "random", "regret", "±95 %"]]
    for case, found in cases(evaluations):
        for label in labels(found):
            own = found[found["label"] == label]
            optimum, random = (yardstick(own, policy) for policy in ("optimal", "random"))
            line = points[(points["case"] == case) & (points["label"] == label)]
            if not line.empty:
                last = line.iloc[-1]
                figures = [last["mean"], last["reach"], optimum, random, regret(last["mean"], optimum, random), regret_reach(last["reach"], optimum, random)]
                rows.append([case, label, str(last["n"]), f"{last['env_steps']:.0f}", *map(cell, figures)])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(evaluations, points, notes):
    panels = [(case, rows) for case, rows in cases(evaluations) if (points["case"] == case).any()]
    every = labels(evaluations)
    size = (COLUMN_WIDTH_IN * (1, 1.6, 2.05, 2.6)[len(panels) - 1], 3.0)
    figure, grid = plt.subplots(1, len(panels), figsize=size, sharex=True, squeeze=False, layout="constrained")
    legend = {}
    for axes, (case, rows) in zip(grid.flat, panels):
        for label in every:
            line = points[(points["case"] == case) & (points["label"] == label)]
            if not line.empty:
                legend[label] = draw_line(axes, line, label, curve_style(every.index(label)))
        for policy, name, dashes in YARDSTICKS:
            if np.isfinite(level := yardstick(rows, policy)):
                legend[name] = axes.axhline(level, color="black", linestyle=dashes, linewidth=0.9)
        axes.set_title(CASE_NAMES[case], fontsize=8)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    if points["n"].min() < 2:
        notes.append("a learner of a single run has no interval")
    grid[0, 0].set_ylabel("Mean evaluated episode reward")
    figure.supxlabel("Environment steps learned (thousands)", fontsize=8)
    # Learners first, whichever panel they are in.
    names = [name for name in (*every, *(name for _, name, _ in YARDSTICKS)) if name in legend]
    figure.legend([legend[name] for name in names], map(shown, names), title="Bands: 95 % interval over runs", loc="outside upper center", ncols=min(4, len(legend)))
    return figure


def draw_line(axes, line, label, style):
    x, mean, reach = (line[column].to_numpy(float) for column in ("env_steps", "mean", "reach"))
    if len(line) == 1:
        # Evaluated once, as what doesn't learn: a line across, so that it shows at all.
        return axes.axhline(mean[0], linewidth=0.9, **(style | {"linestyle": "-."}))
    axes.fill_between(x, mean - np.nan_to_num(reach), mean + np.nan_to_num(reach), color=style["color"], alpha=0.2, linewidth=0)
    return axes.plot(x, mean, label=shown(label), **style)[0]


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = make_parser("Draw training curves (Fig. 5 of Chen et al.).", "fig5")
    add_runs(parser)
    return parser.parse_args(arguments)


def fig5(options):
    notes = []
    evaluations = load_evaluations(find_all(options.runs, notes), notes)
    note_mixed_worlds(evaluations, notes)
    points = curves(evaluations)
    print(as_text(final_table(evaluations, points)), end="\n\n")
    with plt.rc_context(STYLE):
        write(draw(evaluations, points, notes), options, notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fig5(options))


if __name__ == "__main__":
    sys.exit(main())
