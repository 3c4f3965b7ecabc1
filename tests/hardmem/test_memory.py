"""Memory: eqs. 2-4 by hand, against loops, and hard addresses against one-hot soft ones."""

import pytest
import torch

from hardmem.memory import HardAddress, SoftAddress, as_weights, read, select_heads, write


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def soft_address(B: int, H: int, N: int) -> SoftAddress:
    return SoftAddress(rand(B, H, N, seed=1).log().softmax(dim=-1))


def test_soft_read_by_hand():
    """Three quarters of one cell and a quarter of the other."""
    memory = torch.tensor([[[4.0, 0.0], [8.0, 2.0]]])
    assert read(memory, SoftAddress(torch.tensor([[[0.75, 0.25]]]))).tolist() == [[[5.0, 0.5]]]


def test_soft_write_by_hand():
    """Half a weight, erase (1, 0), add (10, 20): the cell keeps (1/2, 1) of itself and gains (5, 10)."""
    memory = torch.tensor([[[4.0, 6.0], [8.0, 2.0]]])
    address = SoftAddress(torch.tensor([[[0.5, 0.0]]]))
    new = write(memory, address, erase=torch.tensor([[[1.0, 0.0]]]), add=torch.tensor([[[10.0, 20.0]]]))
    assert new.tolist() == [[[7.0, 16.0], [8.0, 2.0]]]


def test_hard_write_by_hand():
    """Two heads in cell 1: both erase, 8 * 1/2 * 1/4 = 1, then both add."""
    memory = torch.tensor([[[4.0], [8.0], [6.0]]])
    erase, add = torch.tensor([[[0.5], [0.75]]]), torch.tensor([[[10.0], [100.0]]])
    assert write(memory, HardAddress(torch.tensor([[1, 1]])), erase, add).tolist() == [[[4.0], [111.0], [6.0]]]
    assert memory.tolist() == [[[4.0], [8.0], [6.0]]], "the old contents stay"


@pytest.mark.parametrize("H", [1, 2, 3])
def test_soft_access_equals_the_paper_in_loops(H):
    """Eqs. 2, 3 and 4 cell by cell: every head erases, then every head adds."""
    B, N, W = 2, 4, 3
    memory, erase, add = rand(B, N, W), rand(B, H, W, seed=2), rand(B, H, W, seed=3)
    address = soft_address(B, H, N)
    w = address.weights
    expected_read = torch.zeros(B, H, W, dtype=torch.float64)
    expected_write = memory.clone()
    for b in range(B):
        for h in range(H):
            for n in range(N):
                expected_read[b, h] += w[b, h, n] * memory[b, n]  # eq. 2
                expected_write[b, n] *= 1 - w[b, h, n] * erase[b, h]  # eq. 3
        for h in range(H):
            for n in range(N):
                expected_write[b, n] += w[b, h, n] * add[b, h]  # eq. 4
    torch.testing.assert_close(read(memory, address), expected_read)
    torch.testing.assert_close(write(memory, address, erase, add), expected_write)


@pytest.mark.parametrize("index", [[[0], [3]], [[1, 3], [0, 2]], [[2, 2], [0, 0]], [[1, 3, 1], [2, 2, 2]]])
@pytest.mark.parametrize("inplace", [False, True])
def test_hard_address_does_what_its_one_hot_does(index, inplace):
    """Read and write, for heads apart and several heads in one cell, in a copy and in place."""
    address = HardAddress(torch.tensor(index))
    B, H = address.index.shape
    memory, erase, add = rand(B, 4, 3), rand(B, H, 3, seed=2), rand(B, H, 3, seed=3)
    one_hot = SoftAddress(as_weights(address, 4, torch.float64))
    torch.testing.assert_close(read(memory, address), read(memory, one_hot), rtol=0, atol=0)
    expected = write(memory, one_hot, erase, add)
    torch.testing.assert_close(write(memory, address, erase, add, inplace=inplace), expected)


@pytest.mark.parametrize("index", [[[0], [3]], [[2, 2], [0, 1]]])
def test_inplace_changes_the_given_memory_alone_where_asked(index):
    """In place the result is the memory itself; otherwise the memory keeps its contents."""
    address = HardAddress(torch.tensor(index))
    H = address.index.shape[1]
    memory, erase, add = rand(2, 4, 3), rand(2, H, 3, seed=2), rand(2, H, 3, seed=3)
    before = memory.clone()
    copied = write(memory, address, erase, add)
    torch.testing.assert_close(memory, before, rtol=0, atol=0)
    assert write(memory, address, erase, add, inplace=True).data_ptr() == memory.data_ptr()
    torch.testing.assert_close(memory, copied, rtol=0, atol=0)


