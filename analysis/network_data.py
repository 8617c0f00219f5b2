"""What the pictures of a cellular network show, from the files of finished splitwave runs.

    manifest.json ──> stations (resolved scenario, [cell])
    requests.csv ───> load_requests ──> places, cdf_points, binned, energy_rows
    summary.csv ────> load_summaries ─────────────────────────────┘

Files and CSV cells are read as run_data does it. Nothing here draws.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from run_data import InputError, by_label, check_outcomes, pooled, read_chunks, read_columns, request_labels

REQUEST_NUMBERS = "ue_id cell_id arrival_s uplink_bits uplink_wait_s uplink_air_s e2e_s ue_energy_j tx_energy_j sinr_db x_m y_m distance_m handovers".split()
REQUEST_WORDS = ["group", "outcome"]
# Energy over the time of a run, which requests.csv cannot tell; the first two by group, the last only of all.
STANDING_ENERGY = ["idle_energy_j", "sleep_energy_j", "edge_energy_j"]
ENERGY = ["ue_energy_j", "tx_energy_j", *STANDING_ENERGY]
SUMMARY_WORDS = ["scope", "name"]

CHUNK_ROWS = 200_000
MAX_SITES = 10_000  # as the scenario's range has it
SAME_PLACE_M = 1e-3  # distances that differ by less are of one base station
LAYOUTS = ("single", "hexagonal")
# From one point of a ring of hexagons to the next, in axial coordinates: q to the east, r to the north-east by 60 degrees.
RING_SIDES = ((-1, 1), (-1, 0), (0, -1), (1, -1), (1, 0), (0, 1))


# ---- Base stations -------------------------------------------------------------------------------------------------


class Station(NamedTuple):
    """A base station; its place in the list is its cell_id."""

    name: str
    x_m: float
    y_m: float


def is_cellular(run):
    channel = run.scenario_table().get("channel")
    tables = channel if isinstance(channel, list) else [channel]
    return any(isinstance(table, dict) and table.get("kind") == "cellular" for table in tables)


def cellular_runs(runs, root, notes):
    """The runs that have cells; the others are left out, and said so."""
    found = [run for run in runs if is_cellular(run)]
    if not found:
        hint = 'take a run whose scenario has kind = "cellular" under [channel]; run_report.py draws any run'
        raise InputError(f"{root}: no run of a cellular channel", hint)
    notes.extend(f"ignored {run.scenario}/{run.folder.name}: its channel is not cellular" for run in runs if run not in found)
    return found


def recorded_runs(runs, root, notes):
    """The runs with a requests.csv; the others are left out, and said so."""
    found = [run for run in runs if (run.folder / "requests.csv").exists()]
    if not found:
        raise InputError(f"{root}: no cellular run holds requests.csv", "record it: requests = true under [output] in the scenario")
    notes.extend(f"ignored {run.scenario}/{run.folder.name}: it holds no requests.csv" for run in runs if run not in found)
    return found


def stations(run):
    """The base stations of a run, by cell_id, from the resolved scenario in its manifest."""
    table = run.scenario_table().get("cell")
    tables = table if isinstance(table, list) else [table]
    if not tables or not all(isinstance(one, dict) for one in tables):
        raise damaged(run, "no table [cell]")
    unknown = sorted({str(one.get("layout", "single")) for one in tables} - set(LAYOUTS))
    if unknown:
        hint = f"known are {', '.join(LAYOUTS)}: take the network_report.py that came with this splitwave"
        raise InputError(f"{run.folder / 'manifest.json'}: cell.layout is '{unknown[0]}'", hint)
    if len(tables) == 1 and tables[0].get("layout") == "hexagonal":
        sites, distance_m, x_m, y_m = (finite(run, tables[0], key) for key in ("sites", "inter_site_distance_m", "x_m", "y_m"))
        if not (1 <= sites <= MAX_SITES and sites == int(sites)):
            raise damaged(run, f"cell.sites is {sites:g}, no whole number from 1 to {MAX_SITES}")
        return [Station(str(index), *place) for index, place in enumerate(hexagonal(int(sites), distance_m, x_m, y_m))]
    places = [(finite(run, one, "x_m"), finite(run, one, "y_m")) for one in tables]
    return [Station(str(one.get("name") or index), *place) for index, (one, place) in enumerate(zip(tables, places))]


def finite(run, table, key):
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise damaged(run, f"cell.{key} is {value!r}, no number")
    return float(value)


def damaged(run, what):
    return InputError(f"{run.folder / 'manifest.json'}: {what}", "the run is damaged: repeat it with --force")


def hexagonal(count, distance_m, x_m, y_m):
    """`count` places of a hexagonal grid, ring by ring, each from its easternmost on counter-clockwise: the order of cell_id."""
    axial, ring = [(0, 0)], 1
    while len(axial) < count:
        q, r = ring, 0
        for dq, dr in RING_SIDES:
            for _ in range(ring):
                axial.append((q, r))
                q, r = q + dq, r + dr
        ring += 1
    return [(x_m + distance_m * (q + 0.5 * r), y_m + distance_m * math.sqrt(0.75) * r) for q, r in axial[:count]]


def stations_by_scenario(runs):
    """The base stations of each scenario: those of its runs, which must agree."""
    found = {}
    for run in runs:
        own = stations(run)
        if found.setdefault(run.scenario, own) != own:
            hint = "name a smaller folder, or give the scenarios names of their own: --set name=NAME"
            raise InputError(f"{run.folder}: scenario {run.scenario} has runs with other base stations", hint)
    return found


def borders(places, box):
    """For each place the polygon of `box` (west, east, south, north) that is nearest to it: half planes cut off one by one."""
    west, east, south, north = box
    places = np.asarray(places, float)
    polygons = []
    for here in places:
        polygon = np.array([(west, south), (east, south), (east, north), (west, north)], float)
        away = np.hypot(*(places - here).T)
        for other in np.argsort(away, kind="stable"):
            # Beyond twice the farthest corner a station cannot cut any more.
            if len(polygon) == 0 or away[other] > 2 * np.hypot(*(polygon - here).T).max():
                break
            if away[other] > 0:
                polygon = cut(polygon, (here + places[other]) / 2, places[other] - here)
        polygons.append(polygon)
    return polygons


def cut(polygon, point, normal):
    """The part of a convex polygon on the side of `point` that `normal` points away from."""
    beyond = (polygon - point) @ normal
    kept = []
    for a, b, at_a, at_b in zip(polygon, np.roll(polygon, -1, 0), beyond, np.roll(beyond, -1)):
        if at_a <= 0:
            kept.append(a)
        if at_a * at_b < 0:
            kept.append(a + (b - a) * at_a / (at_a - at_b))
    return np.array(kept).reshape(-1, 2)


def colour_numbers(places, colours):
    """A number below `colours` for each place, chosen so that places of one number are far apart."""
    places = np.asarray(places, float)
    nearest = np.full((colours, len(places)), np.inf)
    numbers = np.zeros(len(places), int)
    for index, here in enumerate(places):
        numbers[index] = nearest[:, index].argmax()
        away = np.hypot(*(places - here).T)
        nearest[numbers[index]] = np.minimum(nearest[numbers[index]], away)
    return numbers


# ---- Requests ------------------------------------------------------------------------------------------------------


def load_requests(runs, by_group, warmup_s, sites):
    """All requests that arrived after the warm-up, with `label`, `scenario`, number of the `run` and `goodput_bps`.

    The goodput is uplink_bits/(uplink_air_s + uplink_wait_s) of completed requests that sent any.
    """
    several = len({run.scenario for run in runs}) > 1
    frames = []
    for number, run in enumerate(runs):
        path = run.folder / "requests.csv"
        for chunk in read_chunks(path, REQUEST_NUMBERS, REQUEST_WORDS, CHUNK_ROWS):
            check_outcomes(path, chunk["outcome"])
            check_cells(path, chunk["cell_id"][chunk["sinr_db"].notna()], len(sites[run.scenario]))
            label = request_labels(run.scenario, chunk["group"], by_group, several)
            scenario = request_labels(run.scenario, chunk["group"], False, several)
            chunk = chunk.assign(label=label, scenario=scenario, run=np.int32(number), goodput_bps=goodput_bps(chunk))
            chunk = chunk.drop(columns=["group", "uplink_bits", "uplink_wait_s", "uplink_air_s"])
            frames.append(chunk[chunk["arrival_s"] >= run.warmup_s(warmup_s)])
    return pooled(frames, ["label", "scenario", "outcome"])


def check_cells(path, cell_id, count):
    wrong = cell_id[~cell_id.isin(range(count))]
    if len(wrong):
        cell = "empty" if math.isnan(wrong.iloc[0]) else f"{wrong.iloc[0]:g}"
        problem = f"{path}: line {wrong.index[0] + 2}, column 'cell_id': {cell}, where the scenario has cells 0 to {count - 1}"
        raise InputError(problem, "the files are of different runs: repeat the run with --force")


def goodput_bps(requests):
    time_s = requests["uplink_air_s"] + requests["uplink_wait_s"]
    sent = (requests["outcome"] == "completed") & (requests["uplink_bits"] > 0) & (time_s > 0)
    return (requests["uplink_bits"] / time_s.where(sent)).where(sent)


def on_air(requests):
    """The requests that sent something in a cell: those with a place and an SINR."""
    return requests[requests[["sinr_db", "x_m", "y_m"]].notna().all(axis=1)]


def places(requests, sites):
    """One row per place of a UE: x_m, y_m, the mean of sinr_db, and distance_m and cell_id of its last transmission there."""
    grouped = on_air(requests).groupby(["run", "ue_id", "x_m", "y_m"], sort=True)
    found = grouped.agg(sinr_db=("sinr_db", "mean"), distance_m=("distance_m", "last"), cell_id=("cell_id", "last")).reset_index()
    return found.assign(cell_id=transmitting_cells(found, sites))


def transmitting_cells(places, sites):
    """The cell of each place's last transmission, which is as far away as distance_m says.

    The column cell_id has the UE's cell when the request ended: another one where it was handed over after that.
    """
    at = np.array([(site.x_m, site.y_m) for site in sites])
    cells = places["cell_id"].to_numpy().astype(int)
    x_m, y_m, distance_m = (places[column].to_numpy() for column in ("x_m", "y_m", "distance_m"))
    off_m = np.abs(np.hypot(x_m - at[cells, 0], y_m - at[cells, 1]) - distance_m)
    moved = np.flatnonzero(off_m > SAME_PLACE_M)
    x_m, y_m, distance_m, off_m = x_m[moved], y_m[moved], distance_m[moved], off_m[moved]
    for cell, (east, north) in enumerate(at):
        own_m = np.abs(np.hypot(x_m - east, y_m - north) - distance_m)
        nearer = own_m < off_m
        cells[moved[nearer]] = cell
        off_m = np.minimum(off_m, own_m)
    return cells


def served_by_other(places, sites):
    """Share of the places whose last transmission went to another than the nearest base station."""
    x_m, y_m = places["x_m"].to_numpy(), places["y_m"].to_numpy()
    nearest_m = np.full(len(places), np.inf)
    for site in sites:
        nearest_m = np.minimum(nearest_m, np.hypot(x_m - site.x_m, y_m - site.y_m))
    return float((places["distance_m"].to_numpy() > nearest_m + SAME_PLACE_M).mean())


# ---- Numbers -------------------------------------------------------------------------------------------------------


def quantile(values, q):
    """The least value that a share q does not exceed, as in summary.csv: no interpolation. NaN without any."""
    return float(np.quantile(values, q, method="inverted_cdf")) if len(values) else math.nan


def cdf_points(values, most):
    """Sorted values and the share that does not exceed each, thinned to `most` points without moving the ends."""
    values = np.sort(np.asarray(values, float))
    ranks = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).astype(int))
    return values[ranks], (ranks + 1) / len(values)


def bin_width(reach, most):
    """The smallest of 1, 2 and 5 times a power of ten that covers `reach` in at most `most` bins."""
    if not reach > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(reach / most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * most >= reach * (1 - 1e-9))


def binned(x, y, width):
    """By bin of `width` along x: its middle, n, and mean, 10 % point, median and 90 % point of y."""
    frame = pd.DataFrame({"bin": np.floor(np.asarray(x, float) / width), "y": np.asarray(y, float)}).dropna()
    frame = frame.sort_values(["bin", "y"], ignore_index=True)
    grouped = frame.groupby("bin")["y"]
    points = grouped.agg(n="size", mean="mean")
    first = points["n"].cumsum() - points["n"]
    for name, q in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        rank = np.ceil(q * points["n"] - 1e-9).astype("int64").clip(lower=1) - 1
        points[name] = frame["y"].to_numpy()[(first + rank).to_numpy()]
    points.insert(0, "middle", (points.index.to_numpy() + 0.5) * width)
    return points.reset_index(drop=True)


# ---- Energy --------------------------------------------------------------------------------------------------------


def total_label(scenario, by_group, several):
    """The label of all groups of a scenario together."""
    return scenario if not by_group else f"{scenario} / all" if several else "all"


def load_summaries(runs, by_group):
    """STANDING_ENERGY per completed request by `label`, over all its runs, NaN where it applies to none; None where a run has no summary.csv."""
    several = len({run.scenario for run in runs}) > 1
    frames = []
    for run in runs:
        path = run.folder / "summary.csv"
        if not path.exists():
            return None
        frame = read_columns(path, ["completed", *STANDING_ENERGY], SUMMARY_WORDS)
        if by_group:
            groups = frame[frame["scope"] == "group"]
            frames.append(groups.assign(label=[str(name) for name in request_labels(run.scenario, groups["name"], True, several)]))
        frames.append(frame[frame["scope"] == "all"].assign(label=total_label(run.scenario, by_group, several)))
    sums = pd.concat(frames).groupby("label")[["completed", *STANDING_ENERGY]].sum(min_count=1)
    return sums[STANDING_ENERGY].div(sums["completed"].where(sums["completed"] > 0), axis=0)


def energy_rows(requests, summaries, by_group, several):
    """ENERGY per completed request by label, and of all groups of a scenario together, where there are several; NaN = does not apply.

    What requests cost that did not complete is in it. `summaries` may be None: then without STANDING_ENERGY.
    """
    rows = []
    for scenario, members in requests.groupby("scenario", observed=True):
        labels = by_label(members)
        total = total_label(scenario, by_group, several)
        # The only group of a scenario is all of it.
        both = [(label, part, total if len(labels) == 1 else label) for label, part in labels]
        both += [(total, members, total)] if len(labels) > 1 else []
        rows += [row for label, part, standing in both if (row := energy_row(label, part, summaries, standing))]
    return rows


def energy_row(label, requests, summaries, standing):
    completed = int((requests["outcome"] == "completed").sum())
    if not completed:
        return None
    joules = (requests[["ue_energy_j", "tx_energy_j"]].sum(min_count=1) / completed).to_dict()
    known = summaries is not None and standing in summaries.index
    joules |= summaries.loc[standing].to_dict() if known else dict.fromkeys(STANDING_ENERGY, math.nan)
    return {"label": label, "completed": completed} | joules
