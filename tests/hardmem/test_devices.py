"""One training step of everything, where reading a number on the host or mixing devices raises."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F

from hardmem import ACCESS, CONTROLLERS, NTM, SCHEMES, TASKS, Recurrent, make_baseline, make_task, surrogate
from hardmem.estimators import cost_to_go
from hardmem.models.ntm import ORDERS
from hardmem.models.recurrent import KINDS
from hardmem.tasks import bit_inputs, num_bits, one_hot, symbols_to_bits
from tests import device_guard
from tests.estimator_cases import PLAIN_BASELINES

MACHINES = [
    {"addressing": addressing, "access": access, "order": order}
    for addressing in SCHEMES
    for access in ACCESS
    for order in ORDERS
]
CONTROLLED = [{"controller": controller, "access": "sampled"} for controller in CONTROLLERS]
MODELS = MACHINES + CONTROLLED + [{"kind": kind} for kind in KINDS]


def named(options: dict[str, str]) -> str:
    return "-".join(options.values())


def build(options: dict[str, str], device: torch.device | str) -> torch.nn.Module:
    """A small model for Copy of 4 symbols up to length 3; its writing heads share cells with reading ones."""
    if "kind" in options:
        return Recurrent(4, 2, hidden_size=5, **options).to(device)
    ntm = NTM(4, 2, num_cells=5, cell_width=3, hidden_size=5, heads=("read-write", "read", "write"), **options)
    return ntm.to(device)


def build_baseline(name: str, device: torch.device | str) -> torch.nn.Module:
    return make_baseline(name, num_features=4, group_size=2).to(device)


def train_step(model: torch.nn.Module, baseline: torch.nn.Module, device: torch.device | str) -> None:
    """Draw problems, run the model, judge, go back; then run it once more without gradients."""
    problem = make_task("copy", num_symbols=4, max_length=3).draw(4, device=device).repeat(2)
    inputs, targets = bit_inputs(problem.inputs[..., 0], 4), symbols_to_bits(problem.targets, 4)
    if isinstance(model, NTM):
        outputs, _, record = model.trace(inputs)
    else:
        (outputs, _), record = model(inputs), None
    cost = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=-1) * problem.mask
    if record is None:
        loss = cost.sum(dim=0).mean()
    else:
        value, baseline_loss = baseline(cost_to_go(cost.detach()), inputs, torch.ones_like(cost))
        loss = surrogate(record.log_prob, cost, baseline=value, discount=0.9) + baseline_loss
        loss = loss - 0.01 * record.entropy.mean()
    loss.backward()
    with torch.no_grad():
        model(inputs)


@pytest.mark.parametrize("options", MODELS, ids=named)
def test_no_host_reads(options):
    """Every model, forward and backward: nothing for which the host would wait."""
    model, baseline = build(options, "cpu"), build_baseline("leave-one-out", "cpu")
    with device_guard.no_host_reads():
        train_step(model, baseline, "cpu")


@pytest.mark.parametrize("options", MODELS, ids=named)
def test_all_on_one_device(options):
    """Every model on a device without numbers: nothing stays on the CPU."""
    with device_guard.fake_device() as device:
        model = build(options, device)
        train_step(model, build_baseline("leave-one-out", device), device)
    assert {parameter.grad.device.type for parameter in model.parameters() if parameter.grad is not None} == {"meta"}


@pytest.mark.parametrize("name", PLAIN_BASELINES)
def test_baselines(name):
    """Every baseline under both guards."""
    options = {"addressing": "head-moves", "access": "sampled"}
    model, baseline = build(options, "cpu"), build_baseline(name, "cpu")
    with device_guard.no_host_reads():
        train_step(model, baseline, "cpu")
    with device_guard.fake_device() as device:
        train_step(build(options, device), build_baseline(name, device), device)


@pytest.mark.parametrize("name", TASKS)
def test_tasks(name):
    """Every task, and the encodings of what it draws, under both guards."""
    task = make_task(name)

    def draw(device: torch.device | str, generator: torch.Generator | None) -> None:
        problem = task.draw(3, generator=generator, device=device).repeat(2)
        problem.num_steps()
        for channel, size in enumerate(task.input_sizes):
            one_hot(problem.inputs[..., channel], size)
            assert bit_inputs(problem.inputs[..., channel], size).shape[-1] == num_bits(size) + 2

    with device_guard.no_host_reads():
        draw("cpu", torch.Generator().manual_seed(0))
    with device_guard.fake_device() as device:
        draw(device, None)


READS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x[0, 0]),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "unique_consecutive": lambda x: x.unique_consecutive(),
    "equal": lambda x: torch.equal(x, x),
    "repeat_interleave": lambda x: x.repeat_interleave((x[0] > 0).long(), dim=1),
}


@pytest.mark.parametrize("read", [*READS, "mask assignment", "list index", "tensor of data", "copy", "copy_"])
def test_no_host_reads_can_fail(read):
    """Each thing it forbids raises, and does not raise outside."""
    forbidden = READS | {
        "mask assignment": lambda x: x.clone().__setitem__(x > 0, 1.0),
        "list index": lambda x: x[:, [0, 2]],
        "tensor of data": lambda x: torch.tensor([1.0, 2.0, 3.0]),
        "copy": lambda x: x.to("meta"),
        "copy_": lambda x: torch.empty(2, 3, device="meta").copy_(x),
    }
    x = torch.ones(2, 3)
    forbidden[read](x)
    with device_guard.no_host_reads(), pytest.raises(device_guard.HostRead):
        forbidden[read](x)


@pytest.mark.parametrize("read", [*READS, "tolist", "numpy", "cpu"])
def test_fake_device_can_fail_on_reads(read):
    """What needs a number raises, also what is no operator of its own."""
    reads = READS | {"tolist": torch.Tensor.tolist, "numpy": torch.Tensor.numpy, "cpu": torch.Tensor.cpu}
    reads[read](torch.ones(2, 3))
    with (
        device_guard.fake_device() as device,
        pytest.raises((RuntimeError, TypeError, NotImplementedError), match=r"(?i)meta"),
    ):
        reads[read](torch.ones(2, 3, device=device))


@pytest.mark.parametrize("forgotten", ["operand", "index", "parameter", "value"])
def test_fake_device_can_fail_on_mixed_devices(forgotten):
    """A tensor left on the CPU raises, as an operand, an index, a parameter or what is written."""
    mixes = {
        "operand": lambda x: x + torch.ones(3),
        "index": lambda x: x[torch.tensor([0])],
        "parameter": lambda x: torch.nn.Linear(3, 1)(x),
        "value": lambda x: x.__setitem__(0, torch.ones(3)),
    }
    mixes[forgotten](torch.ones(2, 3))
    with device_guard.fake_device() as device, pytest.raises(device_guard.MixedDevices):
        mixes[forgotten](torch.ones(2, 3, device=device))


def test_optimizers_of_torch_are_let_through():
    """Adam reads its own step counters; a whole update runs under either guard."""
    with device_guard.no_host_reads():
        update("cpu")
    with device_guard.fake_device() as device:
        update(device)


def update(device: torch.device | str) -> None:
    layer = torch.nn.Linear(3, 1).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        layer(torch.ones(2, 3, device=device)).sum().backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()


@contextmanager
def no_sync() -> Iterator[None]:
    """CUDA raises where the host would wait for it."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("options", MODELS, ids=named)
def test_no_sync_on_cuda(options):
    """Every model on the GPU itself: a first step to warm up, then one in which waiting is an error."""
    model, baseline = build(options, "cuda"), build_baseline("leave-one-out", "cuda")
    train_step(model, baseline, "cuda")
    with no_sync():
        train_step(model, baseline, "cuda")


@pytest.mark.gpu
def test_no_sync_can_fail():
    """The check itself works."""
    x = torch.ones(3, device="cuda")
    with no_sync(), pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


@pytest.mark.gpu
@pytest.mark.parametrize("name", TASKS)
def test_tasks_on_cuda(name):
    """A generator of the GPU draws problems there, without waiting."""
    task, generator = make_task(name), torch.Generator("cuda").manual_seed(0)
    task.draw(3, generator=generator, device="cuda")
    with no_sync():
        problem = task.draw(3, generator=generator, device="cuda").repeat(2)
    assert {field.device.type for field in problem} == {"cuda"}
