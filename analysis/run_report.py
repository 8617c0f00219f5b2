#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw the pictures of one splitwave run, or of all runs below a folder.

    RESULTS_DIR ──> find_runs ──> requests.csv ──> latency_breakdown, e2e_cdf, ppl_by_split_and_loss
                        │    └──> series.csv   ──> time_series
                        └─ manifest.json: scenario name, seed, warm-up, versions ──> report.md

The CSV files are read by column name only, so appended columns do no harm. An empty cell means "does not
apply". Runs of one scenario (its replications) are pooled. A picture without data is skipped, and said so.
Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import math
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import run_data
from run_data import InputError, by_label

# Column, name, colour. The hue says where (UE, uplink, edge, downlink); the pale one of a pair is waiting.
PHASES = (
    ("ue_wait_s", "UE wait", "#a6d0ec"),
    ("ue_compute_s", "UE compute", "#0072b2"),
    ("uplink_wait_s", "Uplink wait", "#f7c59b"),
    ("uplink_air_s", "Uplink air", "#d55e00"),
    ("edge_wait_s", "Edge wait", "#9bdcc6"),
    ("edge_compute_s", "Edge compute", "#009e73"),
    ("downlink_s", "Downlink", "#b0559b"),
)

# Column of series.csv (or `completion_rate`, derived from requests_completed) and its axis label.
GAUGES = (
    ("edge_queue", "Edge queue\n(requests)"),
    ("edge_busy", "Edge busy\n(in service)"),
    ("uplink_active", "Uplink active\n(requests)"),
    ("ue_queue_mean", "UE queue, mean\n(requests)"),
    ("completion_rate", "Completions\n(requests/s)"),
)

# Okabe and Ito's palette without its yellow, which vanishes on white.
CURVE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
CURVE_DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vP"

COLUMN_WIDTH_IN = 3.5  # one column of a two-column paper
MAX_BARS = 40
MAX_CURVES = 20
MAX_PANELS = 6
MAX_CURVE_POINTS = 2000

# What each format writes about the day and the tool unless told not to: equal data give equal files.
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

# Shown in report.md where a manifest has them; nothing depends on them.
MANIFEST_KEYS = ("seed", "replication", "version", "commit", "dirty", "results_version", "schema_version")

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "svg.hashsalt": "splitwave",
}


class Skip(Exception):
    """A picture whose data are absent; the text says which."""


@dataclass
class Report:
    """What is told about the pictures: remarks, pictures written, pictures skipped with the reason."""

    notes: list = field(default_factory=list)
    written: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def first(self, names, limit, picture):
        """At most `limit` of the names; what is left out becomes a remark."""
        if len(names) > limit:
            self.notes.append(f"{picture} shows the first {limit} of {len(names)}; name a smaller folder to see the others")
        return names[:limit]


# ---- Pictures ------------------------------------------------------------------------------------------------------


def curve_style(index):
    colours = len(CURVE_COLOURS)
    return {"color": CURVE_COLOURS[index % colours], "linestyle": CURVE_DASHES[index // colours % len(CURVE_DASHES)]}


def shown(label, width=44):
    """A label that fits and is drawn as it stands: cut in the middle, since names often differ at their end."""
    text = str(label)
    if len(text) > width:
        text = f"{text[: width // 2]}…{text[1 - width + width // 2 :]}"
    # Matplotlib takes $ for mathematics and leaves names with a leading _ out of legends.
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def draw_latency_breakdown(requests, report):
    bars = [bar for label, rows in by_label(requests) if (bar := run_data.breakdown(label, rows))]
    if not bars:
        raise Skip("no completed request")
    bars = report.first(bars, MAX_BARS, "latency_breakdown")
    names = [textwrap.fill(shown(bar["label"], 54), 18) for bar in bars]
    bar_in = 0.12 + 0.11 * max(2, *(name.count("\n") + 1 for name in names))
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 1.25 + bar_in * len(bars)), layout="constrained")
    left = np.zeros(len(bars))
    for column, name, colour in PHASES:
        width = np.array([bar[column] for bar in bars])
        axes.barh(range(len(bars)), width, left=left, height=0.62, color=colour, label=name)
        left += np.nan_to_num(width)
    for row, bar in enumerate(bars):
        text = f"mean {bar['e2e_s']:.3g} s\nn = {bar['n']:,}"
        axes.annotate(text, (left[row], row), (4, 0), textcoords="offset points", va="center", fontsize=6.5)
    axes.set_xlim(0, 1.4 * left.max() or 1)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), names)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Mean time per completed request (s)")
    figure.legend(loc="outside upper center", ncols=4, handlelength=1, columnspacing=1, handletextpad=0.4)
    return figure


