#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw any figure of a parameter study against any axis, from the runs.csv of `splitwave study collect`.

    runs.csv ──> load_study ──> points: mean and 95 % interval over replications ──> lines, dots or a heatmap, in panels

Axes are the columns before `arrivals`, figures those from there on; both are named as in the file. Nothing is averaged
but replications: an axis that varies has to be shown (--x, --lines, --facet), held (--where), or asked for as --dots.
Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import difflib
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from run_data import InputError, read_columns
from run_report import COLUMN_WIDTH_IN, CURVE_COLOURS, MARKERS, STYLE, UNDATED, picture_formats, positive, shown

# What a row of runs.csv says of the run itself, and the first of its figures.
RUN_COLUMNS = ("run_id", "point", "replication", "seed", "status", "error")
FIRST_FIGURE = "arrivals"
DEFAULT_FIGURES = ("e2e_mean_s", "corpus_ppl")
AS_IN_BASE = "as in the base"

# Column, and its name in a picture; other columns are shown as they are called.
FIGURE_NAMES = {
    "e2e_mean_s": "Mean end-to-end time (s)",
    "e2e_median_s": "Median end-to-end time (s)",
    "e2e_p95_s": "End-to-end time, 95 % point (s)",
    "e2e_p99_s": "End-to-end time, 99 % point (s)",
    "ttft_mean_s": "Mean time to first token (s)",
    "corpus_ppl": "Corpus perplexity",
    "reward_mean": "Mean reward",
    "split_mean": "Mean split (layers on the UE)",
    "packet_loss_rate": "Share of packets lost",
    "goodput_rps": "Completed in time (requests/s)",
    "throughput_rps": "Completed (requests/s)",
    "ue_utilisation": "UE utilisation",
    "uplink_utilisation": "Uplink utilisation",
    "edge_utilisation": "Edge utilisation",
}

MAX_LINES = 10
MAX_PANELS = 12
MAX_NUMBERED_CELLS = 80


# ---- Numbers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """The finished runs: `axes` as numbers where all values are, else as words in the order of the file."""

    runs: pd.DataFrame
    axes: list
    figures: list

    def varying(self):
        return [axis for axis in self.axes if self.runs[axis].nunique(dropna=False) > 1]

    def values(self, axis):
        """Values of an axis: numbers by size, words in order of appearance, the base's last."""
        found = self.runs[axis].drop_duplicates()
        return found.sort_values().tolist() if pd.api.types.is_float_dtype(found) else found.tolist()


def load_study(path, wanted, notes):
    """The finished runs of a runs.csv, or of the folder that holds one, with the figures that are wanted."""
    path = path / "runs.csv" if path.is_dir() else path
    header = header_of(path)
    axes = [column for column in header[: header.index(FIRST_FIGURE)] if column not in RUN_COLUMNS]
    figures = header[header.index(FIRST_FIGURE) :]
    wanted = wanted or [name for name in DEFAULT_FIGURES if name in figures] or figures[:1]
    for name in wanted:
        known(name, figures, "figure", path)
    try:
        runs = read_columns(path, ["point", "replication", *dict.fromkeys(wanted)], ["status", *axes])
    except InputError as error:
        raise InputError(str(error), "make the file again: splitwave study collect STUDY.toml") from None
    done = runs[runs["status"] == "done"].copy()
    if len(done) < len(runs):
        notes.append(f"{len(runs) - len(done)} of {len(runs)} runs did not finish and are left out")
    if done.empty:
        raise InputError(f"{path}: no finished run", "run the study first: splitwave study run STUDY.toml")
    for axis in axes:
        done[axis] = axis_values(done[axis])
    empty = [name for name in wanted if done[name].isna().all()]
    if empty and len(empty) == len(dict.fromkeys(wanted)):
        raise InputError(f"{path}: column '{empty[0]}' is empty in every run", "name another with --figure: empty means that it does not apply")
    notes.extend(f"{name} is empty in every run and is not shown" for name in empty)
    return Study(done, axes, [name for name in dict.fromkeys(wanted) if name not in empty])


