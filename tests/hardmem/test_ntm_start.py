"""How the machine starts: cells that are constant, drawn or learned, and heads and controllers that learn where to."""

import pytest
import torch

from hardmem.memory import HardAddress, SoftAddress
from hardmem.models import CONTROLLERS, NTM, Recurrent, make_controller
from tests import device_guard

B, T, N, W = 3, 4, 5, 2


def build(**options) -> NTM:
    torch.manual_seed(0)
    return NTM(2, 1, **{"num_cells": N, "cell_width": W, "hidden_size": 4, "gated": False} | options).double()


def sequence() -> torch.Tensor:
    return torch.randn(T, B, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("init", ["random", "learned"])
def test_drawn_and_learned_cells(init):
    """Kept in the state of the module, the same for every sequence; only what is learned is a parameter."""
    ntm = build(memory_init=init)
    state = ntm.initial_state(B)
    assert state.memory.shape == (B, N, W)
    assert (state.memory == state.memory[:1]).all()
    assert state.memory.std() > 0
    assert ("first_memory" in dict(ntm.named_parameters())) == (init == "learned")
    other = build(memory_init=init)
    other.load_state_dict(ntm.state_dict())
    torch.testing.assert_close(other.initial_state(1).memory, state.memory[:1])


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("access", ["soft", "sampled"])
def test_learned_start(access, controller):
    """Soft heads start with the learned weights, hard ones at the largest; the rest is as learned for either."""
    ntm = build(learned_start=True, access=access, controller=controller)
    state = ntm.initial_state(B)
    weights = ntm.first_weights.softmax(dim=-1)
    if access == "soft":
        assert isinstance(state.address, SoftAddress)
        torch.testing.assert_close(state.address.weights[1], weights)
    else:
        assert isinstance(state.address, HardAddress)
        assert torch.equal(state.address.index[1], weights.argmax(dim=-1))
    torch.testing.assert_close(state.read[1], ntm.first_read)
    assert [tuple(part.shape) for part in state.hidden] == [(B, 4)] * len(ntm.first_hidden)
    assert all(torch.equal(part[1], first) for part, first in zip(state.hidden, ntm.first_hidden, strict=True))


def test_all_of_it_learns():
    """A gradient reaches cells, weights, read and state."""
    ntm = build(memory_init="learned", learned_start=True, controller="lstm")
    ntm(sequence())[0].square().sum().backward()
    for name in ("first_memory", "first_weights", "first_read", "first_hidden.0", "first_hidden.1"):
        assert ntm.get_parameter(name).grad.abs().sum() > 0, name


@pytest.mark.parametrize("init", ["random", "learned"])
def test_on_a_bank(init):
    """The same numbers, and the same gradient of the cells."""
    ntm = build(memory_init=init, learned_start=True, access="sampled", addressing="head-moves")
    bank, results = ntm.bank(B), []
    for state in (ntm.initial_state(B), ntm.initial_state(B, bank=bank)):
        outputs, _, record = ntm.trace(sequence(), state, torch.Generator().manual_seed(2))
        loss = outputs.square().sum() + record.log_prob.sum()
        slopes = torch.autograd.grad(loss, list(ntm.parameters()), allow_unused=True, materialize_grads=True)
        results.append((outputs, slopes))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{"memory_init": "random"}, {"memory_init": "learned"}, {"learned_start": True}])
def test_tied_to_its_cells(options):
    """Another number of them is refused."""
    with pytest.raises(ValueError, match="tied to N = 5 cells, got 9"):
        build(**options).initial_state(B, 9)
    with pytest.raises(ValueError, match=r"a number or one of \['random', 'learned'\], got 'zero'"):
        build(memory_init="zero")


def test_devices():
    """Nothing for which the host would wait, and nothing left on the CPU."""
    ntm = build(memory_init="random", learned_start=True, controller="gru").float()

    def train_step(device):
        ntm(torch.randn(T, B, 2, device=device))[0].sum().backward()

    with device_guard.no_host_reads():
        train_step("cpu")
    ntm.to("meta")
    with device_guard.fake_device() as device:
        train_step(device)


@pytest.mark.parametrize("options", [{"gated": True}, {"learned_start": True, "memory_init": "learned"}])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_reset_parameters_draws_anew(controller, options):
    """All of them; gates shut."""
    ntm = build(controller=controller, **options)
    before = {name: parameter.clone() for name, parameter in ntm.named_parameters()}
    with torch.no_grad():
        for name, parameter in ntm.named_parameters():
            if name.endswith("gate"):
                parameter.add_(1)
    ntm.reset_parameters()
    for name, parameter in ntm.named_parameters():
        assert name.endswith("gate") == torch.equal(parameter, before[name]), name


def test_a_controller_of_ones_own():
    """Any `Controller`: here the one of the registry, handed in."""
    torch.manual_seed(0)
    controller = make_controller("gru", 2 + W, 4)
    ntm = NTM(2, 1, num_cells=N, cell_width=W, controller=controller, gated=False, dtype=torch.float64)
    assert ntm.controller is controller
    named = build(controller="gru")
    named.load_state_dict(ntm.state_dict())
    torch.testing.assert_close(ntm(sequence())[0], named(sequence())[0])


def test_device_and_dtype():
    """Where and in what the parameters are; cells and states follow."""
    ntm = NTM(2, 1, num_cells=N, memory_init="random", device="meta", dtype=torch.float64)
    assert {(parameter.device.type, parameter.dtype) for parameter in ntm.parameters()} == {("meta", torch.float64)}
    assert ntm.initial_state(B).memory.dtype == torch.float64
    assert Recurrent(2, 1, dtype=torch.float64)(sequence())[0].dtype == torch.float64
