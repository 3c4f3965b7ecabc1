"""Trace: a few problems played greedily, with everything on record: what pictures and diagnoses are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.agents.learner import Learner
from hardmem.agents.ntm_body import NTMBody
from hardmem.agents.policies import among_legal, choose, joined
from hardmem.agents.reinforce import AgentLearner
from hardmem.agents.sequence import SequenceLearner
from hardmem.bank import snapshot
from hardmem.memory import HardAddress, as_weights
from hardmem.models import NTM
from hardmem.tasks import Problem


class Cells(NamedTuple):
    """A memory over T steps of B problems.

    Attributes:
        heads: what each of H heads does; empty for a model without cells.
        weights: where each head was, (T, B, H, N), rows summing to 1; one-hot where one cell was touched.
        memory: contents in the first problem, before the first step and after each, (T + 1, N, W).
    """

    heads: Sequence[str]
    weights: Tensor
    memory: Tensor


class Trace(NamedTuple):
    """T steps of B problems; memory contents of the first one only.

    Attributes:
        shown: symbols shown, (T, B, C).
        answer: the symbol answered, (T, B); it counts where the mask is set.
        target: the right one, (T, B).
        mask: whether an answer was judged, (T, B), bool.
        running: whether the problem was still under way, (T, B), bool: up to the last answer.
        lag: steps since what is asked for was shown, (T, B); meaningful where the mask is set.
        heads: as in `Cells`: of the environment's memory, or of the model's.
        weights: as in `Cells`.
        memory: as in `Cells`.
        factors: names of the F choices that are made at every step.
        entropy: of each, in nats, (T, B, F); of an average over cells, that of its weights.
        own: the memory that a policy has beside its environment's; None where it has none.
    """

    shown: Tensor
    answer: Tensor
    target: Tensor
    mask: Tensor
    running: Tensor
    lag: Tensor
    heads: Sequence[str]
    weights: Tensor
    memory: Tensor
    factors: Sequence[str]
    entropy: Tensor
    own: Cells | None = None

    def memories(self) -> dict[str, Cells]:
        """Every memory there is, by what it is called: "cells", and a policy's "own cells"; empty ones left out."""
        found = {"cells": Cells(self.heads, self.weights, self.memory), "own cells": self.own}
        return {name: cells for name, cells in found.items() if cells is not None and cells.heads}


class Diagnosis(NamedTuple):
    """What a trace says in numbers.

    Attributes:
        recall: share of right answers by lag, for every lag that was asked for.
        entropy: mean nats per choice, by factor.
        use: of each memory, "cells_touched" and "evenness" ("own_cells_touched" and "own_evenness" of a policy's own).
            Touched are cells that got at least half of a head's weight at some step, mean over problems and share of N;
            the evenness is the perplexity of the distribution of all touches, in [1 / N, 1] of N.
    """

    recall: dict[int, float]
    entropy: dict[str, float]
    use: dict[str, float]


def trace(
    learner: Learner,
    num_problems: int,
    generator: torch.Generator,
    *,
    max_length: int,
    min_length: int | None = None,
) -> Trace:
    """Play fresh problems up to a length, greedily, from the shortest trained on or `min_length`. Changes nothing.

    Raises:
        ValueError: if the learner is of a kind that has nothing to show.
    """
    shortest = min(learner.config.min_length if min_length is None else min_length, max_length)
    with torch.no_grad():
        if isinstance(learner, AgentLearner):
            dynamics = learner.dynamics(max_length, shortest)
            problem = dynamics.task.draw(num_problems, generator=generator, device=generator.device)
            return trace_agent(learner, problem, max_length)
        if isinstance(learner, SequenceLearner):
            task = learner.task.at_length(max_length, shortest)
            problem = task.draw(num_problems, generator=generator, device=generator.device)
            return trace_model(learner, problem, learner.num_cells(task) if isinstance(learner.model, NTM) else 1)
    raise ValueError(f"expected a learner of one of hardmem's tasks, got {type(learner).__name__}")