def header_of(path):
    try:
        header = pd.read_csv(path, nrows=0, dtype=str).columns.tolist()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file", "make it first: splitwave study collect STUDY.toml") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError):
        header = []
    missing = [column for column in ("point", "replication", "status", FIRST_FIGURE) if column not in header]
    if missing:
        hint = "name the output folder of a study, or its runs.csv: splitwave study collect STUDY.toml makes it"
        raise InputError(f"{path}: missing column '{missing[0]}'", hint)
    return header


def axis_values(cells):
    """Numbers if all are; an empty cell is a value, too: the base's."""
    words = cells.astype(object)
    numbers = pd.to_numeric(words, errors="coerce")
    return numbers.astype("float64") if numbers.notna().all() else words.where(words.notna(), AS_IN_BASE).astype(str)


def known(name, names, what, path):
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names) or 'none'}"
        raise InputError(f"{path}: there is no {what} '{name}'", hint)


def hold(study, held):
    """Only the runs with these values of these axes."""
    runs = study.runs
    wanted = {}
    for axis, text in held:
        known(axis, study.axes, "axis", "--where")
        value = as_value(runs[axis], text)
        if not (study.runs[axis] == value).any():
            raise InputError(f"--where {axis}={text}: no run has it", f"there are: {', '.join(map(value_name, study.values(axis)))}")
        wanted.setdefault(axis, []).append(value)
    for axis, values in wanted.items():
        runs = runs[runs[axis].isin(values)]
    if runs.empty:
        raise InputError("--where: no run has all of these values", "leave one of them out")
    runs = runs.copy()
    for axis in study.axes:
        # Words may have gone that kept numbers from being numbers.
        runs[axis] = axis_values(runs[axis].where(runs[axis] != AS_IN_BASE))
    return Study(runs, study.axes, study.figures)


def as_value(column, text):
    """A word of the command line as a value of an axis."""
    if not pd.api.types.is_float_dtype(column):
        return text
    try:
        return float(text)
    except ValueError:
        return math.nan


def paired(study, axis, baseline):
    """Each figure minus that of the same replication at the baseline, all other axes equal."""
    known(axis, study.axes, "axis", "--difference")
    value = as_value(study.runs[axis], baseline)
    key = [*(other for other in study.axes if other != axis), "replication"]
    base = study.runs[study.runs[axis] == value].drop_duplicates(key)
    if base.empty:
        raise InputError(f"--difference {axis}={baseline}: no run has it", f"there are: {', '.join(map(value_name, study.values(axis)))}")
    others = study.runs[study.runs[axis] != value].merge(base[[*key, *study.figures]], on=key, how="left", suffixes=("", " at base"))
    for name in study.figures:
        others[name] -= others.pop(f"{name} at base")
    return Study(others, study.axes, study.figures)


def points(study, figure, axes):
    """Mean over replications, half of its 95 % interval (Student's t; NaN for one replication), and n."""
    found = study.runs.dropna(subset=[figure]).groupby([*axes, "point"], sort=False, observed=True)[figure]
    table = found.agg(mean="mean", deviation="std", n="count").reset_index()
    table["reach"] = [t_975(n - 1) * s / math.sqrt(n) if n > 1 else math.nan for n, s in zip(table["n"], table["deviation"])]
    return table


def t_975(freedom):
    """97.5 % point of Student's t with a whole number of degrees of freedom.

    P(|T| < t) is a finite sum in θ = atan(t/√ν) (Abramowitz and Stegun, 26.7.3 and 26.7.4), inverted by bisection.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, freedom) < 0.95 else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def t_within(angle, freedom):
    """P(|T| < √ν·tan θ)."""
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if freedom % 2:
        term = cosine
        for k in range(3, freedom + 1, 2):
            total += term
            term *= (k - 1) / k * cosine**2
        return 2 / math.pi * (angle + math.sin(angle) * total)
    for k in range(2, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * cosine**2
    return math.sin(angle) * total


# ---- Pictures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Which axis is what in the picture."""

    x: str
    lines: str | None
    facet: str | None

    def shown(self):
        return [axis for axis in (self.x, self.lines, self.facet) if axis]


