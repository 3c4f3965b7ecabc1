"""A training, one for every learner, from update to update; what goes on at each, and all that decides the next."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, from_json, to_json
from hardmem.agents.curriculum import Curriculum, make_curriculum
from hardmem.agents.distributed import World, local_device
from hardmem.agents.gymnasium_learner import GymnasiumLearner
from hardmem.agents.learner import Batch, Learner, Score, Stage
from hardmem.agents.progress import Progress
from hardmem.agents.reinforce import AgentLearner
from hardmem.agents.sequence import SequenceLearner
from hardmem.envs import ENVIRONMENTS
from hardmem.estimators.analysis import GradientVariance
from hardmem.estimators.schedules import geometric

SOLVED = 0.99
"""Share of exact greedy sequences over all lengths at which a task counts as solved."""
PROGRESS = 0.02
"""How many more answers must be right, as a share of all, to count as progress."""
HOPEFUL = 0.1
"""Share of answers at the present lengths that must be right for drawn cells to have told anything at all."""
HOPELESS = 0.03
"""Share below which half of the updates are enough to know that they have not."""
COLDEST = 0.25
"""Temperature of the choices at the end of the last updates; 1 for most of a training."""
ATTEMPT = ("begun", "best", "improved", "hopeful")
"""What a `Training` knows of its present attempt."""


ALONE = World()


class NonFiniteError(RuntimeError):
    """A number of the training became infinite or not a number."""


def make_learner(config: TrainConfig, device: torch.device | str = "cpu") -> Learner:
    """Build what a configuration describes, with weights drawn from its seed.

    Raises:
        ValueError: if a name in it is unknown or its sizes do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # torch's initialisers take no generator: lend them the global one
        torch.default_generator.manual_seed(config.seed)
        if isinstance(config, AgentConfig):
            return (AgentLearner if config.env in ENVIRONMENTS else GymnasiumLearner)(config, device)
        assert isinstance(config, SequenceConfig)
        return SequenceLearner(config, device)


