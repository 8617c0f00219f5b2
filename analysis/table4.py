#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Set the reward and the time of learning with true rewards beside those of the surrogate: Table IV of Chen et al.

    RUN … ──> evaluations.csv, manifest.json ──> a row per scenario, the difference paired by seed ──> text and table4.md

A scenario whose name holds the word `surrogate` is compared with the one that is called the same without it. Wall time is
that of the whole run, evaluations included.
Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import pandas as pd
from learning_data import (
    PAIR,
    add_runs,
    by_pair,
    case_and_label,
    cell,
    exit_code,
    find_all,
    interval,
    last_evaluations,
    load_evaluations,
    note_mixed_starts,
    refuse_mixed_settings,
    regret,
    regret_reach,
    tell,
    yardstick,
)
from run_report import as_markdown, as_text

# Chen et al., Table IV: Case A, 24,000 steps. Reward, time, memory.
PAPER = {False: ("2.9736", "> 24 days", "16.3 GB"), True: ("2.9663", "7.7 min", "< 1 GB")}
PAPER_DIFFERENCE = "-0.0073"
SURROGATE = "surrogate"


# ---- Numbers -------------------------------------------------------------------------------------------------------


def without_surrogate(scenario):
    """The name without the word, or None if it isn't in it."""
    words = [word for word in re.split(r"([-_])", scenario)]
    if SURROGATE not in words:
        return None
    at = words.index(SURROGATE)
    # With the separator in front of it, or that behind where it is the first.
    return "".join(words[: at - 1] + words[at + 1 :] if at else words[2:])


def seconds_name(seconds):
    if not math.isfinite(seconds):
        return ""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def paper_of(scenario):
    """The paper's row for Case A under PPO; dashes for what it has not."""
    case, label = case_and_label(scenario)
    fits = case == "A" and label.split(", ")[0] == "PPO"
    return PAPER[without_surrogate(scenario) is not None] if fits else ("—", "—", "—")


def rows_of(last, evaluations, walls):
    """A row per scenario: ours beside the paper's."""
    rows = [["scenario", "runs", "env_steps", "mean reward", "±95 %", "optimum", "regret", "±95 %", "wall time", "paper: reward", "time", "memory"]]
    for scenario, mine in last.groupby("scenario", sort=False):
        mean, reach = interval(mine.groupby("run")["reward"].mean())
        every = evaluations[evaluations["scenario"] == scenario]
        optimum, random = (yardstick(every, policy) for policy in ("optimal", "random"))
        wall = seconds_name(pd.Series([walls[run] for run in mine["run"].unique()], dtype="float64").mean())
        figures = [cell(value) for value in (mean, reach, optimum, regret(mean, optimum, random), regret_reach(reach, optimum, random))]
        rows.append([scenario, str(mine["run"].nunique()), f"{mine.groupby('run')['env_steps'].mean().mean():.0f}", *figures, wall, *paper_of(scenario)])
    return rows


def differences(last, notes):
    """With surrogate minus with true rewards, paired by seed and replication."""
    rows = [["difference", "pairs", "mean", "±95 %", "from", "to", "paper"]]
    by_name = dict(list(last.groupby("scenario", sort=False)))
    for scenario, mine in by_name.items():
        partner = without_surrogate(scenario)
        if partner not in by_name:
            continue
        found = (by_pair(mine) - by_pair(by_name[partner])).dropna()
        unpaired = len(set(by_pair(mine).index) ^ set(by_pair(by_name[partner]).index))
        if unpaired:
            notes.append(f"{scenario}: {unpaired} runs have no partner of the same seed and are left out of the difference")
        mean, reach = interval(found)
        bounds = [cell(value, signed=True) for value in (mean - reach, mean + reach)]
        rows.append([f"{scenario} - {partner}", str(len(found)), cell(mean, signed=True), cell(reach), *bounds, PAPER_DIFFERENCE if paper_of(scenario)[0] != "—" else "—"])
    return rows


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Set learning with true rewards beside learning with the surrogate (Table IV of Chen et al.).")
    add_runs(parser)
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where table4.md goes (default: out)")
    return parser.parse_args(arguments)


def table4(options):
    notes = []
    runs = find_all(options.runs, notes)
    evaluations = load_evaluations(runs, notes)
    refuse_mixed_settings(evaluations)
    note_mixed_starts(evaluations, notes)
    last = last_evaluations(evaluations, notes)
    doubled = last.groupby(["scenario", *PAIR])["run"].nunique()
    if (doubled > 1).any():
        scenario, seed, replication = doubled.idxmax()
        notes.append(f"{scenario}: {doubled.max()} runs share seed {seed}, replication {replication}: their version or files differ, and their mean is paired")
    walls = [run.manifest.get("wall_s", math.nan) for run in runs]
    tables = [rows_of(last, evaluations, walls), differences(last, notes)]
    if len(tables[1]) == 1:
        notes.append("no scenario stands beside the same with `surrogate` in its name: no difference")
        tables.pop()
    print("\n\n".join(map(as_text, tables)), end="\n\n")
    options.out.mkdir(parents=True, exist_ok=True)
    texts = ["# Table IV", *map(as_markdown, tables), "±95 %: half of the interval by Student's t over runs; differences paired by seed.", *(f"- {note}" for note in notes)]
    (options.out / "table4.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    print(f"wrote {options.out / 'table4.md'}")
    tell(notes)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: table4(options))


if __name__ == "__main__":
    sys.exit(main())