def layout(study, options):
    """The axes asked for; where none are, those that vary, in the order of the file."""
    for name in (options.x, options.lines, options.facet):
        if name:
            known(name, study.axes, "axis", options.runs)
    if not study.axes:
        raise InputError(f"{options.runs}: the study has no axis", "nothing to draw against: give the study an [axes] table")
    asked = [name for name in (options.x, options.lines, options.facet) if name]
    left = [axis for axis in study.varying() if axis not in asked]
    x = options.x or next(iter(left), None) or next((axis for axis in study.axes if axis not in asked), study.axes[0])
    if options.dots:
        return Layout(x, options.lines, options.facet)
    shown_axes = list(dict.fromkeys([x, *asked]))
    lines = options.lines or next(unshown(study, shown_axes), None)
    shown_axes += [lines] if lines and lines not in shown_axes else []
    facet = options.facet or next(unshown(study, shown_axes), None)
    shown_axes += [facet] if facet and facet not in shown_axes else []
    if options.heatmap and not lines:
        raise InputError("--heatmap needs two axes", f"only '{x}' varies: leave --heatmap out")
    for axis in unshown(study, shown_axes):
        hint = f"hold it with --where '{axis}=VALUE', show it with --lines or --facet, or draw each point with --dots"
        raise InputError(f"axis '{axis}' varies, too, and is not shown", hint)
    return Layout(x, lines, facet)


def unshown(study, shown_axes):
    """Axes that still vary where the shown ones are held. Paired axes don't: one of them tells the others."""
    for axis in study.varying():
        if axis not in shown_axes and study.runs.groupby(shown_axes, observed=True)[axis].nunique(dropna=False).max() > 1:
            yield axis


def value_name(value):
    if not isinstance(value, float):
        return shown(value, 30)
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.4g}"


def axis_name(axis):
    return shown(axis, 40)


def figure_name(study, figure, options):
    name = FIGURE_NAMES.get(figure, figure)
    if not options.difference:
        return name
    axis, baseline = options.difference
    left = study.values(axis)
    if len(left) == 1:
        return f"{name},\n{value_name(left[0])} minus {shown(baseline, 24)}"
    return f"{name},\nminus that at {shown(axis.rpartition('.')[2], 20)} = {shown(baseline, 20)}"


def panels(study, place, notes):
    """(title, value of the facet) of each panel column."""
    values = study.values(place.facet) if place.facet else [None]
    if len(values) > MAX_PANELS:
        notes.append(f"shows the first {MAX_PANELS} of {len(values)} panels: hold '{place.facet}' with --where")
    return [(f"{axis_name(place.facet)} = {value_name(value)}" if place.facet else "", value) for value in values[:MAX_PANELS]]


def make_grid(study, shown_panels, options):
    """Axes by (figure, panel): a row per figure; panels of one figure wrap."""
    figures, count = len(study.figures), len(shown_panels)
    columns = count if figures > 1 else min(count, 3 if count != 4 else 2)
    rows = figures if figures > 1 else math.ceil(count / columns)
    width = COLUMN_WIDTH_IN * (1, 1.7, 2.05)[columns - 1] if columns <= 3 else 0.7 * COLUMN_WIDTH_IN * columns
    height = 0.9 + (2.3 if options.heatmap else 1.9) * rows
    share = "row" if figures > 1 else True
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), sharex=True, sharey=share, squeeze=False, layout="constrained")
    for axes in grid.flat[figures * count :]:
        axes.set_visible(False)
    cells = [(name, title, value) for name in study.figures for title, value in shown_panels]
    return figure, grid, list(zip(grid.flat, cells))


def draw_lines(study, place, options, notes):
    shown_panels = panels(study, place, notes)
    lines = study.values(place.lines) if place.lines else [None]
    if len(lines) > MAX_LINES:
        notes.append(f"shows the first {MAX_LINES} of {len(lines)} lines: hold '{place.lines}' with --where")
    figure, grid, cells = make_grid(study, shown_panels, options)
    xs = study.values(place.x)
    legend, tables = {}, {}
    for axes, (name, title, value) in cells:
        table = tables.setdefault(name, points(study, name, place.shown()))
        panel = table[table[place.facet] == value] if place.facet else table
        for index, line in enumerate(lines[:MAX_LINES]):
            rows = panel[panel[place.lines] == line] if place.lines else panel
            label = value_name(line) if place.lines else "mean"
            legend[label] = draw_line(axes, rows, place.x, xs, label, index, min(len(lines), MAX_LINES), options)
        finish_axes(axes, xs, title, options)
    label_rows(grid, study, options)
    figure.supxlabel(axis_name(place.x), fontsize=8)
    title = f"{axis_name(place.lines)}; bars: 95 % interval" if place.lines else "Bars: 95 % interval"
    if place.lines:
        columns = min(4 if len(shown_panels) == 1 else 6, len(legend))
        # About 16 letters to the inch, and a mark beside each name.
        letters = max(map(len, legend)) + 8
        columns = max(1, min(columns, int(16 * figure.get_figwidth() / letters)))
        figure.legend(legend.values(), legend.keys(), title=title, loc="outside upper center", ncols=columns)
    else:
        figure.suptitle(title, fontsize=7)
    tell_replications(tables.values(), notes)
    return figure


