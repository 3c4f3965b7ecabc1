"""The Neural Turing Machine: against the paper in loops, soft against hard, and its manners as a module."""

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

from hardmem.access import ACCESS, DRAWN, HARD
from hardmem.memory import HardAddress, SoftAddress
from hardmem.models import CONTROLLERS, NTM
from hardmem.models.ntm import ORDERS
from hardmem.schemes import SCHEMES

T, B, N, W, D = 5, 3, 5, 3, 6
INPUTS, OUTPUTS = 2, 4
LAYOUTS = [("read", "write"), ("read-write",), ("write", "read", "read-write", "write")]
EVERY = pytest.mark.parametrize(
    ("access", "order", "addressing"),
    [(access, order, addressing) for access in ACCESS for order in ORDERS for addressing in SCHEMES],
)


def build(**options) -> NTM:
    """A small machine in float64 with the same parameters every time; its gates, if any, stand open."""
    torch.manual_seed(0)
    options = {"num_cells": N, "cell_width": W, "hidden_size": D, "memory_init": 0.1} | options
    ntm = NTM(INPUTS, OUTPUTS, **options).double()
    with torch.no_grad():
        for parameter in ntm.parameters():
            parameter.mul_(2)  # so that addresses are far from uniform
        for name, parameter in ntm.named_parameters():
            if "gate" in name.rpartition(".")[-1]:
                parameter.fill_(0.7)
    return ntm


