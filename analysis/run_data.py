"""The files of finished splitwave runs, and the numbers that the pictures show.

    folder ──> find_runs ──> load_requests ──> summary_row, breakdown, latency_curve, ppl_points
                        └──> load_series ────> (binned) series_points

CSV files are read by column name, never by position, and only the columns that are needed. An empty cell means
"does not apply" and is never taken for 0. Nothing here draws.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

OUTCOMES = ("completed", "outage", "timeout", "dropped", "unfinished")
# Outcomes that end a request which a UE had accepted: what the CDF counts.
ENDED = ("completed", "outage", "timeout")

# The phases of a request; for every completed request they add up to e2e_s.
PHASE_COLUMNS = ["ue_wait_s", "ue_compute_s", "uplink_wait_s", "uplink_air_s", "edge_wait_s", "edge_compute_s", "downlink_s"]
REQUEST_NUMBERS = ["arrival_s", "split", "loss_probability", *PHASE_COLUMNS, "e2e_s", "nll_sum", "tokens_scored", "ppl_clean"]
REQUEST_WORDS = ["group", "outcome"]
SERIES_NUMBERS = ["time_s", "edge_queue", "edge_busy", "uplink_active", "ue_queue_mean", "requests_completed"]

MAX_LOSS_BINS = 5
MAX_SERIES_POINTS = 150
Z_95 = 1.959964  # 97.5 % point of the normal distribution


class InputError(Exception):
    """The input cannot be used: what is wrong, and what to do about it."""

    def __init__(self, problem, hint):
        super().__init__(problem)
        self.hint = hint


# ---- Runs and their files ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    folder: Path
    manifest: dict

    def scenario_table(self):
        table = self.manifest.get("scenario")
        return table if isinstance(table, dict) else {}

    @property
    def scenario(self):
        return str(self.scenario_table().get("name") or self.folder.parent.name)

    @property
    def run_id(self):
        return str(self.manifest.get("run_id") or self.folder.name)

    def warmup_s(self, asked):
        """The warm-up that was asked for, or else the scenario's own, so that numbers agree with summary.csv."""
        own = self.scenario_table().get("warmup_s", 0.0)
        return asked if asked is not None else own if isinstance(own, (int, float)) else 0.0


def find_runs(root, notes):
    """Finished runs at or below `root`, in path order; hidden folders and interrupted runs are left out."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder", "name a run folder, or a folder above several runs")
    runs, seen = [], set()
    for folder, below, files in os.walk(root.resolve()):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if "manifest.json" not in files:
            continue
        below.clear()
        run = Run(Path(folder), read_manifest(Path(folder, "manifest.json")))
        if "interrupted" in files:
            notes.append(f"ignored {run.scenario}/{run.folder.name}: the run was interrupted")
        elif (run.scenario, run.run_id) in seen:
            notes.append(f"ignored {run.scenario}/{run.folder.name}: run {run.run_id} is already counted")
        else:
            seen.add((run.scenario, run.run_id))
            runs.append(run)
    if not runs:
        raise InputError(f"{root}: no finished run (no manifest.json)", "finish a run first: splitwave run SCENARIO.toml")
    return runs


def read_manifest(path):
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})", "the run is damaged: repeat it with --force") from None
    return manifest if isinstance(manifest, dict) else {}


def note_mixed_settings(runs, notes):
    """Runs of one name are pooled as replications; say so where their settings differ in more than the seed."""
    settings = {}
    for run in runs:
        table = {key: value for key, value in run.scenario_table().items() if key not in ("seed", "replications", "output")}
        settings.setdefault(run.scenario, set()).add(json.dumps(table, sort_keys=True))
    for scenario, different in settings.items():
        if len(different) > 1:
            notes.append(f"scenario {scenario} pools runs of {len(different)} different settings, not only replications")


def read_columns(path, numbers, words=()):
    """The named columns of a CSV file: numbers as float64 (empty = NaN), words as categories."""
    types, rules = column_rules(path, numbers, words)
    try:
        return pd.read_csv(path, dtype=types, **rules)
    except ValueError as error:
        raise unreadable(path, numbers, rules, error) from None


def read_chunks(path, numbers, words, rows):
    """The same in pieces of so many rows, for files that would not fit in whole."""
    types, rules = column_rules(path, numbers, words)
    try:
        with pd.read_csv(path, dtype=types, chunksize=rows, **rules) as reader:
            yield from reader
    except ValueError as error:
        raise unreadable(path, numbers, rules, error) from None


def column_rules(path, numbers, words):
    """Types and further arguments to read these columns by, once the header has shown that all are there."""
    wanted = [*numbers, *words]
    try:
        header = pd.read_csv(path, nrows=0).columns
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: empty, without even a header", "the run is damaged: repeat it with --force") from None
    missing = [column for column in wanted if column not in header]
    if missing:
        named = ", ".join(f"'{column}'" for column in missing)
        hint = "repeat the run with a splitwave that writes this column, or take the run_report.py that came with the older one"
        raise InputError(f"{path}: missing column {named}", hint)
    # Only an empty cell is empty: a group may be called "NA".
    rules = {"usecols": wanted, "keep_default_na": False, "na_values": [""]}
    return dict.fromkeys(numbers, "float64") | dict.fromkeys(words, "category"), rules


def unreadable(path, numbers, rules, error):
    where = bad_cell(path, numbers, rules) or str(error)
    return InputError(f"{path}: {where}", "the file was changed or cut after the run: repeat it with --force")


def bad_cell(path, numbers, rules):
    """Where the first cell stands that should be a number and is none; slow, and only for the error message."""
    try:
        cells = pd.read_csv(path, dtype=str, **rules)
    except ValueError:
        return None
    for column in numbers:
        wrong = cells[column].notna() & pd.to_numeric(cells[column], errors="coerce").isna()
        if wrong.any():
            row = int(wrong.idxmax())
            return f"line {row + 2}, column '{column}': '{cells[column][row]}' is no number"
    return None


def load_requests(runs, by_group, warmup_s):
    """All requests that arrived after the warm-up, with their curve's `label`; None where no run recorded any."""
    several = len({run.scenario for run in runs}) > 1
    frames = []
    for run in runs:
        path = run.folder / "requests.csv"
        if not path.exists():
            continue
        frame = read_columns(path, REQUEST_NUMBERS, REQUEST_WORDS)
        check_outcomes(path, frame["outcome"])
        frame["label"] = request_labels(run.scenario, frame["group"], by_group, several)
        frames.append(frame[frame["arrival_s"] >= run.warmup_s(warmup_s)])
    return pooled(frames, ["label", "outcome"])


