"""Dynamics: the rules of a task under an interface, batched. Every adapter plays these rules.

They are typed for tensors. What happens at every step (`advance`, `observe`, `legal`, `replace`, an interface's `move`)
is written so that NumPy arrays will do as well: see `hardmem.envs.arrays` and `Dynamics.numpy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.addressing import Move
from hardmem.envs.arrays import (
    beside,
    choose,
    count,
    float32,
    int32,
    least,
    numbers_beside,
    numpy_twin,
    pair,
    positive,
    take,
    zeros,
)
from hardmem.envs.contents import Contents, Memory
from hardmem.envs.dealer import Dealer
from hardmem.envs.interfaces import make_interface
from hardmem.envs.options import known_device
from hardmem.envs.oracle import best_action
from hardmem.envs.state import Hand, Script, State, Step
from hardmem.tasks import Problem, Task
from hardmem.tasks.base import at_least, true_or_false
from hardmem.tasks.dealing import Dealt

ORDERS = ("answer-write-move", "move-answer-write")
WRITES = ("observation", "symbol")
EMITS = ("symbol", "read")


class Dynamics:
    """An agent with H heads on N cells sees the input once, forward only, and has to answer from what it stored.

    At each step the agent observes the symbols shown and the content of the cell under each head, all one-hot (and the
    heads' positions where the interface addresses by number). Its action has one column per factor:

        H addresses   where each head goes next: a move, a cell number or a key, as the interface has it
        H writes      0 or 1: whether the head stores what was just shown in the cell it is on
        1 pace        only if self-paced: 1 to go on to the next step of the input, 0 to look at this one longer
        1 answer      the symbol emitted, 0 to V - 1 for symbols 1 to V; judged only where an answer is due

    In that order: the answer is judged, the write is made, the head moves. What was never shown cannot be written.
    The reward is the increase of the fraction of right answers, so that a faultless episode earns exactly 1.0 (the
    differences of rounded fractions add up without error) and a policy without memory what guessing earns. Episodes
    end with their last answer; nothing ends them earlier, but a self-paced one is to be cut off after `max_steps`.

    Args:
        task: what is shown and asked.
        interface: how a head is moved, by name from `INTERFACES`.
        num_cells: N; by default as many as the task needs.
        num_heads: H. They write in order, so where two write to one cell, the later one does.
        order: "answer-write-move", or "move-answer-write": the head can choose its cell by what is shown now.
        moves: those of a tape, offsets or "home".
        write: "observation", or "symbol": a write is then 0 for none or the symbol put in place of the one shown in
            the task's answer channel, whether it was ever shown or not.
        emit: "symbol", or "read": there is no answer to choose, the content of the cell under head 0 is the answer.
        self_paced: whether the input waits for the agent. An answer is judged when the agent goes on.
        wiped: empty all cells before every observation. What can still be earned is the floor of policies without
            memory.
        observable: show everything: all cells, one-hot, and where the heads are. The fully observed twin of the task.
        device: where all tensors live.

    Raises:
        ValueError: if a name is unknown, a number is not whole or below 1, a flag is neither True nor False, the
            interface does not fit the task or the moves, there is no such device, or what is read shall be the answer
            where that was never shown, or there are more symbols than an int32 can tell apart.
    """

    def __init__(
        self,
        task: Task,
        interface: str = "tape",
        *,
        num_cells: int | None = None,
        num_heads: int = 1,
        order: str = "answer-write-move",
        moves: Sequence[Move] | None = None,
        write: str = "observation",
        emit: str = "symbol",
        self_paced: bool = False,
        wiped: bool = False,
        observable: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, chosen, choices in (("order", order, ORDERS), ("write", write, WRITES), ("emit", emit, EMITS)):
            if chosen not in choices:
                raise ValueError(f"unknown {name} {chosen!r}; choose one of {list(choices)}")
        if emit == "read" and (task.computed or not task.shows_answers):
            raise ValueError(f'emit="read" answers with what a cell holds, and no cell holds the answers of {task}')
        self.task = task
        self.num_cells = task.num_cells if num_cells is None else num_cells
        self.num_heads = num_heads
        at_least(1, num_cells=self.num_cells, num_heads=num_heads)
        true_or_false(self_paced=self_paced, wiped=wiped, observable=observable)
        self.moves_first = order == "move-answer-write"
        self.write, self.emit, self.self_paced, self.wiped = write, emit, self_paced, wiped
        self.device = known_device(device)
        self.contents = Contents([size + 1 for size in task.input_sizes], self.device, torch.int32)
        self.interface = make_interface(interface, task, self.num_cells, self.device, moves)

        writes = 2 if write == "observation" else task.input_sizes[task.answer_channel] + 1
        factors = {f"address {h}": self.interface.num_actions for h in range(num_heads)}
        factors |= {f"write {h}": writes for h in range(num_heads)}
        if self_paced:
            factors["pace"] = 2
        if emit == "symbol":
            factors["answer"] = task.num_answers
        self.factors, self.num_actions = tuple(factors), tuple(factors.values())
        self._places = Contents([self.num_cells], self.device)
        seen = {"shown": self.contents.width, "under": self.contents.width * num_heads}
        self.shows_position = self.interface.shows_position or observable
        if self.shows_position:
            seen["position"] = self.num_cells * num_heads
        self.observable = observable
        if observable:
            seen["memory"] = self.contents.width * self.num_cells
        ends = np.cumsum([0, *seen.values()]).tolist()
        self.parts = {name: slice(*ends[i : i + 2]) for i, name in enumerate(seen)}
        self.observation_size: int = ends[-1]
        self._dealer: Dealer | None = None  # see dealer
        self._numbers = torch.arange(0, device=self.device)  # of the episodes: see _episodes
        self._first_rows: tuple[tuple[int, int], Tensor] = (0, 0), self._numbers.reshape(0, 2)  # see _look_up
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.observation_size,), np.float32)
        self.action_space = gym.spaces.MultiDiscrete(list(self.num_actions))

    @property
    def max_steps(self) -> int:
        """Steps after which every episode is over: ended, or if self-paced to be cut off, after N for each shown."""
        return self.task.num_steps * (self.num_cells if self.self_paced else 1)

    @property
    def dials(self) -> dict[str, Any]:
        """Those of the task and the number of cells, as plain data."""
        return {**self.task.dials, "num_cells": self.num_cells}

    def reset(
        self, num_envs: int, generator: torch.Generator | None = None, *, group_size: int = 1
    ) -> tuple[State, Tensor]:
        """Start B episodes: fresh problems, empty cells, heads at cell 0. Returns the state and the observation (B, O).

        Args:
            num_envs: B.
            generator: draws the problems.
            group_size: K; each problem is played by K episodes side by side.

        Raises:
            ValueError: if B or K is not a whole number, 1 at least, or K does not divide B.
        """
        at_least(1, num_envs=num_envs, group_size=group_size)
        if num_envs % group_size:
            raise ValueError(f"num_envs must be a multiple of group_size={group_size}, got {num_envs}")
        script = self.draw(num_envs // group_size, generator)
        if group_size > 1:
            script = Script(*(field.repeat_interleave(group_size, dim=0) for field in script))
        state = self.begin(script)
        return state, self.observe(state)

    def start(self, problem: Problem) -> tuple[State, Tensor]:
        """Start the episodes of given problems. Returns the state and the first observation (B, O)."""
        state = self.begin(self.script(problem))
        return state, self.observe(state)

    def begin(self, script: Any) -> State:
        """Empty cells, heads at cell 0, at the first step of the problems; the state owns `script` from here."""
        num_envs, heads, empty = len(script.num_steps), self.num_heads, script.num_steps.new_zeros
        shown, due = (first.clone() for first in self._opening(script))
        codes, head = partial(torch.zeros, dtype=torch.int32, device=self.device), empty((num_envs, heads))
        return State(
            script=script,
            clock=empty(num_envs),
            shown=shown,
            due=due,
            memory=Memory(cells=codes((self.num_cells, num_envs)), era=codes(num_envs)),
            head=head,
            place=self._place(head),
            under=codes((num_envs, heads)),
            num_correct=torch.zeros(num_envs, device=self.device),
        )

    def draw(self, num_problems: int, generator: torch.Generator | None = None) -> Script:
        """Fresh problems step by step: `script` of what the task draws, but faster where they are dealt."""
        if self.is_dealt:
            return self.spell_out(self.deal(num_problems, generator))
        return self.script(self.task.draw(num_problems, generator=generator, device=self.device))

    def deal(self, num_problems: int, generator: torch.Generator | None = None) -> Hand:
        """The same fresh problems as they are dealt; for a task that is `Dealt`."""
        return self.dealer.deal(num_problems, generator, self.device)

    @property
    def is_dealt(self) -> bool:
        """Whether the task deals its problems, so that `deal` can."""
        return isinstance(self.task, Dealt)

    @property
    def dealer(self) -> Dealer:
        """What makes dealt problems ready for play; for a task that is `Dealt`."""
        if self._dealer is None:
            self._dealer = Dealer(self.task, self.contents, self.device)  # type: ignore[arg-type]
        return self._dealer

    def spell_out(self, hand: Hand) -> Script:
        """Dealt problems step by step."""
        return self.dealer.spell_out(hand)

    def script(self, problem: Problem) -> Script:
        """Given problems step by step."""
        shown, due = self.contents.encode(problem.inputs), problem.targets - 1  # (T, B)
        parts = [F.pad(part.T, (0, 1), value=-1) for part in (due, *problem.source.unbind(2))]
        return Script(
            rows=torch.stack([F.pad(shown.T, (0, 1)), *parts], dim=1).int(),
            num_steps=problem.num_steps(),
            num_answers=problem.mask.sum(dim=0).float(),
        )

    def replace(self, state: State, which: Tensor, fresh: Any) -> State:
        """Start new episodes in the places `which` (K,) of the batch.

        Each call moves their eras on by the number of codes: go on from `state.memory.renewed()` before they pass an
        int32, as `Episodes` does.

        Args:
            state: all episodes.
            which: distinct places.
            fresh: the K problems, a script or a hand as the state's own.
        """
        for old, new in zip(state.script, fresh, strict=True):
            old[which] = new
        state.shown[which], state.due[which] = self._opening(fresh)
        for counter in (state.clock, state.head, state.under, state.num_correct):
            counter[which] = 0
        state.place[which] = which[:, None]  # that of cell 0
        state.memory.era[which] += self.contents.num_codes
        return state

    def step(self, state: State, action: Tensor) -> tuple[State, Step]:
        """`advance`, and look: returns the state after the step and what it brings."""
        state, reward, terminated = self.advance(state, action)
        return state, Step(self.observe(state), reward, terminated)

    def advance(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Play one step of every episode; one that has ended is shown blanks and earns nothing more.

        Args:
            state: as returned by the step before.
            action: (B, A), integers, each column in its range. That is not checked here, where tensors may be on a
                device, but by the environments of Gymnasium, in `Format`.

        Returns:
            The state after it; the reward, (B,) float32; whether an episode has ended, (B,) bool.
        """
        heads, script = self.num_heads, state.script
        address, writes = action[:, :heads], action[:, heads : 2 * heads]
        head, place, under, memory = state.head, state.place, state.under, state.memory
        if self.moves_first:
            head = self.interface.move(head, address, memory)
            place = self._place(head)
            under = self._read(memory, place)

        if self.emit == "read":
            right = (self.contents.symbol(under[:, 0], self.task.answer_channel) - 1 == state.due) & (state.due >= 0)
        else:
            right = action[:, -1] == state.due
        pace: Tensor | int = 1
        if self.self_paced:
            pace = action[:, 2 * heads]
            right = right & (pace > 0)
        num_correct = state.num_correct + float32(right)

        if not self.wiped:  # else all cells are empty again before they are seen
            self._write(memory, place, under, state.shown, writes)
        if not self.moves_first:
            head = self.interface.move(head, address, memory)
            place = self._place(head)
        clock = least(state.clock + pace, script.num_steps)
        shown, due = self._look_up(script, clock)
        after = state._replace(
            clock=clock,
            shown=shown,
            due=due,
            memory=memory,
            head=head,
            place=place,
            under=self._read(memory, place),
            num_correct=num_correct,
        )
        return after, after.earned - state.earned, clock == script.num_steps

    def _opening(self, script: Any) -> tuple[Tensor, Tensor]:
        """What is shown and what is due at the first step, (B,) each."""
        opening = script.row[:, self.dealer.opening] if isinstance(script, Hand) else script.rows[:, :2, 0]
        return opening[:, 0], opening[:, 1]

    def _look_up(self, script: Any, clock: Any) -> tuple[Tensor, Tensor]:
        """What is shown and what is due at given steps, (B,) each."""
        if isinstance(script, Hand):
            row, at, apart = script.row, take(self.dealer.places.row, script.first + clock), 0
        else:
            row, at, apart = script.rows, clock[:, None], script.rows.shape[2]
        num_envs, size = row.shape[0], math.prod(row.shape[1:])
        if self._first_rows[0] != (size, apart) or len(self._first_rows[1]) < num_envs:
            first = self._episodes(num_envs) * size
            self._first_rows = (size, apart), pair(first, first + apart)
        found = take(row.reshape(-1), self._first_rows[1][:num_envs] + at)
        return found[:, 0], found[:, 1]

    def _place(self, head: Tensor) -> Tensor:
        """Where the cells under the heads are among the cells of all episodes, (B, H)."""
        num_envs = len(head)
        return head * num_envs + self._episodes(num_envs)[:, None]

    def _read(self, memory: Memory, place: Tensor) -> Tensor:
        """What is in the cells at these places, (B, H)."""
        found: Tensor = positive(take(memory.cells.reshape(-1), place) - memory.era[:, None])
        return found

    def _write(self, memory: Memory, place: Tensor, under: Tensor, shown: Tensor, writes: Tensor) -> None:
        """Let each head in turn write what is `shown` (B,) to its cell, which holds `under` (B, H) before."""
        cells = memory.cells.reshape(-1)
        for h in range(self.num_heads):
            old = under[:, h] if h == 0 else self._read(memory, place[:, h : h + 1])[:, 0]
            new, flag = shown, writes[:, h]
            if self.write == "symbol":
                channel = self.task.answer_channel
                change = writes[:, h] - self.contents.symbol(shown, channel)
                new, flag = shown + change * self.contents.strides[channel], writes[:, h] > 0
            cells[place[:, h]] = int32(choose(flag, new, old) + memory.era)

    def observe(self, state: State) -> Tensor:
        """The observation, (B, O): one-hot, in the columns that `parts` names."""
        parts = [self.contents.one_hot(numbers_beside(state.shown, state.under))]
        if self.shows_position:
            parts.append(self._places.one_hot(state.head))
        if self.observable:
            parts.append(self.contents.one_hot(state.memory.codes()))
        observation: Tensor = beside(parts)
        return observation

    def legal(self, state: State) -> list[Tensor]:
        """Which actions are worth choosing from, (B, choices) bool for each factor.

        Where no answer is due, the first stands for all others. Everything else is legal.
        """
        legal = [zeros((len(state.clock), choices), like=state.clock) == 0 for choices in self.num_actions]
        if self.emit == "symbol":
            legal[-1][:, 1:] &= (state.due >= 0)[:, None]
        return legal

    def numpy(self) -> Dynamics:
        """These rules for states of NumPy arrays (`as_numpy(state)`), to `step`, `observe` and `replace` them."""
        if self.is_dealt:
            _ = self.dealer  # the twin takes it over
        return numpy_twin(self)

    def oracle(self, state: State) -> Tensor:
        """The best action, (B, A), from the full state: an upper bound for tests and plots, never an observation."""
        return best_action(self, state)

    def _episodes(self, num_envs: int) -> Tensor:
        """The numbers of the episodes, (B,); kept for the next call."""
        if len(self._numbers) < num_envs:
            self._numbers = count(num_envs, like=self._numbers)
        return self._numbers[:num_envs]

    def __repr__(self) -> str:
        """The task and the sizes of its cells, observations and actions."""
        return (
            f"Dynamics({self.task}, {type(self.interface).__name__}, num_cells={self.num_cells}, "
            f"observations={self.observation_size}, actions={math.prod(self.num_actions)})"
        )
