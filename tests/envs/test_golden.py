"""Golden trajectories: one fixed problem per environment, played by the oracle, step by step as it was recorded.

After a change of rules that is meant, `python -m tests.envs.test_golden` records them anew; it needs a new -v1.
"""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

from hardmem.envs import ENVIRONMENTS

FOLDER = Path(__file__).parent / "golden"
INPUTS = {
    "addition": [2, 1, 2, 2],
    "associative-recall": [1, 2, 1],
    "copy": [4, 1, 7],
    "counting": [2, 1, 2],
    "delay": [4, 1, 7],
    "duplicated-input": [4, 4, 1, 1, 7, 7],
    "dynamic-ngrams": [1, 2, 1, 2],
    "fact-recall": [2, 1, 4, 1, 2, 7, 0, 2, 0],
    "forward-reverse": [4, 1, 7],
    "maze": [2, 1, 2, 0],
    "multi-hop": [2, 1, 4, 1, 2, 7, 2, 2, 0],
    "overwrite": [2, 4, 2, 7, 2, 0],
    "priority-sort": [2, 4, 7, 1, 5, 7],
    "queue": [4, 7, 9, 9],
    "repeat-copy": [4, 1, 10],
    "reverse": [4, 1, 7],
    "slot-recall": [2, 4, 1, 7, 2, 0],
    "sort": [4, 7, 1],
    "stack": [4, 7, 9, 9],
}
HARDER = {  # what of it was recorded at another difficulty
    "addition": {"last_carry": True},
    "counting": {"max_length": 2, "max_count": 2},
}


def play(env_id):
    """The observed columns that are 1, then action, reward and columns of each step."""
    task = ENVIRONMENTS[env_id]["task"]
    symbols, env = INPUTS[task], gym.make(env_id, preset="easiest", **HARDER.get(task, {}))
    observation, _ = env.reset(seed=0, options={"input": symbols})
    steps, terminated = [], False
    while not terminated:
        action = env.unwrapped.oracle()
        seen = observation.nonzero()[0].tolist()
        observation, reward, terminated, truncated, _ = env.step(action)
        steps.append({"seen": seen, "action": action.tolist(), "reward": reward})
        assert not truncated
    return {"id": env_id, "preset": "easiest", "input": symbols, "steps": steps}


def path(env_id):
    return FOLDER / f"{env_id.removeprefix('hardmem/')}.json"


@pytest.mark.parametrize("env_id", sorted(ENVIRONMENTS))
def test_the_trajectory_is_the_recorded_one(env_id):
    """Exactly: observations, actions, rewards and the end."""
    assert play(env_id) == json.loads(path(env_id).read_text())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for env_id in ENVIRONMENTS:
        path(env_id).write_text(json.dumps(play(env_id)) + "\n")
