#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw the cells of one splitwave run, or of all runs below a folder: who is served where, how well, at which cost.

    RESULTS_DIR ──> find_runs ──> manifest.json: base stations ──> network_map
                        │    └──> requests.csv ──────────────────> network_map, sinr_cdf, by_distance, handovers
                        └───────> requests.csv and summary.csv ──> energy_split

The CSV files are read by column name only, so appended columns do no harm. An empty cell means "does not
apply". Runs of one scenario (its replications) are pooled. A picture without data is skipped, and said so.
Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import math
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import network_data
import numpy as np
import pandas as pd
from learning_data import exit_code
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap
from network_data import Station, bin_width, binned, quantile
from run_data import by_label, find_runs, note_mixed_settings
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, MAX_BARS, MAX_CURVE_POINTS, MAX_CURVES, STYLE, Report, Skip, curve_style
from run_report import not_negative, number, picture_formats, positive, save, shown, tell

PICTURES = ("network_map", "sinr_cdf", "by_distance", "energy_split", "handovers")

# Column, name, colour; as in run_report.py blue is the UE, orange the uplink, green the edge.
UE_ENERGY = (
    ("ue_energy_j", "UE compute", "#0072b2"),
    ("idle_energy_j", "UE idle", "#a6d0ec"),
    ("tx_energy_j", "Radio sends", "#d55e00"),
    ("sleep_energy_j", "Radio sleeps", "#f7c59b"),
)
EDGE_COLOUR = "#009e73"
# What requests and handovers are drawn along: option, column, axis label.
ALONG = {"x": ("x_m", "East (m)"), "y": ("y_m", "North (m)"), "time": ("arrival_s", "Time of arrival (s)")}

MAX_MAPS = 3
MAX_POINTS = 3000  # beyond it a map shows means over hexagons
HEXAGONS = 70  # across the longer side of a map
MAX_BORDERS = 400  # cells whose borders are drawn, and whose UEs' nearest cells are found
MAX_NAMES = 25  # cells whose names are written
STRIP = 6  # a map that is so much longer than wide is not to scale
MAX_BINS = 20
MIN_IN_BIN = 5  # requests, below which a bin is not drawn
MAX_BANDS = len(CURVE_COLOURS)


# ---- Map -----------------------------------------------------------------------------------------------------------


class Map(NamedTuple):
    """What one scenario's map shows."""

    scenario: str
    places: pd.DataFrame
    sites: list

    def box(self):
        """(west, east, south, north) of all places and base stations, with a margin."""
        sides = []
        for column in ("x_m", "y_m"):
            values = np.r_[self.places[column], [getattr(site, column) for site in self.sites]]
            margin = max(0.04 * (values.max() - values.min()), 10.0)
            sides += [values.min() - margin, values.max() + margin]
        return sides


def draw_network_map(data, report):
    members = data.requests.groupby("scenario", observed=True)
    maps = [Map(scenario, network_data.places(rows, data.sites[scenario]), data.sites[scenario]) for scenario, rows in members]
    maps = [one for one in maps if len(one.places)]
    if not maps:
        raise Skip("no request was sent in a cell (column sinr_db is empty)")
    maps = report.first(maps, MAX_MAPS, "network_map")
    boxes = [one.box() for one in maps]
    shapes = [(north - south) / (east - west) for west, east, south, north in boxes]
    # Long strips stand one above the other, the two views of compact areas side by side.
    wide = max(shapes) < 0.5
    grid_shape = (2 * len(maps), 1) if wide else (len(maps), 2)
    panel_in = min(max((5.6 if wide else 2.6) * max(map(drawn_shape, boxes)), 1.3), 5.0)
    size = (2 * COLUMN_WIDTH_IN, (panel_in + 0.6) * grid_shape[0])
    # Unlike "constrained" it brings panels of a fixed shape, and their colour bar, together.
    figure, grid = plt.subplots(*grid_shape, figsize=size, layout="compressed", squeeze=False)
    for one, box, (left, right) in zip(maps, boxes, grid.reshape(-1, 2)):
        title = f"{shown(one.scenario, 20)}: " if len(maps) > 1 else ""
        means = ", means over hexagons" if len(one.places) > MAX_POINTS else ""
        draw_sinr(figure, left, one, box)
        left.set_title(f"{title}SINR{means}", fontsize=8)
        draw_serving(right, one, box)
        # Too many cells would take too long.
        other = network_data.served_by_other(one.places, one.sites) if len(one.sites) <= MAX_BORDERS else None
        share = f", {100 * other:.1f} % not the nearest" if other is not None else ""
        right.set_title(f"{title}{'serving' if title else 'Serving'} cell{share}", fontsize=8)
        for axes in (left, right):
            finish_map(axes, one, box)
    return figure


