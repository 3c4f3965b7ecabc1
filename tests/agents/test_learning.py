"""Learning: every method on the smallest task, what it counts, and that equal seeds are equal runs."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import pytest
import torch

from hardmem.access import ACCESS, DRAWN
from hardmem.agents import AgentConfig, SequenceConfig, load, train
from hardmem.agents import training as training_module
from hardmem.agents.compare import METHODS
from hardmem.agents.evaluation import evaluate
from hardmem.agents.first_cells import ODDS, spread_out
from hardmem.agents.learner import Generators, Score, Stage
from hardmem.agents.progress import Progress
from hardmem.agents.reinforce import collect
from hardmem.agents.sequence import SequenceLearner, bits_per_sequence
from hardmem.agents.training import NonFiniteError, Training, examine, make_learner
from hardmem.envs.contents import Memory
from hardmem.tasks import TASKS
from hardmem.tasks.copy import Copy
from hardmem.tasks.multi_hop import MultiHop
from tests import device_guard

SMALL_AGENT = AgentConfig(max_length=3, start_length=1, num_symbols=3, num_envs=128, finish_updates=60)
SMALL_HARD = SequenceConfig(max_length=3, start_length=3, num_symbols=4, finish_updates=100)
SMALL = {
    "agent": SMALL_AGENT,
    "gru agent": dataclasses.replace(SMALL_AGENT, policy="gru"),
    "value agent": dataclasses.replace(SMALL_AGENT, baseline="value", group_size=1),
    "hard": SMALL_HARD,
    "soft": dataclasses.replace(SMALL_HARD, access="soft"),
    "lstm": dataclasses.replace(SMALL_HARD, model="lstm", hidden_size=32),
}


def generators(seed=0):
    return Generators.seeded(seed, torch.device("cpu"))


@pytest.mark.parametrize("name", ["REINFORCE agent", "hard NTM", "soft twin"])
def test_the_task_is_learned(name):
    """Copy up to length 10, in seconds; and what was learned answers fresh problems ten times as long."""
    learner, outcome = train(dataclasses.replace(METHODS["copy"][name], max_updates=400, finish_updates=50))
    assert outcome.solved is not None
    assert learner.score(500, generators().test, max_length=10).exact >= 0.97
    assert learner.score(50, generators().test, max_length=100, min_length=100).exact >= 0.9


def test_the_agent_needs_its_cells():
    """The very agent that solves the task stays at the floor of guessing when its cells are wiped at every step."""
    learner, outcome = train(dataclasses.replace(METHODS["copy"]["REINFORCE agent"], finish_updates=0))
    assert outcome.solved is not None
    whole = learner.score(500, generators().test, max_length=10)
    wiped = learner.score(500, generators().test, max_length=10, wiped=True)
    assert whole.accuracy > 0.97
    assert wiped.accuracy < 1 / 8 + 0.03


def test_the_floors_of_policies_without_cells():
    """Trained on wiped cells: a reactive policy only guesses; a GRU carries a little in its own state, not the task."""
    for policy, low, high in (("feed-forward", 0.05, 0.22), ("gru", 0.1, 0.6)):
        config = AgentConfig(policy=policy, num_envs=128, start_length=10)
        learner = make_learner(config)
        dynamics = learner.dynamics(10, wiped=True)
        learner._at_lengths = ((1, 10), dynamics)
        optimizer, streams = torch.optim.Adam(learner.parameters(), lr=1e-2), generators()
        for _ in range(60):
            optimizer.zero_grad()
            learner.batch(Stage(10), streams).loss.backward()
            optimizer.step()
        accuracy = learner.score(500, streams.test, max_length=10, wiped=True).accuracy
        assert low < accuracy < high


@pytest.mark.parametrize("name", sorted(SMALL))
def test_equal_seeds_are_equal_runs(name):
    """Weights and curve, bit for bit, seconds aside; another seed is another run."""

    def run(seed):
        config = dataclasses.replace(SMALL[name], seed=seed, max_updates=10, eval_problems=20)
        learner, outcome = train(config)
        curve = [dataclasses.replace(point, seconds=0.0) for point in outcome.curve]
        return [parameter.tolist() for parameter in learner.parameters()], curve

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_the_learning_rate_falls_geometrically():
    """By hand: a tenth every two updates, then no further; and without a number of updates it stays."""
    config = dataclasses.replace(
        SMALL_AGENT, learning_rate=1e-2, learning_rate_final=1e-4, learning_rate_updates=4, max_updates=6, num_envs=16
    )
    for over, expected in ((4, [1e-2, 10**-2.5, 1e-3, 10**-3.5, 1e-4, 1e-4]), (0, [1e-2] * 6)):
        training, rates = Training(dataclasses.replace(config, learning_rate_updates=over)), []
        while not training.done():
            training.update()
            rates.append(training.optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx(expected)


def test_policy_and_critic_are_clipped_apart():
    """A critic with an enormous error leaves the policy's gradient as it is: at its bound, not scaled to nothing."""
    training = Training(dataclasses.replace(SMALL["value agent"], max_grad_norm=1e-3))
    with torch.no_grad():
        training.learner.baseline.network[-1].bias.fill_(1e6)
    training.update()
    norms = [
        torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
        for parameters in (training.actor, training.critic)
    ]
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 2


