"""Points of collaborative generation, from run folders and from the runs.csv of studies.

    run folders: manifest.json ──> Point      requests.csv ──> texts, costs
    runs.csv:    axes ───────────> Point      figures ───────> texts, costs

A point is one setting. Its `texts` are sums over what is drawn again for an interval: the requests with one prompt
(requests.csv, column `window`; without a corpus each request), or a replication (runs.csv). Its `costs` have a row per
run. Files and CSV cells are read as run_data does it. Nothing here draws.
"""

import difflib
import json
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from learning_data import settings
from run_data import InputError, check_outcomes, find_runs, read_columns
from study_report import AS_IN_BASE, load_study

MODE, SCORER, THRESHOLD = "service.mode", "collaboration.scorer", "collaboration.threshold"
MODES = ("split", "device-only", "edge-only", "hybrid-reward", "hybrid-uncertainty", "early-exit", "query-router")
SCORERS = ("reward", "max-softmax", "margin", "entropy", "token-probability", "perturbation", "random")
HYBRIDS = ("hybrid-reward", "hybrid-uncertainty", AS_IN_BASE)

COUNTS = ["output_tokens", "ue_tokens", "edge_tokens", "fallback_tokens", "llm_agreements", "edge_asks", "tokens_scored", "uplink_bits", "downlink_bits"]
TIMES = ["ttft_s", "tpot_s", "e2e_s"]
ENERGIES = ["ue_energy_j", "tx_energy_j"]
REQUEST_NUMBERS = ["request_id", "window", "arrival_s", *TIMES, *ENERGIES, *COUNTS, "nll_sum"]
REQUEST_WORDS = ["outcome"]
STUDY_QUALITY = ["edge_token_share", "fallback_token_share", "llm_logprob_mean", "llm_agreement", "corpus_ppl"]
STUDY_COSTS = ["e2e_mean_s", "ttft_mean_s", "tpot_mean_s", *ENERGIES, "idle_energy_j", "sleep_energy_j", "energy_per_token_j", "uplink_bits_per_token", "edge_asks_per_token"]

# What is summed over a unit: tokens from the edge, fallbacks, and all; log-likelihood and its tokens; agreements and theirs.
SUMS = ["edge", "fallback", "tokens", "logprob", "scored", "agree", "judged"]
COSTS = ["e2e_s", "ttft_s", "tpot_s", "energy_j", "uplink_bits", "downlink_bits", "edge_asks"]


# ---- Points --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One setting: its dotted keys with their values as text."""

    settings: dict

    @property
    def mode(self):
        return self.settings.get(MODE) or AS_IN_BASE

    @property
    def hybrid(self):
        return self.mode in HYBRIDS

    @property
    def scorer(self):
        """What decides on a token; "" where nothing of that kind does."""
        told = self.settings.get(SCORER, "null")
        if not self.hybrid:
            return ""
        if told in ("null", "", AS_IN_BASE):
            return "reward" if self.mode == "hybrid-reward" else ""
        return told

    @property
    def threshold(self):
        try:
            return float(self.settings.get(THRESHOLD, "nan"))
        except ValueError:
            return math.nan

    @property
    def series(self):
        """What a colour stands for: the mode, with the scorer where the mode does not tell it."""
        if self.mode == AS_IN_BASE and self.scorer:
            return self.scorer
        return self.mode if self.scorer in ("", "reward") else f"{self.mode}, {self.scorer}"


class Data(NamedTuple):
    """All points; their texts (a row per unit) and costs (a row per run); the run folders with the number of their point."""

    points: list[Point]
    texts: pd.DataFrame
    costs: pd.DataFrame
    runs: list


