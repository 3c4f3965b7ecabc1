"""Stable-Baselines3: steps per CPU-second of our `SB3VecEnv` as a ratio to its `DummyVecEnv` over the same id.

    OMP_NUM_THREADS=1 python benchmarks/sb3.py

Both report episodes (the environments of `DummyVecEnv` stand in a `Monitor`, as `make_vec_env` puts them). Each repeat
measures one right after the other; the table has the medians of the ratios. Actions are drawn beforehand, uniform.
The last column is a whole training, PPO with SB3's own settings, where the network's time is in both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from hardmem.envs.sb3 import SB3VecEnv

IDS = ("hardmem/Copy-v0", "hardmem/CopyFlat-v0", "hardmem/FactRecallAssociative-v0")
SIZES = (8, 64, 512)


def stepping(env: VecEnv, seconds: float) -> float:
    """Steps per CPU-second over all environments, after a start that is not counted."""
    env.seed(0)
    env.reset()
    env.action_space.seed(0)
    actions = [np.array([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(8)]
    for action in actions * 4:  # episodes get out of step with one another
        env.step(action)
    turns, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for action in actions:
            env.step(action)
        turns += len(actions)
    return turns * env.num_envs / (time.process_time() - start)


def training(env: VecEnv, seconds: float) -> float:
    """Steps per CPU-second of PPO, at least one update long."""
    steps = max(4096, 32 * env.num_envs)
    model = PPO("MlpPolicy", env, n_steps=steps // env.num_envs, batch_size=1024, seed=0, device="cpu")
    start = time.process_time()
    model.learn(steps)
    return steps / (time.process_time() - start)


def ratio(env_id: str, num_envs: int, measure: Callable[[VecEnv, float], float], seconds: float) -> float:
    """Ours to theirs, one right after the other."""
    return measure(SB3VecEnv(env_id, num_envs), seconds) / measure(make_vec_env(env_id, num_envs), seconds)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4, help="CPU-seconds for each measurement of stepping")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)

    headings = [f"{num_envs} stepped" for num_envs in SIZES] + ["64 trained by PPO"]
    print(f"| | {' | '.join(headings)} |\n|---|" + "---:|" * len(headings))
    for env_id in IDS:
        columns = [(num_envs, stepping) for num_envs in SIZES] + [(64, training)]
        ratios = [
            statistics.median(ratio(env_id, num_envs, measure, args.seconds) for _ in range(args.repeats))
            for num_envs, measure in columns
        ]
        print(f"| {env_id} | " + " | ".join(f"{value:.1f}" for value in ratios) + " |", flush=True)


if __name__ == "__main__":
    main()
