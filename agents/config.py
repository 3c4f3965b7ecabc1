"""Configurations: one frozen dataclass per kind of training. Flags, their help and the files of a run come from it."""

from __future__ import annotations

import dataclasses
import difflib
import json
from typing import Any

import torch

from hardmem.envs.options import known_device
from hardmem.estimators.schedules import geometric


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What every training has in common."""

    seed: int = 0
    """Seeds everything: weights, problems, choices, validation."""
    device: str = "auto"
    """Where to train: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1"."""
    num_symbols: int = 8
    """Symbols of the task, blank excluded."""
    max_length: int = 10
    """Longest problem to learn; the goal is every length from min_length to this one."""
    min_length: int = 1
    """Shortest problem drawn, once the curriculum has reached it."""
    start_length: int = 5
    """Longest problem shown at first; max_length where that is less."""
    curriculum: str = "one-longer"
    """How lengths are drawn and grow: a name from `CURRICULA`: "one-longer", "one-length", "doubling", "gym",
    "rl-ntm"."""
    promote_at: float = 0.9
    """Share of exact greedy validation answers, in (0, 1], at which problems become longer."""
    max_updates: int = 2000
    """Budget: optimiser steps after which training stops, solved or not."""
    finish_updates: int = 200
    """Updates to go on for once solved, at all lengths: the greedy answers are right long before the drawn ones are
    sure. The entropy bonus falls to 0 in the first half, the temperature to a quarter in the second, the step size to a
    tenth in both."""
    restart_after: int = 200
    """Updates without progress, while nothing is solved, after which training begins anew with fresh weights; 0 for
    never. It doubles with every second attempt, and all draw on one budget; if that ends unsolved, the best attempt is
    what is kept."""
    learning_rate: float = 1e-2
    """Adam's step size, at the first update."""
    learning_rate_final: float = 1e-4
    """Its value from update `learning_rate_updates` on; until then it falls geometrically."""
    learning_rate_updates: int = 0
    """Updates until the step size has its final value; 0 to keep the first one for good."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm."""
    estimator: str = "cost-to-go"
    """How random choices are judged: names from `ESTIMATES` joined by "+", as in "all-action+settled-returns"."""
    discount: float = 0.99
    """Weight of costs a step later, in [0, 1], for the estimators "discounted" and "gae"."""
    trace_decay: float = 0.95
    """Lambda of "gae", in [0, 1]: 1 trusts the critic with nothing, 0 with all but the next step."""
    baseline: str = "leave-one-out"
    """What is subtracted from the cost-to-go of the random choices: a name from `BASELINES`."""
    group_size: int = 8
    """Rollouts of each problem, side by side; one where nothing is drawn."""
    entropy_coef: float = 0.2
    """Weight of the entropy bonus at the first update, mean nats per choice."""
    entropy_final: float = 0.01
    """Its weight from update `entropy_updates` on; until then it falls geometrically."""
    entropy_updates: int = 200
    """Updates until the entropy bonus has its final weight; 0 to give it from the first."""
    spread_coef: float = 0.1
    """Weight of a bonus for spreading a sequence over many cells. Where heads name cells by number: the entropy of how
    often each is used, nats. Where an agent's heads move: what it writes to empty cells, counted in right answers."""
    eval_every: int = 5
    """Updates between two validations (and log entries)."""
    eval_problems: int = 200
    """Fresh problems per validation."""
    inspect_every: int = 20
    """Updates between two looks inside, for TensorBoard: recall by lag, entropies, use of the cells."""
    picture_every: int = 100
    """Updates between two pictures, for TensorBoard: where the heads are, what the cells hold."""
    checkpoint_every: int = 100
    """Updates between two checkpoints, and so what a kill can cost at most."""

    def __post_init__(self) -> None:
        """Check the ranges that no other class will check.

        Raises:
            ValueError: naming the field, what was expected and what came.
        """
        check_at_least_one(self, "num_symbols", "max_length", "min_length", "start_length", "max_updates", "group_size")
        check_at_least_one(self, "eval_every", "eval_problems", "inspect_every", "picture_every")
        check_at_least_one(self, "checkpoint_every")
        check_at_least_zero(self, "finish_updates", "entropy_updates", "restart_after", "learning_rate_updates")
        check_at_least_zero(self, "spread_coef")
        geometric(self.entropy_coef, self.entropy_final, 0, self.entropy_updates)  # refuses what cannot be annealed
        for name in ("learning_rate", "learning_rate_final", "max_grad_norm", "promote_at"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("discount", "trace_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.min_length > self.max_length:
            raise ValueError(f"min_length must not exceed max_length, got {self.min_length} and {self.max_length}")


@dataclasses.dataclass(frozen=True)
class AgentConfig(TrainConfig):
    """REINFORCE in an environment: a policy moves the heads, writes and answers."""

    env: str = "hardmem/Copy-v0"
    """Environment id: `hardmem envs` lists ours; or any of Gymnasium's with discrete actions and Box observations, or
    with an external memory observations of most kinds."""
    external_memory: str = "none"
    """Memory to put beside an environment that is not of this package: a name from `MEMORY_MODULES`, or "none"."""
    memory_cells: int = 8
    """Its size: cells, places or bits."""
    preset: str = "default"
    """Difficulty of the environment's task, apart from num_symbols and the lengths: a name from its `presets`."""
    policy: str = "feed-forward"
    """The policy's body: "feed-forward", "gru", "lstm", or "ntm", which draws where its own head goes."""
    gated: bool = True
    """Whether a recurrent body starts behind a shut gate, so that what is kept is kept in cells."""
    hidden_size: int = 64
    """Width of the policy's body."""
    num_cells: int = 16
    """Cells of an "ntm" policy."""
    cell_width: int = 16
    """Width of its cells."""
    addressing: str = "head-moves"
    """How its head addresses them: a name from `SCHEMES`."""
    mask_actions: bool = False
    """Whether only choices that the environment calls worth making are made. Masks of other environments' own are
    always obeyed."""
    num_envs: int = 512
    """Episodes per update, a multiple of group_size."""

    def __post_init__(self) -> None:
        """Check what the base class does, and the sizes of this one."""
        super().__post_init__()
        check_at_least_one(self, "hidden_size", "num_cells", "cell_width", "num_envs")
        if self.num_envs % self.group_size:
            raise ValueError(f"num_envs must be a multiple of group_size={self.group_size}, got {self.num_envs}")


@dataclasses.dataclass(frozen=True)
class SequenceConfig(TrainConfig):
    """A sequence model on a task's bit vectors: back-propagation for what is written, REINFORCE for hard addresses."""

    num_symbols: int = 256
    """Symbols of the task, blank excluded; 256 makes vectors of 8 bits."""
    task: str = "copy"
    """A name from `TASKS`."""
    preset: str = "default"
    """Difficulty of the task, apart from num_symbols and the lengths: a name from its `presets`."""
    model: str = "ntm"
    """A name from `MODELS`: "ntm", or "lstm" and "gru" without cells."""
    access: str = "sampled"
    """What an NTM does with its addresses: a name from `ACCESS`. With "soft" nothing is random."""
    addressing: str = "head-moves"
    """How an NTM's heads address: a name from `SCHEMES`."""
    heads: tuple[str, ...] = ("read-write",)
    """What each head of an NTM does: "read", "write" or "read-write"."""
    order: str = "read-write-move"
    """Order of an NTM's step: "read-write-move" or "move-write-read"."""
    bypass: bool = True
    """Whether an NTM's output sees its controller beside what was read."""
    gated: bool = True
    """Whether an NTM's ways around its memory start shut: recurrence, read feedback, bypass."""
    anneal: str = "inverse-sqrt"
    """How the share of soft updates falls, where addresses are drawn: a name from `SCHEDULES`."""
    soft_updates: int = 0
    """Updates after which all are hard; 0 for none soft."""
    soft_after: int = 40
    """Updates after which, where addresses are drawn and hardly an answer is right, a new attempt begins, with soft
    updates until the task is solved; half as many where next to none is. From there hard and soft attempts take turns;
    0 for hard ones alone."""
    entropy_final: float = 0.03
    evenness_share: float = 0.5
    """How much of the entropy bonus, in [0, 1], is one for the mean log-probability of all moves instead, where an
    NTM's head moves: its pull on a move that is hardly drawn any more does not fade."""
    controller: str = "feed-forward"
    """An NTM's controller: a name from `CONTROLLERS`."""
    hidden_size: int = 64
    """Width of the controller, or of the recurrent network."""
    cell_width: int = 20
    """Width of a cell."""
    num_cells: int = 0
    """Cells of an NTM, more on problems longer than max_length that need more; 0 for as many as the longest needs."""
    num_problems: int = 8
    """Problems per update; each is played by group_size rollouts."""

    def __post_init__(self) -> None:
        """Check what the base class does, and the sizes of this one."""
        super().__post_init__()
        check_at_least_one(self, "hidden_size", "cell_width", "num_problems")
        check_at_least_zero(self, "soft_updates", "soft_after", "num_cells")
        if not 0 <= self.evenness_share <= 1:
            raise ValueError(f"evenness_share must be in [0, 1], got {self.evenness_share}")


def check_at_least_one(config: TrainConfig, *names: str) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: naming the field and what came.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def check_at_least_zero(config: TrainConfig, *names: str) -> None:
    """Refuse negative numbers.

    Raises:
        ValueError: naming the field and what came.
    """
    for name in names:
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must be at least 0, got {getattr(config, name)}")


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return known_device(name, "auto")


RETIRED = frozenset({"barred_share"})
"""Fields of configurations written before, which say nothing any more."""

KINDS: dict[str, type[TrainConfig]] = {"agent": AgentConfig, "sequence": SequenceConfig}


def to_json(config: TrainConfig) -> str:
    """A configuration as text that `from_json` reads."""
    kind = next(name for name, cls in KINDS.items() if type(config) is cls)
    return json.dumps({"kind": kind, **dataclasses.asdict(config)}, indent=2)


def from_json(text: str) -> TrainConfig:
    """Read a configuration back.

    Raises:
        ValueError: if it is not one.
    """
    fields = {name: value for name, value in json.loads(text).items() if name not in RETIRED}
    kind: Any = fields.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"a configuration must be of a kind among {sorted(KINDS)}, got {kind!r}")
    known = {field.name for field in dataclasses.fields(KINDS[kind])}
    if unknown := sorted(set(fields) - known):
        like = [match for name in unknown for match in difflib.get_close_matches(name, known, n=1)]
        hint = f"; did you mean {' and '.join(map(repr, like))}?" if like else ""
        article = "an" if kind == "agent" else "a"
        raise ValueError(f"unknown fields of {article} {kind} configuration: {unknown}{hint}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return KINDS[kind](**values)
