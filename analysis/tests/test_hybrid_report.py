"""Small made-up runs and studies in, tables and pictures out: each expected value is computed by hand."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import hybrid_runs as made
import pandas as pd
import pytest

import hybrid_data as hd
import hybrid_report as hr
from run_data import InputError
from run_report import Report, Skip


def options(tmp_path, *arguments):
    asked = hr.parse_arguments([str(tmp_path), "-o", str(tmp_path / "out"), "--resamples", "200", "--dpi", "50", *arguments])
    asked.out.mkdir(parents=True, exist_ok=True)
    return asked


def load(*paths, where=(), constants=None, warmup_s=None):
    notes = []
    return hd.load(list(paths), constants or {}, list(where), warmup_s, notes), notes


def draw(tmp_path, name, *paths, arguments=()):
    asked, report = options(tmp_path, *arguments), Report()
    data, report.notes = load(*paths or [tmp_path], where=asked.where, constants=dict(asked.set))
    return getattr(hr, f"draw_{name}")(data, asked, report), report, asked.out


def run(root, mode, nll=20.0, e2e=1.0, energy=1.0, requests=4, **tables):
    """A run whose requests are all alike: ten tokens, -nll/10 per token, energy per request."""
    rows = [made.request(number, nll=nll, e2e=e2e, ue_energy_j=energy - 0.5) for number in range(requests)]
    return made.write_run(root, rows, mode, **tables)


def lines_of(axes):
    """{label: (x, y)} of what has one."""
    found = {container.get_label(): container[0] for container in axes.containers}
    found |= {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    return {label: (list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for label, line in found.items()}


def study_rows(settings, replications=3, **figures):
    """Rows of runs.csv for points given as (axes, share, logprob, e2e); replication r has r/100 more of each but the share."""
    rows = []
    for point, (axes, share, logprob, e2e) in enumerate(settings):
        for number in range(replications):
            own = {"edge_token_share": share, "fallback_token_share": 0.0, "llm_logprob_mean": logprob + number / 100, "llm_agreement": 0.5}
            own |= {"e2e_mean_s": e2e + number / 100, "ue_energy_j": 2.0, "tx_energy_j": 1.0, "energy_per_token_j": 0.03}
            rows.append(made.replication(point, number, axes, **(own | figures)))
    return rows


def scorer_axes(scorer, threshold):
    return {"service.mode": "hybrid-uncertainty", "collaboration.scorer": scorer, "collaboration.threshold": threshold}


SCORERS = [(scorer_axes("random", share), share, -2 + share, 1.0) for share in (0.1, 0.5, 0.9)]
SCORERS += [(scorer_axes("margin", 2 * share), share, -2 + 2 * share, 1.5) for share in (0.05, 0.25, 0.45)]


# ---- Points --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, scorer, series",
    [
        ({"service.mode": "hybrid-reward", "collaboration.scorer": "reward"}, "reward", "hybrid-reward"),
        ({"service.mode": "hybrid-reward"}, "reward", "hybrid-reward"),
        ({"service.mode": "hybrid-reward", "collaboration.scorer": "random"}, "random", "hybrid-reward, random"),
        ({"service.mode": "hybrid-uncertainty", "collaboration.scorer": "entropy"}, "entropy", "hybrid-uncertainty, entropy"),
        ({"service.mode": "hybrid-uncertainty", "collaboration.scorer": "null"}, "", "hybrid-uncertainty"),
        ({"service.mode": "device-only", "collaboration.scorer": "entropy"}, "", "device-only"),
        ({"collaboration.scorer": "margin"}, "margin", "margin"),
        ({}, "", "as in the base"),
    ],
)
def test_a_point_tells_its_scorer_and_series(settings, scorer, series):
    point = hd.Point(settings)
    assert (point.scorer, point.series) == (scorer, series)


def test_runs_of_one_setting_are_one_point_and_counted_once(tmp_path):
    for seed in (1, 2):
        made.write_run(tmp_path / "a", [made.request(0)], scorer="margin", threshold=0.5, seed=seed)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    data, notes = load(tmp_path / "a", tmp_path / "b")
    assert [point.threshold for point in data.points] == [0.5] and len(data.costs) == 2
    assert len(notes) == 2 and all(note.endswith("a run of the same settings and seed is already counted") for note in notes)


def test_requests_with_one_prompt_are_one_unit_and_those_without_one_each(tmp_path):
    made.write_run(tmp_path / "w", [made.request(0, window=4, nll=10.0), made.request(1, window=4), made.request(2, window=5)], scorer="margin", threshold=0.5)
    texts = load(tmp_path / "w")[0].texts.set_index("unit")
    assert list(texts.index) == ["window 4", "window 5"] and list(texts["logprob"]) == [-30.0, -20.0] and list(texts["stratum"]) == ["", ""]
    made.write_run(tmp_path / "r", [made.request(0) | {"window": None}, made.request(1) | {"window": None}], scorer="margin", threshold=0.5, seed=3)
    texts = load(tmp_path / "r")[0].texts
    assert list(texts["unit"]) == ["request 3/0/0", "request 3/0/1"] and list(texts["stratum"]) == ["3/0", "3/0"]


def test_generated_text_counts_alone_where_there_is_any(tmp_path):
    corpus = dict.fromkeys(["ue_tokens", "edge_tokens", "fallback_tokens", "llm_agreements"])
    made.write_run(tmp_path, [made.request(0, nll=10.0), made.request(1, nll=90.0) | corpus], scorer="margin", threshold=0.5)
    made.write_run(tmp_path, [made.request(0, nll=90.0) | corpus], "split")
    first, second = load(tmp_path)[0].texts.to_dict("records")
    assert (first["logprob"], first["generated"], second["logprob"], second["tokens"], second["generated"]) == (-10.0, True, -90.0, 0, False)


def test_the_warm_up_is_left_out(tmp_path):
    made.write_run(tmp_path, [made.request(number, nll=10.0 * number) for number in range(4)], "device-only", warmup_s=2.0)
    data, notes = load(tmp_path)
    assert data.texts["logprob"].sum() == -50.0 and notes == ["warm-up left out: requests that arrived before 2 s"]
    assert load(tmp_path, warmup_s=0.0)[0].texts["logprob"].sum() == -60.0
    with pytest.raises(InputError, match="no run has a request after the warm-up"):
        load(tmp_path, warmup_s=9.0)


def test_where_holds_keys_by_text_or_number(tmp_path):
    for threshold in (0.5, 0.7):
        made.write_run(tmp_path, [made.request(0)], scorer="margin", threshold=threshold)
    data, _ = load(tmp_path, where=[("collaboration.threshold", "0.50"), ("service.mode", "hybrid-uncertainty")])
    assert [point.threshold for point in data.points] == [0.5]
    assert len(load(tmp_path, where=[("collaboration.threshold", "0.5"), ("collaboration.threshold", "0.7")])[0].points) == 2
    with pytest.raises(InputError, match="collaboration.threshold=0.6: no run has it") as error:
        load(tmp_path, where=[("collaboration.threshold", "0.6")])
    assert error.value.hint == "collaboration.threshold: 0.5, 0.7"
    with pytest.raises(InputError) as error:
        load(tmp_path, where=[("collaboration.treshold", "0.5")])
    assert error.value.hint == "there is no key 'collaboration.treshold': did you mean 'collaboration.threshold'?"


def test_a_study_is_read_by_its_axes_and_its_base_by_set(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "service.mode"} for row in study_rows(SCORERS)]
    folder = made.write_study(tmp_path / "s", rows)
    data, notes = load(folder)
    assert [point.series for point in data.points] == ["random"] * 3 + ["margin"] * 3 and len(data.texts) == 18
    assert notes == [f"{folder / 'runs.csv'} has no axis service.mode: say what its base has with --set service.mode=MODE"]
    data, notes = load(folder / "runs.csv", constants={"service.mode": "hybrid-uncertainty"})
    assert [point.series for point in data.points][::3] == ["hybrid-uncertainty, random", "hybrid-uncertainty, margin"] and notes == []


def test_studies_of_equal_axes_have_points_of_their_own(tmp_path):
    for name in ("a", "b"):
        made.write_study(tmp_path / name, study_rows(SCORERS))
    assert len(load(tmp_path / "a", tmp_path / "b")[0].points) == 12


def test_a_study_with_run_folders_is_read_from_these(tmp_path):
    made.write_study(tmp_path, study_rows(SCORERS))
    made.write_run(tmp_path / "runs", [made.request(0)], scorer="margin", threshold=0.5)
    data, notes = load(tmp_path)
    assert len(data.points) == 1 and notes == [f"{tmp_path}: read from its 1 run folders, not from runs.csv"]


# ---- Share of edge tokens ------------------------------------------------------------------------------------------


def test_lines_are_shares_and_quality(tmp_path, capsys):
    figure, report, out = draw(tmp_path, "edge_share", made.write_study(tmp_path / "s", study_rows(SCORERS)))
    left, right = figure.axes
    found = lines_of(left)
    assert list(found) == ["margin", "random"]
    assert found["random"] == (pytest.approx([10, 50, 90]), pytest.approx([-1.89, -1.49, -1.09]))
    assert found["margin"] == (pytest.approx([5, 25, 45]), pytest.approx([-1.89, -1.49, -1.09]))
    assert lines_of(right)["random"][1] == [0.5] * 3
    # Student's t of 0, 0.01, 0.02: 4.302653·0.01/√3.
    table = pd.read_csv(out / "edge_share.csv")
    assert list(table["logprob_high"] - table["logprob"]) == pytest.approx([4.302653 * 0.01 / math.sqrt(3)] * 6, abs=2e-5)
    ratios = pd.read_csv(out / "edge_share_ratios.csv")
    margin = ratios[(ratios["scorer"] == "margin") & (ratios["quality"] == "logprob")]
    assert list(margin["ratio"]) == pytest.approx([0.5] * 3) and list(margin["ratio_high"]) == pytest.approx([0.5] * 3)
    assert "margin  log-likelihood  0.50 (0.50 to 0.50)" in capsys.readouterr().out
    assert report.written == ["edge_share.csv", "edge_share_ratios.csv"]


def test_scorers_stand_in_their_order_and_random_is_black(tmp_path):
    figure, report, _ = draw(tmp_path, "edge_share", made.sweep(tmp_path / "r", requests=6))
    assert list(lines_of(figure.axes[0])) == ["reward", "margin", "random"]
    assert figure.axes[0].containers[2][0].get_color() == "black"
    assert report.notes == ["some points rest on 6 prompts only: their intervals are too narrow"]


def test_a_sweep_of_runs_gives_the_ratios_of_its_pair(tmp_path):
    # Random's gain is s, margin's 1 - (1 - s)²: it needs s' = 1 - √(1 - s); points 20 % apart bring the chord's error, below 6 %.
    _, _, out = draw(tmp_path, "edge_share", made.sweep(tmp_path / "r"))
    ratios = pd.read_csv(out / "edge_share_ratios.csv").set_index(["quality", "scorer", "random_share"]).sort_index()
    for share in (0.4, 0.6):
        row = ratios.loc["logprob", "margin", share]
        assert row["ratio"] == pytest.approx((1 - math.sqrt(1 - share)) / share, rel=0.06)
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"] and row["reading"] == "read"


def test_without_random_there_are_no_ratios(tmp_path):
    _, report, out = draw(tmp_path, "edge_share", made.write_study(tmp_path / "s", study_rows(SCORERS[3:])))
    assert report.notes == ["no ratios of edge shares: they need points of the scorer random and of another"]
    assert not (out / "edge_share_ratios.csv").exists()


@pytest.mark.parametrize(
    "row, text",
    [
        ({"reading": "read", "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.62}, "0.50 (0.40 to 0.62)"),
        ({"reading": "read", "ratio": 0.5, "ratio_low": 0.4, "ratio_high": math.inf}, "0.50 (0.40 to not reached)"),
        ({"reading": "read", "ratio": 0.5, "ratio_low": math.nan, "ratio_high": math.nan}, "0.50"),
        ({"reading": "below its first point", "first_share": 0.1, "random_share": 0.4}, "< 0.25"),
        ({"reading": "not reached"}, "not reached"),
        ({"reading": "random has no points on both sides"}, "-"),
    ],
)
def test_ratios_as_text(row, text):
    assert hr.ratio_text(row) == text


def test_nothing_is_averaged_over_a_setting(tmp_path):
    for loss in (0.0, 0.1):
        made.write_run(tmp_path / str(loss), [made.request(0)], scorer="margin", threshold=0.5, channel={"loss_probability": loss})
    with pytest.raises(Skip, match="runs with a scorer differ in channel.loss_probability: hold it with --where 'channel.loss_probability=0.0'"):
        draw(tmp_path, "edge_share")
    draw(tmp_path, "edge_share", arguments=["--where", "channel.loss_probability=0.1"])


def test_scorers_may_have_settings_of_their_own_but_not_points_of_one(tmp_path):
    made.write_run(tmp_path / "a", [made.request(0)], "hybrid-reward", collaboration={"scorer": "reward", "threshold": 0.5, "head": "a"})
    made.write_run(tmp_path / "b", [made.request(0)], collaboration={"scorer": "margin", "threshold": 0.5, "head": "none"})
    draw(tmp_path, "edge_share")
    made.write_run(tmp_path / "c", [made.request(0)], "hybrid-reward", collaboration={"scorer": "reward", "threshold": 0.7, "head": "c"})
    with pytest.raises(Skip, match="runs of the scorer reward differ in collaboration.head"):
        draw(tmp_path, "edge_share")


def test_without_scorers_it_is_skipped(tmp_path):
    run(tmp_path, "device-only")
    with pytest.raises(Skip, match="no run has a scorer"):
        draw(tmp_path, "edge_share")


# ---- Latency, energy and quality -----------------------------------------------------------------------------------


def modes(tmp_path):
    """Time, energy, quality: only the query router is dominated in both, the hybrid is on no front of one cost but on that of both."""
    run(tmp_path, "device-only", nll=30.0, e2e=1.0, energy=4.0)
    run(tmp_path, "edge-only", nll=10.0, e2e=4.0, energy=0.6)
    run(tmp_path, "early-exit", nll=15.0, e2e=2.0, energy=5.0)
    run(tmp_path, "query-router", nll=28.0, e2e=4.5, energy=4.5)
    run(tmp_path, "hybrid-reward", nll=16.0, e2e=2.5, energy=2.0)
    return tmp_path


def test_fronts_are_marked_and_joined(tmp_path, capsys):
    figure, report, out = draw(tmp_path, "pareto", modes(tmp_path / "r"))
    table = pd.read_csv(out / "pareto.csv").set_index("mode")
    assert list(table.index[table["latency_front"]]) == ["device-only", "early-exit", "edge-only"]
    assert list(table.index[table["energy_front"]]) == ["edge-only"]
    assert list(table.index[table["front"]]) == ["device-only", "early-exit", "edge-only", "hybrid-reward"]
    assert table.loc["hybrid-reward", ["logprob", "e2e_s", "energy_j", "uplink_bits", "edge_share"]].tolist() == pytest.approx([-1.6, 2.5, 0.2, 20.0, 0.2])
    left, right = figure.axes
    assert lines_of(left)["not dominated"] == ([1.0, 2.0, 4.0], [-3.0, -1.5, -1.0])
    assert lines_of(right)["not dominated"] == ([pytest.approx(60.0)], [-1.0])
    assert lines_of(left)["query-router"] == ([4.5], [pytest.approx(-2.8)])
    text = capsys.readouterr().out
    assert text.splitlines()[1].split() == ["device-only", "0.2", "-3", "0.5", "1", "0.1", "0.05", "400", "20", "latency,", "both"]
    assert "points of one run have no interval of time and energy" in report.notes


def test_the_corpus_likelihood_is_hollow_and_on_no_front(tmp_path):
    corpus = dict.fromkeys(["ue_tokens", "edge_tokens", "fallback_tokens", "llm_agreements"])
    made.write_run(tmp_path / "r", [made.request(0, nll=1.0, e2e=0.1) | corpus], "split")
    figure, report, out = draw(tmp_path, "pareto", modes(tmp_path / "r"))
    table = pd.read_csv(out / "pareto.csv").set_index("mode")
    assert not table.loc["split", ["latency_front", "energy_front", "front"]].any() and table.loc["split", "logprob"] == pytest.approx(-0.1)
    [split] = [container for container in figure.axes[0].containers if container.get_label() == "split"]
    assert split[0].get_markerfacecolor() == "white"
    assert "points of split have the likelihood of the corpus, not of generated text: hollow, and on no front" in report.notes


def test_a_study_has_energy_but_no_bits(tmp_path):
    _, _, out = draw(tmp_path, "pareto", made.write_study(tmp_path / "s", study_rows(SCORERS)))
    table = pd.read_csv(out / "pareto.csv")
    assert list(table["energy_j"]) == pytest.approx([0.03] * 6) and table["uplink_bits"].isna().all()
    # Means over replications: random at 10 % takes 1.01 s; margin has less quality at 5 % in more time.
    assert list(table["e2e_s"]) == pytest.approx([1.01] * 3 + [1.51] * 3)
    assert list(table["latency_front"]) == [False, False, True, False, False, False]
    assert list(table["threshold"]) == pytest.approx([0.1, 0.5, 0.9, 0.1, 0.5, 0.9])


def test_settings_that_differ_are_told(tmp_path):
    for loss in (0.0, 0.1):
        run(tmp_path / str(loss), "edge-only", channel={"loss_probability": loss})
    _, report, out = draw(tmp_path, "pareto")
    assert list(pd.read_csv(out / "pareto.csv")["settings"]) == ["channel.loss_probability=0.0", "channel.loss_probability=0.1"]
    assert any(note.startswith("points of pareto differ in channel.loss_probability, too") for note in report.notes)


# ---- Tokens --------------------------------------------------------------------------------------------------------


def test_panels_of_tokens(tmp_path):
    figure, report, out = draw(tmp_path, "tokens", made.sweep(tmp_path / "r", requests=4, scorers=("random", "margin"), tokens=True))
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_visible()][:2] == [name for _, name in hr.QUALITIES]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hybrid-uncertainty, margin", "hybrid-uncertainty, random"]
    # By rising score likelihood and agreement rise, as they were made.
    table = pd.read_csv(out / "score_deciles.csv")
    assert (table.groupby("series")["logprob"].apply(lambda column: column.is_monotonic_increasing)).all()
    x, y = figure.axes[0].containers[0][0].get_data()
    assert len(x) == 10 and x[0] == pytest.approx(5, abs=0.5) and y[0] == pytest.approx(table["logprob"][0], rel=1e-5)
    assert report.written == ["score_deciles.csv", "waits.csv", "fallbacks.csv"]


def test_tokens_without_scores_show_waits_alone(tmp_path):
    made.write_run(tmp_path, [made.request(0)], "edge-only", tokens=[made.token(0, at, "ue", None, None) for at in range(3)])
    figure, report, _ = draw(tmp_path, "tokens")
    assert len(figure.axes) == 1 and figure.axes[0].get_xlabel().startswith("Wait for a token")
    assert report.notes == ["tokens is without the score's reliability: no token of the UE has score and logprob_llm"]


# ---- Command -------------------------------------------------------------------------------------------------------


def test_command_writes_equal_files(tmp_path):
    made.sweep(tmp_path / "r", requests=5, tokens=True, length=20)
    run(tmp_path / "r", "edge-only")
    for out in ("a", "b"):
        command = [sys.executable, made.ANALYSIS / "hybrid_report.py", tmp_path / "r", "-o", tmp_path / out, "--dpi", "50", "--resamples", "100"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    tables = ["edge_share", "edge_share_ratios", "fallbacks", "pareto", "score_deciles", "waits"]
    assert names == sorted([f"{name}.csv" for name in tables] + [f"{name}.{suffix}" for name in hr.PICTURES for suffix in ("png", "svg")])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_study_gives_what_it_can(tmp_path, capsys):
    folder = made.write_study(tmp_path / "s", study_rows(SCORERS))
    assert hr.main([str(folder), "-o", str(tmp_path / "out"), "--format", "svg", "--resamples", "100"]) == 0
    out = capsys.readouterr().out
    assert f"wrote {tmp_path / 'out' / 'pareto'}" in out and "skipped tokens: no run holds tokens.csv" in out
    assert (tmp_path / "out/edge_share.svg").exists()


def test_pictures_are_chosen(tmp_path):
    modes(tmp_path / "r")
    assert hr.main([str(tmp_path / "r"), "-o", str(tmp_path / "out"), "--pictures", "pareto", "--format", "svg"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pareto.csv", "pareto.svg"]
    with pytest.raises(SystemExit):
        hr.main([str(tmp_path / "r"), "--pictures", "pie"])


def test_nothing_to_draw_is_an_error(tmp_path, capsys):
    run(tmp_path, "device-only")
    assert hr.main([str(tmp_path), "-o", str(tmp_path / "out"), "--pictures", "edge_share,tokens"]) == 2
    assert "nothing to draw\nhint: edge_share: no run has a scorer" in capsys.readouterr().err


def test_missing_files_and_columns_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert hr.main([str(tmp_path / "empty")]) == 2
    assert "neither a finished run (manifest.json) nor a study's runs.csv" in capsys.readouterr().err
    assert hr.main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    made.write_run(tmp_path / "bare", None)
    assert hr.main([str(tmp_path / "bare")]) == 2
    assert "no run holds requests.csv\nhint: record it" in capsys.readouterr().err
    columns = [column for column in made.COLUMNS if column not in ("edge_tokens", "llm_agreements")]
    folder = made.write_run(tmp_path / "old", [], columns=columns)
    assert hr.main([str(tmp_path / "old")]) == 2
    message = f"error: {folder / 'requests.csv'}: missing column 'edge_tokens', 'llm_agreements'\nhint: run it again with a version that has collaborative generation"
    assert message in capsys.readouterr().err
    rows = [{key: value for key, value in row.items() if key != "llm_logprob_mean"} for row in study_rows(SCORERS)]
    assert hr.main([str(made.write_study(tmp_path / "s", rows))]) == 2
    assert "runs.csv: missing column 'llm_logprob_mean'\nhint: run the study with a version" in capsys.readouterr().err


@pytest.mark.parametrize(
    "cells, message",
    [
        ({"edge_tokens": -1}, "line 3, column 'edge_tokens': -1 is no finite number from 0 on"),
        ({"uplink_bits": "inf"}, "line 3, column 'uplink_bits': inf is no finite number"),
        ({"nll_sum": "-inf"}, "line 3, column 'nll_sum': -inf is not finite"),
        ({"nll_sum": "much"}, "line 3, column 'nll_sum': 'much' is no number"),
        ({"llm_agreements": 11}, "line 3, column 'llm_agreements': 11 is more than the request's tokens"),
        ({"outcome": "lost"}, "column 'outcome' holds 'lost'"),
    ],
)
def test_wrong_requests_are_named(tmp_path, cells, message):
    made.write_run(tmp_path, [made.request(0), made.request(1) | cells], scorer="margin", threshold=0.5)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_wrong_studies_are_named(tmp_path):
    rows = study_rows(SCORERS)
    rows[1]["edge_token_share"] = 1.5
    with pytest.raises(InputError, match="line 3, column 'edge_token_share': 1.5 is no share from 0 to 1"):
        load(made.write_study(tmp_path, rows))
    rows[1]["edge_token_share"] = "half"
    with pytest.raises(InputError, match="line 3, column 'edge_token_share': 'half' is no number"):
        load(made.write_study(tmp_path, rows))


def test_a_damaged_manifest_is_named(tmp_path):
    folder = made.write_run(tmp_path, [made.request(0)])
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="manifest.json: not JSON"):
        load(tmp_path)
    (folder / "manifest.json").write_text(json.dumps({"scenario": {"service": {"mode": "telepathy"}}}))
    data, notes = load(Path(tmp_path))
    assert data.points[0].series == "telepathy" and notes[0].startswith("mode 'telepathy' is none of split, device-only")
