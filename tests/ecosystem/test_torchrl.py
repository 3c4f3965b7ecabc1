"""TorchRL sees the transitions that there were, under the modes it takes, and learns from them."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # it has warnings of its own
pytest.importorskip("torchrl")

import torch  # noqa: E402
from torchrl.envs import GymEnv, GymWrapper, check_env_specs  # noqa: E402

import hardmem.envs  # noqa: E402, F401
from tests.ecosystem.conftest import assert_bits, each_action, each_space, make_bits, make_vec, played_by_hand  # noqa: E402

LIBRARY, DISTRIBUTIONS = "torchrl", ("torchrl",)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_transitions(mode, memo):
    """Observation, reward, end and next observation, the last of an episode included, are those of our own vector."""
    env = GymWrapper(make_vec(autoreset_mode=mode), categorical_action_encoding=True)
    data = env.reset(seed=3)
    for ours in played_by_hand([env.action_spec.rand().numpy() for _ in range(40)]):
        np.testing.assert_array_equal(data["observation"].numpy(), ours.seen)
        step, data = env.step_and_maybe_reset(data.set("action", torch.from_numpy(ours.action)))
        np.testing.assert_array_equal(step["next", "observation"].numpy(), ours.last)
        np.testing.assert_array_equal(step["next", "reward"][:, 0].numpy(), ours.reward.astype(np.float32))
        np.testing.assert_array_equal(step["next", "terminated"][:, 0].numpy(), ours.terminated)
        np.testing.assert_array_equal(step["next", "done"][:, 0].numpy(), ours.terminated | ours.truncated)
    memo.works({"SameStep": "SAME_STEP", "Disabled": "DISABLED"}[mode])


def test_next_step_is_refused(memo):
    """By TorchRL itself, in a sentence."""
    with pytest.raises(RuntimeError, match="auto-reset mode must be one of SAME_STEP or DISABLED"):
        GymWrapper(make_vec())
    memo.works("NEXT_STEP", "refused")


@each_space
def test_spaces(feature, env_id, arguments, memo):
    """Its own checker is content, with one environment by id and with four."""
    check_env_specs(GymEnv(env_id, categorical_action_encoding=True, **arguments))
    check_env_specs(GymWrapper(make_vec(env_id, autoreset_mode="Disabled", **arguments)))
    memo.works(feature)


@pytest.mark.parametrize("mode", [None, "SameStep", "Disabled"])
def test_external_memory(mode, memo):
    """One environment and four: its checker is content, and the bits it sets are seen at the ends of episodes, too."""
    env = GymWrapper(make_bits(mode), categorical_action_encoding=True)
    check_env_specs(env)
    data = env.rollout(60, break_when_any_done=False)
    assert data["next", "done"].any()
    assert_bits(data["next", "observation"].numpy(), data["action"].numpy())
    memo.works("external memory")


@each_action
def test_it_learns(env_id, memo):
    """PPO, of TorchRL's parts."""
    memo.learns("torchrl_ppo.py", env_id, 100_000)
