"""Trace: a few problems played greedily, with everything on record: what pictures and diagnoses are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hardmem.agents.learner import Learner
from hardmem.agents.policies import among_legal, choose
from hardmem.agents.reinforce import AgentLearner
from hardmem.agents.sequence import SequenceLearner
from hardmem.bank import snapshot
from hardmem.memory import HardAddress, as_weights
from hardmem.models import NTM
from hardmem.tasks import Problem


class Trace(NamedTuple):
    """T steps of B problems; memory contents of the first one only.

    Attributes:
        shown: symbols shown, (T, B, C).
        answer: the symbol answered, (T, B); it counts where the mask is set.
        target: the right one, (T, B).
        mask: whether an answer was judged, (T, B), bool.
        running: whether the problem was still under way, (T, B), bool: up to the last answer.
        lag: steps since what is asked for was shown, (T, B); meaningful where the mask is set.
        heads: what each of H heads does; empty for a model without cells.
        weights: where each head was, (T, B, H, N), rows summing to 1; one-hot where one cell was touched.
        memory: contents before the first step and after each, (T + 1, N, W).
        factors: names of the F choices that are made at every step.
        entropy: of each, in nats, (T, B, F); of an average over cells, that of its weights.
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


class Diagnosis(NamedTuple):
    """What a trace says in numbers.

    Attributes:
        recall: share of right answers by lag, for every lag that was asked for.
        entropy: mean nats per choice, by factor.
        cells_touched: cells that got at least half of a head's weight at some step, mean over problems and share of N.
        evenness: how evenly all touches spread over the cells: the perplexity of their distribution, in (1 / N, 1] of
            N; None without cells.
    """

    recall: dict[int, float]
    entropy: dict[str, float]
    cells_touched: float | None
    evenness: float | None


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
        rows.append((shown, answer, due + 1, judged, running, lag, weights, record.entropy))
        cells = state.memory.codes()
        memory.append(dynamics.contents.decode(cells[0]))
    shown, answer, target, mask, running, lag, weights, entropy = map(torch.stack, zip(*rows, strict=True))
    heads = [f"head {number}" for number in range(dynamics.num_heads)]
    return Trace(
        shown,
        answer,
        target,
        mask,
        running,
        lag,
        heads,
        weights,
        torch.stack(memory).float(),
        dynamics.factors,
        entropy,
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
    if not record.heads:
        return Diagnosis(recall, entropy, None, None)
    weights = record.weights * record.running[..., None, None]
    touched = (weights >= 0.5).any(dim=2).any(dim=0).float().mean()  # (T, B, H, N) -> (B, N) -> share
    use = weights.sum(dim=(0, 1, 2)) / weights.sum()
    perplexity = (-(use * use.clamp(min=1e-30).log()).sum()).exp()
    return Diagnosis(recall, entropy, float(touched), float(perplexity / len(use)))
