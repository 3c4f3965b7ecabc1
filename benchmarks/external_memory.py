"""POPGym with an external memory: our agent, Stable-Baselines3's PPO, and RecurrentPPO without; final returns.

    make ecosystem-sb3  # makes .venv-sb3, with POPGym in it
    OMP_NUM_THREADS=1 .venv-sb3/bin/python benchmarks/external_memory.py

It goes on where it was stopped, and prints the table; --arms, --envs and --seeds name a part of it. Each training is a
line of benchmarks/external_memory.jsonl. A final return is the mean over 128 fresh episodes after the last update, with
drawn actions and with the likeliest ones. "tape" has the moves -1, 0, 1 and home, "shuttle" -1 and 1; on the "ring" the
head goes on by itself. Cells: k - 1 for RepeatPrevious, where k steps back are asked for, and a deck for Autoencode.
What was trained on Easy is then played on Medium and Hard, with their number of cells and no training. The settings
were found on seeds from 100 on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from hardmem.agents import AgentConfig, train
from hardmem.agents.gymnasium_learner import GymnasiumLearner
from hardmem.envs import VectorExternalMemory
from hardmem.envs.sb3 import SB3VecEnv

RESULTS = Path(__file__).with_suffix(".jsonl")
EPISODES = 128
EASY, MEDIUM, HARD, AUTOENCODE = "RepeatPreviousEasy", "RepeatPreviousMedium", "RepeatPreviousHard", "AutoencodeEasy"
CELLS = {EASY: 3, MEDIUM: 31, HARD: 63, AUTOENCODE: 52}
MEMORY = {EASY: "tape", MEDIUM: "ring", HARD: "ring", AUTOENCODE: "shuttle"}
DISCOUNT = {EASY: 0.9, MEDIUM: 0.97, HARD: 0.99, AUTOENCODE: 0.9}
"""What is written pays k steps later; in Autoencode the cards of the last moments pay first."""
EPISODE = {EASY: 51, MEDIUM: 103, HARD: 155, AUTOENCODE: 103}
"""Steps of one."""
AGENT: dict[str, dict[str, Any]] = {
    EASY: {"num_envs": 128, "max_updates": 60},
    MEDIUM: {"num_envs": 64, "max_updates": 40},
    HARD: {"num_envs": 64, "max_updates": 40},
    AUTOENCODE: {"num_envs": 256, "max_updates": 160, "estimator": "discounted", "discount": DISCOUNT[AUTOENCODE]},
}
STEPS = {EASY: 400_000, MEDIUM: 400_000, HARD: 400_000, AUTOENCODE: 3_000_000}
"""Of PPO."""
RECURRENT_STEPS = {EASY: 65_000, MEDIUM: 65_000, HARD: 65_000, AUTOENCODE: 190_000}
"""Of RecurrentPPO: a sixth, which takes it as many CPU seconds as PPO, or more."""


class Trained(NamedTuple):
    """Steps trained on, and final returns by the environment they were earned in: drawn and greedy."""

    steps: int
    returns: dict[str, tuple[float, float]]


def env_id(name: str) -> str:
    """What Gymnasium calls it."""
    return f"popgym:popgym-{name}-v0"


def agent(name: str, seed: int) -> Trained:
    """Our agent, with the external memory."""
    config = AgentConfig(
        env=env_id(name),
        external_memory=MEMORY[name],
        memory_cells=CELLS[name],
        seed=seed,
        **AGENT[name],
    )
    learner, outcome = train(config)
    assert isinstance(learner, GymnasiumLearner)
    returns = {name: played(learner)}
    if name == EASY:
        for harder in (MEDIUM, HARD):
            target = GymnasiumLearner(
                AgentConfig(env=env_id(harder), external_memory="tape", memory_cells=CELLS[harder], num_envs=64)
            )
            target.policy.load_state_dict(learner.policy.state_dict())
            returns[harder] = played(target)
    return Trained(outcome.curve[-1].steps, returns)


def played(learner: GymnasiumLearner) -> tuple[float, float]:
    """Mean returns of fresh episodes, drawn and greedy."""
    means, choices = [], torch.Generator().manual_seed(0)
    for greedy in (False, True):
        earned: list[float] = []
        while len(earned) < EPISODES:
            seeds = range(10_000 + len(earned), 10_000 + len(earned) + learner.envs.num_envs)
            with torch.no_grad():
                earned += (-learner.play(list(seeds), choices, greedy=greedy)[0].cost.sum(dim=0)).tolist()
        means.append(statistics.mean(earned[:EPISODES]))
    return means[0], means[1]


def wrapped(name: str, num_envs: int, memory: str | None) -> SB3VecEnv:
    """Environments as SB3 has them."""
    flat = () if memory else (gym.wrappers.FlattenObservation,)
    same_step = {"autoreset_mode": "SameStep"}
    vector = gym.make_vec(env_id(name), num_envs, vectorization_mode="sync", vector_kwargs=same_step, wrappers=flat)
    return SB3VecEnv(VectorExternalMemory(vector, memory, CELLS[name]) if memory else vector)


def ppo(name: str, seed: int) -> Trained:
    """SB3's PPO, MlpPolicy, with the external memory."""
    env, rate = wrapped(name, 256 if name == AUTOENCODE else 64, MEMORY[name]), 3e-3 if name == AUTOENCODE else 1e-3
    model = PPO("MlpPolicy", env, learning_rate=rate, **shared(name, env.num_envs, seed, DISCOUNT[name]))
    return learned(model, STEPS[name], {name: MEMORY[name]} | ({MEDIUM: "tape", HARD: "tape"} if name == EASY else {}))


