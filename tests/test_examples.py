"""The examples run as a user runs them, small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_train_copy(tmp_path):
    """The oracle's episode earns 1.0, and all three trainings report."""
    script = EXAMPLES / "train_copy.py"
    out = subprocess.run(
        [sys.executable, "-W", "error", script, "--max-length", "3", "--max-updates", "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "return 1.0" in out
    assert out.count("at length 30") == 3
    assert list(tmp_path.iterdir()) == []


def test_the_example_stays_short():
    """Under 150 lines, and only public modules."""
    lines = (EXAMPLES / "train_copy.py").read_text().splitlines()
    assert len(lines) < 150
    imported = {line.split()[1] for line in lines if line.startswith(("from hardmem", "import hardmem"))}
    assert imported <= {"hardmem", "hardmem.envs", "hardmem.agents", "hardmem.tasks", "hardmem.estimators"}
