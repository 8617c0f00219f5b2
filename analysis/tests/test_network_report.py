"""Small synthetic networks in, numbers and pictures out: each expected value is computed by hand."""

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
import network_data as nd
import network_report as nr
from run_data import InputError, Run, find_runs

COLUMNS = [*nd.REQUEST_NUMBERS, *nd.REQUEST_WORDS]
SUMMARY_COLUMNS = ["scope", "name", "group", "completed", *nd.STANDING_ENERGY]
HEXAGONAL = {"layout": "hexagonal", "sites": 7, "inter_site_distance_m": 500.0, "x_m": 0.0, "y_m": 0.0}
ROAD = [{"name": name, "layout": "single", "x_m": x, "y_m": 0.0} for name, x in (("west", 0.0), (None, 400.0))]


def request(x=100.0, y=0.0, cell=0, sinr=10.0, e2e=1.0, outcome="completed", ue=0, **cells):
    """One row that was sent; what is not completed has no e2e."""
    row = {"ue_id": ue, "cell_id": cell, "arrival_s": 0.0, "uplink_bits": 1e6, "uplink_wait_s": 0.1, "uplink_air_s": 0.4, "ue_energy_j": 0.2}
    row |= {"e2e_s": e2e if outcome == "completed" else None, "tx_energy_j": 0.1, "sinr_db": sinr, "x_m": x, "y_m": y}
    return row | {"distance_m": math.hypot(x, y), "handovers": 0, "group": "phone", "outcome": outcome} | cells


def unsent(**cells):
    """One row of a request that was never on the air."""
    blank = dict.fromkeys(["cell_id", "uplink_bits", "uplink_wait_s", "uplink_air_s", "sinr_db", "x_m", "y_m", "distance_m", "handovers"])
    return request(outcome="dropped") | blank | cells


def summary(scope, name, completed, idle=None, sleep=None, edge=None):
    return dict(zip(SUMMARY_COLUMNS, (scope, name, None if scope == "all" else name, completed, idle, sleep, edge)))


def write_run(folder, requests=(), summaries=None, cell=ROAD, name="net", columns=COLUMNS, kind="cellular", **scenario):
    folder.mkdir(parents=True)
    pd.DataFrame(list(requests), columns=columns).to_csv(folder / "requests.csv", index=False)
    if summaries is not None:
        pd.DataFrame(list(summaries), columns=SUMMARY_COLUMNS).to_csv(folder / "summary.csv", index=False)
    manifest = {"scenario": {"name": name, "channel": {"kind": kind}, "cell": cell} | scenario}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def data(root, *arguments):
    """What the pictures are drawn from, and the report."""
    report = nr.Report()
    return nr.load(nr.parse_arguments([str(root), *arguments]), report), report


def run_of(cell):
    return Run(Path("net/r"), {"scenario": {"name": "net", "channel": {"kind": "cellular"}, "cell": cell}})


def crowd(seed, n=300, **cells):
    """Many requests around the seven stations, of two groups."""
    rng = np.random.default_rng(seed)
    at = np.array(nd.hexagonal(7, 500.0, 0.0, 0.0))
    rows = []
    for ue in range(n):
        x, y = rng.uniform(-700, 700, 2)
        cell = int(np.hypot(*(at - (x, y)).T).argmin())
        away = float(np.hypot(*(at[cell] - (x, y))))
        rows.append(request(x, y, cell, 30 - away / 20, rng.gamma(4, 0.02), ue=ue, group=("phone", "car")[ue % 2], handovers=ue % 3 % 2, distance_m=away, arrival_s=ue / 10))
    return rows


# ---- Base stations -------------------------------------------------------------------------------------------------


def test_hexagons_stand_ring_by_ring_from_the_east_counter_clockwise():
    up = math.sqrt(3) / 2
    first = [(0, 0), (1, 0), (0.5, up), (-0.5, up), (-1, 0), (-0.5, -up), (0.5, -up)]
    second = [(2, 0), (1.5, up), (1, 2 * up), (0, 2 * up), (-1, 2 * up), (-1.5, up), (-2, 0), (-1.5, -up), (-1, -2 * up), (0, -2 * up), (1, -2 * up), (1.5, -up)]
    assert np.allclose(nd.hexagonal(19, 1.0, 0.0, 0.0), first + second)
    assert np.allclose(nd.hexagonal(4, 500.0, 100.0, -50.0), [(100, -50), (600, -50), (350, -50 + 500 * up), (-150, -50 + 500 * up)])
    assert nd.hexagonal(1, 500.0, 3.0, 4.0) == [(3.0, 4.0)]