def test_erase_and_add_at_their_extremes():
    """Erasing nothing and adding nothing leaves the cells; erasing all leaves what is added."""
    memory, zeros = rand(1, 3, 2), torch.zeros(1, 1, 2, dtype=torch.float64)
    address = HardAddress(torch.tensor([[2]]))
    torch.testing.assert_close(write(memory, address, zeros, zeros), memory, rtol=0, atol=0)
    cleared = write(memory, address, zeros + 1, zeros + 7)
    assert cleared[0, 2].tolist() == [7.0, 7.0]
    torch.testing.assert_close(cleared[:, :2], memory[:, :2], rtol=0, atol=0)


@pytest.mark.parametrize("H", [1, 2])
@pytest.mark.parametrize("hard", [False, True])
def test_batch_equals_batches_of_one(hard, H):
    """No sequence touches the memory of its neighbour."""
    memory, erase, add = rand(3, 4, 2), rand(3, H, 2, seed=2), rand(3, H, 2, seed=3)
    address = HardAddress(torch.tensor([[0, 0], [1, 3], [2, 2]])[:, :H]) if hard else soft_address(3, H, 4)
    together = write(memory, address, erase, add)
    looked = read(memory, address)
    for b in range(3):
        one = type(address)(address[0][b : b + 1])
        alone = write(memory[b : b + 1], one, erase[b : b + 1], add[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone)
        torch.testing.assert_close(looked[b : b + 1], read(memory[b : b + 1], one))


@pytest.mark.parametrize("index", [None, [[1], [3]], [[0, 2], [3, 3]]])
def test_gradients_against_finite_differences(index):
    """Through read and write, soft (None) and hard, with two heads in one cell too."""
    address = soft_address(2, 2, 4) if index is None else HardAddress(torch.tensor(index))
    H = address[0].shape[1]
    parts = [rand(2, 4, 3), rand(2, H, 3, seed=2), rand(2, H, 3, seed=3)]
    if isinstance(address, SoftAddress):
        parts.append(address.weights.clone())

    def write_and_read(memory, erase, add, weights=None):
        where = address if weights is None else SoftAddress(weights)
        return read(write(memory, where, erase, add), where)

    assert torch.autograd.gradcheck(write_and_read, [part.requires_grad_() for part in parts])


def test_hard_read_keeps_any_dtype():
    """Symbols stay symbols."""
    memory = torch.tensor([[[5], [6], [7]]])
    assert read(memory, HardAddress(torch.tensor([[2, 0]]))).tolist() == [[[7], [5]]]


def test_as_weights_by_hand():
    """A hard address becomes one-hot in the dtype asked for; a soft one is what it is."""
    weights = as_weights(HardAddress(torch.tensor([[2, 0]])), 3, torch.float64)
    assert weights.dtype == torch.float64
    assert weights.tolist() == [[[0, 0, 1], [1, 0, 0]]]
    soft = soft_address(1, 2, 3)
    assert as_weights(soft, 3) is soft.weights


@pytest.mark.parametrize("heads", [[0], [2, 0], [1, 1], [0, 1, 2]])
def test_select_heads_keeps_the_order_given(heads):
    """By number, soft and hard."""
    index = torch.tensor([[3, 1, 2], [0, 2, 1]])
    hard = select_heads(HardAddress(index), heads)
    assert isinstance(hard, HardAddress)
    torch.testing.assert_close(hard.index, index[:, heads])
    soft = select_heads(soft_address(2, 3, 4), heads)
    assert isinstance(soft, SoftAddress)
    torch.testing.assert_close(soft.weights, soft_address(2, 3, 4).weights[:, heads])


@pytest.mark.parametrize(
    ("memory", "address"),
    [
        (torch.zeros(2, 4), HardAddress(torch.zeros(2, 1, dtype=torch.int64))),
        (torch.zeros(3, 4, 5), HardAddress(torch.zeros(2, 1, dtype=torch.int64))),
        (torch.zeros(2, 4, 5), HardAddress(torch.zeros(2, dtype=torch.int64))),
        (torch.zeros(2, 4, 5), SoftAddress(torch.zeros(2, 1, 3))),
        (torch.zeros(2, 4, 5), SoftAddress(torch.zeros(3, 1, 4))),
    ],
)
def test_memory_and_address_must_fit(memory, address):
    """Wrong dimensions, batch sizes and numbers of cells: the message holds both shapes."""
    H = address[0].shape[-1]
    shapes = [str(tuple(tensor.shape)).replace("(", r"\(").replace(")", r"\)") for tensor in (memory, address[0])]
    message = f"memory is {shapes[0]}, the address is {shapes[1]}"
    with pytest.raises(ValueError, match=message):
        read(memory, address)
    with pytest.raises(ValueError, match=message):
        write(memory, address, torch.zeros(2, H, 5), torch.zeros(2, H, 5))


def test_erase_and_add_must_fit():
    """The message names what was expected and what came."""
    address = HardAddress(torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"= \(2, 1, 5\): erase is \(2, 1, 5\), add is \(2, 5\)"):
        write(torch.zeros(2, 4, 5), address, torch.zeros(2, 1, 5), torch.zeros(2, 5))
