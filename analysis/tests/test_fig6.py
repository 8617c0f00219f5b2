"""Violins of made-up runs: each expected value is computed by hand."""

import math

import numpy as np
import pytest
from learning_runs import episodes, rows_of, same_files, write_run, yardsticks

import fig6
import learning_data

T_2 = 4.302653  # 97.5 % points of Student's t
T_1 = 12.706205


def load(root):
    evaluations = learning_data.load_evaluations(learning_data.find_all([root], []), [])
    return dict(fig6.samples(evaluations, []))


def write(root):
    """Two seeds of PPO and A2C on three episodes; the level of an episode is 10 times its number."""
    for seed, shift in ((1, 0.0), (2, 1.0)):
        write_run(root, "case_a_ppo", seed, [*episodes("learned", [9.0] * 3, 0), *episodes("learned", [shift, 10 + shift, 20 + shift], 100), *yardsticks([5, 15, 25], [-5, 5, 15])])
    for seed, shift in ((1, 0.5), (2, 1.7)):
        write_run(root, "case_a_a2c", seed, episodes("learned", [shift, 10 + shift, 20 + shift + 0.3], 100))


def test_differences_are_paired(tmp_path):
    write(tmp_path)
    named = load(tmp_path)["A"]
    assert list(named) == ["PPO", "A2C", "optimum", "random moves"]
    # By seed: 0.6 and 0.8.
    assert fig6.paired_by_run(named["A2C"], named["PPO"]) == pytest.approx((0.7, T_1 * 0.1 * math.sqrt(2) / math.sqrt(2)), rel=1e-6)
    # By episode, means over seeds: 0.6, 0.6, 0.9.
    assert fig6.paired_by_episode(named["A2C"], named["PPO"]) == pytest.approx((0.7, T_2 * math.sqrt(0.03) / math.sqrt(3)), rel=1e-6)


def test_the_table_tells_both_intervals(tmp_path, capsys):
    write(tmp_path / "runs")
    text = same_files(tmp_path, capsys, fig6, [tmp_path / "runs"], "fig6")
    header, ppo, a2c, optimum, random, *_ = rows_of(text)
    # Means of the runs 10 and 11; of the episodes 0.5, 10.5, 20.5.
    assert ppo == ["A", "PPO", "2", "3", "10.5000", f"{T_1 / 2:.4f}", f"{T_2 * 10 / math.sqrt(3):.4f}"]
    assert a2c[:5] == ["A", "A2C", "2", "3", "11.2000"] and a2c[7:] == ["+0.7000", f"{T_1 / 10:.4f}", f"{T_2 * 0.1:.4f}"]
    # Each episode's optimum is 4.5 above PPO.
    assert optimum == ["A", "optimum", "3", "15.0000", "24.8414", "+4.5000", f"{T_1 / 2:.4f}", "0.0000"]
    assert random[-3:] == ["-5.5000", f"{T_1 / 2:.4f}", "0.0000"]


def test_the_reference_can_be_named(tmp_path, capsys):
    write(tmp_path / "runs")
    assert fig6.main([str(tmp_path / "runs"), "--reference", "optimum", "-o", str(tmp_path), "--format", "svg"]) == 0
    assert rows_of(capsys.readouterr().out)[1][-3:] == ["-4.5000", f"{T_1 / 2:.4f}", "0.0000"]
    assert fig6.main([str(tmp_path / "runs"), "--reference", "ppo", "-o", str(tmp_path)]) == 2
    assert "--reference: there is no 'ppo'\nhint: there are: PPO, A2C, optimum, random moves" in capsys.readouterr().err


def test_other_starts_are_not_paired(tmp_path, capsys):
    write(tmp_path / "runs")
    write_run(tmp_path / "runs", "case_a_dqn", 1, episodes("learned", [0.0, 1.0, 2.0], 100, first_split=5))
    assert fig6.main([str(tmp_path / "runs"), "-o", str(tmp_path), "--format", "svg"]) == 0
    text = capsys.readouterr().out
    assert rows_of(text)[2][7:] == ["+0.7000", f"{T_1 / 10:.4f}"]
    assert "not evaluated on the same starts" in text


def test_a_violin_per_policy(tmp_path):
    write(tmp_path)
    figure = fig6.draw(list(load(tmp_path).items()))
    [axes] = figure.axes
    assert len(axes.collections) == 4
    assert [label.get_text() for label in axes.get_xticklabels()] == ["PPO", "A2C", "optimum", "random moves"]
    # Quartiles and mean of PPO's six episodes 0, 1, 10, 11, 20, 21.
    assert list(axes.lines[0].get_ydata()) == [3.25, 17.75] and list(axes.lines[1].get_ydata()) == [10.5, 10.5]


def test_panels_have_their_own_scale_and_title(tmp_path):
    for scenario, level in (("office", 0.0), ("factory", -1e6)):
        write_run(tmp_path, scenario, 1, [*episodes("learned", [level, level + 1], 100), *yardsticks([level + 2, level + 3], [level, level])])
    factory, office = fig6.draw(list(load(tmp_path).items())).axes
    assert (factory.get_title(), office.get_title()) == ("factory", "office")
    assert np.ptp(office.get_ylim()) < 10 and np.ptp(factory.get_ylim()) < 10


def test_names_stay_in_the_picture(tmp_path):
    write_run(tmp_path, "a_scenario_of_a_long_name", 1, [*episodes("learned", [0.0, 1.0], 100), *yardsticks([2.0, 3.0], [0.0, 0.0])])
    with fig6.plt.rc_context(fig6.STYLE):
        figure = fig6.draw(list(load(tmp_path).items()))
        figure.canvas.draw()
    whole = figure.bbox
    [axes] = figure.axes
    for text in (axes.yaxis.label, axes.title, figure._suptitle, *axes.get_xticklabels()):
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, text


def test_a_panel_without_the_reference_takes_its_own(tmp_path, capsys):
    for scenario, level in (("office", 0.0), ("factory", 5.0)):
        write_run(tmp_path / "runs", scenario, 1, [*episodes("learned", [level, level], 100), *yardsticks([level + 2, level + 2], [level, level])])
    assert fig6.main([str(tmp_path / "runs"), "--reference", "office", "-o", str(tmp_path), "--format", "svg"]) == 0
    text = capsys.readouterr().out
    assert "minus factory" in text and "minus office" in text


def test_equal_rewards_have_no_density(tmp_path):
    write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0, 1.0], 100))
    [axes] = fig6.draw(list(load(tmp_path).items())).axes
    assert not axes.collections and len(axes.lines) == 2
