"""What estimators refuse, said once."""

from __future__ import annotations

from torch import Tensor


def check_evaluations(what: str, drawn: Tensor, cost: Tensor) -> None:
    """Refuse anything but the costs of several draws per row.

    Args:
        what: the name of `drawn` in the message.
        drawn: what was drawn, or its log-probability, (B, K).
        cost: of each, (B, K).

    Raises:
        ValueError: if K is below 2, or the shapes do not match.
    """
    if cost.dim() != 2 or cost.shape[1] < 2 or drawn.shape != cost.shape:
        raise ValueError(
            f"{what} and cost must both be (B, K) with K at least 2: {what} is {tuple(drawn.shape)}, "
            f"cost is {tuple(cost.shape)}"
        )
