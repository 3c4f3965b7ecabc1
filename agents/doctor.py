"""Doctor: what is installed, what there is to compute on, and whether the main paths work here."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import torch

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device
from hardmem.agents.runner import resume, train
from hardmem.agents.runs import load
from hardmem.envs import TaskEnv
from hardmem.estimators import TabularWalk, all_choices, check_gradient, surrogate

PACKAGES = ("hardmem", "torch", "gymnasium", "numpy", "tensorboard", "tyro", "rich", "matplotlib", "pillow")
OPTIONAL = ("ray",)


class Finding(NamedTuple):
    """One thing that was tried: whether it worked, what came out, and how long it took."""

    name: str
    fine: bool
    detail: str
    seconds: float


def versions() -> dict[str, str]:
    """What is installed; "-" for an optional package that is not."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-" if name in OPTIONAL else "run from a checkout" if name == "hardmem" else "missing"
    return found


def devices() -> dict[str, str]:
    """What there is to compute on."""
    threads = torch.get_num_threads()
    found = {"cpu": f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)} for torch"}
    for number in range(torch.cuda.device_count()):
        found[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    return found


def self_test(device: str = "auto") -> Iterator[Finding]:
    """Try the main paths, some ten seconds in all; a failure is a finding, not an exception."""
    with tempfile.TemporaryDirectory() as folder:
        for name, trial in (
            ("an environment and its oracle", _environment),
            ("an estimator against the exact gradient", _estimator),
            ("an agent learns Copy of 3", lambda: _learns(dataclasses.replace(_AGENT, device=device))),
            ("a hard NTM learns Copy of 5", lambda: _learns(dataclasses.replace(_HARD, device=device))),
            ("stop, resume, load", lambda: _resumes(Path(folder), device)),
        ):
            yield _try(name, trial)


_AGENT = AgentConfig(max_length=3, start_length=1, max_updates=400, finish_updates=0)
_HARD = SequenceConfig(max_length=5, start_length=5, max_updates=400, finish_updates=0)


def _try(name: str, trial: Callable[[], str]) -> Finding:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detail, fine = trial(), True
    except Exception as error:  # whatever it is, it is what the doctor was asked to find
        detail, fine = f"{type(error).__name__}: {error}", False
    return Finding(name, fine, detail, time.perf_counter() - start)


def _environment() -> str:
    env = gym.make("hardmem.envs:hardmem/Copy-v0")
    env.reset(seed=0)
    earned, terminated = 0.0, False
    while not terminated:
        assert isinstance(env.unwrapped, TaskEnv)
        _, reward, terminated, _, _ = env.step(env.unwrapped.oracle())
        earned += float(reward)
    if earned != 1:
        raise RuntimeError(f"the oracle earned {earned}, expected exactly 1")
    return "earns exactly 1"


def _estimator() -> str:
    walk = TabularWalk(generator=torch.Generator().manual_seed(0))
    choices = all_choices(walk.num_steps, walk.num_heads, walk.num_choices)
    check = check_gradient(walk.replay(choices, 0), list(walk.parameters()), lambda r: surrogate(r.log_prob, r.cost))
    if not check.error < 1e-12:
        raise RuntimeError(f"the surrogate is off by {check.error:.1e}, expected less than 1e-12")
    return f"off by {check.error:.0e}"


def _learns(config: TrainConfig) -> str:
    _, outcome = train(config)
    if outcome.solved is None:
        raise RuntimeError(f"not solved within {config.max_updates} updates")
    return f"solved after {outcome.solved.update} updates"


def _resumes(folder: Path, device: str) -> str:
    """Half the budget, then the rest from the checkpoint; compared with all of it at once."""
    config = dataclasses.replace(_HARD, max_updates=10, device=device)
    whole, _ = train(config)
    train(dataclasses.replace(config, max_updates=5), folder / "run", problems=10)
    resume(folder / "run", max_updates=10, problems=10)
    loaded = load(folder / "run", device)[0].state_dict()
    if any(not torch.equal(value, loaded[name]) for name, value in whole.state_dict().items()):
        raise RuntimeError("a resumed run differs from the uninterrupted one")
    return f"equal bit for bit on {resolve_device(device)}"
