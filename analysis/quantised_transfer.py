#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw perplexity against the bits that a token's activations take on the air, from records of `splitwave profile --encodings`.

    records.csv … ──> corpus PPL over that without a channel, paired by window ──> a panel per split and loss, a line per family

A family is an encoding and what is done to it: nothing (all encodings are one family, `plain`), outliers in f16, or top-k. The
line of a family with shares begins or ends at the plain encoding it is made of, where that was profiled. The CSV files are
read by column name only. Evaluations in which nothing arrived are left out, as in table.csv.
Exit codes: 0 done, 2 the input is wrong.
"""

import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fig3 import points
from learning_data import exit_code, make_parser, write
from run_data import Z_95, InputError, read_columns
from run_report import CURVE_COLOURS, MARKERS, MAX_PANELS, STYLE, as_text

NUMBERS = ["split", "loss_probability", "window", "ppl_clean", "nll_sum", "tokens_scored", "bits_per_token"]
WORDS = ["model", "loss_unit", "reception", "outage", "encoding"]
# What is drawn together: a panel has one of each but of the encoding.
PANEL = ["model", "loss_unit", "loss_probability", "split"]
POINT = [*PANEL, "encoding", "bits_per_token"]
CODEC = re.compile(r"(?P<encoding>f32|f16|bf16|int8|int4)(\+outliers=(?P<outliers>[0-9.e-]+))?(\+top-k=(?P<top_k>[0-9.e-]+))?")
# Below this, in percent, the vertical axis is linear.
LINEAR_PERCENT = 1.0


# ---- Numbers -------------------------------------------------------------------------------------------------------


def load_records(paths):
    """The digital records of all profiles."""
    frames = []
    for path in paths:
        path = path / "records.csv" if path.is_dir() else path
        frame = read_columns(path, NUMBERS, WORDS).astype({word: str for word in WORDS})
        digital = frame[frame["reception"] == "digital"]
        if digital.empty:
            hint = "profile a digital channel: splitwave profile scenarios/quantised_transfer.toml -o DIR --encodings f16,int8,int4"
            raise InputError(f"{path}: no records of digital reception", hint)
        unknown = digital.loc[~digital["encoding"].map(lambda text: bool(CODEC.fullmatch(text))), "encoding"]
        if not unknown.empty:
            line, text = unknown.index[0] + 2, unknown.iloc[0]
            hint = "allowed: f32, f16, bf16, int8 or int4, behind it +outliers=SHARE or +top-k=SHARE"
            raise InputError(f"{path}: line {line}, column 'encoding': '{text}' is no encoding", hint)
        unpaid = digital.index[~(digital["bits_per_token"] > 0)]
        if len(unpaid):
            raise InputError(f"{path}: line {unpaid[0] + 2}, column 'bits_per_token': no bits above 0", "the file was changed: profile again with --force")
        frames.append(digital)
    return pd.concat(frames, ignore_index=True)


def family(encoding):
    """(its name, the plain encoding that it is made of, or None for that itself)."""
    parts = CODEC.fullmatch(encoding)
    done = [name for key, name in (("outliers", "outliers in f16"), ("top_k", "top-k")) if parts[key]]
    if not done:
        return "plain", None
    return f"{parts['encoding']}, {' and '.join(done)}", parts["encoding"]


def losses(records):
    """PPL/PPL_0 - 1 of each point in percent, with the ends of its 95 % interval."""
    found = points(records, POINT)
    reach = np.exp(Z_95 * found["error"].fillna(0))
    ratio = found["ppl"] / found["ppl_clean"]
    percent = {"percent": 100 * (ratio - 1), "low": 100 * (ratio / reach - 1), "high": 100 * (ratio * reach - 1)}
    families = [family(encoding) for encoding in found["encoding"]]
    return found.assign(**percent, family=[name for name, _ in families], base=[base for _, base in families])


def lines(panel):
    """(family, its points by rising bits), in order of appearance; those with shares have their plain encoding with them."""
    drawn = []
    for name, members in panel.groupby("family", sort=False):
        bases = set(members["base"].dropna())
        rows = pd.concat([members, panel[panel["encoding"].isin(bases)]])
        drawn.append((name, rows.sort_values("bits_per_token", kind="stable")))
    return drawn


def rows_of(found):
    rows = [["split", "P", "encoding", "bits per token", "PPL/PPL_0 - 1", "95 % interval"]]
    for row in found.sort_values(["split", "loss_probability", "bits_per_token"], kind="stable").to_dict("records"):
        interval = f"{row['low']:+.2f} to {row['high']:+.2f} %" if row["error"] == row["error"] else ""
        rows.append([f"{row['split']:.0f}", f"{row['loss_probability']:g}", row["encoding"], f"{row['bits_per_token']:.0f}", f"{row['percent']:+.2f} %", interval])
    return rows


# ---- The picture ---------------------------------------------------------------------------------------------------


def title_of(panel, found):
    row = panel.iloc[0]
    parts = [f"split {row['split']:.0f}"]
    if found["loss_probability"].nunique() > 1 or row["loss_probability"] > 0:
        parts.append(f"P = {row['loss_probability']:g}")
    parts += [row[column] for column in ("loss_unit", "model") if found[column].nunique() > 1]
    return ", ".join(parts)


def draw(found, notes):
    panels = list(found.groupby(PANEL, sort=False))
    if len(panels) > MAX_PANELS:
        notes.append(f"shows the first {MAX_PANELS} of {len(panels)} panels: profile fewer splits or losses")
        panels = panels[:MAX_PANELS]
    columns = min(len(panels), 2)
    count = -(-len(panels) // columns)
    size = (3.5 * columns, 1.2 + 2.3 * count)
    figure, grid = plt.subplots(count, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    names = list(dict.fromkeys(found["family"]))
    legend = {}
    for axes, (_, panel) in zip(grid.flat, panels):
        axes.set_title(title_of(panel, found), fontsize=8)
        for name, rows in lines(panel):
            index = names.index(name)
            style = {"color": CURVE_COLOURS[index % len(CURVE_COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            bars = [rows["percent"] - rows["low"], rows["high"] - rows["percent"]]
            legend[name] = axes.errorbar(rows["bits_per_token"], rows["percent"], bars, elinewidth=0.7, linewidth=0.9, markersize=3, **style)
        # Encodings of equal bits share a name, at the lowest of them.
        for bits, alike in panel[panel["family"] == "plain"].groupby("bits_per_token"):
            name = ", ".join(alike["encoding"])
            axes.annotate(name, (bits, alike["percent"].min()), (0, -9), textcoords="offset points", ha="center", fontsize=6)
        axes.axhline(0, color="black", linestyle=(0, (1, 2)), linewidth=0.9)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda bits, _: f"{bits / 1024:g} Ki"))
        axes.set_yscale("symlog", linthresh=LINEAR_PERCENT)
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda percent, _: f"{percent:g}"))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supylabel("PPL/PPL$_0$ - 1 (%)", fontsize=8)
    figure.supxlabel("Bits on the air per token", fontsize=8)
    title = "Bars: 95 % interval, paired by window"
    figure.legend(legend.values(), legend.keys(), title=title, loc="outside upper center", ncols=min(3, len(legend)))
    return figure


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = make_parser("Draw perplexity against bits per token from records of `splitwave profile --encodings`.", "quantised_transfer")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORDS", help="records.csv, or the folder of a profile; several share the picture")
    return parser.parse_args(arguments)


def quantised_transfer(options):
    notes = []
    found = losses(load_records(options.records))
    if found.empty:
        raise InputError(f"{options.records[0]}: nothing arrived in any evaluation", "profile smaller losses")
    doubled = found.groupby([*PANEL, "encoding"])["bits_per_token"].nunique()
    if (doubled > 1).any():
        notes.append(f"{doubled.idxmax()[-1]} takes different bits in these profiles: their cost geometries differ")
    print(as_text(rows_of(found)), end="\n\n")
    with plt.rc_context(STYLE):
        figure = draw(found, notes)
        write(figure, options, notes)
        plt.close(figure)


def main(arguments=None):
    options = parse_arguments(arguments)
    return exit_code(lambda: quantised_transfer(options))


if __name__ == "__main__":
    sys.exit(main())
