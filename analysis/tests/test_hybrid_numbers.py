"""Small made-up sums in, shares, intervals, ratios and fronts out: each expected value is computed by hand."""

import math

import hybrid_runs as made
import numpy as np
import pandas as pd
import pytest

import hybrid_data as hd
import hybrid_numbers as hn


def data(*points, stratum=""):
    """Points of units given as (unit, edge, tokens, logprob, scored, agree): Data without settings or costs."""
    rows = []
    for number, units in enumerate(points):
        for unit, edge, tokens, logprob, scored, agree in units:
            about = {"point": number, "unit": unit, "stratum": stratum, "seed": stratum, "generated": True, "replications": False}
            rows.append(about | {"edge": edge, "fallback": 0, "tokens": tokens, "logprob": logprob, "scored": scored, "agree": agree, "judged": tokens})
    return hd.Data([hd.Point({}) for _ in points], pd.DataFrame(rows), pd.DataFrame(), [])


def replications(*points):
    """Points of (share, logprob, agreement) per replication."""
    rows = []
    for number, values in enumerate(points):
        for place, (share, logprob, agreement) in enumerate(values):
            row = {"edge_token_share": share, "fallback_token_share": 0.0, "llm_logprob_mean": logprob, "llm_agreement": agreement, "corpus_ppl": math.nan}
            rows.append(hd.replication_text(row) | {"point": number, "unit": f"r{place}", "stratum": "s", "seed": "s", "replications": True})
    return hd.Data([hd.Point({}) for _ in points], pd.DataFrame(rows), pd.DataFrame(), [])


def line(*points):
    """(shares, quality) of one curve, as one resample."""
    return tuple(np.array([column], float) for column in zip(*points))


# ---- Shares and quality --------------------------------------------------------------------------------------------


def test_shares_and_quality_are_ratios_of_sums(tmp_path):
    table = hn.estimates(data([("a", 2, 10, -30.0, 10, 4), ("b", 8, 30, -30.0, 30, 26)]), [0], 100)
    [row] = table.to_dict("records")
    assert (row["edge_share"], row["logprob"], row["agreement"], row["units"]) == (10 / 40, -60 / 40, 30 / 40, 2)


def test_two_units_have_the_interval_of_their_four_resamples():
    # Each with equal weight: a a, a b, b a, b b give -3, -2, -2, -1; the 2.5 and 97.5 % points are the ends.
    [row] = hn.estimates(data([("a", 1, 10, -30.0, 10, 5), ("b", 3, 10, -10.0, 10, 5)]), [0], 1000).to_dict("records")
    assert (row["logprob"], row["logprob_low"], row["logprob_high"]) == (-2.0, -3.0, -1.0)
    assert (row["edge_share"], row["edge_share_low"], row["edge_share_high"]) == pytest.approx((0.2, 0.1, 0.3))
    assert (row["agreement_low"], row["agreement_high"]) == (0.5, 0.5)


def test_one_unit_has_no_interval():
    [row] = hn.estimates(data([("a", 1, 10, -30.0, 10, 5)]), [0], 50).to_dict("records")
    assert row["logprob"] == -3.0 and math.isnan(row["logprob_low"]) and math.isnan(row["logprob_high"])


def test_the_bootstrap_agrees_with_the_normal_interval_and_covers_the_truth():
    # 60 prompts of unequal length, log-likelihood -2 per token: of 200 intervals about 95 % hold it. The delta method's
    # interval of a ratio is 1.96·√(n/(n-1)·Σ(x - R·t)²)/Σt; the bootstrap's half is within 6 % of it in the mean of 200.
    rng = np.random.default_rng(5)
    tokens = rng.integers(20, 80, (200, 60)).astype(float)
    logprob = tokens * (-2 + rng.normal(0, 0.5, tokens.shape))
    held, halves = 0, []
    for t, x in zip(tokens, logprob):
        [row] = hn.estimates(data([(f"w{place}", 0, t[place], x[place], t[place], 0) for place in range(60)]), [0], 400).to_dict("records")
        rate = x.sum() / t.sum()
        delta = 1.96 * math.sqrt(60 / 59 * ((x - rate * t) ** 2).sum()) / t.sum()
        halves.append((row["logprob_high"] - row["logprob_low"]) / 2 / delta)
        held += row["logprob_low"] <= -2 <= row["logprob_high"]
    assert np.mean(halves) == pytest.approx(1, abs=0.06)
    assert 0.90 <= held / 200 <= 0.98