def draw_line(axes, rows, x, xs, label, index, count, options):
    """A line of means with intervals; lines side by side where their bars would cover each other."""
    at = positions(rows[x], xs)
    shift = 0.0
    if len(xs) > 1 and count > 1 and not (options.log_x or options.dots):
        gap = np.diff(positions(pd.Series(xs), xs)).min()
        shift = (0.1 if isinstance(xs[0], float) else 0.2) * gap * (2 * index / (count - 1) - 1)
    order = np.argsort(at, kind="stable")
    at, mean, reach = (at + shift)[order], rows["mean"].to_numpy()[order], rows["reach"].to_numpy()[order]
    style = {"color": CURVE_COLOURS[index % len(CURVE_COLOURS)], "marker": MARKERS[index % len(MARKERS)], "linewidth": 0.9}
    if options.dots or not pd.api.types.is_float_dtype(rows[x]):
        style["linestyle"] = "none"
    return axes.errorbar(at, mean, np.nan_to_num(reach), elinewidth=0.7, markersize=3, label=label, **style)


def positions(values, xs):
    """Where values stand: numbers where they are, words one after the other."""
    if pd.api.types.is_float_dtype(values):
        return values.to_numpy(float)
    return np.array([xs.index(value) for value in values], float)


def finish_axes(axes, xs, title, options):
    axes.set_title(title, fontsize=8)
    if not isinstance(xs[0], float):
        axes.set_xticks(range(len(xs)), map(value_name, xs), rotation=30 if len(xs) > 3 else 0)
        axes.set_xlim(-0.5, len(xs) - 0.5)
    elif options.log_x:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    elif len(xs) <= 8 and np.diff(xs).min(initial=math.inf) > 0.08 * (xs[-1] - xs[0]):
        axes.set_xticks(xs, map(value_name, xs))
    if options.log_y:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    if options.difference:
        axes.axhline(0, color="black", linewidth=0.7)


def plain_ticks(axis):
    """Numbers as they are on a logarithmic axis."""
    axis.set_major_locator(PlainLogLocator())
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())


class PlainLogLocator(matplotlib.ticker.LogLocator):
    """1, 2, 5, 10 … over less than three decades, else as many powers of ten as fit; even steps where there are none of these."""

    def tick_values(self, vmin, vmax):
        for subs in ((1,),) if vmax >= 1000 * vmin else ((1, 2, 5), (1,)):
            self.set_params(subs=subs)
            ticks = super().tick_values(vmin, vmax)
            if sum(vmin <= tick <= vmax for tick in ticks) > 1:
                return ticks
        return matplotlib.ticker.MaxNLocator(4).tick_values(vmin, vmax)


def label_rows(grid, study, options):
    for row, axes in enumerate(grid[:, 0]):
        axes.set_ylabel(figure_name(study, study.figures[row if len(study.figures) > 1 else 0], options))


