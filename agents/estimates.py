"""Estimates: how a training judges its random choices, by names of the catalogue joined with "+"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from hardmem.access import AccessRecord
from hardmem.agents.config import TrainConfig
from hardmem.baselines import BASELINES, Baseline, make_baseline, squared_score
from hardmem.baselines import other_choices as with_other_choices
from hardmem.estimators import (
    JointActionValue,
    VarianceScale,
    all_action_surrogate,
    cost_to_go,
    lambda_returns,
    luck,
    settled_returns,
    surrogate,
    whole_cost,
)

ESTIMATES: dict[str, str] = {
    "cost-to-go": "returns",
    "whole-return": "returns",
    "whole-return-leave-one-out": "returns",
    "discounted": "returns",
    "gae": "returns",
    "settled-returns": "returns",
    "all-action": "gradient",
    "expected-read": "read",
    "stratified": "draws",
    "variance-scale": "scale",
}
"""Names of the catalogue for `TrainConfig.estimator`, and the part each plays: one of a part, at most."""

COMPARES_COPIES = frozenset({"leave-one-out", "group-mean", "optimal-scalar", "step-average"})
"""Baselines that take the sequences of a batch for independent."""


class Played(NamedTuple):
    """What B sequences of T steps did.

    Attributes:
        record: what was chosen, fields (T, B, A), zero where a sequence has ended.
        cost: of each step, (T, B), attached where it depends on parameters.
        mask: 1 where a choice was made, (T, B).
        log_weights: of all choices of the A factors, (T, B, A, S), or None where they are not kept.
        answers: cost of each step had the last factor chosen otherwise, (T, B, S), or None where that is not known.
    """

    record: AccessRecord
    cost: Tensor
    mask: Tensor
    log_weights: Tensor | None = None
    answers: Tensor | None = None


class Estimated(NamedTuple):
    """The loss, what the critics learn from, the baseline's value and what it was to foresee, (T, B)."""

    loss: Tensor
    critic_loss: Tensor
    value: Tensor
    returns: Tensor


