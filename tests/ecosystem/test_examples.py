"""The examples learn: after a short training each earns well over what guessing does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ecosystem
pytest.importorskip("sb3_contrib")

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOOR = 1 / 8
PASSED = FLOOR + 0.2 * (1 - FLOOR)


def printed(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", EXAMPLES / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "maskable-ppo", "recurrent-ppo"])
def test_stable_baselines3_learns(algorithm):
    """Greedy play of fresh problems passes a fifth of the way from the floor to the optimum, and is said beside it."""
    out = printed("sb3_train.py", "--algorithm", algorithm, "--steps", "60000")
    success, floor = map(float, re.findall(r"(\d\.\d+) (?:of|by)", out))
    assert floor == FLOOR
    assert success > PASSED


@pytest.mark.parametrize("env_id", ["hardmem/Copy-v0", "hardmem/SlotRecallFlat-v0"])
def test_a_single_file_learns(env_id):
    """The same of a script that knows Gymnasium and torch only: several factors, and one with episodes cut off."""
    out = printed("single_file_ppo.py", "--env-id", f"hardmem.envs:{env_id}", "--steps", "100000")
    assert float(re.findall(r"greedy: mean return (\d\.\d+)", out)[0]) > PASSED
