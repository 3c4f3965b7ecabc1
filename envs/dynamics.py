"""Dynamics: the rules of a task under an interface, batched. Every adapter plays these rules.

They are typed for tensors. What happens at every step (`advance`, `observe`, `legal`, `replace`, an interface's `move`)
is written so that NumPy arrays will do as well: see `hardmem.envs.arrays` and `Dynamics.numpy`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hardmem.addressing import Move
from hardmem.envs.arrays import as_numpy, zeros
from hardmem.envs.interfaces import make_interface
from hardmem.envs.oracle import best_action
from hardmem.tasks import Problem, Task

ORDERS = ("answer-write-move", "move-answer-write")
WRITES = ("observation", "symbol")
EMITS = ("symbol", "read")


class Script(NamedTuple):
    """B problems laid out for play, batch-first, so that an episode is replaced by copying one row.

    Each has T + 1 steps: at the last, nothing is shown or asked. There an episode rests that has ended.

    Attributes:
        shown: the symbols shown, (B, T + 1, C).
        due: the answer due, as the action numbers answers, (B, T + 1); -1 where none is due.
        source: the steps whose content answers, (B, T + 1, S); -1 for none.
        num_steps: when each episode ends, (B,).
        num_answers: answers it asks for, (B,), float.
    """

    shown: Tensor
    due: Tensor
    source: Tensor
    num_steps: Tensor
    num_answers: Tensor


class State(NamedTuple):
    """B episodes under way. The caller holds it; `step` and `replace` write into it, so go on with what they return.

    Attributes:
        script: the problems.
        clock: steps played, (B,).
        shown: the symbols shown now, (B, C).
        memory: what the cells hold, (B, N, C), one symbol per channel; 0 is empty.
        head: where each head is, (B, H).
        under: what the cells under the heads hold, (B, H, C).
        trail: where each head was at each step, (B, T + 1, H): the only cells a new episode has to empty.
        num_correct: answers given right so far, (B,), float.
        earned: the same as a fraction of those asked for, (B,): the return so far.
    """

    script: Script
    clock: Tensor
    shown: Tensor
    memory: Tensor
    head: Tensor
    under: Tensor
    trail: Tensor
    num_correct: Tensor
    earned: Tensor

    @property
    def running(self) -> Tensor:
        """Which episodes have not ended yet, (B,), bool."""
        return self.clock < self.script.num_steps


class Step(NamedTuple):
    """What a step brings: observation (B, O) float32, reward (B,) float32, terminated (B,) bool."""

    observation: Tensor
    reward: Tensor
    terminated: Tensor


class Firsts(NamedTuple):
    """Where the part of episode b starts among those of all episodes, laid end to end.

    Attributes:
        step: its steps, (B,).
        cell: its cells, (B, 1).
        shown, under, position, memory: the columns of its observation for the symbols shown, (B, C), those under the
            heads, (B, H, C), the heads' positions, (B, H), and all cells, (B, N, C); None where not observed.
    """

    step: Tensor
    cell: Tensor
    shown: Tensor
    under: Tensor
    position: Tensor | None
    memory: Tensor | None


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
        ValueError: if a name is unknown, a number is below 1, or the interface does not fit the task or the moves.
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
        self.task = task
        self.num_cells = task.num_cells if num_cells is None else num_cells
        self.num_heads = num_heads
        if self.num_cells < 1 or num_heads < 1:
            raise ValueError(f"num_cells and num_heads must be at least 1, got {self.num_cells} and {num_heads}")
        self.moves_first = order == "move-answer-write"
        self.write, self.emit, self.self_paced, self.wiped = write, emit, self_paced, wiped
        self.device = torch.device(device)
        self.interface = make_interface(interface, task, self.num_cells, self.device, moves)

        self.num_channels = len(task.input_sizes)
        writes = 2 if write == "observation" else task.input_sizes[task.answer_channel] + 1
        factors = {f"address {h}": self.interface.num_actions for h in range(num_heads)}
        factors |= {f"write {h}": writes for h in range(num_heads)}
        if self_paced:
            factors["pace"] = 2
        if emit == "symbol":
            factors["answer"] = task.num_answers
        self.factors, self.num_actions = tuple(factors), tuple(factors.values())
        sizes = [size + 1 for size in task.input_sizes]
        seen = {"shown": sizes, "under": sizes * num_heads}
        if self.interface.shows_position or observable:
            seen["position"] = [self.num_cells] * num_heads
        if observable:
            seen["memory"] = sizes * self.num_cells
        ends = np.cumsum([0, *(sum(part) for part in seen.values())]).tolist()
        self.parts = {name: slice(*ends[i : i + 2]) for i, name in enumerate(seen)}
        self.observation_size: int = ends[-1]
        self._columns = {  # of the first symbol of each one-hot group
            name: torch.tensor(self.parts[name].start + np.cumsum([0, *part[:-1]]), device=self.device)
            for name, part in seen.items()
        }
        self._is_numpy = False
        self._batch = (0, 0)
        self._first: Firsts  # of a batch of that size: see _firsts
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.observation_size,), np.float32)
        self.action_space = gym.spaces.MultiDiscrete(list(self.num_actions))

    @property
    def max_steps(self) -> int:
        """Steps after which every episode is over: ended, or if self-paced to be cut off, after N for each shown."""
        return self.task.num_steps * (self.num_cells if self.self_paced else 1)

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
        state = self.begin(self.script(problem))
        return state, self.observe(state)

    def begin(self, script: Script) -> State:
        """Empty cells, heads at cell 0, at the first step of the problems; the state owns `script` from here."""
        num_envs, length = script.due.shape
        empty, heads = script.due.new_zeros, self.num_heads
        return State(
            script=script,
            clock=empty(num_envs),
            shown=script.shown[:, 0].clone(),
            memory=empty((num_envs, self.num_cells, self.num_channels)),
            head=empty((num_envs, heads)),
            under=empty((num_envs, heads, self.num_channels)),
            trail=empty((num_envs, length, heads)),
            num_correct=torch.zeros(num_envs, device=self.device),
            earned=torch.zeros(num_envs, device=self.device),
        )

    def script(self, problem: Problem) -> Script:
        """Lay out problems for play."""
        return Script(
            shown=F.pad(problem.inputs.transpose(0, 1), (0, 0, 0, 1)),
            due=F.pad(problem.targets.T, (0, 1)) - 1,
            source=F.pad(problem.source.transpose(0, 1), (0, 0, 0, 1), value=-1),
            num_steps=problem.num_steps(),
            num_answers=problem.mask.sum(dim=0).float(),
        )

    def replace(self, state: State, which: Tensor, fresh: Script) -> State:
        """Start new episodes in the places `which` (K,) of the batch; `fresh` holds the K problems."""
        for old, new in zip(state.script, fresh, strict=True):
            old[which] = new
        if self.self_paced:  # a head may have been at many cells in one step of the input
            state.memory[which] = 0
        else:
            touched = state.trail[which].reshape(len(which), -1) + which[:, None] * self.num_cells
            state.memory.reshape(-1, self.num_channels)[touched] = 0
        state.shown[which] = fresh.shown[:, 0]
        for counter in (state.clock, state.head, state.under, state.num_correct, state.earned):
            counter[which] = 0
        return state

    def step(self, state: State, action: Tensor) -> tuple[State, Step]:
        """`advance`, and look: returns the state after the step and what it brings."""
        state, reward, terminated = self.advance(state, action)
        return state, Step(self.observe(state), reward, terminated)

    def advance(self, state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        """Play one step of every episode; one that has ended is shown blanks and earns nothing more.

        Args:
            state: as returned by the step before.
            action: (B, A), int64, each column in its range.

        Returns:
            The state after it; the reward, (B,) float32; whether an episode has ended, (B,) bool.
        """
        heads, channels, script = self.num_heads, self.num_channels, state.script
        address, writes = action[:, :heads], action[:, heads : 2 * heads]
        num_envs, length = script.due.shape
        first = self._firsts(num_envs, length)
        cells = state.memory.reshape(-1, channels)  # of all episodes
        head, under = state.head, state.under
        if self.moves_first:
            head = self.interface.move(head, address, state.memory)
            under = cells[first.cell + head]

        now = first.step + state.clock
        answer = under[:, 0, self.task.answer_channel] - 1 if self.emit == "read" else action[:, -1]
        right = (answer == script.due.reshape(-1)[now]) & (script.due.reshape(-1)[now] >= 0)
        going = state.running
        if self.self_paced:
            right, going = right & (action[:, 2 * heads] > 0), going & (action[:, 2 * heads] > 0)
        num_correct = state.num_correct + right
        earned = num_correct / script.num_answers

        self._write(cells, first.cell + head, under, state.shown, writes)
        if self.wiped:
            cells[:] = 0
        state.trail.reshape(-1, heads)[now] = head

        if not self.moves_first:
            head = self.interface.move(head, address, state.memory)
        clock = state.clock + going
        after = state._replace(
            clock=clock,
            shown=script.shown.reshape(-1, channels)[first.step + clock],
            head=head,
            under=cells[first.cell + head],
            num_correct=num_correct,
            earned=earned,
        )
        return after, earned - state.earned, clock >= script.num_steps

    def _write(self, cells: Tensor, place: Tensor, under: Tensor, shown: Tensor, writes: Tensor) -> None:
        """Let each head in turn write into its place (B, H) among all cells, which holds `under` (B, H, C)."""
        for h in range(self.num_heads):
            old = under[:, h] if h == 0 else cells[place[:, h]]
            change = shown - old
            if self.write == "symbol":
                channel = self.task.answer_channel
                change[:, channel] = writes[:, h] - old[:, channel]
            cells[place[:, h]] = old + (writes[:, h, None] > 0) * change

    def observe(self, state: State) -> Tensor:
        """The observation, (B, O): one-hot, in the columns that `parts` names."""
        num_envs, length = state.script.due.shape
        first = self._firsts(num_envs, length)
        observation: Tensor = zeros((num_envs, self.observation_size), like=state.clock)
        hot = observation.reshape(-1)
        hot[first.shown + state.shown] = 1.0
        hot[first.under + state.under] = 1.0
        if first.position is not None:
            hot[first.position + state.head] = 1.0
        if first.memory is not None:
            hot[first.memory + state.memory] = 1.0
        return observation

    def legal(self, state: State) -> list[Tensor]:
        """Which actions are worth choosing from, (B, choices) bool for each factor.

        Where no answer is due, the first stands for all others. Everything else is legal.
        """
        legal = [zeros((len(state.clock), choices), like=state.clock) == 0 for choices in self.num_actions]
        if self.emit == "symbol":
            first = self._firsts(*state.script.due.shape)
            due = state.script.due.reshape(-1)[first.step + state.clock] >= 0
            legal[-1][:, 1:] &= due[:, None]
        return legal

    def numpy(self) -> Dynamics:
        """These rules for states of NumPy arrays (`as_numpy(state)`), to `step`, `observe` and `replace` them."""
        twin = copy.copy(self)
        twin.interface = copy.copy(self.interface)
        for part in (twin, twin.interface):
            vars(part).update({name: as_numpy(value) for name, value in vars(part).items()})
        twin._is_numpy = True
        return twin

    def oracle(self, state: State) -> Tensor:
        """The best action, (B, A), from the full state: an upper bound for tests and plots, never an observation."""
        return best_action(self, state)

    def _firsts(self, num_envs: int, length: int) -> Firsts:
        """Where each episode starts in flattened arrays; kept for the next call."""
        if self._batch != (num_envs, length):
            env = torch.arange(num_envs, device=self.device).unsqueeze(1)  # (B, 1)
            column = {name: env * self.observation_size + first for name, first in self._columns.items()}
            of_cells = (-1, self.num_channels)
            first = Firsts(
                step=env.squeeze(1) * length,
                cell=env * self.num_cells,
                shown=column["shown"],
                under=column["under"].unflatten(1, of_cells),
                position=column.get("position"),
                memory=column["memory"].unflatten(1, of_cells) if "memory" in column else None,
            )
            self._batch, self._first = (num_envs, length), as_numpy(first) if self._is_numpy else first
        return self._first

    def __repr__(self) -> str:
        """The task and the sizes of its cells, observations and actions."""
        return (
            f"Dynamics({self.task}, {type(self.interface).__name__}, num_cells={self.num_cells}, "
            f"observations={self.observation_size}, actions={math.prod(self.num_actions)})"
        )
