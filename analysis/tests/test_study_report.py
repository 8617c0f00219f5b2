"""Small synthetic studies in, means, intervals and pictures out: expected values are computed by hand or from tables."""

import math
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))
import study_report
from run_data import InputError

FIGURES = ["arrivals", "completed", "e2e_mean_s", "corpus_ppl", "reward_mean"]


def run(point, replication, axes, **figures):
    row = {"run_id": f"{100 * point + replication:016x}", "point": point, "replication": replication, "seed": 1, "status": "done"}
    return row | {"error": None} | axes | dict.fromkeys(FIGURES) | {"arrivals": 10} | figures


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def grid(replications=3, **axes):
    """Every combination of the axes' values; e2e = 1 + 0.1 · replication + 0.01 · point."""
    index = pd.MultiIndex.from_product(axes.values(), names=[name.replace("__", ".") for name in axes])
    rows = []
    for point, values in enumerate(index):
        named = dict(zip(index.names, values))
        rows += [run(point, r, named, e2e_mean_s=1 + 0.1 * r + 0.01 * point, corpus_ppl=80.0 + point) for r in range(replications)]
    return rows


def load(tmp_path, rows, figures=("e2e_mean_s",)):
    notes = []
    return study_report.load_study(write(tmp_path / "runs.csv", rows), list(figures), notes), notes


def options(*arguments):
    return study_report.parse_arguments(["runs.csv", *arguments])


def draw(study, *arguments):
    asked, notes = options(*arguments), []
    drawer = study_report.draw_heatmap if asked.heatmap else study_report.draw_lines
    return drawer(study, study_report.layout(study, asked), asked, notes), notes


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]


def line_points(axes):
    return [[list(map(float, container[0].get_xdata())), list(map(float, container[0].get_ydata()))] for container in axes.containers]


# ---- Numbers -------------------------------------------------------------------------------------------------------


# Fisher and Yates' table of t, 5 %.
@pytest.mark.parametrize("freedom, t", [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980), (10_000, 1.960)])
def test_t_is_students(freedom, t):
    assert study_report.t_975(freedom) == pytest.approx(t, abs=6e-4)


def test_a_point_is_the_mean_over_replications_with_students_interval(tmp_path):
    values = [1.0, 1.5, 3.0]
    study, notes = load(tmp_path, [run(0, r, {"split.initial": 4}, e2e_mean_s=value) for r, value in enumerate(values)])
    [point] = study_report.points(study, "e2e_mean_s", ["split.initial"]).to_dict("records")
    assert (point["mean"], point["n"], notes) == (pytest.approx(11 / 6), 3, [])
    assert point["reach"] == pytest.approx(4.302653 * statistics.stdev(values) / math.sqrt(3))


def test_one_replication_has_no_interval(tmp_path):
    study, _ = load(tmp_path, grid(replications=1, a=[1, 2]))
    table = study_report.points(study, "e2e_mean_s", ["a"])
    assert table["reach"].isna().all() and list(table["mean"]) == [1.0, 1.01]
    assert draw(study)[1] == ["one replication per point: no intervals"]


def test_empty_figures_are_not_zero(tmp_path):
    rows = [run(0, r, {"a": 1}, e2e_mean_s=value) for r, value in enumerate([2.0, None, 4.0])]
    study, _ = load(tmp_path, [*rows, *(run(1, r, {"a": 2}, e2e_mean_s=1.0) for r in range(3))])
    table = study_report.points(study, "e2e_mean_s", ["a"])
    assert list(table["mean"]) == [3.0, 1.0] and list(table["n"]) == [2, 3]
    assert draw(study)[1] == ["points rest on 2 to 3 replications"]


def test_failed_runs_are_left_out_and_told(tmp_path):
    rows = grid(replications=2, a=[1, 2])
    rows[1] |= {"status": "failed", "error": "no space, \"left\"\non device", "e2e_mean_s": None}
    study, notes = load(tmp_path, rows)
    assert len(study.runs) == 3 and notes == ["1 of 4 runs did not finish and are left out"]


def test_axes_are_what_stands_before_arrivals(tmp_path):
    study, _ = load(tmp_path, grid(split__initial=[10, 9, 1], controller__kind=["oracle", "fixed"], seed_policy=["common"]))
    assert study.axes == ["split.initial", "controller.kind", "seed_policy"]
    assert study.varying() == ["split.initial", "controller.kind"]
    assert study.values("split.initial") == [1.0, 9.0, 10.0]
    assert study.values("controller.kind") == ["oracle", "fixed"]


def test_an_empty_axis_is_the_bases_value(tmp_path):
    rows = [*grid(replications=2, a=[1, 2]), run(2, 0, {"a": None}, e2e_mean_s=7.0)]
    study, _ = load(tmp_path, rows)
    assert study.values("a")[-1] == "as in the base" and len(study.values("a")) == 3


