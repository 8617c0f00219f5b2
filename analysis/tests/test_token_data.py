"""A few made-up tokens in, deciles, waits and fallbacks out: each expected value is computed by hand."""

import math

import hybrid_runs as made
import pandas as pd
import pytest

import hybrid_data as hd
import token_data as td
from run_data import InputError


def load(root, warmup_s=None):
    notes = []
    return td.load_tokens(hd.load([root], {}, [], warmup_s, notes), warmup_s, notes), notes


def tokens(tmp_path, rows):
    made.write_run(tmp_path, [made.request(number) for number in range(3)], scorer="margin", threshold=0.5, tokens=rows)
    return load(tmp_path)[0]


def test_deciles_hold_a_tenth_of_the_ues_tokens_each(tmp_path):
    rows = [made.token(place % 3, place, score=20 - place, logprob=-float(place), llm_word=1 if place % 2 else 2) for place in range(20)]
    rows += [made.token(0, 20, "edge", score=0.0, logprob=-0.1), made.token(0, 21, "ue", score=None), made.token(0, 22, score=1.0, logprob=None)]
    found = td.deciles(tokens(tmp_path, rows))
    assert list(found["tokens"]) == [2] * 10
    assert list(found["score_low"]) == list(range(1, 20, 2)) and list(found["score_high"]) == list(range(2, 21, 2))
    assert list(found["logprob"]) == [-18.5 + 2 * place for place in range(10)] and list(found["agreement"]) == [0.5] * 10


def test_a_fallback_is_the_token_that_was_scored(tmp_path):
    found = td.deciles(tokens(tmp_path, [made.token(0, 0, "fallback", 0.1, -4.0), made.token(0, 1, "edge", 0.1, -1.0), made.token(1, 0, "ue", 0.9, -2.0)]))
    assert list(found["logprob"]) == [-4.0, -2.0]


def test_equal_scores_stay_together(tmp_path):
    rows = [made.token(0, place, score=0.0 if place < 6 else 0.05 * place) for place in range(10)]
    found = td.deciles(tokens(tmp_path, rows))
    assert list(found["tokens"]) == [6, 1, 1, 1, 1] and list(found["score_low"]) == pytest.approx([0.0, 0.3, 0.35, 0.4, 0.45])


def test_a_mean_over_clusters_has_their_interval():
    # Requests (1, 3) and (2,): mean 2; residuals 4 - 4 and 2 - 2: no spread. (0, 0) and (3,): mean 1, residuals -2 and 2.
    assert td.clustered_mean(pd.Series([1.0, 3.0, 2.0]), pd.Series(["a", "a", "b"])) == (2.0, 2.0, 2.0)
    mean, low, high = td.clustered_mean(pd.Series([0.0, 0.0, 3.0]), pd.Series(["a", "a", "b"]))
    assert (mean, high - mean, mean - low) == pytest.approx((1.0, *[1.959964 * math.sqrt(2 * 8) / 3] * 2))
    mean, low, high = td.clustered_mean(pd.Series([1.0, 2.0]), pd.Series(["a", "a"]))
    assert mean == 1.5 and math.isnan(low) and math.isnan(high)
    assert all(map(math.isnan, td.clustered_mean(pd.Series([math.nan]), pd.Series(["a"]))))


def test_waits_by_source(tmp_path):
    rows = [made.token(0, place, "edge", wait=wait) for place, wait in enumerate((0.1, 0.2, 0.3, 0.6))]
    rows += [made.token(1, 0, "fallback", wait=1.0), made.token(1, 1, "ue", wait=None)]
    ue, edge, fallback = td.waits(tokens(tmp_path, rows)).to_dict("records")
    assert (edge["source"], edge["tokens"], edge["wait_mean_s"], edge["wait_median_s"], edge["wait_p95_s"]) == ("edge", 4, pytest.approx(0.3), 0.2, 0.6)
    assert (fallback["source"], fallback["wait_mean_s"], fallback["edge_mean_s"]) == ("fallback", 1.0, 0.001)
    assert ue["tokens"] == 1 and math.isnan(ue["wait_mean_s"]) and math.isnan(ue["wait_median_s"])


def test_fallbacks_by_position_are_a_share_of_what_was_asked(tmp_path):
    # 32 positions: bins of two. Asked at 0 (lost), 1 (came), 30 (came); at 31 the UE's token stayed.
    rows = [made.token(0, 0, "fallback"), made.token(0, 1, "edge"), made.token(1, 30, "edge"), made.token(1, 31, "ue")]
    first, last = td.fallbacks(tokens(tmp_path, rows)).to_dict("records")
    assert (first["position_low"], first["position_high"], first["asked"], first["fallback_share"]) == (0, 1, 2, 0.5)
    assert (last["position_low"], last["asked"], last["fallback_share"]) == (30, 1, 0.0)
    assert td.fallbacks(tokens(tmp_path / "own", [made.token(0, 0)])).empty


def test_tokens_of_the_warm_up_stay_out(tmp_path):
    rows = [made.token(number, 0, logprob=-float(number)) for number in range(3)]
    made.write_run(tmp_path, [made.request(number) for number in range(3)], scorer="margin", threshold=0.5, tokens=rows)
    found, notes = load(tmp_path, warmup_s=1.5)
    assert list(found["logprob_llm"]) == [-2.0] and notes == ["warm-up left out: requests that arrived before 1.5 s"]


def test_runs_without_tokens_are_counted(tmp_path):
    made.write_run(tmp_path, [made.request(0)], scorer="margin", threshold=0.5)
    assert load(tmp_path)[0] is None
    made.write_run(tmp_path, [made.request(0)], scorer="margin", threshold=0.7, tokens=[made.token(0, 0)])
    found, notes = load(tmp_path)
    assert len(found) == 1 and notes == ["1 of 2 runs hold no tokens.csv"]
    assert list(found["series"]) == ["hybrid-uncertainty, margin"]


@pytest.mark.parametrize(
    "cells, message",
    [
        ({"source": "cloud"}, "line 3, column 'source': 'cloud'"),
        ({"source": None}, "line 3, column 'source': ''"),
        ({"logprob": 0.5}, "line 3, column 'logprob_llm': 0.5 is no finite logarithm"),
        ({"logprob": "-inf"}, "line 3, column 'logprob_llm': -inf is no finite logarithm"),
        ({"wait": -1}, "line 3, column 'wait_s': -1 is no finite number from 0 on"),
        ({"position": None}, "line 3, column 'position': is empty"),
        ({"score": "high"}, "line 3, column 'score': 'high' is no number"),
    ],
)
def test_wrong_tokens_are_named(tmp_path, cells, message):
    with pytest.raises(InputError, match=message):
        tokens(tmp_path, [made.token(0, 0), made.token(0, **({"position": 1} | cells))])


def test_a_missing_column_is_named(tmp_path):
    folder = made.write_run(tmp_path, [made.request(0)], scorer="margin", threshold=0.5)
    pd.DataFrame([made.token(0, 0)]).drop(columns=["logprob_llm"]).to_csv(folder / "tokens.csv", index=False)
    with pytest.raises(InputError, match="tokens.csv: missing column 'logprob_llm'"):
        load(tmp_path)
