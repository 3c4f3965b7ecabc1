"""The catalogue: one record per estimator and baseline. It drives the tests and the table in docs/estimators.md.

A record that claims to be unbiased is held to it: the proof enumerates small problems and compares with the exact
gradient. A biased one says what its gradient is instead, and is held to that. Relaxations (`hardmem.access`) are
listed by reference.
"""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """What is known of an estimator.

    Attributes:
        family: "returns", "baseline", "trajectory", "choice" or "relaxation".
        needs: what it must be given beside log-probabilities and costs.
        unbiased: whether its expected gradient is that of the expected cost.
        evaluations: of the cost, per estimate.
        source: the paper.
        bias: what the expected gradient is where it is not that of the expected cost.
        proof: how the claim is tested: "enumeration" (to 1e-12), "quadrature", or where.
    """

    family: str
    needs: str
    unbiased: bool
    evaluations: str
    source: str
    bias: str = ""
    proof: str = "enumeration"


WILLIAMS = "Williams 1992"
RELAXED = "hardmem.access"

ESTIMATORS: dict[str, Record] = {
    # Returns: what a choice is judged by. Measured with no baseline, GAE with its critic.
    "whole-return": Record("returns", "nothing", True, "1", WILLIAMS),
    "cost-to-go": Record("returns", "costs in order", True, "1", "Sutton et al. 2000"),
    "discounted": Record(
        "returns", "a discount", False, "1", "Sutton et al. 2000", "a cost k steps later counts discount^k"
    ),
    "gae": Record(
        "returns",
        "a critic, lambda",
        False,
        "1",
        "Schulman et al. 2016",
        "unbiased at lambda = 1 or with an exact critic",
    ),
    # Baselines, each on the cost-to-go.
    "none": Record("baseline", "nothing", True, "1", WILLIAMS),
    "constant": Record("baseline", "nothing", True, "1", WILLIAMS),
    "moving-average": Record("baseline", "past batches", True, "1", WILLIAMS),
    "step-average": Record("baseline", "a batch of 2 or more", True, "1", "Greensmith et al. 2004"),
    "value": Record("baseline", "state features", True, "1", "Sutton et al. 2000"),
    "input-dependent": Record("baseline", "the inputs", True, "1", "Mnih & Gregor 2014 (NVIL)"),
    "privileged": Record("baseline", "the whole problem", True, "1", "Zaremba & Sutskever 2015"),
    "self-critical": Record("baseline", "a greedy sequence", True, "2", "Rennie et al. 2017"),
    "leave-one-out": Record("baseline", "K >= 2 sequences of a problem", True, "K", "Kool et al. 2019"),
    "optimal-scalar": Record("baseline", "K >= 2, squared scores", True, "K", "Greensmith et al. 2004"),
    "action-dependent": Record("baseline", "state features, parallel heads", True, "1", "Wu et al. 2018"),
    "group-mean": Record(
        "baseline", "K >= 2 sequences of a problem", False, "K", "Shao et al. 2024", "score-function term times 1 - 1/K"
    ),
    # Other trajectory estimators.
    "whole-return-leave-one-out": Record("trajectory", "K >= 2 sequences of a problem", True, "K", "Kool et al. 2019"),
    "settled-returns": Record("trajectory", "an action value", True, "1", "Cheng et al. 2019"),
    "all-action": Record("trajectory", "an action value", True, "1", "Sutton et al. 2000; Gu et al. 2017"),
    "expected-read": Record("trajectory", "the cost of every candidate", True, "1 step x S", "Liu et al. 2019"),
    "stratified": Record("trajectory", "K sequences drawn together", True, "K", "Madow & Madow 1944"),
    "weighted-set": Record("trajectory", "K different sequences", True, "K", "Kool et al. 2020"),
    "variance-scale": Record(
        "trajectory", "past batches", False, "1", "Mnih & Gregor 2014 (NVIL)", "score-function term times the scale"
    ),
    # One choice, or a small set, whose cost can be evaluated again.
    "unordered-set": Record("choice", "k different choices", True, "k", "Kool et al. 2020"),
    "sum-and-sample": Record("choice", "k - 1 likeliest and 1 draw", True, "k", "Liu et al. 2019"),
    "vimco": Record("choice", "K draws", True, "K", "Mnih & Rezende 2016", "of its own objective, the K-sample bound"),
    "rebar": Record("choice", "a cost that accepts weights", True, "3", "Tucker et al. 2017", proof="quadrature"),
    "relax": Record("choice", "a learned control variate", True, "1", "Grathwohl et al. 2018", proof="quadrature"),
    # Listed by reference: accesses, not losses. Each is proved to be what is said of it where accesses are tested.
    "straight-through": Record(
        "relaxation", "soft cells", False, "1", "Bengio et al. 2013", "exact for a linear cost", RELAXED
    ),
    "reinmax": Record("relaxation", "soft cells", False, "1", "Liu et al. 2023", "exact for a quadratic cost", RELAXED),
    "gumbel": Record("relaxation", "soft cells", False, "1", "Jang et al. 2017", "shrinks with temperature", RELAXED),
    "top-k": Record(
        "relaxation", "soft cells", False, "1", "Rae et al. 2016", "exact for a model of k cells, not of one", RELAXED
    ),
}


def markdown_table() -> str:
    """The catalogue as docs/estimators.md shows it."""
    head = "| name | family | needs | unbiased | evaluations | source | proof |\n|---|---|---|---|---|---|---|"
    rows = [
        f"| `{name}` | {record.family} | {record.needs} | {_claim(record)} | {record.evaluations} | {record.source} "
        f"| {record.proof} |"
        for name, record in ESTIMATORS.items()
    ]
    return "\n".join([head, *rows])


def _claim(record: Record) -> str:
    claim = "yes" if record.unbiased else "no"
    return f"{claim}: {record.bias}" if record.bias else claim