def test_differences_are_paired_by_replication(tmp_path):
    # The level shifts each replication by 0.3 and 0.5; replications differ by 100 between them.
    rows = [run(0, 0, {"kind": "fixed", "a": 1}, e2e_mean_s=1.0), run(0, 1, {"kind": "fixed", "a": 1}, e2e_mean_s=101.0)]
    rows += [run(1, 0, {"kind": "greedy", "a": 1}, e2e_mean_s=1.3), run(1, 1, {"kind": "greedy", "a": 1}, e2e_mean_s=101.5)]
    study, _ = load(tmp_path, rows)
    [point] = study_report.points(study_report.paired(study, "kind", "fixed"), "e2e_mean_s", ["kind"]).to_dict("records")
    assert point["mean"] == pytest.approx(0.4)
    assert point["reach"] == pytest.approx(12.7062 * 0.2 / math.sqrt(2) / math.sqrt(2), rel=1e-5)
    assert study_report.figure_name(study_report.paired(study, "kind", "fixed"), "e2e_mean_s", options("--difference", "kind=fixed")).endswith("greedy minus fixed")


def test_a_difference_without_its_partner_is_left_out(tmp_path):
    rows = grid(replications=2, kind=["fixed", "greedy"])
    study, _ = load(tmp_path, [row for row in rows if (row["kind"], row["replication"]) != ("fixed", 1)])
    [point] = study_report.points(study_report.paired(study, "kind", "fixed"), "e2e_mean_s", ["kind"]).to_dict("records")
    assert point["n"] == 1 and point["mean"] == pytest.approx(0.01)


# ---- Pictures ------------------------------------------------------------------------------------------------------


def test_axes_take_their_places_in_the_files_order(tmp_path):
    study, _ = load(tmp_path, grid(a=[1, 2], fixed=[7], b=[3, 4], c=["x", "y"]))
    place = study_report.layout(study, options())
    assert (place.x, place.lines, place.facet) == ("a", "b", "c")
    place = study_report.layout(study, options("--x", "c", "--facet", "a"))
    assert (place.x, place.lines, place.facet) == ("c", "b", "a")


def test_several_values_of_an_axis_are_held_and_words_that_go_leave_numbers(tmp_path):
    rows = grid(kind=["a", "b", "c"], n=[10.0, 5.0])
    rows += [run(6, r, {"kind": "d", "n": ""}, e2e_mean_s=9.0, corpus_ppl=9.0) for r in range(3)]
    study = study_report.load_study(write(tmp_path / "runs.csv", rows), None, [])
    assert study.values("n") == ["10.0", "5.0", study_report.AS_IN_BASE]
    held = study_report.hold(study, [("kind", "a"), ("kind", "c")])
    assert sorted(held.runs["kind"].unique()) == ["a", "c"]
    assert held.values("n") == [5.0, 10.0]


def test_nothing_is_averaged_over_an_axis(tmp_path):
    study, _ = load(tmp_path, grid(a=[1, 2], b=[3, 4], c=[5, 6], d=[0.3, 0.4]))
    with pytest.raises(InputError, match="axis 'd' varies, too"):
        study_report.layout(study, options())
    held = study_report.hold(study, [("d", "0.3")])
    assert study_report.layout(held, options()).shown() == ["a", "b", "c"]
    assert len(held.runs) == len(study.runs) / 2


# Powers of ten as many as fit; 1, 2, 5 over less than three decades; even steps within one.
@pytest.mark.parametrize(
    "xs, some",
    [([1e-5, 1e-2, 1e10], ["1e-05", "0.01", "1e+10"]), ([1e-4, 1.0, 100.0], ["0.01", "1"]), ([1.0, 8.0, 64.0], ["2", "5", "10", "50"]), ([3.1, 4.0, 4.7], ["3.2", "4", "4.6"])],
)
def test_a_logarithmic_axis_has_labels(tmp_path, xs, some):
    figure, _ = draw(load(tmp_path, grid(a=xs))[0], "--log-x")
    figure.canvas.draw()
    [axes] = visible(figure)
    low, high = axes.get_xlim()
    ticks = axes.xaxis.get_major_ticks()
    labels = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert set(some) <= set(labels) and 2 <= len(labels) <= 10