def load(paths, constants, held, warmup_s, notes):
    """The points of all run folders and studies; `constants` are keys of the base that are no axis of a runs.csv, `held` as with --where."""
    found = Loader()
    for path in paths:
        runs, study = sources(path, notes)
        add_runs(found, runs, held, warmup_s, notes)
        if study:
            add_study(found, study, constants, held, notes)
    if not found.points and held:
        words = ", ".join(f"{key}={value}" for key, value in held)
        raise InputError(f"--where {words}: no run has it", told_values(found.known, held))
    if not found.points:
        raise InputError(f"{paths[0]}: no run has a request after the warm-up", "run longer, or give a smaller --warmup-s")
    note_unknown(found.points, notes)
    return Data(found.points, pd.concat(found.texts, ignore_index=True), pd.concat(found.costs, ignore_index=True), found.runs)


class Loader:
    """What was found so far: points by what tells them apart, and the values that each key has."""

    def __init__(self):
        self.points, self.texts, self.costs, self.runs = [], [], [], []
        self.numbers, self.known, self.done = {}, {}, set()

    def number(self, table, base=""):
        """The number of the point with these settings; those that only axes tell are of one base."""
        number = self.numbers.setdefault(json.dumps([base, table], sort_keys=True), len(self.points))
        if number == len(self.points):
            self.points.append(Point(table))
        return number

    def wanted(self, table, held):
        for key, value in table.items():
            self.known.setdefault(key, {})[value] = None
        asked = {}
        for key, value in held:
            asked.setdefault(key, []).append(value)
        return all(any(same(table.get(key), value) for value in values) for key, values in asked.items())


def same(one, other):
    """Whether two values are equal as text or as numbers."""
    try:
        return one == other or float(one) == float(other)
    except (TypeError, ValueError):
        return False


def told_values(known, held):
    for key, _ in held:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            return f"there is no key '{key}'" + (f": did you mean '{near[0]}'?" if near else f"; there are: {', '.join(known)}")
    return "; ".join(f"{key}: {', '.join(known[key])}" for key in dict.fromkeys(key for key, _ in held))


def sources(path, notes):
    """(run folders, runs.csv or None) of one path: a study whose run folders were kept is read from these."""
    if path.is_file():
        return [], path
    study = path / "runs.csv"
    said = []
    try:
        runs = find_runs(path, said)
    except InputError as error:
        if "no finished run" not in str(error):
            raise
        if study.exists():
            return [], study
        hint = "name a run folder, a folder above several, or a study's folder after splitwave study collect STUDY.toml"
        raise InputError(f"{path}: neither a finished run (manifest.json) nor a study's runs.csv", hint) from None
    notes.extend(said)
    recorded = [run for run in runs if (run.folder / "requests.csv").exists()]
    if not recorded and study.exists():
        return [], study
    if not recorded:
        raise InputError(f"{path}: no run holds requests.csv", "record it: requests = true under [output] in the scenario")
    notes.extend(f"ignored {run.scenario}/{run.folder.name}: it holds no requests.csv" for run in runs if run not in recorded)
    if study.exists():
        notes.append(f"{path}: read from its {len(recorded)} run folders, not from runs.csv")
    return recorded, None


# ---- Run folders ---------------------------------------------------------------------------------------------------


def add_runs(found, runs, held, warmup_s, notes):
    for run in runs:
        table = settings(run.scenario_table())
        if not found.wanted(table, held):
            continue
        requests = read_requests(run.folder / "requests.csv")
        requests = requests[requests["arrival_s"] >= run.warmup_s(warmup_s)]
        # Runs of one seed have the same requests at every point.
        seed = run_seed(run)
        if requests.empty:
            notes.append(f"ignored {run.scenario}/{run.folder.name}: no request arrived after the warm-up")
            continue
        number = found.number(table)
        if (number, seed) in found.done:
            notes.append(f"ignored {run.scenario}/{run.folder.name}: a run of the same settings and seed is already counted")
            continue
        found.done.add((number, seed))
        found.runs.append((number, run))
        found.texts.append(request_texts(requests, seed).assign(point=number))
        found.costs.append(pd.DataFrame([request_costs(requests) | {"point": number}]))
        note = f"warm-up left out: requests that arrived before {run.warmup_s(warmup_s):g} s"
        if run.warmup_s(warmup_s) > 0 and note not in notes:
            notes.append(note)


