"""Sequence models on a task's bit vectors: soft ones by back-propagation, hard ones by the hybrid gradient."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.access import DRAWN, HARD, AccessRecord
from hardmem.addressing import AddressDistribution, evenness, usage_entropy
from hardmem.agents.config import SequenceConfig
from hardmem.agents.estimates import Estimate, Played
from hardmem.agents.learner import Batch, Generators, Learner, Score, Stage, explained_variance
from hardmem.estimators import cost_to_go
from hardmem.estimators.schedules import is_soft
from hardmem.models import NTM, Recurrent
from hardmem.schemes import SCHEMES, AbsoluteIndex, HeadMoves, Scheme
from hardmem.tasks import Task, make_task

MODELS = ("ntm", "lstm", "gru")


def widths(task: Task) -> tuple[int, int]:
    """Of the vectors that a sequence model is shown and asked for."""
    blank = torch.zeros((1, 1, len(task.input_sizes)), dtype=torch.int64)
    return task.shown_as_bits(blank).shape[-1], task.asked_as_bits(blank[..., 0]).shape[-1]


def make_model(config: SequenceConfig, task: Task) -> NTM | Recurrent:
    """The model a configuration names, for vectors of the task's symbols.

    Raises:
        ValueError: if a name is unknown or a size out of range.
    """
    shown, asked = widths(task)
    if config.model == "ntm":
        return NTM(
            shown,
            asked,
            num_cells=config.num_cells or task.num_cells,
            cell_width=config.cell_width,
            controller=config.controller,
            hidden_size=config.hidden_size,
            addressing=config.addressing,
            access=config.access,
            heads=config.heads,
            order=config.order,
            bypass=config.bypass,
            gated=config.gated,
        )
    if config.model not in MODELS:
        raise ValueError(f"unknown model {config.model!r}; choose one of {list(MODELS)}")
    return Recurrent(shown, asked, kind=config.model, hidden_size=config.hidden_size)


def bit_cost(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy per bit: logits and bits (T, B, O) -> (T, B)."""
    return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(dim=-1)


