"""Guards against what would make the host wait for a GPU, or mix devices: they work where there is none.

A training step is run once under each of them:

    with device_guard.no_host_reads():
        train_step(...)

    with device_guard.fake_device() as device:
        train_step(..., device=device)
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OPTIMIZERS = str(Path(torch.optim.__file__).parent)

READS = {  # operators that bring numbers to the host, or whose result has a shape that depends on them
    "_local_scalar_dense",  # .item(), .tolist(), bool(), float(), int()
    "_unique",
    "_unique2",
    "allclose",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
MASKABLE = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
COPIES = {"_to_copy", "copy_"}


class HostRead(RuntimeError):  # noqa: N818 - it names what happened, as StopIteration does
    """The host read from a device, or wrote to one, where only the device should have worked."""


class MixedDevices(RuntimeError):  # noqa: N818
    """One operator was given tensors of two devices."""


@contextmanager
def no_host_reads() -> Iterator[None]:
    """Raise `HostRead` on operators after which the host would wait for a GPU, or that fill one from Python data.

    Not seen: `Tensor.numpy`, and a CPU tensor without dimensions made from a Python number. Optimisers of torch are
    let through: they keep their step counters on the host, and read them there.
    """
    with _NoHostReads():
        yield


@contextmanager
def fake_device() -> Iterator[torch.device]:
    """A device that computes shapes alone: whatever reads a number raises, and mixing it with the CPU raises.

    It is "meta" rather than `FakeTensorMode`, under which `Module.to` cannot move parameters. A CPU tensor without
    dimensions may take part anywhere, as with CUDA.
    """
    with _OneDevice():
        yield torch.device("meta")


class _NoHostReads(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        reason = _host_read(func.overloadpacket.__name__, func, args, kwargs)
        if reason is not None and not _inside_an_optimizer():
            raise HostRead(f"{func}: {reason}")
        return func(*args, **kwargs)


class _OneDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        moves = func.overloadpacket.__name__ == "_to_copy"  # into the device; out of it fails by itself
        devices = {
            tensor.device for tensor in _tensors(args, kwargs) if tensor.dim() > 0 or tensor.device.type != "cpu"
        }
        if len(devices) > 1 and not moves:
            raise MixedDevices(f"{func} was given tensors of {sorted(map(str, devices))}")
        return func(*args, **kwargs)


def _host_read(name: str, func: Any, args: Any, kwargs: Any) -> str | None:
    """Why an operator would make the host wait; None where it would not."""
    if name in READS or func is torch.ops.aten.repeat_interleave.Tensor:
        return "its result is read on the host, or has a shape that depends on numbers"
    if name in MASKABLE and any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1])):
        return "a boolean index has a result whose shape depends on numbers; use torch.where or a product"
    if name == "lift_fresh" and args[0].dim() > 0:
        return "Python data was copied to a tensor (torch.tensor, or a list as an index); build it before the loop"
    devices = {tensor.device for tensor in _tensors(args, kwargs)}
    target = kwargs.get("device")
    if name in COPIES and (len(devices) > 1 or (target is not None and torch.device(target) not in devices)):
        return "numbers were copied between devices"
    return None


def _tensors(*tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _inside_an_optimizer() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(OPTIMIZERS):
            return True
        frame = frame.f_back
    return False