def run_seed(run):
    return f"{run.manifest.get('seed')}/{run.manifest.get('replication', 0)}"


def read_requests(path):
    """The rows of one requests.csv; counts, bits and energies that cannot be are errors."""
    requests = read_new(path, REQUEST_NUMBERS, REQUEST_WORDS)
    check_outcomes(path, requests["outcome"])
    for column in [*COUNTS, *ENERGIES, *TIMES]:
        refuse(path, requests, column, (requests[column] < 0) | np.isinf(requests[column]), "is no finite number from 0 on")
    refuse(path, requests, "nll_sum", np.isinf(requests["nll_sum"]), "is not finite")
    tokens = requests[["ue_tokens", "edge_tokens", "fallback_tokens"]].sum(axis=1, min_count=1)
    refuse(path, requests, "llm_agreements", requests["llm_agreements"] > tokens, "is more than the request's tokens")
    return requests


def read_new(path, numbers, words):
    """Columns that older versions don't write."""
    try:
        return read_columns(path, numbers, words)
    except InputError as error:
        hint = error.hint if "missing column" not in str(error) else "run it again with a version that has collaborative generation: splitwave run SCENARIO.toml --force"
        raise InputError(str(error), hint) from None


def refuse(path, rows, column, wrong, what):
    if wrong.any():
        at = wrong.idxmax()
        value = "" if math.isnan(rows.loc[at, column]) else f"{rows.loc[at, column]:g} "
        raise InputError(f"{path}: line {at + 2}, column '{column}': {value}{what}", "the file was changed after the run: repeat it with --force")


def request_texts(requests, seed):
    """Sums over the requests of each prompt, of generated text if there is any, else of the corpus.

    Requests with one prompt are no independent draws of the quality: they are one unit, over all seeds. Without a corpus
    each request is one, the same at every point of its seed.
    """
    tokens = requests[["ue_tokens", "edge_tokens", "fallback_tokens"]].sum(axis=1, min_count=1)
    generated = tokens.notna()
    if generated.any():
        requests, tokens = requests[generated], tokens[generated]
    judged = requests["llm_agreements"].notna()
    scored = requests["nll_sum"].notna() & (requests["tokens_scored"] > 0)
    shared = tokens.notna() & requests["edge_tokens"].notna()
    alone = f"request {seed}/" + requests["request_id"].map("{:.0f}".format)
    rows = {
        "unit": ("window " + requests["window"].map("{:.0f}".format)).where(requests["window"].notna(), alone),
        "stratum": pd.Series("", requests.index).where(requests["window"].notna(), seed),
        "edge": requests["edge_tokens"].where(shared, 0),
        "fallback": requests["fallback_tokens"].where(shared, 0).fillna(0),
        "tokens": tokens.where(shared, 0),
        "logprob": -requests["nll_sum"].where(scored, 0),
        "scored": requests["tokens_scored"].where(scored, 0),
        "agree": requests["llm_agreements"].where(judged, 0),
        "judged": tokens.where(judged, 0).fillna(0),
    }
    sums = pd.DataFrame(rows).groupby(["unit", "stratum"], sort=False)[SUMS].sum().reset_index()
    return sums.assign(seed=seed, generated=bool(generated.any()), replications=False)


def request_costs(requests):
    """Mean times of the completed requests; energy, bits and questions of all requests per token that was asked for and came."""
    done = requests[requests["outcome"] == "completed"]
    tokens = done["output_tokens"].sum()
    spent = requests[["uplink_bits", "downlink_bits", "edge_asks"]].sum(min_count=1).to_dict()
    spent["energy_j"] = requests[ENERGIES].sum(min_count=1).sum(min_count=1)
    means = {name: done[name].mean() for name in TIMES}
    return means | {name: value / tokens if tokens > 0 else math.nan for name, value in spent.items()}


