"""One training's batch in one process or two: CPU seconds per update by size of the batch, and what is learned.

    python benchmarks/data_parallel.py            # time
    python benchmarks/data_parallel.py --learning # rollouts until solved, five seeds

Time: updates of a REINFORCE agent on Copy of length 10, one thread per process, 1 and 2 processes in turn, three times.
The figure of two processes is that of the slower one, messages included. CPU seconds, so that other work on the machine
matters less; a process that waits for the other without spinning is not counted as busy. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from hardmem.agents import AgentConfig, train
from hardmem.agents.distributed import joined, main_process
from hardmem.agents.training import Training

SIZES = (512, 2048, 8192, 32768)


def work(num_envs: int, updates: int) -> dict[str, Any]:
    """Updates alone, no validation: the slowest process's CPU and wall seconds per update."""
    config = AgentConfig(num_envs=num_envs, max_length=10, start_length=10, eval_every=10**9, max_updates=10**9)
    with joined(config) as world:
        training = Training(config, world)
        training.update()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(updates):
            training.update()
        mine = ((time.process_time() - cpu) / updates, (time.perf_counter() - wall) / updates)
        every = world.gather(mine)
    return {"cpu": max(cpu for cpu, _ in every), "wall": max(wall for _, wall in every)}


def learn(seed: int) -> dict[str, Any]:
    """Rollouts until solved; None if not."""
    outcome = train(AgentConfig(seed=seed, start_length=3, max_updates=600, finish_updates=0))[1]
    return {"rollouts": None if outcome.solved is None else outcome.solved.rollouts}


def launch(processes: int, *arguments: str) -> dict[str, Any]:
    """This file in one process, or in several under torchrun."""
    command = [sys.executable, __file__]
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *torchrun, __file__]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learning", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--work", type=int, nargs=2, metavar=("NUM_ENVS", "UPDATES"), help=argparse.SUPPRESS)
    parser.add_argument("--learn", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.work or options.learn is not None:
        result = work(*options.work) if options.work else learn(options.learn)
        if main_process():
            print(json.dumps(result))
        return
    if options.learning:
        curves = {n: [launch(n, "--learn", str(seed))["rollouts"] for seed in range(5)] for n in (1, 2)}
        print(json.dumps({"rollouts until solved": curves}))
        return
    table = {}
    for size in options.sizes:
        updates = str(max(3, 100_000 // size))
        rows = [[launch(n, "--work", str(size), updates) for n in (1, 2)] for _ in range(options.repetitions)]
        table[size] = {
            unit: {
                "one": statistics.median(row[0][unit] for row in rows),
                "two": statistics.median(row[1][unit] for row in rows),
                "ratio": statistics.median(row[0][unit] / row[1][unit] for row in rows),
            }
            for unit in ("cpu", "wall")
        }
    print(json.dumps(table))


if __name__ == "__main__":
    main()
