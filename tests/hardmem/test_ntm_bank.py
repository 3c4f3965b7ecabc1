"""The hard machine on a bank: the numbers of the one whose memory is a tensor, at a cost that does not grow with N."""

import pytest
import torch

from hardmem.bank import Contents, snapshot
from hardmem.models import NTM
from hardmem.models.ntm import ORDERS
from tests import device_guard

T, B, N, W = 6, 3, 4, 3
LAYOUTS = [("read", "write"), ("read-write",), ("write", "read", "read-write", "write")]


def build(**options) -> NTM:
    torch.manual_seed(0)
    options = {"addressing": "head-moves", "access": "sampled"} | options
    return NTM(2, 4, **{"num_cells": N, "cell_width": W, "hidden_size": 5, "memory_init": 0.1} | options)


def sequence(steps: int = T) -> torch.Tensor:
    return torch.randn(steps, B, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def slopes(ntm: NTM, outputs: torch.Tensor, record) -> list[torch.Tensor]:
    loss = outputs.square().sum() + (record.log_prob + record.entropy).sum()
    return torch.autograd.grad(loss, list(ntm.parameters()), allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("heads", LAYOUTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("addressing", ["head-moves", "absolute"])
@pytest.mark.parametrize("gated", [False, True])
def test_the_same_numbers(addressing, order, heads, gated):
    """Outputs, choices and memory bit for bit, and every gradient; from one bank, three times."""
    ntm = build(addressing=addressing, order=order, heads=heads, gated=gated, controller="gru").double()
    bank = ntm.bank(B)
    expected_outputs, expected_state, expected_record = ntm.trace(sequence(), generator=generator())
    expected_slopes = slopes(ntm, expected_outputs, expected_record)
    for _ in range(2):
        outputs, state, record = ntm.trace(sequence(), ntm.initial_state(B, bank=bank), generator())
        torch.testing.assert_close(outputs, expected_outputs, rtol=0, atol=0)
        torch.testing.assert_close(snapshot(state.memory), expected_state.memory, rtol=0, atol=0)
        assert torch.equal(record.index, expected_record.index)
        torch.testing.assert_close(slopes(ntm, outputs, record), expected_slopes, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        outputs, state, _ = ntm.trace(sequence(), ntm.initial_state(B, bank=bank), generator())
    torch.testing.assert_close(outputs, expected_outputs, rtol=0, atol=0)
    assert (ntm.initial_state(B, bank=bank).memory.cells == 0.1).all()


def test_a_sequence_in_parts():
    """Handing the state on; the state handed on is used up."""
    ntm = build(access="argmax").double()
    whole, _ = ntm(sequence())
    first, middle = ntm(sequence()[:2], ntm.initial_state(B, bank=ntm.bank(B)))
    second, _ = ntm(sequence()[2:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="are gone"):
        ntm(sequence()[2:], middle)


def test_another_number_of_cells():
    """The bank's own."""
    ntm = build(access="argmax").double()
    state = ntm.initial_state(B, bank=ntm.bank(B, 9))
    assert isinstance(state.memory, Contents)
    assert state.memory.shape == (B, 9, W)
    outputs, _ = ntm(sequence(12), state)
    torch.testing.assert_close(outputs, ntm(sequence(12), ntm.initial_state(B, 9))[0], rtol=0, atol=0)


def test_what_cannot_be_is_refused():
    """A bank of another size, soft access, content addressing."""
    ntm = build().double()
    with pytest.raises(ValueError, match=r"the bank must be \(B, N, W\) = \(3, N, 3\), got \(2, 4, 3\)"):
        ntm.initial_state(B, bank=ntm.bank(2))
    with pytest.raises(ValueError, match="needs a HardAddress, got a SoftAddress"):
        build(access="soft").double()(sequence(), ntm.initial_state(B, bank=ntm.bank(B)))
    with pytest.raises(ValueError, match="content addressing compares the key with every cell"):
        build(addressing="content-location").double()(sequence(), ntm.initial_state(B, bank=ntm.bank(B)))


def test_kept_memory_does_not_grow_with_the_cells():
    """All that autograd keeps for the backward pass of a sequence, in bytes."""
    kept = []
    for num_cells in (8, 4096):
        ntm, total = build(), 0

        def pack(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ntm.trace(sequence().float(), ntm.initial_state(B, bank=ntm.bank(B, num_cells)))
        kept.append(total)
    assert kept[0] == kept[1]


def train_step(ntm: NTM, device: torch.device | str) -> None:
    ntm.to(device)
    bank, inputs = ntm.bank(B), torch.randn(T, B, 2, device=device)
    for _ in range(2):
        outputs, _, record = ntm.trace(inputs, ntm.initial_state(B, bank=bank))
        (outputs.square().sum() + record.log_prob.sum()).backward()
        with torch.no_grad():
            ntm(inputs, ntm.initial_state(B, bank=bank))


def test_devices():
    """Nothing for which the host would wait, and nothing left on the CPU."""
    ntm = build(heads=("read-write", "read", "write"))
    with device_guard.no_host_reads():
        train_step(ntm, "cpu")
    with device_guard.fake_device() as device:
        train_step(ntm, device)


@pytest.mark.gpu
def test_on_cuda():
    """A training step in which waiting for the device is an error."""
    ntm = build(heads=("read-write", "read", "write"))
    train_step(ntm, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step(ntm, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
