"""Data-parallel training: every process plays its share of the batch, and all take the same step.

`torchrun --nproc-per-node 2 -m hardmem train ...`; gloo on a CPU, nccl on GPUs, one process on each. The
configuration's batch is that of all processes together.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.learner import Generators


@dataclasses.dataclass(frozen=True)
class World:
    """The processes that train together, and which of them this one is."""

    rank: int = 0
    size: int = 1

    def share(self, config: TrainConfig) -> TrainConfig:
        """The part of the batch that is played here.

        Raises:
            ValueError: if the batch cannot be shared evenly.
        """
        if self.size == 1:
            return config
        if isinstance(config, AgentConfig):
            least = self.size * config.group_size
            if config.num_envs % least:
                raise ValueError(
                    f"num_envs must be a multiple of {least}, {self.size} processes times group_size="
                    f"{config.group_size}, got {config.num_envs}"
                )
            return dataclasses.replace(config, num_envs=config.num_envs // self.size)
        assert isinstance(config, SequenceConfig)
        if config.num_problems % self.size:
            raise ValueError(f"num_problems must be a multiple of {self.size} processes, got {config.num_problems}")
        return dataclasses.replace(config, num_problems=config.num_problems // self.size)

    def generators(self, seed: int, device: torch.device) -> Generators:
        """Problems and choices of its own for every process; the same problems for all in validation and test."""
        common = Generators.seeded(seed, device)
        if self.rank == 0:
            return common
        own = Generators.seeded(seed + (self.rank << 32), device)  # beyond any seed that a user counts up to
        return own._replace(validation=common.validation, test=common.test)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place, in one message."""
        several = list(tensors)
        if self.size == 1 or not several:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in several])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(several, flat.split([tensor.numel() for tensor in several]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, value: Any) -> list[Any]:
        """What every process says, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def joined(config: TrainConfig) -> Iterator[World]:
    """The world that torchrun has made, entered and left; alone, where it has not.

    Raises:
        ValueError: if there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    device = local_device(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def local_device(config: TrainConfig) -> torch.device:
    """Where this process computes: the GPU of its number where each has one, else what the configuration says.

    Raises:
        ValueError: if there is no such device.
    """
    device = resolve_device(config.device)
    if device.type == "cuda" and config.device in ("auto", "cuda") and "LOCAL_RANK" in os.environ:
        return resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
    return device


def main_process() -> bool:
    """Whether this process is the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"
