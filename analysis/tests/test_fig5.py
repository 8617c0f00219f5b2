"""Training curves of made-up runs: each expected value is computed by hand."""

import pytest
from learning_runs import episodes, rows_of, same_files, write_run, yardsticks

import fig5
import learning_data


def write(root):
    """Case A: PPO of three seeds, A2C of one; case L: PPO of one."""
    for seed, final in ((1, [2.0, 3.0]), (2, [2.5, 3.5]), (3, [4.0, 5.0])):
        rows = [*episodes("learned", [0.0, 1.0], 0), *episodes("learned", final, 1200), *yardsticks([6.0, 7.0], [0.0, 0.5])]
        write_run(root, "case_a_ppo", seed, rows)
    write_run(root, "case_a_a2c", 1, [*episodes("learned", [1.0, 1.0], 0), *episodes("learned", [1.0, 3.0], 1200)])
    write_run(root, "case_l_ppo", 1, episodes("learned", [1.0, 1.0], 1200, losses=[0.1, 0.1]))
    return learning_data.load_evaluations(learning_data.find_all([root], []), [])


def test_points_are_means_over_runs(tmp_path):
    points = fig5.curves(write(tmp_path))
    ppo = points[(points["case"] == "A") & (points["label"] == "PPO")].to_dict("records")
    assert [(point["env_steps"], point["mean"], point["n"]) for point in ppo] == [(0, 0.5, 3), (1200, pytest.approx(10 / 3), 3)]
    # 2.5, 3 and 4.5: variance 13/12
    assert ppo[0]["reach"] == 0 and ppo[1]["reach"] == pytest.approx(4.302653 * (13 / 12 / 3) ** 0.5, rel=1e-6)


def test_the_table_sets_the_last_point_beside_the_yardsticks(tmp_path, capsys):
    write(tmp_path / "runs")
    text = same_files(tmp_path, capsys, fig5, [tmp_path / "runs"], "fig5")
    # J* = 6.5 and J_random = 0.25 of the same starts; (6.5 - 10/3)/6.25
    assert rows_of(text)[1] == ["L", "PPO", "1", "1200", "1.0000"]
    assert rows_of(text)[2] == ["A", "PPO", "3", "1200", "3.3333", "2.5856", "6.5000", "0.2500", "0.5067", "0.4137"]
    assert rows_of(text)[3] == ["A", "A2C", "1", "1200", "2.0000"]
    assert "note: a learner of a single run has no interval" in text


def test_cases_are_panels_and_learners_lines(tmp_path):
    evaluations = write(tmp_path)
    figure = fig5.draw(evaluations, fig5.curves(evaluations), [])
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Case L: loss 0–0.1", "Case A: loss 0–0.3")
    lines = {line.get_label(): list(line.get_ydata()) for line in right.lines}
    assert lines["PPO"] == pytest.approx([0.5, 10 / 3]) and lines["A2C"] == [1, 2]
    # Dashes of the yardsticks: optimum and random.
    assert [line.get_ydata()[0] for line in right.lines[2:]] == [6.5, 0.25]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PPO", "A2C", "optimum", "random moves"]


def test_points_of_several_ues_stand_at_their_mean(tmp_path, capsys):
    """Two UEs; in the last round one has learned from 162 steps, the other from 205."""
    rows = [*episodes("learned", [0.0, 2.0], 0, ue=0, number=0), *episodes("learned", [1.0, 1.0], 0, ue=1, number=0)]
    rows += [*episodes("learned", [2.0, 4.0], 162, ue=0, number=1), *episodes("learned", [6.0, 8.0], 205, ue=1, number=1)]
    write_run(tmp_path / "runs", "office", 1, rows)
    points = fig5.curves(learning_data.load_evaluations(learning_data.find_all([tmp_path / "runs"], []), []))
    assert points[["round", "env_steps", "mean", "n"]].values.tolist() == [[0, 0, 1, 1], [1, 183.5, 5, 1]]
    assert fig5.main([str(tmp_path / "runs"), "-o", str(tmp_path), "--format", "svg"]) == 0
    assert rows_of(capsys.readouterr().out)[1] == ["office", "1", "184", "5.0000"]


def test_other_settings_are_other_lines_and_other_worlds_other_panels(tmp_path):
    for scenario, seed, rate, optimum in (("office", 1, 0.1, 3.0), ("office", 2, 0.2, 3.0), *((f"w{n}", 1, 0.1, n) for n in range(4))):
        rows = [*episodes("learned", [0.0], 0), *episodes("learned", [seed], 20), *yardsticks([optimum], [-1.0])]
        write_run(tmp_path, scenario, seed, rows, {"rate": rate})
    evaluations = learning_data.load_evaluations(learning_data.find_all([tmp_path], []), [])
    figure = fig5.draw(evaluations, fig5.curves(evaluations), [])
    # The office is the world of w3.
    assert [axes.get_title() for axes in figure.axes] == ["office, w3", "w0", "w1", "w2"]
    assert [(line.get_label(), list(line.get_ydata())) for line in figure.axes[0].lines[:2]] == [("office, rate=0.1", [0, 1]), ("office, rate=0.2", [0, 2])]
    assert figure.get_supxlabel() == "Environment steps learned"


def test_one_evaluation_is_a_line_across(tmp_path):
    write_run(tmp_path, "case_a_untrained", 1, episodes("learned", [1.0, 2.0], 0))
    evaluations = learning_data.load_evaluations(learning_data.find_all([tmp_path], []), [])
    figure = fig5.draw(evaluations, fig5.curves(evaluations), [])
    [line] = figure.axes[0].lines
    assert list(line.get_ydata()) == [1.5, 1.5] and line.get_linestyle() == "-."


def test_bad_input_is_named(tmp_path, capsys):
    assert fig5.main([str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2
    assert "no such folder" in capsys.readouterr().err
    folder = write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0], 10))
    (folder / "evaluations.csv").write_text("env_steps,policy\n10,learned\n")
    assert fig5.main([str(tmp_path), "-o", str(tmp_path)]) == 2
    assert "missing column 'ue_id', 'episode', 'loss_probability'" in capsys.readouterr().err