def draw_heatmap(study, place, options, notes):
    shown_panels = panels(study, place, notes)
    figure, grid, cells = make_grid(study, shown_panels, options)
    xs, ys = study.values(place.x), study.values(place.lines)
    tables = {name: points(study, name, place.shown()) for name in study.figures}
    for axes, (name, title, value) in cells:
        table = tables[name]
        panel = table[table[place.facet] == value] if place.facet else table
        limits = {"vmin": table["mean"].min(), "vmax": table["mean"].max()}
        means = cells_of(panel, place, xs, ys, "mean")
        axes.imshow(means, origin="lower", aspect="auto", cmap="viridis", **limits)
        axes.set_facecolor("#dddddd")
        axes.grid(visible=False)
        axes.set_xticks(range(len(xs)), map(value_name, xs), rotation=45 if len(xs) > 6 else 0)
        axes.set_yticks(range(len(ys)), map(value_name, ys))
        axes.set_title(title, fontsize=8)
        if len(xs) * len(ys) * len(shown_panels) <= MAX_NUMBERED_CELLS:
            write_cells(axes, means, cells_of(panel, place, xs, ys, "reach"), limits)
    for row, name in enumerate(study.figures):
        beside = list(grid[row]) if len(study.figures) > 1 else list(grid.flat)
        figure.colorbar(beside[0].images[0], ax=beside, label=figure_name(study, name, options))
    figure.supxlabel(axis_name(place.x), fontsize=8)
    figure.supylabel(axis_name(place.lines), fontsize=8)
    tell_replications(tables.values(), notes)
    return figure


def cells_of(panel, place, xs, ys, column):
    """A matrix by (y, x); NaN where there is no point."""
    cells = panel.pivot_table(index=place.lines, columns=place.x, values=column, sort=False, dropna=False)
    return cells.reindex(index=ys, columns=xs).to_numpy(float)


def write_cells(axes, means, reaches, limits):
    middle = (limits["vmin"] + limits["vmax"]) / 2
    for (row, column), mean in np.ndenumerate(means):
        if math.isfinite(mean):
            reach = reaches[row, column]
            text = f"{mean:.4g}" + (f"\n±{reach:.2g}" if math.isfinite(reach) else "")
            axes.text(column, row, text, ha="center", va="center", fontsize=5.5, color="white" if mean < middle else "black")


def tell_replications(tables, notes):
    least = min(int(table["n"].min()) for table in tables)
    most = max(int(table["n"].max()) for table in tables)
    if most == 1:
        notes.append("one replication per point: no intervals")
    elif least < most:
        notes.append(f"points rest on {least} to {most} replications")


# ---- Command -------------------------------------------------------------------------------------------------------


def pair(text):
    axis, equals, value = text.rpartition("=")
    if not (axis and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}' is not AXIS=VALUE")
    return axis, value


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Draw any figure of a parameter study against any axis.")
    parser.add_argument("runs", type=Path, metavar="RUNS", help="runs.csv, or the study's output folder")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where the picture goes (default: out)")
    parser.add_argument("--name", default="study", help="its name without suffix (default: study)")
    parser.add_argument("--figure", type=lambda text: text.split(","), help="columns of runs.csv, comma-separated (default: e2e_mean_s,corpus_ppl)")
    parser.add_argument("--x", metavar="AXIS", help="axis to draw against (default: the first that varies)")
    parser.add_argument("--lines", metavar="AXIS", help="axis with a line per value, or the heatmap's y (default: the next)")
    parser.add_argument("--facet", metavar="AXIS", help="axis with a panel per value (default: the next)")
    parser.add_argument("--where", type=pair, action="append", default=[], metavar="AXIS=VALUE", help="only these runs; may be repeated: several values of one axis, or several axes")
    parser.add_argument("--difference", type=pair, metavar="AXIS=VALUE", help="figures minus those at this value, paired by replication")
    parser.add_argument("--heatmap", action="store_true", help="colour over two axes")
    parser.add_argument("--dots", action="store_true", help="a dot per point and no lines, whatever else varies: for sampled studies")
    parser.add_argument("--log-x", action="store_true")
    parser.add_argument("--log-y", action="store_true")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser.parse_args(arguments)


def study_report(options):
    notes = []
    study = hold(load_study(options.runs, options.figure, notes), options.where)
    if options.difference:
        study = paired(study, *options.difference)
    place = layout(study, options)
    options.out.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure = (draw_heatmap if options.heatmap else draw_lines)(study, place, options, notes)
        for suffix in options.format:
            path = options.out / f"{options.name}.{suffix}"
            figure.savefig(path, dpi=options.dpi, metadata=UNDATED[suffix])
            print(f"wrote {path}")
        plt.close(figure)
    for note in notes:
        print(f"note: {note}")


def main(arguments=None):
    try:
        study_report(parse_arguments(arguments))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, InputError):
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
