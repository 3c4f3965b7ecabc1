"""Learned action values: the critics of the all-action gradient."""

from __future__ import annotations

from torch import Tensor, nn

from hardmem.baselines import Judgement


class ActionValue(nn.Module):
    """Predicts the cost-to-go of every choice, by least squares on the one that was made.

    Args:
        num_features: width F of the features it judges by.
        num_choices: S.
        hidden_size: width of its hidden layer.
    """

    def __init__(self, num_features: int, num_choices: int, hidden_size: int = 64) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(num_features, hidden_size), nn.Tanh(), nn.Linear(hidden_size, num_choices)
        )

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor, index: Tensor) -> Judgement:
        """Judge a batch.

        Args:
            cost_to_go: (T, B), detached.
            features: what was known before the choice of each step, (T, B, F).
            mask: 1 where a choice was made, 0 once a sequence has ended, (T, B).
            index: what was chosen, (T, B), int64.

        Returns:
            Its value is (T, B, S), detached.
        """
        value = self.network(features.detach())
        chosen = value.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        loss = ((chosen - cost_to_go).square() * mask).sum() / mask.sum()
        return Judgement(value.detach(), loss)


class JointActionValue(nn.Module):
    """Predicts the cost-to-go of H choices made at once as a sum over heads: the critic of a policy with many factors.

    Args:
        num_features: width F of the features it judges by.
        num_heads: H.
        num_choices: S; a head with fewer is padded.
        hidden_size: width of its hidden layer.
    """

    def __init__(self, num_features: int, num_heads: int, num_choices: int, hidden_size: int = 64) -> None:
        super().__init__()
        self.shape = (num_heads, num_choices)
        self.network = nn.Sequential(
            nn.Linear(num_features, hidden_size), nn.Tanh(), nn.Linear(hidden_size, num_heads * num_choices)
        )

    def forward(self, cost_to_go: Tensor, features: Tensor, mask: Tensor, index: Tensor) -> Judgement:
        """Judge a batch.

        Args:
            cost_to_go: (T, B), detached.
            features: what was known before the choices of each step, (T, B, F).
            mask: 1 where choices were made, (T, B).
            index: what was chosen, (T, B, H), int64.

        Returns:
            Its value is (T, B, H, S), detached: of every choice of a head, what the other heads chose being as it is.
        """
        parts = self.network(features.detach()).unflatten(-1, self.shape)
        chosen = parts.gather(-1, index.unsqueeze(-1)).squeeze(-1)  # (T, B, H)
        total = chosen.sum(dim=-1)
        loss = ((total - cost_to_go).square() * mask).sum() / mask.sum()
        others = (total.unsqueeze(-1) - chosen).unsqueeze(-1)
        return Judgement((parts + others).detach(), loss)


def luck(action_value: Tensor, log_weights: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    """How much the choice made differs from the policy's mean, by the critic: (T, B) or (T, B, H).

    Summed over heads it is what `settled_returns` takes.

    Args:
        action_value: (T, B, S), finite; or (T, B, H, S) for H choices made at once, and so the others.
        log_weights: log-probabilities, (T, B, S).
        index: what was chosen, (T, B).
        mask: 1 where a choice was made, (T, B); (T, B, 1) for H choices.
    """
    mean = (log_weights.detach().exp() * action_value).sum(dim=-1)
    return (action_value.gather(-1, index.unsqueeze(-1)).squeeze(-1) - mean) * mask