def test_stations_of_a_layout_and_one_by_one():
    assert [site.name for site in nd.stations(run_of(HEXAGONAL))] == [str(index) for index in range(7)]
    assert nd.stations(run_of(ROAD)) == [("west", 0.0, 0.0), ("1", 400.0, 0.0)]
    assert nd.stations(run_of({"layout": "single", "sites": 19, "x_m": 5, "y_m": 6.0})) == [("0", 5.0, 6.0)]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "no table \\[cell\\]"),
        ([], "no table \\[cell\\]"),
        ({"layout": "spiral"}, "cell.layout is 'spiral'"),
        (HEXAGONAL | {"sites": 2.5}, "cell.sites is 2.5, no whole number from 1 to 10000"),
        (HEXAGONAL | {"sites": 10**9}, "cell.sites is 1e\\+09"),
        (HEXAGONAL | {"x_m": None}, "cell.x_m is None, no number"),
        ([{"x_m": 0, "y_m": "north"}], "cell.y_m is 'north', no number"),
        ([{"x_m": math.nan, "y_m": 0}], "cell.x_m is nan, no number"),
    ],
)
def test_damaged_stations_are_named(cell, problem):
    with pytest.raises(InputError, match=f"manifest.json: {problem}"):
        nd.stations(run_of(cell))


def test_borders_are_the_bisectors():
    area = lambda polygon: abs(np.dot(polygon[:, 0], np.roll(polygon[:, 1], -1)) - np.dot(polygon[:, 1], np.roll(polygon[:, 0], -1))) / 2
    left, right = nd.borders([(0, 0), (4, 0)], (-1, 5, -2, 2))
    assert sorted(map(tuple, left)) == [(-1, -2), (-1, 2), (2, -2), (2, 2)] and area(right) == 12
    # The hexagon around the middle of a grid has the area √3/2·d².
    assert area(nd.borders(nd.hexagonal(7, 10.0, 0.0, 0.0), (-50, 50, -50, 50))[0]) == pytest.approx(math.sqrt(3) / 2 * 100)
    assert sum(map(area, nd.borders(nd.hexagonal(19, 10.0, 3.0, 0.0), (-50, 50, -40, 40)))) == pytest.approx(8000)


def test_neighbours_differ_in_colour():
    places = nd.hexagonal(61, 500.0, 0.0, 0.0)
    numbers = nd.colour_numbers(places, 6)
    near = [(i, j) for i, a in enumerate(places) for j, b in enumerate(places[:i]) if math.dist(a, b) < 501]
    assert len(near) == 156 and all(numbers[i] != numbers[j] for i, j in near)


# ---- Numbers -------------------------------------------------------------------------------------------------------


def places_of(read):
    return nd.places(read.requests, read.sites["net"])


def test_places_are_ues_with_their_mean_sinr_and_last_cell(tmp_path):
    rows = [request(sinr=10.0), request(sinr=14.0, cell=1, distance_m=300), request(x=200.0, sinr=3.0), request(ue=1, sinr=0.0), unsent()]
    write_run(tmp_path / "net/a", rows)
    places = places_of(data(tmp_path)[0])
    assert places[["ue_id", "x_m", "sinr_db", "cell_id"]].values.tolist() == [[0, 100, 12, 1], [0, 200, 3, 0], [1, 100, 0, 0]]


def test_the_cell_of_a_transmission_is_that_at_its_distance(tmp_path):
    # At 100 m, 300 m from station 1: handed over to 0 when it ended. At 200 m both are as far: cell_id says which.
    rows = [request(x=100, cell=0, distance_m=300), request(x=200, cell=1), request(x=200, y=5, cell=0), request(x=100, y=5, cell=1)]
    write_run(tmp_path / "net/a", rows)
    places = places_of(data(tmp_path)[0]).set_index(["x_m", "y_m"])["cell_id"].to_dict()
    assert places == {(100, 0): 1, (100, 5): 0, (200, 0): 1, (200, 5): 0}


