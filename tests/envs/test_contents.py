"""Contents as numbers: worked by hand, and a table or none makes no difference."""

from __future__ import annotations

import pytest
import torch

from hardmem.envs import contents
from hardmem.envs.arrays import as_numpy, numpy_twin
from hardmem.envs.contents import Contents, Memory

SYMBOLS = torch.tensor([[[0, 0], [2, 3]], [[1, 0], [0, 1]]])  # (2, 2, C)
CODES = [[0, 11], [4, 1]]  # of channels with 3 and 4 symbols, the last counting fastest
ONE_HOT = [
    [1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
    [0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
]


def test_codes_by_hand():
    """There and back, all channels or one."""
    both = Contents([3, 4])
    codes = both.encode(SYMBOLS)
    assert codes.tolist() == CODES
    assert both.decode(codes).tolist() == SYMBOLS.tolist()
    assert [both.symbol(codes, channel).tolist() for channel in range(2)] == SYMBOLS.movedim(-1, 0).tolist()


@pytest.mark.parametrize("largest", [0, 2**20])
def test_one_hot_by_hand(largest, monkeypatch):
    """From a table, and where that would be too large; on tensors and on arrays."""
    monkeypatch.setattr(contents, "LARGEST_TABLE", largest)
    both = Contents([3, 4])
    assert (both._table is None) == (largest == 0)
    assert both.one_hot(torch.tensor(CODES)).tolist() == ONE_HOT
    assert numpy_twin(both).one_hot(as_numpy(torch.tensor(CODES))).tolist() == ONE_HOT


@pytest.mark.parametrize(("dtype", "bits"), [(torch.int32, 31), (torch.int64, 63)])
def test_codes_must_be_told_apart(dtype, bits):
    """By as many bits as they are kept in."""
    size = 2 ** (bits - 10)
    with pytest.raises(ValueError, match=rf"one of fewer than 2 \*\* {bits} things, got 1024 \* {size}: the symbols"):
        Contents([2**10, size], dtype=dtype)
    assert Contents([2**10, size - 1], dtype=dtype).num_codes == 2**bits - 2**10


def test_a_new_era_empties_all_cells():
    """What was written before it is void, what is written in it is not."""
    memory = Memory(cells=torch.tensor([[3, 12 + 3], [0, 7]]), era=torch.tensor([0, 12]))  # (N, B)
    assert memory.codes().tolist() == [[3, 0], [3, 0]]
    assert memory._replace(era=memory.era + 12).codes().tolist() == [[0, 0], [0, 0]]
