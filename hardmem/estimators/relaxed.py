"""REBAR and RELAX: REINFORCE with a control variate on relaxed draws, corrected so that no bias is left.

A relaxation of a choice is weights over all of them, as soft access has. Its gradient is smooth but biased; here it
only removes noise. Draw z, the noisy logits; the choice is their largest. Then draw z again, given that choice.
The control variate at the second z goes along with the choice, and its pathwise gradients at both pay for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hardmem.addressing import sample_index

Cost = Callable[[Tensor], Tensor]
"""From weights over the choices, one-hot or not, (B, S), to a cost, (B,)."""


class RelaxedLoss(NamedTuple):
    """What a relaxed estimator returns.

    Attributes:
        loss: a scalar equal to the mean cost, for the model.
        variance: mean square of the logits' gradient, a scalar: minimise it, by the control's parameters *only*.
    """

    loss: Tensor
    variance: Tensor


class Control(nn.Module, ABC):
    """A control variate: a smooth guess of the cost at noisy logits."""

    @abstractmethod
    def forward(self, z: Tensor, f: Cost) -> Tensor:
        """Noisy logits (B, S) -> (B,)."""


class Rebar(Control):
    """The cost itself, at relaxed weights, scaled.

    Tucker et al. 2017, "REBAR: Low-variance, unbiased gradient estimates for discrete latent variable models",
    arXiv:1703.07370. Temperature and scale are learned.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, f: Cost) -> Tensor:
        return self.scale * f(torch.softmax(z / self.log_temperature.exp(), dim=-1))


class Relax(Control):
    """A free network on the relaxed weights; the cost is only ever evaluated at the choice.

    Grathwohl et al. 2018, "Backpropagation through the Void: Optimizing control variates for black-box gradient
    estimation", arXiv:1711.00123.
    """

    def __init__(self, num_choices: int, hidden_size: int = 32) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(num_choices, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1))

    def forward(self, z: Tensor, f: Cost) -> Tensor:
        guess: Tensor = self.network(torch.softmax(z, dim=-1))
        return guess.squeeze(-1)


def conditional_gumbel(log_weights: Tensor, index: Tensor, uniform: Tensor) -> Tensor:
    """Noisy logits given which of them is the largest: (B, S), differentiable in log_weights.

    Args:
        log_weights: normalised, finite, (B, S).
        index: the largest, (B,).
        uniform: in (0, 1), (B, S).
    """
    log_exponential = (-uniform.log()).log()
    top = log_exponential.gather(-1, index.unsqueeze(-1))
    others = -torch.logaddexp(log_exponential - log_weights, top)
    chosen = index.unsqueeze(-1) == torch.arange(log_weights.shape[-1], device=index.device)
    return torch.where(chosen, -top, others)


def relaxed_surrogate(
    log_weights: Tensor, index: Tensor, uniform: tuple[Tensor, Tensor], f: Cost, control: Control
) -> RelaxedLoss:
    """The loss of a choice that was drawn, given the noise of its two relaxed draws.

    Tucker et al. 2017; Grathwohl et al. 2018.

    Args:
        log_weights: log-probabilities, (B, S); -inf for a choice that cannot be.
        index: the choice, (B,), int64.
        uniform: two independent noises in (0, 1), (B, S) each.
        f: the cost, evaluated once at the one-hot choice, there attached; and wherever the control does.
        control: the control variate.
    """
    # Finite, so that z minus the logits is the noise; far enough down to have no weight and no gradient.
    finite = log_weights.clamp(min=torch.finfo(log_weights.dtype).min / 4)
    chosen = torch.eye(log_weights.shape[-1], dtype=log_weights.dtype, device=log_weights.device)[index]
    cost = f(chosen)
    with torch.enable_grad():
        leaf = finite.detach().requires_grad_()
        free = leaf + (conditional_gumbel(leaf, index, uniform[0]) - leaf).detach()
        given = conditional_gumbel(leaf, index, uniform[1])
        control_free, control_given = control(free, f), control(given, f)
        (pathwise,) = torch.autograd.grad((control_free - control_given).sum(), leaf, create_graph=True)
        slope = (cost.detach() - control_given).unsqueeze(-1) * chosen + pathwise
        on_logits = slope - leaf.detach().exp() * slope.sum(dim=-1, keepdim=True)
    loss = cost + ((finite - finite.detach()) * slope.detach()).sum(dim=-1)
    return RelaxedLoss(loss.mean(), on_logits.square().sum(dim=-1).mean())


def relaxed(logits: Tensor, f: Cost, control: Control, generator: torch.Generator | None = None) -> RelaxedLoss:
    """Draw one choice from logits (B, S), evaluate f and build the loss; `control` is `Rebar(...)` or `Relax(...)`."""
    log_weights = logits.log_softmax(dim=-1)
    index = sample_index(log_weights, generator)
    noise = torch.rand((2, *logits.shape), generator=generator, device=logits.device, dtype=logits.dtype)
    first, second = noise.clamp(min=torch.finfo(logits.dtype).tiny).unbind(0)
    return relaxed_surrogate(log_weights, index, (first, second), f, control)
