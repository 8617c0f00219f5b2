"""Small made-up runs with evaluations, for the tests of the pictures of learning."""

import json
import sys
from pathlib import Path

import pandas as pd

ANALYSIS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ANALYSIS))

COLUMNS = "env_steps policy ue_id episode noise_std rayleigh_scale loss_probability first_split last_split reward steps round".split()


def episodes(policy, rewards, env_steps=None, losses=None, last_splits=None, first_split=3, ue=0, number=None):
    """Rows of evaluations.csv, one per reward, of the evaluation of this number; without it write_run counts the env_steps."""
    rows = []
    for episode, reward in enumerate(rewards):
        row = dict.fromkeys(COLUMNS) | {"policy": policy, "env_steps": env_steps, "ue_id": ue, "episode": episode, "reward": reward, "steps": 5, "round": number}
        row |= {"loss_probability": losses[episode] if losses is not None else 0.01 * episode, "first_split": first_split}
        rows.append(row | {"last_split": last_splits[episode] if last_splits is not None else 1})
    return rows


def write_run(root, scenario, seed, rows, settings=None, **manifest):
    folder = root / scenario / f"{seed:016x}"
    folder.mkdir(parents=True)
    about = {"run_id": f"{scenario}{seed}", "seed": seed, "replication": 0, "wall_s": 1.0, "scenario": {"name": scenario, "seed": seed} | (settings or {})}
    (folder / "manifest.json").write_text(json.dumps(about | manifest))
    if rows is not None:
        steps = list(dict.fromkeys(row["env_steps"] for row in rows if row["env_steps"] is not None))
        rows = [row | {"round": steps.index(row["env_steps"]) if row["round"] is None and row["env_steps"] is not None else row["round"]} for row in rows]
        pd.DataFrame(rows, columns=COLUMNS).astype({"env_steps": "Int64", "round": "Int64"}).to_csv(folder / "evaluations.csv", index=False)
    return folder


def yardsticks(optimal, random):
    return episodes("optimal", optimal) + episodes("random", random)


def same_files(tmp_path, capsys, script, arguments, name):
    """The text of a command that is run twice, after the pictures of both were compared."""
    for out in ("a", "b"):
        assert script.main([*map(str, arguments), "-o", str(tmp_path / out), "--dpi", "50"]) == 0
    for suffix in ("png", "svg"):
        assert (tmp_path / "a" / f"{name}.{suffix}").read_bytes() == (tmp_path / "b" / f"{name}.{suffix}").read_bytes()
    return capsys.readouterr().out


def rows_of(text):
    """The table that a text begins with, as lists of words."""
    return [line.split() for line in text.split("\n\n")[0].splitlines()]