def test_what_is_counted():
    """Problems, rollouts and steps are those drawn and played, copies included."""
    config = dataclasses.replace(SMALL_AGENT, max_updates=5, start_length=2, promote_at=1.1, max_length=2)
    _, outcome = train(config)
    last = outcome.curve[-1]
    assert (last.update, last.problems, last.rollouts, last.steps) == (5, 5 * 16, 5 * 128, 5 * 128 * 5)


def test_bits_per_sequence_by_hand():
    """Two steps of two bits, two sequences: undecided outputs cost a bit each, and count where they are asked for."""
    outputs, wanted = torch.zeros(2, 2, 2), torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]])
    outputs[0, 0, 0] = math.log(3)  # odds of 3 to 1 for a bit that is 0: wrong, and two bits
    found = bits_per_sequence(outputs, wanted, torch.tensor([[True, True], [True, False]]))
    assert float(found["cost_bits"]) == pytest.approx((2 + 1 + 1 + 1 + 1 + 1) / 2)
    assert float(found["wrong_bits"]) == (1 + 1 + 2) / 2


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_shown_to_a_sequence_model(task):
    """All channels are seen: the loss of a batch depends on each of them."""
    config = SequenceConfig(task=task, model="lstm", num_symbols=4, max_length=2, start_length=2, num_problems=4)
    learner = make_learner(config)
    assert isinstance(learner, SequenceLearner)
    learner.batch(Stage(2), generators()).loss.backward()
    problem = learner.task.draw(50, generator=generators().problems)
    plain = learner.task.shown_as_bits(problem.inputs)
    for channel in range(problem.inputs.shape[-1]):
        other = problem.inputs.clone()
        other[..., channel] = other[..., channel].roll(1, dims=1)
        assert not torch.equal(learner.task.shown_as_bits(other), plain)
    assert learner.score(4, generators().test, max_length=2) is not None


def test_an_attempt_without_progress_is_given_up():
    """Fresh weights, first stage, same budget: with nothing to improve, every `restart_after` updates."""
    config = dataclasses.replace(SMALL_HARD, learning_rate=1e-9, restart_after=10, max_updates=30, eval_problems=20)
    training = Training(config)
    attempts, stages, weights = [], [], []
    while not training.done():
        stages.append(training._stage().update)
        weights.append([parameter.clone() for parameter in training.learner.parameters()])
        training.update()
        attempts.append(training.progress.attempt)
    assert attempts[-1] >= 2
    change = attempts.index(2)
    assert stages[: change + 2] == [*range(change + 1), 0]
    assert any((new - old).abs().max() > 0.01 for new, old in zip(weights[change + 1], weights[0], strict=True))
    assert training.progress.update == 30


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ([0.5, 0.1, 0.3], 0),
        ([0.1, 0.5, 0.3], 1),
        ([0.1, 0.2, 0.3], 2),
        ([0.3, 0.3, 0.3], 2),  # of equals the last
        ([0.3, 0.3, 0.1], 1),
        ([0.5, 0.1], 0),  # the third attempt has just begun
        ([0.1, 0.5], 1),
        ([0.3, 0.1, 0.5, 0.2], 0),  # the third was better before than at its end
        ([0.5, 1.0, 0.1], 2),  # solved, and finished
    ],
)
def test_the_best_attempt_is_handed_back(accuracies, best, monkeypatch, tmp_path):
    """An attempt each for the first two validations, the others for the third, whose patience is twice as long.

    In a run folder, the last checkpoint and the results are of it, too, and the curve is of what happened.
    """
    seen, scores = [], iter(accuracies)

    def scored(learner, max_length, generator):
        seen.append(copy.deepcopy(learner.state_dict()))
        accuracy = next(scores)
        return Score(exact=accuracy, accuracy=accuracy)

    monkeypatch.setattr(training_module, "examine", scored)
    monkeypatch.setattr(training_module, "PROGRESS", 2)  # nothing will do
    config = dataclasses.replace(SMALL_HARD, restart_after=1, soft_after=0, eval_every=1, finish_updates=1)
    config = dataclasses.replace(config, max_updates=len(accuracies))
    learner, outcome = train(config, tmp_path / "run", problems=10)
    loaded = load(tmp_path / "run", "cpu")[0]
    for name, value in seen[best].items():
        assert torch.equal(learner.state_dict()[name], value)
        assert torch.equal(loaded.state_dict()[name], value)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["evaluation"] == evaluate(loaded, (3, 6), 10, generators().test)
    assert [point.metrics["accuracy"] for point in outcome.curve] == accuracies


