#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw training curves, Fig. 5 of Chen et al.: mean evaluated episode reward against the steps learned so far.

    RUN … ──> evaluations.csv ──> mean per run and evaluation ──> mean and 95 % interval over runs ──> a panel per case

Runs of one scenario are its seeds; where more than the seed differs, they are lines of their own. Optimum and random are
those of the same starts. UEs may have learned from different numbers of steps: a point stands at their mean.
Exit codes: 0 done, 2 the input is wrong.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from learning_data import (
    add_runs,
    cases,
    cell,
    common,
    exit_code,
    find_all,
    grid_of,
    interval,
    labels,
    last_evaluations,
    learned,
    letter_of,
    load_evaluations,
    make_parser,
    note_mixed_worlds,
    regret,
    regret_reach,
    title_of,
    write,
    yardstick,
)
from run_report import COLUMN_WIDTH_IN, STYLE, as_text, curve_style, shown

YARDSTICKS = (("optimal", "optimum", "--"), ("random", "random moves", ":"))
# From so many steps on, the axis counts thousands.
THOUSANDS = 10_000


# ---- Numbers -------------------------------------------------------------------------------------------------------


def curves(evaluations):
    """By case, label and round: mean over runs of each run's mean reward, half of its 95 % interval, mean env_steps."""
    key = ["case", "label", "round"]
    means = learned(evaluations).groupby([*key, "run"], sort=False)[["reward", "env_steps"]].mean()
    points = [(*name, rows["env_steps"].mean(), *interval(rows["reward"]), len(rows)) for name, rows in means.groupby(key, sort=False)]
    return pd.DataFrame(points, columns=[*key, "env_steps", "mean", "reach", "n"]).sort_values(key, kind="stable")


def final_table(evaluations, notes):
    """A row per line: each run's last evaluation beside optimum and random."""
    last = last_evaluations(evaluations, notes)
    rows = [["case", "learner", "runs", "env_steps", "mean reward", "±95 %", "optimum", "random", "regret", "±95 %"]]
    for case, found in cases(evaluations):
        for label in labels(found):
            own = found[found["label"] == label]
            optimum, random = (yardstick(own, policy) for policy in ("optimal", "random"))
            runs = last[(last["case"] == case) & (last["label"] == label)].groupby("run")[["reward", "env_steps"]].mean()
            mean, reach = interval(runs["reward"])
            figures = [mean, reach, optimum, random, regret(mean, optimum, random), regret_reach(reach, optimum, random)]
            rows.append([letter_of(case), label, str(len(runs)), f"{runs['env_steps'].mean():.0f}", *map(cell, figures)])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(evaluations, points, notes):
    panels, every = cases(evaluations), labels(evaluations)
    rows, columns = grid_of(len(panels))
    size = (COLUMN_WIDTH_IN * (1, 1.6, 2.05, 2.6)[columns - 1], 3.0 + 2.0 * (rows - 1))
    # Worlds have their own scales of reward, and their own lengths.
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    unit = 1000 if points["env_steps"].max() >= THOUSANDS else 1
    legend = {}
    for axes, (case, found) in zip(grid.flat, panels):
        for label in every:
            line = points[(points["case"] == case) & (points["label"] == label)]
            if not line.empty:
                legend[label] = draw_line(axes, line, label, curve_style(every.index(label)))
        for policy, name, dashes in YARDSTICKS:
            if np.isfinite(level := common(found, policy)["reward"].mean()):
                legend[name] = axes.axhline(level, color="black", linestyle=dashes, linewidth=0.9)
        axes.set_title(shown(title_of(case)), fontsize=8)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value / unit:g}"))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    if points["n"].min() < 2:
        notes.append("a learner of a single run has no interval")
    for axes in grid[:, 0]:
        axes.set_ylabel("Mean evaluated episode reward" if rows == 1 else "Mean episode reward")
    figure.supxlabel(f"Environment steps learned{' (thousands)' if unit > 1 else ''}", fontsize=8)
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
    print(as_text(final_table(evaluations, notes)), end="\n\n")
    with plt.rc_context(STYLE):
        write(draw(evaluations, points, notes), options, notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fig5(options))


if __name__ == "__main__":
    sys.exit(main())
