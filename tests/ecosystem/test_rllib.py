"""RLlib sees the episodes that there were, under the one mode it plays by, and learns from them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # it has warnings of its own
pytest.importorskip("ray.rllib")

from ray.rllib.algorithms.ppo import PPOConfig  # noqa: E402
from ray.rllib.connectors.env_to_module import FlattenObservations  # noqa: E402
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner  # noqa: E402
from ray.tune import register_env  # noqa: E402

from hardmem.envs.rllib import environment  # noqa: E402
from tests.ecosystem.conftest import assert_bits, each_action, each_space, make_bits  # noqa: E402

LIBRARY, DISTRIBUTIONS = "rllib", ("ray",)
LENGTH = 2
STEPS = 2 * LENGTH + 1
FIXED = {"min_length": LENGTH, "max_length": LENGTH}


def sampled(env_id, vectorize_mode="vector_entry_point", num_envs=4, **env_config):
    """Thirty episodes of RLlib's own runner, of uniform actions, without a policy."""
    config = (
        PPOConfig()
        .environment(env_id, env_config=env_config)
        .env_runners(
            num_envs_per_env_runner=num_envs,
            gym_env_vectorize_mode=vectorize_mode,
            env_to_module_connector=lambda env, spaces, device: FlattenObservations(),  # RLlib's, for the dict
        )
    )
    runner = SingleAgentEnvRunner(config=config, spaces={"__env_single__": None})
    return runner.sample(num_episodes=30, random_actions=True)


def made(env_id, **arguments):
    register_env("memory", environment(env_id, **FIXED, **arguments))
    return "memory"


@each_space
@pytest.mark.parametrize("vectorize_mode", ["vector_entry_point", "sync"])
def test_episodes(feature, env_id, arguments, vectorize_mode, memo):
    """Whole ones: each has all its steps, and replayed with its input and actions it shows and earns the same."""
    replay = gym.make(env_id, **FIXED)  # RLlib flattens a dict to this box, its parts by name
    for episode in sampled(made(env_id, **arguments), vectorize_mode):
        assert (len(episode), episode.is_terminated) == (STEPS, True)
        seen = episode.get_observations()
        shown = [int(one[:10].argmax()) for one in seen[:LENGTH]]
        observation, _ = replay.reset(options={"input": shown})
        for number, action in enumerate(episode.get_actions()):
            np.testing.assert_array_equal(seen[number], observation)
            observation, reward, terminated, _, _ = replay.step(action)
            assert (episode.get_rewards(number), number == STEPS - 1) == (pytest.approx(reward), terminated)
        np.testing.assert_array_equal(seen[-1], observation)
    memo.works(feature, "through FlattenObservations" if feature == "dict" else "yes")


def test_next_step(memo):
    """The mode it is given; and asked for by `env_config`, it is given, too."""
    episodes = sampled(made("hardmem/Copy-v0"), autoreset_mode="NextStep")
    assert {len(episode) for episode in episodes} == {STEPS}
    memo.works("NEXT_STEP")


def test_same_step_would_lose_steps(memo):
    """Without our helper nothing stops it: from the second on, episodes lack their first step. The helper refuses."""
    lengths = [len(episode) for episode in sampled("hardmem/Copy-v0", autoreset_mode="SameStep", **FIXED)]
    assert lengths == [STEPS] * 4 + [STEPS - 1] * 26
    with pytest.raises(ValueError, match="RLlib needs autoreset_mode NEXT_STEP, got SAME_STEP"):
        sampled(made("hardmem/Copy-v0"), autoreset_mode="SameStep")
    memo.works("SAME_STEP", "refused (it would lose steps)")


def test_disabled_is_refused(memo):
    """By the helper, and by our vector where it is not used."""
    with pytest.raises(ValueError, match="RLlib needs autoreset_mode NEXT_STEP, got DISABLED"):
        sampled(made("hardmem/Copy-v0"), autoreset_mode="Disabled")
    memo.works("DISABLED", "refused")


def test_external_memory(memo):
    """The bits it sets are seen at the next step, of every episode."""
    register_env("bits", lambda context: make_bits())
    for episode in sampled("bits", "sync"):
        assert_bits(np.stack(episode.get_observations()[1:]), np.stack(episode.get_actions()))
    memo.works("external memory")


@each_action
def test_it_learns(env_id, memo):
    """Its PPO, on the new API stack."""
    memo.learns("rllib_ppo.py", env_id, 100_000)