def test_no_attempt_is_given_up_where_none_should_be():
    """Not with patience 0, and not once the task is solved."""
    for patience, solved in ((0, False), (5, True)):
        config = dataclasses.replace(SMALL_HARD, learning_rate=1e-9, restart_after=patience, max_updates=20)
        training = Training(config)
        training.solved = Progress(update=0) if solved else None
        while not training.done():
            training.update()
        assert training.progress.attempt == 1


def test_soft_updates_give_way_to_hard_ones():
    """Soft ones play each problem once and draw nothing; from `soft_updates` on all draw; testing never is soft."""
    config = dataclasses.replace(SMALL_HARD, anneal="linear", soft_updates=10)
    learner, streams = make_learner(config), generators()
    rollouts = [learner.batch(Stage(3, update), streams).rollouts for update in range(20)]
    assert set(rollouts[:10]) == {8, 64}
    assert rollouts[10:] == [64] * 10
    assert rollouts[0] == 8
    assert learner.model.access == "sampled"
    with learner.greedy():
        assert learner.model.access == "argmax"


@pytest.mark.parametrize("access", ACCESS)
def test_any_access_can_be_trained(access):
    """One name makes the difference: what is drawn plays copies and is tested greedily, and all parameters learn."""
    learner = make_learner(dataclasses.replace(SMALL_HARD, access=access))
    batch = learner.batch(Stage(3), generators())
    batch.loss.backward()
    assert batch.rollouts == (64 if access in DRAWN else 8)
    assert learner.model.address_layer.weight.grad.isfinite().all()
    assert learner.model.address_layer.weight.grad.any()
    with learner.greedy():
        assert learner.model.access == ("argmax" if access in DRAWN else access)
    assert learner.score(10, generators().test, max_length=5, greedy=False) is not None


def test_soft_attempts_are_soft_until_solved():
    """All updates of one are, and play each problem once; none once the task is solved, and none of other attempts."""
    learner, streams = make_learner(SMALL_HARD), generators()
    for soft, exploration, rollouts in ((True, 1.0, 8), (True, 0.9, 64), (False, 1.0, 64)):
        batches = [learner.batch(Stage(3, update, exploration, second=soft), streams) for update in range(5)]
        assert [batch.rollouts for batch in batches] == [rollouts] * 5


def test_averages_over_cells_by_number_are_sharpened_before_they_are_drawn():
    """After a soft attempt alone: soft in the first half of the last updates, too."""
    learner, streams = make_learner(dataclasses.replace(SMALL_HARD, addressing="absolute")), generators()
    cases = {(True, 1.0): 8, (True, 0.99): 8, (True, 0.01): 8, (True, 0.0): 64, (False, 0.99): 64}
    for (soft, exploration), rollouts in cases.items():
        assert learner.batch(Stage(3, 0, exploration, second=soft), streams).rollouts == rollouts
    learner.soft_after = 0
    assert learner.batch(Stage(3, 0, 0.99, second=True), streams).rollouts == 64, "no attempt was soft"


@pytest.mark.parametrize(
    ("config", "hopeless", "attempts"),
    [
        (SMALL_HARD, 0, [1] * 9 + [2] * 40 + [3] * 10),
        (SMALL_HARD, 2, [1] * 4 + [2] * 40 + [3] * 5 + [4] * 10),
        (dataclasses.replace(SMALL_HARD, soft_after=0), 2, [1] * 39 + [2] * 20),
        (dataclasses.replace(SMALL_HARD, access="soft"), 2, [1] * 39 + [2] * 20),
        (SMALL_AGENT, 2, [1] * 39 + [2] * 20),
    ],
)
def test_hard_attempts_that_learn_nothing_give_way_to_soft_ones(config, hopeless, attempts, monkeypatch):
    """After `soft_after` updates, or half of them where all is wrong, and after `restart_after` a hard one is next.

    Where nothing is drawn, in agents, and with `soft_after` 0, none is soft.
    """
    for name in ("PROGRESS", "HOPEFUL", "SOLVED"):
        monkeypatch.setattr(training_module, name, 2)  # nothing will do
    monkeypatch.setattr(training_module, "HOPELESS", hopeless)
    config = dataclasses.replace(config, learning_rate=1e-9, restart_after=40, max_updates=59, eval_every=1)
    if getattr(config, "soft_after", 0):
        config = dataclasses.replace(config, soft_after=10)
    training, seen = Training(config), []
    while not training.done():
        assert training._stage().second == (training.progress.attempt % 2 == 0 and config.restart_after > 0)
        training.update()
        seen.append(training.progress.attempt)
    assert seen == attempts


