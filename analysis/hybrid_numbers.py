"""What the pictures of collaborative generation show: shares and quality, equal quality, costs and fronts.

    texts ──> texts_of ──> estimates: share of edge tokens, quality, agreement, with intervals
                      └──> ratios: the share that a scorer needs for the quality of random choice
    costs ──> cost_means ──> front

Nothing here draws.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hybrid_data import COSTS, SUMS
from learning_data import interval

# The ratios of sums that are shown.
RATIOS = {"edge_share": ("edge", "tokens"), "fallback_share": ("fallback", "tokens"), "logprob": ("logprob", "scored"), "agreement": ("agree", "judged")}

RANDOM_SHARES = (0.2, 0.4, 0.6)
SEED = 1  # of the resampling: equal input gives equal intervals
CHUNK_CELLS = 4_000_000  # counts of resamples held at a time
MIN_READABLE = 0.95  # share of resamples that must give a number for an interval


# ---- Shares and quality --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Sums over units by point: `sums[name][unit, point]`; `strata` are the units that are drawn again among each other."""

    sums: dict
    strata: list
    units: np.ndarray

    def totals(self):
        return {name: matrix.sum(axis=0) for name, matrix in self.sums.items()}


def texts_of(texts, points):
    """The sums of these points, whose units are the same draws of luck at each of them.

    Units are drawn again within a stratum: all prompts are one; requests without one, and replications, are as many as
    there are sets of points that seeds have in common. So points of common seeds are compared on equal draws, and points of
    seeds of their own are drawn independently.
    """
    rows = texts[texts["point"].isin(points)]
    columns = {number: place for place, number in enumerate(points)}
    reach = {seed: tuple(sorted(set(found))) for seed, found in rows.groupby("seed")["point"]}
    names = pd.factorize(rows["unit"])[0]
    place = rows["point"].map(columns).to_numpy()
    strata = {}
    for unit, stratum in dict(zip(names, rows["stratum"])).items():
        strata.setdefault(reach[stratum] if stratum else (), []).append(unit)
    sums = {}
    for name in SUMS:
        sums[name] = np.zeros((names.max() + 1, len(points)))
        np.add.at(sums[name], (names, place), rows[name].to_numpy(float))
    seen = np.zeros((names.max() + 1, len(points)), bool)
    seen[names, place] = True
    return Texts(sums, [np.array(units) for units in strata.values()], seen.sum(axis=0))


def ratios_of(totals):
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.where(totals[below] > 0, totals[above] / totals[below], np.nan) for name, (above, below) in RATIOS.items()}


