"""Attention and the encoder-decoder: against the papers in loops, gradients, exact sums over choices, and manners."""

import itertools
import math

import pytest
import torch

from hardmem.estimators import surrogate
from hardmem.estimators.enumeration import Replay, all_choices, check_gradient
from hardmem.models.attention import ATTENTIONS, make_attention
from hardmem.models.encoder_decoder import EncoderDecoder
from hardmem.tasks.spelling import LETTERS, SOUNDS, draw_words, pronounce, spell_out
from tests import device_guard

B, S, T, D, W, A = 3, 5, 4, 3, 4, 6
F64 = torch.float64


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def build(name: str, width: int = W):
    torch.manual_seed(0)
    attention = make_attention(name, D, width, A).double().eval()
    mask = torch.arange(S) < torch.tensor([[5], [3], [1]])
    return attention, attention.prepare(rand(B, S, width), mask)


def additive(attention, query, cells, state):
    """Bahdanau, Cho & Bengio 2015, appendix A.1.2 and the softmax of section 3.1; cells of one source."""
    project_query, project_cells = attention.project_query, attention.project_cells
    scores = []
    for cell in cells:
        hidden = project_query.weight @ query + project_query.bias + project_cells.weight @ cell
        scores.append((attention.score.weight[0] @ hidden.tanh()).item())
    return [math.exp(score) / sum(map(math.exp, scores)) for score in scores], state


def window(attention, query, cells, state):
    """Graves 2013, section 5.1."""
    K = len(state)
    raw = (attention.bumps.weight @ query + attention.bumps.bias).tolist()
    state = [state[k] + math.exp(raw[2 * K + k]) for k in range(K)]
    weights = [
        sum(math.exp(raw[k]) * math.exp(-math.exp(raw[K + k]) * (state[k] - u) ** 2) for k in range(K))
        for u in range(1, len(cells) + 1)
    ]
    return weights, state


def monotonic(attention, query, cells, state):
    """Raffel et al. 2017, eqs. 11-14, cell by cell."""
    project_query, project_cells = attention.project_query, attention.project_cells
    weights, passed = [], 0.0  # passed is (1 - p) q of the cell before
    for j, cell in enumerate(cells):
        hidden = (project_query.weight @ query + project_query.bias + project_cells.weight @ cell).tanh()
        direction = attention.direction / attention.direction.norm()
        energy = (attention.gain * direction @ hidden + attention.offset).item()  # eq. 11
        p = 1 / (1 + math.exp(-energy))  # eq. 12
        q = passed + state[j]  # eq. 13
        weights.append(p * q)  # eq. 14
        passed = (1 - p) * q
    return weights, weights


PAPERS = {"additive": additive, "window": window, "monotonic": monotonic}


@pytest.mark.parametrize("width", [1, W])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_equals_the_paper_in_loops(name, width):
    """Over a few steps, each source of another length; nothing beyond its end. Cells are scalars, or vectors."""
    attention, source = build(name, width)
    state = attention.initial_state(source)
    states = [
        row[: int(mask.sum())] if name == "monotonic" else row for row, mask in zip(state, source.mask, strict=True)
    ]
    states = [row.tolist() for row in states]
    for t in range(T):
        query = rand(B, D, seed=t)
        weights, state = attention(query, source, state)
        for b in range(B):
            length = int(source.mask[b].sum())
            expected, states[b] = PAPERS[name](attention, query[b], source.cells[b, :length], states[b])
            torch.testing.assert_close(weights[b, :length], torch.tensor(expected, dtype=F64))
            assert not weights[b, length:].any()
    if attention.normalised:
        assert (weights.sum(dim=-1) <= 1 + 1e-12).all()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gradcheck(name):
    """Through query, cells and state."""
    attention, source = build(name)
    state = attention.initial_state(source) * 0.9 + 0.01

    def run(query, cells, state):
        return attention(query, attention.prepare(cells, source.mask), state)

    given = [part.detach().clone().requires_grad_() for part in (rand(B, D), source.cells, state)]
    assert torch.autograd.gradcheck(run, given)