def test_lines_are_where_the_means_are(tmp_path):
    study, _ = load(tmp_path, grid(a=[1, 2, 4], b=["x", "y"]))
    figure, _ = draw(study)
    [axes] = visible(figure)
    (x, x_means), (y, y_means) = line_points(axes)
    assert x_means == pytest.approx([1.1, 1.12, 1.14]) and y_means == pytest.approx([1.11, 1.13, 1.15])
    assert x == pytest.approx([0.9, 1.9, 3.9]) and y == pytest.approx([1.1, 2.1, 4.1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]


def test_figures_are_rows_and_facets_columns(tmp_path):
    study, _ = load(tmp_path, grid(a=[1, 2], b=[1, 2], c=["u", "v", "w"]), ["e2e_mean_s", "corpus_ppl"])
    figure, _ = draw(study)
    assert [axes.get_title() for axes in visible(figure)] == ["c = u", "c = v", "c = w"] * 2
    assert [axes.get_ylabel() for axes in visible(figure)][::3] == ["Mean end-to-end time (s)", "Corpus perplexity"]


def test_words_stand_side_by_side(tmp_path):
    study, _ = load(tmp_path, grid(kind=["fixed", "random", "greedy"]))
    figure, _ = draw(study)
    [axes] = visible(figure)
    assert line_points(axes) == [[[0, 1, 2], pytest.approx([1.1, 1.11, 1.12])]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["fixed", "random", "greedy"]


def test_a_sampled_study_is_drawn_in_dots(tmp_path):
    rng = np.random.default_rng(3)
    rows = [run(point, 0, {"a": rng.uniform(), "b": rng.uniform(), "c": rng.uniform()}, e2e_mean_s=point) for point in range(20)]
    study, _ = load(tmp_path, rows)
    figure, _ = draw(study, "--dots", "--x", "b")
    [[x, means]] = line_points(visible(figure)[0])
    assert x == sorted(row["b"] for row in rows) and sorted(means) == list(range(20))


def test_paired_axes_are_one(tmp_path):
    rows = [run(point, 0, {"count": n, "bandwidth": 2 * n, "kind": kind}, e2e_mean_s=1) for point, (n, kind) in enumerate([(1, "x"), (1, "y"), (2, "x"), (2, "y")])]
    study, _ = load(tmp_path, rows)
    assert study_report.layout(study, options()).shown() == ["count", "kind"]
    assert study_report.layout(study, options("--x", "bandwidth")).shown() == ["bandwidth", "kind"]


def test_a_heatmap_has_a_cell_per_point(tmp_path):
    rows = [row for row in grid(a=[1, 2, 3], b=[10, 20]) if (row["a"], row["b"]) != (3, 10)]
    study, _ = load(tmp_path, rows)
    figure, _ = draw(study, "--heatmap")
    [axes] = visible(figure)
    cells = np.array(axes.images[0].get_array().filled(np.nan) if np.ma.isMaskedArray(axes.images[0].get_array()) else axes.images[0].get_array())
    assert cells == pytest.approx(np.array([[1.1, 1.12, np.nan], [1.11, 1.13, 1.15]]), nan_ok=True)
    assert [text.get_text() for text in axes.texts][0] == "1.1\n±0.25"  # 4.3027 · 0.1 / √3


def test_what_does_not_fit_is_said(tmp_path):
    study, _ = load(tmp_path, grid(a=[1, 2], b=range(12), c=range(14)))
    assert draw(study)[1] == ["shows the first 12 of 14 panels: hold 'c' with --where", "shows the first 10 of 12 lines: hold 'b' with --where"]


# ---- Command -------------------------------------------------------------------------------------------------------


def test_command_writes_equal_files(tmp_path):
    runs = write(tmp_path / "s/runs.csv", grid(split__initial=[1, 2, 4], controller__kind=["fixed", "greedy"]))
    for out in ("a", "b"):
        command = [sys.executable, ANALYSIS / "study_report.py", runs.parent, "-o", tmp_path / out, "--dpi", "50"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    for name in ("study.png", "study.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--figure", "e2e_mean"], "there is no figure 'e2e_mean'\nhint: did you mean 'e2e_mean_s'?"),
        (["--x", "split.inital"], "there is no axis 'split.inital'\nhint: did you mean 'split.initial'?"),
        (["--where", "split.initial=3"], "--where split.initial=3: no run has it\nhint: there are: 1, 2"),
        (["--difference", "split.initial=x"], "--difference split.initial=x: no run has it\nhint: there are: 1, 2"),
        (["--figure", "reward_mean"], "column 'reward_mean' is empty in every run"),
        (["--heatmap"], "--heatmap needs two axes"),
    ],
)
def test_wrong_options_are_named(tmp_path, capsys, arguments, message):
    runs = write(tmp_path / "runs.csv", grid(split__initial=[1, 2]))
    assert study_report.main([str(runs), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(InputError, match="missing column 'arrivals'"):
        study_report.load_study(write(tmp_path / "a.csv", [{"point": 1, "replication": 0, "status": "done"}]), None, [])
    rows = grid(a=[1, 2])
    rows[2]["e2e_mean_s"] = "?"
    with pytest.raises(InputError, match="line 4, column 'e2e_mean_s': '\\?' is no number"):
        load(tmp_path, rows)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="missing column 'point'"):
        study_report.load_study(tmp_path / "empty.csv", None, [])
    assert study_report.main([str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2