def test_share_that_another_than_the_nearest_serves(tmp_path):
    # The middle of the two stations is at 200 m: 150 in cell 1 and 300 in cell 0 are served by the farther one.
    near = [(100, 0), (150, 1), (200, 1), (300, 0), (390, 1)]
    write_run(tmp_path / "net/a", [request(x=x, cell=cell, ue=ue, distance_m=abs(x - 400 * cell)) for ue, (x, cell) in enumerate(near)])
    read, _ = data(tmp_path)
    assert nd.served_by_other(places_of(read), read.sites["net"]) == pytest.approx(2 / 5)


def test_goodput_is_of_completed_requests_that_sent(tmp_path):
    rows = [request(), request(uplink_bits=3e6, uplink_wait_s=0.0), request(outcome="timeout"), request(uplink_bits=None), request(uplink_wait_s=0.0, uplink_air_s=0.0), unsent()]
    write_run(tmp_path / "net/a", rows)
    goodput = data(tmp_path)[0].requests["goodput_bps"]
    assert goodput.iloc[:2].tolist() == pytest.approx([2e6, 7.5e6]) and goodput.iloc[2:].isna().all()


def test_cdf_points_and_quantiles():
    x, y = nd.cdf_points([3.0, 1.0, 2.0, 5.0], 100)
    assert (x.tolist(), y.tolist()) == ([1, 2, 3, 5], [0.25, 0.5, 0.75, 1])
    x, y = nd.cdf_points(range(1, 100_001), 50)
    assert len(x) == 50 and (x[0], x[-1], y[-1]) == (1, 100_000, 1) and np.allclose(y, x / 100_000)
    assert [nd.quantile([4.0, 1.0, 3.0, 2.0], q) for q in (0.05, 0.5, 0.51)] == [1, 2, 3] and math.isnan(nd.quantile([], 0.5))


def test_bins_have_means_and_quantiles_without_interpolation():
    x = [0, 9.9, 5, 1, 12, 31, np.nan, 8]
    y = [4, 1, 3, 2, 7, 8, 9, np.nan]
    bins = nd.binned(x, y, 10.0)
    assert bins["middle"].tolist() == [5, 15, 35] and bins["n"].tolist() == [4, 1, 1]
    assert bins["mean"].tolist() == [2.5, 7, 8]
    # Of 1, 2, 3, 4: ranks ⌈0.4⌉, ⌈2⌉ and ⌈3.6⌉.
    assert bins.loc[0, ["low", "median", "high"]].tolist() == [1, 2, 4]
    many = nd.binned(np.full(100, -1.0), np.arange(100, 0, -1), 10.0)
    assert many.loc[0, ["middle", "low", "median", "high"]].tolist() == [-5, 10, 50, 90]
    assert nd.binned([], [], 10.0).empty


@pytest.mark.parametrize(("reach", "width"), [(1000, 50), (1001, 100), (400, 20), (19, 1), (0.5, 0.05), (2000, 100), (0, 1), (math.nan, 1)])
def test_bin_widths_are_round(reach, width):
    assert nd.bin_width(reach, 20) == pytest.approx(width)


