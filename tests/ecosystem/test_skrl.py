"""skrl recognises our vectors, sees the transitions that there were, and learns from them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # it has warnings of its own
pytest.importorskip("skrl")

import torch  # noqa: E402
from skrl.envs.wrappers.torch import wrap_env  # noqa: E402
from skrl.envs.wrappers.torch.gymnasium_envs import GymnasiumWrapper  # noqa: E402
from skrl.trainers.torch import SequentialTrainer  # noqa: E402

import hardmem.envs  # noqa: E402, F401
from tests.ecosystem.conftest import assert_bits, each_action, each_space, make_bits, make_vec, played_by_hand  # noqa: E402

LIBRARY, DISTRIBUTIONS = "skrl", ("skrl",)


class Recorder:
    """What a trainer asks of an agent: it plays actions drawn beforehand and keeps what it is told."""

    def __init__(self, actions):
        self.actions, self.transitions = iter(actions), []

    def act(self, observations, states, *, timestep, timesteps):
        return torch.from_numpy(next(self.actions)), {}

    def record_transition(self, *, observations, actions, rewards, next_observations, terminated, truncated, **_):
        told = (observations, actions, rewards, next_observations, terminated, truncated)
        self.transitions.append([part.numpy().copy() for part in told])

    def pre_interaction(self, **_):
        pass

    def post_interaction(self, **_):
        pass

    def enable_training_mode(self, *_, **__):
        pass

    def track_data(self, *_):
        pass

    def init(self, **_):
        pass


def trained(env, num_steps):
    """The transitions that skrl's own trainer hands to an agent, in a vector seeded by 3."""
    env = wrap_env(env, verbose=False)
    env._seed = 3
    space = gym.vector.utils.batch_space(env.action_space, env.num_envs)
    space.seed(0)
    agent = Recorder([space.sample() for _ in range(num_steps)])
    quiet = {"headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=env, agents=agent, cfg={"timesteps": num_steps, **quiet}).train()
    return agent.transitions


def test_transitions_under_same_step(memo):
    """All those that there were, and no other: what its trainer records is what our own vector plays."""
    transitions = trained(make_vec(autoreset_mode="SameStep"), 40)
    by_hand = played_by_hand([action for _, action, *_ in transitions])
    for (seen, _, reward, following, *ends), ours in zip(transitions, by_hand, strict=True):
        np.testing.assert_array_equal(seen, ours.seen)
        np.testing.assert_array_equal(following, ours.following)
        outcome = np.stack([ours.reward, ours.terminated, ours.truncated]).astype(np.float32)
        np.testing.assert_array_equal(np.stack([reward, *ends])[..., 0], outcome)
    memo.works("SAME_STEP")


def test_under_next_step_it_records_what_counts_for_nothing(memo):
    """The step after an end, whose action is ignored, is one more transition to learn from: not to be used."""
    transitions = trained(make_vec(), 40)
    ended = np.stack([told[4] for told in transitions])[..., 0]
    ignored = np.zeros_like(ended)
    ignored[1:] = ended[:-1]
    assert ignored.sum() > 20
    rewards = np.stack([told[2] for told in transitions])
    assert not rewards[ignored].any()
    memo.works("NEXT_STEP", "records ignored steps")


def test_disabled_is_refused(memo):
    """By our vector, in a sentence: skrl resets nothing."""
    with pytest.raises(RuntimeError, match="have ended: start new ones with reset"):
        trained(make_vec(autoreset_mode="Disabled"), 40)
    memo.works("DISABLED", "refused")


@each_space
def test_spaces(feature, env_id, arguments, memo):
    """Recognised as Gymnasium's, one environment and four; what it flattens is what the box shows, by name."""
    box = make_vec(env_id)
    observation, _ = box.reset(seed=3)
    for env in (make_vec(env_id, **arguments), gym.make(env_id, max_length=2, **arguments)):
        wrapped = wrap_env(env, verbose=False)
        assert isinstance(wrapped, GymnasiumWrapper)
        wrapped._seed = 3
        seen, _ = wrapped.reset()
        assert seen.shape == (wrapped.num_envs, *box.single_observation_space.shape)
        if wrapped.num_envs == 4:
            np.testing.assert_array_equal(seen, observation)  # "shown" comes before "under" by name, too
    memo.works(feature)


@pytest.mark.parametrize("mode", [None, "SameStep"])
def test_external_memory(mode, memo):
    """One environment and four, recognised as Gymnasium's: the bits it sets are seen, but by who starts anew."""
    transitions = trained(make_bits(mode), 60)
    _, action, _, following, terminated, _ = (np.stack(part) for part in zip(*transitions, strict=True))
    goes_on = ~terminated[..., 0].astype(bool)
    assert not goes_on.all()
    assert_bits(following[goes_on], action[goes_on])
    if mode is not None:
        assert not following[~goes_on][:, -2:].any()
    memo.works("external memory")


def test_its_trainer_may_render():
    """By default it calls `render` of each environment, at every step."""
    env = wrap_env(make_vec(autoreset_mode="SameStep", render_mode="rgb_array"), verbose=False)
    env.reset()
    assert len(env.render()) == 4


@each_action
def test_it_learns(env_id, memo):
    """Its PPO."""
    memo.learns("skrl_ppo.py", env_id, 100_000)