def check_outcomes(path, outcome):
    found = {*outcome.cat.categories, *([""] if outcome.hasnans else [])}
    unknown = sorted(found - set(OUTCOMES))
    if unknown:
        hint = f"known are {', '.join(OUTCOMES)}: take the run_report.py that came with this splitwave"
        raise InputError(f"{path}: column 'outcome' holds '{unknown[0]}'", hint)


def request_labels(scenario, group, by_group, several):
    if not by_group:
        return pd.Categorical.from_codes(np.zeros(len(group), "int8"), [scenario])
    if group.hasnans:
        group = group.cat.add_categories("(no group)").fillna("(no group)")
    return group.cat.rename_categories(lambda name: f"{scenario} / {name}") if several else group


def pooled(frames, categories):
    """One frame out of those of several runs; plain concatenation would turn categories into text."""
    if len(frames) <= 1:
        return frames[0] if frames else None
    merged = {name: union_categoricals([frame[name] for frame in frames], sort_categories=True) for name in categories}
    plain = [frame.drop(columns=[*categories, "group"], errors="ignore") for frame in frames]
    return pd.concat(plain, ignore_index=True).assign(**merged)


def by_label(frame):
    """(label, its rows), in an order that puts ue9 before ue10."""
    groups = frame.groupby("label", observed=True, sort=False)
    return sorted(groups, key=lambda item: natural_key(item[0]))


def natural_key(text):
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(text))]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def corpus_ppl(rows):
    """exp(sum of nll_sum / sum of tokens_scored) over the requests that were scored; NaN without any."""
    scored = rows[rows["nll_sum"].notna() & (rows["tokens_scored"] > 0)]
    tokens = scored["tokens_scored"].sum()
    return math.exp(scored["nll_sum"].sum() / tokens) if tokens > 0 else math.nan


def clean_ppl(rows):
    """The corpus PPL of the same windows without a channel, from each one's ppl_clean."""
    logs = np.log(rows["ppl_clean"])
    tokens = rows["tokens_scored"].where(logs.notna())
    return math.exp((logs * tokens).sum() / tokens.sum()) if tokens.sum() > 0 else math.nan


def summary_row(label, rows):
    """Counts by outcome; e2e statistics of the completed requests; corpus PPL of all that were scored."""
    counts = rows["outcome"].value_counts()
    e2e = rows.loc[rows["outcome"] == "completed", "e2e_s"]
    quantiles = {f"{name}_s": np.quantile(e2e, q, method="inverted_cdf") if len(e2e) else np.nan for name, q in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))}
    outcomes = {name: int(counts.get(name, 0)) for name in OUTCOMES}
    return {"label": label} | outcomes | {"mean_s": e2e.mean()} | quantiles | {"corpus_ppl": corpus_ppl(rows)}


