"""Policies: from an observation to one distribution per factor of the action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.addressing import entropy, sample_index
from hardmem.agents.config import AgentConfig
from hardmem.agents.ntm_body import NTMBody
from hardmem.estimators import stratified_index
from hardmem.models.controllers import CONTROLLERS, Hidden, make_controller

POLICIES = (*CONTROLLERS, "ntm")
"""Bodies by name; "ntm" has cells of its own, which it addresses by choices of its own."""
GOES_ON = 0.9
"""How likely a policy is to go on with an input that waits for it, before it has learned anything."""


class Policy(nn.Module):
    """A body and one linear head per action factor; the factors are independent given the body's features.

    The head's weights start at zero, so the first actions are uniform.

    Args:
        observation_size: O.
        num_actions: choices of each of the A factors.
        body: a name from `CONTROLLERS`, or a hard NTM.
        hidden_size: the body's width D; an NTM brings its own.
        gated: whether a recurrent body starts behind a shut gate (`Gated`), so that what is kept is kept in cells.
        answer_apart: whether the last factor, the answer, starts from a tanh layer of its own on the present
            observation, and reaches the body through a gate that is shut at first. For heads that name cells by
            number: there the body has every single cell to learn, and would pull the answer along.
        first_cells: what the observation itself says of the first factors, beside the body: weights of their
            logits that learn, (choices, O), as of `hardmem.agents.first_cells`. None for nothing.
        pace: the factor whose choice 1 is to go on with an input that waits otherwise; it begins at `GOES_ON`. None
            where the input does not wait.

    Raises:
        ValueError: if the body is unknown.
    """

    def __init__(
        self,
        observation_size: int,
        num_actions: Sequence[int],
        body: str | NTMBody,
        hidden_size: int,
        *,
        gated: bool = True,
        answer_apart: bool = False,
        first_cells: Tensor | None = None,
        pace: int | None = None,
    ) -> None:
        super().__init__()
        self.num_actions = list(num_actions)
        self.body = make_controller(body, observation_size, hidden_size, gated=gated) if isinstance(body, str) else body
        hidden_size = self.body.hidden_size
        self.answer_layer = nn.Linear(observation_size, hidden_size) if answer_apart else None
        self.answer_gate = nn.Parameter(torch.zeros(())) if answer_apart else None
        self.first_cells = None if first_cells is None else nn.Parameter(first_cells)
        self.head = nn.Linear(hidden_size, sum(num_actions))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if pace is not None:
            nn.init.constant_(self.head.bias[sum(num_actions[:pace]) + 1], math.log(GOES_ON / (1 - GOES_ON)))

    def initial_hidden(self, batch_size: int) -> Hidden:
        """The body's state before the first observation."""
        weight = self.head.weight
        return self.body.initial_hidden(batch_size, device=weight.device, dtype=weight.dtype)

    def forward(
        self,
        observation: Tensor,
        hidden: Hidden,
        generator: torch.Generator | None = None,
        *,
        greedy: bool = False,
    ) -> tuple[list[Tensor], Tensor, Hidden]:
        """Observation (B, O) -> log-probabilities of each factor, (B, choices) each; features (B, D); next state.

        The generator draws, and `greedy` decides, where an NTM's heads go; other bodies choose nothing.
        """
        if isinstance(self.body, NTMBody):
            features, hidden = self.body(observation, hidden, generator, greedy=greedy)
        else:
            features, hidden = self.body(observation, hidden)
        logits = self.head(features)
        if self.first_cells is not None:
            leads = F.linear(observation, self.first_cells)
            logits = logits + F.pad(leads, (0, logits.shape[-1] - leads.shape[-1]))
        factors = list(logits.split(self.num_actions, dim=-1))
        if self.answer_layer is not None:
            seen = self.answer_layer(observation).tanh() + self.answer_gate * features
            size = self.num_actions[-1]
            factors[-1] = F.linear(seen, self.head.weight[-size:], self.head.bias[-size:])
        return [logits.log_softmax(dim=-1) for logits in factors], features, hidden

    @torch.no_grad()
    def cool(self, factor: float) -> None:
        """Multiply the logits of all choices, its body's own included: surer above 1, and the likeliest stay so."""
        for parameter in (self.head.weight, self.head.bias, self.first_cells):
            if parameter is not None:
                parameter.mul_(factor)
        if isinstance(self.body, NTMBody):
            self.body.ntm.cool(factor)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A policy that was saved before there were first cells has none that count."""
        if self.first_cells is not None:
            state_dict.setdefault(prefix + "first_cells", torch.zeros_like(self.first_cells))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def own_choices(self, hidden: Hidden) -> AccessRecord | None:
        """What the body itself chose on the way to this state, fields (B, H); None where it has nothing to choose."""
        return self.body.record(hidden) if isinstance(self.body, NTMBody) else None


def make_policy(
    config: AgentConfig,
    observation_size: int,
    num_actions: Sequence[int],
    *,
    answer_apart: bool = False,
    first_cells: Tensor | None = None,
    pace: int | None = None,
) -> Policy:
    """The policy that a configuration names; an NTM's answer is never apart, it comes from cells of its own.

    Raises:
        ValueError: if its body is unknown.
    """
    if config.policy not in POLICIES:
        raise ValueError(f"unknown policy {config.policy!r}; choose one of {sorted(POLICIES)}")
    body: str | NTMBody = config.policy
    if config.policy == "ntm":
        body = NTMBody(
            observation_size,
            config.hidden_size,
            num_cells=config.num_cells,
            cell_width=config.cell_width,
            addressing=config.addressing,
        )
    apart = answer_apart and isinstance(body, str)
    return Policy(
        observation_size,
        num_actions,
        body,
        config.hidden_size,
        gated=config.gated,
        answer_apart=apart,
        first_cells=first_cells,
        pace=pace,
    )


def choose(
    log_probs: list[Tensor], generator: torch.Generator | None = None, *, greedy: bool = False, strata: int = 1
) -> AccessRecord:
    """Draw one choice per factor, or take the likeliest: A times (B, choices) -> a record with fields (B, A).

    With `strata` = K > 1, the K copies of a problem draw from different parts of each distribution.
    """
    index, log_prob, entropies = [], [], []
    for factor in log_probs:
        if greedy:
            choice = factor.argmax(dim=-1)
        elif strata > 1:
            choice = stratified_index(factor.detach().unsqueeze(1), strata, generator)[:, 0]
        else:
            choice = sample_index(factor, generator)
        index.append(choice)
        log_prob.append(factor.gather(-1, choice.unsqueeze(-1)).squeeze(-1))
        entropies.append(entropy(factor))
    return AccessRecord(torch.stack(index, dim=-1), torch.stack(log_prob, dim=-1), torch.stack(entropies, dim=-1))


def entropy_beside_going_on(pace: Tensor) -> Tensor:
    """What the entropy of a pace, log-probabilities (B, 2), is replaced by in the bonus: (B,), 0 at most.

    Minus its divergence from where it begins: the bonus holds it to going on as it holds other choices to being even.
    """
    waits, goes_on = pace.exp().unbind(dim=-1)
    divergence: Tensor = -entropy(pace) - waits * math.log(1 - GOES_ON) - goes_on * math.log(GOES_ON)
    return -divergence


def joined(record: AccessRecord, own: AccessRecord | None) -> AccessRecord:
    """The environment's choices, (B, A), and the body's own, (B, H), as one record, (B, A + H)."""
    if own is None:
        return record
    return AccessRecord(*(torch.cat(fields, dim=-1) for fields in zip(record, own, strict=True)))


def among_legal(log_probs: list[Tensor], legal: Sequence[Tensor]) -> list[Tensor]:
    """Log-probabilities given that only legal choices, (B, choices) bool for each factor, are made."""
    least = torch.finfo(log_probs[0].dtype).min
    return [
        factor.masked_fill(~allowed, least).log_softmax(dim=-1)
        for factor, allowed in zip(log_probs, legal, strict=True)
    ]


def side_by_side(log_probs: list[Tensor]) -> Tensor:
    """All factors in one tensor, A times (B, choices) -> (B, A, S); -inf where a factor has fewer choices."""
    most = max(factor.shape[-1] for factor in log_probs)
    padded = [nn.functional.pad(factor, (0, most - factor.shape[-1]), value=-torch.inf) for factor in log_probs]
    return torch.stack(padded, dim=-2)