def test_replications_have_students_interval():
    # Quality -1, -2, -3: mean -2, s = 1, t = 4.302653, reach = t/√3.
    [row] = hn.estimates(replications([(0.1, -1.0, 0.5), (0.2, -2.0, 0.5), (0.3, -3.0, 0.5)]), [0], 50).to_dict("records")
    assert row["logprob"] == pytest.approx(-2.0)
    assert row["logprob_high"] - row["logprob"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert row["edge_share"] == pytest.approx(0.2) and row["edge_share"] - row["edge_share_low"] == pytest.approx(0.4302653 / math.sqrt(3), rel=1e-5)


def test_an_empty_figure_is_no_zero():
    [row] = hn.estimates(replications([(math.nan, -1.0, math.nan), (math.nan, -3.0, math.nan)]), [0], 50).to_dict("records")
    assert row["logprob"] == -2.0 and math.isnan(row["edge_share"]) and math.isnan(row["agreement"])


def test_prompts_are_drawn_together_and_seeds_of_their_own_apart():
    shared = hn.texts_of(data([("w1", 0, 1, 0, 1, 0), ("w2", 0, 1, 0, 1, 0)], [("w1", 0, 1, 0, 1, 0)]).texts, [0, 1])
    assert [list(members) for members in shared.strata] == [[0, 1]] and list(shared.units) == [2, 1]
    rows = data([("a1", 0, 1, 0, 1, 0), ("a2", 0, 1, 0, 1, 0)], [("b1", 0, 1, 0, 1, 0), ("b2", 0, 1, 0, 1, 0)]).texts
    rows["seed"] = rows["stratum"] = [unit[0] for unit in rows["unit"]]
    assert [list(members) for members in hn.texts_of(rows, [0, 1]).strata] == [[0, 1], [2, 3]]


# ---- Equal quality -------------------------------------------------------------------------------------------------


def test_quality_at_a_share_is_linear_between_points_and_nothing_outside():
    curve = line((0.5, -1.4), (0.1, -2.0), (0.3, -1.5))
    assert hn.quality_at(*curve, 0.2)[0] == pytest.approx(-1.75)
    assert hn.quality_at(*curve, 0.4)[0] == pytest.approx(-1.45)
    assert hn.quality_at(*curve, 0.1)[0] == -2.0 and hn.quality_at(*curve, 0.5)[0] == pytest.approx(-1.4)
    assert math.isnan(hn.quality_at(*curve, 0.05)[0]) and math.isnan(hn.quality_at(*curve, 0.6)[0])
    assert hn.quality_at(*line((0.5, -1.4), (math.nan, -9.0), (0.1, -2.0)), 0.3)[0] == pytest.approx(-1.7)


def test_the_share_for_a_quality_is_the_least_that_reaches_it():
    curve = line((0.5, -1.4), (0.1, -2.0), (0.3, -1.5), (0.7, -1.45))
    shares = hn.share_for(*(np.repeat(column, 7, axis=0) for column in curve), np.array([-1.75, -1.43, -2.0, -2.5, -1.0, math.nan, -1.4]))
    assert shares[0] == pytest.approx(0.2)
    assert shares[1] == pytest.approx(0.3 + 0.2 * 0.7)
    assert (shares[2], shares[3], shares[4]) == (0.1, 0.0, math.inf)
    assert math.isnan(shares[5]) and shares[6] == pytest.approx(0.5)


# Random: -1.9 at 10 %, -1.5 at 50 %, -1.1 at 90 %: -1.8 at 20 %, -1.6 at 40 %, -1.4 at 60 %; agreement 0.2 to 0.8.
RANDOM = [[("a", share, 1, logprob, 1, agree)] for share, logprob, agree in ((0.1, -1.9, 0.2), (0.5, -1.5, 0.5), (0.9, -1.1, 0.8))]
REWARD = [[("a", share, 1, logprob, 1, agree)] for share, logprob, agree in ((0.1, -1.85, 0.3), (0.3, -1.2, 0.4))]


def test_ratios_by_hand():
    found = hn.ratios(data(*RANDOM, *REWARD), {"random": [0, 1, 2], "reward": [3, 4]}, 20).set_index(["quality", "scorer", "random_share"]).sort_index()
    reward = found.loc["logprob", "reward"]
    assert list(reward["random_quality"]) == pytest.approx([-1.8, -1.6, -1.4])
    assert list(reward["ratio"]) == pytest.approx([(0.1 + 0.2 * gain / 0.65) / share for gain, share in ((0.05, 0.2), (0.25, 0.4), (0.45, 0.6))])
    assert list(found.loc["logprob", "random"]["ratio"]) == pytest.approx([1, 1, 1])
    # Random agrees in 0.275, 0.425 and 0.575: the first is below reward's first point, the others above its last.
    agreement = found.loc["agreement", "reward"]
    assert list(agreement["reading"]) == ["below its first point", "not reached", "not reached"]
    assert list(agreement["ratio"]) == [0.0, math.inf, math.inf]
    assert reward["ratio_low"].isna().all()  # one unit has no interval


def test_what_random_does_not_span_cannot_be_read():
    found = hn.ratios(data(*RANDOM[:2], *REWARD), {"random": [0, 1], "reward": [2, 3]}, 20)
    last = found[(found["random_share"] == 0.6) & (found["quality"] == "logprob")]
    assert set(last["reading"]) == {"random has no points on both sides"} and last["ratio"].isna().all()


def units(points, effects):
    """Points (share, logprob) on prompts whose ease is the same at each point: 100 tokens each."""
    return [[(f"w{place}", 100 * share, 100, 100 * (logprob + effect), 100, 50) for place, effect in enumerate(effects)] for share, logprob in points]


def test_ease_of_prompts_that_all_curves_share_leaves_no_interval():
    effects = np.random.default_rng(3).normal(0, 1, 50)
    points = [*units([(0.1, -1.9), (0.5, -1.5), (0.9, -1.1)], effects), *units([(0.1, -1.85), (0.5, -1.0)], effects)]
    found = hn.ratios(data(*points), {"random": [0, 1, 2], "margin": [3, 4]}, 300)
    margin = found[(found["scorer"] == "margin") & (found["quality"] == "logprob")]
    for row, (gain, share) in zip(margin.to_dict("records"), ((0.05, 0.2), (0.25, 0.4), (0.45, 0.6))):
        wanted = (0.1 + 0.4 * gain / 0.85) / share
        assert (row["ratio_low"], row["ratio"], row["ratio_high"]) == pytest.approx((wanted, wanted, wanted))


def test_ease_of_their_own_gives_an_interval_and_prompts_without_it_are_told():
    rng = np.random.default_rng(4)
    points = [units([point], rng.normal(0, 0.3, 50))[0] for point in ((0.1, -1.9), (0.5, -1.5), (0.9, -1.1), (0.05, -2.5), (0.5, -1.0))]
    found = hn.ratios(data(*points), {"random": [0, 1, 2], "margin": [3, 4]}, 500).set_index(["quality", "scorer", "random_share"]).sort_index()
    row = found.loc["logprob", "margin", 0.4]
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"] and 0.1 < row["ratio_high"] - row["ratio_low"] < 0.6
    assert row["readable"] == 1


def test_an_interval_may_end_where_nothing_is_reached():
    # Half of the resamples of two prompts: equal weights. Scorer's best is above, at or below what random has.
    rows = [[("a", 1, 10, -20.0, 10, 5), ("b", 1, 10, -20.0, 10, 5)], [("a", 9, 10, -10.0, 10, 5), ("b", 9, 10, -10.0, 10, 5)]]
    rows += [[("a", 1, 10, -20.0, 10, 5), ("b", 1, 10, -20.0, 10, 5)], [("a", 5, 10, -20.0, 10, 5), ("b", 5, 10, -5.0, 10, 5)]]
    found = hn.ratios(data(*rows), {"random": [0, 1], "margin": [2, 3]}, 400).set_index(["quality", "scorer", "random_share"]).sort_index()
    row = found.loc["logprob", "margin", 0.6]
    # Random at 60 %: -1.375. With a and b the last point has -1.25, with b b -0.5, with a a -2.
    assert row["ratio"] == pytest.approx((0.1 + 0.4 * 0.625 / 0.75) / 0.6)
    assert row["ratio_low"] == pytest.approx((0.1 + 0.4 * 0.625 / 1.5) / 0.6) and math.isinf(row["ratio_high"])


# ---- Costs and fronts ----------------------------------------------------------------------------------------------


def test_a_front_is_what_nothing_dominates():
    table = pd.DataFrame({"e2e_s": [1.0, 2.0, 3.0, 2.0, 2.5, math.nan, 1.0], "energy_j": [5.0, 5.0, 1.0, 5.0, 9.0, 0.1, 6.0], "logprob": [-3.0, -2.0, -2.0, -2.0, -1.0, 0.0, -3.0]})
    assert list(hn.front(table, ["e2e_s"], ["logprob"])) == [True, True, False, True, True, False, True]
    assert list(hn.front(table, ["energy_j"], ["logprob"])) == [False, False, False, False, False, True, False]
    assert list(hn.front(table, ["e2e_s", "energy_j"], ["logprob"])) == [True, True, True, True, True, False, False]


def test_a_cost_is_the_mean_of_runs_with_students_interval():
    costs = pd.DataFrame([{"point": point, **dict.fromkeys(hd.COSTS, 0.0), "e2e_s": e2e} for point, e2e in ((0, 1.0), (0, 3.0), (1, 7.0))])
    first, second = hn.cost_means(hd.Data([], None, costs, [])).to_dict("records")
    assert (first["e2e_s"], first["runs"]) == (2.0, 2) and first["e2e_s_high"] == pytest.approx(2 + 12.7062 * math.sqrt(2) / math.sqrt(2), rel=1e-5)
    assert second["e2e_s"] == 7.0 and math.isnan(second["e2e_s_low"])


def test_costs_of_a_run_are_per_token_that_came():
    rows = pd.DataFrame([made.request(0, e2e=1.0), made.request(1, ue=18, e2e=3.0), made.request(2, e2e=None, outcome="timeout", tx_energy_j=3.5)], columns=made.COLUMNS)
    costs = hd.request_costs(rows)
    # 10 and 20 tokens came; what the timeout has sent and spent counts.
    assert (costs["e2e_s"], costs["energy_j"], costs["uplink_bits"], costs["edge_asks"]) == (2.0, pytest.approx(7.5 / 30), 600 / 30, 6 / 30)


def test_energy_of_a_replication_is_without_idling_and_sleeping():
    row = dict.fromkeys(hd.STUDY_COSTS, math.nan) | {"ue_energy_j": 1.0, "tx_energy_j": 0.5, "idle_energy_j": 1.5, "energy_per_token_j": 0.03}
    assert hd.replication_cost(row)["energy_j"] == pytest.approx(0.015)
    assert math.isnan(hd.replication_cost(dict.fromkeys(hd.STUDY_COSTS, math.nan))["energy_j"])
