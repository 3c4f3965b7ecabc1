"""Encodings worked by hand, and read back."""

import dataclasses

import pytest
import torch

from hardmem.tasks import TASKS, bit_inputs, make_task, num_bits, one_hot, symbols_to_bits
from hardmem.tasks.rewriting import Rewritable


def test_one_hot_by_hand():
    """Entry 0 is the blank, entry s the symbol s."""
    rows = one_hot(torch.tensor([[0, 2], [1, 3]]), num_symbols=3)
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[[1, 0, 0, 0], [0, 0, 1, 0]], [[0, 1, 0, 0], [0, 0, 0, 1]]]


@pytest.mark.parametrize(("num_symbols", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (256, 8)])
def test_num_bits_by_hand(num_symbols, bits):
    """Enough bits to number the symbols from 0, and never none."""
    assert num_bits(num_symbols) == bits


def test_bits_by_hand():
    """Symbol s shows the bits of s - 1, least significant first; the blank shows zeros."""
    bits = symbols_to_bits(torch.tensor([0, 1, 2, 3, 8]), num_symbols=8)
    assert bits.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("num_symbols", [1, 2, 3, 8, 13])
def test_bits_can_be_read_back(num_symbols):
    """Every symbol has its own bits."""
    symbols = torch.arange(1, num_symbols + 1)
    bits = symbols_to_bits(symbols, num_symbols)
    assert bits.shape == (num_symbols, num_bits(num_symbols))
    torch.testing.assert_close((bits * 2 ** torch.arange(bits.shape[-1])).sum(dim=-1).long() + 1, symbols)


def test_bit_inputs_tell_blank_and_marker_from_every_symbol():
    """Symbols are signs; the blank, and a marker above the symbols, have a channel each."""
    rows = bit_inputs(torch.tensor([[0, 1], [4, 5]]), num_symbols=4)
    assert rows.tolist() == [[[0, 0, 1, 0], [-1, -1, 0, 0]], [[1, 1, 0, 0], [0, 0, 0, 1]]]
    two = bit_inputs(torch.tensor([0, 5, 6, 7]), num_symbols=4, num_markers=2)
    assert two[:, 2:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert bit_inputs(torch.tensor([0, 2]), num_symbols=2, num_markers=0).tolist() == [[0, 1], [1, 0]]


def test_tasks_as_bits_by_hand():
    """Two delimiters have a flag each, priorities one number, repeats one normalised number, the end marker a bit."""
    shown = make_task("associative-recall", num_symbols=2).shown_as_bits(torch.tensor([[[2], [3], [4]]]))
    assert shown.tolist() == [[[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]
    sort = make_task("priority-sort", num_symbols=2, max_length=3, num_priorities=5)
    shown = sort.shown_as_bits(torch.tensor([[[1, 2], [4, 1], [0, 3], [0, 0]]]))
    assert shown.tolist() == [[[-1, 1, 0, 0], [0.5, -1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]]
    repeat = make_task("repeat-copy", "paper", num_symbols=2, max_repeats=7)  # repeats have mean 4, variance 4
    shown = repeat.shown_as_bits(torch.tensor([[[1], [3], [6], [9], [0]]]))
    assert shown.tolist() == [[[-1, 0, 0, 0], [0, 0, 1, -1.5], [0, 0, 1, 0], [0, 0, 1, 1.5], [0, 1, 0, 0]]]
    assert repeat.asked_as_bits(torch.tensor([[2, 1, 9]])).tolist() == [[[1, 0], [0, 0], [0, 1]]]
    facts = make_task("fact-recall", num_symbols=2, num_keys=16)
    assert facts.shown_as_bits(torch.zeros(1, 1, len(facts.input_sizes), dtype=torch.int64)).shape[-1] == 5 + 5 + 2


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if issubclass(task, Rewritable)])
def test_a_marker_of_void_presentations_looks_like_nothing_else(name):
    """To a sequence model, whatever else is shown: waiting, delimiters, distractors."""
    dials = {field.name for field in dataclasses.fields(TASKS[name])} & {"lag", "distractors"}
    for others in ({}, dict.fromkeys(dials, 1)):
        task = make_task(name, rewrites=1, **others)
        inputs = torch.zeros(1, task.input_sizes[-1] + 1, len(task.input_sizes), dtype=torch.int64)
        inputs[0, :, -1] = torch.arange(task.input_sizes[-1] + 1)
        shown = task.shown_as_bits(inputs)[0]
        assert (shown == shown[task.anew]).all(dim=1).nonzero().flatten().tolist() == [task.anew]
