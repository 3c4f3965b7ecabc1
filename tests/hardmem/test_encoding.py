"""Encodings worked by hand, and read back."""

import pytest
import torch

from hardmem.tasks import bit_inputs, num_bits, one_hot, symbols_to_bits


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
