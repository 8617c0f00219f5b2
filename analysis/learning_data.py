"""The evaluations of runs with learners, and the numbers that fig5.py, fig6.py, fig7.py and table4.py share.

    folders ──> load_evaluations ──> one row per evaluated episode, with scenario, case, label, run, seed
                                 └─> last_evaluations, yardsticks, interval, regret

A scenario called case_LETTER_ALGORITHM… (case_a_ppo_surrogate) tells its case (A) and its label (PPO, surrogate); one of
another name is its own label, and its case are the names of all such scenarios with the same yardsticks: those of one
world. Runs of one label differ in nothing but their seed. Nothing here draws but the saving of pictures.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path

import pandas as pd
from run_data import InputError, find_runs, read_columns
from run_report import picture_formats, positive, save
from study_report import t_975

NUMBERS = ["env_steps", "ue_id", "episode", "loss_probability", "first_split", "last_split", "reward", "round"]
WORDS = ["policy"]

CASES = {"l": "L", "h": "H", "a": "A"}
CASE_NAMES = {"L": "Case L: loss 0–0.1", "H": "Case H: loss 0.1–0.3", "A": "Case A: loss 0–0.3"}
ALGORITHMS = {"ppo": "PPO", "a2c": "A2C", "dqn": "DQN"}
# The order of lines and violins; what is not named comes behind, in order of appearance.
LABEL_ORDER = ("PPO", "PPO, surrogate", "A2C", "DQN", "untrained", "random")
START = ["ue_id", "episode"]
PAIR = ["seed", "replication"]

# Settings in which runs of one learner may differ: its seed, and what is written where.
NO_SETTINGS = ("name", "seed", "replications", "output", "controller.policy_out")
# What fits into a label: so many settings, values of so many letters.
MAX_TOLD = 2
MAX_VALUE = 24


# ---- Runs ----------------------------------------------------------------------------------------------------------


def case_and_label(scenario):
    """("A", "PPO, surrogate") of case_a_ppo_surrogate; what stands in front of `case` comes last; ("", name) of a name of another form."""
    found = re.fullmatch(r"(.*[-_])?case[-_]([lha])[-_](.+)", scenario, re.IGNORECASE)
    if not found:
        return "", scenario
    words = [word for word in re.split(r"[-_]+", f"{found[3]}_{found[1] or ''}") if word]
    return CASES[found[2].lower()], ", ".join(ALGORITHMS.get(word.lower(), word) for word in words)


def find_all(paths, notes):
    """The finished runs at or below any of the paths, each once; notes of each path once."""
    runs, seen = [], set()
    for path in paths:
        said = []
        for run in find_runs(path, said):
            if run.folder not in seen:
                seen.add(run.folder)
                runs.append(run)
        notes.extend(note for note in said if note not in notes)
    return runs


def load_evaluations(runs, notes):
    """One row per evaluated episode of all runs with a learner; `run` counts runs, `round` is NaN for yardsticks."""
    frames, without, unlearned = [], [], []
    for number, run in enumerate(runs):
        path = run.folder / "evaluations.csv"
        if not path.exists():
            without.append(f"{run.scenario}/{run.folder.name}")
            continue
        rows = read_rows(path)
        if not (rows["policy"] == "learned").any():
            # Its yardsticks may have played other episodes than those of the learners.
            unlearned.append(f"{run.scenario}/{run.folder.name}")
            continue
        case, label = case_and_label(run.scenario)
        seed, replication = run.manifest.get("seed"), run.manifest.get("replication", 0)
        about = {"scenario": run.scenario, "case": case, "label": label, "run": number, "seed": seed, "replication": replication}
        frames.append(rows.assign(**about))
    if not frames:
        hint = "name runs of a learning controller (kind = ppo, a2c or dqn) whose [evaluation] has episodes above 0"
        raise InputError(f"{runs[0].folder}: no run holds evaluations of a learner in evaluations.csv", hint)
    for names, what in ((without, "hold no evaluations.csv"), (unlearned, "evaluate no learner")):
        if names:
            notes.append(f"{len(names)} of {len(runs)} runs {what} and are left out: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}")
    evaluations = pd.concat(frames, ignore_index=True)
    evaluations["label"] += evaluations["run"].map(settings_told(runs, evaluations))
    evaluations["case"] = evaluations["case"].where(evaluations["case"] != "", evaluations["scenario"].map(worlds(evaluations)))
    return evaluations


def read_rows(path):
    """The rows of one evaluations.csv."""
    again = "run it again with this version: splitwave run SCENARIO.toml --force"
    try:
        rows = read_columns(path, NUMBERS, WORDS).astype({"policy": str})
    except InputError as error:
        raise InputError(str(error), again) from None
    if rows.loc[rows["policy"] == "learned", ["round", "env_steps"]].isna().any(axis=None):
        raise InputError(f"{path}: a learner's row without round or env_steps", again)
    return rows


def settings(table, path=""):
    """{dotted key: value as text} of a scenario, without what is no setting."""
    found = {}
    for key, value in table.items():
        if f"{path}{key}" in NO_SETTINGS:
            continue
        if isinstance(value, dict):
            found |= settings(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return found


def settings_told(runs, evaluations):
    """{run: ", key=value …"} of the settings in which runs of one label differ; an error where they don't fit into one."""
    told = {}
    for _, numbers in evaluations.groupby(["case", "label"], sort=False)["run"].unique().items():
        tables = {number: settings(runs[number].scenario_table()) for number in numbers}
        keys = sorted({key for table in tables.values() for key in table})
        differing = [key for key in keys if len({table.get(key) for table in tables.values()}) > 1]
        longest = max((len(table.get(key, "")) for table in tables.values() for key in differing), default=0)
        if len(differing) > MAX_TOLD or longest > MAX_VALUE:
            more = " …" if len(differing) > 3 else ""
            hint = "name each way of learning: splitwave run … --set name=NAME; runs of one name may differ in their seed alone"
            raise InputError(f"runs called {runs[numbers[0]].scenario} differ in {', '.join(differing[:3])}{more}", hint)
        names = [key.rpartition(".")[2] for key in differing]
        names = names if len(set(names)) == len(names) else differing
        for number, table in tables.items():
            told[number] = "".join(f", {name}={table.get(key, 'unset')}" for name, key in zip(names, differing))
    return told


