"""The fused step against the separate operations it stands for, and against finite differences."""

import pytest
import torch

from hardmem.addressing import location_weights, sharpen
from hardmem.fused import Layout, move_write_read
from hardmem.memory import SoftAddress, read, write
from hardmem.models import NTM
from hardmem.schemes import ContentLocation

F64 = torch.float64
LAYOUTS = [
    Layout((0,), (1,), (-1, 0, 1)),
    Layout((0,), (0,), (0, 1)),
    Layout((1, 2), (0, 2, 3), (-2, 0, 1)),
    Layout((3, 0), (2, 1), (1,)),
]


def given(layout: Layout, B: int = 2, N: int = 4, W: int = 3, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    H = 1 + max(layout.reading + layout.writing)
    memory = torch.randn(B, N, W, generator=generator, dtype=F64)
    previous = torch.rand(B, H, N, generator=generator, dtype=F64).softmax(dim=-1)
    raw = 2 * torch.randn(B, H, W + 3 + len(layout.offsets), generator=generator, dtype=F64)
    raw_write = torch.randn(B, len(layout.writing), 2, W, generator=generator, dtype=F64)
    return [part.requires_grad_() for part in (memory, previous, raw, raw_write)]


def apart(memory, previous, raw, raw_write, layout):
    """The same from the operations of `addressing` and `memory`."""
    scheme = ContentLocation(memory.shape[1], memory.shape[2], layout.offsets)
    weights = scheme(raw, SoftAddress(previous), memory).log_weights.exp()
    writers = SoftAddress(torch.stack([weights[:, head] for head in layout.writing], dim=1))
    new = write(memory, writers, raw_write[:, :, 0].sigmoid(), raw_write[:, :, 1])
    readers = SoftAddress(torch.stack([weights[:, head] for head in layout.reading], dim=1))
    return new, weights, read(new, readers)


def slopes(results, parts):
    generator = torch.Generator().manual_seed(9)
    loss = sum((result * torch.rand(result.shape, generator=generator, dtype=result.dtype)).sum() for result in results)
    return torch.autograd.grad(loss, parts, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("N", [1, 2, 5])
@pytest.mark.parametrize("change", ["nothing", "one-hot", "sharp", "zero key", "zero cells", "sure shift"])
def test_equals_the_separate_operations(change, N, layout):
    """Results and all gradients, also at the edges of what can be given."""
    memory, previous, raw, raw_write = given(layout, N=N)
    with torch.no_grad():
        if change == "one-hot":
            previous.zero_()
            previous[..., 0] = 1
            raw[..., 4] = -1e3  # a gate that is shut: most weights are exactly zero
        elif change == "sharp":
            raw[..., -1] = 60
        elif change == "zero key":
            raw[..., :3] = 0
        elif change == "zero cells":
            memory[:, ::2] = 0
        elif change == "sure shift":
            raw[..., 5] = 1e3
    parts = [memory, previous, raw, raw_write]
    fused, separate = move_write_read(*parts, layout), apart(*parts, layout)
    torch.testing.assert_close(fused, separate, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes(fused, parts), slopes(separate, parts), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck(layout):
    """Against finite differences."""
    assert torch.autograd.gradcheck(lambda *parts: move_write_read(*parts, layout), given(layout))


def test_the_given_gradient_is_not_changed():
    """What autograd hands in may belong to others."""
    parts = given(LAYOUTS[2])
    new, _, rows = move_write_read(*parts, LAYOUTS[2])
    gradient = torch.ones_like(new)
    torch.autograd.grad([new, rows], parts, [gradient, torch.ones_like(rows)])
    assert (gradient == 1).all()


def test_no_second_derivatives():
    """An error, and a way out."""
    parts = given(LAYOUTS[0])
    with pytest.raises(RuntimeError, match=r"no second derivatives.*set fused = False"):
        torch.autograd.grad(move_write_read(*parts, LAYOUTS[0])[0].sum(), parts, create_graph=True)
    ntm = NTM(2, 1, num_cells=3, cell_width=2)
    ntm.fused = False
    (slope,) = torch.autograd.grad(ntm(torch.randn(2, 1, 2))[0].sum(), ntm.address_layer.weight, create_graph=True)
    slope.square().sum().backward()


def test_keeps_the_memory_once():
    """What is kept for the backward pass of a step: one memory and a few rows of weights."""
    N, kept = 256, {}
    for fused in (True, False):
        ntm = NTM(2, 1, num_cells=N, hidden_size=4)
        ntm.fused, storages = fused, {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ntm(torch.randn(8, 4, 2))
        kept[fused] = sum(storages.values()) / 8
    one = 4 * N * 20 * 4
    assert one < kept[True] < 2.2 * one
    assert kept[False] > 2.5 * kept[True]


@pytest.mark.parametrize("heads", [("read", "write"), ("write", "read", "read-write")])
def test_float32_stays_within_1e_5(heads):
    """Of the separate operations in float64, over a sequence."""
    torch.manual_seed(0)
    ntm, inputs = (
        NTM(3, 4, num_cells=16, cell_width=5, heads=heads, controller="lstm", gated=False),
        torch.randn(20, 2, 3),
    )
    outputs, _ = ntm(inputs)
    ntm.double().fused = False
    torch.testing.assert_close(outputs.double(), ntm(inputs.double())[0], rtol=0, atol=1e-5)


def test_under_autocast():
    """Addresses and cells stay in float32 while the controller runs in bfloat16."""
    torch.manual_seed(0)
    ntm, inputs = NTM(3, 4, num_cells=6, cell_width=5, gated=False), torch.randn(5, 2, 3)
    expected, _ = ntm(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, state = ntm(inputs)
        outputs.float().sum().backward()
    assert state.memory.dtype == torch.float32
    torch.testing.assert_close(outputs.float(), expected, rtol=0, atol=0.05)
    assert ntm.address_layer.weight.grad.isfinite().all()


def test_definition_is_in_addressing():
    """The reference above is the paper's chain, eqs. 5-9, by name."""
    memory, previous, raw, _ = given(LAYOUTS[0])
    scheme = ContentLocation(4, 3)
    key, beta, gate, shift, sharpening = raw.split(scheme.sizes, dim=-1)
    weights = location_weights(
        memory, SoftAddress(previous), key.tanh(), torch.nn.functional.softplus(beta.squeeze(-1)),
        gate.squeeze(-1).sigmoid(), shift.softmax(dim=-1), (-1, 0, 1),
    )  # fmt: skip
    expected = sharpen(weights, 1 + torch.nn.functional.softplus(sharpening.squeeze(-1))).exp()
    torch.testing.assert_close(move_write_read(*given(LAYOUTS[0]), LAYOUTS[0])[1], expected)
