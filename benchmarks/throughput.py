"""Throughput: environment steps per CPU-second on one core, as a ratio to a single `gym.make("CartPole-v1")`.

    OMP_NUM_THREADS=1 python benchmarks/throughput.py

A ratio travels from machine to machine, a number of steps does not. Each repeat measures CartPole and then every
vector once; the table has the medians over repeats of the ratios within a repeat. Actions are drawn beforehand and are
uniform, autoreset is on, observations and rewards are NumPy arrays, time is the processor's (`time.process_time`).
A peer that cannot be imported, POPGym or envpool, is named below the table.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import hardmem.envs  # noqa: F401 - registers the ids

SIZES = (64, 1024, 4096)
NATIVE = "vector_entry_point"


def single_cartpole(seconds: float) -> float:
    """Steps per CPU-second of one CartPole, reset whenever it ends."""
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 2, 1000)
    steps, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        steps += len(actions)
    return steps / (time.process_time() - start)


def throughput(make: Callable[[int], Any], num_envs: int, seconds: float) -> float:
    """Steps per CPU-second, over all environments of a vector, after a start that is not counted."""
    env = make(num_envs)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    for action in actions * 4:  # episodes get out of step with one another
        env.step(action)
    turns, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for action in actions:
            env.step(action)
        turns += len(actions)
    rate = turns * num_envs / (time.process_time() - start)
    env.close()
    return rate


def gym_vector(env_id: str, mode: str = NATIVE, **kwargs: Any) -> Callable[[int], Any]:
    """How to make a vector of a registered id."""
    return lambda num_envs: gym.make_vec(env_id, num_envs=num_envs, vectorization_mode=mode, **kwargs)


def contenders() -> tuple[dict[str, tuple[Callable[[int], Any], Iterable[int]]], list[str]]:
    """What is measured: a label, how to make a vector, and at how many environments; and the peers not installed."""
    rows: dict[str, tuple[Callable[[int], Any], Iterable[int]]] = {}
    for env_id in ("hardmem/Copy-v0", "hardmem/FactRecall-v0"):
        rows[env_id] = gym_vector(env_id), SIZES
    for num_cells in (16, 4096):
        rows[f"hardmem/Copy-v0, N = {num_cells}"] = gym_vector("hardmem/Copy-v0", num_cells=num_cells), SIZES
    rows["hardmem/Copy-v0, SyncVectorEnv"] = gym_vector("hardmem/Copy-v0", "sync"), (64,)
    rows["CartPole-v1, native vector"] = gym_vector("CartPole-v1"), SIZES
    rows["CartPole-v1, SyncVectorEnv"] = gym_vector("CartPole-v1", "sync"), (64,)
    missing = []
    for peer, module in (("POPGym", "popgym.envs.repeat_previous"), ("envpool", "envpool")):
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            missing.append(f"{peer} ({error})")
            continue
        if peer == "POPGym":
            easiest = found.RepeatPreviousEasy
            rows["POPGym RepeatPreviousEasy, SyncVectorEnv"] = (
                lambda num_envs, make=easiest: gym.vector.SyncVectorEnv([make] * num_envs),
                (64,),
            )
        else:
            rows["envpool CartPole-v1, one thread"] = lambda num_envs, pool=found: EnvPool(pool, num_envs), SIZES
    return rows, missing


class EnvPool:
    """What `throughput` calls, of an envpool: its spaces are those of one environment."""

    def __init__(self, envpool: Any, num_envs: int) -> None:
        self.pool = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=num_envs, num_threads=1)
        self.step, self.close = self.pool.step, self.pool.close
        self.action_space = gym.vector.utils.batch_space(gym.spaces.Discrete(2), num_envs)

    def reset(self, seed: int) -> None:
        """Its seed is an argument of `make`."""
        self.pool.reset()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4, help="CPU-seconds for each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="measure only the rows whose label contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)

    contending, missing = contenders()
    rows = {label: row for label, row in contending.items() if args.only in label}
    ratios: dict[tuple[str, int], list[float]] = {(label, n): [] for label, (_, sizes) in rows.items() for n in sizes}
    singles = []
    for _ in range(args.repeats):
        singles.append(single_cartpole(args.seconds))
        for label, num_envs in ratios:
            ratios[label, num_envs].append(throughput(rows[label][0], num_envs, args.seconds) / singles[-1])

    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, Gymnasium {gym.__version__}, 1 thread on a ",
        end="",
    )
    print(
        f"{platform.machine()} machine of {os.cpu_count()} cores; {args.repeats} repeats of {args.seconds} CPU-seconds."
    )
    print(f"One CartPole-v1: {statistics.median(singles):,.0f} steps per CPU-second. Ratios to it:\n")
    print("| | " + " | ".join(f"{n:,}" for n in SIZES) + " |\n|---|" + "---:|" * len(SIZES))
    for label in rows:
        cells = [statistics.median(ratios[label, n]) if (label, n) in ratios else None for n in SIZES]
        print(f"| {label} | " + " | ".join("" if cell is None else f"{cell:.1f}" for cell in cells) + " |")
    if missing:
        print("\nNot installed: " + "; ".join(missing))


if __name__ == "__main__":
    main()