def refuse_mixed_settings(evaluations):
    """An error where runs of one scenario differ in more than the seed."""
    for scenario, rows in evaluations.groupby("scenario", sort=False):
        labels = list(dict.fromkeys(rows["label"]))
        if len(labels) > 1:
            hint = "name runs of one way of learning, or give each its own name: splitwave run … --set name=NAME"
            raise InputError(f"runs called {scenario} differ in their settings: {labels[0]}; {labels[1]}", hint)


def worlds(evaluations):
    """{scenario: the names of all scenarios without a case whose yardsticks are the same}."""
    found = {}
    for scenario, rows in evaluations[evaluations["case"] == ""].groupby("scenario", sort=False):
        found.setdefault(tuple(f"{yardstick(rows, policy):.6f}" for policy in ("optimal", "random")), []).append(scenario)
    # A scenario may be called A.
    return {scenario: ", ".join(f"'{name}'" if name in CASE_NAMES else name for name in names) for names in found.values() for scenario in names}


def learned(evaluations):
    return evaluations[evaluations["policy"] == "learned"]


def last_evaluations(evaluations, notes):
    """The learners' episodes at each run's last evaluation: all UEs of its last round, whatever each has learned from."""
    found = learned(evaluations)
    found = found[found["round"] == found.groupby("run")["round"].transform("max")]
    for (case, label), rows in found.groupby(["case", "label"], sort=False):
        steps = rows.groupby("run")["env_steps"].mean()
        low, high = f"{steps.min():.0f}", f"{steps.max():.0f}"
        if low != high:
            notes.append(f"{f'{case_words(case)}, {label}' if case in CASE_NAMES else label}: runs end at different steps, {low} to {high}")
    return found


def case_words(case):
    """A case in a sentence: one without a letter is called by its scenarios."""
    return f"case {case}" if case in CASE_NAMES else case


def title_of(case):
    return CASE_NAMES.get(case, case)


