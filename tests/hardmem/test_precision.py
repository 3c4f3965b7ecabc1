"""Less precision, and compilation: what training with autocast and `torch.compile` must leave as it is."""

import pytest
import torch
import torch.nn.functional as F

from hardmem import NTM, make_task
from hardmem.schemes import SCHEMES
from hardmem.tasks import bit_inputs, symbols_to_bits


@pytest.mark.parametrize("heads", [("read-write",), ("read", "write", "write")])
@pytest.mark.parametrize("addressing", sorted(set(SCHEMES) - {"absolute"}))
@pytest.mark.parametrize(("access", "on_bank"), [("soft", False), ("sampled", False), ("sampled", True)])
def test_under_autocast_cells_keep_their_precision(access, on_bank, addressing, heads):
    """Controllers run in bfloat16, cells and log-probabilities stay in float32, every gradient is finite."""
    if on_bank and addressing in ("content-location", "learned-address", "least-recently-used"):
        pytest.skip("needs the memory in a tensor")
    torch.manual_seed(0)
    ntm = NTM(4, 2, num_cells=5, cell_width=4, hidden_size=8, access=access, addressing=addressing, heads=heads)
    inputs, bank = torch.randn(5, 3, 4), ntm.bank(3) if on_bank else None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, state, record = ntm.trace(inputs, ntm.initial_state(3, bank=bank))
        loss = outputs.float().square().mean()
    assert outputs.dtype == torch.bfloat16
    if not on_bank:
        assert state.memory.dtype == torch.float32
    if record is not None:
        assert record.log_prob.dtype == torch.float32
        loss = loss + record.log_prob.mean()
    loss.backward()
    for name, parameter in ntm.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_bf16_autocast_learns_copy():
    """Lengths 1 to 3 of 4 symbols, softly, with the controller in bfloat16: nearly every bit right."""
    torch.manual_seed(0)
    generator, task = torch.Generator().manual_seed(0), make_task("copy", num_symbols=4, max_length=3)
    ntm = NTM(
        4, 2, num_cells=5, addressing="head-moves", order="read-write-move", heads=("read-write",), bypass=False,
        hidden_size=32,
    )  # fmt: skip
    optimizer = torch.optim.Adam(ntm.parameters(), lr=1e-2)

    def wrong(train: bool) -> float:
        problem = task.draw(16, generator=generator)
        inputs, targets = bit_inputs(problem.inputs[..., 0], 4), symbols_to_bits(problem.targets, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = ntm(inputs)[0].float()
        if train:
            cost = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=-1)
            optimizer.zero_grad()
            ((cost * problem.mask).sum() / problem.mask.sum()).backward()
            optimizer.step()
        faults = ((outputs > 0) != (targets > 0)).any(dim=-1) & problem.mask
        return float(faults.sum() / problem.mask.sum())

    for _ in range(150):
        wrong(train=True)
    assert wrong(train=False) < 0.05


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, by tracing
@pytest.mark.parametrize("options", [{}, {"access": "sampled", "addressing": "head-moves", "order": "read-write-move"}])
def test_a_step_compiles_into_one_graph(options):
    """Soft and hard, forward and backward, with nothing left to Python; the same numbers. (Code is not generated.)."""
    torch.manual_seed(0)
    ntm = NTM(3, 2, num_cells=6, cell_width=4, hidden_size=8, gated=False, **options)
    inputs, state, results = torch.randn(2, 3), ntm.initial_state(2), []
    for step in (ntm.step, torch.compile(ntm.step, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(1)
        outputs, after, _ = step(inputs, state)
        loss = outputs.square().sum() + after.memory.square().sum()
        slopes = torch.autograd.grad(loss, list(ntm.parameters()), allow_unused=True, materialize_grads=True)
        results.append((outputs, after.memory, *slopes))
    torch.testing.assert_close(results[1], results[0])
