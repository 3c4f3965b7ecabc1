"""Policies: from an observation to one distribution per factor of the action."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.addressing import entropy, sample_index
from hardmem.models.controllers import Hidden, make_controller


class Policy(nn.Module):
    """A body and one linear head per action factor; the factors are independent given the body's features.

    The head's weights start at zero, so the first actions are uniform.

    Args:
        observation_size: O.
        num_actions: choices of each of the A factors.
        body: a name from `CONTROLLERS`.
        hidden_size: the body's width D.
        gated: whether a recurrent body starts behind a shut gate (`Gated`), so that what is kept is kept in cells.

    Raises:
        ValueError: if the body is unknown.
    """

    def __init__(
        self, observation_size: int, num_actions: Sequence[int], body: str, hidden_size: int, *, gated: bool = True
    ) -> None:
        super().__init__()
        self.num_actions = list(num_actions)
        self.body = make_controller(body, observation_size, hidden_size, gated=gated)
        self.head = nn.Linear(hidden_size, sum(num_actions))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def initial_hidden(self, batch_size: int) -> Hidden:
        """The body's state before the first observation."""
        weight = self.head.weight
        return self.body.initial_hidden(batch_size, device=weight.device, dtype=weight.dtype)

    def forward(self, observation: Tensor, hidden: Hidden) -> tuple[list[Tensor], Tensor, Hidden]:
        """Observation (B, O) -> log-probabilities of each factor, (B, choices) each; features (B, D); next state."""
        features, hidden = self.body(observation, hidden)
        log_probs = [logits.log_softmax(dim=-1) for logits in self.head(features).split(self.num_actions, dim=-1)]
        return log_probs, features, hidden


def choose(log_probs: list[Tensor], generator: torch.Generator | None = None, *, greedy: bool = False) -> AccessRecord:
    """Draw one choice per factor, or take the likeliest: A times (B, choices) -> a record with fields (B, A)."""
    index, log_prob, entropies = [], [], []
    for factor in log_probs:
        choice = factor.argmax(dim=-1) if greedy else sample_index(factor, generator)
        index.append(choice)
        log_prob.append(factor.gather(-1, choice.unsqueeze(-1)).squeeze(-1))
        entropies.append(entropy(factor))
    return AccessRecord(torch.stack(index, dim=-1), torch.stack(log_prob, dim=-1), torch.stack(entropies, dim=-1))
