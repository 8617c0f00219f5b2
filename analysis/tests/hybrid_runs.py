"""Small made-up runs and studies of collaborative generation, for the tests of their pictures."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))
import hybrid_data
import token_data

COLUMNS = [*hybrid_data.REQUEST_NUMBERS, *hybrid_data.REQUEST_WORDS, "group"]
TOKEN_COLUMNS = ["request_id", "position", "source", "score", "threshold", "uplink_bits", "wait_s", "edge_s", "logprob_llm", "token", "llm_token"]


def request(number, ue=8, edge=2, fallback=0, nll=20.0, agree=5, window=None, e2e=1.0, **cells):
    """One completed request that generated ue + edge + fallback tokens, which the LLM scored."""
    tokens = ue + edge + fallback
    row = {"request_id": number, "window": number if window is None else window, "arrival_s": float(number), "output_tokens": tokens, "outcome": "completed", "group": "phone"}
    row |= {"ue_tokens": ue, "edge_tokens": edge, "fallback_tokens": fallback, "llm_agreements": agree, "edge_asks": edge + fallback}
    row |= {"uplink_bits": 100 * edge, "downlink_bits": 10 * edge, "nll_sum": nll, "tokens_scored": tokens}
    row |= {"e2e_s": e2e, "ttft_s": 0.1, "tpot_s": 0.05, "ue_energy_j": 1.0, "tx_energy_j": 0.5}
    return row | cells


def token(number, position, source="ue", score=0.5, logprob=-1.0, word=1, llm_word=1, wait=0.01, **cells):
    row = {"request_id": number, "position": position, "source": source, "score": score, "threshold": 0.5, "uplink_bits": 0}
    return row | {"wait_s": wait, "edge_s": 0.001, "logprob_llm": logprob, "token": word, "llm_token": llm_word} | cells


def write_run(root, requests, mode="hybrid-uncertainty", scorer=None, threshold=None, seed=1, tokens=None, columns=COLUMNS, **tables):
    """A run folder of a scenario that is called by its mode, scorer and threshold."""
    name = "-".join(str(part) for part in (mode, scorer, threshold) if part is not None)
    scenario = {"name": name, "seed": seed, "warmup_s": 0.0, "service": {"mode": mode}}
    if scorer is not None:
        scenario["collaboration"] = {"scorer": scorer, "threshold": threshold}
    folder = Path(root) / name / f"{seed:016x}"
    folder.mkdir(parents=True)
    if requests is not None:
        pd.DataFrame(requests, columns=columns).to_csv(folder / "requests.csv", index=False)
    if tokens is not None:
        pd.DataFrame(tokens, columns=TOKEN_COLUMNS).to_csv(folder / "tokens.csv", index=False)
    about = {"run_id": json.dumps([name, seed, tables]), "seed": seed, "replication": 0, "scenario": scenario | tables}
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


def replication(point, number, axes, **figures):
    """A row of runs.csv."""
    row = {"run_id": f"{100 * point + number:016x}", "point": point, "replication": number, "seed": 1, "status": "done", "error": None}
    blank = dict.fromkeys([*hybrid_data.STUDY_QUALITY, *hybrid_data.STUDY_COSTS])
    return row | axes | {"arrivals": 10} | blank | figures


def write_study(folder, rows):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "runs.csv", index=False)
    return folder


# Quality at an edge share s of a made-up pair of models: -2 by the UE alone, -1 by the edge alone.
GAINS = {"random": 1.0, "margin": 2.0, "reward": 4.0}


def quality(scorer, share):
    return -2 + (1 - (1 - share) ** GAINS[scorer])


def sweep(root, seeds=(1,), requests=40, scorers=("random", "margin", "reward"), tokens=False, length=50):
    """Runs of several thresholds for each scorer, on prompts that are the same for all."""
    for scorer in scorers:
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
            for seed in seeds:
                rng = np.random.default_rng([seed, 7])
                rows, words = [], []
                for number in range(requests):
                    ease = rng.normal(0, 0.2)
                    edge = int(rng.binomial(length, threshold))
                    nll = -length * (quality(scorer, edge / length) + ease)
                    rows.append(request(number, length - edge, edge, 0, nll, int(length * threshold), e2e=1 + edge / length, window=1000 * seed + number))
                    if tokens:
                        source = np.where(rng.uniform(size=length) < 0.1, "fallback", np.where(np.arange(length) < edge, "edge", "ue"))
                        score = rng.uniform(size=length)
                        words += [token(number, at, source[at], score[at], -3 * (1 - score[at]), 1, 1 if rng.uniform() < score[at] else 2) for at in range(length)]
                mode = "hybrid-reward" if scorer == "reward" else "hybrid-uncertainty"
                write_run(root, rows, mode, scorer, threshold, seed, words if tokens else None)
    return Path(root)
