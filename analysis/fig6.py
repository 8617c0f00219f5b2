#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw the rewards of single episodes at the last evaluation as violins, Fig. 6 of Chen et al.: sums over an episode's steps.

    RUN … ──> evaluations.csv ──> last evaluation of each run ──> violins, a table, paired differences

Runs of one scenario are its seeds; where more than the seed differs, they have violins of their own. All learners of a
case should have played the same episodes; where they did not, a note says so. Two intervals are told,
since there are two things that chance decides: over runs (other seeds, the same episodes), and over episodes (other
starts, the same learners).
Exit codes: 0 done, 2 the input is wrong.
"""

import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from learning_data import (
    START,
    add_runs,
    by_pair,
    cases,
    cell,
    common,
    exit_code,
    find_all,
    grid_of,
    interval,
    labels,
    last_evaluations,
    letter_of,
    load_evaluations,
    make_parser,
    note_mixed_starts,
    note_mixed_worlds,
    title_of,
    write,
)
from run_data import InputError
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, STYLE, as_text, shown

YARDSTICKS = (("optimal", "optimum"), ("random", "random moves"))
GREY = "#777777"
MAX_NAME = 28
INCHES_PER_LETTER = 0.045  # of a name at 45°, in height


# ---- Numbers -------------------------------------------------------------------------------------------------------


def samples(evaluations, notes):
    """(case, {name: episodes}) with the learners' last evaluations first, then optimum and random."""
    last = last_evaluations(evaluations, notes)
    found = []
    for case, rows in cases(evaluations):
        mine = last[last["case"] == case]
        named = {label: mine[mine["label"] == label] for label in labels(mine)}
        named |= {name: common(rows, policy) for policy, name in YARDSTICKS if name not in named}
        named = {name: episodes for name, episodes in named.items() if not episodes.empty}
        if not mine.empty:
            found.append((case, named))
    return found


def paired_by_run(a, b):
    """Mean difference of runs of the same seed and replication, half of its 95 % interval; NaN without two pairs."""
    return interval((by_pair(a) - by_pair(b)).dropna())


def paired_by_episode(a, b):
    """The same over episodes, each the mean over runs."""
    return interval((a.groupby(START)["reward"].mean() - b.groupby(START)["reward"].mean()).dropna())


def table_of(case, named, reference, same_starts):
    """A row per violin. Yardsticks are the same in every run: their means have no interval over runs, differences from a learner's have."""
    base = named[reference]
    rows = [["case", "policy", "runs", "episodes", "mean reward", "±runs", "±episodes", f"minus {reference}", "±runs", "±episodes"]]
    for name, episodes in named.items():
        learner = (episodes["policy"] == "learned").all()
        mean, over_runs = interval(by_pair(episodes)) if learner else (math.nan, math.nan)
        mean, over_episodes = interval(episodes.groupby(START)["reward"].mean())
        runs, count = episodes["run"].nunique(), len(episodes.drop_duplicates(START))
        difference = ["", "", ""]
        if name != reference:
            among_runs = paired_by_run(episodes, base)[1]
            among_episodes = paired_by_episode(episodes, base)[1] if same_starts else math.nan
            means = [rows_of.groupby(START)["reward"].mean().mean() for rows_of in (episodes, base)]
            difference = [cell(means[0] - means[1], signed=True), cell(among_runs), cell(among_episodes)]
        rows.append([letter_of(case), name, str(runs) if learner else "", str(count), cell(mean), cell(over_runs), cell(over_episodes), *difference])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def draw(found):
    every = list(dict.fromkeys(name for _, named in found for name in named if name not in dict(YARDSTICKS).values()))
    names = [[shown(name, MAX_NAME).replace(", ", ",\n") for name in named] for _, named in found]
    rows, columns = grid_of(len(found))
    widths = [max(0.8 + 0.5 * len(named) for named in names[column::columns]) for column in range(columns)]
    height = 2.2 + INCHES_PER_LETTER * max(len(line) for named in names for name in named for line in name.split("\n"))
    # Worlds have their own scales of reward.
    size = (max(COLUMN_WIDTH_IN, sum(widths)), rows * height + 0.2)
    figure, grid = plt.subplots(rows, columns, figsize=size, width_ratios=widths, squeeze=False, layout="constrained")
    for axes, (case, named), ticks in zip(grid.flat, found, names):
        for at, (name, episodes) in enumerate(named.items()):
            draw_violin(axes, at, episodes["reward"].to_numpy(), CURVE_COLOURS[every.index(name) % len(CURVE_COLOURS)] if name in every else GREY)
        axes.set_xticks(range(len(named)), ticks, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_title(shown(title_of(case), 12 * len(named)), fontsize=8)
        axes.grid(axis="x", visible=False)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("Episode reward")
    figure.suptitle("Bar: mean, box: quartiles", fontsize=7)
    return figure


def draw_violin(axes, at, rewards, colour):
    # A density needs a spread.
    if np.ptp(rewards) > 0:
        [body] = axes.violinplot([rewards], [at], widths=0.85, showextrema=False, points=200)["bodies"]
        body.set(facecolor=colour, edgecolor=colour, alpha=0.35)
    axes.plot([at, at], np.quantile(rewards, [0.25, 0.75]), color=colour, linewidth=3, solid_capstyle="butt")
    axes.plot([at - 0.2, at + 0.2], [rewards.mean()] * 2, color="black", linewidth=1)


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = make_parser("Draw the rewards of single episodes as violins (Fig. 6 of Chen et al.).", "fig6")
    add_runs(parser)
    parser.add_argument("--reference", metavar="LABEL", help="what differences are taken from (default: PPO, or else the first)")
    return parser.parse_args(arguments)


def reference_of(named, asked):
    """What was asked for, where it is there; else PPO, or the first."""
    return next((name for name in (asked, "PPO") if name in named), next(iter(named)))


def check_reference(found, asked):
    names = list(dict.fromkeys(name for _, named in found for name in named))
    if asked is not None and asked not in names:
        raise InputError(f"--reference: there is no '{asked}'", f"there are: {', '.join(names)}")


def fig6(options):
    notes = []
    evaluations = load_evaluations(find_all(options.runs, notes), notes)
    note_mixed_worlds(evaluations, notes)
    same_starts = note_mixed_starts(evaluations, notes)
    found = samples(evaluations, notes)
    check_reference(found, options.reference)
    for case, named in found:
        print(as_text(table_of(case, named, reference_of(named, options.reference), same_starts)), end="\n\n")
    print("±: half of the 95 % interval by Student's t, over runs and over episodes; differences are paired.", end="\n\n")
    with plt.rc_context(STYLE):
        write(draw(found), options, notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: fig6(options))


if __name__ == "__main__":
    sys.exit(main())