def test_the_entropy_bonus_fades_with_exploration():
    """The objective is the loss less the share of the bonus that the stage asks for."""
    for config in (SMALL_AGENT, dataclasses.replace(SMALL_HARD, evenness_share=0.0)):
        learner = make_learner(config)
        bonus = []
        for exploration in (1.0, 0.5, 0.0):
            batch = learner.batch(Stage(3, 0, exploration), generators())
            bonus.append(float((batch.metrics["loss"] - batch.loss + batch.metrics["baseline_loss"]).detach()))
        assert bonus[0] == pytest.approx(config.entropy_coef * float(batch.metrics["entropy"]), rel=1e-3)
        assert bonus == pytest.approx([bonus[0], bonus[0] / 2, 0], abs=1e-6)


@pytest.mark.parametrize(("config", "weights"), [(SMALL_AGENT, [1, 1, 1]), (SMALL_HARD, [1, 2, 3])])
def test_models_are_less_sure_at_every_turn(config, weights):
    """When both ways failed, the bonus is twice what it was, then three times; an agent's is as before."""
    losses = []
    for turn in range(3):
        batch = make_learner(config).batch(Stage(3, turn=turn), generators())
        losses.append(float((batch.loss - batch.metrics["loss"] - batch.metrics["baseline_loss"]).detach()))
    assert losses == pytest.approx([weight * losses[0] for weight in weights], rel=1e-3)


@pytest.mark.parametrize("config", [SMALL_AGENT, SMALL_HARD])
def test_what_is_solved_is_finished_at_all_lengths(config, monkeypatch):
    """However short the problems were that solved it; by ever smaller steps, down to a tenth at the last."""
    monkeypatch.setattr(training_module, "SOLVED", 0)
    training = Training(dataclasses.replace(config, start_length=1, eval_every=1, finish_updates=4))
    lengths, rates = [], []
    while not training.done():
        lengths.append(training._stage().length)
        training.update()
        rates.append(training.optimizer.param_groups[0]["lr"] / config.learning_rate)
    assert lengths == [1, 3, 3, 3, 3]
    assert rates == pytest.approx([1, 10**-0.25, 10**-0.5, 10**-0.75, 0.1])


@pytest.mark.parametrize(("last", "factors"), [(4, [0, 0, 2, 2]), (5, [0, 0, *[4 ** (1 / 3)] * 3]), (1, [4])])
def test_what_is_solved_is_cooled_in_the_second_half(last, factors, monkeypatch):
    """First the bonus falls to 0, then the temperature to a quarter, by the same factor at every update."""
    monkeypatch.setattr(training_module, "SOLVED", 0)
    training = Training(dataclasses.replace(SMALL_HARD, eval_every=1, finish_updates=last))
    training.update()
    cooled = []
    monkeypatch.setattr(training.learner, "cool", lambda factor: cooled.append((training.progress.update, factor)))
    explorations = []
    while not training.done():
        explorations.append(training._stage().exploration)
        training.update()
    assert [dict(cooled).get(update, 0) for update in range(2, last + 2)] == pytest.approx(factors)
    assert explorations == pytest.approx([max(0, 1 - 2 * (made + 1) / last) for made in range(last)])


@pytest.mark.parametrize(
    "config",
    [
        SMALL_AGENT,
        dataclasses.replace(SMALL_AGENT, policy="gru"),
        dataclasses.replace(SMALL_AGENT, env="hardmem/CopyRandomAccess-v0"),
        dataclasses.replace(SMALL_AGENT, policy="ntm", num_cells=4),
    ],
)
def test_a_colder_agent_chooses_by_multiplied_logits(config):
    """Twice the logits: every difference of log-probabilities is doubled, of the body's own choices, too."""
    learner = make_learner(config)
    with torch.no_grad():  # otherwise even at first
        learner.policy.head.weight.normal_()
        learner.policy.head.bias.normal_()
    start = learner.dynamics(3).reset(5, generators().problems)[1]

    def play():
        return learner.policy(start, learner.policy.initial_hidden(5), greedy=True)[0]

    def own():
        bodies = [learner.policy.body.ntm.address_layer] if config.policy == "ntm" else []
        return [parameter[:-1].detach().clone() for body in bodies for parameter in body.parameters()]

    before, moves = play(), own()
    learner.cool(2.0)
    for factor, colder in zip(before, play(), strict=True):
        assert torch.allclose(colder, (2 * factor).log_softmax(dim=-1), atol=1e-5)
    assert all(torch.equal(colder, 2 * warm) for warm, colder in zip(moves, own(), strict=True))


