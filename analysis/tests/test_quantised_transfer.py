"""Small synthetic profiles in, points and pictures out: each expected value is computed by hand."""

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))
import quantised_transfer as qt
from run_data import Z_95, InputError

COLUMNS = "model split loss_probability loss_unit reception window ppl_clean nll_sum tokens_scored outage encoding bits_per_token".split()
BITS = {"f16": 65536, "int8": 32784, "int4": 16400, "int4+outliers=0.01": 17384, "f16+top-k=0.25": 20480, "int4+outliers=0.01+top-k=0.5": 13247}


def record(nll, encoding="int8", **cells):
    row = {"model": "builtin", "split": 8, "loss_probability": 0.0, "loss_unit": "chunk", "reception": "digital", "window": 0}
    row |= {"ppl_clean": math.e, "nll_sum": nll, "tokens_scored": 10, "outage": "false", "encoding": encoding, "bits_per_token": BITS.get(encoding)}
    return row | cells


def write(path, records, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(records, columns=columns).to_csv(path, index=False)
    return path


def losses(tmp_path, records):
    return qt.losses(qt.load_records([write(tmp_path / "p/records.csv", records)]))


def profile(encodings=tuple(BITS), windows=4, **cells):
    return [record(10 + 2 ** -(place + window), encoding, window=window, **cells) for place, encoding in enumerate(encodings) for window in range(windows)]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_corpus_and_its_error_is_paired_by_window(tmp_path):
    # ln PPL_0 = 1 and T = 10: D = 1, 3; e = 4/20; residuals -1 and 1, √(2·2/1)/20 = 0.1.
    rows = [record(11, window=3), record(13, window=5), record(99, window=7, outage="true")]
    [point] = losses(tmp_path, rows).to_dict("records")
    assert point["percent"] == pytest.approx(100 * (math.exp(0.2) - 1))
    assert point["low"] == pytest.approx(100 * (math.exp(0.2 - Z_95 * 0.1) - 1))
    assert point["high"] == pytest.approx(100 * (math.exp(0.2 + Z_95 * 0.1) - 1))


def test_one_window_has_no_interval(tmp_path):
    [point] = losses(tmp_path, [record(12)]).to_dict("records")
    assert point["low"] == point["percent"] == point["high"]
    assert qt.rows_of(losses(tmp_path, [record(12)]))[1] == ["8", "0", "int8", "32784", "+22.14 %", ""]


def test_analog_records_stay_out(tmp_path):
    rows = [record(12), record(15, reception="raw", encoding=None, bits_per_token=None)]
    assert list(losses(tmp_path, rows)["encoding"]) == ["int8"]
    with pytest.raises(InputError, match="no records of digital reception"):
        losses(tmp_path, rows[1:])


@pytest.mark.parametrize(
    ("encoding", "family"),
    [
        ("bf16", ("plain", None)),
        ("int4+outliers=0.01", ("int4, outliers in f16", "int4")),
        ("f16+top-k=1e-3", ("f16, top-k", "f16")),
        ("int8+outliers=0.01+top-k=0.5", ("int8, outliers in f16 and top-k", "int8")),
    ],
)
def test_families(encoding, family):
    assert qt.family(encoding) == family


def test_a_line_holds_the_plain_encoding_that_it_is_made_of(tmp_path):
    drawn = dict(qt.lines(losses(tmp_path, profile())))
    found = {name: list(rows["encoding"]) for name, rows in drawn.items()}
    assert found == {
        "plain": ["int4", "int8", "f16"],
        "int4, outliers in f16": ["int4", "int4+outliers=0.01"],
        "f16, top-k": ["f16+top-k=0.25", "f16"],
        "int4, outliers in f16 and top-k": ["int4+outliers=0.01+top-k=0.5", "int4"],
    }


# ---- The picture ---------------------------------------------------------------------------------------------------


def test_a_panel_for_each_split_and_loss(tmp_path):
    rows = [row for split in (1, 8) for loss in (0, 0.1) for row in profile(split=split, loss_probability=loss)]
    figure = qt.draw(losses(tmp_path, rows), [])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["split 1, P = 0", "split 1, P = 0.1", "split 8, P = 0", "split 8, P = 0.1"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["plain", "int4, outliers in f16", "f16, top-k", "int4, outliers in f16 and top-k"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["int4", "int8", "f16"]
    assert figure.axes[0].get_xscale() == "log"


def test_what_does_not_fit_is_said(tmp_path):
    notes = []
    rows = [row for split in range(1, 9) for row in profile(windows=2, split=split)]
    qt.draw(losses(tmp_path, rows), notes)
    assert notes == ["shows the first 6 of 8 panels: profile fewer splits or losses"]


def test_other_geometries_are_noted(tmp_path, capsys):
    rows = [*profile(windows=2), *profile(windows=2, bits_per_token=99)]
    path = write(tmp_path / "p/records.csv", rows)
    assert qt.main([str(path), "-o", str(tmp_path), "--format", "svg"]) == 0
    assert "takes different bits in these profiles" in capsys.readouterr().out


def test_command_writes_equal_files(tmp_path):
    records = write(tmp_path / "p/records.csv", profile())
    for out in ("a", "b"):
        command = [sys.executable, ANALYSIS / "quantised_transfer.py", records.parent, "-o", tmp_path / out, "--format", "png,svg", "--dpi", "50"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "int4+outliers=0.01+top-k=0.5" in done.stdout and "13247" in done.stdout
    for name in ("quantised_transfer.png", "quantised_transfer.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="missing column 'split'"):
        qt.load_records([write(tmp_path / "p/records.csv", [{"encoding": "f16"}], columns=["encoding"])])
    with pytest.raises(InputError, match="line 3, column 'encoding': 'int4\\+magic=1' is no encoding"):
        losses(tmp_path, [record(12), record(12, "int4+magic=1", bits_per_token=1)])
    for bits in (0, -1, None):
        with pytest.raises(InputError, match="line 2, column 'bits_per_token': no bits above 0"):
            losses(tmp_path, [record(12, bits_per_token=bits)])
    with pytest.raises(InputError, match="line 2, column 'bits_per_token': 'many' is no number"):
        losses(tmp_path, [record(12, bits_per_token="many")])
    out = ["-o", str(tmp_path)]
    assert qt.main([str(write(tmp_path / "q/records.csv", [record(12, outage="true")])), *out]) == 2
    assert qt.main([str(tmp_path / "nowhere.csv"), *out]) == 2
