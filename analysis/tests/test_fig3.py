"""Small synthetic profiles in, points and pictures out: each expected value is computed by hand."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))
import fig3
from run_data import InputError

COLUMNS = (
    "model split noise_std activation_snr_db rayleigh_scale loss_probability loss_unit reception tx_normalisation window "
    "ppl_clean ppl draw prompt_tokens mean_gain packets_sent packets_lost rows_lost nll_sum tokens_scored "
    "relative_ppl_gain outage fading snr_target_db model_hash"
).split()


def record(nll, tokens=10, clean=math.e, **cells):
    row = dict.fromkeys(COLUMNS) | {"model": "builtin", "split": 1, "noise_std": 0.5, "loss_probability": 0.0, "window": 0}
    row |= {"loss_unit": "token-row", "reception": "raw", "tx_normalisation": "none", "fading": "none", "outage": "false"}
    return row | {"nll_sum": nll, "tokens_scored": tokens, "ppl_clean": clean} | cells


def write(path, records, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(records, columns=columns).to_csv(path, index=False)
    return path


def points(tmp_path, records):
    return fig3.points(fig3.load_records([write(tmp_path / "p/records.csv", records)]))


def profile(settings, splits=range(1, 5), windows=4, **cells):
    rng = np.random.default_rng(1)
    rows = ({**setting, "split": split, "window": window} for setting in settings for split in splits for window in range(windows))
    return [record(12 + rng.uniform(), **cells, **row) for row in rows]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def test_the_error_is_paired_by_window(tmp_path):
    # ln PPL_0 = 1, so D = nll - T. Window 3 sends twice: D = 6 and T = 4; D = 6, T = 4; D = 1, T = 2.
    rows = [record(4, 2, window=3), record(6, 2, window=3), record(10, 4, window=7), record(3, 2, window=9)]
    [point] = points(tmp_path, [*rows, record(99, 2, window=9, outage="true")]).to_dict("records")
    assert math.log(point["ppl"]) == pytest.approx(23 / 10)
    assert math.log(point["ppl_clean"]) == pytest.approx(1)
    # e = 13/10; residuals 0.8, 0.8, -1.6; √(3.84·3/2)/10
    assert point["error"] == pytest.approx(0.24)


def test_one_window_has_no_error(tmp_path):
    [point] = points(tmp_path, [record(12)]).to_dict("records")
    assert math.isnan(point["error"]) and point["ppl"] == pytest.approx(math.exp(1.2))


def test_the_level_is_the_snr_asked_for_or_sigma(tmp_path):
    rows = [record(12, noise_std=0.1 + window / 1000, snr_target_db=20, window=window) for window in range(3)]
    rows += [record(12, noise_std=0.5), record(12, noise_std=0)]
    found = points(tmp_path, rows)
    assert list(found["level"]) == ["20 dB", "σ = 0.5", "no noise"]


# ---- The picture ---------------------------------------------------------------------------------------------------


def test_fig3_has_four_panels(tmp_path):
    sending = [{"tx_normalisation": normalisation} for normalisation in ("none", "per-row")]
    awgn = [row | {"snr_target_db": snr} for row in profile(sending) for snr in (20, 5)]
    faded = [row | {"snr_target_db": 20, "loss_probability": loss} for row in profile(sending, fading="rayleigh") for loss in (0.05, 0.3)]
    found = pd.concat([points(tmp_path / "a", awgn), points(tmp_path / "b", faded)], ignore_index=True)
    assert fig3.layout(found) == (["fading", "loss_probability", "level"], ["tx_normalisation"])
    figure = fig3.draw(found, [])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["(a) AWGN, 20 dB", "(b) AWGN, 5 dB", "(c) Rayleigh, P = 0.05, 20 dB", "(d) Rayleigh, P = 0.3, 20 dB"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["absolute noise", "rows of unit power", "no channel"]


def test_many_losses_become_lines(tmp_path):
    cells = [{"loss_probability": loss, "noise_std": std} for loss in (0, 0.1, 0.2) for std in (0, 1, 2)]
    found = points(tmp_path, profile(cells))
    assert fig3.layout(found) == (["level"], ["loss_probability"])
    figure = fig3.draw(found, [])
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["(a) AWGN, no noise", "(b) AWGN, σ = 1", "(c) AWGN, σ = 2"]


def test_what_does_not_fit_is_said(tmp_path):
    notes = []
    cells = [{"noise_std": std, "reception": reception} for std in range(14) for reception in ("raw", "digital")]
    fig3.draw(points(tmp_path, profile(cells, windows=2)), notes)
    assert notes == ["shows the first 12 of 14 panels: profile fewer losses or noise levels"]


def test_command_writes_equal_files(tmp_path):
    records = write(tmp_path / "p/records.csv", profile([{"tx_normalisation": "none"}]))
    for out in ("a", "b"):
        command = [sys.executable, ANALYSIS / "fig3.py", records.parent, "-o", tmp_path / out, "--format", "png,svg", "--dpi", "50"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    for name in ("fig3.png", "fig3.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bad_input_is_named(tmp_path):
    short = write(tmp_path / "p/records.csv", [{"split": 1}], columns=["split"])
    with pytest.raises(InputError, match="missing column 'noise_std'"):
        fig3.load_records([short])
    empty = write(tmp_path / "q/records.csv", [])
    with pytest.raises(InputError, match="no records"):
        fig3.load_records([empty])
    assert fig3.main([str(tmp_path / "nowhere.csv"), "-o", str(tmp_path)]) == 2
