"""Stable-Baselines3, sb3-contrib and a script of one file learn: well over what guessing earns."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ecosystem
pytest.importorskip("sb3_contrib")

ALGORITHMS = [
    ("sb3", "ppo", "hardmem/CopyFlat-v0"),
    ("sb3", "a2c", "hardmem/Copy-v0"),
    ("sb3-contrib", "maskable-ppo", "hardmem/SlotRecallAssociative-v0"),
    ("sb3-contrib", "recurrent-ppo", "hardmem/Copy-v0"),
]


@pytest.mark.parametrize(("library", "algorithm", "env_id"), ALGORITHMS)
def test_stable_baselines3_learns(library, algorithm, env_id, memo_of):
    """Each algorithm, single-number and MultiDiscrete actions, masks obeyed, with and without an LSTM."""
    memo = memo_of(library, "stable-baselines3", *(["sb3-contrib"] if library == "sb3-contrib" else []))
    memo.learns("sb3_train.py", env_id, 100_000, "--algorithm", algorithm)
    memo.works("Discrete" if "Flat" in env_id else "MultiDiscrete")
    memo.works("SAME_STEP", "its own, the same")
    if algorithm == "maskable-ppo":
        memo.works("masks")


@pytest.mark.parametrize("env_id", ["hardmem/Copy-v0", "hardmem/SlotRecallFlat-v0"])
def test_a_single_file_learns(env_id, memo_of):
    """The same of a script that knows Gymnasium and torch only: several factors, and one with episodes cut off."""
    memo = memo_of("one-file", "torch")
    memo.learns("single_file_ppo.py", f"hardmem.envs:{env_id}", 100_000)
    memo.works("Discrete" if "Flat" in env_id else "MultiDiscrete")
    memo.works("SAME_STEP")
