"""A rollout plays what the machine's separate operations play: the same numbers and the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hardmem import NTM
from hardmem.addressing import HOME, pick
from hardmem.host import MOST
from hardmem.memory import HardAddress
from hardmem.models.hard_heads import HardHeads, HostHeads
from hardmem.models.ntm import NTMState
from hardmem.schemes import HeadMoves

SHOWN, ASKED, N, B, T = 3, 2, 5, 4, 7


def machine(**options: object) -> NTM:
    torch.manual_seed(0)
    options = {"access": "sampled", "addressing": "head-moves", "dtype": torch.float64, **options}
    ntm = NTM(SHOWN, ASKED, num_cells=N, cell_width=3, hidden_size=6, **options)
    with torch.no_grad():
        for parameter in ntm.parameters():
            parameter.mul_(3).add_(0.1)  # gates open, and heads that have something to say
    return ntm


@pytest.mark.parametrize("access", ["sampled", "argmax"])
@pytest.mark.parametrize("moves", [(-1, 0, 1, HOME), (-1, 0, 1), (HOME, 0, 1), (0, 2, HOME), (1,), (HOME,)])
@pytest.mark.parametrize("num_cells", [1, 2, 3, 4, 7])
def test_a_head_takes_what_its_distribution_says(num_cells, moves, access):
    """From every cell, also where moves meet: place and cell, with the same uniforms."""
    scheme = HeadMoves(num_cells, 3, moves).double()
    at = torch.arange(num_cells).repeat_interleave(200).view(-1, 1)
    generator, again = (torch.Generator().manual_seed(1) for _ in range(2))
    raw = 3 * torch.randn(
        len(at), 1, scheme.num_outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    memory = torch.zeros(len(at), num_cells, 3)
    choice, cell = scheme.take(raw, at.unsqueeze(-1), memory, access, generator)
    distribution = scheme(raw, HardAddress(at), memory)
    expected = pick(access, distribution.log_weights, again).unsqueeze(-1)
    assert torch.equal(choice, expected)
    assert torch.equal(cell, distribution.candidates.gather(-1, expected))
    assert torch.equal(generator.get_state(), again.get_state())
    on_host = scheme.on_host(num_cells, len(at))
    if on_host is not None:
        uniform = torch.rand(len(at), generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
        found = on_host(raw.squeeze(1).numpy(), at.squeeze(1).numpy(), uniform if access == "sampled" else None)
        assert torch.equal(torch.from_numpy(found[0]), expected.flatten())
        assert torch.equal(torch.from_numpy(found[1]), cell.flatten())


def test_what_is_not_a_number_stays_among_the_moves():
    """An exploded controller is for the training to notice, by its loss."""
    moves = HeadMoves(5, 3).on_host(5, 2)
    choice, cell = moves(np.full((2, 5), np.nan), np.array([0, 4]), np.array([0.0, 0.9]))
    assert ((choice >= 0) & (choice < 4) & (cell >= 0) & (cell < 5)).all()


@pytest.mark.parametrize("heads", [("read", "write"), ("write", "read"), ("read-write",)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numpy_does_what_torch_does(monkeypatch, heads, dtype):
    """Outputs, choices and gradients, with and without the small operations in NumPy; and both are used."""
    ntm, results = machine(heads=heads, controller="lstm", dtype=dtype), []
    inputs = torch.randn(T, B, SHOWN, dtype=dtype)
    for fits in (True, False):
        monkeypatch.setattr(HostHeads, "fits", lambda *_, fits=fits: fits)
        assert isinstance(ntm.unrolled_heads(ntm.initial_state(B), None), HostHeads) == fits
        outputs, _, record = ntm.trace(inputs, ntm.initial_state(B, bank=ntm.bank(B)), torch.Generator().manual_seed(1))
        loss = outputs.square().sum() + record.log_prob.sum() + record.entropy.square().sum()
        results.append([outputs, *record, *torch.autograd.grad(loss, list(ntm.parameters()))])
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(results[0], results[1], rtol=tolerance, atol=tolerance)


def test_numpy_is_for_few_numbers_on_the_cpu():
    ntm = machine()
    assert type(ntm.unrolled_heads(ntm.initial_state(B), None)) is HostHeads
    assert type(ntm.unrolled_heads(ntm.initial_state(MOST), None)) is HardHeads
    half = machine(dtype=torch.bfloat16)
    assert type(half.unrolled_heads(half.initial_state(B), None)) is HardHeads


def by_steps(ntm: NTM, inputs: Tensor, state: NTMState, generator: torch.Generator):
    """Outputs, last state and records of `NTM.step`, with autograd: the definition."""
    outputs, records = [], []
    for step in inputs:
        output, state, record = ntm.step(step, state, generator)
        outputs.append(output.detach())
        records.append(record)
    fields = None if records[0] is None else [torch.stack(field) for field in zip(*records, strict=True)]
    return torch.stack(outputs), state, fields


def parts(state: NTMState) -> list[Tensor]:
    memory = state.memory if isinstance(state.memory, Tensor) else state.memory.cells
    return [memory, *state.address, state.read, *state.hidden]


def assert_same(state: NTMState, expected: NTMState) -> None:
    for mine, other in zip(parts(state), parts(expected), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


MACHINES = {
    "lstm": {"controller": "lstm"},
    "gru, gated": {"controller": "gru", "gated": True},
    "feed-forward": {"gated": False},
    "the policy's": {"heads": ("read-write",), "order": "read-write-move", "gated": False},
    "gated policy": {"heads": ("read-write",), "order": "read-write-move", "controller": "lstm"},
    "without bypass": {"heads": ("read-write",), "order": "read-write-move", "bypass": False},
    "many heads": {"heads": ("read", "read-write", "write", "read"), "order": "read-write-move"},
    "two that write": {"heads": ("write", "read", "write")},
    "argmax": {"access": "argmax", "controller": "gru"},
    "by number": {"addressing": "absolute"},
    "drawn cells": {"memory_init": "random"},
    "no-op": {"no_op": True},
    "nearest": {"addressing": "nearest-content"},
    "soft": {"access": "soft", "addressing": "content-location"},
}


@pytest.mark.parametrize("on_bank", [False, True])
@pytest.mark.parametrize("options", MACHINES.values(), ids=MACHINES)
def test_plays_what_the_steps_of_training_play(options, on_bank):
    ntm, inputs = machine(**options), torch.randn(T, B, SHOWN, dtype=torch.float64)
    if on_bank and ntm.access == "soft":
        pytest.skip("a bank is for hard access")
    generator, again = (torch.Generator().manual_seed(1) for _ in range(2))
    rollout = ntm.rollout(B, bank=ntm.bank(B) if on_bank else None, generator=generator, keep=True)
    outputs = torch.stack([rollout.step(step) for step in inputs])
    expected, state, fields = by_steps(ntm, inputs, ntm.initial_state(B), again)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    assert not outputs.requires_grad
    assert_same(rollout.state, state)
    assert torch.equal(generator.get_state(), again.get_state())
    record = rollout.record()
    if fields is None:
        assert record is None
    else:
        for mine, other in zip(record, fields, strict=True):
            torch.testing.assert_close(mine, other.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["read-write-move", "move-write-read"])
def test_single_precision_is_as_near_as_it_can_be(order):
    ntm = machine(heads=("read-write",), order=order, controller="lstm", gated=False, dtype=torch.float32)
    inputs = torch.randn(T, B, SHOWN)
    rollout = ntm.rollout(B, generator=torch.Generator().manual_seed(1))
    outputs = torch.stack([rollout.step(step) for step in inputs])
    expected, _, _ = by_steps(ntm, inputs, ntm.initial_state(B), torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("on_bank", [False, True])
def test_a_state_goes_on_elsewhere(on_bank):
    """Half a sequence by a rollout, the other half by steps."""
    ntm, inputs = machine(), torch.randn(T, B, SHOWN, dtype=torch.float64)
    generator, again = (torch.Generator().manual_seed(1) for _ in range(2))
    rollout = ntm.rollout(B, bank=ntm.bank(B) if on_bank else None, generator=generator)
    for step in inputs[:3]:
        rollout.step(step)
    with torch.no_grad():
        outputs, _, _ = ntm.trace(inputs[3:], rollout.state, generator)
    expected, _, _ = by_steps(ntm, inputs, ntm.initial_state(B), again)
    torch.testing.assert_close(outputs, expected[3:], rtol=0, atol=1e-12)


def test_the_callers_memory_stays_as_it_is():
    ntm = machine()
    state = ntm.initial_state(B)
    before = state.memory.clone()
    rollout = type(ntm.rollout(B))(ntm, state)
    rollout.step(torch.randn(B, SHOWN, dtype=torch.float64))
    assert torch.equal(state.memory, before)
    assert not torch.equal(rollout.state.memory, before)


def test_a_bank_that_has_begun_another_sequence_is_noticed():
    ntm, inputs = machine(), torch.randn(B, SHOWN, dtype=torch.float64)
    bank = ntm.bank(B)
    rollout = ntm.rollout(B, bank=bank)
    rollout.step(inputs)
    ntm.initial_state(B, bank=bank)
    with pytest.raises(RuntimeError, match="another sequence"):
        rollout.step(inputs)


def test_a_bank_that_something_else_has_written_to_is_noticed():
    ntm, inputs = machine(), torch.randn(B, SHOWN, dtype=torch.float64)
    rollout = ntm.rollout(B, bank=ntm.bank(B))
    rollout.step(inputs)
    with torch.no_grad():
        ntm.step(inputs, rollout.state)
    with pytest.raises(RuntimeError, match="are gone"):
        rollout.step(inputs)


def test_what_was_not_kept_is_not_there():
    """And takes no room either."""
    ntm = machine()
    rollout = ntm.rollout(B)
    for _ in range(3):
        rollout.step(torch.randn(B, SHOWN, dtype=torch.float64))
    assert len(rollout._heads.index) == 1
    assert not rollout._heads.old
    with pytest.raises(RuntimeError, match="keep=True"):
        rollout.record()
    with pytest.raises(RuntimeError, match="no step"):
        ntm.rollout(B, keep=True).record()