def letter_of(case):
    return case if case in CASE_NAMES else ""


def grid_of(panels):
    """(rows, columns) of a picture with so many panels."""
    columns = panels if panels <= 4 else 3
    return math.ceil(panels / columns), columns


def yardstick(evaluations, policy):
    """Mean reward of a policy that does not learn, over the episodes of all runs; NaN without any."""
    return evaluations.loc[evaluations["policy"] == policy, "reward"].mean()


def common(evaluations, policy):
    """The episodes of a policy that does not learn; none where learners have it in different worlds, or on different starts."""
    rows = evaluations[evaluations["policy"] == policy]
    means = rows.groupby("label")["reward"].mean()
    return rows if len(means) and means.max() - means.min() <= 1e-6 else rows.iloc[:0]


def cases(evaluations):
    """(case, its rows): L, H, A, and the others in order of appearance."""
    order = list(CASE_NAMES)
    return sorted(evaluations.groupby("case", sort=False), key=lambda item: order.index(item[0]) if item[0] in order else len(order))


def labels(evaluations):
    found = list(dict.fromkeys(evaluations["label"]))
    return sorted(found, key=lambda label: LABEL_ORDER.index(label) if label in LABEL_ORDER else len(LABEL_ORDER))


def note_mixed_starts(evaluations, notes):
    """True where all runs of each case were evaluated on the same starts; else a note says which were not."""
    same = True
    for case, rows in cases(evaluations):
        starts = rows.drop_duplicates(["run", *START])
        different = starts.groupby(START)[["loss_probability", "first_split"]].nunique(dropna=False).max(axis=None) > 1
        counts = starts.groupby("run").size()
        if different or counts.nunique() > 1:
            same = False
            notes.append(f"{case_words(case)}: the runs were not evaluated on the same starts: differences are not paired by episode")
    return same


def note_mixed_worlds(evaluations, notes):
    """A note for each case whose learners have different yardsticks: their rewards are not of one kind."""
    for case, rows in cases(evaluations):
        for policy, name in (("optimal", "the optimum"), ("random", "the reward of random moves")):
            means = rows[rows["policy"] == policy].groupby("label")["reward"].mean()
            if len(means) and common(rows, policy).empty:
                notes.append(f"{case_words(case)}: {name} differs between learners, {means.min():.4f} to {means.max():.4f}, and is not drawn: name runs of one world")


# ---- Numbers -------------------------------------------------------------------------------------------------------


def interval(values):
    """Mean and half of its 95 % interval by Student's t; NaN for the half of fewer than two values."""
    values = pd.Series(values, dtype="float64").dropna()
    n = len(values)
    reach = t_975(n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return values.mean(), reach


def regret(reward, optimum, random):
    """Normalised regret (J* - J)/(J* - J_random)."""
    return (optimum - reward) / (optimum - random) if optimum != random else math.nan


def regret_reach(reach, optimum, random):
    """Half of the interval of the regret, which is linear in the reward; the yardsticks are taken as exact."""
    return reach / abs(optimum - random) if optimum != random else math.nan


def by_pair(rows):
    """Mean reward of each run by (seed, replication)."""
    return rows.groupby(PAIR)["reward"].mean()


# ---- Commands ------------------------------------------------------------------------------------------------------


def cell(value, signed=False):
    """Four decimals of a reward; nothing for what does not apply."""
    if not math.isfinite(value):
        return ""
    # What rounds to zero has no sign.
    value = round(value, 4) + 0.0
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def make_parser(description, name):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where the picture goes (default: out)")
    parser.add_argument("--name", default=name, help=f"its name without suffix (default: {name})")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser


def add_runs(parser):
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder, or a folder above several")


def write(figure, options, notes):
    """Saves the picture, and tells of it and of the notes."""
    options.out.mkdir(parents=True, exist_ok=True)
    save(figure, options, options.name)
    for suffix in options.format:
        print(f"wrote {options.out / f'{options.name}.{suffix}'}")
    tell(notes)


def tell(notes):
    for note in notes:
        print(f"note: {note}")


def exit_code(work):
    """0 where `work` is done, 2 where the input is wrong, which is then said."""
    try:
        work()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, InputError):
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 0
