"""Memory networks: against the papers in loops, exact gradients by enumeration, and what they learn."""

import itertools
import math

import pytest
import torch

from hardmem.baselines import make_baseline
from hardmem.estimators import surrogate
from hardmem.estimators.enumeration import Replay, all_choices, check_gradient
from hardmem.models import memory_network
from hardmem.models.memory_network import SUPERVISION, TYING, MemoryNetwork, as_questions, ranking_cost
from hardmem.tasks import make_task
from tests import device_guard

F64 = torch.float64
SIZES, B, F, Q, K, D = (3, 4, 2), 2, 3, 2, 2, 5


def build(**options) -> MemoryNetwork:
    """A network of large parameters, so that matches are far from equal."""
    torch.manual_seed(0)
    options = {"num_hops": K, "max_facts": F, "hidden_size": D, "dtype": F64} | options
    network = MemoryNetwork(SIZES, 2, **options).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.8)
            if name.startswith("words."):
                parameter[0] = 0  # the blank
    return network


def rows(count: int, seed: int, blank_answer: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    symbols = [torch.randint(1, size + 1, (count, B), generator=generator) for size in SIZES]
    if blank_answer:
        symbols[-1] = torch.zeros_like(symbols[-1])
    return torch.stack(symbols, dim=-1)


def paper(
    network: MemoryNetwork,
    facts: list[list[int]],
    question: list[int],
    choices: list[int] | None,
    empty: list[bool] | None = None,
):
    """Sukhbaatar et al. 2015, sections 2.1, 2.2 and 4.1, one question, in loops; hard where choices are given.

    `empty`: after which facts an empty one is thought in, the section's random noise.
    """
    adjacent = network.tying == "adjacent"

    def embed(table: int, row: list[int]) -> torch.Tensor:
        total = torch.zeros(D, dtype=F64)
        for channel, symbol in enumerate(row):
            if symbol == 0:
                continue
            word = symbol + sum(SIZES[:channel])
            for d in range(D):
                j, J, k = channel + 1, len(SIZES), d + 1
                place = (1 - j / J) - (k / D) * (1 - 2 * j / J) if network.position_encoding else 1.0
                total[d] += place * network.words[table].weight[word, d]
        return total

    u, log_prob = embed(0, question), []
    for hop in range(K):
        a, c = (hop, hop + 1) if adjacent else (1, 2)
        match, values = [], []
        for i, fact in enumerate(facts):
            age = sum(1 + (empty is not None and empty[later]) for later in range(i + 1, len(facts)))
            match.append((u @ (embed(a, fact) + network.ages[a].weight[age])).item())
            values.append(embed(c, fact) + network.ages[c].weight[age])
        match.append((u @ network.stop[hop if adjacent else 0]).item())
        values.append(torch.zeros(D, dtype=F64))
        p = [math.exp(m) / sum(math.exp(n) for n in match) for m in match]
        if network.linear:
            p = match
        if choices is not None:
            if hop and choices[hop - 1] == len(facts):
                p = [0.0] * len(facts) + [1.0]
            log_prob.append(math.log(p[choices[hop]]))
            p = [float(i == choices[hop]) for i in range(len(p))]
        o = sum(weight * value for weight, value in zip(p, values, strict=True))
        u = (u if adjacent else network.between.weight @ u) + o
    if adjacent:
        first = 1 + SIZES[0] + SIZES[1]
        return network.words[-1].weight[first : first + SIZES[2]] @ u, log_prob
    return network.answer_layer.weight @ u, log_prob


@pytest.mark.parametrize("position_encoding", [False, True])
@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("access", ["soft", "linear", "sampled"])
def test_equals_the_paper_in_loops(access, tying, position_encoding):
    """Logits, and under hard access the log-probabilities of what was chosen."""
    linear = access == "linear"
    network = build(tying=tying, position_encoding=position_encoding, access="soft" if linear else access)
    network.linear = linear
    check_against_paper(network)


@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("access", ["soft", "sampled"])
def test_scalar_cells_equal_the_paper_in_loops(access, tying, monkeypatch):
    """Facts of one number each, W = 1."""
    monkeypatch.setattr(f"{__name__}.D", 1)
    check_against_paper(build(tying=tying, access=access, hidden_size=1))


def check_against_paper(network: MemoryNetwork) -> None:
    facts, questions = rows(F, seed=1), rows(Q, seed=2, blank_answer=True)
    answer = network.answer(questions, network.store(facts), torch.Generator().manual_seed(3))
    for q in range(Q):
        for b in range(B):
            choices = None if answer.record is None else answer.record.index[q, b].tolist()
            expected, log_prob = paper(network, facts[:, b].tolist(), questions[q, b].tolist(), choices)
            torch.testing.assert_close(answer.logits[q, b], expected)
            if choices is not None:
                torch.testing.assert_close(answer.record.log_prob[q, b], torch.tensor(log_prob, dtype=F64))


@pytest.mark.parametrize("tying", TYING)
def test_the_learned_stop_in_loops(tying):
    """Every pair of choices of two hops, to stop among them: answers and probabilities, which add up to 1."""
    network, facts, question = build(tying=tying, access="sampled"), rows(F, seed=1), rows(1, seed=2)
    total = 0.0
    for first, second in itertools.product(range(F + 1), repeat=K):
        if first == F and second < F:
            continue  # having stopped, it does not go on
        choices = torch.tensor([first, second]).expand(1, B, K)
        answer = network.answer(question, network.store(facts), choices=choices)
        for b in range(B):
            expected, log_prob = paper(network, facts[:, b].tolist(), question[0, b].tolist(), [first, second])
            torch.testing.assert_close(answer.logits[0, b], expected)
            torch.testing.assert_close(answer.record.log_prob[0, b], torch.tensor(log_prob, dtype=F64))
        total += answer.record.joint_log_prob.exp()
    torch.testing.assert_close(total, torch.ones(1, B, dtype=F64))


@pytest.mark.parametrize("tying", TYING)
def test_time_noise_in_loops(tying):
    """The answers of a network that counts empty facts, with the same uniforms."""
    network = build(tying=tying, time_noise=0.5, max_facts=2 * F).train()
    facts, questions = rows(F, seed=1), rows(Q, seed=2)
    logits = network(questions, network.store(facts), torch.Generator().manual_seed(3))[0]
    empty = torch.rand(B, F, generator=torch.Generator().manual_seed(3)) < 0.5
    assert empty[:, 1:].any(), "noise that would change nothing"
    for q, b in itertools.product(range(Q), range(B)):
        expected, _ = paper(network, facts[:, b].tolist(), questions[q, b].tolist(), None, empty[b].tolist())
        torch.testing.assert_close(logits[q, b], expected)


def test_how_hops_that_share_begin():
    """A question is matched by its own words, and nothing but what was read goes on to the next hop."""
    network = MemoryNetwork(SIZES, 2, num_hops=K, max_facts=F, tying="layer-wise")
    for _ in range(2):
        assert torch.equal(network.words[0].weight, network.words[1].weight)
        assert not torch.equal(network.words[1].weight, network.words[2].weight)
        assert not network.between.weight.any()
        network.reset_parameters()


def test_hops_that_share_may_become_more():
    """A network of one hop, told to take three: the one that was built with three."""
    grown, built = (build(tying="layer-wise", access="argmax", num_hops=hops) for hops in (1, 3))
    built.load_state_dict(grown.state_dict())
    facts, questions = rows(F, seed=1), rows(Q, seed=2)
    expected = built(questions, built.store(facts))[0]
    assert not torch.allclose(grown(questions, grown.store(facts))[0], expected)
    grown.num_hops = 3
    torch.testing.assert_close(grown(questions, grown.store(facts))[0], expected)


@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("access", ["soft", "sampled", "argmax"])
def test_manners(access, tying):
    """Facts one after another, masked facts, time and batch swapped, questions apart: the same answers."""
    network, questions = build(access=access, tying=tying), rows(Q, seed=2)
    facts, draw = rows(F, seed=1), torch.Generator()
    expected, state = network(questions, network.store(facts), draw.manual_seed(3))
    in_parts = network.store(facts[1:], state=network.store(facts[:1]))
    torch.testing.assert_close(network(questions, in_parts, draw.manual_seed(3))[0], expected)
    swapped = build(access=access, tying=tying, batch_first=True)
    stored = swapped.store(facts.transpose(0, 1))
    outputs, _ = swapped(questions.transpose(0, 1), stored, draw.manual_seed(3))
    torch.testing.assert_close(outputs.transpose(0, 1), expected)
    if access != "sampled":
        fewer = network.store(facts[:2])
        junk = torch.cat([facts[:2], rows(1, seed=9)])
        masked = network.store(junk, torch.tensor([[True], [True], [False]]).expand(-1, B))
        torch.testing.assert_close(network(questions, masked)[0], network(questions, fewer)[0])
    assert state.words.shape == (B, F, len(SIZES))


def test_after_stopping_nothing_is_read():
    """Whatever it would choose; the probability of going on to stop is 1."""
    network, questions = build(access="sampled", num_hops=3), rows(1, seed=2)
    choices = torch.full((1, B, 3), -1)
    choices[..., 1] = F
    answer = network.answer(questions, network.store(rows(F, seed=1)), choices=choices)
    assert (answer.record.index[..., 1:] == F).all()
    assert not answer.record.log_prob[..., 2].any()
    assert not answer.record.entropy[..., 2].any()


@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("access", ["soft", "argmax"])
def test_gradcheck(access, tying):
    """All parameters against finite differences; where facts are chosen, with the choices as they are."""
    network = build(access=access, tying=tying, max_facts=2, hidden_size=2)
    facts, questions = network.store(rows(2, seed=1)), rows(1, seed=2)  # without the blank, which learns nothing
    names, parameters = zip(*network.named_parameters(), strict=True)

    def run(*given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, dict(zip(names, given, strict=True)), (questions, facts))[0]

    assert torch.autograd.gradcheck(run, [part.detach().requires_grad_() for part in parameters], fast_mode=True)


def forced(network: MemoryNetwork) -> Replay:
    """Every pair of choices, for one question of one sequence; those after a stop cannot be."""
    choices = all_choices(1, K, F + 1)
    N = choices.shape[1]
    state = network.store(rows(F, seed=1)[:, :1].expand(-1, N, -1))
    answer = network.answer(rows(1, seed=2)[:, :1].expand(-1, N, -1), state, choices=choices)
    possible = (answer.record.log_prob > -torch.inf).all(dim=-1)[0]
    cost = -answer.logits.log_softmax(dim=-1)[..., 0][:, possible]
    return Replay(choices[:, possible], answer.record.log_prob[:, possible], cost, torch.ones_like(cost))


@pytest.mark.parametrize("tying", TYING)
def test_reinforce_is_unbiased(tying):
    """The expected gradient of the surrogate over all choices of two hops is the exact one."""
    network = build(access="sampled", tying=tying)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.3)
    replay = forced(network)
    torch.testing.assert_close(replay.log_prob.sum(dim=(0, 2)).exp().sum(), torch.ones((), dtype=F64))
    check = check_gradient(replay, list(network.parameters()), lambda r: surrogate(r.log_prob, r.cost))
    assert check.error < 1e-12


