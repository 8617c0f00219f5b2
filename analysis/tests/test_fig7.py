"""Splits against loss in made-up runs: each expected value is computed by hand."""

import math

import numpy as np
import pytest
from learning_runs import episodes, rows_of, same_files, write_run

import fig7


def test_least_squares_by_hand():
    # x̄ = 2, ȳ = 3; Sxx = 10, Sxy = 8, Syy = 8: slope 0.8, rest 8 - 6.4 = 1.6
    line = fig7.least_squares(np.array([0.0, 1, 2, 3, 4]), np.array([1.0, 3, 2, 5, 4]))
    assert line.slope == pytest.approx(0.8) and line.intercept == pytest.approx(1.4)
    assert line.error == pytest.approx(math.sqrt(3.6 / 3 / 10)) and line.r2 == pytest.approx(0.64)


def test_least_squares_of_a_constant():
    flat = fig7.least_squares(np.array([0.0, 1, 2]), np.ones(3))
    assert (flat.slope, flat.error) == (0, 0) and math.isnan(flat.r2)
    assert math.isnan(fig7.least_squares(np.ones(3), np.arange(3.0)).slope)


@pytest.mark.parametrize("span", [0.2, 0.5, 1.0])
def test_loess_of_a_line_is_the_line(span):
    x = np.random.default_rng(1).uniform(0, 0.3, 60)
    at = np.linspace(0, 0.3, 20)
    assert fig7.loess(x, 3 - 7 * x, at, span) == pytest.approx(3 - 7 * at, abs=1e-9)


def test_loess_by_hand():
    # At 1 the three nearest are 0, 1 and 2; the outer two have no weight, so the middle one is met.
    x, y = np.arange(4.0), np.array([0.0, 5.0, 1.0, 7.0])
    assert fig7.loess(x, y, [1.0], 0.75) == pytest.approx([5.0], abs=1e-6)
    # At 1 all four: d_max = 2, weights (1 - 1/8)³ = 343/512, 1, 343/512, 0.
    w = 343 / 512
    centre, level = (w * 0 + 1 + w * 2) / (1 + 2 * w), (5 + w * 1) / (1 + 2 * w)
    assert centre == 1
    assert fig7.loess(x, y, [1.0], 1.0) == pytest.approx([level], abs=1e-6)


def test_loess_where_one_x_has_all_the_weight():
    x, y = np.array([0.0, 0, 0, 1]), np.array([1.0, 2, 3, 9])
    assert fig7.loess(x, y, [0.0], 0.5) == pytest.approx([2.0])


def test_numbers_and_pictures(tmp_path, capsys):
    losses = [0.0, 0.1, 0.2, 0.3, 0.4, 0.9]
    rows = episodes("learned", [0.0] * 6, 0, losses, [9] * 6) + episodes("learned", [0.0] * 6, 100, losses, [1, 3, 2, 5, 4, 9])
    rows += episodes("optimal", [0.0] * 6, None, losses, [1, 1, 1, 7, 7, 9])
    write_run(tmp_path / "runs", "case_a_ppo", 1, rows)
    text = same_files(tmp_path, capsys, fig7, [tmp_path / "runs", "--episodes", "5"], "fig7")
    header, learner, optimum = rows_of(text)
    # As by hand above, with losses in tenths.
    assert learner == ["PPO", "5", "8", f"{10 * math.sqrt(0.12):.4g}", "0.64", "1.4", "3"]
    # x̄ = 2, ȳ = 3.4; Sxy = 18 in tenths; rest 43.2 - 32.4 = 10.8
    assert optimum == ["optimum", "5", "18", "6", "0.75", "-0.2", "3.4"]


def test_runs_have_a_row_each_and_the_first_is_drawn(tmp_path, capsys):
    for seed, splits in ((2, [1, 2, 3]), (1, [1, 3, 5])):
        write_run(tmp_path / "runs", "case_a_ppo", seed, episodes("learned", [0.0] * 3, 100, [0.0, 0.1, 0.2], splits))
    assert fig7.main([str(tmp_path / "runs"), "-o", str(tmp_path), "--format", "svg"]) == 0
    text = capsys.readouterr().out
    assert [row[:5] for row in rows_of(text)[1:]] == [["PPO,", "seed", "1", "3", "20"], ["PPO,", "seed", "2", "3", "10"]]
    # 10 and 20: 15 ± 12.706 · 5
    assert "slope over 2 runs: 15 ± 64 (95 %, Student's t)" in text
    assert "note: the picture shows PPO, seed 1, the first of 2 runs" in text and "the optimum's episodes: it is not shown" in text


def test_every_ue_is_in_the_last_evaluation(tmp_path, capsys):
    rows = episodes("learned", [0.0] * 2, 162, [0.0, 0.1], [1, 3], ue=0, number=1) + episodes("learned", [0.0] * 2, 205, [0.2, 0.3], [2, 5], ue=1, number=1)
    write_run(tmp_path / "runs", "x", 1, [*episodes("learned", [0.0], 100, [0.9], [9], number=0), *rows])
    assert fig7.main([str(tmp_path / "runs"), "-o", str(tmp_path), "--format", "svg"]) == 0
    text = capsys.readouterr().out
    # x̄ = 1.5 and ȳ = 2.75 in tenths, Sxx = 5, Sxy = 5.5.
    assert rows_of(text)[1][:3] == ["x", "4", "11"] and "note: x has only 4 episodes, not 500" in text


def test_runs_of_other_settings_are_refused(tmp_path, capsys):
    for seed in (1, 2):
        write_run(tmp_path, "case_a_ppo", seed, episodes("learned", [0.0] * 3, 100), {"rate": seed})
    assert fig7.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "runs called case_a_ppo differ in their settings: PPO, rate=1; PPO, rate=2" in capsys.readouterr().err


def test_bad_input_is_named(tmp_path, capsys):
    write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [0.0] * 3, 100, [0.1] * 3, [1, 2, 3]))
    assert fig7.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "PPO: 3 episodes, loss probability constant" in capsys.readouterr().err
    write_run(tmp_path, "case_a_a2c", 1, episodes("learned", [0.0], 100))
    assert fig7.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "runs of 2 scenarios: case_a_a2c, case_a_ppo" in capsys.readouterr().err