def test_monotonic_from_one_cell_never_goes_back():
    """From a one-hot the weights lie at it and after it, and are finite where decisions are sure."""
    attention, source = build("monotonic")
    with torch.no_grad():
        attention.gain.fill_(1e4)
    state = torch.zeros(B, S, dtype=F64)
    state[:, 2] = 1
    state.requires_grad_()
    weights, _ = attention(rand(B, D), source, state)
    assert not weights[:, :2].any()
    weights.sum().backward()
    assert weights.isfinite().all()
    assert state.grad.isfinite().all()


def test_monotonic_noise_only_in_training():
    """From the generator given."""
    attention, source = build("monotonic")
    state = attention.initial_state(source)

    def look(seed):
        return attention(rand(B, D), source, state, torch.Generator().manual_seed(seed))[0]

    assert torch.equal(look(0), look(1))
    attention.train()
    assert torch.equal(look(0), look(0))
    assert not torch.equal(look(0), look(1))


def model(**options) -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(2, 3, hidden_size=4, dtype=F64, **options).eval()


COMBINATIONS = [
    {"attention": name, "access": access, "feeding": feeding}
    for name in ATTENTIONS
    for access in ("soft", "sampled", "argmax", "exact")
    for feeding in (False, True)
    if (name != "window" or access == "soft") and (access != "exact" or (name == "additive" and not feeding))
]


def named(options: dict) -> str:
    return "-".join(map(str, options.values()))


@pytest.mark.parametrize("options", COMBINATIONS, ids=named)
def test_steps_parts_and_batch_first(options):
    """A sequence in two parts equals the whole, time and batch can be swapped, outputs are log-probabilities."""
    net, inputs, previous = model(**options), rand(S, B, 2), rand(T, B, 3, seed=1)
    generator = torch.Generator().manual_seed(3)
    whole, _ = net(inputs, previous, generator=generator)
    assert whole.shape == (T, B, 3)
    torch.testing.assert_close(whole.exp().sum(dim=-1), torch.ones(T, B, dtype=F64))
    generator.manual_seed(3)
    first, state = net.decode(previous[:1], net.encode(inputs), generator)
    second, _ = net.decode(previous[1:], state, generator)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    swapped = model(**options, batch_first=True)
    outputs, _ = swapped(inputs.transpose(0, 1), previous.transpose(0, 1), generator=generator.manual_seed(3))
    torch.testing.assert_close(outputs.transpose(0, 1), whole)


@pytest.mark.parametrize("options", COMBINATIONS, ids=named)
def test_every_parameter_learns(options):
    """Cost and log-probabilities together send a finite gradient to all parameters."""
    net = model(**options)
    outputs, _, record = net.trace(rand(T, B, 3, seed=1), net.encode(rand(S, B, 2)), torch.Generator().manual_seed(3))
    (outputs[..., 0].sum() + (0 if record is None else (record.log_prob + record.entropy).sum())).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("options", COMBINATIONS, ids=named)
def test_gradcheck_of_the_whole(options):
    """All parameters against finite differences; where cells are chosen, with the choices as they are."""
    net, inputs, previous = model(**options), rand(3, 1, 2), rand(2, 1, 3, seed=1)
    names, parameters = zip(*net.named_parameters(), strict=True)

    def run(*given: torch.Tensor) -> torch.Tensor:
        draw = torch.Generator().manual_seed(3)
        values = dict(zip(names, given, strict=True))
        return torch.func.functional_call(net, values, (inputs, previous), {"generator": draw})[0]

    given = [part.detach().requires_grad_() for part in parameters]
    assert torch.autograd.gradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("options", COMBINATIONS, ids=named)
def test_what_is_masked_is_not_seen(options):
    """The cells of a padded source beyond its end make no difference to a decoder that got the cells of the others."""
    net, mask = model(**options), torch.tensor([[True], [True], [False]])
    outputs = []
    for junk in (0.0, 100.0):
        state = net.encode(rand(3, 1, 2), mask)
        cells = state.source.cells.clone()
        cells[:, 2] = junk
        state = state._replace(source=net.attention.prepare(cells, mask.T))
        generator = torch.Generator().manual_seed(3)
        outputs.append(net.decode(rand(T, 1, 3, seed=1), state, generator)[0])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-12)


