"""What the pictures of single tokens show, from the tokens.csv of runs of collaborative generation.

    tokens.csv ──> load_tokens ──> deciles: how the score tells the LLM's likelihood
                              ├──> waits: what a token of each source waits
                              └──> fallbacks: where the edge's answer was lost or late

A series is a mode, with its scorer; its points (thresholds) are pooled. Nothing here draws.
"""

import math

import numpy as np
import pandas as pd
from hybrid_data import read_new, refuse, run_seed
from network_data import quantile
from run_data import Z_95, InputError, read_columns

NUMBERS = ["request_id", "position", "score", "wait_s", "edge_s", "logprob_llm", "token", "llm_token"]
WORDS = ["source"]
SOURCES = ("ue", "edge", "fallback")
DECILES = 10
POSITION_BINS = 16


def load_tokens(data, warmup_s, notes):
    """The rows of every tokens.csv with their point's series; None without any."""
    frames, without = [], 0
    for number, run in data.runs:
        path = run.folder / "tokens.csv"
        if not path.exists():
            without += 1
            continue
        rows = read_new(path, NUMBERS, WORDS)
        unknown = sorted({*rows["source"].cat.categories, *([""] if rows["source"].hasnans else [])} - set(SOURCES))
        if unknown:
            at = (rows["source"].astype(object).fillna("") == unknown[0]).idxmax()
            raise InputError(f"{path}: line {at + 2}, column 'source': '{unknown[0]}'", f"known are {', '.join(SOURCES)}: take the hybrid_report.py that came with this splitwave")
        refuse(path, rows, "position", rows["position"].isna(), "is empty")
        for column in ("position", "wait_s", "edge_s"):
            refuse(path, rows, column, (rows[column] < 0) | np.isinf(rows[column]), "is no finite number from 0 on")
        refuse(path, rows, "logprob_llm", (rows["logprob_llm"] > 1e-6) | np.isinf(rows["logprob_llm"]), "is no finite logarithm of a probability")
        if run.warmup_s(warmup_s) > 0:
            arrivals = read_columns(run.folder / "requests.csv", ["request_id", "arrival_s"])
            late = arrivals.loc[arrivals["arrival_s"] >= run.warmup_s(warmup_s), "request_id"]
            rows = rows[rows["request_id"].isin(late)]
        # A request is the same at every point of its seed.
        request = f"{run_seed(run)}/" + rows["request_id"].map("{:.0f}".format).astype(str)
        frames.append(rows.astype({"source": str}).assign(series=data.points[number].series, request=request))
    if not frames:
        return None
    if without:
        notes.append(f"{without} of {len(data.runs)} runs hold no tokens.csv")
    tokens = pd.concat(frames, ignore_index=True)
    known = tokens["token"].notna() & tokens["llm_token"].notna()
    return tokens.assign(agrees=(tokens["token"] == tokens["llm_token"]).where(known).astype(float))


def clustered_mean(values, clusters):
    """Mean of values, with its 95 % interval by the delta method for a ratio over independent clusters (NaN for one)."""
    rows = pd.DataFrame({"x": values, "cluster": clusters}).dropna()
    if rows.empty:
        return math.nan, math.nan, math.nan
    sums = rows.groupby("cluster")["x"].agg(["sum", "count"])
    n, mean = len(sums), rows["x"].mean()
    squares = ((sums["sum"] - mean * sums["count"]) ** 2).sum()
    reach = Z_95 * math.sqrt(n / (n - 1) * squares) / sums["count"].sum() if n > 1 else math.nan
    return mean, mean - reach, mean + reach


def deciles(tokens):
    """Per series: mean LLM log-likelihood and agreement by decile of the score, over tokens of the UE that have one.

    Only these are the token that was scored; where the edge answered, the token is the edge's. Equal scores stay together,
    so there may be fewer bins than ten.
    """
    own = tokens[tokens["source"].isin(["ue", "fallback"]) & tokens["score"].notna() & tokens["logprob_llm"].notna()]
    rows = []
    for series, scored in own.groupby("series", sort=False):
        rising = np.sort(scored["score"])
        tops = np.unique([rising[-(-k * len(rising) // DECILES) - 1] for k in range(1, DECILES + 1)])
        for number, members in scored.groupby(np.searchsorted(tops, scored["score"], side="left")):
            row = {"series": series, "bin": number, "tokens": len(members), "score_low": members["score"].min(), "score_high": members["score"].max()}
            row["score"] = members["score"].mean()
            for name, column in (("logprob", "logprob_llm"), ("agreement", "agrees")):
                row[name], row[f"{name}_low"], row[f"{name}_high"] = clustered_mean(members[column], members["request"])
            rows.append(row)
    return pd.DataFrame(rows)


def waits(tokens):
    """Per series and source: tokens, and mean and quantiles (as in summary.csv, without interpolation) of the wait for a token."""
    rows = []
    for (series, source), members in tokens.groupby(["series", "source"], sort=False):
        found = members["wait_s"].dropna()
        row = {"series": series, "source": source, "tokens": len(members), "edge_mean_s": members["edge_s"].mean(), "wait_mean_s": found.mean()}
        rows.append(row | {"wait_median_s": quantile(found, 0.5), "wait_p95_s": quantile(found, 0.95)})
    order = list(dict.fromkeys(tokens["series"]))
    return pd.DataFrame(sorted(rows, key=lambda row: (order.index(row["series"]), SOURCES.index(row["source"]))))


def fallbacks(tokens):
    """Per series and bin of positions: tokens for which the edge was asked, and the share of these that fell back on the UE's."""
    asked = tokens[tokens["source"] != "ue"]
    width = math.ceil((tokens["position"].max() + 1) / POSITION_BINS) if len(tokens) else 1
    rows = []
    for series, members in asked.groupby("series", sort=False):
        for place, group in members.groupby((members["position"] // width).astype(int)):
            share, low, high = clustered_mean((group["source"] == "fallback").astype(float), group["request"])
            rows.append({"series": series, "position_low": place * width, "position_high": (place + 1) * width - 1, "asked": len(group), "fallback_share": share, "low": low, "high": high})
    return pd.DataFrame(rows)
