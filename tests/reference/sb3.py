# /// script
# requires-python = ">=3.10"
# dependencies = ["stable-baselines3>=2.4", "torch>=2.4", "gymnasium>=0.29", "numpy"]
# ///
"""Train Stable-Baselines3 and splitwave on Case A, and test whether they learn equally well.

    python sb3.py --splitwave target/release/splitwave                 # are the final rewards equivalent?
    python sb3.py --splitwave target/release/splitwave --time          # how long does either take?

For each algorithm, many learners of either side learn for STEPS steps with the same settings (PPO: Table III of Chen et
al.; else SB3's defaults) and then play the same episodes: those of the simulator's evaluation, whose starts are read
from its evaluations.csv. Two one-sided t tests (Welch, 5 % each) ask whether the difference of the two mean rewards is
less than MARGIN either way, that is, whether its 90 % interval lies within.

How many learners that takes depends on how far apart they end: 0.006 to 0.01 (standard deviations after 24,000 steps, on
either side) with the step in the episode observed, and several times that without.

Before that, the optimum of every start as the simulator computed it is compared with that of sb3_environment.py: where
they agree, the two sides play the same game.

Exit codes: 0 equivalent, 1 not shown to be (or a run failed), 2 the input is wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ALGORITHMS = ("ppo", "a2c", "dqn")
# Learners of SB3, and of splitwave, whose learners cost less.
LEARNERS = {"ppo": (20, 20), "a2c": (20, 20), "dqn": (20, 20)}

# Chen et al., Table III; all that is not named here is SB3's default, on both sides.
TABLE_III = {"learning_rate": 3e-4, "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.2, "n_steps": 400, "batch_size": 100, "n_epochs": 10}
# DQN's exploration falls to its end over this share of the run.
EXPLORATION_SHARE = 0.1
# Its replay memory in SB3; the simulator's own default is smaller.
SB3_BUFFER = 1_000_000
# The simulator prints losses with enough digits for the optimum of a start to agree this well.
SAME_OPTIMUM = 1e-4


class Failure(Exception):
    """What went wrong, the exit code, and what to do about it."""

    def __init__(self, problem: str, hint: str, code: int = 2) -> None:
        super().__init__(problem)
        self.hint, self.code = hint, code


# ---- Stable-Baselines3 ------------------------------------------------------------------------------------------------


def trained(algorithm: str, seed: int, steps: int, table: Path):
    """A learner of SB3 after `steps` steps of Case A on one thread, and the seconds that learning took."""
    import stable_baselines3
    import torch
    from sb3_environment import CaseA, Surface
    from stable_baselines3.common.logger import Logger

    torch.set_num_threads(1)
    settings = {"ppo": TABLE_III, "a2c": {}, "dqn": {"exploration_fraction": EXPLORATION_SHARE}}[algorithm]
    learner = getattr(stable_baselines3, algorithm.upper())
    model = learner("MlpPolicy", CaseA(Surface.read(table)), seed=seed, device="cpu", **settings)
    # Without one, it makes a folder for its logs among the temporary files.
    model.set_logger(Logger(None, []))
    start = time.perf_counter()
    model.learn(steps)
    return model, time.perf_counter() - start


def sb3_reward(algorithm: str, seed: int, steps: int, table: Path, starts, choose: str) -> float:
    """Mean episode reward of one trained learner over the starts."""
    from sb3_environment import Surface, episode_rewards

    model, _ = trained(algorithm, seed, steps, table)
    # DQN has no probabilities to sample from: SB3 would go on exploring instead.
    best = choose == "best" or algorithm == "dqn"
    rewards = episode_rewards(Surface.read(table), starts, lambda seen: model.predict(seen, deterministic=best)[0])
    return float(rewards.mean())


# ---- splitwave --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluated:
    """The last evaluation of one run: its starts, the learner's mean reward, and the optimum of each start."""

    loss: np.ndarray
    split: np.ndarray
    reward: float
    optimum: np.ndarray
    env_steps: int