def draw_sinr(figure, axes, one, box):
    low, high = np.quantile(one.places["sinr_db"], [0.02, 0.98])
    style = {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-3)}
    shades = draw_places(axes, one, box, one.places["sinr_db"].to_numpy(), np.mean, style)
    figure.colorbar(shades, ax=axes, extend="both", pad=0.02, label="SINR (dB)")


def draw_serving(axes, one, box):
    colours = network_data.colour_numbers([(site.x_m, site.y_m) for site in one.sites], len(CURVE_COLOURS) - 1)
    style = {"cmap": ListedColormap(CURVE_COLOURS[:-1]), "vmin": 0, "vmax": len(CURVE_COLOURS) - 1}
    cells = one.places["cell_id"].to_numpy().astype(int)
    if len(cells) > MAX_POINTS:
        # Of a hexagon the cell that serves most of it.
        draw_places(axes, one, box, cells, lambda ids: colours[np.bincount(np.asarray(ids, int)).argmax()] + 0.5, style)
    else:
        draw_places(axes, one, box, colours[cells] + 0.5, None, style)


def draw_places(axes, one, box, values, reduce, style):
    """A dot per place, or beyond MAX_POINTS a hexagon for what `reduce` makes of the values in it."""
    x_m, y_m = one.places["x_m"].to_numpy(), one.places["y_m"].to_numpy()
    if len(values) <= MAX_POINTS:
        return axes.scatter(x_m, y_m, c=values, s=min(14.0, max(4.0, 3000 / len(values))), linewidths=0, rasterized=True, **style)
    west, east, south, north = box
    across = HEXAGONS if drawn_shape(box) <= 1 else HEXAGONS / drawn_shape(box)
    gridsize = (max(2, round(across)), max(2, round(across * drawn_shape(box) / math.sqrt(3))))
    return axes.hexbin(x_m, y_m, values, gridsize=gridsize, reduce_C_function=reduce, extent=box, linewidths=0.3, rasterized=True, **style)


def drawn_shape(box):
    """Height over width of a map as it is drawn."""
    west, east, south, north = box
    shape = (north - south) / (east - west)
    return shape if 1 / STRIP <= shape <= STRIP else 1 / STRIP if shape < 1 else STRIP


def finish_map(axes, one, box):
    west, east, south, north = box
    at = [(site.x_m, site.y_m) for site in one.sites]
    if 1 < len(at) <= MAX_BORDERS:
        # Cut off beyond the picture, so that its own edges stay out of it.
        beyond = [west - 0.1 * (east - west), east + 0.1 * (east - west), south - 0.1 * (north - south), north + 0.1 * (north - south)]
        cells = [polygon for polygon in network_data.borders(at, beyond) if len(polygon) > 2]
        axes.add_collection(PolyCollection(cells, facecolors="none", edgecolors="black", linewidths=0.5, alpha=0.6))
    size = 26 if len(at) <= MAX_NAMES else 12 if len(at) <= MAX_BORDERS else 3
    axes.scatter(*zip(*at), marker="^", s=size, color="black", edgecolors="white", linewidths=0.6, zorder=3)
    for site in one.sites if len(at) <= MAX_NAMES else ():
        style = {"fontsize": 6, "bbox": {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.5}}
        axes.annotate(shown(site.name, 12), (site.x_m, site.y_m), (3, 3), textcoords="offset points", zorder=4, **style)
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.grid(visible=False)
    to_scale = 1 / STRIP <= (north - south) / (east - west) <= STRIP
    axes.set_aspect("equal" if to_scale else "auto")
    axes.set_xlabel("East (m)" if to_scale else "East (m); not to scale")
    axes.set_ylabel("North (m)")


# ---- Curves --------------------------------------------------------------------------------------------------------


