"""A made-up fit: each expected value is computed by hand."""

import math

import pandas as pd
import pytest
from learning_runs import rows_of, same_files

import fit_report


def fold(number, mse, **cells):
    return {"fold": number, "rows": 10, "mse": mse, "mae": 0.1, "r2": 0.9, "constant_mse": 0.5, "noise_floor_mse": 0.04, "cell_r2": 0.97, "epochs": 30} | cells


def write(folder, metrics, calibration):
    folder.mkdir(parents=True)
    pd.DataFrame(metrics).to_csv(folder / "metrics.csv", index=False)
    pd.DataFrame(calibration).to_csv(folder / "calibration.csv", index=False)
    return folder


BINS = {"predicted": [0.1, 0.2, 0.6], "measured": [0.0, 0.2, 0.4], "measured_error": [0.1, 0.1, 0.1], "rows": [2, 1, 1]}


def test_numbers_and_pictures(tmp_path, capsys):
    folder = write(tmp_path / "fit", [fold(0, 0.04), fold(1, 0.06), fold("mean", 0.052, rows=20, epochs=30.5), fold("check", 0.08, cell_r2=None)], BINS)
    text = same_files(tmp_path, capsys, fit_report, [folder], "fit_report")
    header, first, second, deviation, mean, check = rows_of(text)
    assert first == ["0", "10", "30", "0.04", "0.5", "0.04", "1", "0.1", "0.9", "0.97"]
    # As they stand in the file.
    assert mean == ["mean", "20", "30.5", "0.052", "0.5", "0.04", "1.3", "0.1", "0.9", "0.97"]
    assert check == ["check", "10", "30", "0.08", "0.5", "0.04", "2", "0.1", "0.9"]
    # Of 0.04 and 0.06, and of 1 and 1.5.
    assert deviation[:5] == ["deviation", "0.01414", "0", "0", "0.3536"]
    # Off by 0.1 (twice), 0, 0.2; 0.2 is beyond 1.96 · 0.1.
    assert "calibration: 3 bins, mean error +0.1, largest 0.2; 2 of 3 bins within the measurement's 95 % interval" in text


def test_the_floor_and_the_bars_may_be_missing(tmp_path, capsys):
    folder = write(tmp_path / "fit", [fold(0, 0.04, noise_floor_mse=None)], BINS | {"measured_error": [None] * 3})
    assert fit_report.main([str(folder), "-o", str(tmp_path), "--format", "svg"]) == 0
    text = capsys.readouterr().out
    assert rows_of(text)[1] == ["0", "10", "30", "0.04", "0.5", "0.1", "0.9", "0.97"] and len(rows_of(text)) == 2
    assert "within" not in text


def test_the_picture_has_the_diagonal_and_the_bars(tmp_path):
    folder = write(tmp_path / "fit", [fold(0, 0.04), fold(1, 0.06)], BINS)
    left, right = fit_report.draw(fit_report.read_calibration(folder), fit_report.read_metrics(folder)[0]).axes
    [points] = left.containers
    assert list(points[0].get_xdata()) == BINS["measured"] and list(points[0].get_ydata()) == BINS["predicted"]
    [[start, end], *_] = points[2][0].get_segments()
    assert (start[0], end[0]) == (pytest.approx(-0.1 * 1.959964), pytest.approx(0.1 * 1.959964))
    assert [line.get_label() for line in right.lines] == ["surrogate", "a constant", "noise floor"]
    assert math.isclose(right.lines[0].get_ydata()[1], 0.06)


@pytest.mark.parametrize(
    "metrics, bins, message",
    [
        ([fold("all", 1.0)], BINS, "metrics.csv: no fold"),
        ([fold(0, 1.0)], {"predicted": [1.0]}, "missing column 'measured', 'measured_error', 'rows'"),
        ([fold(0, 1.0)], {"predicted": [1.0], "measured": [None], "measured_error": [None], "rows": [1]}, "no bin has both a prediction and a measurement"),
        ([fold(0, "x")], BINS, "line 2, column 'mse': 'x' is no number"),
    ],
)
def test_bad_input_is_named(tmp_path, capsys, metrics, bins, message):
    folder = write(tmp_path / "fit", metrics, bins)
    assert fit_report.main([str(folder), "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert fit_report.main([str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2
    assert "hint: name the output folder of splitwave fit" in capsys.readouterr().err
