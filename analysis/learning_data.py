"""The evaluations of runs with learners, and the numbers that fig5.py, fig6.py, fig7.py and table4.py share.

    folders ──> load_evaluations ──> one row per evaluated episode, with scenario, case, label, run, seed
                                 └─> last_evaluations, yardsticks, interval, regret

A scenario called case_LETTER_ALGORITHM… (case_a_ppo_surrogate) tells its case (A) and its label (PPO, surrogate); one of
another name has no case and is its own label. Nothing here draws but the saving of pictures.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import pandas as pd
from run_data import InputError, find_runs, read_columns
from run_report import picture_formats, positive, save
from study_report import t_975

NUMBERS = ["env_steps", "ue_id", "episode", "loss_probability", "first_split", "last_split", "reward"]
WORDS = ["policy"]

CASES = {"l": "L", "h": "H", "a": "A"}
CASE_NAMES = {"L": "Case L: loss 0–0.1", "H": "Case H: loss 0.1–0.3", "A": "Case A: loss 0–0.3", "": ""}
ALGORITHMS = {"ppo": "PPO", "a2c": "A2C", "dqn": "DQN"}
# The order of lines and violins; what is not named comes behind, in order of appearance.
LABEL_ORDER = ("PPO", "PPO, surrogate", "A2C", "DQN", "untrained", "random")
START = ["ue_id", "episode"]
PAIR = ["seed", "replication"]


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
    """One row per evaluated episode of all runs with a learner; `run` counts runs, `env_steps` is NaN for yardsticks."""
    frames, without, unlearned = [], [], []
    for number, run in enumerate(runs):
        path = run.folder / "evaluations.csv"
        if not path.exists():
            without.append(f"{run.scenario}/{run.folder.name}")
            continue
        rows = read_columns(path, NUMBERS, WORDS).astype({"policy": str})
        if not ((rows["policy"] == "learned") & rows["env_steps"].notna()).any():
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
    return pd.concat(frames, ignore_index=True)


def learned(evaluations):
    return evaluations[(evaluations["policy"] == "learned") & evaluations["env_steps"].notna()]


def last_evaluations(evaluations, notes):
    """The learners' episodes at each run's last evaluation."""
    found = learned(evaluations)
    last = found.groupby("run")["env_steps"].transform("max")
    found = found[found["env_steps"] == last]
    for (case, label), rows in found.groupby(["case", "label"], sort=False):
        if rows["env_steps"].nunique() > 1:
            low, high = rows["env_steps"].min(), rows["env_steps"].max()
            notes.append(f"{name_of(case, label)}: runs end at different steps, {low:.0f} to {high:.0f}")
    return found


def name_of(case, label):
    return f"case {case}, {label}" if case else label


def yardstick(evaluations, policy):
    """Mean reward of a policy that does not learn, over the episodes of all runs; NaN without any."""
    return evaluations.loc[evaluations["policy"] == policy, "reward"].mean()


def cases(evaluations):
    """(case, its rows): L, H, A, and those without."""
    order = ["L", "H", "A", ""]
    return sorted(evaluations.groupby("case", sort=False), key=lambda item: order.index(item[0]))


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
            notes.append(f"{f'case {case}: the' if case else 'the'} runs were not evaluated on the same starts: differences are not paired by episode")
    return same


def note_mixed_worlds(evaluations, notes):
    """A note for each case whose scenarios have different optima: their rewards are not of one kind."""
    for case, rows in cases(evaluations):
        means = rows[rows["policy"] == "optimal"].groupby("label")["reward"].mean()
        if len(means) > 1 and means.max() - means.min() > 1e-6:
            notes.append(f"{f'case {case}: the' if case else 'the'} optimum differs between scenarios, {means.min():.4f} to {means.max():.4f}: name runs of one world")


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
