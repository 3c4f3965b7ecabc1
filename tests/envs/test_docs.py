"""The page of environments is what its script writes, from the registry as it is and from what was measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_environments", ROOT / "benchmarks" / "environments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script):
    """Run `python benchmarks/environments.py --table` if it is not."""
    text = script.PAGE.read_text()
    assert script.page(text, script.load()) == text


def test_the_random_floor_is_what_was_measured(script):
    """Measured again, within 5 standard errors of one answer in eight."""
    results = script.load()
    for env_id in ("hardmem/Copy-v0", "hardmem/FactRecallAssociative-v0"):
        again = script.random_floor(env_id)
        assert abs(again - results[env_id]["random"]) < 5 * (0.11 / script.NUM_EPISODES) ** 0.5


def test_the_bound_by_hand(script):
    """Five shares of mean 0.6, each the better of two: standard error sqrt(0.05 / 5), t of 4 degrees of freedom."""
    shares = {"greedy": (0.3, 0.5, 0.2, 0.7, 0.1), "sampled": (0.2, 0.5, 0.6, 0.1, 0.9)}
    runs = [dict(zip(shares, pair, strict=True)) for pair in zip(*shares.values(), strict=True)]
    assert script.bound(runs) == pytest.approx(0.6 - 2.776 * 0.1)
