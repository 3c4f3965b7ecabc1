"""The proof: every name of the catalogue, on problems enumerated whole, against the exact gradient."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import hardmem
from hardmem.access import ACCESS
from hardmem.addressing import entropy
from hardmem.baselines import BASELINES
from hardmem.estimators import (
    ESTIMATORS,
    Replay,
    TabularWalk,
    VarianceScale,
    all_action_surrogate,
    cost_to_go,
    lambda_returns,
    luck,
    settled_returns,
    surrogate,
    whole_cost,
)
from hardmem.estimators.catalogue import markdown_table
from hardmem.estimators.enumeration import estimator_coefficients, log_probability, push_through
from tests.choice_cases import CHOICE, bound_target, choice_coefficients, relaxed_coefficients
from tests.estimator_cases import (
    SHARPNESS,
    TRAJECTORY,
    make_walk,
    parameters,
    random_critic,
    replay_all,
    stratified_coefficients,
    unbiased,
    weighted_set_coefficients,
)

CHOICE_KINDS = ["four-cells", "two-heads", "masked-choice"]
TRAJECTORY_KINDS = ["addresses", "heads", "masked", "lengths"]
TOLERANCE, QUADRATURE_TOLERANCE = 1e-12, 1e-9
CHOSEN = ("log_prob", "log_weights")

TARGETS = {name: case.target for name, case in TRAJECTORY.items()} | {"vimco": bound_target}


def expected_coefficients(name: str, walk: TabularWalk, context: int, replay: Replay) -> dict[str, Tensor]:
    if name in CHOICE:
        return choice_coefficients(name, replay)
    if name in ("rebar", "relax"):
        return relaxed_coefficients(name, replay)
    if name == "stratified":
        return stratified_coefficients(walk, replay)
    if name == "weighted-set":
        return weighted_set_coefficients(replay)
    case = TRAJECTORY[name]
    return estimator_coefficients(replay, lambda batch: case.loss(walk, context, batch), case.group_size)


Breakage = Callable[[Replay, dict[str, Tensor]], dict[str, Tensor]]


def sign_flipped(replay: Replay, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: -slope if name in CHOSEN else slope for name, slope in slopes.items()}


def pathwise_dropped(replay: Replay, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: slope if name in CHOSEN else torch.zeros_like(slope) for name, slope in slopes.items()}


def own_sample_leaked(replay: Replay, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    """A fifth of its own cost-to-go is subtracted from every sequence's advantage."""
    own = log_probability(replay).detach().exp() * cost_to_go(replay.cost.detach())
    return slopes | {"log_prob": slopes["log_prob"] - 0.2 * own.unsqueeze(-1)}


def gradient_error(name: str, kind: str, policy: str, broken: Breakage | None = None) -> float:
    """Largest difference between the expected and the stated gradient, over contexts and parameters."""
    walk, errors = make_walk(kind, policy), []
    target = TARGETS.get(name, unbiased)
    for context in range(walk.num_contexts):
        replay = replay_all(walk, context)
        slopes = expected_coefficients(name, walk, context, replay)
        slopes = broken(replay, slopes) if broken else slopes
        expected = push_through(replay, slopes, parameters(walk))
        errors += [(a - b).abs().max() for a, b in zip(expected, target(walk, context), strict=True)]
    return torch.stack(errors).max().item()


def kinds(name: str) -> list[str]:
    if ESTIMATORS[name].proof == "quadrature":
        return ["two-cells", "three-cells"]
    return CHOICE_KINDS if ESTIMATORS[name].family == "choice" else TRAJECTORY_KINDS


def tolerance(name: str) -> float:
    return TOLERANCE if ESTIMATORS[name].proof == "enumeration" else QUADRATURE_TOLERANCE


NAMES = [name for name, record in ESTIMATORS.items() if record.family != "relaxation"]  # those are proved with access


@pytest.mark.parametrize("policy", SHARPNESS)
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NAMES for kind in kinds(name)])
def test_expected_gradient_is_what_the_catalogue_says(name: str, kind: str, policy: str) -> None:
    assert gradient_error(name, kind, policy) < tolerance(name)


@pytest.mark.parametrize("broken", [sign_flipped, pathwise_dropped, own_sample_leaked])
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_copy_fails_the_same_check(name: str, broken: Breakage) -> None:
    assert gradient_error(name, kinds(name)[0], "late", broken) > 1e-3


def test_the_catalogue_claims_what_is_proved() -> None:
    """Who claims to be unbiased is compared with the exact gradient itself; who does not says what it is instead."""
    for name in NAMES:
        record = ESTIMATORS[name]
        assert record.unbiased == (TARGETS.get(name, unbiased) is unbiased) or name == "vimco", name
        assert record.unbiased == (record.bias == "") or name == "vimco", name
    assert set(BASELINES) <= set(ESTIMATORS)


# --- beside the proof ---