def draw_e2e_cdf(requests, report):
    curves = [(label, *run_data.latency_curve(rows)) for label, rows in by_label(requests)]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        raise Skip("no completed request")
    curves = report.first(curves, MAX_CURVES, "e2e_cdf")
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH_IN, 2.4 + 0.27 * len(curves)), layout="constrained")
    every = np.concatenate([finished for _, finished, _ in curves])
    for index, (label, finished, n) in enumerate(curves):
        draw_curve(axes, label, finished, n, 1.03 * every.max(), curve_style(index))
    low, high = np.quantile(every, [0.01, 0.99])
    if low > 0 and high > 30 * low:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, 1.03 * every.max())
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("End-to-end time (s); ● median, ■ 95 % point")
    axes.set_ylabel("Share of requests finished\n(timeouts, outages: never)")
    figure.legend(loc="outside lower center", handlelength=2)
    return figure


def draw_curve(axes, label, finished, n, end, style):
    """The share of n that has finished by each time, drawn on to `end`: requests that never finish leave it below 1."""
    ranks = np.unique(np.linspace(0, len(finished) - 1, min(len(finished), MAX_CURVE_POINTS)).astype(int))
    x, y = np.r_[finished[0], finished[ranks], end], np.r_[0, (ranks + 1) / n, len(finished) / n]
    reached = []
    for q, name, marker in ((0.5, "median", "o"), (0.95, "p95", "s")):
        at = run_data.curve_quantile(finished, n, q)
        reached.append(f"{name} {at:.3g} s" if at is not None else f"{name} not reached")
        if at is not None:
            axes.plot(at, q, marker, color=style["color"], markeredgecolor="white", markeredgewidth=0.5, zorder=3, clip_on=False)
    axes.plot(x, y, drawstyle="steps-post", label=f"{shown(label)}\nn = {n:,}, {', '.join(reached)}", **style)


def draw_ppl_by_split_and_loss(requests, report):
    has = {column: requests[column].notna() for column in ("nll_sum", "split")}
    if not has["nll_sum"].any():
        raise Skip("no request carries nll_sum (quality source none, or one that gives no PPL)")
    if not has["split"].any():
        raise Skip("column split is empty (the service mode has no split)")
    scored = requests[has["nll_sum"] & has["split"] & (requests["tokens_scored"] > 0)]
    if scored.empty:
        raise Skip("no request has a split, nll_sum and tokens_scored together")
    scored = scored.assign(bin=run_data.loss_bins(scored["loss_probability"]))
    panels = report.first(by_label(scored), MAX_PANELS, "ppl_by_split_and_loss")
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (COLUMN_WIDTH_IN * (1, 1.6, 2.05)[columns - 1], 0.7 + 1.9 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    points = run_data.ppl_points(scored)
    for axes, (label, rows) in zip(grid.flat, panels):
        draw_ppl_lines(axes, points[points["label"] == label], np.unique(points["split"]), run_data.clean_ppl(rows))
        axes.set_title(shown(label, 30), fontsize=8)
    finish_ppl_axes(figure, grid, len(panels), points["ppl"])
    return figure


def draw_ppl_lines(axes, points, splits, clean):
    bins = points["bin"].cat.categories
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.82, len(bins)))
    gap = np.diff(splits).min() if len(splits) > 1 else 1.0
    for index, (name, colour) in enumerate(zip(bins, colours)):
        line = points[points["bin"] == name].sort_values("split")
        x = line["split"] + gap * 0.12 * (index - (len(bins) - 1) / 2)
        spread = np.nan_to_num([line["ppl"] - line["low"], line["high"] - line["ppl"]])
        style = {"marker": MARKERS[index], "markersize": 3.5 if len(splits) <= 16 else 2.5}
        axes.errorbar(x, line["ppl"], spread, color=colour, elinewidth=0.7, linewidth=0.8, label=name, **style)
    if math.isfinite(clean):
        axes.axhline(clean, color="black", linestyle="--", linewidth=0.9, label="clean")


