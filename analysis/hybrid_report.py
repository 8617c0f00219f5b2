#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw collaborative generation: what share of tokens from the edge buys which quality, and what that costs.

    RESULTS ──> requests.csv or runs.csv ──> edge_share: quality against the share of edge tokens, a line per scorer
                    │               └──────> pareto: latency, UE energy and quality over all modes
                    └> tokens.csv ─────────> tokens: the score's reliability, waits, fallbacks

The CSV files are read by column name only. An empty cell means "does not apply". A picture without data is skipped, and
said so. Beside each picture stand the CSV files of its numbers. Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import math
import sys
from pathlib import Path

import hybrid_data
import hybrid_numbers
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import token_data
from hybrid_data import MODE, MODES, SCORER, SCORERS, THRESHOLD
from learning_data import exit_code
from run_data import InputError
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, MARKERS, STYLE, Report, Skip
from run_report import as_text, not_negative, number, picture_formats, positive, save, shown, tell
from study_report import pair

PICTURES = ("edge_share", "pareto", "tokens")
QUALITIES = (("logprob", "LLM log-likelihood\nper token (nat)"), ("agreement", "Share of tokens that are\nthe LLM's own first choice"))
# Column, axis label, factor, and the column of the front.
COSTS = (("e2e_s", "Mean end-to-end time (s)", 1.0, "latency_front"), ("energy_j", "UE energy per token (mJ)", 1e3, "energy_front"))
SOURCE_COLOURS = {"ue": "#0072b2", "edge": "#009e73", "fallback": "#d55e00"}
MAX_SERIES = 14
MAX_TOLD = 3  # settings that are told in a table's row
FEW_UNITS = 20


# ---- Share of edge tokens ------------------------------------------------------------------------------------------


def scorer_curves(data):
    """{scorer: numbers of its points}; Skip where there are none, or where more varies than the threshold."""
    members = [(place, point) for place, point in enumerate(data.points) if point.scorer]
    if not members:
        raise Skip(f"no run has a scorer ({MODE} of a hybrid, {SCORER})")
    order = [name for name in SCORERS if any(point.scorer == name for _, point in members)]
    order += dict.fromkeys(point.scorer for _, point in members if point.scorer not in SCORERS)
    # Scorers may have settings of their own, but stand in one world.
    refuse_varying([point for _, point in members], "runs with a scorer differ", lambda key: not key.startswith(("collaboration.", "service.")))
    curves = {}
    for name in order:
        own = [(place, point) for place, point in members if point.scorer == name]
        refuse_varying([point for _, point in own], f"runs of the scorer {name} differ", lambda key: key != THRESHOLD)
        curves[name] = [place for place, _ in own]
    return curves


def refuse_varying(points, what, counts):
    keys = [key for key in hybrid_numbers.varying(points, (SCORER,)) if counts(key)]
    if keys:
        values = list(dict.fromkeys(point.settings[keys[0]] for point in points if keys[0] in point.settings))
        raise Skip(f"{what} in {', '.join(keys[:3])}{' …' if len(keys) > 3 else ''}: hold it with --where '{keys[0]}={shown(values[0], 60)}'")


def draw_edge_share(data, options, report):
    curves = scorer_curves(data)
    table = described(data, hybrid_numbers.estimates(data, [place for places in curves.values() for place in places], options.resamples))
    drawn = table[table["edge_share"].notna()]
    panels = [(column, name) for column, name in QUALITIES if drawn[column].notna().any()]
    if not panels:
        raise Skip("no point has both a share of edge tokens and a quality of generated text (edge_tokens, nll_sum, llm_agreements are empty)")
    note_few(drawn, report)
    keep(drawn.drop(columns=["generated"]), options, report, "edge_share")
    ratio_table(data, curves, drawn, options, report)
    figure, grid = plt.subplots(1, len(panels), figsize=(COLUMN_WIDTH_IN * (1.1, 1.9)[len(panels) - 1], 3.1), sharex=True, squeeze=False, layout="constrained")
    for axes, (column, name) in zip(grid[0], panels):
        for index, scorer in enumerate(curves):
            rows = drawn[drawn["scorer"] == scorer].dropna(subset=[column]).sort_values("edge_share", kind="stable")
            bars = {"xerr": 100 * reaches(rows, "edge_share"), "yerr": reaches(rows, column)}
            # Random choice is what the others are held against.
            style = {"color": "black", "linestyle": "--", "marker": "x"} if scorer == "random" else curve(index)
            axes.errorbar(100 * rows["edge_share"], rows[column], **bars, elinewidth=0.6, linewidth=0.9, markersize=3, label=shown(scorer), **style)
        axes.set_ylabel(name)
    figure.supxlabel("Tokens from the edge (%)", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), title="Scorer; bars: 95 % interval", loc="outside upper center", ncols=4)
    return figure


