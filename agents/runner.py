"""Train and resume: a training from its beginning, or its last checkpoint, to its end, in a run folder or without."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from hardmem.agents.checkpoints import NoCheckpointError, load_checkpoint
from hardmem.agents.config import TrainConfig
from hardmem.agents.distributed import joined
from hardmem.agents.evaluation import evaluate
from hardmem.agents.learner import Generators, Learner
from hardmem.agents.progress import Progress
from hardmem.agents.recorder import recording
from hardmem.agents.runs import CONFIG, RunError, create_run, locked, read_config, write_config
from hardmem.agents.signals import Interrupted, StopRequest
from hardmem.agents.trace import Trace, trace
from hardmem.agents.training import NonFiniteError, Training

EXAMINED = 500
"""Fresh problems per length in the examination at the end of a run."""
INSPECTED = 50
"""Problems played for a look inside."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training came to: where it first solved its task (None: not within its budget), and its curve."""

    solved: Progress | None
    curve: list[Progress]


def train(
    config: TrainConfig,
    folder: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    lengths: Sequence[int] | None = None,
    problems: int = EXAMINED,
) -> tuple[Learner, Outcome]:
    """Train until the task is solved at every length up to `max_length`, or the budget of updates is spent.

    If the budget is spent first, the learner is that of the best attempt: the one with most right greedy answers at all
    lengths when it was given up or the budget spent; of equals the last.

    With a folder it is what `hardmem train` does: SIGINT and SIGTERM finish the update and write a checkpoint, and
    `resume` goes on from the last one, whatever happened.

    Args:
        config: what to train, and how.
        folder: where to keep configuration, TensorBoard events, checkpoints and results; nowhere if None.
        on_progress: called at every validation.
        lengths: of the problems played at the end for results.json; by default `max_length` and twice that.
        problems: how many of each length.

    Raises:
        ValueError: if the configuration cannot be built.
        RunError: if the folder exists or cannot be made or written to.
        NonFiniteError: if the loss, the gradient or a metric is no longer finite.
        Interrupted: by a signal, once the checkpoint is written.
    """
    with joined(config) as world:
        training = Training(config, world)
        if folder is None:
            while not training.done():
                point = training.update()
                if point is not None and on_progress is not None:
                    on_progress(point)
        elif world.rank == 0:
            with locked(create_run(Path(folder), config)):
                _record(training, Path(folder), on_progress, lengths, problems)
        else:
            _record(training, None, on_progress, lengths, problems)
    return training.learner, Outcome(training.solved, training.curve)


def resume(
    folder: str | Path,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    max_updates: int | None = None,
    lengths: Sequence[int] | None = None,
    problems: int = EXAMINED,
) -> tuple[Learner, Outcome]:
    """Go on with a run from its last checkpoint, to the same end, bit for bit, as if it had never stopped.

    Args:
        folder: of the run. One that has reached its end is left as it is.
        on_progress: called at every validation from here on.
        max_updates: another budget than the run was begun with.
        lengths: as in `train`.
        problems: as in `train`.

    Raises:
        RunError: if the folder is no run, is in use, or has no checkpoint that can be read.
        NonFiniteError: as in `train`.
        Interrupted: as in `train`.
    """
    folder = Path(folder)
    config = read_config(folder)
    if max_updates is not None:
        config = dataclasses.replace(config, max_updates=max_updates)
    with joined(config) as world:
        training = Training(config, world)
        with locked(folder) if world.rank == 0 else nullcontext():
            _restore(training, folder)
            if max_updates is not None and world.rank == 0:
                write_config(folder, config)
            _record(training, folder if world.rank == 0 else None, on_progress, lengths, problems)
    return training.learner, Outcome(training.solved, training.curve)


def _restore(training: Training, folder: Path) -> None:
    """Go back to the last checkpoint, or stay at the beginning where there is none.

    Raises:
        RunError: if there are some but none can be used.
    """
    state: dict[str, Any] | None = None
    if training.world.rank == 0:
        with suppress(NoCheckpointError):
            state = load_checkpoint(folder, set_aside=True, check=training.check)
    state = training.world.gather(state)[0]
    if state is None:
        return
    try:
        training.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the checkpoint in {str(folder)!r} does not fit its {CONFIG}: {error}") from error


def _record(
    training: Training,
    folder: Path | None,
    on_progress: Callable[[Progress], None] | None,
    lengths: Sequence[int] | None,
    problems: int,
) -> None:
    """Train to the end, or to a signal, and leave all of it in the folder; None in processes that only help."""
    config, world, saved = training.config, training.world, training.progress.update
    with (
        nullcontext() if folder is None else recording(folder, config, training.progress) as recorder,
        StopRequest() as stop,
    ):
        while not training.done():
            try:
                point = training.update()
                update, done = training.progress.update, training.done()
                if point is not None and recorder is not None:
                    recorder.log(point)
                if point is not None and on_progress is not None:
                    on_progress(point)
                traced = recorder if training.learner.has_task else None
                if traced is not None and (done or not update % config.inspect_every):
                    traced.inspect(_look_inside(training), training.progress.steps)
                if traced is not None and (done or not update % config.picture_every):
                    traced.picture(_look_inside(training), training.progress.steps)
                heard = 0
                if world.size == 1 or point is not None:  # all stop together, and ask each other at validations only
                    heard = max(world.gather(int(stop.signal or 0)))
                if done or heard or update % config.checkpoint_every == 0:
                    state = training.state_dict()
                    if recorder is not None:
                        recorder.save(state)
                    saved = update
            except NonFiniteError as error:
                kept = f"the last good checkpoint, of update {saved}, is kept" if saved else "there is no checkpoint"
                raise NonFiniteError(error if folder is None else f"{error}; {kept} in {str(folder)!r}") from error
            if heard and not done:
                stopped = f"stopped by {signal.Signals(heard).name} after update {update}"
                if folder is not None:
                    stopped += f", with a checkpoint; go on by `hardmem resume {folder}`"
                raise Interrupted(stopped, 128 + heard)
        if recorder is not None:
            recorder.finish(_results(training, lengths, problems), training.progress.steps)


def _look_inside(training: Training) -> Trace:
    """A few problems, always the same ones, played greedily: no stream of random numbers is touched."""
    generator = torch.Generator(training.device).manual_seed(training.config.seed)
    return trace(training.learner, INSPECTED, generator, max_length=training.config.max_length)


def _results(training: Training, lengths: Sequence[int] | None, problems: int) -> dict[str, Any]:
    """What results.json holds: what was learned, at what cost, and how it does on fresh problems."""
    config, learner = training.config, training.learner
    if lengths is None:
        lengths = (config.max_length, 2 * config.max_length) if learner.has_task else (config.max_length,)
    test = Generators.seeded(config.seed, training.device).test
    counted = ("update", "problems", "rollouts", "seconds", "length", "exact")
    return {
        "seed": config.seed,
        "parameters": sum(parameter.numel() for parameter in learner.parameters()),
        "solved": None if training.solved is None else dataclasses.asdict(training.solved),
        "evaluation": evaluate(learner, lengths, problems, test),
        "curve": [{name: getattr(point, name) for name in counted} for point in training.curve],
    }