def recurrent_ppo(name: str, seed: int) -> Trained:
    """sb3-contrib's RecurrentPPO, MlpLstmPolicy, without an external memory; one LSTM for actor and critic."""
    env, one = wrapped(name, 64, None), {"shared_lstm": True, "enable_critic_lstm": False}
    model = RecurrentPPO("MlpLstmPolicy", env, learning_rate=1e-3, policy_kwargs=one, **shared(name, 64, seed, 0.0))
    return learned(model, RECURRENT_STEPS[name], {name: None})


def shared(name: str, num_envs: int, seed: int, discount: float) -> dict[str, Any]:
    """What both are given: whole episodes, four batches an update, six times over.

    Without cells nothing that is done earns anything later, and a discount of 0 learns several times as fast as .9.
    """
    steps = EPISODE[name] * (2 if name == EASY else 1)
    return {
        "n_steps": steps,
        "batch_size": num_envs * steps // 4,
        "n_epochs": 6,
        "gamma": discount,
        "gae_lambda": 1.0,
        "ent_coef": 0.003,
        "seed": seed,
        "device": "cpu",
    }


def learned(model: Any, steps: int, examined: dict[str, str | None]) -> Trained:
    """Train, and play each environment with its memory."""
    model.learn(steps)
    returns = {}
    for name, memory in examined.items():
        means = []
        for deterministic in (False, True):
            env = wrapped(name, 32, memory)
            env.seed(10_000)
            means.append(float(np.mean(evaluate_policy(model, env, EPISODES, deterministic=deterministic)[0])))
        returns[name] = (means[0], means[1])
    return Trained(model.num_timesteps, returns)


ARMS = {"agent": agent, "ppo": ppo, "recurrent-ppo": recurrent_ppo}


def table(lines: list[dict[str, Any]]) -> str:
    """Mean [worst, best] over seeds of the final returns; what was trained elsewhere has rows of its own."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in lines:
        for played_in, (drawn, greedy) in line["returns"].items():
            key = (played_in, line["arm"], line["env"])
            rows.setdefault(key, []).append({**line, "drawn": drawn, "greedy": greedy})
    order = list(CELLS)
    out = [
        "| environment | learner | memory | seeds | drawn | greedy | steps | CPU s |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for played_in, arm, trained_in in sorted(rows, key=lambda key: (order.index(key[0]), order.index(key[2]), key[1])):
        found = rows[played_in, arm, trained_in]
        memory = "LSTM" if arm == "recurrent-ppo" else f"{MEMORY[trained_in]}, {CELLS[played_in]} cells"
        name = arm if trained_in == played_in else f"{arm}, trained on Easy"
        cells = [played_in, name, memory, str(len(found))]
        for kind in ("drawn", "greedy"):
            earned = [row[kind] for row in found]
            cells.append(f"{statistics.mean(earned):.3f} [{min(earned):.3f}, {max(earned):.3f}]")
        cells += [f"{found[0]['steps']:,}", f"{statistics.mean(row['cpu_seconds'] for row in found):.0f}"]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="*", choices=sorted(ARMS), default=list(ARMS))
    parser.add_argument("--envs", nargs="*", choices=sorted(CELLS), default=list(CELLS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(line["arm"], line["env"], line["seed"]) for line in lines}
    for arm in args.arms:
        for name in args.envs:
            for seed in args.seeds:
                if (arm, name, seed) in done:
                    continue
                start = time.process_time()
                steps, returns = ARMS[arm](name, seed)
                seconds = round(time.process_time() - start, 1)
                line = {"arm": arm, "env": name, "seed": seed, "steps": steps, "cpu_seconds": seconds}
                lines.append({**line, "returns": returns})
                with RESULTS.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(lines[-1], flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
