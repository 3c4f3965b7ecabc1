"""The contract that every environment keeps, as a class of tests to subclass. It needs no test framework.

    class TestMine(EnvironmentContract):
        arguments = {"task": "copy", "interface": "tape"}

pytest finds the inherited tests; without it, call them one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from hardmem.envs.adapters import make_dynamics
from hardmem.envs.dynamics import Dynamics
from hardmem.envs.state import State, Step
from hardmem.tasks import Problem


def play(rules: Dynamics, state: State, choose: Callable[[State], Tensor]) -> tuple[Tensor, list[Step]]:
    """Play until all episodes have ended, or may be cut off.

    Returns the total reward (B,), added up in order of time, and all steps.
    """
    total, steps = torch.zeros(len(state.clock), device=rules.device), []
    for _ in range(rules.max_steps):
        if not bool(state.running.any()):
            break
        state, step = rules.step(state, choose(state))
        total += step.reward
        steps.append(step)
    return total, steps


def random_actions(rules: Dynamics, num_envs: int, generator: torch.Generator) -> Tensor:
    """Uniform actions, (B, A)."""
    return torch.stack(
        [torch.randint(choices, (num_envs,), generator=generator) for choices in rules.num_actions], dim=1
    )


class EnvironmentContract:
    """What holds for every environment.

    Attributes:
        arguments: of `make_dynamics`, without a preset.
        presets: at which the oracle is tried.
        foresight: a small difficulty at which many episodes start alike; None to leave the test of foresight out.
        num_episodes: that are played where means are compared.
    """

    arguments: ClassVar[dict[str, Any]]
    presets: ClassVar[tuple[str, ...]] = ("easiest", "default", "longer")
    foresight: ClassVar[dict[str, Any]] = {"preset": "easiest", "num_symbols": 2}
    num_episodes: ClassVar[int] = 1000

    def make(self, **changes: Any) -> Dynamics:
        """The rules under test."""
        return make_dynamics(**{**self.arguments, **changes})

    def test_the_oracle_earns_the_optimum(self) -> None:
        """Exactly 1.0, not nearly: the float32 rewards of a faultless episode add up to it, and nothing is left.

        Where answers can only be predicted, the stated optimum within 5 standard errors.
        """
        for preset in self.presets:
            rules = self.make(preset=preset)
            state, _ = rules.reset(64, torch.Generator().manual_seed(0))
            total, steps = play(rules, state, rules.oracle)
            if rules.task.shows_answers:
                assert total.tolist() == [1.0] * 64, f"preset {preset}: the oracle earned {total.min():g} at worst"
            else:
                error = float(total.std()) / 8
                assert abs(total.mean() - rules.task.optimum) <= 5 * error, f"preset {preset}: {total.mean():g} earned"
            assert steps[-1].terminated.all(), f"preset {preset}: an episode did not end"

    def test_the_oracle_foresees_nothing(self) -> None:
        """Where all observations so far are the same, so is its action: an agent with a perfect memory can do it."""
        rules = self.make(**self.foresight)
        state, observation = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        seen, chosen, compared = [b""] * self.num_episodes, dict[bytes, list[int]](), 0
        for _ in range(rules.max_steps):
            action = rules.oracle(state)
            for env in state.running.nonzero().flatten().tolist():
                seen[env] += observation[env].numpy().tobytes()
                compared += seen[env] in chosen
                first = chosen.setdefault(seen[env], action[env].tolist())
                assert action[env].tolist() == first, f"after equal observations: {first} and {action[env].tolist()}"
            state, step = rules.step(state, action)
            observation = step.observation
        assert compared, "no two episodes started alike: make the problems of `foresight` smaller"

    def test_without_cells_the_floor_is_left(self) -> None:
        """With the cells wiped before every observation the oracle guesses: it reads, it does not cheat."""
        rules = self.make(wiped=True)
        state, _ = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        total, _ = play(rules, state, rules.oracle)
        error = float(total.std()) / self.num_episodes**0.5
        assert total.mean() <= rules.task.memoryless + 5 * error, f"it earned {total.mean():g}"

    def test_random_play_earns_the_floor(self) -> None:
        """Uniform actions earn what guessing does."""
        rules = self.make()
        state, _ = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        random = torch.Generator().manual_seed(1)
        total, _ = play(rules, state, lambda state: random_actions(rules, self.num_episodes, random))
        error = float(total.std()) / self.num_episodes**0.5
        assert abs(total.mean() - 1 / rules.task.num_answers) <= 5 * error, f"it earned {total.mean():g}"

    def test_a_batch_is_its_episodes(self) -> None:
        """Every observation, reward and end of B episodes is that of the same problem played alone."""
        rules = self.make(preset="easiest")
        problem = rules.task.draw(5, generator=torch.Generator().manual_seed(0))
        random = torch.Generator().manual_seed(1)
        actions = [random_actions(rules, 5, random) for _ in range(rules.max_steps)]
        _, together = play(rules, rules.start(problem)[0], _given(actions))
        for env in range(5):
            single = Problem(*(field[:, env : env + 1] for field in problem))
            _, alone = play(rules, rules.start(single)[0], _given([action[env : env + 1] for action in actions]))
            assert len(alone) <= len(together)
            for many, one in zip(together, alone, strict=False):  # whose own episode may end sooner
                for field, other in zip(many, one, strict=True):
                    assert torch.equal(field[env : env + 1], other), f"episode {env}: {field[env]} and {other[0]}"


def _given(actions: list[Tensor]) -> Callable[[State], Tensor]:
    """A policy that plays a list of actions, whatever the state."""
    remaining = iter(actions)
    return lambda _: next(remaining)
