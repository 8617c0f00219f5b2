"""Small made-up studies: each expected value is computed by hand."""

import math

import pandas as pd
import pytest
from learning_runs import rows_of, same_files

import fig8
from run_data import InputError

RATE, BATCH, CLIP, GAE = fig8.TABLE_III


def run(point, replication, reward, axes, **figures):
    row = {"run_id": f"{100 * point + replication:016x}", "point": point, "replication": replication, "seed": 1, "status": "done", "error": None}
    return row | axes | {"arrivals": 10, "eval_reward_mean": reward, "eval_optimal_mean": 3.0, "eval_random_mean": 2.5} | figures


def write(path, rows):
    path.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path / "runs.csv", index=False)
    return path


def sweep(path, axis, values):
    """Reward 2.8 + 0.01 · point + 0.02 · replication, three replications."""
    return write(path, [run(p, r, 2.8 + 0.01 * p + 0.02 * r, {axis: value}) for p, value in enumerate(values) for r in range(3)])


def load(*paths, held=()):
    return fig8.load(list(paths), list(held), [])


def test_a_point_is_the_mean_over_replications(tmp_path):
    [(axis, points)] = load(sweep(tmp_path / "s", CLIP, [0.2, 0.1])).items()
    low, high = points.to_dict("records")
    assert axis == CLIP and (low["value"], high["value"]) == (0.1, 0.2)
    assert low["mean"] == pytest.approx(2.83) and high["mean"] == pytest.approx(2.82) and low["n"] == 3
    assert low["reach"] == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)


def test_four_panels_and_their_numbers(tmp_path, capsys):
    studies = [sweep(tmp_path / "a", RATE, [1e-4, 3e-4, 5e-4, 7e-4]), sweep(tmp_path / "b", BATCH, [50, 100, 150, 200])]
    studies += [sweep(tmp_path / "c", CLIP, [0.1, 0.2, 0.3, 0.4]), sweep(tmp_path / "d", GAE, [0.9, 0.95, 0.99])]
    rows = rows_of(same_files(tmp_path, capsys, fig8, studies, "fig8"))
    assert len(rows) == 1 + 15
    assert rows[2] == [RATE, "0.0003", "3", "2.8300", "0.0497", "3.0000", "0.3400"]
    found = load(*studies)
    figure = fig8.draw(found, [])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == ["Learning rate", "Batch size", "Clip range", "GAE λ"]
    # Table III's own value is filled: the second of each.
    assert [list(line.get_xdata()) for axes in panels for line in axes.lines if line.get_label() == "PPO, Table III"] == [[1], [1], [1], [1]]


def test_one_study_may_sweep_several_one_after_the_other(tmp_path):
    rows = [run(0, 0, 1.0, {RATE: 3e-4, CLIP: 0.2}), run(1, 0, 2.0, {RATE: 1e-4, CLIP: 0.2}), run(2, 0, 3.0, {RATE: 3e-4, CLIP: 0.1})]
    rows += [run(3, 0, 9.0, {RATE: 1e-4, CLIP: 0.1}), run(4, 0, 4.0, {RATE: None, CLIP: 0.4})]
    found = load(write(tmp_path / "s", rows))
    assert found[RATE][["value", "mean"]].to_numpy().tolist() == [[1e-4, 2.0], [3e-4, 1.0]]
    assert found[CLIP][["value", "mean"]].to_numpy().tolist() == [[0.1, 3.0], [0.2, 1.0], [0.4, 4.0]]


def test_nothing_is_averaged_over_another_axis(tmp_path):
    rows = [run(2 * a + b, 0, a + b, {CLIP: [0.1, 0.2][a], "scenario": ["l", "h"][b]}) for a in range(2) for b in range(2)]
    study = write(tmp_path / "s", rows)
    with pytest.raises(InputError, match="axis 'scenario' varies, too"):
        load(study)
    [points] = load(study, held=[("scenario", "h")]).values()
    assert list(points["mean"]) == [1, 2]


def test_bad_input_is_named(tmp_path):
    first, second = sweep(tmp_path / "a", CLIP, [0.1, 0.2]), sweep(tmp_path / "b", CLIP, [0.1, 0.2])
    with pytest.raises(InputError, match="is swept by another of the studies, too"):
        load(first, second)
    with pytest.raises(InputError, match="none of controller.ppo.learning_rate, .* varies"):
        load(sweep(tmp_path / "c", "controller.ppo.epochs", [1, 2]))
    empty = write(tmp_path / "d", [run(p, 0, 1.0, {CLIP: p / 10}, eval_optimal_mean=None) for p in (1, 2)])
    with pytest.raises(InputError, match="column 'eval_optimal_mean' is empty in every run"):
        load(empty)
    assert fig8.main([str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2


def test_other_starts_are_said(tmp_path):
    study = write(tmp_path / "s", [run(p, 0, 1.0, {CLIP: p / 10}, eval_optimal_mean=3.0 + p) for p in (1, 2)])
    notes = []
    fig8.draw(load(study), notes)
    assert notes == ["a point of one replication has no interval", "the optimum differs between points: they were not evaluated on the same starts"]
