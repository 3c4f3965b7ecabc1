"""A bank against the memory in a tensor: the same numbers, the same gradients, and no wrong gradient ever."""

import gc
import random
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hardmem.bank import Bank, Contents
from hardmem.memory import HardAddress, SoftAddress, read, write
from tests import device_guard

F64 = torch.float64


class Dense:
    """The memory in a tensor, called as a bank's contents are."""

    def __init__(self, cells: torch.Tensor) -> None:
        self.cells = cells

    def read(self, address: HardAddress) -> torch.Tensor:
        return read(self.cells, address)

    def write(self, address: HardAddress, erase: torch.Tensor, add: torch.Tensor) -> "Dense":
        return Dense(write(self.cells, address, erase, add))


class Program:
    """A random sequence of reads and writes, by several heads, at cells that meet often."""

    def __init__(self, seed: int, steps: int = 12) -> None:
        rng = random.Random(seed)
        self.B, self.N, self.W = rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 3)
        generator = torch.Generator().manual_seed(seed)
        self.steps, self.parameters = [], []
        for _ in range(steps):
            H = rng.randint(1, 3)
            address = HardAddress(torch.randint(0, self.N, (self.B, H), generator=generator))
            erase, add = torch.rand(2, self.B, H, self.W, generator=generator, dtype=F64).requires_grad_().unbind()
            self.steps.append((rng.choice(["read", "write"]), address, erase, add))
            self.parameters += [erase, add]
        self.weight = torch.rand(steps, generator=generator, dtype=F64)
        self.contents = torch.rand(self.B, self.N, self.W, generator=generator, dtype=F64).requires_grad_()

    def run(self, memory: Contents | Dense) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What was read, and a loss in which each read counts; what was read is added to the next write."""
        reads, loss, seen = [], torch.zeros((), dtype=F64), torch.zeros((), dtype=F64)
        for (kind, address, erase, add), weight in zip(self.steps, self.weight, strict=True):
            if kind == "read":
                reads.append(memory.read(address))
                seen = reads[-1].sum(dim=(1, 2), keepdim=True)
                loss = loss + weight * reads[-1].square().sum()
            else:
                memory = memory.write(address, erase, add + 0.1 * seen)
        return reads, loss


def gradients(loss: torch.Tensor, parameters: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_do_what_dense_ones_do(seed):
    """Reads bit for bit, gradients of everything, twice on one bank: with contents of its own and with the fill."""
    program = Program(seed)
    bank = Bank(program.B, program.N, program.W, fill=0.25, dtype=F64)
    if not any(kind == "read" for kind, *_ in program.steps):
        return
    filled = torch.full_like(program.contents, 0.25)
    for contents in (program.contents, None, None):
        expected_reads, expected_loss = program.run(Dense(filled if contents is None else contents))
        reads, loss = program.run(bank.begin(contents))
        for row, expected_row in zip(reads, expected_reads, strict=True):
            torch.testing.assert_close(row, expected_row, rtol=0, atol=0)
        parameters = program.parameters + ([] if contents is None else [contents])
        expected = gradients(expected_loss, parameters)
        torch.testing.assert_close(gradients(loss, parameters), expected, rtol=1e-12, atol=1e-12)
        before = filled if contents is None else contents.detach()
        after = bank.begin().cells if contents is None else bank.cells
        torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_against_finite_differences(seed):
    """Through reads and writes that depend on one another; torch's gradcheck would go back through one graph twice."""
    program = Program(seed, steps=6)
    bank = Bank(program.B, program.N, program.W, dtype=F64)
    parameters = [program.contents, *program.parameters]
    slopes = gradients(program.run(bank.begin(program.contents))[1], parameters)
    with torch.no_grad():
        for parameter, slope in zip(parameters, slopes, strict=True):
            for place, expected in zip(parameter.view(-1).split(1), slope.flatten(), strict=True):
                losses = []
                for step in (1e-5, -2e-5, 1e-5):
                    place += step
                    losses.append(program.run(bank.begin(program.contents))[1])
                torch.testing.assert_close((losses[0] - losses[1]) / 2e-5, expected, rtol=1e-6, atol=1e-7)


def test_by_hand():
    """8, halved and 1 added, is read as 5; then overwritten. Only the first write reaches what was read."""
    bank = Bank(1, 3, 1, fill=8.0, dtype=F64)
    half, one = (torch.tensor([[[number]]], dtype=F64, requires_grad=True) for number in (0.5, 1.0))
    address = HardAddress(torch.tensor([[1]]))
    memory = bank.begin().write(address, half, one)
    row = memory.read(address)
    memory = memory.write(address, one, one)
    assert row.item() == 5
    assert memory.cells.flatten().tolist() == [8, 1, 8]
    row.sum().backward()
    assert (half.grad.item(), one.grad.item()) == (-8, 1)
    assert bank.cells.flatten().tolist() == [8, 8, 8]