@torch.no_grad()
def trace_agent(learner: AgentLearner, problem: Problem, max_length: int) -> Trace:
    """Play given problems, (T, B), with an agent."""
    dynamics = learner.dynamics(max_length)
    state, observation = dynamics.start(problem)
    hidden = learner.policy.initial_hidden(problem.mask.shape[1])
    env = torch.arange(problem.mask.shape[1], device=observation.device)
    rows: list[tuple[Tensor, ...]] = []
    cells = state.memory.codes()  # (B, N)
    memory = [dynamics.contents.decode(cells[0])]
    body = learner.policy.body
    own = [body.cells(hidden)] if isinstance(body, NTMBody) else []
    for _ in range(dynamics.max_steps):
        log_probs, _, hidden = learner.policy(observation, hidden, greedy=True)
        if learner.config.mask_actions:
            log_probs = among_legal(log_probs, dynamics.legal(state))
        record = choose(log_probs, greedy=True)
        before, clock = state, state.clock
        state, step = dynamics.step(state, record.index)
        observation = step.observation
        # Where the head touched its cell: before or after its move, as the order of a step has it.
        head = state.head if dynamics.moves_first else before.head
        due, running = before.script.due[env, clock], clock < before.script.num_steps
        judged = (due >= 0) & running
        if dynamics.self_paced:
            judged = judged & (record.index[:, 2 * dynamics.num_heads] > 0)
        under = dynamics.contents.symbol(cells.gather(1, head)[:, 0], dynamics.task.answer_channel)
        answer = record.index[:, -1] + 1 if dynamics.emit == "symbol" else under
        lag = clock - before.script.source[env, clock, -1]
        weights = as_weights(HardAddress(head), dynamics.num_cells)
        shown = dynamics.contents.decode(before.shown)
        entropy = joined(record, learner.policy.own_choices(hidden)).entropy
        rows.append((shown, answer, due + 1, judged, running, lag, weights, entropy))
        if isinstance(body, NTMBody):
            own.append(body.cells(hidden))
        cells = state.memory.codes()
        memory.append(dynamics.contents.decode(cells[0]))
    shown, answer, target, mask, running, lag, weights, entropy = map(torch.stack, zip(*rows, strict=True))
    heads = [f"head {number}" for number in range(dynamics.num_heads)]
    own_heads = [f"own head {number}" for number in range(entropy.shape[-1] - len(dynamics.factors))]
    own_cells = None
    if own:  # a step reads and writes where its head is, and moves it then
        places, contents = zip(*own, strict=True)
        own_cells = Cells(own_heads, torch.stack(places[:-1]), torch.stack([content[0] for content in contents]))
    return Trace(
        shown=shown,
        answer=answer,
        target=target,
        mask=mask,
        running=running,
        lag=lag,
        heads=heads,
        weights=weights,
        memory=torch.stack(memory).float(),
        factors=[*dynamics.factors, *own_heads],
        entropy=entropy,
        own=own_cells,
    )


@torch.no_grad()
def trace_model(learner: SequenceLearner, problem: Problem, num_cells: int = 1) -> Trace:
    """Show given problems, (T, B), to a sequence model, on as many cells as it was trained with, or more."""
    model, task = learner.model, learner.task
    inputs = task.shown_as_bits(problem.inputs)
    steps, batch = problem.mask.shape
    outputs, weights, memory, entropies, heads = [], [], [], [], list[str]()
    if isinstance(model, NTM):
        cells = max(model.num_cells, num_cells)
        heads = [f"head {number}: {role}" for number, role in enumerate(learner.config.heads)]
        with learner.greedy():
            state = model.initial_state(batch, cells)
            memory.append(snapshot(state.memory)[0])
            for step_inputs in inputs:
                address = state.address
                output, state, record = model.step(step_inputs, state)
                in_use = as_weights(address if model.order == "read-write-move" else state.address, cells)
                outputs.append(output)
                weights.append(in_use)
                memory.append(snapshot(state.memory)[0])
                plain = -(in_use * in_use.clamp(min=1e-30).log()).sum(dim=-1)
                entropies.append(plain if record is None else record.entropy)
    else:
        outputs = list(model(inputs)[0])
    bits = torch.stack(outputs) > 0
    value = (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(dim=-1) + 1
    right = (bits == (task.asked_as_bits(problem.targets) > 0)).all(dim=-1)  # bits need not tell all answers apart
    step = torch.arange(steps, device=inputs.device).unsqueeze(1)
    none = inputs.new_zeros(0)
    return Trace(
        shown=problem.inputs,
        answer=torch.where(right & problem.mask, problem.targets, value),
        target=problem.targets,
        mask=problem.mask,
        running=step < problem.num_steps(),
        lag=step - problem.source[..., -1],
        heads=heads,
        weights=torch.stack(weights) if weights else none,
        memory=torch.stack(memory) if memory else none,
        factors=heads,
        entropy=torch.stack(entropies) if entropies else none,
    )


def diagnose(record: Trace) -> Diagnosis:
    """Sum a trace up; reads numbers, so it waits for the device."""
    right, lag = (record.answer == record.target)[record.mask], record.lag[record.mask]
    recall = {number: float(right[lag == number].float().mean()) for number in sorted(set(lag.tolist()))}
    entropy: dict[str, float] = {}
    if record.factors:
        means = record.entropy[record.running].mean(dim=0).tolist()
        entropy = dict(zip(record.factors, means, strict=True))
    use: dict[str, float] = {}
    for name, cells in record.memories().items():
        weights = cells.weights * record.running[..., None, None]
        touched = (weights >= 0.5).any(dim=2).any(dim=0).float().mean()  # (T, B, H, N) -> (B, N) -> share
        spread = weights.sum(dim=(0, 1, 2)) / weights.sum()
        perplexity = (-(spread * spread.clamp(min=1e-30).log()).sum()).exp()
        prefix = name.removesuffix("cells").replace(" ", "_")
        use |= {f"{prefix}cells_touched": float(touched), f"{prefix}evenness": float(perplexity / len(spread))}
    return Diagnosis(recall, entropy, use)
