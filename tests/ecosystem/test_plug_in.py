"""The ten lines of each library run as they stand on the page."""

from __future__ import annotations

import importlib

import pytest

from tests.ecosystem.conftest import printed

pytestmark = pytest.mark.ecosystem

NEEDS = {
    "one_file": "gymnasium",
    "rllib": "ray.rllib",
    "sb3_contrib": "sb3_contrib",
    "skrl": "skrl",
    "stable_baselines3": "stable_baselines3",
    "tianshou": "tianshou",
    "torchrl": "torchrl",
}


@pytest.mark.parametrize("name", sorted(NEEDS))
@pytest.mark.filterwarnings("ignore")
def test_ten_lines(name):
    """To the end; skipped where the library is not installed."""
    try:
        importlib.import_module(NEEDS[name])
    except ImportError:
        pytest.skip(f"needs {NEEDS[name]}")
    printed(f"plug_in/in_{name}.py")
