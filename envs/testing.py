"""The contract that every environment keeps, as a class of tests to subclass. It needs no test framework.

    class TestMine(EnvironmentContract):
        arguments = {"task": "copy", "interface": "tape"}

pytest finds the inherited tests; without it, `TestMine().check()` calls them one by one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from torch import Tensor

from hardmem.envs.adapters import NativeVectorEnv, TaskEnv, TaskVectorEnv
from hardmem.envs.dynamics import Dynamics
from hardmem.envs.making import make_dynamics
from hardmem.envs.state import State, Step
from hardmem.tasks import TASKS, Problem

NO_FORESIGHT = (
    "Its head goes where an answer lies as soon as the question is shown, so that has to be a place it may be by then. "
    "Let `Task.place` put what replaces something into the same cell, let `Task.kept` leave out what is never asked "
    "for, or show a delimiter before the question: it gives a head time to get there."
)
"""What an author can do."""


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


def autoreset_is_as_said(make: Callable[[AutoresetMode], NativeVectorEnv]) -> None:
    """Each mode is stated as attribute and in the metadata, and what has ended starts anew in its own way.

    Raises:
        AssertionError: if it does not.
    """
    for mode in AutoresetMode:
        env = make(mode)
        assert env.metadata["autoreset_mode"] is env.autoreset_mode is mode, f"{mode}: the vector says another mode"
        env.reset(seed=0)
        ended = np.zeros(env.num_envs, dtype=np.bool_)
        while not ended.any():
            _, _, terminated, truncated, info = env.step(env.oracle())
            ended = terminated | truncated
        assert ("final_obs" in info) == (mode is AutoresetMode.SAME_STEP), f"{mode}: final_obs is in info, or is not"
        if mode is AutoresetMode.DISABLED:
            refused = False
            try:
                env.step(env.oracle())
            except RuntimeError:
                refused = True
            assert refused, f"{mode}: an episode that has ended was played on"
            options = {"reset_mask": ended}
            env.reset(options=options)
            assert options == {"reset_mask": ended}, f"{mode}: reset changed the options it was given"
        _, reward, terminated, truncated, _ = env.step(env.oracle())
        if mode is AutoresetMode.NEXT_STEP:
            assert not (ended & (terminated | truncated)).any(), f"{mode}: an episode ended as it began"
            assert not reward[ended].any(), f"{mode}: the step that starts an episode earned something"


class EnvironmentContract:
    """What holds for every environment: of its rules, of what Gymnasium makes of them, and of its task.

    Attributes:
        arguments: of `make_dynamics`, without a preset.
        presets: at which the oracle is tried, those of them that the task has.
        foresight: a small difficulty at which many episodes start alike; by default at the first preset of the task.
        num_episodes: that are played where means are compared.
    """

    arguments: ClassVar[dict[str, Any]]
    presets: ClassVar[tuple[str, ...]] = ("easiest", "default", "longer")
    foresight: ClassVar[dict[str, Any]] = {"num_symbols": 2}
    num_episodes: ClassVar[int] = 1000

    def input_of(self, rules: Dynamics, problem: Problem) -> list[int]:
        """The symbols of which `Task.problem` makes this one problem, (T, 1): by default all rows that are not blank.

        Override it where a task takes others, as where it adds a delimiter of its own.
        """
        rows = problem.inputs[:, 0]
        symbols: list[int] = rows[rows.any(dim=1)].flatten().tolist()
        return symbols

    def make(self, **changes: Any) -> Dynamics:
        """The rules under test."""
        return make_dynamics(**{**self.arguments, **changes})

    def small(self, **changes: Any) -> dict[str, Any]:
        """The arguments at the first preset of the task."""
        return {**self.arguments, "preset": next(iter(TASKS[self.arguments["task"]].presets)), **changes}

    def check(self) -> None:
        """Call all tests.

        Raises:
            AssertionError: of the first that fails.
        """
        for name in sorted(dir(self)):
            if name.startswith("test_"):
                getattr(self, name)()

    def test_the_oracle_earns_the_optimum(self) -> None:
        """Exactly 1.0, not nearly: the float32 rewards of a faultless episode add up to it, and nothing is left.

        Where answers can only be predicted, the stated optimum within 5 standard errors.
        """
        for preset in (name for name in self.presets if name in TASKS[self.arguments["task"]].presets):
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
        rules = make_dynamics(**self.small(**self.foresight))
        state, observation = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        seen, chosen, compared = [b""] * self.num_episodes, dict[bytes, list[int]](), 0
        for number in range(rules.max_steps):
            action = rules.oracle(state)
            for env in state.running.nonzero().flatten().tolist():
                seen[env] += observation[env].numpy().tobytes()
                compared += seen[env] in chosen
                first = chosen.setdefault(seen[env], action[env].tolist())
                if action[env].tolist() != first:
                    shown = rules.contents.decode(state.script.shown[env, : int(state.clock[env]) + 1]).tolist()
                    both = [dict(zip(rules.factors, choice, strict=True)) for choice in (first, action[env].tolist())]
                    raise AssertionError(
                        f"the oracle foresees something: at step {number}, after equal observations, of {shown}, it "
                        f"chose {both[0]} in one episode and {both[1]} in another. {NO_FORESIGHT}"
                    )
            state, step = rules.step(state, action)
            observation = step.observation
        assert compared, "no two episodes started alike: make the problems of `foresight` smaller"

    def test_without_cells_the_floor_is_left(self) -> None:
        """With the cells wiped before every observation the oracle guesses: it reads, it does not cheat."""
        rules = self.make(wiped=True)
        state, _ = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        total, _ = play(rules, state, rules.oracle)
        error = float(total.std()) / self.num_episodes**0.5
        floor, mean = rules.task.memoryless, float(total.mean())
        assert mean <= floor + 5 * error, f"with wiped cells it earned {mean:g}, and `memoryless` is {floor:g}"
        assert mean < rules.task.optimum, f"with wiped cells it earned {mean:g}, as much as with all of them"

    def test_random_play_earns_the_floor(self) -> None:
        """Uniform actions earn what guessing does."""
        rules = self.make()
        state, _ = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        random = torch.Generator().manual_seed(1)
        total, _ = play(rules, state, lambda state: random_actions(rules, self.num_episodes, random))
        error = float(total.std()) / self.num_episodes**0.5
        guessing = 1 / rules.task.num_answers
        assert abs(total.mean() - guessing) <= 5 * error, f"it earned {total.mean():g}, guessing earns {guessing:g}"

    def test_a_batch_is_its_episodes(self) -> None:
        """Every observation, reward and end of B episodes is that of the same problem played alone."""
        rules = make_dynamics(**self.small())
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

    def test_a_seed_says_which_problems(self) -> None:
        """The same one, the same; another one, others. Nothing but the generator that is given has a part in it."""
        task = self.make().task

        def draw(seed: int) -> list[Any]:
            return [field.tolist() for field in task.draw(64, generator=torch.Generator().manual_seed(seed))]

        before = torch.get_rng_state()
        first = draw(0)
        assert torch.equal(torch.get_rng_state(), before), (
            "draw takes torch's own random numbers: pass on the generator"
        )
        assert first == draw(0), "the same generator drew other problems"
        assert first != draw(1), "another seed drew the same problems: draw must use the generator it is given"

        looks = [self.vector(16).reset(seed=0)[0] for _ in range(2)]
        assert np.array_equal(*looks), "reset with the same seed started other episodes"

    def test_an_input_can_be_played_again(self) -> None:
        """`reset(options={"input": ...})` plays a problem that was drawn, of the symbols it shows."""
        rules = self.make()
        problems = rules.task.draw(20, generator=torch.Generator().manual_seed(0))
        env = TaskEnv(**self.arguments)
        for number in range(20):
            problem = Problem(*(field[:, number : number + 1] for field in problems))
            symbols = self.input_of(rules, problem)
            try:
                env.reset(options={"input": symbols})
            except (NotImplementedError, ValueError) as refused:
                raise AssertionError(
                    f"`Task.problem` refused {symbols}, of a problem that was drawn: {refused!r}. Override `input_of` "
                    "of this test where it takes other symbols than those shown"
                ) from refused
            episodes: Any = env._episodes
            played, drawn = episodes.script, rules.script(problem)
            for name in ("shown", "due", "source"):
                ours, theirs = getattr(played, name)[0].tolist(), getattr(drawn, name)[0].tolist()
                assert ours == theirs, f"`Task.problem` of {symbols} has other {name}: {ours}, where {theirs} was drawn"

    def test_the_dials_are_what_is_played(self) -> None:
        """Plain data; and the oracle fills as many cells as the task says it takes, which are there."""
        rules = make_dynamics(**self.small())
        dials = rules.dials
        assert json.loads(json.dumps(dials, default=str)) == dials, f"dials are not plain data: {dials}"
        needed = rules.task.num_stored
        assert needed <= rules.num_cells, f"num_stored is {needed}, and there are {rules.num_cells} cells"
        state, _ = rules.reset(self.num_episodes, torch.Generator().manual_seed(0))
        full = 0
        for _ in range(rules.max_steps):
            state, _ = rules.step(state, rules.oracle(state))
            full = max(full, int((state.memory.codes() > 0).sum(dim=1).max()))
        assert needed <= full, f"num_stored is {needed}, and the oracle never has more than {full} cells full at once"

    def test_the_floor_is_what_the_best_answer_earns(self) -> None:
        """One answer to each thing shown, the best for it, earns `memoryless`: within 5 standard errors.

        The best are chosen by half of the problems, and earn by the other half.
        """
        for arguments in (self.small(), self.arguments):
            rules = make_dynamics(**arguments)
            problem = rules.task.draw(8 * self.num_episodes, generator=torch.Generator().manual_seed(0))
            weight = problem.mask / problem.mask.sum(dim=0)  # (T, B)
            _, code = rules.contents.encode(problem.inputs).unique(return_inverse=True)  # (T, B)
            half, rest = torch.arange(weight.shape[1]).chunk(2)
            chosen = torch.zeros((int(code.max()) + 1, rules.task.num_answers + 1))
            places = (code[:, half], problem.targets[:, half])
            best = chosen.index_put(places, weight[:, half], accumulate=True)[:, 1:].argmax(dim=1) + 1
            earned = (weight * (best[code] == problem.targets))[:, rest].sum(dim=0)
            floor, mean, error = rules.task.memoryless, float(earned.mean()), float(earned.std()) / len(rest) ** 0.5
            assert abs(mean - floor) <= 5 * error, f"`memoryless` is {floor:g}, and the best answer earns {mean:g}"

    def test_gymnasium_finds_nothing_wrong(self) -> None:
        """Its checker has neither an error nor a warning, whether an action is one number or several."""
        for action in ("multi-discrete", "discrete"):
            spec = EnvSpec("Contract-v0", TaskEnv, kwargs={**self.arguments, "action": action})
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                check_env(gym.make(spec).unwrapped)

    def test_a_vector_is_its_episodes(self) -> None:
        """Every observation, reward and end of B episodes is that of B single ones, which get the same problems."""
        single, many = TaskEnv(**self.small()), self.vector(4)
        single.action_space.seed(0)
        first, episodes = [], []
        for number in range(4):
            first.append(single.reset(seed=None if number else 0)[0])
            steps: list[tuple[Any, ...]] = []
            while not steps or not (steps[-1][3] or steps[-1][4]):
                action = single.action_space.sample()
                steps.append((action, *single.step(action)))
            episodes.append(steps)
        observation, _ = many.reset(seed=0)
        assert np.array_equal(observation, first), "in a vector episodes start otherwise than alone"
        for turn in range(max(map(len, episodes))):
            running = [number for number, steps in enumerate(episodes) if turn < len(steps)]
            actions = np.stack([(steps[turn] if turn < len(steps) else steps[0])[0] for steps in episodes])
            observation, *rest, _ = many.step(actions)
            for number in running:  # the others have ended, and new ones are under way
                _, expected, *others, _ = episodes[number][turn]
                assert np.array_equal(observation[number], expected), f"episode {number} looks otherwise at step {turn}"
                came = [column[number].item() for column in rest]
                assert came == others, f"episode {number} has {came} at step {turn}, alone {others}"

    def test_a_vector_of_one_is_the_single_environment(self) -> None:
        """Seed for seed, over five episodes, each started when the last has ended."""
        single, vector = TaskEnv(**self.small()), self.vector(1, autoreset_mode=AutoresetMode.SAME_STEP)
        observation, _ = single.reset(seed=3)
        both, _ = vector.reset(seed=3)
        single.action_space.seed(0)
        for episode in range(5):
            over: Any = False
            while not over:
                assert np.array_equal(observation, both[0]), f"they look different in episode {episode}"
                action = single.action_space.sample()
                observation, *rest, _ = single.step(action)
                both, *others, info = vector.step(action[None])
                assert [other[0] for other in others] == rest, f"{others} and {rest} in episode {episode}"
                over = any(rest[1:])
            assert np.array_equal(observation, info["final_obs"][0]), f"episode {episode} ends differently"
            observation, _ = single.reset()

    def test_every_autoreset_mode_is_as_said(self) -> None:
        """NEXT_STEP, SAME_STEP, and DISABLED with its `reset_mask`."""
        autoreset_is_as_said(lambda mode: self.vector(4, autoreset_mode=mode))

    def vector(self, num_envs: int, **changes: Any) -> TaskVectorEnv:
        """The native vector at the first preset of the task."""
        return TaskVectorEnv(num_envs, **self.small(**changes))


def _given(actions: list[Tensor]) -> Callable[[State], Tensor]:
    """A policy that plays a list of actions, whatever the state."""
    remaining = iter(actions)
    return lambda _: next(remaining)