@pytest.mark.parametrize("access", ["sampled", "soft"])
def test_only_what_is_drawn_is_cooled(access):
    learner = make_learner(dataclasses.replace(SMALL_HARD, access=access))
    before = learner.model.address_layer.weight.detach().clone()
    learner.cool(2.0)
    assert (learner.model.address_layer.weight != before).any() == (access == "sampled")


def test_a_share_of_the_entropy_bonus_is_one_for_evenness():
    """The controller silent, all choices are alike but near cell 0, where moves meet: by hand, in between."""
    (back, stay, on, home), losses = torch.tensor([1.0, 2.0, 3.0, 4.0]).softmax(dim=-1), {}
    for share in (0.0, 0.25, 1.0):
        learner = make_learner(dataclasses.replace(SMALL_HARD, evenness_share=share, entropy_coef=0.5))
        with torch.no_grad():
            learner.model.address_layer.weight.zero_()
            learner.model.address_layer.bias[:] = torch.tensor([1.0, 2.0, 3.0, 4.0, -100.0])
        batch = learner.batch(Stage(1), generators())
        losses[share] = float((batch.loss - batch.metrics["loss"] - batch.metrics["baseline_loss"]).detach())
    assert losses[0.0] == pytest.approx(-0.5 * float(batch.metrics["entropy"]), rel=1e-4)
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * losses[1.0], rel=1e-4)
    cells = [[back, stay + home, on], [back + home, stay, on], [back, stay, on, home]]  # the first, the second, others
    means = [-0.5 * float(torch.stack(cell).log().mean()) for cell in cells]
    assert min(means) < losses[1.0] < max(means)


ABSOLUTE_AGENT = dataclasses.replace(SMALL_AGENT, env="hardmem/CopyRandomAccess-v0")
ABSOLUTE_HARD = dataclasses.replace(SMALL_HARD, addressing="absolute")


@pytest.mark.parametrize(
    "config", [ABSOLUTE_AGENT, ABSOLUTE_HARD, dataclasses.replace(ABSOLUTE_HARD, access="soft")], ids=str
)
def test_a_bonus_for_spreading_over_cells(config):
    """Its weight times the entropy of use, until solved: an agent's fades from there; a head that stays has none."""
    learner = make_learner(config)
    losses = {}
    for coef, exploration in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.5), (1.0, 0.0)):
        learner.config = dataclasses.replace(config, spread_coef=coef, entropy_coef=0.0, entropy_final=0.0)
        batch = learner.batch(Stage(3, 0, exploration), generators())
        losses[coef, exploration] = batch.loss.item()
    spread = batch.metrics["spread"].item()
    assert 0 < spread <= math.log(5) + 1e-6, "five cells"
    for exploration, share in {1.0: 1, 0.5: 0.5 if config is ABSOLUTE_AGENT else 0, 0.0: 0}.items():
        assert losses[0.0, 1.0] - losses[1.0, exploration] == pytest.approx(share * spread, abs=1e-5)

    with torch.no_grad():
        layer = learner.policy.head if config is ABSOLUTE_AGENT else learner.model.address_layer
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[0] = 100.0
    assert learner.batch(Stage(3), generators()).metrics["spread"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("policy", ["feed-forward", "gru"])
def test_the_answer_starts_on_the_present_observation_alone(policy):
    """By number: another past, and another body, change where heads go and not the answer, until its gate opens."""
    learner = make_learner(dataclasses.replace(ABSOLUTE_AGENT, policy=policy))
    dynamics, model = learner.dynamics(3), learner.policy
    assert make_learner(SMALL_AGENT).policy.answer_layer is None, "moves need no such thing"
    observation = dynamics.reset(8, generators().problems)[1]
    hidden = tuple(torch.ones_like(part) for part in model.initial_hidden(8))
    with torch.no_grad():
        torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))

        def factors():
            return model(observation, hidden)[0]

        before = factors()
        for parameter in model.body.parameters():
            parameter.add_(0.5)
        after = factors()
        assert not torch.allclose(after[0], before[0])
        torch.testing.assert_close(after[-1], before[-1], rtol=0, atol=0)
        model.answer_gate.fill_(1.0)
        assert not torch.allclose(factors()[-1], before[-1])