def settings_of(algorithm: str, seed: int, steps: int, options) -> dict:
    settings = {"seed": seed, "stop.env_steps": steps, "evaluation.episodes": options.episodes}
    settings |= {"evaluation.every_steps": 0, "evaluation.choose": options.choose}
    if algorithm == "dqn":
        settings |= {"controller.dqn.exploration_steps": round(EXPLORATION_SHARE * steps), "controller.dqn.buffer_size": SB3_BUFFER}
    return settings


def scenario_of(algorithm: str, options) -> Path:
    return options.scenarios / f"case_a_{algorithm}.toml"


def command_of(algorithm: str, settings: dict, out: Path, options) -> list[str]:
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    return [str(options.splitwave), "run", str(scenario_of(algorithm, options)), *sets, "--threads", "1", "--quiet", "--force", "--out", str(out)]


def splitwave_run(algorithm: str, seed: int, steps: int, options) -> Evaluated:
    out = options.out / algorithm / str(seed)
    command = command_of(algorithm, settings_of(algorithm, seed, steps, options), out, options)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr.strip()}", "run it alone to see why", 1)
    runs = [path for path in sorted(out.rglob("evaluations.csv")) if not any(part.startswith(".") for part in path.relative_to(out).parts)]
    if not runs:
        raise Failure(f"{out}: the run left no evaluations.csv", "the scenario needs an [evaluation] table", 1)
    # --force moves older runs of the same settings aside.
    return last_evaluation(max(runs, key=lambda path: path.stat().st_mtime_ns))


def last_evaluation(path: Path) -> Evaluated:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        last = max(int(row["env_steps"]) for row in rows if row["policy"] == "learned")
        learned = [row for row in rows if row["policy"] == "learned" and int(row["env_steps"]) == last]
        optimal = {row["episode"]: float(row["reward"]) for row in rows if row["policy"] == "optimal"}
        loss, split, reward = (np.array([float(row[name]) for row in learned]) for name in ("loss_probability", "first_split", "reward"))
        optimum = np.array([optimal.get(row["episode"], math.nan) for row in learned])
    except (KeyError, ValueError) as error:
        raise Failure(f"{path}: no evaluation can be read from it ({error})", "take the sb3.py that came with this splitwave", 1) from None
    return Evaluated(loss, split.astype(int), float(reward.mean()), optimum, last)


# ---- Are they equal? --------------------------------------------------------------------------------------------------


def t_point(share: float, freedom: float) -> float:
    """Point of Student's t below which `share` lies; any positive degrees of freedom.

    With t = √ν·tan θ the density in θ is proportional to cos^(ν-1) θ, which is summed by midpoints.
    """
    edges = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    mass = np.r_[0.0, np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (freedom - 1))]
    return math.sqrt(freedom) * math.tan(np.interp(share, mass / mass[-1], edges))


@dataclass(frozen=True)
class Comparison:
    """Two samples; `low` and `high` bound the 90 % interval of mean(ours) - mean(theirs), by Welch's t."""

    difference: float
    low: float
    high: float

    @classmethod
    def of(cls, ours, theirs) -> Comparison:
        parts = [np.var(sample, ddof=1) / len(sample) for sample in (ours, theirs)]
        difference, error = float(np.mean(ours) - np.mean(theirs)), math.sqrt(sum(parts))
        if error == 0:
            return cls(difference, difference, difference)
        freedom = sum(parts) ** 2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (ours, theirs)))
        reach = t_point(0.95, freedom) * error
        return cls(difference, difference - reach, difference + reach)

    def equivalent(self, margin: float) -> bool:
        return -margin < self.low and self.high < margin


def mean_and_error(sample) -> str:
    return f"{np.mean(sample):.4f} ± {np.std(sample, ddof=1) / math.sqrt(len(sample)):.4f}"


def check_same_game(algorithm: str, runs: list[Evaluated], surface) -> None:
    """The simulator's starts are the same in all runs, and their optimum is that of the environment here."""
    from sb3_environment import Starts, optimal_rewards

    first = runs[0]
    if any(not (np.array_equal(run.loss, first.loss) and np.array_equal(run.split, first.split)) for run in runs):
        raise Failure(f"{algorithm}: the runs were not evaluated on the same starts", "their scenario must fix [evaluation] seed", 1)
    off = np.abs(optimal_rewards(surface, Starts(first.loss, first.split)) - first.optimum).max()
    print(f"{algorithm}: {len(first.loss)} starts, optimum {first.optimum.mean():.4f} by splitwave, largest difference {off:.1e} from that of the environment here")
    if not off < SAME_OPTIMUM:
        hint = "compare reward, moves, steps per episode and table of the scenario with sb3_environment.py"
        raise Failure(f"{algorithm}: the two sides don't play the same game", hint, 1)