@pytest.mark.parametrize("tying", TYING)
@pytest.mark.parametrize("hops", [1, 2])
def test_loss_sums_over_the_last_fact(hops, tying):
    """-log sum over facts of p(fact) p(answer | fact), each path forced; REINFORCE for the fact before alone."""
    network, draw = build(access="sampled", num_hops=hops, tying=tying), torch.Generator()
    facts, questions = network.store(rows(F, seed=1)), rows(Q, seed=2, blank_answer=True)
    targets = torch.tensor([[1, 2], [2, 1]])
    loss = network.loss(questions, targets, facts, generator=draw.manual_seed(3))
    first = network.answer(questions, facts, draw.manual_seed(3)).record.index[..., :1]
    paths, log_prob = [], None
    for fact in range(F + 1):
        last = torch.full_like(first, fact)
        answer = network.answer(questions, facts, choices=torch.cat([first, last], dim=-1)[..., -hops:])
        right = answer.logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1) - 1).squeeze(-1)
        paths.append(answer.record.log_prob[..., -1] + right)
        log_prob = answer.record.log_prob[..., 0] if hops == 2 else torch.zeros_like(right)
    cost = -torch.stack(paths).logsumexp(dim=0)
    expected = (cost + log_prob * cost.detach()).mean()
    torch.testing.assert_close(loss, cost.mean())
    parameters = list(network.parameters())
    slopes = [torch.autograd.grad(of, parameters, allow_unused=True, materialize_grads=True) for of in (loss, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("supervision", ["none", "partial"])
def test_loss_has_the_gradient_of_its_expectation(supervision, monkeypatch):
    """Over all first facts, by their probability: what is drawn answers for all that follows, margins included."""
    network = build(access="sampled", supervision=supervision)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.3)
    facts, question = network.store(rows(F, seed=1)[:, :1]), rows(1, seed=2)[:, :1]
    support, target = torch.tensor([[[2, 0]]]), torch.ones(1, 1, dtype=torch.int64)
    parameters, exact, estimate = list(network.parameters()), 0.0, 0.0
    known = network._known(support, F)
    for fact in range(F + 1):
        monkeypatch.setattr(
            memory_network, "sample_index", lambda logits, _, fact=fact: (0 * logits[..., 0]).long() + fact
        )
        answer = network._answer(question, facts, None, known, sum_last=True)
        cost = -answer.logits[0, 0, 0]
        if known is not None:
            cost = cost + ranking_cost(answer.scores[0, 0, 1], known[0, 0, 1], network.margin)
        probability = answer.record.log_prob[0, 0, 0].exp()
        exact = exact + probability * cost
        estimate = estimate + probability.detach() * network.loss(question, target, facts, support=support)
    torch.testing.assert_close(torch.autograd.grad(estimate, parameters), torch.autograd.grad(exact, parameters))


def test_ranking_cost_by_hand():
    """Scores 2, 1.95, 0 and no fact; margin 0.1: only the second comes too close to the first."""
    scores = torch.tensor([[2.0, 1.95, 0.0, -torch.inf]])
    torch.testing.assert_close(ranking_cost(scores, torch.tensor([0]), 0.1), torch.tensor([0.05]))
    torch.testing.assert_close(ranking_cost(scores, torch.tensor([2]), 0.1), torch.tensor([2.1 + 2.05]))
    assert ranking_cost(scores, torch.tensor([-1]), 0.1).item() == 0
    scores.requires_grad_()
    ranking_cost(scores, torch.tensor([2]), 0.1).sum().backward()
    assert scores.grad.tolist() == [[1.0, 1.0, -2.0, 0.0]]


def test_what_supervision_looks_at():
    """None: nothing; partial: the fact that answers; full: all of it."""
    support = torch.tensor([[[2, 0, F], [1, F, F]]])
    known = {name: build(supervision=name)._known(support, F) for name in SUPERVISION}
    assert known["none"] is None
    assert known["partial"].tolist() == [[[-1, 0, -1], [1, -1, -1]]]
    assert torch.equal(known["full"], support)


@pytest.mark.parametrize("name", ["fact-recall", "multi-hop"])
def test_as_questions_reads_a_problem(name):
    """The answer of every question stands in the last fact of its support; cues, targets and counts agree."""
    task = make_task(name)
    problem = task.draw(50, generator=torch.Generator().manual_seed(0))
    K = task.max_hops + 1
    questions = as_questions(problem, max_facts=task.max_facts, max_questions=task.max_questions, num_hops=K)
    assert torch.equal(questions.mask.sum(dim=0), problem.mask.sum(dim=0))
    for b in range(50):
        for q in range(int(questions.mask[:, b].sum())):
            needed = [fact for fact in questions.support[q, b].tolist() if fact < task.max_facts]
            chain = [questions.facts[fact, b].tolist() for fact in needed]
            assert chain[-1][-1] == questions.targets[q, b]
            cue = questions.questions[q, b].tolist()
            if name == "fact-recall":
                assert any(a == b != 0 for a, b in zip(cue[:-1], chain[0][:-1], strict=True))
            else:
                assert cue[:2] == [chain[0][0], len(chain)]
                assert all(one[1] == other[0] for one, other in itertools.pairwise(chain))
            assert questions.support[q, b].tolist() == needed + [task.max_facts] * (K - len(needed))


def learn(name: str, updates: int, *, seed: int = 0, group_size: int = 1, rate: float = 1e-2, **options) -> float:
    """Train, and return the share of right answers to fresh questions."""
    torch.manual_seed(seed)
    generator, task = torch.Generator().manual_seed(seed), make_task(name, **options.pop("difficulty", {}))
    network = MemoryNetwork(
        task.input_sizes, task.answer_channel, num_hops=task.max_hops, max_facts=task.max_facts, **options
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    baseline = make_baseline("leave-one-out", num_features=1, group_size=group_size) if group_size > 1 else None

    def draw(count: int):
        problem = task.draw(count, generator=generator).repeat(group_size)
        return as_questions(problem, max_facts=task.max_facts, max_questions=task.max_questions, num_hops=task.max_hops)

    for _ in range(updates):
        drawn = draw(32)
        state = network.store(drawn.facts, drawn.facts_mask)
        loss = network.loss(
            drawn.questions, drawn.targets, state,
            support=drawn.support, mask=drawn.mask, baseline=baseline, generator=generator,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = draw(200)
    if network.access == "sampled":
        network.access = "argmax"
    logits, _ = network.eval()(drawn.questions, network.store(drawn.facts, drawn.facts_mask))
    return float(((logits.argmax(dim=-1) + 1 == drawn.targets) & drawn.mask).sum() / drawn.mask.sum())


@pytest.mark.parametrize(
    ("access", "supervision", "group_size"),
    [("soft", "none", 1), ("sampled", "none", 4), ("sampled", "full", 1), ("soft", "partial", 1)],
)
def test_learns_fact_recall(access, supervision, group_size):
    """By back-propagation, by REINFORCE, and by being told."""
    assert learn("fact-recall", 120, access=access, supervision=supervision, group_size=group_size) > 0.95


@pytest.mark.parametrize(("supervision", "group_size"), [("full", 1), ("partial", 4), ("none", 4)])
def test_learns_two_hops(supervision, group_size):
    """Drawn ones: told both facts, told the last, told none."""
    difficulty = {"min_length": 2, "max_length": 2, "num_keys": 8}
    options = {"supervision": supervision, "group_size": group_size, "difficulty": difficulty}
    assert learn("multi-hop", 300, access="sampled", **options) > 0.95


@pytest.mark.parametrize("access", ["soft", "sampled", "argmax"])
@pytest.mark.parametrize("tying", TYING)
def test_devices(access, tying):
    """Nothing for which the host would wait, and nothing left on the CPU."""
    task = make_task("multi-hop")
    network = MemoryNetwork(
        task.input_sizes, task.answer_channel, num_hops=5, max_facts=task.max_facts,
        access=access, tying=tying, supervision="partial", time_noise=0.1,
    )  # fmt: skip

    def train_step(device):
        problem = task.draw(4, device=device)
        drawn = as_questions(problem, max_facts=task.max_facts, max_questions=1, num_hops=5)
        state = network.store(drawn.facts, drawn.facts_mask)
        network.loss(drawn.questions, drawn.targets, state, support=drawn.support, mask=drawn.mask).backward()

    with device_guard.no_host_reads():
        train_step("cpu")
    network.to("meta")
    with device_guard.fake_device() as device:
        train_step(device)


def test_time_noise_only_in_training():
    """Ages grow at random, from the generator given; they keep their order."""
    network = build(time_noise=0.5, max_facts=20)
    mask = torch.ones(B, 10, dtype=torch.bool)
    plain = network._age(mask, None)
    assert plain[0].tolist() == list(range(9, -1, -1))
    network.train()
    noisy = network._age(mask, torch.Generator().manual_seed(0))
    assert (noisy >= plain).all()
    assert (noisy.diff(dim=1) < 0).all()
    assert (noisy > plain).any()


def test_what_does_not_fit_is_refused():
    """The message names what was expected and what came."""
    with pytest.raises(ValueError, match="num_hops must be at least 1, got 0"):
        build(num_hops=0)
    with pytest.raises(ValueError, match="unknown supervision 'half'"):
        build(supervision="half")
    with pytest.raises(ValueError, match="unknown tying 'none'"):
        build(tying="none")
    with pytest.raises(ValueError, match="unknown access 'hard'"):
        build(access="hard")
    network = build(supervision="full")
    with pytest.raises(ValueError, match="at most max_facts = 3 facts can be stored, got 4"):
        network.store(rows(4, seed=0))
    with pytest.raises(ValueError, match=r"must be \(F, B, C\) with C = 3, got \(3, 2, 2\)"):
        network.store(rows(3, seed=0)[..., :2])
    with pytest.raises(ValueError, match="supervision='full' needs support"):
        network.loss(rows(Q, seed=2), torch.ones(Q, B, dtype=torch.int64), network.store(rows(F, seed=1)))
    with pytest.raises(ValueError, match="needs up to 4 hops, got num_hops=2"):
        as_questions(make_task("multi-hop").draw(1), max_facts=7, max_questions=1, num_hops=2)
