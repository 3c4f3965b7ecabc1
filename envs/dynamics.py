"""Dynamics: the rules of a task under an interface, batched, on tensors. Every adapter plays these rules."""

from __future__ import annotations

import math
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from hardmem.envs.interfaces import make_interface
from hardmem.tasks import Problem, Task


class State(NamedTuple):
    """B episodes under way. The caller holds it; `step` may write into `memory`.

    Attributes:
        script: the problems, (T, B, C + 1 + S): what is shown in C channels, the answer due (0 for none), the sources.
        num_steps: when each episode ends, (B,).
        num_answers: answers it asks for, (B,), float.
        clock: steps played, (B,).
        memory: what the cells hold, (B, N, C), one symbol per channel; 0 is empty.
        head: where each head is, (B, H).
        num_correct: answers given right so far, (B,), float.
    """

    script: Tensor
    num_steps: Tensor
    num_answers: Tensor
    clock: Tensor
    memory: Tensor
    head: Tensor
    num_correct: Tensor


class Step(NamedTuple):
    """What a step brings: observation (B, O) float32, reward (B,) float32, terminated (B,) bool."""

    observation: Tensor
    reward: Tensor
    terminated: Tensor


class Dynamics:
    """An agent with H heads on N cells sees the input once, forward only, and has to answer from what it stored.

    At each step the agent observes the symbol shown and the content of the cell under each head, both one-hot (and the
    heads' positions where the interface addresses by number). Its action has one column per factor:

        H addresses   where each head goes next: a move or a cell number, as the interface has it
        H writes      0 or 1: whether the head first stores the symbol just shown in the cell it is on
        1 answer      the symbol emitted, 0 to V - 1 for symbols 1 to V; judged only where an answer is due

    In that order: the answer is judged, the write is made, the head moves. What was never shown cannot be written.
    The reward is the increase of the fraction of right answers, so that a faultless episode earns exactly 1.0 (the
    differences of rounded fractions add up without error) and a policy without memory what guessing earns. Episodes
    end with their last answer; nothing ends them earlier.

    Args:
        task: what is shown and asked.
        interface: how a head is moved, by name from `INTERFACES`.
        num_cells: N; by default as many as the task needs.
        num_heads: H.
        wiped: empty all cells before every observation. What can still be earned is the floor of policies without
            memory.
        device: where all tensors live.

    Raises:
        ValueError: if the interface is unknown, or a number is below 1.
    """

    def __init__(
        self,
        task: Task,
        interface: str = "tape",
        *,
        num_cells: int | None = None,
        num_heads: int = 1,
        wiped: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.task = task
        self.num_cells = task.num_cells if num_cells is None else num_cells
        self.num_heads = num_heads
        if self.num_cells < 1 or num_heads < 1:
            raise ValueError(f"num_cells and num_heads must be at least 1, got {self.num_cells} and {num_heads}")
        self.wiped = wiped
        self.device = torch.device(device)
        self.interface = make_interface(interface, self.num_cells, self.device)

        self.num_channels = len(task.input_sizes)
        self.num_actions = (*[self.interface.num_actions] * num_heads, *[2] * num_heads, task.num_answers)
        seen = [size + 1 for size in task.input_sizes] * (1 + num_heads)
        if self.interface.shows_position:
            seen += [self.num_cells] * num_heads
        starts = np.cumsum([0, *seen])
        self.observation_size = int(starts[-1])
        self._starts = torch.tensor(starts[:-1], device=self.device)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.observation_size,), np.float32)
        self.action_space = gym.spaces.MultiDiscrete(list(self.num_actions))

    def reset(
        self, num_envs: int, generator: torch.Generator | None = None, *, group_size: int = 1
    ) -> tuple[State, Tensor]:
        """Start B episodes: fresh problems, empty cells, heads at cell 0. Returns the state and the observation (B, O).

        Args:
            num_envs: B.
            generator: draws the problems.
            group_size: K; each problem is played by K episodes side by side.

        Raises:
            ValueError: if K does not divide B.
        """
        if num_envs < 1 or num_envs % group_size:
            raise ValueError(f"num_envs must be a positive multiple of group_size={group_size}, got {num_envs}")
        problem = self.task.draw(num_envs // group_size, generator=generator, device=self.device)
        return self.start(problem.repeat(group_size))

    def start(self, problem: Problem) -> tuple[State, Tensor]:
        """Start the episodes of given problems. Returns the state and the first observation (B, O)."""
        targets = problem.targets.unsqueeze(-1)
        script = torch.cat([problem.inputs, targets, problem.source], dim=-1)
        num_envs = script.shape[1]
        state = State(
            script=script,
            num_steps=problem.num_steps(),
            num_answers=problem.mask.sum(dim=0).float(),
            clock=script.new_zeros(num_envs),
            memory=script.new_zeros((num_envs, self.num_cells, self.num_channels)),
            head=script.new_zeros((num_envs, self.num_heads)),
            num_correct=torch.zeros(num_envs, device=self.device),
        )
        return state, self.observe(state)

    def replace(self, state: State, which: Tensor, fresh: State) -> State:
        """Put other episodes in the places `which` (K,) of the batch: `fresh` holds K of them, just started."""
        script = state.script.index_copy(1, which, fresh.script)
        rest = (old.index_copy(0, which, new) for old, new in zip(state[1:], fresh[1:], strict=True))
        return State(script, *rest)

    def step(self, state: State, action: Tensor) -> tuple[State, Step]:
        """Play one step of every episode; one that has ended stays where it is and earns nothing more.

        Args:
            state: as returned by the step before. Its memory is updated in place, so use the returned state from here.
            action: (B, 2H + 1), int64, each column in its range.
        """
        heads, channels = self.num_heads, self.num_channels
        row = self._row(state)
        address, writes, answer = action[:, :heads], action[:, heads : 2 * heads], action[:, -1]

        # No answer due is target 0, which no answer + 1 equals; an ended episode rests on a row of zeros or a repeat
        # of its last one, so its answers are taken out by hand.
        running = state.clock < state.num_steps
        num_correct = state.num_correct + ((answer + 1 == row[:, channels]) & running)
        reward = num_correct / state.num_answers - state.num_correct / state.num_answers

        if heads > 1:  # heads in one cell: it is written if any of them writes
            together = state.head.unsqueeze(1) == state.head.unsqueeze(2)  # (B, H, H)
            writes = (together * writes.unsqueeze(1)).amax(dim=-1)
        cells = state.head.unsqueeze(-1).expand(-1, -1, channels)  # (B, H, C)
        kept = state.memory.gather(1, cells)
        shown = row[:, None, :channels]
        memory = state.memory.scatter_(1, cells, torch.where(writes.unsqueeze(-1) > 0, shown, kept))
        if self.wiped:
            memory = memory.zero_()

        clock = state.clock + 1
        state = state._replace(
            clock=clock, memory=memory, head=self.interface.move(state.head, address), num_correct=num_correct
        )
        return state, Step(self.observe(state), reward, clock >= state.num_steps)

    def observe(self, state: State) -> Tensor:
        """The observation, (B, O): one-hot symbols shown, cells under the heads, and positions if they are shown."""
        under = state.memory.gather(1, state.head.unsqueeze(-1).expand(-1, -1, self.num_channels)).flatten(1)
        parts = [self._row(state)[:, : self.num_channels], under]
        if self.interface.shows_position:
            parts.append(state.head)
        hot = torch.cat(parts, dim=1) + self._starts
        observation = torch.zeros((len(hot), self.observation_size), device=self.device)
        return observation.scatter_(1, hot, 1.0)

    def oracle(self, state: State) -> Tensor:
        """The best action, (B, 2H + 1), from the full state: an upper bound for tests and plots, never an observation.

        Head 0 stores each symbol that will be asked for in the next cell in turn, goes to the cell of the next answer
        in time, and answers with the symbol under it: the return says whether these cells and moves suffice.
        """
        sources = state.script[..., self.num_channels + 1 :]  # (T, B, S)
        num_steps = sources.shape[0]
        step = torch.arange(num_steps, device=self.device)
        needed = (sources.permute(1, 0, 2).flatten(1).unsqueeze(1) == step[:, None]).any(dim=-1)  # (B, T): ask for it
        cell = (needed.cumsum(dim=1) - 1).clamp(min=0)  # (B, T): where the content of step t goes
        first_source = sources[..., 0].T
        due = first_source >= 0
        goal = torch.where(due, cell.gather(1, first_source.clamp(min=0)), cell)  # (B, T)

        later = (step > state.clock.unsqueeze(1)) & (needed | due)
        upcoming = goal.gather(1, later.int().argmax(dim=1, keepdim=True))  # (B, 1)
        rest = state.head[:, 1:]
        goals = torch.cat([torch.where(later.any(dim=1, keepdim=True), upcoming, state.head[:, :1]), rest], dim=1)

        now = state.clock.clamp(max=num_steps - 1).unsqueeze(1)
        writes = torch.cat([needed.gather(1, now).long(), torch.zeros_like(rest)], dim=1)
        under = state.memory.gather(1, state.head[:, :1, None].expand(-1, -1, self.num_channels))
        answer = (under[:, :, self.task.answer_channel] - 1).clamp(min=0)
        return torch.cat([self.interface.towards(state.head, goals), writes, answer], dim=1)

    def _row(self, state: State) -> Tensor:
        """The script's row of the present step of each episode, (B, C + 1 + S); the last row for ended ones."""
        num_steps, num_envs, width = state.script.shape
        position = state.clock.clamp(max=num_steps - 1) * num_envs + torch.arange(num_envs, device=self.device)
        return state.script.reshape(-1, width)[position]

    def __repr__(self) -> str:
        """The task and the sizes of its cells, observations and actions."""
        return (
            f"Dynamics({self.task}, {type(self.interface).__name__}, num_cells={self.num_cells}, "
            f"observations={self.observation_size}, actions={math.prod(self.num_actions)})"
        )