def forced(net: EncoderDecoder, num_steps: int, num_choices: int) -> tuple[Replay, torch.Tensor]:
    """Every sequence of choices on one problem; the cost of a step is minus the log-probability of symbol t mod 3."""
    choices = all_choices(num_steps, 1, num_choices)
    N = choices.shape[1]
    state = net.encode(rand(num_choices, 1, 2).expand(-1, N, -1))
    outputs, _, record = net.trace(rand(num_steps, 1, 3, seed=1).expand(-1, N, -1), state, choices=choices)
    cost = -torch.stack([outputs[t, :, t % 3] for t in range(num_steps)])
    return Replay(choices, record.log_prob, cost, torch.ones_like(cost)), outputs


@pytest.mark.parametrize("feeding", [False, True])
def test_reinforce_is_unbiased(feeding):
    """The expected gradient of the surrogate over all 27 sequences of choices is the exact one."""
    net = model(access="sampled", feeding=feeding)
    replay, _ = forced(net, 3, 3)
    parameters = list(net.parameters())
    check = check_gradient(replay, parameters, lambda r: surrogate(r.log_prob, r.cost))
    assert check.error < 1e-12
    biased = check_gradient(replay, parameters, lambda r: surrogate(r.log_prob.detach(), r.cost))
    assert biased.error > 1e-4, "without the score function it is another gradient"


def test_reinforce_through_monotonic_choices():
    """The same where each choice limits the next, and looking nowhere is one of them."""
    net = model(attention="monotonic", access="sampled")
    choices = all_choices(2, 1, 4)  # three cells and none
    N = choices.shape[1]
    state = net.encode(rand(3, 1, 2).expand(-1, N, -1))
    outputs, _, record = net.trace(rand(2, 1, 3, seed=1).expand(-1, N, -1), state, choices=choices)
    torch.testing.assert_close(record.log_prob.sum(dim=(0, 2)).exp().sum(), torch.ones((), dtype=F64))
    later = choices[1, :, 0] < choices[0, :, 0]
    assert (record.log_prob[1, later] == -torch.inf).all()
    possible = (record.log_prob > -torch.inf).all(dim=0).squeeze(-1)
    cost = -outputs[..., 0][:, possible]
    replay = Replay(choices[:, possible], record.log_prob[:, possible], cost, torch.ones_like(cost))
    check = check_gradient(replay, list(net.parameters()), lambda r: surrogate(r.log_prob, r.cost))
    assert check.error < 1e-12


def test_exact_is_the_sum_over_all_choices():
    """The probability of an answer: every alignment, weighted, one after the other."""
    net = model(access="exact", feeding=False)
    net_sampled = model(access="sampled", feeding=False)
    replay, _ = forced(net_sampled, 3, 3)
    by_hand = (replay.log_prob.sum(dim=(0, 2)) - replay.cost.sum(dim=0)).exp().sum()
    outputs, _ = net(rand(3, 1, 2), rand(3, 1, 3, seed=1))
    exact = sum(outputs[t, 0, t % 3] for t in range(3)).exp()
    torch.testing.assert_close(exact, by_hand)


