"""Train an agent whose address is its action, and a hard and a soft NTM, on Copy; compare them on longer problems.

Everything here is public API. Run it: `python examples/train_copy.py`. It takes about half a minute on one core.
"""

from __future__ import annotations

import argparse
import dataclasses

import gymnasium as gym
import torch

import hardmem.envs  # noqa: F401  registers the environments
from hardmem.agents import AgentConfig, Progress, SequenceConfig, train


def show_one_episode(max_length: int) -> None:
    """Play one episode of the environment with its oracle: what optimal play looks like, step by step."""
    env = gym.make("hardmem/Copy-v0", max_length=max_length)
    env.reset(seed=0, options={"input": [3, 1, 2][:max_length]})
    total, terminated = 0.0, False
    print("move  write  answer  reward")
    while not terminated:
        action = env.unwrapped.oracle()
        _, reward, terminated, _, _ = env.step(action)
        total += reward
        print("{:>4}  {:>5}  {:>6}".format(*action), f" {reward:.3f}")
    print(f"return {total}")


def say(progress: Progress) -> None:
    """One line now and then."""
    if progress.update % 50 == 0:
        print(f"  update {progress.update}: length {progress.length}, {progress.exact:.0%} exact")


def main() -> None:
    """Train the three and say how they did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-length", type=int, default=10, help="longest problem to learn")
    parser.add_argument("--max-updates", type=int, default=400, help="budget of each training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    show_one_episode(options.max_length)

    common = {"seed": options.seed, "max_length": options.max_length, "max_updates": options.max_updates}
    common |= {"start_length": min(5, options.max_length)}
    hard = SequenceConfig(**common)
    methods = {
        "REINFORCE agent": AgentConfig(**common),
        "hard NTM": hard,
        "soft NTM": dataclasses.replace(hard, access="soft"),  # the only difference
    }
    for name, config in methods.items():
        print(name)
        learner, outcome = train(config, on_progress=say)
        solved = outcome.solved
        print("  not solved" if solved is None else f"  solved: {solved.rollouts} rollouts, {solved.seconds:.1f} s")
        ten_times = 10 * options.max_length
        generator = torch.Generator().manual_seed(10**6 + options.seed)
        score = learner.score(100, generator, max_length=ten_times, min_length=ten_times)
        assert score is not None
        print(f"  at length {ten_times}: {score.exact:.0%} of sequences exact")


if __name__ == "__main__":
    main()