def draw_sinr_cdf(data, report):
    curves = [(label, rows["sinr_db"].dropna()) for label, rows in by_label(data.requests)]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        raise Skip("no request was sent in a cell (column sinr_db is empty)")
    curves = report.first(curves, MAX_CURVES, "sinr_cdf")
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 2.4 + 0.27 * len(curves)), layout="constrained")
    for index, (label, sinr_db) in enumerate(curves):
        style, marks = curve_style(index), []
        for q, name, marker in ((0.05, "5 %", "v"), (0.5, "median", "o")):
            at = quantile(sinr_db, q)
            marks.append(f"{name} {at:.1f} dB")
            axes.plot(at, q, marker, color=style["color"], markeredgecolor="white", markeredgewidth=0.5, zorder=3)
        x, y = network_data.cdf_points(sinr_db, MAX_CURVE_POINTS)
        axes.plot(np.r_[x[0], x], np.r_[0, y], drawstyle="steps-post", label=f"{shown(label)}\nn = {len(sinr_db):,}, {', '.join(marks)}", **style)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("SINR without fading (dB); ▼ 5 % point, ● median")
    axes.set_ylabel("Share of requests")
    figure.legend(loc="outside lower center", handlelength=2)
    return figure


def draw_by_distance(data, report):
    labels = report.first(by_label(data.requests), MAX_BANDS, "by_distance")
    # A few that are far away must not make the bins of all others wide.
    width = bin_width(quantile(data.requests["distance_m"].dropna(), 0.99), MAX_BINS)
    panels, lacking = [], []
    for column, factor, name in (("goodput_bps", 1e-6, "Goodput of\nthe uplink (Mbit/s)"), ("e2e_s", 1.0, "End-to-end\ntime (s)")):
        bands = [(label, drawn_bins(rows["distance_m"], rows[column] * factor, width)) for label, rows in labels]
        if any(len(bins) for _, bins in bands):
            panels.append((name, bands))
        else:
            lacking.append(f"by_distance is without {column}: no distance has {MIN_IN_BIN} completed requests that have it")
    if not panels:
        raise Skip(f"no distance has {MIN_IN_BIN} completed requests")
    report.notes.extend(lacking)
    size = (COLUMN_WIDTH_IN, 0.9 + 1.6 * len(panels) + (0.15 * len(labels) if len(labels) > 1 else 0))
    figure, stack = plt.subplots(len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    stack = stack[:, 0]
    for axes, (name, bands) in zip(stack, panels):
        draw_bands(axes, bands)
        axes.set_ylabel(name)
    stack[0].set_xlim(left=0)
    figure.align_ylabels(stack)
    stack[-1].set_xlabel(f"Distance to the base station (m), in bins of {width:g} m\n{BAND_WORDS}")
    if len(labels) > 1:
        figure.legend(*stack[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


BAND_WORDS = "line: median; band: 10 to 90 %; dots: mean"


def drawn_bins(x, y, width):
    bins = binned(x, y, width)
    return bins[bins["n"] >= MIN_IN_BIN]


def draw_bands(axes, bands):
    for index, (label, bins) in enumerate(bands):
        style = curve_style(index)
        axes.plot(bins["middle"], bins["median"], label=shown(label), **style)
        axes.plot(bins["middle"], bins["mean"], "o", color=style["color"], markersize=2.5)
        axes.fill_between(bins["middle"], bins["low"], bins["high"], color=style["color"], alpha=0.2, linewidth=0)
    every = pd.concat([bins for _, bins in bands])
    if every["low"].min() > 0 and every["high"].max() > 30 * every["low"].min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def draw_energy_split(data, report):
    rows = network_data.energy_rows(data.requests, data.summaries, data.by_group, data.several)
    rows = [row for row in rows if any(math.isfinite(row[name]) for name in network_data.ENERGY)]
    if not rows:
        raise Skip("no completed request, or no energy")
    rows = report.first(rows, MAX_BARS, "energy_split")
    names = [textwrap.fill(shown(row["label"], 54), 18) for row in rows]
    edge = any(math.isfinite(row["edge_energy_j"]) for row in rows)
    bar_in = 0.12 + 0.11 * max(2, *(name.count("\n") + 1 for name in names))
    size = (COLUMN_WIDTH_IN * (1.6 if edge else 1), 1.2 + bar_in * len(rows))
    figure, panels = plt.subplots(1, 2 if edge else 1, figsize=size, sharey=True, squeeze=False, layout="constrained")
    draw_ue_energy(panels[0, 0], rows)
    if edge:
        draw_edge_energy(panels[0, 1], rows)
    panels[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0, 0].set_yticks(range(len(rows)), names)
    for axes in panels.flat:
        axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=5, handlelength=1, columnspacing=1, handletextpad=0.4)
    return figure


def draw_ue_energy(axes, rows):
    left = np.zeros(len(rows))
    for column, name, colour in UE_ENERGY:
        width = np.array([row[column] for row in rows])
        # What applies to no bar has no place in the legend.
        if np.isfinite(width).any():
            axes.barh(range(len(rows)), np.nan_to_num(width), left=left, height=0.62, color=colour, label=name)
            left += np.nan_to_num(width)
    for at, row in enumerate(rows):
        axes.annotate(f"{left[at]:.3g} J\nn = {row['completed']:,}", (left[at], at), (4, 0), textcoords="offset points", va="center", fontsize=6.5)
    axes.set_xlim(0, 1.4 * left.max() or 1)
    axes.set_xlabel("UEs, per completed request (J)")


def draw_edge_energy(axes, rows):
    joules = np.array([row["edge_energy_j"] for row in rows])
    axes.barh(range(len(rows)), np.nan_to_num(joules), height=0.62, color=EDGE_COLOUR, label="Edge")
    for at, value in enumerate(joules):
        if math.isfinite(value):
            axes.annotate(f"{value:.3g} J", (value, at), (4, 0), textcoords="offset points", va="center", fontsize=6.5)
    axes.set_xlim(0, 1.4 * np.nanmax(joules) or 1)
    axes.set_xlabel("Edge, per completed request (J)")


def draw_handovers(data, report):
    sent = network_data.on_air(data.requests)
    if not (sent["handovers"] > 0).any():
        raise Skip("no request was handed over while it was on the air")
    along = data.along or longest_side(sent)
    column, name = ALONG[along]
    width = bin_width(sent[column].max() - sent[column].min(), 2 * MAX_BINS)
    labels = report.first(by_label(sent), MAX_BANDS, "handovers")
    counts = [(label, drawn_bins(rows[column], rows["handovers"], width)) for label, rows in labels]
    if not any(len(bins) for _, bins in counts):
        raise Skip(f"no bin along {column} has {MIN_IN_BIN} requests")
    size = (COLUMN_WIDTH_IN, 3.7 + (0.15 * len(labels) if len(labels) > 1 else 0))
    figure, (above, below) = plt.subplots(2, 1, figsize=size, sharex=True, layout="constrained")
    for index, (label, bins) in enumerate(counts):
        above.plot(bins["middle"], bins["mean"], marker="o", markersize=2.5, label=shown(label), **curve_style(index))
    above.set_ylim(bottom=0)
    above.set_ylabel("Handovers\nper request, mean")
    draw_bands(below, [(label, drawn_bins(rows[column], rows["e2e_s"], width)) for label, rows in labels])
    below.set_ylabel("End-to-end\ntime (s)")
    stations = ""
    if along != "time" and len(data.sites) == 1:
        stations = "; dotted: base stations"
        # Those beside the way; others would widen the picture.
        places = {getattr(site, column) for site in next(iter(data.sites.values()))}
        shown_places = [place for place in sorted(places) if sent[column].min() <= place <= sent[column].max()]
        for axes in (above, below):
            for place in shown_places[:MAX_NAMES]:
                axes.axvline(place, color="black", linestyle=(0, (1, 2)), linewidth=0.7, zorder=0)
    figure.align_ylabels((above, below))
    below.set_xlabel(f"{name}, in bins of {width:g}{stations}\n{BAND_WORDS}")
    if len(labels) > 1:
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def longest_side(sent):
    """x or y where the places reach at least four times as far that way as the other, else time."""
    east, north = (sent[column].max() - sent[column].min() for column in ("x_m", "y_m"))
    return "x" if east >= 4 * north else "y" if north >= 4 * east else "time"


# ---- Text ----------------------------------------------------------------------------------------------------------


def table_row(label, rows):
    """One label's numbers: SINR of what was sent, goodput and e2e of what completed."""
    counts = rows["outcome"].value_counts()
    sinr_db, goodput, e2e_s = (rows[column].dropna() for column in ("sinr_db", "goodput_bps", "e2e_s"))
    row = {"label": label, "requests": len(rows), "completed": int(counts.get("completed", 0))}
    row |= {"sinr_5%_db": quantile(sinr_db, 0.05), "sinr_median_db": quantile(sinr_db, 0.5)}
    row |= {"goodput_5%_mbps": quantile(goodput, 0.05) * 1e-6, "goodput_median_mbps": quantile(goodput, 0.5) * 1e-6}
    return row | {"e2e_median_s": quantile(e2e_s, 0.5), "e2e_p95_s": quantile(e2e_s, 0.95), "handovers": int(rows["handovers"].sum())}


def summary_table(requests):
    """Header and rows, as text: one row per label, and one of all where there are several."""
    groups = by_label(requests)
    if len(groups) != 1:
        groups.append(("all", requests))
    rows = [table_row(label, rows) for label, rows in groups]
    return [list(rows[0]), *([number(value) for value in row.values()] for row in rows)]


# ---- Command -------------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """What the pictures are drawn from."""

    requests: pd.DataFrame
    summaries: pd.DataFrame | None
    sites: dict[str, list[Station]]
    by_group: bool
    several: bool
    along: str | None


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Draw the cells of one splitwave run, or of all runs below a folder.")
    parser.add_argument("results", type=Path, metavar="RESULTS_DIR", help="a run folder, or a folder above several")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where the pictures go (default: out)")
    parser.add_argument("--pictures", type=picture_names, default=list(PICTURES), help=f"of {', '.join(PICTURES)} (default: all)")
    parser.add_argument("--group-by", choices=("scenario", "group"), help="what a curve or bar stands for (default: scenario if several)")
    parser.add_argument("--along", choices=tuple(ALONG), help="what handovers are drawn along (default: the way the places reach, else time)")
    parser.add_argument("--warmup-s", type=not_negative, help="leave out earlier arrivals (default: the scenario's warmup_s)")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser.parse_args(arguments)


def picture_names(text):
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in PICTURES]
    if wrong:
        raise argparse.ArgumentTypeError(f"'{wrong[0]}' is none of {', '.join(PICTURES)}")
    return list(dict.fromkeys(names))


def load(options, report):
    runs = network_data.cellular_runs(find_runs(options.results, report.notes), options.results, report.notes)
    runs = network_data.recorded_runs(runs, options.results, report.notes)
    note_mixed_settings(runs, report.notes)
    sites = network_data.stations_by_scenario(runs)
    several = len(sites) > 1
    by_group = options.group_by == "group" or (options.group_by is None and not several)
    requests = network_data.load_requests(runs, by_group, options.warmup_s, sites)
    warmups = sorted({run.warmup_s(options.warmup_s) for run in runs})
    if warmups != [0.0]:
        report.notes.append(f"warm-up left out: requests that arrived before {' or '.join(f'{w:g}' for w in warmups)} s")
    if any(run.warmup_s(None) != run.warmup_s(options.warmup_s) for run in runs):
        summaries, lack = None, "summary.csv has them after the scenario's own warm-up only"
    else:
        summaries, lack = network_data.load_summaries(runs, by_group), "a run holds no summary.csv"
    if summaries is None:
        report.notes.append(f"energy_split is without idling, sleeping and the edge: {lack}")
    return Data(requests, summaries, sites, by_group, several, options.along)


def network_report(options):
    report = Report()
    data = load(options, report)
    options.out.mkdir(parents=True, exist_ok=True)
    for draw in (draw_network_map, draw_sinr_cdf, draw_by_distance, draw_energy_split, draw_handovers):
        name = draw.__name__.removeprefix("draw_")
        if name not in options.pictures:
            continue
        try:
            with plt.rc_context(STYLE):
                save(draw(data, report), options, name)
            report.written.append(name)
        except Skip as reason:
            report.skipped.append((name, str(reason)))
    tell(options.out, summary_table(data.requests), report)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: network_report(options))


if __name__ == "__main__":
    sys.exit(main())