def test_heads_that_move_are_not_asked_to_spread():
    """No bonus where a choice is a move; and nothing keeps watching a model after its batch."""
    for config in (SMALL_AGENT, SMALL_HARD, dataclasses.replace(SMALL_HARD, addressing="learned-address")):
        assert "spread" not in make_learner(config).batch(Stage(3), generators()).metrics
    learner = make_learner(ABSOLUTE_HARD)
    learner.batch(Stage(3), generators())
    assert not learner.model.scheme._forward_hooks


@pytest.mark.parametrize("config", [SMALL_AGENT, SMALL_HARD, dataclasses.replace(SMALL_HARD, access="soft")])
def test_problems_are_of_the_lengths_asked_for(config, monkeypatch):
    """A fixed length is one field of the configuration: nothing shorter is drawn, trained on or validated."""
    learner, lengths, deal = make_learner(dataclasses.replace(config, min_length=2)), [], Copy.deal

    def watched(task, *args, **options):
        lengths.append((task.min_length, task.max_length))
        return deal(task, *args, **options)

    monkeypatch.setattr(Copy, "deal", watched)
    learner.batch(Stage(3), generators())
    learner.batch(Stage(1), generators())
    examine(learner, 3, generators().test)
    assert lengths == [(2, 3), (1, 1), (2, 3)]


def test_a_chain_has_at_least_two_facts(monkeypatch):
    """MultiHop is trained and scored on chains only, also where the curriculum starts and where no least is asked."""
    config = AgentConfig(env="hardmem/MultiHopAssociative-v0", max_length=4, start_length=1, num_envs=8)
    learner, lengths, deal = make_learner(config), [], MultiHop.deal

    def watched(task, *args, **options):
        lengths.append((task.min_length, task.max_length))
        return deal(task, *args, **options)

    monkeypatch.setattr(MultiHop, "deal", watched)
    learner.batch(Stage(1), generators())
    learner.batch(Stage(3), generators())
    learner.score(8, generators().test, max_length=4)
    assert lengths == [(2, 2), (2, 3), (2, 4)]


@pytest.mark.parametrize("env", ["Copy-v0", "FactRecall-v0"])
def test_empty_cells_that_are_written_to_are_counted(env):
    """Against a count of its own, step by step: something is shown, the cell is empty, and the input goes on."""
    learner, streams = (
        make_learner(dataclasses.replace(SMALL_AGENT, env=f"hardmem/{env}")),
        generators(),
    )
    dynamics = learner.dynamics(3)
    start = dynamics.reset(32, streams.problems)
    again = dynamics.begin(type(start[0].script)(*(field.clone() for field in start[0].script)))
    rollout = collect(dynamics, learner.policy, start, streams.choices, fills=True)
    for action, filled in zip(rollout.record.index, rollout.filled, strict=True):
        counts = (action[:, 1] > 0) & (again.under[:, 0] == 0) & (again.shown > 0) & again.running
        if dynamics.self_paced:
            counts = counts & (action[:, 2] > 0)
        torch.testing.assert_close(filled, counts.float())
        again, _ = dynamics.step(again, action)
    assert rollout.filled.sum() > 32
    assert collect(dynamics, learner.policy, dynamics.reset(4), streams.choices).filled is None


def test_filling_empty_cells_pays_until_the_task_is_solved(monkeypatch):
    """A share of a right answer each, less as exploration ends; the return that is told is the task's alone."""
    learner, costs = make_learner(SMALL_AGENT), []
    rollouts, learn = [], learner.learn

    def spy(played, *arguments, **keywords):
        costs.append(played.cost)
        return learn(played, *arguments, **keywords)

    def watched(*arguments, **keywords):
        rollouts.append(collect(*arguments, **keywords))
        return rollouts[-1]

    monkeypatch.setattr("hardmem.agents.reinforce.collect", watched)
    monkeypatch.setattr(learner, "learn", spy)
    for exploration in (1.0, 0.5, 0.0):
        batch = learner.batch(Stage(3, 0, exploration), generators())
        played, bonus = rollouts[-1], 0
        if exploration:
            bonus = 0.1 * exploration * played.filled / played.state.script.num_answers
        torch.testing.assert_close(costs[-1], -played.reward - bonus)
        assert batch.metrics["return"] == played.reward.sum(dim=0).mean()
    assert rollouts[0].filled.sum() > 0
    assert rollouts[2].filled is None
    learner.config = dataclasses.replace(SMALL_AGENT, spread_coef=0.0)
    learner.batch(Stage(3), generators())
    make_learner(ABSOLUTE_AGENT).batch(Stage(3), generators())
    assert [rollout.filled for rollout in rollouts[3:]] == [None, None]


