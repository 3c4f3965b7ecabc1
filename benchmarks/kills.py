"""Kill a run again and again at random moments, resume it each time, and compare the end with the uninterrupted run.

    python benchmarks/kills.py --kills 50

Every kill is SIGKILL, so nothing can be caught or cleaned up. A run that reaches its end is compared, weights and
results (seconds aside), with a run that nobody disturbed, and the next one begins. Prints one line of JSON, which says
from how many different checkpoints a killed run went on, too; exits with 1 if anything differs. POSIX only: processes
are forked, so that torch is imported once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hardmem.agents import AgentConfig, SequenceConfig, resume, train
from hardmem.agents.checkpoints import NoCheckpointError, load_checkpoint
from hardmem.agents.runs import CONFIG, RESULTS

SMALL = {"max_length": 4, "start_length": 1, "eval_problems": 20, "checkpoint_every": 7}
CONFIGS = {
    "agent": AgentConfig(num_symbols=4, num_envs=64, baseline="value", policy="gru", **SMALL),
    "sequence": SequenceConfig(num_symbols=16, baseline="moving-average", **SMALL),
}


def in_child(work: Callable[[], object], seconds: float | None = None) -> bool:
    """Do something in a process of its own; kill it after some seconds. Returns whether it was killed."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            work()
        except BaseException as error:  # whatever it is, the parent finds it in what is missing
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return False
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.waitstatus_to_exitcode(status) > 0:
        raise RuntimeError("a run failed: see above")
    return os.WIFSIGNALED(status)


def go_on(config: Any, folder: Path) -> None:
    """Begin a run, or go on with it."""
    if (folder / CONFIG).exists():
        resume(folder)
    else:
        train(config, folder)


def update_of(folder: Path) -> int:
    """The update from which a killed run goes on; 0 where it was killed before its first checkpoint."""
    try:
        return int(load_checkpoint(folder)["progress"]["update"])
    except NoCheckpointError:
        return 0


def outcome(folder: Path) -> tuple[dict[str, Any], Any]:
    """All a run came to that equal runs have in common: the last checkpoint and the results, without seconds."""
    return timeless(load_checkpoint(folder)), timeless(json.loads((folder / RESULTS).read_text()))


def timeless(node: Any) -> Any:
    """The same without anything called seconds; tensors as lists, so that == compares every bit of them."""
    if isinstance(node, dict):
        return {name: timeless(value) for name, value in node.items() if name != "seconds"}
    if isinstance(node, torch.Tensor):
        return (str(node.dtype), node.tolist())
    return [timeless(value) for value in node] if isinstance(node, list | tuple) else node


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--updates", type=int, default=60, help="length of a run; one of 60 is done before many kills")
    parser.add_argument("--longest", type=float, default=0.4, help="seconds within which a kill comes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, short in CONFIGS.items():
            config = dataclasses.replace(short, max_updates=options.updates, finish_updates=options.updates)
            train(dataclasses.replace(config, max_updates=1))  # imports what torch imports late: once, not per process
            reference = Path(name) / f"{kind}-undisturbed"
            in_child(lambda config=config, folder=reference: train(config, folder))
            expected = outcome(reference)
            kills, equal, different, number, begun = 0, 0, 0, 0, set[tuple[int, int]]()
            while kills < options.kills or number == 0 or (Path(name) / f"{kind}-{number}" / CONFIG).exists():
                folder = Path(name) / f"{kind}-{number}"
                seconds = moments.uniform(0, options.longest) if kills < options.kills else None
                if in_child(lambda config=config, folder=folder: go_on(config, folder), seconds):
                    kills += 1
                    begun.add((number, update_of(folder)))
                    continue
                same = outcome(folder) == expected
                equal, different, number = equal + same, different + (not same), number + 1
            summary[kind] = {
                "kills": kills, "checkpoints": len(begun), "runs": number, "equal": equal, "different": different
            }  # fmt: skip
    print(json.dumps(summary))
    sys.exit(any(entry["different"] for entry in summary.values()))


if __name__ == "__main__":
    main()