def test_gae_is_unbiased_with_an_exact_critic_and_at_lambda_one() -> None:
    """Any critic at lambda = 1; at lambda = 0 only the one that backward induction gives."""
    walk = make_walk("addresses", "late")
    replay = replay_all(walk, 0)
    chance = log_probability(replay).detach().exp()
    going = cost_to_go(replay.cost.detach())
    state = F.one_hot(walk.previous(replay.choices), walk.num_states).double()  # (T, N, states)
    visits = torch.einsum("tns,n->ts", state, chance).clamp(min=1e-300)
    mean = torch.einsum("tns,tn,n->ts", state, going, chance) / visits
    exact_value = torch.einsum("tns,ts->tn", state, mean)
    wrong_value = random_critic(walk, replay.choices, 0, 1).squeeze(-1)
    for value, trace_decay, right in ((exact_value, 0.0, True), (wrong_value, 1.0, True), (wrong_value, 0.0, False)):
        returns = lambda_returns(replay.cost.detach(), value, trace_decay=trace_decay)
        advantage = (chance * (returns - value)).unsqueeze(-1)
        found = push_through(replay, {"log_prob": advantage}, parameters(walk))[0]
        error = (found - unbiased(walk, 0)[0]).abs().max()
        assert (error < TOLERANCE) == right


def test_settled_returns_of_an_exact_critic_are_that_critic() -> None:
    """In a deterministic world nothing is left of later luck: the correction of all-action vanishes."""
    walk = make_walk("addresses", "late")
    replay = replay_all(walk, 0)
    last = walk.costs.detach()[0, 1]  # (cell before, cell now)
    weights = walk.log_weights(torch.ones(3, dtype=torch.int64), torch.arange(3), 0)[:, 0].detach().exp()
    action_value = torch.stack([walk.costs.detach()[0, 0, 0] + (weights * last).sum(dim=1), torch.zeros(3)])
    value = torch.stack([action_value[0].expand(9, 3), last[walk.previous(replay.choices)[1]]])
    index = replay.choices[..., 0]
    settled = settled_returns(replay.cost.detach(), luck(value, replay.log_weights[:, :, 0], index, replay.mask))
    torch.testing.assert_close(settled, value.gather(-1, replay.choices).squeeze(-1))


def test_the_loss_is_the_objective() -> None:
    """Whatever is judged and however, the logged value is the mean total cost."""
    generator = torch.Generator().manual_seed(0)
    log_weights = torch.randn(3, 6, 2, 4, generator=generator).log_softmax(dim=-1)
    index, cost = torch.randint(0, 4, (3, 6, 2), generator=generator), torch.rand(3, 6, generator=generator)
    log_prob = log_weights.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    total, heads = cost.sum(dim=0).mean(), torch.rand(3, 6, 2, generator=generator)
    losses = [
        surrogate(log_prob, cost),
        surrogate(log_prob, cost, baseline=heads),
        surrogate(log_prob, cost, returns=whole_cost(cost), scale=torch.tensor(0.3)),
        all_action_surrogate(log_weights, index, cost, torch.rand(log_weights.shape), mask=torch.ones(3, 6)),
    ]
    for loss in losses:
        torch.testing.assert_close(loss, total)


def test_entropy_is_exact_and_survives_forbidden_choices() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf]], requires_grad=True)
    found = entropy(logits.log_softmax(dim=-1))
    torch.testing.assert_close(found, torch.tensor([2.0, 1.0]).log())
    found.sum().backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_variance_scale_uses_the_old_deviation_and_never_enlarges() -> None:
    scale, mask = VarianceScale(), torch.ones(1, 4)
    assert scale(torch.tensor([[-9.0, 9.0, -9.0, 9.0]]), mask) == 1
    assert scale(torch.zeros(1, 4), mask).item() == pytest.approx((0.9 + 0.1 * 81) ** -0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: surrogate(torch.zeros(2, 3), torch.zeros(2, 3), baseline=torch.zeros(2, 3, 1)),
            r"baseline is \(2, 3, 1\), log_prob is \(2, 3\)",
        ),
        (lambda: lambda_returns(torch.zeros(2, 3), torch.zeros(3, 3), trace_decay=1.0), r"state_value is \(3, 3\)"),
        (
            lambda: all_action_surrogate(
                torch.zeros(2, 3, 4),
                torch.zeros(2, 3).long(),
                torch.zeros(2, 3),
                torch.zeros(2, 3, 5),
                mask=torch.ones(2, 3),
            ),
            r"action_value is \(2, 3, 5\)",
        ),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_table_in_the_docs_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text()
    shown = page.split("<!-- catalogue -->")[1].split("<!-- /catalogue -->")[0].strip()
    assert shown == markdown_table(), "hardmem.estimators.catalogue.markdown_table() is what belongs there"


def test_every_record_is_in_the_measured_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text()
    rows = page.split("<!-- variance -->")[1].split("<!-- /variance -->")[0].strip().splitlines()[2:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names[: len(ESTIMATORS)] == list(ESTIMATORS), "benchmarks/variance.py writes it"


EXAMPLES = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text().split("```python\n")[1:]


def run_example(number: int) -> dict:
    """A block of code of the docs, as it stands; what it leaves behind."""
    scope: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(EXAMPLES[number].split("```")[0], scope)
    return scope


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_in_the_docs_run(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardmem.ACCESS", dict(ACCESS))  # an example adds to it
    monkeypatch.setattr("hardmem.access.ACCESS", hardmem.ACCESS)
    run_example(number)


def test_the_first_example_learns_with_nothing_but_the_surrogate() -> None:
    """Of the library it imports that one name; its loop is ten lines; the cheap choice is found."""
    lines = EXAMPLES[0].split("```")[0].strip().splitlines()
    assert [line for line in lines if "hardmem" in line] == ["from hardmem.estimators import surrogate"]
    assert len([line for line in lines if line and "import" not in line]) == 10
    assert run_example(0)["loss"] < 0.1