def test_sampled_draws_what_its_weights_say():
    """20,000 draws of the first look against the weights, 5 standard deviations; the same seed draws the same."""
    net, draws = model(attention="monotonic", access="sampled"), 20_000
    state = net.encode(rand(S, 1, 2).expand(-1, draws, -1))
    previous = rand(1, 1, 3, seed=1).expand(-1, draws, -1)
    _, _, record = net.trace(previous, state, torch.Generator().manual_seed(0))
    again = net.trace(previous, state, torch.Generator().manual_seed(0))[2]
    assert torch.equal(record.index, again.index)
    counts = torch.bincount(record.index.flatten(), minlength=S + 1)
    net.access = "soft"
    weights = net.decode(previous[:, :1], net.encode(rand(S, 1, 2)))[1].alignment[0].tolist()
    for count, p in zip(counts.tolist(), [*weights, 1 - sum(weights)], strict=True):
        assert abs(count - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5


def test_generate_feeds_back_its_own_answers():
    """Step by step the likeliest symbol, shown to the next step."""
    net, inputs = model(), rand(S, B, 2)
    symbols = net.generate(inputs, T)
    shown = torch.cat([torch.zeros(1, B, 3, dtype=F64), torch.eye(3, dtype=F64)[symbols[:-1]]])
    assert torch.equal(net(inputs, shown)[0].argmax(dim=-1), symbols)


@pytest.mark.parametrize(("attention", "access"), [("additive", "soft"), ("window", "soft"), ("monotonic", "soft")])
def test_learns_to_copy_three_symbols(attention, access):
    """Within a few seconds, answering on its own."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = EncoderDecoder(5, 5, attention=attention, access=access, hidden_size=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    eye = torch.eye(5)
    for _ in range(150):
        symbols = torch.randint(1, 5, (3, 32), generator=generator)
        shown = torch.cat([torch.zeros(1, 32, 5), eye[symbols[:-1]]])
        outputs, _ = net(eye[symbols], shown, generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(outputs.flatten(0, 1), symbols.flatten()).backward()
        optimizer.step()
    symbols = torch.randint(1, 5, (3, 100), generator=generator)
    assert (net.eval().generate(eye[symbols], 3) == symbols).float().mean() > 0.9


@pytest.mark.parametrize("options", COMBINATIONS, ids=named)
def test_devices(options):
    """Nothing for which the host would wait, and nothing left on the CPU."""
    net = EncoderDecoder(2, 3, hidden_size=4, **options)

    def train_step(device):
        mask = torch.ones(S, B, dtype=torch.bool, device=device)
        state = net.encode(torch.randn(S, B, 2, device=device), mask)
        outputs, _, record = net.trace(torch.randn(T, B, 3, device=device), state)
        (outputs.sum() + (0 if record is None else record.log_prob.sum())).backward()
        net.generate(torch.randn(S, B, 2, device=device), T)

    with device_guard.no_host_reads():
        train_step("cpu")
    net.to("meta")
    with device_guard.fake_device() as device:
        train_step(device)


def test_reset_parameters_draws_anew():
    """All of them."""
    net = model(attention="monotonic")
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    net.reset_parameters()
    same = {name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {"attention.gain", "attention.offset"}, "these two start as constants"


def test_what_does_not_fit_is_refused():
    """The message names what was expected and what came."""
    with pytest.raises(
        ValueError, match=r"unknown attention 'global'; choose one of \['additive', 'monotonic', 'window'"
    ):
        model(attention="global")
    with pytest.raises(ValueError, match="unknown access 'hard'"):
        model(access="hard")
    with pytest.raises(ValueError, match="the weights of Window are no probabilities"):
        model(attention="window", access="sampled")
    with pytest.raises(ValueError, match="additive, feeding=False"):
        model(access="exact")
    with pytest.raises(ValueError, match=r"inputs must be \(S, B, I\) with I = 2, got \(5, 3, 1\)"):
        model()(rand(S, B, 1), rand(T, B, 3))


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("ship", "Sip"),
        ("cite", "sait"),
        ("cat", "kat"),
        ("late", "lAt"),
        ("cute", "kjUt"),
        ("chilling", "CiliN"),
        ("gem", "jem"),
        ("goose", "gUs"),
        ("be", "be"),
        ("thaid", "TAd"),
        ("matted", "mated"),
    ],
)
def test_rules_of_spelling(word, sounds):
    """Each rule once, worked by hand."""
    assert "".join(pronounce(word)) == sounds


def test_words_as_tensors():
    """Padded with blanks, of which the first after a word counts; the same seed draws the same words."""
    words = spell_out(["ship", "be"])
    assert words.letters.shape == (4, 2)
    assert words.letters[:, 1].tolist() == [LETTERS.index("b") + 1, LETTERS.index("e") + 1, 0, 0]
    assert [SOUNDS[number - 1] for number in words.sounds[:3, 0].tolist()] == ["S", "i", "p"]
    assert words.mask.T.tolist() == [[True] * 4, [True] * 3 + [False]]
    first, again = (draw_words(20, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
        draw_words(0)
    with pytest.raises(ValueError, match=r"got \['x'\] in 'axe'"):
        pronounce("axe")


def test_the_rules_use_every_sound_and_never_stop():
    """Of 2,000 words: all sounds appear, none has more sounds than letters but by long u and i."""
    generator = torch.Generator().manual_seed(0)
    words = draw_words(2000, generator=generator)
    assert set(words.sounds.flatten().tolist()) >= set(range(len(SOUNDS) + 1)) - {SOUNDS.index("h") + 1}
    for letters, mask in itertools.islice(zip(words.letters.T, words.mask.T, strict=True), 200):
        assert mask.sum() - 1 <= (letters > 0).sum()
