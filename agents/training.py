"""The training loop, one for every learner."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.curriculum import Curriculum
from hardmem.agents.learner import Generators, Learner, Score, Stage
from hardmem.agents.progress import Progress
from hardmem.agents.recorder import Recorder
from hardmem.agents.reinforce import AgentLearner
from hardmem.agents.sequence import SequenceLearner

SOLVED = 0.99
"""Share of exact greedy sequences over all lengths at which a task counts as solved."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training came to: where it first solved its task (None: not within its budget), and its curve."""

    solved: Progress | None
    curve: list[Progress]


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
            return AgentLearner(config, device)
        assert isinstance(config, SequenceConfig)
        return SequenceLearner(config, device)


def train(
    config: TrainConfig, folder: str | Path | None = None, on_progress: Callable[[Progress], None] | None = None
) -> tuple[Learner, Outcome]:
    """Train until the task is solved at every length up to `max_length`, or the budget of updates is spent.

    Args:
        config: what to train, and how.
        folder: where to keep configuration, TensorBoard events, checkpoint and results; nowhere if None.
        on_progress: called at every validation.

    Raises:
        ValueError: if the configuration cannot be built.
        RunError: if the folder exists or cannot be made.
        NonFiniteError: if the loss, the gradient or a metric is no longer finite.
    """
    device = resolve_device(config.device)
    learner = make_learner(config, device)
    recorder = Recorder(Path(folder), config) if folder is not None else None
    generators = Generators.seeded(config.seed, device)
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    curriculum = Curriculum(config.start_length, config.max_length, config.promote_at)
    progress, curve, solved = Progress(), list[Progress](), None
    start = time.perf_counter()

    for update in range(1, config.max_updates + 1):
        finishing = 0.0 if solved is None else (update - solved.update) / config.finish_updates
        batch = learner.batch(Stage(curriculum.length, update - 1, 1 - finishing), generators)

        optimizer.zero_grad(set_to_none=True)
        batch.loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(learner.parameters(), config.max_grad_norm)
        optimizer.step()

        progress.update = update
        progress.steps += batch.steps
        progress.problems += batch.problems
        progress.rollouts += batch.rollouts
        if update % config.eval_every:
            continue

        # Reading numbers waits for the device: here, not at every update.
        metrics = {name: float(value) for name, value in {**batch.metrics, "grad_norm": grad_norm}.items()}
        check_finite(update, metrics)
        goal = examine(learner, config.max_length, generators.validation)
        present = goal
        if curriculum.length < config.max_length:
            present = examine(learner, curriculum.length, generators.validation)
        progress.metrics = {**metrics, "accuracy": goal.accuracy}
        progress.exact, progress.length, progress.seconds = goal.exact, curriculum.length, time.perf_counter() - start
        curve.append(dataclasses.replace(progress))
        if solved is None and goal.exact >= SOLVED:
            solved = curve[-1]
        curriculum.record(present.exact)
        if recorder is not None:
            recorder.log(progress)
        if on_progress is not None:
            on_progress(curve[-1])
        if solved is not None and update >= solved.update + config.finish_updates:
            break

    outcome = Outcome(solved, curve)
    if recorder is not None:
        state: dict[str, Any] = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"generators": [generator.get_state() for generator in generators]}
        recorder.close({**state, "progress": dataclasses.asdict(progress), "length": curriculum.length})
    return learner, outcome


def examine(learner: Learner, max_length: int, generator: torch.Generator) -> Score:
    """Greedy score on fresh validation problems of all lengths up to one that is trained on."""
    shortest = min(learner.config.min_length, max_length)
    score = learner.score(learner.config.eval_problems, generator, max_length=max_length, min_length=shortest)
    assert score is not None, "a learner can be run at the lengths it is trained on"
    return score


def check_finite(update: int, metrics: dict[str, float]) -> None:
    """Stop a training that has gone astray.

    Raises:
        NonFiniteError: naming the first number that is not finite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"update {update}: {name} is {value}, expected a finite number")