class Training:
    """A training between two updates. All that decides how it goes on is in `state_dict`.

    When the budget is spent and the task unsolved, `learner` is the best of the attempts, not always the last.

    Args:
        config: what to train, and how.
        world: the processes that share the batch; every one holds the same weights.

    Raises:
        ValueError: if the configuration cannot be built, or the batch not be shared.
    """

    def __init__(self, config: TrainConfig, world: World = ALONE) -> None:
        self.config, self.world = config, world
        self.device = local_device(config)
        self.learner = make_learner(world.share(config), self.device)
        self.generators = world.generators(config.seed, self.device)
        self.optimizer = torch.optim.Adam(self.learner.parameters(), lr=config.learning_rate)
        self.critic = [*self.learner.baseline.parameters(), *self.learner.estimate.parameters()]
        critic = {id(parameter) for parameter in self.critic}
        self.actor = [parameter for parameter in self.learner.parameters() if id(parameter) not in critic]
        self.noise = GradientVariance(self.actor)
        self.curriculum = self._curriculum()
        self.progress, self.curve = Progress(), list[Progress]()
        self.solved: Progress | None = None
        self.begun, self.best, self.improved = 0, 0.0, 0  # updates of the attempt's start and last progress, and that
        self.hopeful = False  # whether the attempt has learned anything
        self.given_up: tuple[float, dict[str, Tensor]] | None = None  # the best one's accuracy at its end, and weights
        self.under_way: dict[str, Tensor] | None = None  # the attempt's weights, once a better one is in their place
        self._resumed_at = time.perf_counter()

    def _curriculum(self) -> Curriculum:
        config = self.config
        return make_curriculum(
            config.curriculum,
            min(config.start_length, config.max_length) if self.learner.has_task else config.max_length,
            config.max_length,
            config.promote_at,
            min_length=config.min_length,
            seed=config.seed,
        )

    def done(self) -> bool:
        """Whether the budget is spent, or the task solved and the last updates made."""
        update, solved = self.progress.update, self.solved
        return update >= self.config.max_updates or (
            solved is not None and update >= solved.update + self.config.finish_updates
        )

    def update(self) -> Progress | None:
        """Draw a batch, take one step of the optimiser, and validate where it is time: then there is a new point.

        Raises:
            NonFiniteError: if the loss, the gradient or a metric is no longer finite. No step was taken on it, or on a
                GPU, which is only asked at validations, no checkpoint.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        batch = self.learner.batch(self._stage(), self.generators)

        self.optimizer.zero_grad(set_to_none=True)
        batch.loss.backward()
        self.world.average(self._shared())
        self.noise.update()
        grad_norm = nn.utils.clip_grad_norm_(self.actor, self.config.max_grad_norm)
        nn.utils.clip_grad_norm_(self.critic, self.config.max_grad_norm)  # on its own: its errors are of another size

        progress, processes = self.progress, self.world.size
        progress.update += 1
        progress.steps += batch.steps * processes
        progress.problems += batch.problems * processes
        progress.rollouts += batch.rollouts * processes
        due = progress.update % self.config.eval_every == 0 or self.done()
        # Reading a number makes a GPU wait: there at validations, not at every update.
        if due or self.device.type == "cpu":
            self._check_finite(batch, grad_norm)
        self.optimizer.step()
        self._cool()
        if not due:
            return None
        noise = {"gradient_variance": self.noise.variance(), "gradient_signal_to_noise": self.noise.signal_to_noise()}
        self.world.average(batch.metrics.values())
        metrics = {**batch.metrics, "grad_norm": grad_norm, **noise}
        point = self._validate({name: float(value) for name, value in metrics.items()})
        if self.solved is None and self.done():
            self._take_the_best()
        return point

    def _shared(self) -> list[Tensor]:
        """What every process has seen a part of: gradients, and the averages that a baseline or an estimate keeps."""
        gradients = [parameter.grad for parameter in self.learner.parameters() if parameter.grad is not None]
        return [*gradients, *self.learner.baseline.buffers(), *self.learner.estimate.buffers()]

    def _learning_rate(self) -> float:
        """Of the next update: by its number alone, so that a resumed run has it too.

        Once solved it falls to a tenth: what is right at lengths never drawn is not to be shaken off by large steps.
        """
        config, over = self.config, self.config.learning_rate_updates
        rate = config.learning_rate
        if over > 0:
            rate = geometric(rate, config.learning_rate_final, self.progress.update - self.begun, over)
        return float(rate * 0.1 ** self._finishing())

    def _cool(self) -> None:
        """In the second half of the last updates lower the temperature, by the same factor in each.

        Greedily nothing changes, and what is drawn becomes as sure at lengths far beyond those trained on: an error in
        10,000 choices is too rare to learn from, and spoils one sequence in five of a thousand symbols. Not in the
        first half, while steps are large: what the logits are made of learns in proportion to them.
        """
        if self.solved is None:
            return
        warm = self.config.finish_updates // 2
        if self.progress.update - self.solved.update > warm:
            self.learner.cool(COLDEST ** (-1 / (self.config.finish_updates - warm)))

    def _finishing(self) -> float:
        """How much of the last updates will be made after the next, in [0, 1]: 0 until the task is solved."""
        if self.solved is None:
            return 0.0
        return (self.progress.update + 1 - self.solved.update) / self.config.finish_updates

    def _stage(self) -> Stage:
        """What the next update is to draw, and how much of the entropy bonus it still gets."""
        update = self.progress.update
        shortest, longest = self.curriculum.drawn(update - self.begun)
        exploration = max(0.0, 1 - 2 * self._finishing())
        return Stage(longest, update - self.begun, exploration, shortest, self._second(), self._turn())

    def _second(self) -> bool:
        """Whether the present attempt goes a learner's second way: every second one does."""
        return self.progress.attempt % 2 == 0

    def _turn(self) -> int:
        """How often both ways of a learner were tried before the present attempt."""
        return (self.progress.attempt - 1) // 2

    def _validate(self, metrics: dict[str, float]) -> Progress:
        """Examine the learner greedily, at all lengths and at those drawn now; add to the curve."""
        progress, curriculum = self.progress, self.curriculum
        goal = examine(self.learner, self.config.max_length, self.generators.validation)
        present = goal
        if curriculum.length < self.config.max_length:
            shortest, longest = curriculum.present()
            problems = curriculum.examined or self.config.eval_problems
            score = self.learner.score(problems, self.generators.validation, max_length=longest, min_length=shortest)
            assert score is not None, "a learner can be run at the lengths it is trained on"
            present = score
        progress.metrics = {**metrics, "accuracy": goal.accuracy}
        progress.exact, progress.length = goal.exact, curriculum.length
        now = time.perf_counter()
        progress.seconds += now - self._resumed_at
        self._resumed_at = now
        self.curve.append(dataclasses.replace(progress))
        if self.solved is None and goal.exact >= SOLVED:
            self.solved = self.curve[-1]
        length = curriculum.length
        if self.solved is None:
            curriculum.record(present.exact, progress.update - self.begun)
        else:  # what is known of all lengths is made sure at all lengths
            curriculum.length = self.config.max_length
        if curriculum.length > length or goal.accuracy >= self.best + PROGRESS:
            self.best, self.improved = max(self.best, goal.accuracy), progress.update
        self.hopeful |= present.accuracy >= HOPEFUL
        if self.config.restart_after and self.learner.has_task and self.solved is None and self._stuck(present):
            self._start_anew()
        return self.curve[-1]

    def _stuck(self, present: Score) -> bool:
        """Whether the attempt is to be given up, examined as it was at the present lengths.

        Patience doubles with every second attempt, so that what needs longer gets it in the end.
        """
        update, soft_after = self.progress.update, self.learner.soft_after
        if soft_after and not self._second() and not self.hopeful:
            enough = soft_after // 2 if present.accuracy < HOPELESS else soft_after
            if update - self.begun >= enough:
                return True
        patience = self.config.restart_after << self._turn()
        return update - self.improved >= patience

    def _start_anew(self) -> None:
        """Fresh weights and all that goes with them; only what was spent is remembered.

        A policy that is sure of a shortcut does not leave it, and whether it falls into one is decided early, by the
        draws: attempts that are given up in time find a way in a few times as long as a lucky one. A learner's two ways
        take turns: a model's hard and soft attempts. Fresh weights, because a model that was trained with cells drawn
        at random learns from averages more slowly than one that was not.
        """
        progress, accuracy = self.progress, self.progress.metrics["accuracy"]
        if self.given_up is None or accuracy >= self.given_up[0]:
            self.given_up = accuracy, copy.deepcopy(self.learner.state_dict())
        progress.attempt += 1
        self.begun, self.best, self.improved = progress.update, 0.0, progress.update
        self.hopeful = False
        config = self.world.share(self.config)
        seeds = np.random.SeedSequence((config.seed, progress.attempt)).generate_state(1)
        fresh = make_learner(dataclasses.replace(config, seed=int(seeds[0])), self.device)
        self.learner.load_state_dict(fresh.state_dict())
        self.optimizer.state.clear()
        self.noise = GradientVariance(self.actor)
        self.curriculum = self._curriculum()

    def _take_the_best(self) -> None:
        """At the end of the budget, put the best attempt given up in the place of one that is worse or just begun."""
        if self.given_up is None:
            return
        accuracy, weights = self.given_up
        if self.begun == self.progress.update or self.progress.metrics["accuracy"] < accuracy:
            self.under_way = copy.deepcopy(self.learner.state_dict())
            self.learner.load_state_dict(weights)

    def _check_finite(self, batch: Batch, grad_norm: Tensor) -> None:
        update = self.progress.update
        for name, value in batch.metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"update {update}: {name} is {float(value)}, expected a finite number")
        if not math.isfinite(grad_norm):
            culprits = [
                name
                for name, parameter in self.learner.named_parameters()
                if parameter.grad is not None and not parameter.grad.isfinite().all()
            ]
            raise NonFiniteError(f"update {update}: the gradient of {', '.join(culprits)} is not finite")

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data: what `load_state_dict` needs to go on as if nothing had happened.

        Raises:
            NonFiniteError: if a weight is no longer finite: nobody would want to go on from there.
        """
        for name, parameter in self.learner.named_parameters():
            if not parameter.isfinite().all():
                raise NonFiniteError(f"update {self.progress.update}: the weights {name} are not finite")
        return {
            "config": to_json(self.config),
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "noise": self.noise.state_dict(),
            "generators": self.world.gather([generator.get_state() for generator in self.generators]),
            "curriculum": self.curriculum.state_dict(),
            "progress": dataclasses.asdict(self.progress),
            "curve": [dataclasses.asdict(point) for point in self.curve],
            "solved": None if self.solved is None else dataclasses.asdict(self.solved),
            "attempt": {name: getattr(self, name) for name in ATTEMPT},
            "given_up": self.given_up,
            "under_way": self.under_way,
        }

    def check(self, state: dict[str, Any]) -> None:
        """Refuse the state of a training that differs in more than its budget, or in the number of its processes.

        Raises:
            RunError: naming what differs.
        """
        try:
            configs = (self.config, from_json(state["config"]))
            processes = len(state["generators"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"it is not of a training of this version: {error}") from error
        ours, theirs = ({"kind": type(config), **dataclasses.asdict(config)} for config in configs)
        differing = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        if set(differing) - {"max_updates"}:
            raise RunError(f"it is of another run: its configuration differs in {differing}")
        if processes != self.world.size:
            raise RunError(f"it is of {processes} processes, and these are {self.world.size}")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where a `state_dict` was taken.

        Raises:
            RunError: if it is of another training.
        """
        self.check(state)
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise.load_state_dict(state["noise"])
        for generator, random_state in zip(self.generators, state["generators"][self.world.rank], strict=True):
            generator.set_state(random_state)
        self.curriculum.load_state_dict(state["curriculum"])
        self.progress = Progress(**state["progress"])
        self.curve = [Progress(**point) for point in state["curve"]]
        self.solved = None if state["solved"] is None else Progress(**state["solved"])
        for name in ATTEMPT:
            setattr(self, name, state["attempt"][name])
        self.given_up, self.under_way = state.get("given_up"), state.get("under_way")  # older states have neither
        if self.under_way is not None and not self.done():  # the budget has grown
            self.learner.load_state_dict(self.under_way)
            self.under_way = None
        self._resumed_at = time.perf_counter()


def examine(learner: Learner, max_length: int, generator: torch.Generator) -> Score:
    """Greedy score on fresh validation problems of all lengths up to one that is trained on."""
    shortest = min(learner.config.min_length, max_length)
    score = learner.score(learner.config.eval_problems, generator, max_length=max_length, min_length=shortest)
    assert score is not None, "a learner can be run at the lengths it is trained on"
    return score
