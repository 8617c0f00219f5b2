"""Case A of Chen et al. (arXiv 2406.02616) on the surface of LLaMA-2-7B, as an environment for Stable-Baselines3.

An episode draws a loss probability P ~ U(0, 0.3) and a split p uniform on 1 … 10, and has 5 steps. An action moves the
split by -1, 0 or +1, stopped at 1 and at 10; the step then earns

    r = 10·max(g(P, p), -1) + (10 - p)/10          the split after the move; g: relative perplexity gain of the table

The observation is [P, p, step in the episode], each scaled to [-1, 1] by its bounds; after the last step nothing is
observed any more (SB3 is handed the last step's number again). The last step is terminal: nothing is bootstrapped.
This is what scenarios/chen25/case_a_*.toml makes of the simulator; only numpy and gymnasium are needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

STEPS = 5
MOVES = np.array([-1, 0, 1])
LOSS = (0.0, 0.3)
SPLIT = (1, 10)

GAIN_WEIGHT = 10.0
OFFLOAD_WEIGHT = 1.0
LEAST_GAIN = -1.0


@dataclass(frozen=True)
class Surface:
    """Relative perplexity gain g by loss probability [losses] and split: `gains` is [losses, splits]."""

    losses: np.ndarray
    gains: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Surface:
        """From a CSV with the columns loss_probability, split and relative_ppl_gain; lines that begin with # are remarks."""
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        header, rows = lines[0].split(","), [line.split(",") for line in lines[1:]]
        loss, split, gain = (np.array([float(row[header.index(name)]) for row in rows]) for name in ("loss_probability", "split", "relative_ppl_gain"))
        losses, splits = np.unique(loss), np.arange(SPLIT[0], SPLIT[1] + 1)
        gains = np.full((len(losses), len(splits)), np.nan)
        gains[np.searchsorted(losses, loss), np.searchsorted(splits, split)] = gain
        if np.isnan(gains).any() or len(rows) != gains.size:
            raise ValueError(f"{path}: not one row for each of {len(losses)} losses and each split from {SPLIT[0]} to {SPLIT[1]}")
        return cls(losses, gains)

    def rewards(self, loss: np.ndarray) -> np.ndarray:
        """Reward of a step by its loss probability and the split after the move: [n, splits]. Linear between losses."""
        gain = np.stack([np.interp(loss, self.losses, column) for column in self.gains.T], axis=-1)
        return GAIN_WEIGHT * np.maximum(gain, LEAST_GAIN) + OFFLOAD_WEIGHT * (SPLIT[1] - np.arange(SPLIT[0], SPLIT[1] + 1)) / SPLIT[1]


def observation(loss: np.ndarray, split: np.ndarray, step: int) -> np.ndarray:
    """[n, 3] in f32, each of the three scaled to [-1, 1]; `step` counts from 0."""
    seen = ((loss, LOSS), (split, SPLIT), (np.full_like(split, min(step, STEPS - 1)), (0, STEPS - 1)))
    return np.stack([2 * (value - low) / (high - low) - 1 for value, (low, high) in seen], axis=-1).astype(np.float32)


def moved(split, action):
    return np.clip(split + MOVES[action], *SPLIT)


class CaseA(gymnasium.Env):
    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.loss = self.np_random.uniform(*LOSS)
        self.split = int(self.np_random.integers(SPLIT[0], SPLIT[1] + 1))
        self.rewards = self.surface.rewards(np.array(self.loss)).tolist()
        self.steps = 0
        return observation(self.loss, self.split, 0), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.split = int(moved(self.split, action))
        self.steps += 1
        reward = self.rewards[self.split - SPLIT[0]]
        return observation(self.loss, self.split, self.steps), reward, self.steps == STEPS, False, {}


# ---- Fixed starts, and what bounds the reward ------------------------------------------------------------------------


@dataclass(frozen=True)
class Starts:
    """Where evaluated episodes begin."""

    loss: np.ndarray
    split: np.ndarray

    @classmethod
    def drawn(cls, episodes: int, seed: int) -> Starts:
        rng = np.random.default_rng(seed)
        return cls(rng.uniform(*LOSS, episodes), rng.integers(SPLIT[0], SPLIT[1] + 1, episodes))

    @classmethod
    def grid(cls, losses: int = 3000) -> Starts:
        """Every split at the midpoints of `losses` equal parts: means over it are expectations over the case's draws."""
        middles = LOSS[0] + (LOSS[1] - LOSS[0]) * (np.arange(losses) + 0.5) / losses
        splits = np.arange(SPLIT[0], SPLIT[1] + 1)
        return cls(np.repeat(middles, len(splits)), np.tile(splits, losses))


def optimal_rewards(surface: Surface, starts: Starts) -> np.ndarray:
    """Greatest sum of rewards of an episode from each start, by dynamic programming backwards over the steps."""
    return backwards(surface, starts, lambda ways: ways.max(axis=-1))


def random_rewards(surface: Surface, starts: Starts) -> np.ndarray:
    """Expected sum of rewards of an episode from each start, if each of the moves is as likely."""
    return backwards(surface, starts, lambda ways: ways.mean(axis=-1))


def backwards(surface, starts, choose):
    rewards = surface.rewards(starts.loss)
    splits = np.arange(SPLIT[0], SPLIT[1] + 1)
    reached = moved(splits[:, None], np.arange(len(MOVES))) - SPLIT[0]  # [splits, actions]
    value = np.zeros_like(rewards)
    for _ in range(STEPS):
        value = choose((rewards + value)[:, reached])
    return value[np.arange(len(starts.split)), starts.split - SPLIT[0]]


def episode_rewards(surface: Surface, starts: Starts, act) -> np.ndarray:
    """Sum of rewards of the episode from each start; `act` maps observations [n, 3] to actions [n]."""
    rewards, split, total = surface.rewards(starts.loss), starts.split, np.zeros(len(starts.split))
    for step in range(STEPS):
        split = moved(split, act(observation(starts.loss, split, step)))
        total += rewards[np.arange(len(split)), split - SPLIT[0]]
    return total