def compare(options) -> bool:
    from sb3_environment import Starts, Surface

    surface = Surface.read(options.table)
    context = get_context("spawn")
    options.out.mkdir(parents=True, exist_ok=True)
    rows, shown = [], []
    for algorithm in options.algorithms:
        their_seeds, our_seeds = (range(1, (options.seeds or count) + 1) for count in LEARNERS[algorithm])
        with ThreadPoolExecutor(options.jobs) as pool:
            runs = list(pool.map(lambda seed, algorithm=algorithm: splitwave_run(algorithm, seed, options.steps, options), our_seeds))
        check_same_game(algorithm, runs, surface)
        starts = Starts(runs[0].loss, runs[0].split)
        with ProcessPoolExecutor(options.jobs, context) as pool:
            jobs = [pool.submit(sb3_reward, algorithm, seed, options.steps, options.table, starts, options.choose) for seed in their_seeds]
            theirs = [job.result() for job in jobs]
        ours = [run.reward for run in runs]
        for side, seeds, sample in (("splitwave", our_seeds, ours), ("sb3", their_seeds, theirs)):
            rows += [(algorithm, side, seed, reward) for seed, reward in zip(seeds, sample)]
        found = Comparison.of(ours, theirs)
        passed = found.equivalent(options.margin)
        shown.append(passed)
        deviations = f"standard deviations {np.std(ours, ddof=1):.4f} and {np.std(theirs, ddof=1):.4f}"
        counts = f"{len(ours)} and {len(theirs)} learners, {options.steps} steps"
        print(f"{algorithm}: splitwave {mean_and_error(ours)}, SB3 {mean_and_error(theirs)} (mean ± standard error; {counts}); {deviations}")
        interval = f"{found.difference:+.4f}, 90 % interval [{found.low:+.4f}, {found.high:+.4f}]"
        verdict = "equivalent" if passed else "NOT shown to be equivalent"
        print(f"{algorithm}: splitwave - SB3 = {interval}, margin {options.margin:g}: {verdict}", flush=True)
    with (options.out / "rewards.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("algorithm", "side", "seed", "reward_mean"), *rows])
    print(f"wrote {options.out / 'rewards.csv'}")
    return all(shown)


# ---- How long does it take? -------------------------------------------------------------------------------------------

# A process counts the memory of the one that it was forked from until it runs its own program, so a small one stands
# between: a bare interpreter that runs a command and prints wall seconds and the peak of its resident memory.
METER = """
import os, sys, time
start = time.perf_counter()
pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def metered(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds of a command, its peak resident memory in MiB, and what it printed before."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", METER, *command], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"exit code {done.returncode} of {' '.join(command)}\n{done.stderr.strip()}", "run it alone to see why", 1)
    printed, _, last = done.stdout.rstrip().rpartition("\n")
    seconds, mebibytes = last.split()
    return float(seconds), float(mebibytes), printed


def compare_times(options) -> None:
    algorithm = options.algorithms[0]
    script = [sys.executable, str(Path(__file__).resolve()), "--train", algorithm, "--steps", str(options.steps), "--table", str(options.table)]
    ours, theirs, whole = [], [], []
    for turn in range(1, options.rounds + 1):
        settings = {"seed": turn, "stop.env_steps": options.steps, "evaluation.episodes": 0}
        ours.append(metered(command_of(algorithm, settings, options.out / "time", options))[:2])
        seconds, mebibytes, printed = metered([*script, "--seed", str(turn)])
        theirs.append((float(printed.split()[-2]), mebibytes))
        whole.append(seconds)
        print(f"round {turn}: splitwave {ours[-1][0]:.3f} s, {ours[-1][1]:.0f} MiB; SB3 {theirs[-1][0]:.3f} s (with its start {seconds:.3f} s), {mebibytes:.0f} MiB", flush=True)
    least_ours, least_theirs = min(ours)[0], min(theirs)[0]
    print(f"{algorithm}, {options.steps} steps, one thread, least of {options.rounds}: splitwave {least_ours:.3f} s (the whole process), SB3 {least_theirs:.3f} s (learning alone)")
    print(f"SB3 / splitwave = {least_theirs / least_ours:.1f}; with SB3's start {min(whole) / least_ours:.1f}")
    print(f"peak resident memory: splitwave {max(m for _, m in ours):.0f} MiB, SB3 {max(m for _, m in theirs):.0f} MiB")


# ---- Command ----------------------------------------------------------------------------------------------------------


def whole(least: int):
    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} on")
        return int(text)

    return read


def algorithms(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ALGORITHMS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(ALGORITHMS)}")
    return names


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splitwave", type=Path, metavar="BINARY", help="the program to compare, a release build")
    parser.add_argument("--seeds", type=whole(2), help=f"learners on either side (default, SB3 and splitwave: {', '.join(f'{name} {a} and {b}' for name, (a, b) in LEARNERS.items())})")
    parser.add_argument("--steps", type=whole(1), default=24_000, help="steps each learns for (default: 24000)")
    parser.add_argument("--algorithms", type=algorithms, default=list(ALGORITHMS), help="some of ppo,a2c,dqn (default: all; --time takes the first)")
    parser.add_argument("--choose", choices=("best", "sample"), default="best", help="how the evaluated policies act: their most probable action, or a sample (default: best)")
    parser.add_argument("--episodes", type=whole(1), default=1000, help="evaluated episodes (default: 1000)")
    parser.add_argument("--margin", type=float, default=0.03, help="largest difference of mean episode rewards that counts as none (default: 0.03)")
    parser.add_argument("--jobs", type=whole(1), default=os.cpu_count() or 1, help="trainings at a time, of either side (default: one per core)")
    parser.add_argument("--scenarios", type=Path, default=REPOSITORY / "scenarios/chen25", help="folder of case_a_ALGORITHM.toml")
    parser.add_argument("--table", type=Path, default=REPOSITORY / "models/llama-2-7b/relative_ppl_gain.csv", help="the surface")
    parser.add_argument("-o", "--out", type=Path, default=REPOSITORY / "target/ci/sb3", help="where the runs go (default: target/ci/sb3)")
    parser.add_argument("--time", action="store_true", help="compare wall time and memory of one training instead")
    parser.add_argument("--rounds", type=whole(1), default=3, help="with --time: trainings of either side, in turn (default: 3)")
    parser.add_argument("--train", choices=ALGORITHMS, help="only train SB3 once and print its seconds")
    parser.add_argument("--seed", type=whole(0), default=1, help="with --train: its seed (default: 1)")
    options = parser.parse_args(arguments)
    if options.splitwave is not None:
        # Without a folder in front it would be looked for in PATH.
        options.splitwave = options.splitwave.resolve()
    elif not options.train:
        parser.error("--splitwave BINARY is missing: cargo build --release, then --splitwave target/release/splitwave")
    return options


def check_files(options) -> None:
    if not options.table.is_file():
        raise Failure(f"{options.table}: there is no such table", "name it with --table, or run the script where it lies: tests/reference/ of the repository")
    if options.train:
        return
    if not options.splitwave.is_file():
        raise Failure(f"{options.splitwave}: there is no such program", "make it first: cargo build --release")
    for algorithm in options.algorithms:
        scenario = scenario_of(algorithm, options)
        if not scenario.is_file():
            raise Failure(f"{scenario}: there is no such scenario", "name its folder with --scenarios, or leave the algorithm out with --algorithms")


def main(arguments: list[str] | None = None) -> int:
    sys.path.insert(0, str(HERE))
    options = parse_arguments(arguments)
    try:
        check_files(options)
        if options.train:
            _, seconds = trained(options.train, options.seed, options.steps, options.table)
            print(f"SB3 {options.train} learned for {seconds:.3f} s")
            return 0
        if options.time:
            compare_times(options)
            return 0
        return 0 if compare(options) else 1
    except (Failure, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, Failure):
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.code if isinstance(error, Failure) else 2


if __name__ == "__main__":
    sys.exit(main())