def resampled(texts, resamples):
    """The ratios of each resample: {name: [resample, point]}."""
    rng = np.random.default_rng(SEED)
    units = len(texts.sums["edge"])
    chunk = max(1, CHUNK_CELLS // max(units, 1))
    parts = []
    for start in range(0, resamples, chunk):
        counts = np.zeros((min(chunk, resamples - start), units))
        for row in counts:
            for members in texts.strata:
                row[members] = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
        parts.append(ratios_of({name: counts @ matrix for name, matrix in texts.sums.items()}))
    return {name: np.concatenate([part[name] for part in parts]) for name in RATIOS}


def percentiles(draws):
    """2.5 and 97.5 % points of draws by column; NaN where too many are none, or there is nothing that varies."""
    low, high = np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    for place, column in enumerate(draws.T):
        numbers = np.sort(column[~np.isnan(column)])
        if len(numbers) and len(numbers) >= MIN_READABLE * len(column):
            low[place], high[place] = np.quantile(numbers, [0.025, 0.975], method="inverted_cdf")
    return low, high


def estimates(data, numbers, resamples):
    """Per point the ratios with 95 % intervals, and the number of units.

    From requests: of the sums, by a bootstrap of the units. From replications: their mean, by Student's t.
    """
    texts = texts_of(data.texts, numbers)
    values, draws = ratios_of(texts.totals()), resampled(texts, resamples)
    table = pd.DataFrame({"point": numbers, "units": texts.units})
    rows = data.texts.groupby("point")
    table["replications"] = [bool(rows.get_group(number)["replications"].all()) for number in numbers]
    table["generated"] = [bool(rows.get_group(number)["generated"].any()) for number in numbers]
    for name, (above, below) in RATIOS.items():
        low, high = percentiles(draws[name])
        several = texts.units > 1
        table[name], table[f"{name}_low"], table[f"{name}_high"] = values[name], np.where(several, low, np.nan), np.where(several, high, np.nan)
        for place in np.flatnonzero(table["replications"]):
            own = rows.get_group(numbers[place])
            mean, reach = interval(own.loc[own[below] > 0, above])
            table.loc[place, [f"{name}_low", f"{name}_high"]] = [mean - reach, mean + reach]
    return table


def varying(points, but):
    """Keys in which the points differ, apart from those in `but`; a key that a point doesn't tell is no difference."""
    keys = dict.fromkeys(key for point in points for key in point.settings if key not in but)
    return [key for key in keys if len({point.settings[key] for point in points if key in point.settings}) > 1]


# ---- Equal quality -------------------------------------------------------------------------------------------------


def by_share(shares, quality):
    """Both sorted along the last axis by rising share; what has no share comes last."""
    order = np.argsort(np.where(np.isnan(shares) | np.isnan(quality), np.inf, shares), axis=-1, kind="stable")
    return np.take_along_axis(shares, order, -1), np.take_along_axis(quality, order, -1)


def quality_at(shares, quality, share):
    """The quality of a curve [resample, point] at a share, linear between its points; NaN outside."""
    x, y = by_share(shares, quality)
    there = x >= share
    at = there.argmax(axis=1)
    line = np.arange(len(x))
    before = np.maximum(at - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = y[line, before] + (share - x[line, before]) / (x[line, at] - x[line, before]) * (y[line, at] - y[line, before])
    # A point at the share itself is taken as it is, without the interpolation's rounding.
    found = np.where(x[line, at] == share, y[line, at], np.where(at == 0, np.nan, between))
    return np.where(there.any(axis=1), found, np.nan)


def share_for(shares, quality, wanted):
    """The least share at which a curve [resample, point] reaches the quality wanted [resample], linear between its points.

    0 where its first point has more: the share is somewhere below. Infinite where no point has it; NaN where nothing is wanted.
    """
    x, y = by_share(shares, quality)
    there = y >= wanted[:, None]
    at = there.argmax(axis=1)
    line = np.arange(len(x))
    before = np.maximum(at - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = x[line, before] + (wanted - y[line, before]) / (y[line, at] - y[line, before]) * (x[line, at] - x[line, before])
    first = np.where(y[line, 0] == wanted, x[line, 0], 0.0)
    reached = np.where(there.any(axis=1), np.where(at == 0, first, between), np.inf)
    return np.where(np.isnan(wanted), np.nan, reached)


def ratios(data, curves, resamples):
    """Per scorer, quality and share of random: the share that the scorer needs for random's quality there, over random's.

    `curves` are the numbers of each scorer's points. Intervals are percentiles over resamples common to all curves; they may
    end at 0 (below the first point) or be infinite (not reached).
    """
    numbers = [number for points in curves.values() for number in points]
    texts = texts_of(data.texts, numbers)
    values = {name: column[None, :] for name, column in ratios_of(texts.totals()).items()}
    draws = resampled(texts, resamples)
    places = {scorer: [numbers.index(number) for number in points] for scorer, points in curves.items()}
    rows = []
    for name in ("logprob", "agreement"):
        for share in RANDOM_SHARES:
            random = places["random"]
            wanted, wanted_draws = (quality_at(found["edge_share"][:, random], found[name][:, random], share) for found in (values, draws))
            for scorer, at in places.items():
                needed, needed_draws = (share_for(found["edge_share"][:, at], found[name][:, at], aim) for found, aim in ((values, wanted), (draws, wanted_draws)))
                low, high = percentiles(needed_draws[:, None] / share)
                alone = len(texts.units) and texts.units[at].min() < 2
                row = {"scorer": scorer, "quality": name, "random_share": share, "random_quality": wanted[0], "share": needed[0], "ratio": needed[0] / share}
                row |= {"ratio_low": math.nan if alone else low[0], "ratio_high": math.nan if alone else high[0]}
                rows.append(row | {"first_share": np.nanmin(values["edge_share"][0, at]), "readable": 1 - np.isnan(needed_draws).mean()})
    table = pd.DataFrame(rows)
    table["reading"] = [reading(row) for row in rows]
    return table


def reading(row):
    if math.isnan(row["random_quality"]):
        return "random has no points on both sides"
    if math.isinf(row["share"]):
        return "not reached"
    if row["share"] == 0 and row["first_share"] > 0:
        return "below its first point"
    return "read"


# ---- Costs and fronts ----------------------------------------------------------------------------------------------


def cost_means(data):
    """Per point the mean over its runs of each cost, with its 95 % interval by Student's t (NaN for one run), and their number."""
    rows = []
    for number, runs in data.costs.groupby("point"):
        row = {"point": number, "runs": len(runs)}
        for name in COSTS:
            mean, reach = interval(runs[name])
            row |= {name: mean, f"{name}_low": mean - reach, f"{name}_high": mean + reach}
        rows.append(row)
    return pd.DataFrame(rows)


def front(table, lower, higher):
    """True for rows that no other dominates: at least as good in all of these columns and better in one. NaN is never on it."""
    better = np.column_stack([*(-table[name].to_numpy(float) for name in lower), *(table[name].to_numpy(float) for name in higher)])
    known = ~np.isnan(better).any(axis=1)
    found = np.zeros(len(better), bool)
    for place in np.flatnonzero(known):
        others = better[known]
        found[place] = not ((others >= better[place]).all(axis=1) & (others > better[place]).any(axis=1)).any()
    return found