def breakdown(label, rows):
    """Mean of each phase over the completed requests, their number and their mean e2e; None without any."""
    done = rows[rows["outcome"] == "completed"]
    if done.empty:
        return None
    return {"label": label, "n": len(done), "e2e_s": done["e2e_s"].mean()} | done[PHASE_COLUMNS].mean().to_dict()


def latency_curve(rows):
    """Sorted e2e of the completed requests, and n: the completed, outage and timeout ones together."""
    finished = np.sort(rows.loc[rows["outcome"] == "completed", "e2e_s"].dropna().to_numpy())
    return finished, int(rows["outcome"].isin(ENDED).sum())


def curve_quantile(finished, n, q):
    """Where finished/n first reaches q; None where the curve tops out below q."""
    rank = math.ceil(q * n - 1e-9)
    return finished[rank - 1] if 0 < rank <= len(finished) else None


def loss_bins(loss):
    """Each request's loss bin: distinct values where there are few, else quantile bins; empty cells get their own."""
    values = np.sort(loss.dropna().unique())
    if len(values) <= MAX_LOSS_BINS:
        bins = pd.Categorical(loss, categories=values).rename_categories([f"{value:.12g}" for value in values])
    else:
        quantiles = np.unique(loss.quantile(np.linspace(0, 1, MAX_LOSS_BINS + 1)))
        bins = pd.cut(loss, quantiles, include_lowest=True).cat.rename_categories(range_names(quantiles))
    bins = pd.Series(bins, index=loss.index)
    return bins.cat.add_categories("not given").fillna("not given") if bins.hasnans else bins


def range_names(edges):
    """"low–high" between neighbours, with as few decimals (two at least) as tell the edges apart."""
    for decimals in range(2, 18):
        names = [f"{edge:.{decimals}f}" for edge in edges]
        if len(set(names)) == len(names):
            break
    return [f"{low}–{high}" for low, high in zip(names, names[1:])]


def ppl_points(scored):
    """Corpus PPL by label, loss bin and split, with its 95 % interval by the delta method.

    With x = nll_sum and t = tokens_scored of a request, the rate R = Σx/Σt has the variance
    n/(n-1) · Σ(x - R t)² / (Σt)², requests taken as independent; the interval is exp(R ± 1.96 · its root).
    """
    x, t = scored["nll_sum"], scored["tokens_scored"]
    sums = pd.DataFrame({"n": 1, "x": x, "t": t, "xx": x * x, "xt": x * t, "tt": t * t})
    sums = sums.groupby([scored["label"], scored["bin"], scored["split"]], observed=True).sum()
    rate = sums["x"] / sums["t"]
    squares = (sums["xx"] - 2 * rate * sums["xt"] + rate**2 * sums["tt"]).clip(lower=0)
    correction = sums["n"] / (sums["n"] - 1).where(sums["n"] > 1)
    reach = Z_95 * np.sqrt(correction * squares) / sums["t"]
    points = {"n": sums["n"], "ppl": np.exp(rate), "low": np.exp(rate - reach), "high": np.exp(rate + reach)}
    return pd.DataFrame(points).reset_index()


def series_points(run_series, width_s, warmup_s):
    """Means of a run's samples in bins of `width_s`, and the completions per second between the bins' last samples."""
    bins = np.ceil(run_series["time_s"] / width_s - 1e-6).astype("int64").rename("bin")
    grouped = run_series.groupby(bins)
    points, last = grouped.mean(), grouped[["time_s", "requests_completed"]].last()
    start = pd.DataFrame({"time_s": [0.0], "requests_completed": [0.0]})
    step = pd.concat([start, last]).diff().iloc[1:]
    points["completion_rate"] = step["requests_completed"] / step["time_s"].where(step["time_s"] > 0)
    return points[points["time_s"] >= warmup_s]


def bin_width_s(all_series):
    """The coarsest sampling interval, times what keeps the longest run at MAX_SERIES_POINTS."""
    interval = max((series["time_s"].diff().median() for series in all_series if len(series) > 1), default=0.0) or 1.0
    longest = max((series["time_s"].max() for series in all_series), default=0.0)
    return interval * max(1, math.ceil(longest / interval / MAX_SERIES_POINTS - 1e-9))


class Series(NamedTuple):
    """The samples of all runs as means over bins of `width_s`, with their scenario as `label`."""

    points: pd.DataFrame
    width_s: float


def load_series(runs, warmup_s):
    """The binned samples after the warm-up; None where no run recorded any."""
    files = [(run, run.folder / "series.csv") for run in runs]
    found = [(run, read_columns(path, SERIES_NUMBERS)) for run, path in files if path.exists()]
    if not found:
        return None
    width_s = bin_width_s([series for _, series in found if not series.empty])
    frames = [series_points(series, width_s, run.warmup_s(warmup_s)).assign(label=run.scenario) for run, series in found]
    return Series(pd.concat([frame.reset_index() for frame in frames]), width_s)
