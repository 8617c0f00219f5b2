"""Small synthetic runs in, numbers out: each expected value is computed by hand or from the drawn data."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))
import run_data
import run_report

REQUEST_COLUMNS = (
    "request_id ue_id group cell_id episode window arrival_s split prompt_tokens output_tokens noise_std rayleigh_scale "
    "loss_probability activation_snr_db mean_gain packets_sent packets_lost rows_lost loss_bursts uplink_bits ue_wait_s "
    "ue_compute_s uplink_wait_s uplink_air_s edge_wait_s edge_compute_s downlink_s ttft_s tpot_s e2e_s deadline_met ue_flop "
    "edge_flop ue_energy_j tx_energy_j nll_sum tokens_scored ppl_clean ppl quality_source reward outcome"
).split()
SERIES_COLUMNS = ["time_s", "edge_queue", "edge_busy", "uplink_active", "ue_queue_mean", "requests_completed"]
PICTURES = ["latency_breakdown", "e2e_cdf", "ppl_by_split_and_loss", "time_series"]
PHASE_SHARES = np.array([0.1, 0.2, 0.05, 0.3, 0.05, 0.25, 0.05])  # of e2e, in the order of PHASE_COLUMNS


def request(e2e=1.0, outcome="completed", group="phone", arrival=0.0, **cells):
    """One row; a request that is not completed has no phases and no e2e."""
    row = dict.fromkeys(REQUEST_COLUMNS) | {"group": group, "arrival_s": arrival, "outcome": outcome}
    if outcome == "completed":
        row |= dict(zip(run_data.PHASE_COLUMNS, PHASE_SHARES * e2e)) | {"e2e_s": e2e}
    return row | cells


def scored(nll, tokens=10, split=1, loss=0.1, clean=2.0, **cells):
    return request(nll_sum=nll, tokens_scored=tokens, split=split, loss_probability=loss, ppl_clean=clean, **cells)


def write_run(folder, requests=(), series=(), manifest=None, columns=REQUEST_COLUMNS):
    folder.mkdir(parents=True)
    pd.DataFrame(list(requests), columns=columns).to_csv(folder / "requests.csv", index=False)
    pd.DataFrame(list(series), columns=SERIES_COLUMNS).to_csv(folder / "series.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps(manifest or {}))
    return folder


def load(folder, by_group=True, warmup_s=None):
    return run_data.load_requests(run_data.find_runs(folder, []), by_group, warmup_s)


def realistic_run(folder, seed, n=400, quality=True):
    rng = np.random.default_rng(seed)
    rows = []
    for arrival in np.sort(rng.uniform(0, 60, n)):
        loss, split, e2e = rng.uniform(0, 0.3), int(rng.integers(1, 11)), rng.gamma(4, 0.2)
        outcome = "timeout" if e2e > 1.5 else rng.choice(["completed", "dropped", "outage"], p=[0.95, 0.03, 0.02])
        cells = {"group": rng.choice(["phone", "laptop"]), "arrival": arrival, "outcome": outcome}
        has_nll = quality and outcome in ("completed", "outage")
        nll = 64 * (math.log(512) if outcome == "outage" else 2.2 + 2 * loss + rng.normal(0, 0.1))
        rows.append(scored(nll, 64, split, loss, clean=9.0, e2e=e2e, **cells) if has_nll else request(e2e, split=split, **cells))
    series = [(t, 3, 2, 1, 0.5, 6 * t) for t in range(61)]
    return write_run(folder, rows, series, {"seed": seed, "version": "0.1.0"})


# ---- Numbers -------------------------------------------------------------------------------------------------------


def test_breakdown_is_the_mean_of_completed_requests_only(tmp_path):
    rows = [request(1.0), request(3.0), request(9.0, group="laptop"), request(outcome="timeout"), request(outcome="dropped")]
    groups = dict(run_data.by_label(load(write_run(tmp_path / "s/r", rows))))
    phone = run_data.breakdown("phone", groups["phone"])
    assert (phone["n"], phone["e2e_s"]) == (2, 2.0)
    assert [phone[column] for column in run_data.PHASE_COLUMNS] == pytest.approx(2 * PHASE_SHARES)
    assert run_data.breakdown("laptop", groups["laptop"])["uplink_air_s"] == pytest.approx(2.7)


def test_breakdown_picture_stacks_up_to_the_mean(tmp_path):
    requests = load(write_run(tmp_path / "s/r", [request(1.0), request(3.0)]))
    axes = run_report.draw_latency_breakdown(requests, run_report.Report()).axes[0]
    last = axes.containers[-1][0]
    assert last.get_x() + last.get_width() == pytest.approx(2.0)
    assert axes.texts[0].get_text() == "mean 2 s\nn = 2"


def test_cdf_tops_out_below_one_by_timeouts_and_outages(tmp_path):
    rows = [request(e2e) for e2e in (3.0, 1.0, 2.0, 4.0, 5.0, 6.0)]
    rows += [request(outcome=outcome) for outcome in ("timeout", "timeout", "timeout", "outage", "dropped", "unfinished")]
    requests = load(write_run(tmp_path / "s/r", rows))
    finished, n = run_data.latency_curve(requests)
    assert (list(finished), n) == ([1, 2, 3, 4, 5, 6], 10)
    assert run_data.curve_quantile(finished, n, 0.5) == 5.0
    assert run_data.curve_quantile(finished, n, 0.95) is None
    axes = run_report.draw_e2e_cdf(requests, run_report.Report()).axes[0]
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert curve.get_ydata()[-1] == curve.get_ydata().max() == pytest.approx(0.6)
    assert "never" in axes.get_ylabel()
    assert curve.get_label() == "phone\nn = 10, median 5 s, p95 not reached"


def test_long_curves_are_thinned_without_moving_their_ends(tmp_path):
    requests = load(write_run(tmp_path / "s/r", [request(i / 1000) for i in range(1, 5001)]))
    axes = run_report.draw_e2e_cdf(requests, run_report.Report()).axes[0]
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    assert len(x) <= run_report.MAX_CURVE_POINTS + 2 and (x[0], x[-2], y[-1]) == (0.001, 5.0, 1.0)
    assert np.abs(y[1:-1] - x[1:-1] / 5).max() < 1e-9


def test_corpus_ppl_weighs_by_tokens_and_counts_scored_outages(tmp_path):
    rows = [scored(20.0, 10), scored(10.0, 20), scored(60.0, 10, outcome="outage"), request(outcome="outage"), request()]
    row = run_data.summary_row("all", load(write_run(tmp_path / "s/r", rows)))
    assert row["corpus_ppl"] == pytest.approx(math.exp(90 / 40))
    assert (row["completed"], row["outage"], row["timeout"]) == (3, 2, 0)


def test_ppl_by_bin_and_split_with_delta_interval(tmp_path):
    rows = [scored(20.0, 10), scored(30.0, 10), scored(25.0, 20), scored(8.0, 4, split=2), scored(40.0, 10, loss=0.2)]
    requests = load(write_run(tmp_path / "s/r", rows))
    points = run_data.ppl_points(requests.assign(bin=run_data.loss_bins(requests["loss_probability"])))
    points = points.set_index(["bin", "split"])
    rate = 75 / 40
    spread = math.sqrt(3 / 2 * ((20 - 10 * rate) ** 2 + (30 - 10 * rate) ** 2 + (25 - 20 * rate) ** 2)) / 40
    first = points.loc[("0.1", 1)]
    assert first["ppl"] == pytest.approx(math.exp(rate))
    assert first["low"] == pytest.approx(math.exp(rate - 1.959964 * spread))
    assert first["high"] == pytest.approx(math.exp(rate + 1.959964 * spread))
    assert points.loc[("0.1", 2), "ppl"] == pytest.approx(math.exp(2))
    assert math.isnan(points.loc[("0.1", 2), "low"])  # one request has no interval
    assert points.loc[("0.2", 1), "ppl"] == pytest.approx(math.exp(4))
    assert len(points) == 3


def test_delta_interval_covers_the_truth_at_its_rate():
    rng = np.random.default_rng(7)
    tokens = rng.integers(8, 65, 2000 * 60).astype(float)
    nll = tokens * (2.0 + rng.normal(0, 0.4, len(tokens)))
    frame = pd.DataFrame({"label": np.repeat(np.arange(2000), 60), "bin": "0", "split": 1, "nll_sum": nll, "tokens_scored": tokens})
    points = run_data.ppl_points(frame)
    covered = ((points["low"] < math.exp(2)) & (math.exp(2) < points["high"])).mean()
    assert 0.925 < covered < 0.965  # 95 %, less a little for 60 requests; 4 standard errors are 0.02


def test_loss_bins():
    few = run_data.loss_bins(pd.Series([0.3, 0.0, 0.001, 0.3, np.nan]))
    assert list(few) == ["0.3", "0", "0.001", "0.3", "not given"]
    many = run_data.loss_bins(pd.Series(np.linspace(0, 0.3, 101)))
    assert list(many.cat.categories) == ["0.00–0.06", "0.06–0.12", "0.12–0.18", "0.18–0.24", "0.24–0.30"]
    assert list(many.value_counts(sort=False)) == [21, 20, 20, 20, 20]
    heavy_zero = run_data.loss_bins(pd.Series([0.0] * 90 + list(np.linspace(0.1, 0.2, 10))))
    assert heavy_zero.notna().all() and heavy_zero[0] == heavy_zero.cat.categories[0]


def test_clean_ppl_is_the_dashed_line(tmp_path):
    rows = [scored(20.0, 10, clean=math.exp(1)), scored(20.0, 30, clean=math.exp(3))]
    requests = load(write_run(tmp_path / "s/r", rows))
    assert run_data.clean_ppl(requests) == pytest.approx(math.exp((10 * 1 + 30 * 3) / 40))
    axes = run_report.draw_ppl_by_split_and_loss(requests, run_report.Report()).axes[0]
    dashed = [line for line in axes.lines if line.get_label() == "clean"]
    assert dashed[0].get_ydata()[0] == pytest.approx(math.exp(2.5)) and dashed[0].get_linestyle() == "--"


def test_series_bins_and_completion_rate(tmp_path):
    samples = pd.DataFrame([(0, 9, 0, 0, 0, 0), (1, 2, 1, 0, 0.5, 3), (2, 4, 1, 0, 1.5, 5), (3, 6, 1, 0, None, 5)], columns=SERIES_COLUMNS)
    fine = run_data.series_points(samples, 1.0, 0.0)
    assert list(fine["completion_rate"].fillna(-1)) == [-1, 3, 2, 0]
    coarse = run_data.series_points(samples, 2.0, 0.0)
    assert list(coarse["edge_queue"]) == [9, 3, 6]
    assert list(coarse["completion_rate"].iloc[1:]) == [2.5, 0]
    assert list(run_data.series_points(samples, 1.0, 2.0)["completion_rate"]) == [2, 0]  # the warm-up cuts after the difference


def test_long_series_are_binned_to_a_bounded_number_of_points(tmp_path):
    write_run(tmp_path / "s/r", series=[(t, t % 2, 0, 0, 0, t) for t in range(1, 10_001)])
    series = run_data.load_series(run_data.find_runs(tmp_path, []), None)
    assert len(series.points) <= run_data.MAX_SERIES_POINTS
    assert series.width_s == math.ceil(10_000 / run_data.MAX_SERIES_POINTS)
    assert series.points["completion_rate"].to_numpy() == pytest.approx(1.0)


def test_warmup_defaults_to_the_scenario_and_can_be_set(tmp_path):
    manifest = {"scenario": {"name": "named", "warmup_s": 5.0}}
    folder = write_run(tmp_path / "s/r", [request(arrival=t) for t in (0, 4.9, 5, 10, 20)], manifest=manifest)
    assert len(load(folder)) == 3
    assert len(load(folder, warmup_s=0.0)) == 5
    assert list(load(folder, warmup_s=15.0)["arrival_s"]) == [20]
    assert run_data.find_runs(folder, [])[0].scenario == "named"


# ---- Runs ----------------------------------------------------------------------------------------------------------


def test_replications_are_pooled_and_scenarios_kept_apart(tmp_path):
    write_run(tmp_path / "a/r1", [request(1.0)])
    write_run(tmp_path / "a/r2", [request(3.0, group="laptop")])
    write_run(tmp_path / "b/r3", [request(7.0)])
    means = {label: rows["e2e_s"].mean() for label, rows in run_data.by_label(load(tmp_path, by_group=False))}
    assert means == {"a": 2.0, "b": 7.0}
    means = {label: rows["e2e_s"].mean() for label, rows in run_data.by_label(load(tmp_path, by_group=True))}
    assert means == {"a / laptop": 3.0, "a / phone": 1.0, "b / phone": 7.0}


def test_partial_interrupted_and_doubled_runs_are_left_out(tmp_path):
    write_run(tmp_path / "a/r1", [request(1.0)], manifest={"run_id": "r1"})
    write_run(tmp_path / "a/.r2.partial", [request(100.0)])
    write_run(tmp_path / ".hidden/r3", [request(100.0)])
    (write_run(tmp_path / "a/r4", [request(100.0)]) / "interrupted").touch()
    write_run(tmp_path / "a/r1-old", [request(100.0)], manifest={"run_id": "r1"})
    (tmp_path / "a/r5").mkdir()
    notes = []
    assert [run.folder.name for run in run_data.find_runs(tmp_path, notes)] == ["r1"]
    assert notes == ["ignored a/r1-old: run r1 is already counted", "ignored a/r4: the run was interrupted"]


def test_pooling_different_settings_is_said(tmp_path):
    for name, seed, rate in (("r1", 1, 0.1), ("r2", 2, 0.1), ("r3", 3, 0.9)):
        write_run(tmp_path / "a" / name, manifest={"scenario": {"name": "a", "seed": seed, "rate": rate}})
    notes = []
    run_data.note_mixed_settings(run_data.find_runs(tmp_path, notes), notes)
    assert notes == ["scenario a pools runs of 2 different settings, not only replications"]


def test_labels_sort_naturally_and_survive_na_and_empty(tmp_path):
    groups = ["ue10", "ue9", "NA", None]
    requests = load(write_run(tmp_path / "s/r", [request(group=group) for group in groups]))
    assert [label for label, _ in run_data.by_label(requests)] == ["(no group)", "NA", "ue9", "ue10"]


def test_shown_labels_fit_and_keep_both_ends():
    assert run_report.shown("quickstart") == "quickstart"
    cut = run_report.shown("a" * 50 + "-rate-7", 20)
    assert len(cut) == 20 and cut.startswith("aaa") and "…" in cut and cut.endswith("-rate-7")
    assert run_report.shown("_a$b$") == r" _a\$b\$"


# ---- Command -------------------------------------------------------------------------------------------------------


def command(*arguments):
    """The script as a user starts it; where it succeeds, it must not print a warning."""
    full = [sys.executable, str(ANALYSIS / "run_report.py"), *map(str, arguments)]
    done = subprocess.run(full, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode != 0 or done.stderr == ""
    return done


def test_whole_report_is_written_quietly_and_the_same_twice(tmp_path):
    for seed in (1, 2):
        realistic_run(tmp_path / f"results/quickstart/run{seed}", seed)
    realistic_run(tmp_path / "results/other/run3", 3)
    for out in ("one", "two"):
        done = command(tmp_path / "results", "-o", tmp_path / out, "--dpi", 80, "--format", "png,svg,pdf")
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted([f"{name}.{suffix}" for name in PICTURES for suffix in ("png", "svg", "pdf")] + ["report.md"])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    report = (tmp_path / "one/report.md").read_text(encoding="utf-8")
    assert "| quickstart | run2 | 2 | 0.1.0 |" in report and "![e2e_cdf](e2e_cdf.png)" in report
    assert str(tmp_path) not in report


def test_printed_table(tmp_path):
    folder = write_run(tmp_path / "s/r", [scored(20.0, e2e=1.0), scored(20.0, e2e=2.0), request(outcome="unfinished")])
    done = command(folder, "-o", tmp_path / "out", "--group-by", "scenario", "--format", "svg")
    header, row = (line.split() for line in done.stdout.splitlines()[:2])
    expected = {"label": "s", "completed": "2", "unfinished": "1", "mean_s": "1.5", "p95_s": "2", "corpus_ppl": "7.389"}  # quantiles as in summary.csv: no interpolation
    assert expected.items() <= dict(zip(header, row)).items()


def test_without_quality_the_ppl_picture_is_skipped(tmp_path):
    realistic_run(tmp_path / "s/r", 1, n=50, quality=False)
    done = command(tmp_path, "-o", tmp_path / "out", "--format", "svg")
    assert done.returncode == 0 and "skipped ppl_by_split_and_loss: no request carries nll_sum" in done.stdout
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.svg")) == sorted(set(PICTURES) - {"ppl_by_split_and_loss"})


def test_without_a_split_the_ppl_picture_is_skipped(tmp_path):
    requests = load(write_run(tmp_path / "s/r", [scored(20.0, split=None)]))
    with pytest.raises(run_report.Skip, match="split is empty"):
        run_report.draw_ppl_by_split_and_loss(requests, run_report.Report())


def test_header_only_files_give_an_empty_report(tmp_path):
    write_run(tmp_path / "s/r1")
    write_run(tmp_path / "s/r2")
    done = command(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped ") == 4 and not list((tmp_path / "out").glob("*.png"))


def test_requests_alone_and_series_alone(tmp_path):
    folder = realistic_run(tmp_path / "a/r", 1, n=50)
    (folder / "series.csv").unlink()
    assert "skipped time_series: no run holds series.csv" in command(folder, "-o", tmp_path / "o").stdout
    folder = realistic_run(tmp_path / "b/r", 1, n=50)
    (folder / "requests.csv").unlink()
    done = command(folder, "-o", tmp_path / "o")
    assert done.returncode == 0 and done.stdout.count("no run holds requests.csv") == 3 and "wrote" in done.stdout
    (folder / "series.csv").unlink()
    done = command(folder, "-o", tmp_path / "o")
    assert done.returncode == 2 and "no run holds requests.csv or series.csv" in done.stderr and "hint: " in done.stderr


def test_columns_may_be_moved_and_appended(tmp_path):
    columns = ["new_column", *reversed(REQUEST_COLUMNS)]
    requests = load(write_run(tmp_path / "s/r", [request(2.0) | {"new_column": "x"}], columns=columns))
    assert run_data.breakdown("phone", requests)["uplink_air_s"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("e2e_s", "end_to_end"), "requests.csv: missing column 'e2e_s'"),
        (lambda text: text.replace(",0.3,", ",fast,"), "requests.csv: line 2, column 'uplink_air_s': 'fast' is no number"),
        (lambda text: text.replace("completed", "vanished"), "requests.csv: column 'outcome' holds 'vanished'"),
        (lambda text: "", "requests.csv: empty, without even a header"),
    ],
)
def test_damaged_requests_are_named(tmp_path, spoil, message):
    folder = write_run(tmp_path / "s/r", [request(1.0)])
    path = folder / "requests.csv"
    path.write_text(spoil(path.read_text()))
    done = command(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr and "\nhint: " in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_runs_and_bad_options_are_errors(tmp_path):
    assert "no finished run" in command(tmp_path).stderr
    assert "no such folder" in command(tmp_path / "nowhere").stderr
    for option in (["--format", "bmp"], ["--dpi", "0"], ["--warmup-s", "-1"]):
        assert command(tmp_path, *option).returncode == 2
    assert command(tmp_path).returncode == 2
