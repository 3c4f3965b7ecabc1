"""A sweep on Ray, started on this machine, comes to what the pool of processes comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardmem.agents import AgentConfig
from hardmem.agents.plans import begin, carry_out
from hardmem.agents.sweep import sweep_plan

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore")]  # Ray has warnings of its own
pytest.importorskip("ray")

TINY = AgentConfig(num_envs=16, max_length=2, start_length=1, num_symbols=3, max_updates=10, eval_problems=5)


def timeless(node):
    """Results without what two equal plans differ in."""
    if isinstance(node, dict):
        return {name: timeless(value) for name, value in node.items() if name != "seconds"}
    return [timeless(value) for value in node] if isinstance(node, list) else node


def test_ray_and_the_pool_agree(tmp_path, monkeypatch):
    """Results but the seconds; relative folders are found by Ray's workers, too."""
    monkeypatch.chdir(tmp_path)
    for backend in ("pool", "ray"):
        folder = Path(backend)
        begin(folder, sweep_plan(TINY, ["hidden_size=8,16"], folder, seeds=1, problems=5))
        carry_out(folder, workers=2, backend=backend)
    pool, ray = (timeless(json.loads(Path(name, "results.json").read_text())) for name in ("pool", "ray"))
    assert pool == ray
