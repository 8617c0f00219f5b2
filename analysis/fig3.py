#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["pandas>=2.2", "matplotlib>=3.8"]
# ///
"""Draw perplexity against the split layer from the records of `splitwave profile`: Fig. 3 of Chen et al., or any profile.

    records.csv … ──> load_records ──> points (corpus PPL per point, paired error) ──> a panel per channel, a line per way of sending

Several profiles share one picture: those of scenarios/chen25/fig3-awgn.toml and fig3-rayleigh.toml give the four panels.
The CSV files are read by column name only. Evaluations in which nothing arrived are left out of the means, as in table.csv.
Exit codes: 0 done, 2 the input is wrong.
"""

import argparse
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from run_data import Z_95, InputError, read_columns
from run_report import CURVE_COLOURS, MARKERS, STYLE, UNDATED, picture_formats, positive, shown

NUMBERS = ["split", "noise_std", "activation_snr_db", "loss_probability", "window", "ppl_clean", "nll_sum", "tokens_scored", "snr_target_db"]
WORDS = ["model", "loss_unit", "reception", "tx_normalisation", "outage", "fading"]
# What a point is made of beside its split. `level` is the SNR asked for, or else σ.
CHANNEL = ["model", "fading", "loss_probability", "level"]
SENDING = ["reception", "loss_unit", "tx_normalisation"]

MAX_PANELS = 12
MAX_LINES = 10
WIDTH_IN = 7.0
DASHES = {"none": "-", "per-row": "--", "per-request": ":"}
NORMALISATIONS = {"none": "absolute noise", "per-row": "rows of unit power", "per-request": "requests of unit power"}
FADINGS = {"none": "AWGN", "rayleigh": "Rayleigh"}


# ---- Numbers -------------------------------------------------------------------------------------------------------


def load_records(paths):
    """The records of all profiles, with the noise `level` of each as a word."""
    frames = [read_columns(path / "records.csv" if path.is_dir() else path, NUMBERS, WORDS) for path in paths]
    records = pd.concat([frame.astype({word: str for word in WORDS}) for frame in frames], ignore_index=True)
    if records.empty:
        raise InputError(f"{paths[0]}: no records", "finish the profile first: the same command goes on where it stopped")
    records["level"] = [level_name(std, snr) for std, snr in zip(records["noise_std"], records["snr_target_db"])]
    return records


def level_name(std, target_db):
    if math.isfinite(target_db):
        return f"{target_db:g} dB"
    return f"σ = {std:.4g}" if std > 0 else "no noise"


def points(records, point=(*CHANNEL, *SENDING, "split")):
    """Corpus PPL of each point (what these columns tell apart), its clean PPL, and the standard error of ln(PPL/PPL_0), paired by window.

    With D = nll_sum - tokens_scored·ln(ppl_clean) and T = tokens_scored, summed over a window's draws (which are not
    independent), e = ΣD/ΣT has the variance n/(n-1)·Σ(D - e·T)²/(ΣT)² over n windows.
    """
    arrived = records[records["outage"].str.lower() == "false"]
    clean = arrived["tokens_scored"] * np.log(arrived["ppl_clean"])
    sums = arrived.assign(T=arrived["tokens_scored"], X=arrived["nll_sum"], C=clean)
    point = list(point)
    sums = sums.groupby([*point, "window"], sort=False)[["T", "X", "C"]].sum()
    total = sums.groupby(point, sort=False).sum()
    excess = (total["X"] - total["C"]) / total["T"]
    residual = sums["X"] - sums["C"] - sums["T"] * excess.reindex(sums.droplevel("window").index).to_numpy()
    squares = (residual**2).groupby(point, sort=False).agg(["sum", "count"])
    error = np.sqrt(squares["sum"] * squares["count"] / (squares["count"] - 1).where(squares["count"] > 1)) / total["T"]
    numbers = {"ppl": np.exp(total["X"] / total["T"]), "ppl_clean": np.exp(total["C"] / total["T"]), "error": error}
    return pd.DataFrame(numbers).reset_index()


# ---- The picture ---------------------------------------------------------------------------------------------------


def layout(found):
    """The columns that tell panels and lines apart. Too many panels: losses become lines."""
    varies = [column for column in CHANNEL if found[column].nunique() > 1]
    lines = [column for column in SENDING if found[column].nunique() > 1]
    if len(found[varies].drop_duplicates()) > 6 and "loss_probability" in varies and not lines:
        return [column for column in varies if column != "loss_probability"], ["loss_probability"]
    return varies, lines


def groups(found, columns):
    """(key, its rows) in order of appearance; all rows where nothing varies."""
    if not columns:
        return [((), found)]
    return list(found.groupby(columns, sort=False))


def panel_title(row, one_loss, several_models):
    parts = [FADINGS.get(row["fading"], row["fading"])]
    if one_loss and row["loss_probability"] > 0:
        parts.append(f"P = {row['loss_probability']:g}")
    parts.append(row["level"])
    return ", ".join([*([shown(row["model"], 30)] if several_models else []), *parts])