def test_without_gradients_the_next_sequence_starts_anew():
    """After a few writes and after more of them than there are cells."""
    bank = Bank(2, 3, 1, fill=0.5)
    for steps in (1, 2, 3, 4, 10):
        with torch.no_grad():
            memory = bank.begin()
            assert (memory.cells == 0.5).all()
            for t in range(steps):
                memory = memory.write(
                    HardAddress(torch.tensor([[t % 3], [0]])), torch.ones(2, 1, 1), torch.ones(2, 1, 1)
                )
            assert memory.read(HardAddress(torch.tensor([[0], [0]]))).flatten().tolist() == [1, 1]
    assert (bank.begin().cells == 0.5).all()


def scene(**options):
    """A bank of one cell: written, read, written, read; the loss of each read."""
    bank = Bank(1, 1, 1, dtype=F64, **options)
    address = HardAddress(torch.zeros(1, 1, dtype=torch.int64))
    erase = torch.full((1, 1, 1), 0.5, dtype=F64, requires_grad=True)
    first = bank.begin()
    second = first.write(address, erase, erase)
    early = second.read(address).sum()
    third = second.write(address, erase, erase)
    late = third.read(address).sum()
    return bank, address, erase, (first, second, third), (early, late)


def test_old_contents_are_refused():
    """They are not there any more: reading, writing and looking say so."""
    _, address, erase, (first, second, third), _ = scene()
    for old, number in ((first, 0), (second, 1)):
        for use in (lambda m: m.read(address), lambda m: m.write(address, erase, erase), lambda m: m.cells):
            with pytest.raises(RuntimeError, match=f"after {number} writes, are gone: the bank is 2 writes on"):
                use(old)
    third.read(address)


def test_a_read_waits_for_the_writes_after_it():
    """Also where autograd, which numbers the steps of each thread apart, would rather go through the read first."""
    bank, address, erase, _, _ = scene(fill=8.0)
    memory = bank.begin(torch.full((1, 1, 1), 8.0, dtype=F64, requires_grad=True))
    row = memory.read(address)

    def elsewhere():
        return memory.write(address, erase, erase).read(address)

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(elsewhere).result()
    (2 * row + late).sum().backward()
    assert erase.grad.item() == -7, "-8 by what is erased, 1 by what is added; the early read has no part in it"


@pytest.mark.parametrize("again", ["same", "other"])
def test_a_second_backward_is_refused(again):
    """Of the same loss, or of another that the graph was retained for."""
    _, _, erase, _, (early, late) = scene()
    late.backward(retain_graph=True)
    once = erase.grad.clone()
    with pytest.raises(RuntimeError, match="can be back-propagated once, in one call"):
        (late if again == "same" else early).backward()
    torch.testing.assert_close(erase.grad, once, rtol=0, atol=0)


def test_the_rest_of_a_graph_is_refused_too():
    """One call that goes back half way, and a second that starts exactly where it stopped."""
    bank, address, erase, _, _ = scene()
    memory = bank.begin()
    early = memory.read(address).sum()
    other = erase.detach().clone().requires_grad_()
    late = memory.write(address, other, other).read(address).sum()
    torch.autograd.grad(late, other)
    with pytest.raises(RuntimeError, match="can be back-propagated once, in one call"):
        early.backward()


def test_contents_are_gone_after_backward():
    """And a new sequence is not."""
    bank, address, _, (_, _, third), (_, late) = scene()
    late.backward()
    with pytest.raises(RuntimeError, match="has been back-propagated"):
        third.read(address)
    assert bank.begin().read(address).item() == 0


def test_the_sequence_before_is_refused():
    """Its contents and its graph."""
    bank, address, _, (_, _, third), (_, late) = scene()
    bank.begin()
    with pytest.raises(RuntimeError, match="has begun another sequence: contents from before"):
        third.read(address)
    with pytest.raises(RuntimeError, match="has begun another sequence since this graph was built"):
        late.backward()


def test_a_failed_backward_leaves_no_trace():
    """Whatever it had done: it cannot be resumed, and the next sequence has the right gradient."""
    bank, address, erase, _, _ = scene(fill=2.0)
    memory = bank.begin()
    row = memory.read(address)
    row.register_hook(lambda gradient: 1 / 0)
    memory = memory.write(address, erase, row)
    loss = memory.read(address).sum()
    with pytest.raises(ZeroDivisionError):
        loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="after a failed call, `begin` anew"):
        loss.backward()
    erase.grad = None
    memory = bank.begin().write(address, erase, erase)  # 2 (1 - e) + e
    memory.read(address).sum().backward()
    assert erase.grad.item() == -1
    assert bank.begin().cells.item() == 2


