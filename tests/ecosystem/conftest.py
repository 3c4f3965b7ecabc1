"""What the tests of other libraries share: a memo of what was found, training by an example, and playing by hand.

With `--record`, what a test found goes into `benchmarks/plug_in/LIBRARY.json`, from which `docs/plug-in.md` is made.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest

from hardmem.envs import ExternalMemory, VectorExternalMemory

ROOT = Path(__file__).parents[2]
FLOOR = 1 / 8
PASSED = FLOOR + 0.2 * (1 - FLOOR)

each_space = pytest.mark.parametrize(
    ("feature", "env_id", "arguments"),
    [
        ("MultiDiscrete", "hardmem/Copy-v0", {}),
        ("Discrete", "hardmem/CopyFlat-v0", {}),
        ("dict", "hardmem/Copy-v0", {"observation": "dict"}),
    ],
)
each_action = pytest.mark.parametrize("env_id", ["hardmem/Copy-v0", "hardmem/CopyFlat-v0"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--record`: write down what is found, from more seeds."""
    parser.addoption("--record", action="store_true", help="write benchmarks/plug_in/LIBRARY.json, from more seeds")


class Memo:
    """What was found out about one library, a file of JSON."""

    def __init__(self, library: str, distributions: tuple[str, ...], recording: bool) -> None:
        self.path = ROOT / "benchmarks" / "plug_in" / f"{library}.json"
        self.distributions, self.recording = distributions, recording

    def note(self, part: str, name: str, found: object) -> None:
        """Put what was found under its name; called last in a test, when all else has passed."""
        if not self.recording:
            return
        content = json.loads(self.path.read_text()) if self.path.exists() else {}
        content["versions"] = {name: importlib.metadata.version(name) for name in (*self.distributions, "gymnasium")}
        content.setdefault(part, {})[name] = found
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def works(self, name: str, found: str = "yes") -> None:
        """A feature: a space, a format, an autoreset mode."""
        self.note("works", name, found)

    def learns(self, script: str, env_id: str, steps: int, *arguments: str) -> None:
        """Train by an example: over fresh problems greedy play comes a fifth of the way from guessing to the optimum.

        With `--record`, from three seeds, else from one.
        """
        runs = []
        for seed in range(3 if self.recording else 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            out = printed(script, "--env-id", env_id, "--steps", str(steps), "--seed", str(seed), *arguments)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            runs.append({"success": float(re.findall(r"(\d\.\d+) of", out)[0]), "cpu_seconds": round(seconds, 1)})
            assert re.findall(r"(\d\.\d+) by guessing", out) == [f"{FLOOR:.3f}"]
        assert min(run["success"] for run in runs) > PASSED
        self.note("learned", " ".join([env_id, *arguments]), {"script": script, "steps": steps, "runs": runs})


def make_vec(env_id: str = "hardmem/Copy-v0", **arguments: object) -> gym.vector.VectorEnv:
    """Four environments of short episodes."""
    return gym.make_vec(env_id, 4, vectorization_mode="vector_entry_point", max_length=2, **arguments)


def make_bits(mode: str | None = None) -> gym.Env | gym.vector.VectorEnv:
    """An environment of Gymnasium's with two bits of external memory: what is set is seen next. Or four of them."""
    if mode is None:
        return ExternalMemory(gym.make("CartPole-v1"), "Bk", num_cells=2)
    same = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    return VectorExternalMemory(gym.make_vec("CartPole-v1", 4, **same), "Bk", num_cells=2)


def assert_bits(last: np.ndarray, action: np.ndarray) -> None:
    """What was seen after each action, (..., 6), ends with the bits it set, (..., 3); both were set and not."""
    np.testing.assert_array_equal(last[..., -2:], action[..., :2])
    assert 0 < np.mean(last[..., -2:]) < 1


class Transition(NamedTuple):
    """A step of B environments: what was seen, done and earned, which episodes ended, and what was seen next.

    `last` differs from `following` where an episode ended: it is what was seen at its end, not at the next one's start.
    """

    seen: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    last: np.ndarray
    following: np.ndarray


def played_by_hand(actions: Iterable[np.ndarray]) -> Iterator[Transition]:
    """What our own vector plays by actions (B, A), seeded by 3; more than twenty episodes must have ended."""
    ours = make_vec(autoreset_mode="SameStep")
    seen, _ = ours.reset(seed=3)
    ended = 0
    for action in actions:
        following, reward, terminated, truncated, info = ours.step(action)
        last = following.copy()
        for place in np.flatnonzero(terminated | truncated):
            last[place] = info["final_obs"][place]
            ended += 1
        yield Transition(seen, action, reward, terminated, truncated, last, following)
        seen = following
    assert ended > 20


def printed(script: str, *arguments: str) -> str:
    """What an example prints, as a user runs it."""
    command = [sys.executable, ROOT / "examples" / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def memo_of(request: pytest.FixtureRequest) -> Callable[..., Memo]:
    """The memo of a library, by its name and those of the packages that it comes in."""
    recording = request.config.getoption("record", default=False)
    return lambda library, *distributions: Memo(library, distributions, recording)


@pytest.fixture
def memo(request: pytest.FixtureRequest, memo_of: Callable[..., Memo]) -> Memo:
    """The memo of the library that the test's module names."""
    return memo_of(request.module.LIBRARY, *request.module.DISTRIBUTIONS)