def test_energy_is_per_completed_request_and_counts_the_failed(tmp_path):
    rows = [request(), request(), request(outcome="timeout"), request(group="car", tx_energy_j=0.5), request(group="car", outcome="outage")]
    totals = [summary("ue", "0", 3, 9, 9), summary("group", "phone", 2, 3.0, 1.0), summary("group", "car", 1, 4.0, None), summary("all", "all", 3, 7.0, 1.0, 60.0)]
    write_run(tmp_path / "net/a", rows, totals)
    read, _ = data(tmp_path)
    found = {row["label"]: row for row in nd.energy_rows(read.requests, read.summaries, read.by_group, read.several)}
    # Phones: 3·0.2 J and 3·0.1 J for two that completed; cars 2·0.2 J and 0.5 + 0.1 J for one.
    assert list(found) == ["car", "phone", "all"]
    assert [found["phone"][name] for name in nd.ENERGY[:4]] == pytest.approx([0.3, 0.15, 1.5, 0.5])
    assert [found["car"][name] for name in nd.ENERGY[:3]] == pytest.approx([0.4, 0.6, 4.0])
    assert math.isnan(found["car"]["sleep_energy_j"]) and math.isnan(found["phone"]["edge_energy_j"])
    assert [found["all"][name] for name in nd.ENERGY] == pytest.approx([1 / 3, 0.3, 7 / 3, 1 / 3, 20.0])
    figure = nr.draw_energy_split(read, nr.Report())
    assert [text.get_text() for text in figure.axes[0].texts] == ["5 J\nn = 1", "2.45 J\nn = 2", "3.3 J\nn = 3"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["20 J"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["UE compute", "UE idle", "Radio sends", "Radio sleeps", "Edge"]


def test_the_only_group_has_the_edge_and_replications_are_summed(tmp_path):
    for run, completed in (("a", 1), ("b", 2)):
        rows = [request() for _ in range(completed)]
        write_run(tmp_path / "net" / run, rows, [summary("group", "phone", completed), summary("all", "all", completed, edge=completed * 2.0 + 1)])
    read, _ = data(tmp_path)
    [row] = nd.energy_rows(read.requests, read.summaries, read.by_group, read.several)
    assert (row["label"], row["completed"], row["edge_energy_j"]) == ("phone", 3, pytest.approx(8 / 3))
    assert math.isnan(row["idle_energy_j"])


def test_energy_by_scenario(tmp_path):
    for name, edge in (("one", 4.0), ("two", 6.0)):
        write_run(tmp_path / name / "a", [request(), request(group="car")], [summary("group", "phone", 1), summary("all", "all", 2, edge=edge)], name=name)
    for option, labels, joules in (("scenario", ["one", "two"], [2, 3]), ("group", ["one / all", "two / all"], [2, 3])):
        read, _ = data(tmp_path, "--group-by", option)
        found = {row["label"]: row["edge_energy_j"] for row in nd.energy_rows(read.requests, read.summaries, read.by_group, read.several)}
        assert [found[label] for label in labels] == joules
    assert len(found) == 6


def test_another_warm_up_leaves_the_summary_out(tmp_path):
    rows = [request(arrival_s=arrival) for arrival in (0.0, 5.0, 9.0)]
    write_run(tmp_path / "net/a", rows, [summary("all", "all", 2, edge=8.0)], warmup_s=5.0)
    read, report = data(tmp_path)
    assert len(read.requests) == 2 and read.summaries.loc["all", "edge_energy_j"] == 4
    read, report = data(tmp_path, "--warmup-s", "6")
    assert len(read.requests) == 1 and read.summaries is None
    assert any("own warm-up only" in note for note in report.notes)


# ---- Pictures ------------------------------------------------------------------------------------------------------


def test_the_map_shows_places_stations_and_borders(tmp_path):
    write_run(tmp_path / "net/a", crowd(1), cell=HEXAGONAL)
    read, report = data(tmp_path)
    left, right = nr.draw_network_map(read, report).axes[:2]
    assert (left.get_title(), right.get_title()) == ("SINR", "Serving cell, 0.0 % not the nearest")
    places, stations = left.collections[0], left.collections[-1]
    assert len(places.get_offsets()) == 300 and np.allclose(stations.get_offsets(), nd.hexagonal(7, 500.0, 0.0, 0.0))
    first = places_of(read).iloc[0]
    assert places.get_array()[0] == pytest.approx(first["sinr_db"])
    assert len(left.collections[1].get_paths()) == 7
    assert [text.get_text() for text in right.texts] == [str(index) for index in range(7)]


def test_a_map_of_very_many_places_has_means_over_hexagons(tmp_path, monkeypatch):
    monkeypatch.setattr(nr, "MAX_POINTS", 100)
    write_run(tmp_path / "net/a", [request(x, y, 0, sinr, ue=ue) for ue, (x, y, sinr) in enumerate([(50, 50, 4.0), (50.5, 50, 8.0), *[(390, 300, 1.0)] * 99])])
    read, report = data(tmp_path)
    axes = nr.draw_network_map(read, report).axes[0]
    assert axes.get_title() == "SINR, means over hexagons"
    assert sorted(axes.collections[0].get_array()) == pytest.approx([1, 6])


def test_a_road_is_not_to_scale_and_its_views_stand_one_above_the_other(tmp_path):
    write_run(tmp_path / "net/a", [request(x=x, ue=x) for x in range(0, 400, 10)])
    read, report = data(tmp_path)
    above, below = nr.draw_network_map(read, report).axes[:2]
    assert above.get_aspect() == "auto" and "not to scale" in above.get_xlabel()
    assert above.get_position().x0 == pytest.approx(below.get_position().x0) and above.get_position().y0 > below.get_position().y1


def test_the_cdf_counts_what_was_sent(tmp_path):
    rows = [request(sinr=sinr) for sinr in (1.0, 2.0, 3.0, 4.0)] + [request(sinr=0.0, outcome="timeout"), unsent()]
    write_run(tmp_path / "net/a", rows)
    axes = nr.draw_sinr_cdf(*data(tmp_path)).axes[0]
    curve = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert curve.get_xdata().tolist() == [0, 0, 1, 2, 3, 4] and curve.get_ydata().tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert curve.get_label() == "phone\nn = 5, 5 % 0.0 dB, median 2.0 dB"


def test_goodput_and_latency_by_distance(tmp_path):
    # 5 at 10 m and 5 at 30 m make bins of 2 m; 4 at 39 m are too few to draw.
    rows = [request(x=10, e2e=e2e, uplink_bits=e2e * 1e6) for e2e in (1, 2, 3, 4, 10)] + [request(x=30, e2e=2.0)] * 5 + [request(x=39, e2e=50.0)] * 4
    write_run(tmp_path / "net/a", rows)
    above, below = nr.draw_by_distance(*data(tmp_path)).axes
    assert "in bins of 2 m" in below.get_xlabel()
    median, mean = below.lines
    assert (median.get_xdata().tolist(), median.get_ydata().tolist(), mean.get_ydata().tolist()) == ([11, 31], [3, 2], [4, 2])
    assert above.lines[0].get_ydata().tolist() == pytest.approx([6, 2])
    band = below.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1, 10)


def test_analog_requests_have_no_goodput(tmp_path):
    write_run(tmp_path / "net/a", [request(uplink_bits=None)] * 9)
    read, report = data(tmp_path)
    assert len(nr.draw_by_distance(read, report).axes) == 1
    assert report.notes[-1] == "by_distance is without goodput_bps: no distance has 5 completed requests that have it"


def test_handovers_along_the_road(tmp_path):
    rows = [request(x=100, handovers=0)] * 5 + [request(x=300, handovers=handovers, e2e=3.0) for handovers in (0, 1, 1, 2, 1)]
    write_run(tmp_path / "net/a", rows)
    read, report = data(tmp_path)
    above, below = nr.draw_handovers(read, report).axes
    assert (above.lines[0].get_xdata().tolist(), above.lines[0].get_ydata().tolist()) == ([102.5, 302.5], [0, 1])
    assert below.lines[0].get_ydata().tolist() == [1, 3] and below.get_xlabel().startswith("East (m), in bins of 5")
    below = nr.draw_handovers(read._replace(along="time"), report).axes[1]
    assert below.get_xlabel().startswith("Time of arrival (s)")


def test_without_handovers_their_picture_is_skipped(tmp_path):
    write_run(tmp_path / "net/a", [request(), unsent()])
    with pytest.raises(nr.Skip, match="no request was handed over"):
        nr.draw_handovers(*data(tmp_path))


def test_table(tmp_path):
    rows = [request(sinr=1.0), request(sinr=3.0, e2e=2.0, handovers=2), request(outcome="timeout", sinr=9.0), unsent()]
    write_run(tmp_path / "net/a", rows)
    header, row = nr.summary_table(data(tmp_path)[0].requests)
    assert dict(zip(header, row)) == {
        "label": "phone", "requests": "4", "completed": "2", "sinr_5%_db": "1", "sinr_median_db": "3",
        "goodput_5%_mbps": "2", "goodput_median_mbps": "2", "e2e_median_s": "1", "e2e_p95_s": "2", "handovers": "2",
    }  # fmt: skip


# ---- Files and command ---------------------------------------------------------------------------------------------


def command(*arguments):
    """The script as a user starts it; where it succeeds, it must not print a warning."""
    full = [sys.executable, str(ANALYSIS / "network_report.py"), *map(str, arguments)]
    done = subprocess.run(full, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode != 0 or done.stderr == ""
    return done


def test_whole_report_is_written_quietly_and_the_same_twice(tmp_path):
    totals = [summary("group", name, 150) for name in ("phone", "car")] + [summary("all", "all", 300, edge=9.0)]
    write_run(tmp_path / "results/net/a", crowd(1), totals, cell=HEXAGONAL)
    for out in ("one", "two"):
        done = command(tmp_path / "results", "-o", tmp_path / out, "--dpi", 60, "--format", "png,svg,pdf")
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(f"{name}.{suffix}" for name in nr.PICTURES for suffix in ("png", "svg", "pdf"))
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    done = command(tmp_path / "results", "-o", tmp_path / "few", "--pictures", "sinr_cdf", "--format", "svg")
    assert [path.name for path in (tmp_path / "few").iterdir()] == ["sinr_cdf.svg"] and "skipped" not in done.stdout


def test_chunks_make_no_difference(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "net/a", crowd(2, 100), cell=HEXAGONAL)
    runs, sites = find_runs(folder, []), nd.stations_by_scenario(find_runs(folder, []))
    whole = nd.load_requests(runs, True, None, sites)
    monkeypatch.setattr(nd, "CHUNK_ROWS", 7)
    pieces = nd.load_requests(runs, True, None, sites)
    assert len(pieces) == 100 and list(pieces["label"]) == list(whole["label"])
    pd.testing.assert_frame_equal(pieces.select_dtypes("number"), whole.select_dtypes("number").reset_index(drop=True))


def test_several_scenarios_are_kept_apart_and_others_left_out(tmp_path):
    write_run(tmp_path / "one/a", crowd(1, 60), cell=HEXAGONAL, name="one")
    write_run(tmp_path / "two/a", [request(ue=ue) for ue in range(9)], name="two")
    write_run(tmp_path / "three/a", [request()], name="three", kind="noise")
    (write_run(tmp_path / "two/b", [request()], name="two") / "requests.csv").unlink()
    done = command(tmp_path, "-o", tmp_path / "out", "--format", "svg")
    assert done.returncode == 0 and [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["one", "two", "all"]
    assert "note: ignored three/a: its channel is not cellular" in done.stdout
    assert "note: ignored two/b: it holds no requests.csv" in done.stdout


def test_header_only_files_give_no_picture(tmp_path):
    write_run(tmp_path / "net/a", [], [])
    done = command(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped ") == len(nr.PICTURES) and not list((tmp_path / "out").iterdir())


def test_columns_may_be_moved_and_appended(tmp_path):
    write_run(tmp_path / "net/a", [request() | {"new": "x"}], columns=["new", *reversed(COLUMNS)])
    assert data(tmp_path)[0].requests["goodput_bps"].tolist() == [2e6]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("sinr_db", "snr_db"), "requests.csv: missing column 'sinr_db'"),
        (lambda text: text.replace("12.5", "loud"), "requests.csv: line 3, column 'sinr_db': 'loud' is no number"),
        (lambda text: text.replace("completed", "vanished"), "requests.csv: column 'outcome' holds 'vanished'"),
        (lambda text: text.replace("\n0,1,", "\n0,2,"), "requests.csv: line 3, column 'cell_id': 2, where the scenario has cells 0 to 1"),
        (lambda text: text.replace("\n0,1,", "\n0,,"), "requests.csv: line 3, column 'cell_id': empty, where the scenario has cells 0 to 1"),
        (lambda text: "", "requests.csv: empty, without even a header"),
    ],
)
def test_damaged_requests_are_named(tmp_path, capsys, spoil, message):
    path = write_run(tmp_path / "net/a", [request(), request(sinr=12.5, cell=1)]) / "requests.csv"
    path.write_text(spoil(path.read_text()))
    assert nr.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told and "\nhint: " in told and not (tmp_path / "out").exists()


def test_runs_without_cells_are_an_error(tmp_path):
    assert "no such folder" in command(tmp_path / "nowhere").stderr
    folder = write_run(tmp_path / "net/a", [request()], kind="noise")
    done = command(folder)
    assert done.returncode == 2 and "no run of a cellular channel" in done.stderr
    assert 'hint: take a run whose scenario has kind = "cellular"' in done.stderr and "Traceback" not in done.stderr


def test_without_requests_or_with_other_stations_under_one_name(tmp_path):
    (write_run(tmp_path / "quiet/a", name="quiet") / "requests.csv").unlink()
    with pytest.raises(InputError, match="no cellular run holds requests.csv"):
        data(tmp_path)
    write_run(tmp_path / "net/a", [request()])
    write_run(tmp_path / "net/b", [request()], cell=HEXAGONAL)
    with pytest.raises(InputError, match="scenario net has runs with other base stations"):
        data(tmp_path)


@pytest.mark.parametrize("option", [("--format", "bmp"), ("--dpi", "0"), ("--warmup-s", "-1"), ("--along", "z"), ("--pictures", "map")])
def test_bad_options_are_errors(tmp_path, option):
    with pytest.raises(SystemExit) as stopped:
        nr.parse_arguments([str(tmp_path), *option])
    assert stopped.value.code == 2