def finish_ppl_axes(figure, grid, panels, ppl):
    first = grid.flat[0]
    if ppl.max() > 8 * ppl.min():
        first.set_yscale("log")
    # The wide interval of a few requests may run out of the picture; it must not flatten all the others.
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for axes in grid.flat for line in axes.lines])
    bottom, top = first.get_ylim()
    first.set_ylim(max(bottom, 0.8 * heights.min()), min(top, 1.2 * heights.max()))
    first.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    for axes in grid.flat[panels:]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, panels - grid.shape[1]) : panels]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("Split p (layers on the UE)", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("Corpus perplexity")
    title = "Loss probability (bars: 95 % interval, delta method)"
    figure.legend(*first.get_legend_handles_labels(), title=title, loc="outside upper center", ncols=3)


def draw_time_series(series, report):
    if series.points.empty:
        raise Skip("series.csv holds no sample after the warm-up")
    scenarios = report.first(by_label(series.points), MAX_CURVES, "time_series")
    height = 5.6 + (0.15 * len(scenarios) if len(scenarios) > 1 else 0)
    figure, stack = plt.subplots(len(GAUGES), 1, figsize=(COLUMN_WIDTH_IN, height), sharex=True, layout="constrained")
    for index, (label, rows) in enumerate(scenarios):
        bins = rows.groupby("bin")
        time = bins["time_s"].mean()
        for axes, (gauge, _) in zip(stack, GAUGES):
            style = curve_style(index)
            axes.plot(time, bins[gauge].mean(), linewidth=0.9, label=shown(label), **style)
            axes.fill_between(time, bins[gauge].min(), bins[gauge].max(), color=style["color"], alpha=0.2, linewidth=0)
    for axes, (_, name) in zip(stack, GAUGES):
        axes.set_ylim(bottom=0)
        axes.set_ylabel(name)
    figure.align_ylabels(stack)
    pooled = series.points.groupby(["label", "bin"], observed=True).size().max() > 1
    band = "; band: range of the runs" if pooled else ""
    stack[-1].set_xlabel(f"Simulated time (s)\n(means over {series.width_s:.3g} s{band})")
    if len(scenarios) > 1:
        figure.legend(*stack[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def save(figure, options, name):
    for suffix in options.format:
        figure.savefig(options.out / f"{name}.{suffix}", dpi=options.dpi, metadata=UNDATED[suffix])
    plt.close(figure)


# ---- Text ----------------------------------------------------------------------------------------------------------


def number(value):
    """Four digits for a mean or a quantile, the whole of a count, nothing for what does not apply."""
    if isinstance(value, (int, str)):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else ""


def summary_table(requests):
    """Header and rows, as text: one row per label, and one of all where there are several."""
    groups = by_label(requests)
    if len(groups) != 1:
        groups.append(("all", requests))
    rows = [run_data.summary_row(label, rows) for label, rows in groups]
    return [list(rows[0]), *([number(value) for value in row.values()] for row in rows)]


def as_text(table):
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = [[cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)] for row in table]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def as_markdown(table):
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


def note_limits(requests, runs, warmup_s, report):
    """What a reader of the numbers has to know about them."""
    warmups = sorted({run.warmup_s(warmup_s) for run in runs})
    if warmups != [0.0]:
        report.notes.append(f"warm-up left out: requests that arrived before {' or '.join(f'{w:g}' for w in warmups)} s")
    if requests is None:
        return
    outages = requests["outcome"] == "outage"
    unscored = int((outages & requests["nll_sum"].isna()).sum())
    if unscored and requests["nll_sum"].notna().any():
        report.notes.append(f"{unscored} outages carry no nll_sum and are missing from the corpus PPL")
    unfinished = int((requests["outcome"] == "unfinished").sum())
    if unfinished:
        report.notes.append(f"{unfinished} unfinished requests (cut off by the drain limit) count nowhere but in the table")


def markdown(runs, table, formats, report):
    """report.md: nothing in it depends on the day or the place."""
    lines = ["# Run report", ""]
    if table:
        caption = "Times: end-to-end, completed requests only. Corpus PPL: every request with nll_sum."
        lines += [as_markdown(table), "", caption, ""]
    lines += ["## Pictures", ""]
    for name in report.written:
        files = ", ".join(f"[{suffix}]({name}.{suffix})" for suffix in formats)
        shown = [f"![{name}]({name}.{suffix})" for suffix in formats if suffix != "pdf"][:1]
        lines += [f"### {name}", "", files, "", *shown, *([""] if shown else [])]
    lines += [f"- skipped `{name}`: {reason}" for name, reason in report.skipped]
    lines += ["", "## Runs", "", as_markdown(run_table(runs))]
    if report.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def run_table(runs):
    """One row per run, with those of MANIFEST_KEYS that some manifest has."""
    keys = [key for key in MANIFEST_KEYS if any(key in run.manifest for run in runs)]
    rows = [[run.scenario, run.run_id, *(str(run.manifest.get(key, "")) for key in keys)] for run in runs]
    return [["scenario", "run", *keys], *rows]


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Draw the pictures of one splitwave run, or of all runs below a folder.")
    parser.add_argument("results", type=Path, metavar="RESULTS_DIR", help="a run folder, or a folder above several")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where the pictures go (default: out)")
    parser.add_argument("--group-by", choices=("scenario", "group"), help="what a bar or curve stands for (default: scenario if several)")
    parser.add_argument("--warmup-s", type=not_negative, help="leave out earlier arrivals (default: the scenario's warmup_s)")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser.parse_args(arguments)


def not_negative(text):
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds from 0 on")
    return value


def positive(text):
    if not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 on")
    return int(text)


def picture_formats(text):
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in UNDATED]
    if wrong:
        raise argparse.ArgumentTypeError(f"'{wrong[0]}' is none of {', '.join(UNDATED)}")
    return list(dict.fromkeys(names))


def run_report(options):
    report = Report()
    runs = run_data.find_runs(options.results, report.notes)
    run_data.note_mixed_settings(runs, report.notes)
    several = len({run.scenario for run in runs}) > 1
    by_group = options.group_by == "group" or (options.group_by is None and not several)
    requests = run_data.load_requests(runs, by_group, options.warmup_s)
    series = run_data.load_series(runs, options.warmup_s)
    if requests is None and series is None:
        hint = "record them: requests = true under [output] in the scenario"
        raise InputError(f"{options.results}: no run holds requests.csv or series.csv", hint)
    note_limits(requests, runs, options.warmup_s, report)
    table = summary_table(requests) if requests is not None else None
    options.out.mkdir(parents=True, exist_ok=True)
    draw_all(requests, series, options, report)
    (options.out / "report.md").write_text(markdown(runs, table, options.format, report), encoding="utf-8")
    tell(options.out, table, report)


def draw_all(requests, series, options, report):
    pictures = ((draw_latency_breakdown, requests), (draw_e2e_cdf, requests))
    pictures += ((draw_ppl_by_split_and_loss, requests), (draw_time_series, series))
    for draw, data in pictures:
        name = draw.__name__.removeprefix("draw_")
        try:
            if data is None:
                raise Skip(f"no run holds {'series' if data is series else 'requests'}.csv")
            with plt.rc_context(STYLE):
                save(draw(data, report), options, name)
            report.written.append(name)
        except Skip as reason:
            report.skipped.append((name, str(reason)))


def tell(out, table, report):
    if table:
        print(as_text(table), end="\n\n")
    for name in report.written:
        print(f"wrote {out / name}")
    for name, reason in report.skipped:
        print(f"skipped {name}: {reason}")
    for note in report.notes:
        print(f"note: {note}")


def main(arguments=None):
    try:
        run_report(parse_arguments(arguments))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, InputError):
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