def test_what_is_shown_has_a_first_cell():
    """Where a head chooses its cell by what is shown: each number of a file has its own, and the likeliest by ODDS."""
    learner = make_learner(AgentConfig(env="hardmem/SlotRecallRandomAccess-v0", max_length=3, num_envs=8))
    dynamics = learner.dynamics(3)
    observation = torch.zeros(17, dynamics.observation_size)
    observation[torch.arange(17), torch.arange(17)] = 1  # a cue of no number, then of numbers 1 to 16
    address = learner.policy(observation, ())[0][0].exp()
    likeliest, cell = address.max(dim=1)
    torch.testing.assert_close(address[0], torch.full((16,), 1 / 16))
    torch.testing.assert_close(likeliest[1:], torch.full((16,), ODDS / (ODDS + 1)))
    assert sorted(cell[1:].tolist()) == list(range(16))
    other = torch.zeros(1, dynamics.observation_size)
    other[:, dynamics.parts["position"].stop - 1] = 1
    torch.testing.assert_close(learner.policy(other, ())[0][0].exp(), address[:1])
    assert make_learner(SMALL_AGENT).policy.first_cells is None, "moves lead somewhere by themselves"


def test_a_key_that_is_shown_is_named():
    """By content: a cue leads to the cell that holds its key, a fact of two keys to either, all else anywhere."""
    learner = make_learner(AgentConfig(env="hardmem/FactRecallAssociative-v0", max_length=3, num_envs=8))
    dynamics = learner.dynamics(3)
    keys = dynamics.task.num_keys
    codes = dynamics.contents.encode(torch.tensor([[3, 0, 0], [0, 5, 0], [3, 5, 7], [0, 0, 7]]))
    observation = torch.zeros(4, dynamics.observation_size)
    observation[:, dynamics.parts["shown"]] = dynamics.contents.one_hot(codes.unsqueeze(1))
    address = learner.policy(observation, ())[0][0].exp()
    choices, named = address.shape[1], (3, keys + 5)
    assert address.argmax(dim=1).tolist()[:2] == list(named)
    torch.testing.assert_close(address.max(dim=1).values[:2], torch.full((2,), ODDS / (ODDS + 1)))
    lead = ODDS * (choices - 1)
    torch.testing.assert_close(address[2, list(named)], torch.full((2,), lead / (2 * lead + choices - 2)))
    torch.testing.assert_close(address[3], torch.full((choices,), 1 / choices))

    number = torch.arange(keys)
    facts = torch.stack([number + 1, keys - number, torch.ones_like(number)], dim=1)
    full = Memory(cells=dynamics.contents.encode(facts).int().unsqueeze(1), era=torch.zeros(1, dtype=torch.int32))
    for channel, (name, key) in enumerate(zip(named, (3, 5), strict=True)):  # what a name means: the cell of its key
        cell = dynamics.interface.move(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[name]]), full)
        assert facts[cell, channel].item() == key
    by_step = make_learner(AgentConfig(env="hardmem/AssociativeRecallAssociative-v0", max_length=3, num_envs=8))
    assert by_step.policy.first_cells is None, "where it goes next is not what is shown now"


def test_a_policy_saved_before_there_were_first_cells_is_as_it_was():
    """It is loaded without: at the start, all cells alike."""
    learner = make_learner(ABSOLUTE_AGENT)
    saved = learner.state_dict()
    del saved["policy.first_cells"]
    learner.load_state_dict(saved)
    observation = learner.dynamics(3).reset(2, generators().problems)[1]
    torch.testing.assert_close(learner.policy(observation, ())[0][0].exp(), torch.full((2, 5), 1 / 5))


def test_every_cell_has_a_next_one():
    """Where a head moves on from where it is: each head's likeliest moves lead round all cells, and from its own."""
    learner = make_learner(dataclasses.replace(SMALL_AGENT, env="hardmem/QueueRandomAccess-v0"))
    dynamics = learner.dynamics(3)
    num_cells, first = dynamics.num_cells, dynamics.parts["position"].start
    observation = torch.zeros(num_cells, dynamics.observation_size)
    observation[torch.arange(num_cells), first + num_cells + torch.arange(num_cells)] = 1  # the second head's
    one, two = learner.policy(observation, ())[0][:2]
    assert one.std() < 1e-6
    torch.testing.assert_close(two.max(dim=1).values.exp(), torch.full((num_cells,), ODDS / (ODDS + 1)))
    cell, seen = 0, set()
    for _ in range(num_cells):
        cell = int(two[cell].argmax())
        seen.add(cell)
    assert (cell, len(seen)) == (0, num_cells)


def test_symbols_share_cells_as_evenly_as_can_be():
    """Seven symbols on three cells: two or three each."""
    assert sorted(spread_out(7, 3).bincount(minlength=3).tolist()) == [2, 2, 3]