def sequence(steps: int = T, batch: int = B) -> torch.Tensor:
    return torch.randn(steps, batch, INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Reference(NamedTuple):
    """What the machine of the paper gives, (T, ...), for one sequence."""

    output: torch.Tensor
    log_prob: torch.Tensor
    entropy: torch.Tensor
    memory: torch.Tensor


def paper(ntm: NTM, inputs: torch.Tensor, index: torch.Tensor | None) -> Reference:
    """Graves, Wayne & Danihelka 2014, eqs. 2-9, one sequence (T, INPUTS), loops over heads and cells; feed-forward.

    With `index` (T, H) every address becomes that one cell after its weights are computed. A gate multiplies what it
    stands before; without gates it is 1.
    """
    read_gate, bypass_gate = (1.0 if gate is None else gate for gate in (ntm.read_gate, ntm.bypass_gate))
    memory = [torch.full((W,), ntm.memory_init, dtype=torch.float64) for _ in range(N)]
    H = ntm.num_heads
    w = [[1.0 if n == 0 else 0.0 for n in range(N)] for _ in range(H)]
    read = torch.zeros(W * len(ntm.reading), dtype=torch.float64)
    outputs, log_probs, entropies = [], [], []

    def look() -> torch.Tensor:
        return torch.cat([sum(w[h][n] * memory[n] for n in range(N)) for h in ntm.reading])  # eq. 2

    def store(features: torch.Tensor) -> None:
        raw = (ntm.write_layer.weight @ features + ntm.write_layer.bias).reshape(-1, 2, W)
        for n in range(N):
            for writer, h in enumerate(ntm.writing):
                memory[n] = memory[n] * (1 - w[h][n] * raw[writer, 0].sigmoid())  # eq. 3
            for writer, h in enumerate(ntm.writing):
                memory[n] = memory[n] + w[h][n] * raw[writer, 1]  # eq. 4

    def move(features: torch.Tensor, t: int) -> None:
        raw = (ntm.address_layer.weight @ features + ntm.address_layer.bias).reshape(H, -1)
        log_prob, entropy = [], []
        for h in range(H):
            key, beta, gate = raw[h, :W].tanh(), F.softplus(raw[h, W]), raw[h, W + 1].sigmoid()
            shift, exponent = raw[h, W + 2 : W + 5].softmax(dim=0), 1 + F.softplus(raw[h, W + 5])
            scores = [(beta * (key @ cell) / (key.norm() * cell.norm())).exp() for cell in memory]  # eqs. 5, 6
            gated = [gate * scores[n] / sum(scores) + (1 - gate) * w[h][n] for n in range(N)]  # eq. 7
            rotated = [
                shift[0] * gated[(n + 1) % N] + shift[1] * gated[n] + shift[2] * gated[(n - 1) % N] for n in range(N)
            ]  # eq. 8
            powers = [r**exponent for r in rotated]
            w[h] = [power / sum(powers) for power in powers]  # eq. 9
            entropy.append(-sum(p * p.log() for p in w[h]))
            if index is not None:
                log_prob.append(w[h][index[t, h]].log())
                w[h] = [1.0 if n == index[t, h] else 0.0 for n in range(N)]
        entropies.append(torch.stack(entropy))
        log_probs.append(torch.stack(log_prob or entropy))

    for t, step_inputs in enumerate(inputs):
        if ntm.order == "read-write-move":
            read = look()
        features = ntm.controller.layer(torch.cat([step_inputs, read_gate * read])).tanh()
        if ntm.order == "read-write-move":
            store(features)
            move(features, t)
        else:
            move(features, t)
            store(features)
            read = look()
        outputs.append(ntm.output_layer(torch.cat([bypass_gate * features, read]) if ntm.bypass else read))
    return Reference(torch.stack(outputs), torch.stack(log_probs), torch.stack(entropies), torch.stack(memory))


@pytest.mark.parametrize("heads", LAYOUTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("access", ["soft", "sampled"])
@pytest.mark.parametrize("gated", [False, True])
def test_machine_equals_the_paper_in_loops(access, order, heads, gated):
    """Outputs, memory, and for the cells that were drawn their log-probabilities and entropies."""
    ntm, inputs = build(access=access, order=order, heads=heads, gated=gated), sequence()
    outputs, state, record = ntm.trace(inputs, generator=generator())
    for b in range(B):
        index = None if record is None else record.index[:, b]
        expected = paper(ntm, inputs[:, b], index)
        torch.testing.assert_close(outputs[:, b], expected.output)
        torch.testing.assert_close(state.memory[b], expected.memory)
        if record is not None:
            torch.testing.assert_close(record.log_prob[:, b], expected.log_prob)
            torch.testing.assert_close(record.entropy[:, b], expected.entropy)


@pytest.mark.parametrize("heads", LAYOUTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("moves", [(0, 2, 0, 0), (2, 1, 3, 2), (0, 0, 1, 2)])
def test_soft_machine_that_is_certain_does_what_the_hard_one_does(moves, order, heads):
    """Each head keeps repeating one move, from cell 0, around the circle, several to one cell: the same outputs."""
    machines = {}
    for access in ACCESS:
        ntm = machines[access] = build(access=access, order=order, heads=heads, addressing="head-moves")
        with torch.no_grad():
            ntm.address_layer.weight.zero_()
            bias = torch.full((ntm.num_heads, 5), -1e3, dtype=torch.float64)  # moves -1, 0, 1, home; sharpening
            for head in range(ntm.num_heads):
                bias[head, moves[head]] = 1e3
            ntm.address_layer.bias.copy_(bias.flatten())
    inputs = sequence(steps=7)  # longer than the tape
    expected, state = machines["argmax"](inputs)
    for ntm in machines.values():
        outputs, last = ntm(inputs, generator=generator())
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(last.memory, state.memory)


@EVERY
def test_forward_equals_stepping(access, order, addressing):
    """And a sequence in two halves, handing on the state, equals the whole."""
    ntm, inputs = build(access=access, order=order, addressing=addressing), sequence()
    whole, last, record = ntm.trace(inputs, generator=generator())
    state, draws = ntm.initial_state(B), generator()
    for t in range(T):
        output, state, chosen = ntm.step(inputs[t], state, draws)
        torch.testing.assert_close(output, whole[t], rtol=0, atol=1e-12)
        if record is not None:
            assert torch.equal(chosen.index, record.index[t])
    torch.testing.assert_close(state.memory, last.memory, rtol=0, atol=1e-12)

    draws = generator()
    first, middle = ntm(inputs[:2], generator=draws)
    second, _ = ntm(inputs[2:], middle, draws)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=0)


@EVERY
def test_batch_first_equals_transposed(access, order, addressing):
    """Inputs, outputs and record swap time and batch; nothing else changes."""
    options = {"access": access, "order": order, "addressing": addressing}
    outputs, _, record = build(**options).trace(sequence(), generator=generator())
    swapped, _, record_swapped = build(**options, batch_first=True).trace(
        sequence().transpose(0, 1), generator=generator()
    )
    torch.testing.assert_close(swapped, outputs.transpose(0, 1), rtol=0, atol=0)
    assert (record is None) == (access not in HARD)
    if record is not None:
        assert record.index.shape == (T, B, 2)
        for field, field_swapped in zip(record, record_swapped, strict=True):
            torch.testing.assert_close(field_swapped, field.transpose(0, 1), rtol=0, atol=0)


@EVERY
def test_without_gradients_the_same_happens(access, order, addressing):
    """In-place writes change neither the outputs nor the memory of the state that was handed in."""
    ntm = build(access=access, order=order, addressing=addressing, heads=("read", "write", "write"))
    _, state = ntm(sequence(), generator=generator())
    before = state.memory.detach().clone()
    expected, last = ntm(sequence(), state, generator())
    with torch.no_grad():
        outputs, last_again = ntm(sequence(), state, generator())
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    torch.testing.assert_close(last_again.memory, last.memory, rtol=0, atol=0)
    torch.testing.assert_close(state.memory, before, rtol=0, atol=0)


@EVERY
def test_every_parameter_learns(access, order, addressing):
    """Cost and log-probabilities together send a finite gradient to all parameters."""
    ntm = build(access=access, order=order, addressing=addressing, heads=("read-write", "write"))
    outputs, _, record = ntm.trace(sequence(steps=8, batch=8), generator=generator())
    loss = outputs.square().mean() + (0 if record is None else record.log_prob.mean() + record.entropy.mean())
    loss.backward()
    for name, parameter in ntm.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("addressing", SCHEMES)
@pytest.mark.parametrize("access", sorted(set(ACCESS) - DRAWN))
def test_batch_equals_batches_of_one(access, addressing, order):
    """Where nothing is drawn, a sequence runs the same alone."""
    ntm, inputs = build(access=access, addressing=addressing, order=order), sequence()
    outputs, _ = ntm(inputs)
    for b in range(B):
        torch.testing.assert_close(ntm(inputs[:, b : b + 1])[0], outputs[:, b : b + 1])


@pytest.mark.parametrize("addressing", [name for name, scheme in SCHEMES.items() if scheme.any_size])
@pytest.mark.parametrize("access", ACCESS)
def test_number_of_cells_can_be_overridden(access, addressing):
    """As if it had been built for as many: parameters do not depend on N."""
    ntm, other = (build(access=access, addressing=addressing, num_cells=cells) for cells in (N, 9))
    outputs, state = ntm(sequence(), ntm.initial_state(B, num_cells=9), generator())
    assert state.memory.shape == (B, 9, W)
    torch.testing.assert_close(outputs, other(sequence(), generator=generator())[0], rtol=0, atol=0)


def test_absolute_addresses_refuse_another_number_of_cells():
    """They have one logit per cell."""
    ntm = build(addressing="absolute")
    with pytest.raises(ValueError, match="N = 5 cells, the memory has 9"):
        ntm(sequence(), ntm.initial_state(B, num_cells=9))


@pytest.mark.parametrize("addressing", SCHEMES)
@pytest.mark.parametrize("before", ACCESS)
@pytest.mark.parametrize("after", ACCESS)
def test_access_can_be_switched(before, after, addressing):
    """Between sequences it equals a machine built so; within one, any state goes on under any access."""
    ntm = build(access=before, addressing=addressing)
    _, state = ntm(sequence(), generator=generator())
    ntm.access = after
    expected, _ = build(access=after, addressing=addressing)(sequence(), generator=generator())
    torch.testing.assert_close(ntm(sequence(), generator=generator())[0], expected, rtol=0, atol=0)
    outputs, last = ntm(sequence(), state, generator())
    assert outputs.isfinite().all()
    assert isinstance(last.address, HardAddress if after in HARD else SoftAddress)


def test_sampled_machine_draws_what_its_distribution_says():
    """The first choice of 20,000 sequences of one problem against the soft machine's weights, 5 standard deviations."""
    draws = 20_000
    ntm = build(access="sampled")
    _, _, record = ntm.trace(sequence(steps=1, batch=1).expand(1, draws, INPUTS), generator=generator())
    ntm.access = "soft"
    weights = ntm(sequence(steps=1, batch=1))[1].address.weights[0]
    for head in range(2):
        counts = torch.bincount(record.index[0, :, head], minlength=N)
        for count, p in zip(counts.tolist(), weights[head].tolist(), strict=True):
            assert abs(count - draws * p) <= 5 * (draws * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("addressing", SCHEMES)
def test_same_seed_draws_the_same_addresses(addressing):
    """From the generator given, and from nothing else."""
    ntm, state = build(access="sampled", addressing=addressing), torch.get_rng_state()
    inputs = sequence(batch=50)  # enough that heads that are nearly sure draw something else once
    first, again, other = (ntm.trace(inputs, generator=generator(seed))[2].index for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("access", ACCESS)
def test_saved_and_loaded_it_is_the_same_machine(tmp_path, controller, access):
    """Through a file that is loaded as weights only, into a machine of other parameters."""
    ntm = build(controller=controller, access=access)
    torch.save(ntm.state_dict(), tmp_path / "ntm.pt")
    other = NTM(
        INPUTS, OUTPUTS, num_cells=N, cell_width=W, hidden_size=D, memory_init=0.1, controller=controller, access=access
    )
    other = other.double()
    assert not torch.equal(other(sequence(), generator=generator())[0], ntm(sequence(), generator=generator())[0])
    other.load_state_dict(torch.load(tmp_path / "ntm.pt", weights_only=True))
    torch.testing.assert_close(
        other(sequence(), generator=generator())[0], ntm(sequence(), generator=generator())[0], rtol=0, atol=0
    )


@pytest.mark.parametrize("access", ACCESS)
def test_parameters_do_not_depend_on_the_access(access):
    """Soft and hard models differ in one argument: what one learned the other can load."""
    assert build(access=access).state_dict().keys() == build().state_dict().keys()


@pytest.mark.parametrize("order", ORDERS)
def test_without_bypass_the_output_sees_the_read_vector_alone(order):
    """The output is the linear map of what the last step read."""
    ntm = build(order=order, bypass=False)
    outputs, state = ntm(sequence())
    torch.testing.assert_close(outputs[-1], state.read @ ntm.output_layer.weight.T + ntm.output_layer.bias)
    assert ntm.output_layer.in_features == W


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_gates_start_shut(controller, order):
    """At first the features depend on the present input alone and the outputs on what was read alone."""
    ntm = NTM(INPUTS, OUTPUTS, num_cells=N, cell_width=W, hidden_size=D, controller=controller, order=order)
    plain, scrambled = ntm.initial_state(B), ntm.initial_state(B)
    hidden = tuple(torch.randn_like(part) for part in scrambled.hidden)
    scrambled = scrambled._replace(read=torch.randn_like(scrambled.read), hidden=hidden)
    inputs = sequence().float()[0]
    (one, _, _), (other, _, _) = ntm.step(inputs, plain), ntm.step(inputs, scrambled)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert all(gate == 0 for name, gate in ntm.named_parameters() if name.endswith("gate"))
    with torch.no_grad():
        ntm.output_layer.weight[:, D:] = 0  # what was read
    assert (ntm.step(inputs, plain)[0] == ntm.output_layer.bias).all()


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_gates_open(controller):
    """From the first update on each gate has a gradient: shut is not stuck."""
    ntm = NTM(INPUTS, OUTPUTS, num_cells=N, cell_width=W, hidden_size=D, controller=controller, memory_init=0.1)
    ntm(sequence().float())[0].square().sum().backward()
    gates = {name: gate for name, gate in ntm.named_parameters() if name.endswith("gate")}
    assert len(gates) == (2 if controller == "feed-forward" else 3)
    assert all(gate.grad != 0 for gate in gates.values())


@pytest.mark.parametrize("access", ACCESS)
def test_initial_state(access):
    """Constant cells, every head at cell 0, nothing read; on the device and in the dtype of the parameters."""
    state = build(access=access).initial_state(B)
    assert state.memory.shape == (B, N, W)
    assert (state.memory == 0.1).all()
    assert state.memory.dtype == torch.float64
    assert not state.read.any()
    address = state.address
    if isinstance(address, SoftAddress):
        assert address.weights[1].tolist() == [[1, 0, 0, 0, 0]] * 2
    else:
        assert address.index.tolist() == [[0, 0]] * B
    assert build(access=access).to("meta").initial_state(B).memory.device.type == "meta"


def test_one_step_by_hand():
    """Write 3 to the cell under the head, move on, come home and read it: outputs 0, 0, 3."""
    ntm = NTM(
        1, 1, num_cells=3, cell_width=1, hidden_size=1, addressing="head-moves", access="argmax",
        heads=("read-write",), order="read-write-move", bypass=False, memory_init=0.0,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in ntm.parameters():
            parameter.zero_()
        ntm.controller.layer.weight[0, 0] = 100  # features: the sign of the input
        ntm.address_layer.weight[2, 0] = 50  # +1: on
        ntm.address_layer.weight[3, 0] = -50  # -1: home
        ntm.write_layer.weight[1, 0] = 3  # add 3 times the sign
        ntm.write_layer.bias[0] = -math.inf  # erase nothing
        ntm.output_layer.weight[0, 0] = 1
    outputs, state, record = ntm.trace(torch.tensor([1.0, -1.0, 0.0]).reshape(3, 1, 1))
    assert outputs.flatten().tolist() == [0.0, 0.0, 3.0]
    assert state.memory.flatten().tolist() == [3.0, -3.0, 0.0]
    assert record.index[:2].flatten().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cells": 0}, "num_cells must be at least 1, got 0"),
        ({"cell_width": -1}, "cell_width must be at least 1, got -1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"order": "write"}, r"unknown order 'write'; choose one of \['read-write-move', 'move-write-read'\]"),
        ({"access": "hard"}, "unknown access 'hard'"),
        ({"addressing": "relative"}, "unknown addressing 'relative'"),
        ({"controller": "rnn"}, "unknown controller 'rnn'"),
        ({"heads": ("read",)}, r"one or more reading and writing, got \['read'\]"),
        ({"heads": ("write",)}, r"one or more reading and writing, got \['write'\]"),
        ({"heads": ()}, r"one or more reading and writing, got \[\]"),
        ({"heads": ("read-write", "erase")}, r"got \['read-write', 'erase'\]"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    """At construction, naming the argument and what came."""
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize("shape", [(T, B), (T, B, INPUTS + 1), (1, T, B, INPUTS)])
@pytest.mark.parametrize("batch_first", [False, True])
def test_inputs_must_fit(shape, batch_first):
    """The message names the layout and what came."""
    layout = r"\(B, T, I\)" if batch_first else r"\(T, B, I\)"
    with pytest.raises(ValueError, match=rf"inputs must be {layout} with I = 2, got \({shape[0]}, "):
        build(batch_first=batch_first)(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("addressing", ["least-recently-used", "absolute"])
@pytest.mark.parametrize("access", ["soft", "sampled"])
def test_no_op_cell_is_no_cell(access, addressing, order):
    """What lies in the last cell makes no difference, and nothing is ever written there; elsewhere it is as before."""
    options = {"access": access, "addressing": addressing, "order": order, "heads": ("read-write", "write")}
    ntm, inputs = build(**options, no_op=True), sequence()
    with torch.no_grad():
        ntm.write_layer.weight.mul_(3)
    outputs, state, record = ntm.trace(inputs, generator=generator())
    assert (state.memory[:, -1] == 0.1).all()
    assert (state.memory[:, 0] != 0.1).any()
    plain = build(**options)
    plain.load_state_dict(ntm.state_dict())
    at_last = torch.tensor([], dtype=torch.bool) if record is None else (record.index == N - 1).any(dim=(0, 2))
    others, _, _ = plain.trace(inputs, generator=generator())
    if record is None:
        assert (outputs != others).any()
    else:
        assert at_last.any()
        torch.testing.assert_close(outputs[:, ~at_last], others[:, ~at_last], rtol=0, atol=0)
        assert (outputs[:, at_last] != others[:, at_last]).any()
    with torch.no_grad():
        again, last = ntm(inputs, generator=generator())
    torch.testing.assert_close(again, outputs, rtol=0, atol=0)
    torch.testing.assert_close(last.memory, state.memory, rtol=0, atol=0)


def test_no_op_by_hand():
    """Softly, half of the weight at the no-op cell: half is written, and half of that is read."""
    ntm = NTM(1, 1, num_cells=2, cell_width=1, hidden_size=1, addressing="absolute", heads=("read-write",),
              bypass=False, memory_init=0.0, no_op=True)  # fmt: skip
    with torch.no_grad():
        for parameter in ntm.parameters():
            parameter.zero_()
        ntm.write_layer.bias[:] = torch.tensor([-math.inf, 8.0])  # erase nothing, add 8
        ntm.output_layer.weight[0, 0] = 1
    outputs, state = ntm(torch.zeros(1, 1, 1))
    assert state.memory.flatten().tolist() == [4.0, 0.0]
    assert outputs.item() == 2.0
    ntm.access = "argmax"
    with torch.no_grad():
        ntm.address_layer.bias[1] = 1
    outputs, state = ntm(torch.zeros(1, 1, 1), ntm.initial_state(1, bank=ntm.bank(1)))
    assert outputs.item() == 0
    assert state.memory.cells.flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("access", ["soft", "sampled"])
@pytest.mark.parametrize("addressing", SCHEMES)
def test_scalar_cells(addressing, access, controller):
    """W = 1: cells of one number, as the text contrasts them with vectors; steps, and a gradient that is finite."""
    ntm = build(addressing=addressing, access=access, controller=controller, cell_width=1)
    outputs, state, record = ntm.trace(sequence(), generator=generator())
    assert state.memory.shape == (B, N, 1)
    (outputs.square().mean() + (0 if record is None else record.log_prob.mean())).backward()
    assert all(parameter.grad.isfinite().all() for parameter in ntm.parameters() if parameter.grad is not None)
    assert ntm.write_layer.weight.grad.abs().sum() > 0