# ---- Studies -------------------------------------------------------------------------------------------------------


def add_study(found, path, constants, held, notes):
    """The finished runs of a runs.csv: each a replication of its point, which its axes tell."""
    said = []
    wanted = [*STUDY_QUALITY, *STUDY_COSTS]
    try:
        study = load_study(path, wanted, said)
    except InputError as error:
        if "there is no figure" not in str(error):
            raise
        missing = str(error).partition("figure ")[2]
        hint = "run the study with a version that has collaborative generation, and collect it again"
        raise InputError(f"{path}: missing column {missing}", hint) from None
    for column in ("edge_token_share", "fallback_token_share", "llm_agreement"):
        refuse(path, study.runs, column, (study.runs[column] < 0) | (study.runs[column] > 1), "is no share from 0 to 1")
    notes.extend(note for note in said if "did not finish" in note)
    if MODE not in study.axes and MODE not in constants:
        notes.append(f"{path} has no axis {MODE}: say what its base has with --set {MODE}=MODE")
    texts, costs = [], []
    for row in study.runs.to_dict("records"):
        table = constants | {axis: axis_text(row[axis]) for axis in study.axes}
        if not found.wanted(table, held):
            continue
        number = found.number(table, str(path))
        # A replication has common random numbers at all points; where a study has seeds for each, taking it so does no harm.
        seed = f"{path}/{row['replication']:.0f}"
        about = {"point": number, "seed": seed, "stratum": seed, "unit": f"replication {seed}", "replications": True}
        texts.append(replication_text(row) | about)
        costs.append(replication_cost(row) | {"point": number})
    if texts:
        found.texts.append(pd.DataFrame(texts))
        found.costs.append(pd.DataFrame(costs))


def axis_text(value):
    return value if isinstance(value, str) else f"{value:.12g}"


def replication_text(row):
    """A replication's shares and means as sums of weight 1."""
    generated = any(math.isfinite(row[name]) for name in STUDY_QUALITY[:4])
    logprob = row["llm_logprob_mean"] if generated else -math.log(row["corpus_ppl"]) if row["corpus_ppl"] > 0 else math.nan
    values = {"edge": row["edge_token_share"], "logprob": logprob, "agree": row["llm_agreement"]}
    sums = {name: value if math.isfinite(value) else 0.0 for name, value in values.items()}
    weights = {weight: float(math.isfinite(values[name])) for name, weight in (("edge", "tokens"), ("logprob", "scored"), ("agree", "judged"))}
    fallback = row["fallback_token_share"] if weights["tokens"] and math.isfinite(row["fallback_token_share"]) else 0.0
    return sums | weights | {"fallback": fallback, "generated": generated}


def replication_cost(row):
    """As request_costs; energy_per_token_j has four kinds of energy, of which the share of computing and sending is taken."""
    kinds = [row[name] if math.isfinite(row[name]) else 0.0 for name in (*ENERGIES, "idle_energy_j", "sleep_energy_j")]
    energy = row["energy_per_token_j"] * sum(kinds[:2]) / sum(kinds) if sum(kinds) > 0 else math.nan
    costs = {"e2e_s": row["e2e_mean_s"], "ttft_s": row["ttft_mean_s"], "tpot_s": row["tpot_mean_s"], "energy_j": energy}
    return costs | {"uplink_bits": row["uplink_bits_per_token"], "downlink_bits": math.nan, "edge_asks": row["edge_asks_per_token"]}


def note_unknown(points, notes):
    for what, known, found in (("mode", (*MODES, AS_IN_BASE), [point.mode for point in points]), ("scorer", (*SCORERS, ""), [point.scorer for point in points])):
        for name in dict.fromkeys(found):
            if name not in known:
                notes.append(f"{what} '{name}' is none of {', '.join(name for name in known if name)}; it is shown all the same")