def test_choices_after_the_end_carry_no_gradient():
    """Short episodes in a batch with long ones: no log-probability and no entropy once they have ended."""
    learner = make_learner(SMALL_AGENT)
    streams = generators()
    dynamics = learner.dynamics(3)
    rollout = collect(dynamics, learner.policy, dynamics.reset(64, streams.problems), streams.choices)
    ended = rollout.mask == 0
    assert ended.any()
    assert (rollout.record.log_prob[ended] == 0).all()
    assert (rollout.record.entropy[ended] == 0).all()
    assert (rollout.record.log_prob[~ended] < 0).all()


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_update_never_waits_for_the_device(name):
    """Draw, play, loss, backward, clip, step: no host read, and all on one device."""
    config = SMALL[name]
    learner = make_learner(config)
    optimizer, streams = torch.optim.Adam(learner.parameters()), generators()
    learner.batch(Stage(config.max_length), streams)  # rules of a new length are tables, built once
    with device_guard.no_host_reads():
        learner.batch(Stage(config.max_length), streams).loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_update_never_waits_for_the_gpu(name):
    """The same on a CUDA device, by CUDA's own account."""
    device = torch.device("cuda")
    config = SMALL[name]
    learner = make_learner(config, device)
    optimizer, streams = torch.optim.Adam(learner.parameters()), Generators.seeded(0, device)
    learner.batch(Stage(config.max_length), streams)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.batch(Stage(config.max_length), streams).loss.backward()
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_absolute_addresses_are_not_run_beyond_their_cells():
    """None, not a number, at lengths that need cells the learner has no address for."""
    agent = make_learner(AgentConfig(env="hardmem/CopyRandomAccess-v0"))
    assert agent.score(4, generators().test, max_length=10) is not None
    assert agent.score(4, generators().test, max_length=11) is None
    model = make_learner(SequenceConfig(addressing="absolute"))
    assert model.score(4, generators().test, max_length=10) is not None
    assert model.score(4, generators().test, max_length=11) is None


def test_cells_are_those_given_and_more_for_longer_problems():
    """Copy needs L + 2. Given 7, problems up to those trained on (3) are played on 7, those of 9 symbols on 11."""
    learner = make_learner(dataclasses.replace(SMALL_HARD, num_cells=7))
    assert isinstance(learner, SequenceLearner)
    assert [learner.num_cells(learner.task.at_length(length)) for length in (1, 3, 4, 9)] == [7, 7, 7, 11]
    with pytest.raises(ValueError, match="num_cells must be at least 0, got -1"):
        dataclasses.replace(SMALL_HARD, num_cells=-1)


def test_soft_and_hard_differ_in_one_field():
    """The matched comparison: same model, same size, same everything but the access."""
    hard, soft = METHODS["copy"]["hard NTM"], METHODS["copy"]["soft twin"]
    assert dataclasses.replace(hard, access="soft") == soft
    hard_names = {name: value.shape for name, value in make_learner(hard).model.named_parameters()}
    assert hard_names == {name: value.shape for name, value in make_learner(soft).model.named_parameters()}


def test_a_number_that_is_not_finite_stops_the_training(monkeypatch):
    """At once, before anything is trained on it, and the culprit is named."""
    monkeypatch.setattr("hardmem.agents.estimates.surrogate", lambda log_prob, cost, **rest: log_prob.sum() * math.inf)
    with pytest.raises(NonFiniteError, match=r"update 1: loss is -?inf, expected a finite number"):
        train(SMALL_HARD)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            AgentConfig(env="hardmem/Coppy-v0"),
            r"unknown environment 'hardmem/Coppy-v0'; did you mean 'hardmem/Copy-v0'\?",
        ),
        (AgentConfig(policy="mlp"), "unknown policy 'mlp'; choose one of"),
        (AgentConfig(baseline="magic"), "unknown baseline 'magic'; choose one of"),
        (AgentConfig(baseline="leave-one-out", group_size=1), "group_size must be at least 2, got 1"),
        (SequenceConfig(task="cpoy"), "unknown task 'cpoy'; choose one of"),
        (SequenceConfig(model="transformer"), "unknown model 'transformer'; choose one of"),
        (SequenceConfig(access="sort"), "unknown access 'sort'; choose one of"),
        (SequenceConfig(addressing="here"), "unknown addressing 'here'; choose one of"),
        (SequenceConfig(heads=("reed",)), "heads must be of"),
    ],
)
def test_unknown_names_are_one_sentence(config, message):
    """Each lists what could have been meant."""
    with pytest.raises(ValueError, match=message):
        train(config)
