"""Baselines: what is subtracted from a cost-to-go so that its gradient estimate varies less.

None of them but `GroupMean` depends on the choice it judges, so none but that one changes the expected gradient. All
are modules: their parameters go to the optimiser, their buffers into the checkpoint. A new baseline is one class, one
line in `BASELINES`, and its record in `hardmem.estimators.catalogue`, which puts it under test.
"""

from __future__ import annotations

from collections.abc import Collection

from hardmem.baselines.averages import Constant, MovingAverage, NoBaseline, StepAverage
from hardmem.baselines.base import Baseline, Judgement
from hardmem.baselines.critics import ActionDependent, InputDependent, Privileged, Value, other_choices
from hardmem.baselines.groups import GroupMean, LeaveOneOut, OptimalScalar, SelfCritical, squared_score

BASELINES: dict[str, type[Baseline]] = {
    "none": NoBaseline,
    "constant": Constant,
    "moving-average": MovingAverage,
    "step-average": StepAverage,
    "value": Value,
    "input-dependent": InputDependent,
    "privileged": Privileged,
    "self-critical": SelfCritical,
    "leave-one-out": LeaveOneOut,
    "optimal-scalar": OptimalScalar,
    "action-dependent": ActionDependent,
    "group-mean": GroupMean,
}

__all__ = ["BASELINES", "Baseline", "Judgement", "make_baseline", "other_choices", "squared_score"]


def make_baseline(
    name: str, *, num_features: int, group_size: int = 1, offers: Collection[str] | None = None
) -> Baseline:
    """Build a baseline by name.

    Args:
        name: from `BASELINES`.
        num_features: width of the features it will be given.
        group_size: K, sequences of one problem side by side.
        offers: kinds of features the caller can give, from `Baseline.judges_by`: a trainer that knows the state alone
            says ("state",), and is not built a baseline that would take the state for something else.

    Raises:
        ValueError: if there is no baseline of that name, it cannot work with the group size, or it judges by what is
            not offered.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; choose one of {sorted(BASELINES)}")
    kind = BASELINES[name].judges_by
    if offers is not None and kind != "nothing" and kind not in offers:
        fitting = sorted(other for other, made in BASELINES.items() if made.judges_by in ("nothing", *offers))
        raise ValueError(
            f"baseline {name!r} judges by {kind!r}, and {sorted(offers)} is all that is known here; "
            f"choose one of {fitting}"
        )
    return BASELINES[name](num_features, group_size)
