"""TorchRL sees the transitions that there were, under the modes it takes, and learns from them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # it has warnings of its own
pytest.importorskip("torchrl")

import torch  # noqa: E402
from torchrl.envs import GymEnv, GymWrapper, check_env_specs  # noqa: E402

import hardmem.envs  # noqa: E402, F401

LIBRARY, DISTRIBUTIONS = "torchrl", ("torchrl",)


def make_vec(env_id="hardmem/Copy-v0", **arguments):
    return gym.make_vec(env_id, 4, vectorization_mode="vector_entry_point", max_length=2, **arguments)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_transitions(mode, memo):
    """Observation, reward, end and next observation, the last of an episode included, are those of our own vector."""
    ours = make_vec(autoreset_mode="SameStep")
    env = GymWrapper(make_vec(autoreset_mode=mode), categorical_action_encoding=True)
    data = env.reset(seed=3)
    observation, _ = ours.reset(seed=3)
    actions = torch.stack([env.action_spec.rand() for _ in range(40)])
    ended = 0
    for action in actions:
        np.testing.assert_array_equal(data["observation"].numpy(), observation)
        step, data = env.step_and_maybe_reset(data.set("action", action))
        last, reward, terminated, truncated, info = ours.step(action.numpy())
        observation, last = last, last.copy()
        for place in np.flatnonzero(terminated):
            last[place] = info["final_obs"][place]
        ended += terminated.sum()
        np.testing.assert_array_equal(step["next", "observation"].numpy(), last)
        np.testing.assert_array_equal(step["next", "reward"][:, 0].numpy(), reward.astype(np.float32))
        np.testing.assert_array_equal(step["next", "terminated"][:, 0].numpy(), terminated)
        np.testing.assert_array_equal(step["next", "done"][:, 0].numpy(), terminated | truncated)
    assert ended > 20
    memo.works({"SameStep": "SAME_STEP", "Disabled": "DISABLED"}[mode])


def test_next_step_is_refused(memo):
    """By TorchRL itself, in a sentence."""
    with pytest.raises(RuntimeError, match="auto-reset mode must be one of SAME_STEP or DISABLED"):
        GymWrapper(make_vec())
    memo.works("NEXT_STEP", "refused")


@pytest.mark.parametrize(
    ("feature", "env_id", "arguments"),
    [
        ("MultiDiscrete", "hardmem/Copy-v0", {}),
        ("Discrete", "hardmem/CopyFlat-v0", {}),
        ("dict", "hardmem/Copy-v0", {"observation": "dict"}),
    ],
)
def test_spaces(feature, env_id, arguments, memo):
    """Its own checker is content, with one environment by id and with four."""
    check_env_specs(GymEnv(env_id, categorical_action_encoding=True, **arguments))
    check_env_specs(GymWrapper(make_vec(env_id, autoreset_mode="Disabled", **arguments)))
    memo.works(feature)


@pytest.mark.parametrize(("env_id", "seeds"), [("hardmem/Copy-v0", 3), ("hardmem/CopyFlat-v0", 1)])
def test_it_learns(env_id, seeds, memo):
    """PPO, of TorchRL's parts."""
    memo.learns("torchrl_ppo.py", env_id, 100_000, seeds=seeds)