def line_name(row, columns):
    names = {"tx_normalisation": NORMALISATIONS.get(row["tx_normalisation"], row["tx_normalisation"])}
    names["loss_probability"] = f"P = {row['loss_probability']:g}"
    return ", ".join(shown(names.get(column, row[column])) for column in columns) or "PPL"


def draw(found, notes):
    panel_columns, line_columns = layout(found)
    panels = groups(found, panel_columns)
    if len(panels) > MAX_PANELS:
        notes.append(f"shows the first {MAX_PANELS} of {len(panels)} panels: profile fewer losses or noise levels")
    panels = panels[:MAX_PANELS]
    # Normalisations differ in their dashes, everything else in colour.
    coloured = [column for column in line_columns if column != "tx_normalisation"]
    hues = [key for key, _ in groups(found, coloured)]
    columns = 1 if len(panels) == 1 else 2 if len(panels) in (2, 4) else 3
    lines = math.ceil(len(panels) / columns)
    size = (WIDTH_IN if columns > 1 else WIDTH_IN / 2, 0.9 + 2.0 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    legend = {}
    for letter, axes, (_, rows) in zip("abcdefghijkl", grid.flat, panels):
        drawn = groups(rows, line_columns)
        if len(drawn) > MAX_LINES:
            notes.append(f"panel ({letter}) shows the first {MAX_LINES} of {len(drawn)} lines")
        title = panel_title(rows.iloc[0], "loss_probability" not in line_columns, found["model"].nunique() > 1)
        axes.set_title(f"({letter}) {title}" if len(panels) > 1 else title, fontsize=8)
        for index, (_, line) in enumerate(drawn[:MAX_LINES]):
            hue = hues.index(next(key for key, _ in groups(line, coloured)))
            name = line_name(line.iloc[0], line_columns)
            legend[name] = draw_line(axes, line, name, hue, index, len(drawn))
        clean = rows["ppl_clean"].iloc[0]
        dotted = axes.axhline(clean, color="black", linestyle=(0, (1, 2)), linewidth=0.9)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        if rows["ppl"].max() > 8 * clean:
            axes.set_yscale("log")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    legend["no channel"] = dotted
    for axes in grid[:, 0]:
        axes.set_ylabel("Corpus perplexity")
    figure.supxlabel("Split p (layers on the UE)", fontsize=8)
    title = "Bars: 95 % interval of PPL over that without a channel, paired by window"
    figure.legend(legend.values(), legend.keys(), title=title, loc="outside upper center", ncols=min(3, len(legend)))
    return figure


def draw_line(axes, line, name, hue, index, count):
    line = line.sort_values("split")
    normalisation = line["tx_normalisation"].iloc[0]
    gaps = np.diff(line["split"])
    x = line["split"] + (gaps.min() if len(gaps) else 1.0) * 0.12 * (index - (count - 1) / 2)
    reach = np.exp(Z_95 * line["error"].fillna(0))
    bars = [line["ppl"] * (1 - 1 / reach), line["ppl"] * (reach - 1)]
    colour = CURVE_COLOURS[hue % len(CURVE_COLOURS)]
    style = {"color": colour, "linestyle": DASHES.get(normalisation, "-."), "marker": MARKERS[hue % len(MARKERS)]}
    # Open markers where the transmitter scales.
    style["markerfacecolor"] = colour if normalisation == "none" else "white"
    return axes.errorbar(x, line["ppl"], bars, elinewidth=0.7, linewidth=0.9, markersize=3, label=name, **style)


# ---- Command -------------------------------------------------------------------------------------------------------


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Draw perplexity against the split layer from records of `splitwave profile`.")
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORDS", help="records.csv, or the folder of a profile; several share the picture")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), help="where the picture goes (default: out)")
    parser.add_argument("--name", default="fig3", help="its name without suffix (default: fig3)")
    parser.add_argument("--format", type=picture_formats, default=["png", "svg"], help="of png, svg, pdf (default: png,svg)")
    parser.add_argument("--dpi", type=positive, default=300, help="resolution of PNG (default: 300)")
    return parser.parse_args(arguments)


def fig3(options):
    notes = []
    found = points(load_records(options.records))
    if found.empty:
        raise InputError(f"{options.records[0]}: nothing arrived in any evaluation", "profile smaller losses")
    options.out.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure = draw(found, notes)
        for suffix in options.format:
            path = options.out / f"{options.name}.{suffix}"
            figure.savefig(path, dpi=options.dpi, metadata=UNDATED[suffix])
            print(f"wrote {path}")
        plt.close(figure)
    for note in notes:
        print(f"note: {note}")


def main(arguments=None):
    try:
        fig3(parse_arguments(arguments))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, InputError):
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