def curve(index):
    return {"color": CURVE_COLOURS[index % len(CURVE_COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def reaches(rows, column):
    """[below, above]: how far the interval of a value reaches; 0 where there is none."""
    below, above = rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]
    # Percentiles need not enclose the value.
    return np.nan_to_num(np.array([below, above], float)).clip(min=0)


def note_few(table, report):
    units = table.loc[~table["replications"], "units"]
    if len(units) and units.min() < FEW_UNITS:
        report.notes.append(f"some points rest on {units.min()} prompts only: their intervals are too narrow")
    if (table["units"] < 2).any():
        report.notes.append("some points rest on one prompt or replication and have no interval of quality")


def ratio_table(data, curves, drawn, options, report):
    """Writes and prints the shares that scorers need for the quality of random choice."""
    found = {scorer: [place for place in places if place in set(drawn["point"])] for scorer, places in curves.items()}
    found = {scorer: places for scorer, places in found.items() if places}
    if "random" not in found or len(found) < 2:
        report.notes.append("no ratios of edge shares: they need points of the scorer random and of another")
        return
    table = hybrid_numbers.ratios(data, found, options.resamples)
    keep(table, options, report, "edge_share_ratios")
    print("Share of edge tokens for the quality of random choice, over random's share, with 95 % interval")
    print(as_text(ratio_rows(table)), end="\n\n")


def ratio_rows(table):
    shares = [f"random at {100 * share:.0f} %" for share in hybrid_numbers.RANDOM_SHARES]
    rows = [["scorer", "quality", *shares]]
    for (quality, scorer), members in table.groupby(["quality", "scorer"], sort=False):
        rows.append([scorer, {"logprob": "log-likelihood"}.get(quality, quality), *(ratio_text(row) for row in members.to_dict("records"))])
    return rows


def ratio_text(row):
    if row["reading"] == "below its first point":
        return f"< {row['first_share'] / row['random_share']:.2f}"
    if row["reading"] == "not reached":
        return "not reached"
    if row["reading"] != "read":
        return "-"
    low, high = row["ratio_low"], row["ratio_high"]
    if math.isnan(low):
        return f"{row['ratio']:.2f}"
    return f"{row['ratio']:.2f} ({low:.2f} to {'not reached' if math.isinf(high) else f'{high:.2f}'})"


# ---- Latency, energy and quality -----------------------------------------------------------------------------------


def pareto_table(data, resamples):
    """All points with shares, quality and costs, and whether they are on the fronts; only generated text can be."""
    table = hybrid_numbers.estimates(data, list(range(len(data.points))), resamples)
    table = described(data, table).merge(hybrid_numbers.cost_means(data), on="point")
    known = table["logprob"].where(table["generated"])
    asked = table.assign(logprob=known)
    for name, lower in (("latency_front", ["e2e_s"]), ("energy_front", ["energy_j"]), ("front", ["e2e_s", "energy_j"])):
        table[name] = hybrid_numbers.front(asked, lower, ["logprob"])
    return table


def described(data, table):
    """The table with what tells its points apart."""
    points = [data.points[place] for place in table["point"]]
    told = {}
    for series in dict.fromkeys(point.series for point in points):
        keys = hybrid_numbers.varying([point for point in points if point.series == series], (MODE, SCORER, THRESHOLD))
        told[series] = keys
    about = {"mode": [point.mode for point in points], "scorer": [point.scorer for point in points], "threshold": [point.threshold for point in points]}
    about["settings"] = [settings_text(point, told[point.series]) for point in points]
    for place, (name, values) in enumerate(about.items()):
        table.insert(place + 1, name, values)
    return table


def settings_text(point, keys):
    parts = [f"{key}={shown(point.settings.get(key, 'unset'), 24)}" for key in keys[:MAX_TOLD]]
    return ", ".join(parts) + (" …" if len(keys) > MAX_TOLD else "")


def series_of(data, table):
    """{series: its rows}: modes in the order of MODES."""
    names = pd.Series([data.points[place].series for place in table["point"]], table.index)
    order = {mode: place for place, mode in enumerate(MODES)}
    first = {name: order.get(name.partition(",")[0], len(order)) for name in names}
    return {name: table[names == name] for name in sorted(dict.fromkeys(names), key=first.get)}


def draw_pareto(data, options, report):
    table = pareto_table(data, options.resamples)
    panels = [cost for cost in COSTS if (table[cost[0]].notna() & table["logprob"].notna()).any()]
    if not panels:
        raise Skip("no point has both a cost (e2e_s, ue_energy_j) and a quality (nll_sum)")
    others = hybrid_numbers.varying(data.points, ())
    others = [key for key in others if key.partition(".")[0] in ("channel", "radio", "cell", "ue", "edge", "model", "device")]
    if others:
        report.notes.append(f"points of pareto differ in {', '.join(others[:3])}{' …' if len(others) > 3 else ''}, too: hold it with --where to compare like with like")
    corpus = table[~table["generated"] & table["logprob"].notna()]
    if len(corpus):
        modes = ", ".join(dict.fromkeys(corpus["mode"]))
        report.notes.append(f"points of {modes} have the likelihood of the corpus, not of generated text: hollow, and on no front")
    if table["runs"].min() < 2:
        report.notes.append("points of one run have no interval of time and energy")
    note_few(table, report)
    keep(table, options, report, "pareto")
    print(as_text(pareto_rows(data, table)), end="\n\n")
    members = dict(report.first(list(series_of(data, table).items()), MAX_SERIES, "pareto"))
    size = (COLUMN_WIDTH_IN * (1.1, 1.9)[len(panels) - 1], 3.0 + 0.12 * len(members))
    figure, grid = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, (column, name, factor, flag) in zip(grid[0], panels):
        best = table[table[flag]].sort_values(column, kind="stable")
        axes.plot(factor * best[column], best["logprob"], color="black", linewidth=0.8, zorder=1, label="not dominated")
        for index, (series, rows) in enumerate(members.items()):
            draw_points(axes, rows, column, factor, series, index)
        values = factor * table[column].dropna()
        if values.min() > 0 and values.max() > 30 * values.min():
            axes.set_xscale("log")
        axes.set_xlabel(name)
    grid[0, 0].set_ylabel(QUALITIES[0][1])
    handles = {label: handle for axes in grid[0] for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), title="Mode; bars: 95 % interval", loc="outside upper center", ncols=3)
    return figure


def draw_points(axes, rows, column, factor, series, index):
    rows = rows.dropna(subset=[column, "logprob"])
    for generated, some in rows.groupby("generated"):
        bars = {"xerr": factor * reaches(some, column), "yerr": reaches(some, "logprob")}
        style = curve(index) | ({} if generated else {"markerfacecolor": "white"})
        axes.errorbar(factor * some[column], some["logprob"], **bars, linestyle="none", elinewidth=0.6, markersize=4, label=shown(series), **style)


def pareto_rows(data, table):
    header = ["mode", "threshold", "edge share", "log-likelihood", "agreement", "e2e s", "TTFT s", "TPOT s", "UE mJ/token", "uplink bits/token", "not dominated in"]
    rows = [header]
    for series, members in series_of(data, table).items():
        for row in members.sort_values("threshold", kind="stable").to_dict("records"):
            numbers = [row[name] for name in ("threshold", "edge_share", "logprob", "agreement", "e2e_s", "ttft_s", "tpot_s")]
            fronts = [name for name, flag in (("latency", "latency_front"), ("energy", "energy_front"), ("both", "front")) if row[flag]]
            label = ", ".join(part for part in (series, row["settings"]) if part)
            rows.append([label, *map(number, numbers), number(1e3 * row["energy_j"]), number(row["uplink_bits"]), ", ".join(fronts)])
    return rows


# ---- Tokens --------------------------------------------------------------------------------------------------------


def draw_tokens(data, options, report):
    tokens = token_data.load_tokens(data, options.warmup_s, report.notes)
    if tokens is None:
        raise Skip("no run holds tokens.csv (recorded only if [output] of the scenario asks for it)")
    if tokens.empty:
        raise Skip("tokens.csv holds no token after the warm-up")
    tables = {"score_deciles": token_data.deciles(tokens), "waits": token_data.waits(tokens), "fallbacks": token_data.fallbacks(tokens)}
    series = report.first(list(dict.fromkeys(tokens["series"])), MAX_SERIES, "tokens")
    styles = {name: curve(index) for index, name in enumerate(series)}
    for name, table in tables.items():
        if len(table):
            keep(table, options, report, name)
    scored = tables["score_deciles"]
    panels = [(draw_reliability, (scored, column, name)) for column, name in QUALITIES if len(scored) and scored[column].notna().any()]
    if not panels:
        report.notes.append("tokens is without the score's reliability: no token of the UE has score and logprob_llm")
    if tables["waits"]["wait_mean_s"].notna().any():
        panels.append((draw_waits, (tables["waits"],)))
    if len(tables["fallbacks"]):
        panels.append((draw_fallbacks, (tables["fallbacks"],)))
    if not panels:
        raise Skip("tokens.csv holds neither scores nor waits, and the edge was never asked")
    rows = math.ceil(len(panels) / 2)
    size = (COLUMN_WIDTH_IN * (1.1 if len(panels) == 1 else 1.9), 0.6 + 2.3 * rows + 0.1 * len(series))
    figure, grid = plt.subplots(rows, min(2, len(panels)), figsize=size, squeeze=False, layout="constrained")
    for axes, (draw, arguments) in zip(grid.flat, panels):
        draw(axes, *arguments, styles)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    lines = [plt.Line2D([], [], linewidth=0.9, markersize=3, **style) for style in styles.values()]
    figure.legend(lines, map(shown, styles), title="Bars: 95 % interval", loc="outside upper center", ncols=3)
    return figure


def draw_reliability(axes, table, column, name, styles):
    for series, style in styles.items():
        rows = table[table["series"] == series]
        # Scores have scales of their own; their ranks have one.
        rank = 100 * (rows["tokens"].cumsum() - rows["tokens"] / 2) / rows["tokens"].sum()
        axes.errorbar(rank, rows[column], reaches(rows, column), elinewidth=0.6, linewidth=0.9, markersize=3, **style)
    axes.set_xlim(0, 100)
    axes.set_xlabel("The UE's tokens by rising score (%), in tenths")
    axes.set_ylabel(name)


def draw_waits(axes, table, styles):
    """Per series a row of each source: a dot for the mean, a line from the median to the 95 % point."""
    place, ticks = 0.0, []
    for series, style in styles.items():
        rows = table[table["series"] == series].dropna(subset=["wait_mean_s"])
        for row in rows.to_dict("records"):
            axes.plot([1e3 * row["wait_median_s"], 1e3 * row["wait_p95_s"]], [place, place], color=SOURCE_COLOURS[row["source"]], linewidth=2.5, alpha=0.5)
            axes.plot(1e3 * row["wait_mean_s"], place, color=style["color"], marker=style["marker"], linestyle="none")
            ticks.append((place, row["source"]))
            place += 1
        place += 0.6
    axes.set_yticks([at for at, _ in ticks], [source for _, source in ticks])
    axes.set_ylim(place, -0.8)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(left=0)
    axes.set_xlabel("Wait for a token (ms); dot: mean,\nline: median to 95 % point")


def draw_fallbacks(axes, table, styles):
    for series, style in styles.items():
        rows = table[table["series"] == series]
        middle = (rows["position_low"] + rows["position_high"]) / 2
        bars = reaches(rows.rename(columns={"low": "fallback_share_low", "high": "fallback_share_high"}), "fallback_share")
        axes.errorbar(middle, 100 * rows["fallback_share"], 100 * bars, elinewidth=0.6, linewidth=0.9, markersize=3, **style)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Position in the generated text")
    axes.set_ylabel("Fallbacks among tokens\nasked of the edge (%)")


# ---- Command -------------------------------------------------------------------------------------------------------


def keep(table, options, report, name):
    """Writes a table beside the pictures."""
    table.drop(columns=["point"], errors="ignore").to_csv(options.out / f"{name}.csv", index=False, float_format="%.6g")
    report.written.append(f"{name}.csv")


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Draw collaborative generation: shares of edge tokens, quality and costs.")
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="a run folder, a folder above several, or a study's folder or runs.csv")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where pictures and tables go (default: out)")
    parser.add_argument("--pictures", type=picture_names, default=list(PICTURES), help=f"of {', '.join(PICTURES)} (default: all)")
    parser.add_argument("--where", type=pair, action="append", default=[], metavar="KEY=VALUE", help="only these runs; may be repeated: several values of one key, or several keys")
    parser.add_argument("--set", type=pair, action="append", default=[], metavar="KEY=VALUE", help="what the base of a runs.csv has for a key that is no axis; may be repeated")
    parser.add_argument("--warmup-s", type=not_negative, help="leave out earlier arrivals (default: the scenario's warmup_s)")
    parser.add_argument("--resamples", type=positive, default=2000, help="resamples of the bootstrap (default: 2000)")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser.parse_args(arguments)


def picture_names(text):
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in PICTURES]
    if wrong:
        raise argparse.ArgumentTypeError(f"'{wrong[0]}' is none of {', '.join(PICTURES)}")
    return list(dict.fromkeys(names))


def hybrid_report(options):
    report = Report()
    data = hybrid_data.load(options.results, dict(options.set), options.where, options.warmup_s, report.notes)
    options.out.mkdir(parents=True, exist_ok=True)
    for draw in (draw_edge_share, draw_pareto, draw_tokens):
        name = draw.__name__.removeprefix("draw_")
        if name not in options.pictures:
            continue
        try:
            with plt.rc_context(STYLE):
                save(draw(data, options, report), options, name)
            report.written.append(name)
        except Skip as reason:
            report.skipped.append((name, str(reason)))
    if not report.written:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report.skipped)
        raise InputError(f"{options.results[0]}: nothing to draw", reasons)
    report.notes = list(dict.fromkeys(report.notes))
    tell(options.out, None, report)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: hybrid_report(options))


if __name__ == "__main__":
    sys.exit(main())