def test_no_second_derivatives():
    """A graph of the gradient cannot be built."""
    _, _, erase, _, (early, late) = scene()
    with pytest.raises(RuntimeError, match="no second derivatives through a bank"):
        torch.autograd.grad(early + late, erase, create_graph=True)


@pytest.mark.parametrize("first", [True, False])
def test_gradients_cannot_be_switched_within_a_sequence(first):
    """Neither on nor off between writes; reads without gradients change nothing."""
    bank, address, erase, _, _ = scene()
    memory = bank.begin()
    with torch.set_grad_enabled(first):
        memory = memory.write(address, erase, erase)
    message = f"those before this one were made with{'' if first else 'out'}$"
    with torch.set_grad_enabled(not first), pytest.raises(RuntimeError, match=message):
        memory.write(address, erase, erase)
    with torch.no_grad():
        assert not memory.read(address).requires_grad
    assert memory.read(address).requires_grad == first


def test_read_then_written_without_gradients():
    """What was read before counts, and the cells are restored."""
    bank, address, _, _, _ = scene(fill=3.0)
    contents = torch.full((1, 1, 1), 4.0, dtype=F64, requires_grad=True)
    memory = bank.begin(contents)
    loss = memory.read(address).sum()
    with torch.no_grad():
        memory.write(address, torch.ones(1, 1, 1, dtype=F64), torch.ones(1, 1, 1, dtype=F64))
    loss.backward()
    assert contents.grad.item() == 1
    assert bank.begin().cells.item() == 3


def test_nothing_keeps_a_dropped_bank():
    """No reference cycle: its memory is free as soon as nobody holds it or its graph."""
    bank, _, _, memories, losses = scene()
    storage = weakref.ref(bank.cells)
    gc.disable()
    try:
        del bank, memories, losses
        assert storage() is None
    finally:
        gc.enable()


def test_kept_memory_does_not_grow_with_the_cells():
    """What autograd and the log keep of a step: the same bytes for 8 cells and for 8,000."""
    kept = []
    for num_cells in (8, 8000):
        bank, address = Bank(2, num_cells, 3), HardAddress(torch.tensor([[5], [7]]))
        erase = torch.rand(2, 1, 3, requires_grad=True)
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            memory = bank.begin().write(address, erase, erase)
            memory.read(address)
        kept.append(total + sum(old.nbytes for old in memory._sequence.old))
    assert kept[0] == kept[1] < 1000


def one_round(device: torch.device | str) -> None:
    bank = Bank(2, 5, 3, fill=0.1, device=device)
    index = torch.zeros(2, 2, dtype=torch.int64, device=device)
    erase = torch.rand(2, 2, 3, device=device, requires_grad=True)
    for contents in (None, torch.rand(5, 3, device=device, requires_grad=True)):
        memory = bank.begin(contents)
        for _ in range(2):
            memory = memory.write(HardAddress(index), erase, erase)
            loss = memory.read(HardAddress(index)).sum()
        loss.backward()
        assert erase.grad.device.type == torch.device(device).type
        with torch.no_grad():
            bank.begin().write(HardAddress(index), erase, erase).read(HardAddress(index))


def test_devices():
    """Nothing for which the host would wait, and nothing left on the CPU."""
    with device_guard.no_host_reads():
        one_round("cpu")
    with device_guard.fake_device() as device:
        one_round(device)


@pytest.mark.gpu
def test_on_cuda():
    """As on the CPU, without waiting."""
    one_round("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        one_round("cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_does_not_fit_is_refused():
    """The message names what was expected and what came."""
    bank, address, erase, _, _ = scene()
    with pytest.raises(ValueError, match="num_cells must be at least 1, got 0"):
        Bank(1, 0, 1)
    with pytest.raises(ValueError, match=r"contents must expand to \(B, N, W\) = \(1, 1, 1\), got \(2, 1, 1\)"):
        bank.begin(torch.zeros(2, 1, 1))
    memory = bank.begin()
    with pytest.raises(ValueError, match="needs a HardAddress, got a SoftAddress"):
        memory.read(SoftAddress(torch.ones(1, 1, 1)))
    with pytest.raises(ValueError, match=r"erase and add must be \(B, H, W\) = \(1, 1, 1\)"):
        memory.write(address, erase[0], erase)
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        memory.read(HardAddress(torch.ones(1, 1, dtype=torch.int64)))
    assert repr(bank) == "Bank(1, 1, 1, fill=0.0)"
    assert repr(memory) == "Contents(shape=(1, 1, 1), writes=0)"
