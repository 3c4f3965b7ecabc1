"""A problem small enough to enumerate and awkward enough to catch mistakes: what estimators are proved and measured on.

Contexts, successive addresses that depend on each other, heads that choose at once, choices that are not allowed,
sequences that end at different times, and costs that have parameters of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardmem.estimators.enumeration import Replay


class TabularWalk(nn.Module):
    """A walk over cells: at every step H heads each choose one of S cells, by a table.

    Policy and cost of a step depend on the context, the step and the cells chosen the step before, jointly over heads;
    the cost also on the cells chosen now. Every step and every context has parameters of its own. float64.

    Args:
        num_contexts: C.
        num_steps: T.
        num_heads: H.
        num_choices: S.
        sharpness: deviation of the logits: 0.1 is an early policy, 2 a late one, 6 a peaked one.
        masked: whether the last cell is forbidden at every other step, starting with the first.
        stops: whether the first head choosing cell 0 ends the sequence.
        generator: of the tables.
    """

    allowed: Tensor

    def __init__(
        self,
        *,
        num_contexts: int = 2,
        num_steps: int = 2,
        num_heads: int = 1,
        num_choices: int = 3,
        sharpness: float = 2.0,
        masked: bool = False,
        stops: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_contexts, self.num_steps, self.stops = num_contexts, num_steps, stops
        self.num_heads, self.num_choices = num_heads, num_choices
        self.num_states = num_choices**num_heads
        states = (num_contexts, num_steps, self.num_states)
        logits = torch.randn(*states, num_heads, num_choices, generator=generator, dtype=torch.float64)
        self.logits = nn.Parameter(sharpness * logits)
        self.costs = nn.Parameter(torch.randn(*states, self.num_states, generator=generator, dtype=torch.float64))
        allowed = torch.ones(num_steps, num_choices, dtype=torch.bool)
        allowed[::2, -1] = not masked
        self.register_buffer("allowed", allowed)

    def joint(self, choices: Tensor) -> Tensor:
        """Choices of all heads as one number: (T, N, H) -> (T, N), int64 in [0, S^H)."""
        place = self.num_choices ** torch.arange(self.num_heads, device=choices.device)
        return (choices * place).sum(dim=-1)

    def previous(self, choices: Tensor) -> Tensor:
        """The state before each step: what all heads chose the step before, 0 before the first. (T, N), int64."""
        joint = self.joint(choices)
        return torch.cat([torch.zeros_like(joint[:1]), joint[:-1]])

    def log_weights(self, step: Tensor, state: Tensor, context: int) -> Tensor:
        """The policy's log-probabilities, (..., H, S), at steps (...) and states (...)."""
        allowed = self.allowed[step].unsqueeze(-2)
        return self.logits[context, step, state].masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)

    def replay(self, choices: Tensor, context: int) -> Replay:
        """Force choices (T, N, H) in one context."""
        step = torch.arange(self.num_steps, device=choices.device).unsqueeze(1).expand(choices.shape[:2])
        state, joint = self.previous(choices), self.joint(choices)
        log_weights = self.log_weights(step, state, context)
        stopping = (choices[..., 0] == 0) & self.stops
        mask = (stopping.int().cumsum(dim=0) - stopping.int() == 0).to(self.costs.dtype)
        log_prob = log_weights.gather(-1, choices.unsqueeze(-1)).squeeze(-1)
        log_prob = torch.where(mask.unsqueeze(-1) > 0, log_prob, 0.0)
        candidate_cost = self.costs[context, step, state] * mask.unsqueeze(-1)
        cost = candidate_cost.gather(-1, joint.unsqueeze(-1)).squeeze(-1)
        return Replay(choices, log_prob, cost, mask, log_weights, candidate_cost)