def bits_per_sequence(outputs: Tensor, wanted: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What Graves et al. 2014 plot: the cost of a sequence in bits, and beside it how many of its bits are wrong.

    Args:
        outputs: logits, (T, B, O).
        wanted: bits, (T, B, O), 0 or 1.
        mask: where they are asked for, (T, B).

    Returns:
        "cost_bits", the cross-entropy to base 2, and "wrong_bits": means over sequences, scalars on the device.
    """
    cost = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(dim=-1) * mask / math.log(2)
    wrong = ((outputs > 0) != (wanted > 0)).sum(dim=-1) * mask
    return {"cost_bits": cost.sum(dim=0).mean(), "wrong_bits": wrong.sum(dim=0).float().mean()}


class SequenceLearner(Learner):
    """A model that is shown bit vectors and asked for bit vectors, trained on the mean cross-entropy per bit.

    Where addresses are drawn, their log-probabilities carry the score-function term of the gradient and everything
    else its pathwise term: REINFORCE for *where*, back-propagation for *what*. Some updates may be soft, the same
    weights read as averages: the first (`soft_updates`), or all of a second attempt (`soft_after`).

    Args:
        config: what to train.
        device: where.

    Raises:
        ValueError: if a name in the configuration is unknown, or its sizes do not fit.
    """

    def __init__(self, config: SequenceConfig, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config: SequenceConfig = config
        self.task = make_task(
            config.task, config.preset, num_symbols=config.num_symbols, min_length=1, max_length=config.max_length
        )
        self.model = make_model(config, self.task)
        self.draws = isinstance(self.model, NTM) and config.access in DRAWN
        # Copies of a problem differ in nothing where nothing is drawn: such a model plays each once.
        self.group_size = config.group_size if self.draws else 1
        self.soft_after = config.soft_after if self.draws else 0
        scheme = self.model.scheme if isinstance(self.model, NTM) else None
        self.by_number, self.by_moves = isinstance(scheme, AbsoluteIndex), isinstance(scheme, HeadMoves)
        self.dense = isinstance(self.model, NTM) and config.access not in HARD
        shown, bits = widths(self.task)
        wanted = config if self.draws else dataclasses.replace(config, estimator="cost-to-go", baseline="none")
        self.estimate = Estimate(
            wanted,
            group_size=self.group_size,
            features={"state": shown + 1, "problem": shown + (config.baseline == "privileged") * bits, "greedy": 1},
        )
        self.baseline = self.estimate.make_baseline(self.group_size)
        self.to(device)

    def cool(self, factor: float) -> None:
        if isinstance(self.model, NTM) and self.draws:
            self.model.cool(factor)

    def num_cells(self, task: Task) -> int:
        """Cells to play a task on: those trained with, or for longer problems as many as these need if that is more."""
        assert isinstance(self.model, NTM), "only a memory has cells"
        longer = task.max_length > self.task.max_length
        return max(self.model.num_cells, task.num_cells) if longer else self.model.num_cells

    def play(self, task: Task, inputs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, AccessRecord | None]:
        """Inputs (T, B, I) -> output logits (T, B, O) and what was chosen, on as many cells as the task needs."""
        if not isinstance(self.model, NTM):
            return self.model(inputs)[0], None
        state = self.model.initial_state(inputs.shape[1], self.num_cells(task))
        outputs, _, record = self.model.trace(inputs, state, generator)
        return outputs, record

    def batch(self, stage: Stage, generators: Generators) -> Batch:
        config = self.config
        soft = self.draws and self._is_soft(stage)
        draws = self.draws and not soft
        shortest, longest = stage.lengths(config.min_length)
        task = self.task.at_length(longest, shortest)
        device = next(self.model.parameters()).device
        problem = task.draw(config.num_problems, generator=generators.problems, device=device)
        problem = problem.repeat(self.group_size if draws else 1)
        inputs = task.shown_as_bits(problem.inputs)
        with self.using("soft") if soft else nullcontext(), self._watching(draws) as addresses:
            outputs, record = self.play(task, inputs, generators.choices)
        wanted = task.asked_as_bits(problem.targets)
        # Divided by the length, sums over time stay of one size while problems grow.
        cost = bit_cost(outputs, wanted) * problem.mask / stage.length

        metrics = {"bit_loss": (cost.detach().sum() * stage.length) / problem.mask.sum()}
        metrics |= bits_per_sequence(outputs.detach(), wanted, problem.mask)
        if record is None:
            loss = cost.sum(dim=0).mean()
            objective = loss
        else:
            step = torch.arange(task.num_steps, device=device) / task.num_steps

            def features(kind: str) -> Tensor:
                if kind == "greedy":
                    return self._greedy_cost_to_go(task, inputs, wanted, problem.mask / stage.length)
                seen = wanted if config.baseline == "privileged" else step[:, None, None].expand(-1, inputs.shape[1], 1)
                seen = seen[..., :0] if config.baseline == "input-dependent" else seen
                return torch.cat([inputs, seen], dim=-1)

            always = torch.ones_like(cost)
            judged = self.estimate(Played(record, cost, always), self.baseline, features)
            loss = judged.loss
            uncertainty = record.entropy.mean()
            if self.by_moves and draws:
                share = config.evenness_share
                uncertainty = (1 - share) * uncertainty + share * evenness(torch.cat(addresses)).mean()
            bonus = (1 + stage.turn) * self.entropy_weight(stage) * uncertainty
            objective = loss - bonus + judged.critic_loss
            metrics |= {"entropy": record.entropy.mean().detach(), "baseline_loss": judged.critic_loss.detach()}
            metrics["explained_variance"] = explained_variance(judged.value, judged.returns, always)
        if self.by_number:
            each = torch.cat(addresses).exp().unflatten(0, (-1, inputs.shape[1]))  # (T, B, H, N)
            spread = usage_entropy(each.sum(dim=0)).mean()
            objective = objective - config.spread_coef * (stage.exploration == 1) * spread
            metrics["spread"] = spread.detach()
        return Batch(
            loss=objective,
            metrics=metrics | {"loss": loss.detach()},
            steps=cost.numel(),
            problems=config.num_problems,
            rollouts=cost.shape[1] + config.num_problems * (draws and self.baseline.judges_by == "greedy"),
        )

    def _greedy_cost_to_go(self, task: Task, inputs: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Of the same problems played greedily, once each: (T, B, 1)."""
        every = slice(None, None, self.group_size)
        with torch.no_grad(), self.greedy():
            outputs, _ = self.play(task, inputs[:, every], None)
        to_go = cost_to_go(bit_cost(outputs, wanted[:, every]) * weight[:, every])
        return to_go.repeat_interleave(self.group_size, dim=1).unsqueeze(-1)

    def _is_soft(self, stage: Stage) -> bool:
        """Whether this update averages over cells. Once the task is solved it is the drawn cells that count.

        Soft gradients come with little noise, but they lead to where averages do well: heads that stay and a cell that
        holds a blend of symbols. So the annealed draws come first, and the averages where those found nothing.

        A soft attempt at cells by number was paid for spreading, and spreads over many: were they drawn as it leaves
        them, hardly a sequence would be right. What a blur costs sharpens the averages first, while there is a bonus.
        """
        in_turn = stage.second and self.soft_after > 0
        if stage.exploration < 1:
            return self.by_number and in_turn and stage.exploration > 0
        return in_turn or is_soft(self.config.anneal, stage.update, self.config.soft_updates)

    def score(
        self,
        num_problems: int,
        generator: torch.Generator,
        *,
        max_length: int,
        min_length: int = 1,
        greedy: bool = True,
    ) -> Score | None:
        task = self.task.at_length(max_length, min_length)
        tied = isinstance(self.model, NTM) and not SCHEMES[self.config.addressing].any_size
        if tied and self.num_cells(task) > self.num_cells(self.task):
            return None  # the heads know no cell beyond those they were trained with
        problem = task.draw(num_problems, generator=generator, device=generator.device)
        with torch.no_grad(), self.greedy() if greedy else nullcontext():
            outputs, _ = self.play(task, task.shown_as_bits(problem.inputs), generator)
        wanted = task.asked_as_bits(problem.targets)
        right = ((outputs > 0) == (wanted > 0)).all(dim=-1) | ~problem.mask
        num_right = (right & problem.mask).sum(dim=0) / problem.mask.sum(dim=0)
        return Score(exact=float(right.all(dim=0).double().mean()), accuracy=float(num_right.double().mean()))

    @torch.no_grad()
    def bits(
        self, num_problems: int, generator: torch.Generator, *, max_length: int, min_length: int = 1
    ) -> dict[str, float]:
        """Play fresh problems greedily: `bits_per_sequence`, means over problems."""
        task = self.task.at_length(max_length, min_length)
        problem = task.draw(num_problems, generator=generator, device=generator.device)
        with self.greedy():
            outputs, _ = self.play(task, task.shown_as_bits(problem.inputs), generator)
        found = bits_per_sequence(outputs, task.asked_as_bits(problem.targets), problem.mask)
        return {name: float(value) for name, value in found.items()}

    @contextmanager
    def _watching(self, draws: bool) -> Iterator[list[Tensor]]:
        """While this lasts, the log-weights of all addresses are kept: of cells by number, of moves where one is drawn.

        One after the other, (B, H, S) each, or all of a sequence at once, (T B, H, S): those that have gradients, for a
        sequence that runs as one operation asks first without.
        """
        addresses: list[Tensor] = []
        if not (self.by_number or (self.by_moves and draws)):
            yield addresses
            return

        def keep(scheme: Scheme, arguments: tuple[Any, ...], distribution: AddressDistribution) -> None:
            if torch.is_grad_enabled():
                addresses.append(distribution.log_weights)

        assert isinstance(self.model, NTM), "only a memory has addresses"
        watch = self.model.scheme.register_forward_hook(keep)
        try:
            yield addresses
        finally:
            watch.remove()

    def greedy(self) -> AbstractContextManager[None]:
        """While this lasts, heads that draw their cells take the likeliest instead, as at test time."""
        return self.using("argmax") if self.draws else nullcontext()

    @contextmanager
    def using(self, access: str) -> Iterator[None]:
        """While this lasts, the memory is touched in another way."""
        assert isinstance(self.model, NTM), "only a memory has an access"
        self.model.access = access
        try:
            yield
        finally:
            self.model.access = self.config.access