class Estimate(nn.Module):
    """An estimator put together from parts, with what it learns itself (an action value) or remembers (a scale).

    Args:
        config: its `estimator`, `baseline`, `discount` and `trace_decay`.
        group_size: K, copies of a problem side by side.
        features: width of each kind of features that the caller can give, by what a baseline may judge by.
        num_choices: of each of the A factors; none where the distributions of all choices are not kept.
        answers_known: whether the caller knows what other answers would have cost.
        spread_draws: whether the caller can draw the copies of a problem from different strata.

    Raises:
        ValueError: if a name is unknown, two play the same part, or one needs what is not known here.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        group_size: int,
        features: Mapping[str, int],
        num_choices: Sequence[int] = (),
        answers_known: bool = False,
        spread_draws: bool = False,
    ) -> None:
        super().__init__()
        self.parts = parse_estimator(config.estimator)
        self.discount, self.trace_decay = config.discount, config.trace_decay
        self.baseline_name = config.baseline
        _check(config, self.parts, bool(num_choices), answers_known, spread_draws)
        self.strata = group_size if "draws" in self.parts else 1
        self.most, self.widths = max(num_choices, default=0), dict(features)
        factors = len(num_choices) - ("read" in self.parts)  # those left to REINFORCE
        if num_choices:
            self.widths["score"] = 1
            self.widths["state and other heads"] = features["state"] + factors * self.most + factors
        wants_critic = "gradient" in self.parts or self.parts["returns"] == "settled-returns"
        self.critic = JointActionValue(features["state"], factors, self.most) if wants_critic else None
        self.scale = VarianceScale() if "scale" in self.parts else None

    def make_baseline(self, group_size: int) -> Baseline:
        """The configuration's baseline, of the features that are known here.

        Raises:
            ValueError: as `hardmem.baselines.make_baseline`.
        """
        kind = BASELINES[self.baseline_name].judges_by if self.baseline_name in BASELINES else "nothing"
        width = self.widths.get(kind, 1)
        return make_baseline(self.baseline_name, num_features=width, group_size=group_size, offers=tuple(self.widths))

    @property
    def needs_log_weights(self) -> bool:
        """Whether `Played.log_weights` is asked for, with this baseline or without."""
        return (
            self.critic is not None
            or "read" in self.parts
            or BASELINES[self.baseline_name].judges_by in ("score", "state and other heads")
        )

    def forward(self, played: Played, baseline: Baseline, features: Callable[[str], Tensor]) -> Estimated:
        """The loss of a batch.

        Args:
            played: what the sequences did.
            baseline: of `make_baseline`.
            features: gives those of a kind, (T, B, F); asked for what the baseline and the critic judge by alone.
        """
        if "read" in self.parts:
            played = _answers_summed(played)
        (index, log_prob, _), cost, mask, log_weights, _ = played
        plain = cost_to_go(cost.detach())
        returns, critic_loss = plain, cost.new_zeros(())
        action_value: Tensor | None = None
        if self.critic is not None:
            assert log_weights is not None
            judged = self.critic(plain, features("state"), mask, index)
            action_value, critic_loss = judged.value, judged.loss
        name = self.parts["returns"]
        if name in ("whole-return", "whole-return-leave-one-out"):
            returns = whole_cost(cost.detach())
        elif name in ("discounted", "gae"):
            returns = cost_to_go(cost.detach(), self.discount)
        elif name == "settled-returns":
            assert action_value is not None
            assert log_weights is not None
            own = luck(action_value, log_weights, index, mask.unsqueeze(-1)).sum(dim=-1)
            returns = settled_returns(cost.detach(), own)

        judgement = baseline(returns, self._judged_by(baseline, played, features), mask)
        value, foreseen = judgement.value, returns
        if name == "gae":
            state_value = value * mask
            returns = lambda_returns(cost.detach(), state_value, discount=self.discount, trace_decay=self.trace_decay)
        if "gradient" in self.parts:
            assert action_value is not None
            assert log_weights is not None
            loss = all_action_surrogate(log_weights, index, cost, action_value, mask=mask, returns=returns)
            value = action_value.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        else:
            scale = None
            if self.scale is not None:
                apart = returns.unsqueeze(-1) - value if value.dim() == 3 else returns - value
                scale = self.scale(apart.mean(dim=-1) if value.dim() == 3 else apart, mask)
            loss = surrogate(log_prob, cost, returns=returns, baseline=value, scale=scale)
        shown = value.mean(dim=-1) if value.dim() == 3 else value
        return Estimated(loss, judgement.loss + critic_loss, shown, foreseen)

    def _judged_by(self, baseline: Baseline, played: Played, features: Callable[[str], Tensor]) -> Tensor:
        kind = baseline.judges_by
        if kind == "nothing":
            return played.cost.detach().unsqueeze(-1)
        if kind not in ("score", "state and other heads"):
            return features(kind)
        assert played.log_weights is not None
        if kind == "score":
            return squared_score(played.log_weights, played.record.index).sum(dim=-1, keepdim=True)
        return with_other_choices(features("state"), played.record.index, self.most)


def parse_estimator(text: str) -> dict[str, str]:
    """Names joined with "+", by the part they play; "returns" is always there, by default "cost-to-go".

    Raises:
        ValueError: if a name is unknown, or two play the same part.
    """
    parts: dict[str, str] = {}
    for name in text.split("+"):
        if name not in ESTIMATES:
            raise ValueError(f"unknown estimator {name!r}; choose among {sorted(ESTIMATES)}, joined with +")
        part = ESTIMATES[name]
        if part in parts:
            raise ValueError(f"estimator {text!r}: {parts[part]!r} and {name!r} play the same part, choose one")
        parts[part] = name
    return {"returns": "cost-to-go", **parts}


def _check(config: TrainConfig, parts: dict[str, str], choices_kept: bool, answers: bool, spread: bool) -> None:
    """Refuse what does not go together, or cannot be had here.

    Raises:
        ValueError: saying what is needed.
    """
    told = f"estimator {config.estimator!r}"
    names = set(parts.values())
    if names & {"all-action", "settled-returns"} and not choices_kept:
        raise ValueError(f"{told} needs the distributions of all choices, which only agents without an NTM body keep")
    if "read" in parts and not (answers and choices_kept):
        raise ValueError(f"{told} needs to know what every answer would earn: one of hardmem's environments, no NTM")
    if "draws" in parts and not spread:
        raise ValueError(f"{told} needs an agent: addresses of a sequence model are drawn one by one")
    if "draws" in parts and (config.group_size < 2 or config.baseline in COMPARES_COPIES):
        raise ValueError(
            f"{told} draws group_size >= 2 copies together, and no baseline may take them for independent: got "
            f"group_size={config.group_size} and baseline={config.baseline!r}; try none, moving-average or value"
        )
    if parts["returns"] == "whole-return-leave-one-out" and config.baseline != "leave-one-out":
        raise ValueError(f"{told} is whole-return with baseline='leave-one-out', got {config.baseline!r}")
    if parts["returns"] == "gae" and config.baseline != "value":
        raise ValueError(f"{told} needs the critic of baseline='value', got {config.baseline!r}")
    if "gradient" in parts and (config.baseline != "none" or "scale" in parts or parts["returns"] == "gae"):
        raise ValueError(
            f"{told}: the action value is the baseline of all-action, so it goes with baseline='none' and without "
            f"gae or variance-scale, got baseline={config.baseline!r}"
        )


def _answers_summed(played: Played) -> Played:
    """The last factor's choice influences its own step alone: its expectation is summed, and nothing is left to draw.

    A Rao-Blackwellised read (Liu et al. 2019, arXiv:1810.04777). What each answer would cost is known, so the expected
    cost takes the place of the drawn one, with the pathwise gradient of the answer's probabilities, and judges the
    other factors.
    """
    record, _, mask, log_weights, answers = played
    assert log_weights is not None
    assert answers is not None
    weights = log_weights[..., -1, : answers.shape[-1]].exp()
    expected = (weights * answers).sum(dim=-1) * mask
    others = AccessRecord(*(field[..., :-1] for field in record))
    return Played(others, expected, mask, log_weights[..., :-1, :])
