"""What the tests of other libraries share: a memo of what was found, and training by an example.

With `--record`, what a test found goes into `benchmarks/plug_in/LIBRARY.json`, from which `docs/plug-in.md` is made.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOOR = 1 / 8
PASSED = FLOOR + 0.2 * (1 - FLOOR)


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

    def learns(self, script: str, env_id: str, steps: int, *arguments: str, seeds: int = 1) -> None:
        """Train by an example: over fresh problems greedy play comes a fifth of the way from guessing to the optimum.

        With `--record`, from so many seeds, else from one.
        """
        runs = []
        for seed in range(seeds if self.recording else 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            out = printed(script, "--env-id", env_id, "--steps", str(steps), "--seed", str(seed), *arguments)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            runs.append({"success": float(re.findall(r"(\d\.\d+) of", out)[0]), "cpu_seconds": round(seconds, 1)})
            assert re.findall(r"(\d\.\d+) by guessing", out) == [f"{FLOOR:.3f}"]
        assert min(run["success"] for run in runs) > PASSED
        self.note("learned", " ".join([env_id, *arguments]), {"script": script, "steps": steps, "runs": runs})


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
