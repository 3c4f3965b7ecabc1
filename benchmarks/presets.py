"""What a training comes to from the preset of every environment and every task: one seed, a minute of one core each.

    python benchmarks/presets.py          # measure what is not measured yet, or has another preset by now
    python benchmarks/presets.py --table  # write the tables of docs/training.md

Measurements are kept in presets.json beside this file. A run ends where it is solved, or after --seconds of CPU time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from hardmem.agents.config import TrainConfig, to_json
from hardmem.agents.presets import preset_of
from hardmem.agents.training import Training
from hardmem.envs import ENVIRONMENTS
from hardmem.tasks import TASKS

RESULTS = Path(__file__).with_suffix(".json")


def measure(config: TrainConfig, seconds: float) -> dict[str, Any]:
    """Train until the task is solved or the time is up."""
    training, start = Training(config), time.process_time()
    while training.solved is None and not training.done() and time.process_time() - start < seconds:
        training.update()
    last = training.curve[-1]
    return {
        "solved": training.solved is not None,
        "seconds": round(time.process_time() - start, 1),
        "updates": training.progress.update,
        "exact": last.exact,
        "accuracy": last.metrics["accuracy"],
        "best": max(point.metrics["accuracy"] for point in training.curve),
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", nargs="*", help="these environments and tasks")
    parser.add_argument("--try", dest="trial", nargs="*", default=[], help="field=value: print, and keep nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {name: json.loads(value) for name, value in (text.split("=", 1) for text in options.trial)}
    measured: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only or [*ENVIRONMENTS, *TASKS]:
        config = preset_of(name, **changes)
        told = json.loads(to_json(config))
        if not changes and measured.get(name, {}).get("config") == told:
            continue
        found = measure(config, options.seconds)
        print(name, changes, json.dumps(found), flush=True)
        if not changes:
            measured[name] = {"config": told, **found}
            RESULTS.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
